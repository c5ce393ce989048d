/* The timeline's hand: what is under the pointer, pan and zoom, the keys, links from the page, light and paper.
   It works on the lanes of lanes.js, which stands before it in the same block. */

// ---- what is under the pointer ------------------------------------------------------------------------------------

const hit = (x, y) => {
  if (x < GUT) return null;
  const t = T(x), message = arrowAt(x, y);
  if (message >= 0) return { message };
  for (const v of D.violations) if (y < AXIS && Math.abs(X(v.t) - x) < 14) return { violation: v };
  if (y >= throneY && y < throneY + BAR) {
    const row = y - throneY < BAR / 2 ? 0 : 1;
    return pick(reigns.filter((r) => r.a <= t && t <= r.b), (r) => r.row === row, 'reign') || pick(D.empty.filter(([a, b]) => a <= t && t <= b), () => true, 'gap');
  }
  for (const lane of lanes) {
    if (y < lane.y - 3 || y > lane.y + lane.height) continue;
    if (lane.ears && y > lane.y + BAR + 3 && y <= lane.y + BAR + 4 + lane.ears) {
      const deaf = lane.deaf.filter((d) => d.a <= t && t <= d.b);
      if (deaf.length) return { deaf, lane };
    }
    if (y > lane.y + BAR + 3 + lane.ears) {
      const row = Math.floor((y - lane.y - BAR - 4 - lane.ears) / (STRIP + 1));
      const found = lane.faults.find((f) => f.row === row && X(f.fault.t[0]) - 2 <= x && x <= Math.max(X(f.fault.t[3]), X(f.fault.t[0]) + 2) + 2);
      if (found) return { fault: found.fault, lane };
    }
    const k = lastAtMost(lane.t, t);
    return k < 0 ? null : { lane, k };
  }
  for (const phase of D.phases.slice().reverse()) if (y >= AXIS && y < AXIS + PHASE && phase.t <= t) return { phase };
  return null;
};
const pick = (items, better, name) => items.length ? { [name]: items.find(better) || items[0] } : null;

const card = (title, rows, reason) => {
  const box = element('div', undefined, 'card'), head = element('p');
  head.append(element('b', title));
  box.append(head);
  if (reason) box.append(element('p', reason, 'reason'));
  const table = element('table');
  for (const [name, words] of rows) { if (words === '' || words === '–') continue; const row = element('tr'); row.append(element('td', name), element('td', words)); table.append(row); }
  box.append(table);
  return box;
};
const describe = (found, whole) => {
  if (found.violation) return card(`Violation ${found.violation.n}: ${found.violation.promise}`, [['at', clock(found.violation.t)]], found.violation.message);
  if (found.message !== undefined) {
    const m = found.message;
    return card(messageSays(m), [['sent', clock(M.s[m], 1)], ['arrived', M.w[m] < 0 ? 'never' : `${clock(M.s[m] + M.w[m], 1)}, ${lasting(M.w[m])} later`]]);
  }
  if (found.deaf) return card(`${found.lane.host.name} hears nothing from ${[...new Set(found.deaf.map((d) => D.hosts[d.peer].name + perhaps(d.level)))].join(', ')}`, found.deaf.length > 1 ? [] : [['from', clock(found.deaf[0].a)], ['to', clock(found.deaf[0].b)]]);
  if (found.phase) return card(`Phase ${found.phase.name}`, [['from', clock(found.phase.t)], ['with', found.phase.more]]);
  if (found.gap) return card('The throne is empty', [['from', clock(found.gap[0])], ['to', clock(found.gap[1])], ['for', lasting(found.gap[1] - found.gap[0])]]);
  if (found.reign) {
    const r = found.reign;
    return card(`Epoch ${r.e}: ${D.hosts[r.h].name} is the established leader`, [['from', clock(r.a)], ['to', clock(r.b)], ['for', lasting(r.b - r.a)], ['shared with', r.shared ? r.shared.filter((h) => h !== r.h).map((h) => D.hosts[h].name).join(' ') : '']]);
  }
  if (found.fault) {
    const f = found.fault, peers = f.from[found.lane.place];
    return card(`${f.kind} ${f.id}`, [['what', f.says], ['op', String(f.i)], [`${found.lane.host.name} from`, peers ? peers.join(' ') : ''], ['with', f.what], ['asked', clock(f.t[0])], ['verified', f.t[1] > f.t[0] ? `after ${lasting(f.t[1] - f.t[0])}` : 'not'], ['undo asked', clock(f.t[2])], ['over', clock(f.t[3])], ['hosts', f.hosts.map((h) => D.hosts[h].name).join(' ')]]);
  }
  const { lane: l, k } = found, role = l.s[k] % 10, phase = Math.floor(l.s[k] % 100 / 10);
  const until = k + 1 < l.n ? l.t[k + 1] : END;
  const title = `${l.host.name}: ${ROLES[role]}${role >= 2 && PHASES[phase] ? ` in ${PHASES[phase]}` : ''}${l.s[k] >= 100 ? ', established' : ''}`;
  if (!rest) return card(title, [['at', clock(l.t[k], 1)], ['epoch', known(l.e[k])]], 'the rest of this page is still being read');
  const evidence = text(rest.evidence, l.x[k]);
  const rows = [['op', String(l.i[k])], ['at', `${clock(l.t[k], 1)}${l.d[k] ? ` ± ${lasting(l.d[k])}` : ''}, for ${lasting(until - l.t[k])}`]];
  if (role >= 2) rows.push(['epoch', known(l.e[k])], ['round', known(l.r[k])], ['leader', known(l.l[k])], ['accepted, current', `${known(l.a[k])}, ${known(l.c[k])}`], ['last zxid', zxid(l.zh[k], l.zl[k])], ['vote', text(rest.texts, l.v[k])], ['evidence', whole || evidence.length < 260 ? evidence : `${evidence.slice(0, 260)} …`]);
  return card(title, rows, role === 1 ? '' : text(rest.texts, l.w[k]));
};
const showTip = (found, x, y) => {
  if (!found) { tip.hidden = true; return; }
  tip.replaceChildren(describe(found, false));
  tip.hidden = false;
  const top = canvas.offsetTop + y, w = tip.offsetWidth;
  tip.style.left = `${Math.max(4, x + 16 + w > W ? x - w - 12 : x + 16)}px`;
  tip.style.top = `${top + 18}px`;
};
const pin = (found) => {
  pinned.hidden = !found;
  pinned.replaceChildren();
  if (!found) return;
  pinned.append(describe(found, true));
  const op = found.lane && found.k !== undefined ? rest ? found.lane.i[found.k] : null : found.fault ? found.fault.i : null;
  const links = element('p', undefined, 'links');
  if (op !== null) { const a = opLink(op); a.textContent = `line ${op + 1} of the history`; links.append(a); }
  const target = found.fault && $(`fault-${found.fault.id}`) ? `fault-${found.fault.id}` : found.violation ? `violation-${found.violation.n}` : null;
  if (target) { const a = element('a', found.fault ? 'its row in the table' : 'what broke'); a.href = `#${target}`; links.append(a); }
  pinned.append(links);
};

// ---- the hand -----------------------------------------------------------------------------------------------------

const place = (event, of) => { const box = of.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
let armed = false, held = null;
canvas.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  const [x, y] = place(event, canvas);
  if (x < GUT) return;
  canvas.setPointerCapture(event.pointerId);
  held = { x, y, view: view.slice(), moved: false, choosing: event.shiftKey || y < AXIS };
  if (held.choosing) canvas.classList.add('choosing');
});
canvas.addEventListener('pointermove', (event) => {
  if (event.movementX || event.movementY) armed = true;
  const [x, y] = place(event, canvas);
  at = [x, y];
  if (held) {
    held.moved ||= Math.abs(x - held.x) > 3;
    if (!held.moved) return;
    tip.hidden = true;
    if (held.choosing) choice = { a: T(held.x), b: T(Math.max(GUT, Math.min(W, x))) };
    else { canvas.classList.add('panning'); const d = (held.x - x) / (W - GUT) * (held.view[1] - held.view[0]); setView(held.view[0] + d, held.view[1] + d); }
    schedule();
    return;
  }
  cursor = x >= GUT ? T(x) : null;
  drawInstant(cursor === null ? instant : Math.max(0, Math.min(END, cursor)));
  showTip(hit(x, y), x, y);
  schedule();
});
const release = (event) => {
  if (!held) return;
  canvas.classList.remove('panning', 'choosing');
  if (choice) setView(Math.min(choice.a, choice.b), Math.max(choice.a, choice.b));
  else if (!held.moved && event.type === 'pointerup') {
    const found = hit(...place(event, canvas));
    chosen = found && found.k !== undefined ? found : null;
    marker = null;
    setInstant(T(place(event, canvas)[0]));
    pin(found);
  }
  held = choice = null;
  schedule();
};
canvas.addEventListener('pointerup', release);
canvas.addEventListener('pointercancel', release);
canvas.addEventListener('pointerleave', () => { armed = false; cursor = null; tip.hidden = true; drawInstant(instant); schedule(); });
canvas.addEventListener('dblclick', (event) => zoom(0.35, place(event, canvas)[0]));
// A page that is being scrolled past the timeline scrolls on: the wheel zooms once the pointer has moved over it.
window.addEventListener('wheel', (event) => { if (event.target !== canvas) armed = false; }, { passive: true });
canvas.addEventListener('wheel', (event) => {
  if (!(armed || event.ctrlKey || document.activeElement === canvas)) return;
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
  const along = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  const [x] = place(event, canvas);
  if (Math.abs(along) > Math.abs(event.deltaY) || event.shiftKey) pan(along * unit / (W - GUT));
  else if (event.deltaY > 0 && view[1] - view[0] >= END && !event.ctrlKey) return;
  else zoom(Math.exp(event.deltaY * unit * 0.0018), Math.max(GUT, x));
  event.preventDefault();
  tip.hidden = true;
}, { passive: false });

overview.addEventListener('pointerdown', (event) => {
  overview.setPointerCapture(event.pointerId);
  const t = OT(place(event, overview)[0]);
  choice = { a: t, b: t, overview: true };
});
overview.addEventListener('pointermove', (event) => { if (choice && choice.overview) { choice.b = OT(place(event, overview)[0]); schedule(); } });
overview.addEventListener('pointerup', () => {
  if (!choice) return;
  const [a, b] = [Math.min(choice.a, choice.b), Math.max(choice.a, choice.b)], half = (view[1] - view[0]) / 2;
  choice = null;
  if (OX(b) - OX(a) > 3) setView(a, b); else setView(a - half, a + half);
});

// ---- the keys -----------------------------------------------------------------------------------------------------

const middle = () => (view[0] + view[1]) / 2;
const choose = (lane, k, near) => {
  chosen = { lane, k };
  const t = lane.t[k];
  marker = null;
  if (near) show(t, t);
  else if (t < view[0] || t > view[1]) setView(t - (view[1] - view[0]) / 2, t + (view[1] - view[0]) / 2);
  pin(chosen);
  setInstant(Math.max(t, 0));
};
const step = (by) => {
  if (!chosen || !chosen.lane) { const lane = lanes.find((l) => l.n); if (lane) choose(lane, Math.max(0, lastAtMost(lane.t, view[0]))); return; }
  const k = chosen.k + by;
  if (k >= 0 && k < chosen.lane.n) choose(chosen.lane, k);
};
const changeLane = (by) => {
  const from = chosen ? lanes.indexOf(chosen.lane) : by > 0 ? -1 : lanes.length;
  const t = chosen ? chosen.lane.t[chosen.k] : middle();
  for (let i = from + by; i >= 0 && i < lanes.length; i += by) if (lanes[i].n) { choose(lanes[i], Math.max(0, lastAtMost(lanes[i].t, t))); return; }
};
let reignAt = -1, violationAt = -1;
const toReign = (by) => {
  if (!reigns.length) return;
  reignAt = reignAt < 0 ? (by > 0 ? 0 : reigns.length - 1) : Math.min(reigns.length - 1, Math.max(0, reignAt + by));
  goToReign(reigns[reignAt]);
};
const goToReign = (r) => {
  const before = D.empty.find(([, b]) => b === r.a);
  marker = r.a;
  setInstant(r.a);
  show(before && before[0] > 0 ? before[0] : r.a, r.a + Math.min(r.b - r.a, 2e6));
  pin({ reign: r });
};
const goToFault = (f) => {
  marker = f.t[0];
  setInstant(f.t[1] > f.t[0] ? f.t[1] : f.t[0]);
  show(f.t[0], f.t[3]);
  pin({ fault: f, lane: lanes[f.hosts[0]] || lanes[0] });
};
const toViolation = (n) => {
  const found = D.violations.findIndex((v) => v.n === n);
  if (found < 0) return;
  violationAt = found;
  marker = chosen = null;
  setInstant(D.violations[found].t);
  show(D.violations[found].t, D.violations[found].t);
  pin({ violation: D.violations[found] });
  followInSpaceTime(D.violations[found].t);
};
const actions = {
  in: () => zoom(0.6, chosen ? Math.min(W, Math.max(GUT, X(chosen.lane.t[chosen.k]))) : undefined), out: () => zoom(1 / 0.6), left: () => pan(-0.2), right: () => pan(0.2),
  all: () => { marker = null; setView(0, END); }, next: () => toReign(1), previous: () => toReign(-1),
  violation: () => { if (D.violations.length) toViolation(D.violations[(violationAt + 1) % D.violations.length].n); },
};
const keys = {
  '+': actions.in, '=': actions.in, '-': actions.out, '_': actions.out, ArrowLeft: actions.left, ArrowRight: actions.right,
  PageUp: () => pan(-0.9), PageDown: () => pan(0.9), Home: () => setView(0, view[1] - view[0]), End: () => setView(END - (view[1] - view[0]), END), '0': actions.all,
  ArrowUp: () => changeLane(-1), ArrowDown: () => changeLane(1), ',': () => step(-1), '.': () => step(1), n: actions.next, p: actions.previous, v: actions.violation, m: () => { if (stBox) { stActions.window(); $('spacetime').scrollIntoView(); } },
  Escape: () => { chosen = marker = null; tip.hidden = true; pin(null); schedule(); },
};
canvas.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
document.querySelector('.tools').addEventListener('click', (event) => { const name = event.target.dataset.do; if (name) actions[name](); });

