/* Find: a server, a fault, an epoch, a time, an op, or words in reasons, faults, messages and violations. */
import { canvas } from './canvas.js';
import { byId, element } from './elements.js';
import { showOp } from './history.js';
import { onKeys } from './keys.js';
import { fullWords, messages } from './messages.js';
import { choose, chooseAt, goToFault, goToMessage, goToReign, goToTime, goToViolation } from './places.js';
import { run } from './run.js';
import { selection, view } from './view.js';
import { clock } from './words.js';

const FOUND_MAX = 12;
const SEARCHED_MAX = 200;
const finder = byId('find');
const list = byId('found');
let found = [];
let foundAt = -1;

const timeIn = (words) => {
  const s = /^(\d+(?:\.\d+)?)\s*s$/.exec(words);
  if (s) return Number(s[1]) * 1e6;
  const m = /^(?:(\d+):)?(\d+):(\d\d(?:\.\d+)?)$/.exec(words);
  return m ? ((Number(m[1] || 0) * 60 + Number(m[2])) * 60 + Number(m[3])) * 1e6 : null;
};
const goToOp = (index) => {
  showOp(index);
  byId('history').scrollIntoView();
};
const goToServer = (lane) => {
  if (lane.n) chooseAt(lane, Math.max(view.from, Math.min(view.until, selection.instant)));
};
const findNames = (words, add) => {
  for (const lane of run.lanes) {
    const { name, sid } = lane.host;
    if (name.toLowerCase() === words || `sid ${sid}` === words)
      add(`${name}, sid ${sid}`, null, () => goToServer(lane));
  }
};
const findEpochs = (words, epoch, add) => {
  run.reigns.forEach((r, n) => {
    if (epoch ? r.e !== Number(epoch[1]) : String(r.e) !== words) return;
    add(`epoch ${r.e}, ${run.hosts[r.h].name}`, r.a, () => goToReign(n));
  });
};
/* What holds the words: faults, violations, reasons, messages. */
const findWords = (words, add, isFull) => {
  const holds = (line) => line.toLowerCase().includes(words);
  const holders = (lines) => new Set(lines.flatMap((line, n) => (holds(line) ? [n] : [])));
  for (const f of run.faults) {
    if (f.id.toLowerCase() === words || holds(f.kind) || holds(f.says)) {
      add(`${f.id}: ${f.says}`, f.t[0], () => goToFault(f));
    }
  }
  for (const v of run.violations) {
    if (holds(`${v.promise} ${v.message}`)) add(`✕ ${v.n} ${v.message}`, v.t, () => goToViolation(v.n));
  }
  if (!run.rest) return;
  const { texts } = run.rest;
  const inTexts = holders(texts);
  for (const lane of inTexts.size ? run.lanes : []) {
    for (let k = 0; k < lane.n && !isFull(); k++) {
      const place = lane.w[k];
      if (inTexts.has(place)) add(`${lane.host.name}: ${texts[place]}`, lane.t[k], () => choose(lane, k, true));
    }
  }
  const inSaid = holders(messages.said.map(([, line]) => line));
  if (!inSaid.size) return;
  for (let m = 0; m < messages.sent.length && !isFull(); m++) {
    if (inSaid.has(messages.saying[m])) add(fullWords(m), messages.sent[m], () => goToMessage(m));
  }
};
/* What to call a place, when it is, and what to do to go there; in the order in which they are offered. */
const search = (asked) => {
  const words = asked.trim().toLowerCase();
  const out = [];
  if (!words) return out;
  const isFull = () => out.length >= SEARCHED_MAX;
  const add = (says, t, go) => {
    if (!isFull()) out.push({ says, t, go });
  };
  const t = timeIn(words);
  if (t !== null && t <= run.end) add(`time ${clock(t)}`, t, () => goToTime(t));
  const number = /^(?:op|line|#)\s*(\d+)$/.exec(words);
  if (number) {
    const index = Number(number[1]) - (words.startsWith('line') ? 1 : 0);
    add(`op ${index} in the history`, null, () => goToOp(index));
    return out;
  }
  const epoch = /^epoch\s*(\d+)$/.exec(words);
  findNames(words, add);
  findEpochs(words, epoch, add);
  if (!epoch) findWords(words, add, isFull);
  return out;
};

const rowOf = ({ says, t }, n) => {
  const row = element('li');
  const go = element('button');
  go.type = 'button';
  go.tabIndex = -1;
  go.dataset.place = n;
  if (t !== null) go.append(element('span', clock(t), 'n'));
  go.append(element('span', says));
  row.append(go);
  return row;
};
const offer = () => {
  found = search(finder.value);
  foundAt = -1;
  list.hidden = !finder.value.trim();
  const rows = found.slice(0, FOUND_MAX).map(rowOf);
  const more = found.length - FOUND_MAX;
  const atLeast = found.length === SEARCHED_MAX ? 'at least ' : '';
  if (!found.length) rows.push(element('li', 'Nothing found', 'dim'));
  else if (more > 0) rows.push(element('li', `${atLeast}${more} more; press Enter for the next one`, 'dim'));
  list.replaceChildren(...rows);
};
const goTo = (n) => {
  foundAt = n;
  [...list.querySelectorAll('button')].forEach((go, k) => go.setAttribute('aria-current', String(k === n)));
  found[n].go();
};
const stepOf = ({ key, shiftKey }) => {
  if (key === 'ArrowDown' || (key === 'Enter' && !shiftKey)) return 1;
  return key === 'ArrowUp' || key === 'Enter' ? -1 : 0;
};
const onFinderKey = (event) => {
  if (event.key === 'Escape') {
    finder.value = '';
    offer();
    canvas.focus({ preventScroll: true });
    event.preventDefault();
  }
  const by = stepOf(event);
  if (!by) return;
  event.preventDefault();
  if (!found.length) return;
  if (foundAt < 0) goTo(by > 0 ? 0 : found.length - 1);
  else goTo((foundAt + by + found.length) % found.length);
};
export const beginFind = () => {
  finder.addEventListener('input', offer);
  finder.addEventListener('keydown', onFinderKey);
  list.addEventListener('click', (event) => {
    const go = event.target.closest('button');
    if (!go) return;
    goTo(Number(go.dataset.place));
    list.hidden = true;
  });
  document.addEventListener('click', (event) => {
    if (!event.target.closest('#finder')) list.hidden = true;
  });
  onKeys(document, {
    '/': () => {
      finder.focus();
      finder.select();
    },
  });
};
