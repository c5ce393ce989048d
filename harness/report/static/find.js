/* Find: a server, a fault, an epoch, a time, an op, or words in reasons, faults, messages and violations. */
const FOUND_MAX = 12, SEARCHED_MAX = 200;
const finder = $('find'), foundList = $('found');
let found = [], foundAt = -1;

const timeOf = (words) => {
  const s = /^(\d+(?:\.\d+)?)\s*s$/.exec(words), m = /^(?:(\d+):)?(\d+):(\d\d(?:\.\d+)?)$/.exec(words);
  return s ? Number(s[1]) * 1e6 : m ? ((Number(m[1] || 0) * 60 + Number(m[2])) * 60 + Number(m[3])) * 1e6 : null;
};
/* What to call a place, when it is, and what to do to go there; in the order in which they are offered. */
const search = (asked) => {
  const words = asked.trim().toLowerCase(), out = [];
  if (!words) return out;
  const add = (says, t, go) => { if (out.length < SEARCHED_MAX) out.push({ says, t, go }); };
  const t = timeOf(words), number = /^(?:op|line|#)\s*(\d+)$/.exec(words), epoch = /^epoch\s*(\d+)$/.exec(words);
  if (t !== null && t <= END) add(`the instant ${clock(t)}`, t, () => { setInstant(t); show(t, t); });
  if (number) { const index = Number(number[1]) - (words.startsWith('line') ? 1 : 0); add(`op ${index} in the history`, null, () => { showOp(index); $('history').scrollIntoView(); }); return out; }
  for (const lane of lanes) if (lane.host.name.toLowerCase() === words || `sid ${lane.host.sid}` === words) add(`${lane.host.name}, sid ${lane.host.sid}`, null, () => { if (lane.n) choose(lane, Math.max(0, lastAtMost(lane.t, Math.max(view[0], Math.min(view[1], instant))))); });
  reigns.forEach((r, n) => { if (epoch ? r.e === Number(epoch[1]) : String(r.e) === words) add(`epoch ${r.e}, ${D.hosts[r.h].name}`, r.a, () => { reignAt = n; goToReign(r); }); });
  if (epoch) return out;
  for (const f of D.faults) if (f.id.toLowerCase() === words || f.kind.toLowerCase().includes(words) || f.says.toLowerCase().includes(words)) add(`${f.id}: ${f.says}`, f.t[0], () => goToFault(f));
  D.violations.forEach((v) => { if (`${v.promise} ${v.message}`.toLowerCase().includes(words)) add(`✕ ${v.n} ${v.message}`, v.t, () => toViolation(v.n)); });
  if (!rest) return out;
  const inTexts = new Set(rest.texts.map((line, n) => line.toLowerCase().includes(words) ? n : -1).filter((n) => n >= 0));
  if (inTexts.size) for (const lane of lanes) for (let k = 0; k < lane.n && out.length < SEARCHED_MAX; k++) if (inTexts.has(lane.w[k])) add(`${lane.host.name}: ${rest.texts[lane.w[k]]}`, lane.t[k], () => choose(lane, k, true));
  const inSaid = new Set(M.said.map(([, line], n) => line.toLowerCase().includes(words) ? n : -1).filter((n) => n >= 0));
  if (inSaid.size) for (let m = 0; m < M.s.length && out.length < SEARCHED_MAX; m++) if (inSaid.has(M.k[m])) add(messageSays(m), M.s[m], () => { marker = M.s[m]; setView(M.s[m] - 60e3, M.s[m] + 140e3); setInstant(M.s[m]); pin({ message: m }); });
  return out;
};
const offer = () => {
  found = search(finder.value);
  foundAt = -1;
  foundList.hidden = !finder.value.trim();
  const rows = found.slice(0, FOUND_MAX).map((place, n) => {
    const row = element('li'), go = element('button');
    go.type = 'button'; go.tabIndex = -1; go.dataset.place = n;
    if (place.t !== null) go.append(element('span', clock(place.t), 'n'));
    go.append(element('span', place.says));
    row.append(go);
    return row;
  });
  if (!found.length) rows.push(element('li', 'nothing of that', 'dim'));
  else if (found.length > FOUND_MAX) rows.push(element('li', `${found.length === SEARCHED_MAX ? 'at least ' : ''}${found.length - FOUND_MAX} more; Enter goes through them`, 'dim'));
  foundList.replaceChildren(...rows);
};
const goTo = (n) => {
  foundAt = n;
  [...foundList.querySelectorAll('button')].forEach((button, k) => button.setAttribute('aria-current', String(k === n)));
  found[n].go();
};
finder.addEventListener('input', offer);
finder.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') { finder.value = ''; offer(); canvas.focus({ preventScroll: true }); }
  const by = event.key === 'ArrowDown' || (event.key === 'Enter' && !event.shiftKey) ? 1 : event.key === 'ArrowUp' || event.key === 'Enter' ? -1 : 0;
  if (!by) return;
  event.preventDefault();
  if (found.length) goTo(foundAt < 0 ? (by > 0 ? 0 : found.length - 1) : (foundAt + by + found.length) % found.length);
});
foundList.addEventListener('click', (event) => { const go = event.target.closest('button'); if (go) { goTo(Number(go.dataset.place)); foundList.hidden = true; } });
document.addEventListener('click', (event) => { if (!event.target.closest('#finder')) foundList.hidden = true; });
document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input')) return;
  event.preventDefault();
  finder.focus();
  finder.select();
});
