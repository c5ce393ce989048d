/* The space-time diagram: a line down the page for each server, an arrow for each message between them.

   Time goes down, and not to scale: an instant with words gets a line of its own, idle time is pressed together.  On a
   server's line its bar is wide while it leads, and coloured by its epoch.  The diagram is SVG, so that it prints. */
const stBox = $('st');
const ARROWS_DRAWN = 220, STATES_DRAWN = 120, LINE = 13, FIRST = 60, HEADS = 30;
/* How many lines an instant needs: one for what a message says, two if a server's change stands there too. */
const NOTHING = 0, SAYS = 1, CHANGES = 2;
let st = null;

const stWanted = (m) => $('st-routine').checked || !routine(m);
/* The window that ends with FIRST messages before `t`, and goes on a little after it. */
const around = (t) => {
  let k = lastAtMost(M.s, t), found = 0, from = t;
  for (; k >= 0 && found < FIRST && t - M.s[k] < 4e6; k--) if (stWanted(k)) { found++; from = M.s[k]; }
  const after = Math.max(20e3, (t - from) * 0.25);
  return [Math.max(0, from - 1e3), Math.min(END, t + after)];
};
const stScale = (instants) => {
  instants.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const points = [];
  let y = 0;
  for (const [t, lines] of instants) {
    const last = points[points.length - 1];
    if (last && last[0] === t) { last[2] = Math.max(last[2], lines); continue; }
    points.push([t, 0, lines]);
  }
  points.forEach((point, k) => {
    const gap = k ? 7 * Math.log1p((point[0] - points[k - 1][0]) / 1000) : 0;
    point[1] = y += Math.max(point[2] ? point[2] * LINE : 3, Math.min(40, gap));
  });
  const times = points.map((p) => p[0]);
  const at = (t) => { const k = lastAtMost(times, t); if (k < 0) return points[0][1]; if (k + 1 >= points.length || times[k] === t) return points[k][1]; return points[k][1] + (points[k + 1][1] - points[k][1]) * (t - times[k]) / (times[k + 1] - times[k]); };
  return { at, points, bottom: y + 24 };
};
const stState = (lane, k) => {
  const role = lane.s[k] % 10, phase = Math.floor(lane.s[k] % 100 / 10), epoch = lane.e[k];
  return role < 2 ? ROLES[role] : `${ROLES[role]}${role >= 3 && PHASES[phase] && phase < 3 ? `, ${phase === 2 ? 'sync' : PHASES[phase]}` : ''}${epoch >= 0 ? `, epoch ${epoch}` : ''}`;
};
const drawSpaceTime = () => {
  if (!stBox || !st || !rest || !lanes.length) return;
  const [from, until] = st;
  let messages = messagesIn(from, until, stWanted, 1e9), leftOut = 0;
  if (messages.length > ARROWS_DRAWN) { leftOut = messages.length - ARROWS_DRAWN; messages = messages.slice(0, ARROWS_DRAWN); }
  const last = leftOut ? M.s[messages[messages.length - 1]] : until, instants = [[from, SAYS], [last, SAYS]];
  const marks = [];
  for (const lane of lanes) {
    let mine = 0;
    for (let k = lastAtMost(lane.t, from) + 1; k < lane.n && lane.t[k] <= last && mine < STATES_DRAWN; k++) {
      // A transition that changes neither role, phase nor epoch is not worth a line here.
      if (k && lane.s[k] === lane.s[k - 1] && lane.e[k] === lane.e[k - 1]) continue;
      if (mine && marks[marks.length - 1].t === lane.t[k]) { marks[marks.length - 1].k = k; continue; }
      mine++; marks.push({ t: lane.t[k], lane, k }); instants.push([lane.t[k], CHANGES]);
    }
    for (const { fault } of lane.faults) for (const [t, words] of [[fault.t[1], 'begins'], [fault.t[3], 'is over']]) if (t >= from && t <= last && t < END) { marks.push({ t, lane, fault, words }); instants.push([t, CHANGES]); }
  }
  const broken = D.violations.filter((v) => v.t >= from && v.t <= last);
  for (const v of broken) instants.push([v.t, CHANGES]);
  for (const m of messages) { instants.push([Math.max(from, M.s[m]), routine(m) ? NOTHING : SAYS]); if (M.w[m] >= 0 && M.s[m] + M.w[m] <= last) instants.push([M.s[m] + M.w[m], NOTHING]); }
  const scale = stScale(instants), wide = Math.max(stBox.clientWidth || 0, 150 + 150 * lanes.length) - 4, left = 64;
  const step = (wide - left - 10) / lanes.length, column = (place) => left + step * (place + 0.8);
  const heads = drawn('svg', { class: 'heads', viewBox: `0 0 ${wide} ${HEADS}`, width: wide, height: HEADS });
  const svg = drawn('svg', { viewBox: `0 0 ${wide} ${scale.bottom}`, width: wide, height: scale.bottom });
  const back = drawn('g', {}), front = drawn('g', {}), labels = drawn('g', { class: 'labels' });
  let above = -99;
  for (const [t, y] of scale.points) if (y - above > 3 * LINE) { above = y; back.append(drawn('line', { class: 'grid', x1: left - 6, x2: wide, y1: y, y2: y }), drawn('text', { class: 'when', x: left - 10, y: y + 3.5 }, clock(t, 1e3))); }
  for (const lane of lanes) {
    const x = column(lane.place);
    heads.append(drawn('text', { class: 'host', x, y: HEADS - 10 }, lane.host.name));
    for (let k = Math.max(0, lastAtMost(lane.t, from)); k < lane.n && lane.t[k] <= last; k++) {
      const y0 = scale.at(Math.max(from, lane.t[k])), y1 = scale.at(k + 1 < lane.n ? Math.min(last, lane.t[k + 1]) : last), role = lane.s[k] % 10, half = lane.s[k] >= 100 ? 5 : role >= 3 ? 3 : 1.5;
      if (lane.t[k] > last || y1 <= y0) continue;
      if (role === 0) { back.append(drawn('line', { class: 'gone', x1: x, x2: x, y1: y0, y2: y1 })); continue; }
      back.append(drawn('rect', { class: `life${role >= 3 && lane.e[k] >= 0 ? ` e${lane.e[k] % 6}` : ''}${lane.s[k] >= 100 ? ' throned' : ''}`, x: x - half, y: y0, width: 2 * half, height: y1 - y0 }));
    }
  }
  const labelled = new Set();
  for (const m of messages) {
    const a = column(M.f[m]), b = column(M.o[m]), right = b > a, y0 = scale.at(Math.max(from, M.s[m])), arrives = M.w[m] >= 0, late = arrives && M.s[m] + M.w[m] > last;
    const x0 = a + (right ? 6 : -6), y1 = arrives && !late ? scale.at(M.s[m] + M.w[m]) : y0 + 9, x1 = arrives && !late ? b + (right ? -6 : 6) : a + (right ? 1 : -1) * Math.min(74, step * 0.5);
    const arrow = drawn('g', { class: `message ${routine(m) ? 'routine' : ofElection(m) ? 'vote' : 'packet'}${arrives ? '' : ' lost'}` });
    arrow.append(drawn('title', {}, `${messageSays(m)}. Sent at ${clock(M.s[m], 1)}, ${arrives ? `arrived ${lasting(M.w[m])} later` : 'never arrived'}`));
    arrow.append(drawn('line', { x1: x0, y1: y0, x2: x1, y2: y1 }));
    if (!arrives) arrow.append(drawn('path', { class: 'cross', d: `M${x1 - 3.5} ${y1 - 3.5}l7 7m-7 0l7 -7` }));
    else { const turn = Math.atan2(y1 - y0, x1 - x0), p = (s) => `${(x1 - 7 * Math.cos(turn + s)).toFixed(1)} ${(y1 - 7 * Math.sin(turn + s)).toFixed(1)}`; arrow.append(drawn('path', { class: 'head', d: `M${x1} ${y1}L${p(0.35)}L${p(-0.35)}Z` })); }
    const key = `${M.f[m]} ${M.s[m]} ${right} ${M.k[m]}`;
    if (!labelled.has(key) && !routine(m)) { labelled.add(key); labels.append(drawn('text', { class: 'label', x: x0 + (right ? 5 : -5), y: y0 - 3.5, 'text-anchor': right ? 'start' : 'end' }, M.said[M.k[m]][2])); }
    front.append(arrow);
  }
  for (const { t, lane, k, fault, words } of marks) {
    const x = column(lane.place), y = scale.at(t), mark = drawn('g', { class: fault ? 'mark fault' : lane.s[k] >= 100 ? 'mark throned' : 'mark' });
    mark.append(drawn('title', {}, fault ? `${fault.says}: ${words} at ${clock(t, 1)}` : `${lane.host.name} at ${clock(t, 1)}, op ${lane.i[k]}: ${text(rest.texts, lane.w[k])}`));
    mark.append(fault ? drawn('rect', { x: x - 4, y: y - 4, width: 8, height: 8 }) : drawn('circle', { cx: x, cy: y, r: 4 }), drawn('text', { x: x - 7, y: y - 14, 'text-anchor': 'end' }, fault ? `${fault.kind} ${fault.id} ${words}` : stState(lane, k)));
    labels.append(mark);
  }
  for (const v of broken) { const y = scale.at(v.t), mark = drawn('g', { class: 'broken' }); mark.append(drawn('title', {}, v.message), drawn('line', { x1: left - 6, x2: wide, y1: y, y2: y }), drawn('text', { x: left, y: y - 4 }, `✕ ${v.n} ${v.promise}`)); labels.append(mark); }
  svg.append(back, front, labels);
  stBox.replaceChildren(heads, svg);
  stBox.setAttribute('aria-label', `Space-time diagram of ${messages.length} messages from ${clock(from)} to ${clock(last)}`);
  const lost = messages.filter((m) => M.w[m] < 0).length;
  $('st-says').textContent = `${messages.length} messages from ${clock(from)} to ${clock(last)}${lost ? `, ${lost} of which never arrived` : ''}${leftOut ? `; ${leftOut} more until ${clock(until)} are left out` : ''}. Time runs down the page, not to scale. A cross: it never arrived. Hover for the words.`;
};
const showSpaceTime = (from, until) => { st = [Math.max(0, from), Math.min(END, until)]; drawSpaceTime(); if (!stBox || !lanes.length) return; const broken = stBox.querySelector('.broken line'); stBox.scrollTop = broken ? broken.getAttribute('y1') - stBox.clientHeight * 0.7 : 0; };
/* The diagram follows the timeline to `t`: after the frame in which the timeline itself moves there, and once for many. */
let stFollowing = null;
const followInSpaceTime = (t) => { clearTimeout(stFollowing); stFollowing = setTimeout(() => { showSpaceTime(...around(t)); }, 50); };
const stActions = {
  earlier: () => { const span = st[1] - st[0]; showSpaceTime(st[0] - span * 0.8, st[1] - span * 0.8); },
  later: () => { const span = st[1] - st[0]; showSpaceTime(st[0] + span * 0.8, st[1] + span * 0.8); },
  violation: () => { const v = D.violations[Math.max(0, violationAt)]; if (v) showSpaceTime(...around(v.t)); },
  window: () => showSpaceTime(view[0], view[1]),
};
/* Where to begin: at the first violation; or where the first leader was established; or at the start. */
const beginSpaceTime = () => {
  if (!stBox) return;
  const t = D.violations.length ? D.violations[0].t : reigns.length ? reigns[0].a : Math.min(END, 1e6);
  showSpaceTime(...around(t));
  $('st-routine').addEventListener('change', drawSpaceTime);
  document.querySelector('#spacetime .tools').addEventListener('click', (event) => { const name = event.target.dataset.st; if (name) stActions[name](); });
};
