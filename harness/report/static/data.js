'use strict';
/* What all parts of the script stand on: the page's data, made into columns, and the words for times and numbers.

   The parts, each a file, are one block in the page, in this order: data, lanes (the canvas), arrows (messages on it),
   instant (who hears whom), spacetime (the diagram), history (lines of it), timeline (hand and keys), find, begin.

   Every lane is a set of columns sorted by time (report/columns.py wrote them as differences).  Times are microseconds
   of the run.  Texts are only ever set as textContent or drawn with fillText: none is markup. */
const $ = (id) => document.getElementById(id);
const D = JSON.parse($('data').textContent);
const END = Math.max(D.end, 1000);
const MIN_SPAN = 200;

// ---- data ---------------------------------------------------------------------------------------------------------

const sum = (column) => {
  const sparse = !Array.isArray(column), d = sparse ? column.d : column;
  const out = new Float64Array(sparse ? column.n : d.length);
  let at = 0;
  if (!sparse) { for (let i = 0; i < d.length; i++) out[i] = at += d[i]; return out; }
  let place = 0;
  for (let i = 0; i < d.length; i += 2) {
    out.fill(at, place, place += d[i]);
    at += d[i + 1];
  }
  return out.fill(at, place);
};
const ROLES = ['down', 'starting', 'LOOKING', 'FOLLOWING', 'LEADING', 'OBSERVING'];
const PHASES = ['election', 'discovery', 'synchronization', 'broadcast'];
const RANK = [3, 2, 2, 1, 4, 1];
const lanes = D.lanes.map((columns, h) => {
  const lane = { h, host: D.hosts[h], faults: [] };
  for (const key in columns) lane[key] = sum(columns[key]);
  lane.n = lane.t.length;
  return lane;
});
for (const fault of D.faults) for (const h of fault.hosts) lanes[h].faults.push({ fault, row: 0 });
const stacked = (items, from, until, rowsMax) => {
  const ends = [];
  for (const item of items) {
    let row = ends.findIndex((end) => end <= from(item));
    if (row < 0) row = Math.min(ends.length, rowsMax - 1);
    ends[row] = Math.max(ends[row] || 0, until(item));
    item.row = row;
  }
  return Math.max(ends.length, 1);
};
for (const lane of lanes) {
  lane.faults.sort((a, b) => a.fault.t[0] - b.fault.t[0]);
  lane.rows = stacked(lane.faults, (f) => f.fault.t[0], (f) => f.fault.t[3], 4);
}
const reigns = D.reigns.e.map((e, i) => ({ e, h: D.reigns.h[i], a: D.reigns.a[i], b: D.reigns.b[i] }));
stacked(reigns, (r) => r.a, (r) => r.b, 2);
for (let i = 0, until = -1; i < reigns.length; i++) {
  // Two at once, mostly because the old one has not noticed yet, share the height; any other has it all.
  const overlaps = reigns[i].a < until || (i + 1 < reigns.length && reigns[i + 1].a < reigns[i].b);
  reigns[i].height = overlaps ? 0.5 : 1;
  if (!overlaps) reigns[i].row = 0;
  until = Math.max(until, reigns[i].b);
}
/* Who hears whom (report/hearing.py): for each lane, from when to when it hears nothing from which other. */
const hearing = D.hearing;
for (const key of ['t', 'a', 'l', 'rt', 'rh', 'ru']) hearing[key] = sum(hearing[key]);
lanes.forEach((lane, place) => { lane.place = place; lane.deaf = []; });
{
  const open = new Map(), until = hearing.until === null ? END : hearing.until;
  for (let k = 0; k < hearing.t.length; k++) {
    const atom = hearing.atoms[hearing.a[k]], before = open.get(hearing.a[k]);
    if (atom[0] !== 'drops' || !lanes[atom[1]] || typeof atom[2] !== 'number') continue;
    if (before) before.b = hearing.t[k];
    open.delete(hearing.a[k]);
    if (hearing.l[k]) { const deaf = { peer: atom[2], a: hearing.t[k], b: until, level: hearing.l[k] }; lanes[atom[1]].deaf.push(deaf); open.set(hearing.a[k], deaf); }
  }
}
const holders = new Map();
for (const r of reigns) holders.set(r.e, (holders.get(r.e) || new Set()).add(r.h));
const shared = (r) => r.e >= 0 && holders.get(r.e).size > 1;
/* Messages (report/exchanged.py), by the time when they were sent. */
const M = D.messages;
for (const key of ['s', 'w', 'f', 'o', 'k']) M[key] = sum(M[key]);
const ROUTINE = new Set(['PING', 'PROPOSAL', 'ACK', 'COMMIT', 'INFORM', 'REQUEST', 'SYNC', 'REVALIDATE']);
const routine = (m) => ROUTINE.has(M.said[M.k[m]][0]);
const ofElection = (m) => M.said[M.k[m]][0] === 'vote' || M.said[M.k[m]][0] === 'introduction';
const longestWay = M.w.reduce((most, w) => Math.max(most, w), 0);
/* Messages that touch the window, by number; those that were sent long before it and arrive in it too. */
const messagesIn = (from, until, wanted, most) => {
  const found = [];
  for (let m = lastAtMost(M.s, from - longestWay - 1) + 1; m < M.s.length && M.s[m] <= until; m++)
    if (M.s[m] + Math.max(M.w[m], 0) >= from && wanted(m)) { if (found.length >= most) return null; found.push(m); }
  return found;
};
const messageSays = (m) => `${D.hosts[M.f[m]].name} to ${D.hosts[M.o[m]].name}: ${M.said[M.k[m]][1]}`;
const clients = D.clients;
const hasClients = clients.n.length > 0;

/* The last place whose number is <= x, or -1. */
const lastAtMost = (column, x) => {
  let low = 0, high = column.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (column[mid] <= x) low = mid + 1; else high = mid;
  }
  return low - 1;
};

// ---- words --------------------------------------------------------------------------------------------------------

const clock = (us, step = 1000) => {
  const digits = step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : step >= 1e3 ? 3 : 6;
  const sign = us < 0 ? '−' : '', s = Math.abs(us) / 1e6;
  if (END <= 60e6 || s < 59.9995) return `${sign}${s.toFixed(digits)} s`;
  const rounded = Number(s.toFixed(digits));
  const rest = (rounded % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, '0');
  const minutes = Math.floor(rounded / 60);
  return minutes < 60 ? `${sign}${minutes}:${rest}` : `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`;
};
const lasting = (us) => us < 1000 ? `${us.toFixed(0)} µs` : us < 1e4 ? `${(us / 1e3).toFixed(1)} ms` : us < 1e6 ? `${(us / 1e3).toFixed(0)} ms`
  : us < 60e6 ? `${(us / 1e6).toFixed(2)} s` : `${Math.floor(us / 60e6)} min ${Math.round(us % 60e6 / 1e6)} s`;
const zxid = (high, low) => high < 0 ? '–' : `0x${high.toString(16)}${low.toString(16).padStart(8, '0')}`;
const text = (table, place) => place < 0 ? 'left out here; it is in the history' : table[place];
const known = (number) => number < 0 ? '–' : String(number);

// ---- elements -----------------------------------------------------------------------------------------------------

const element = (tag, words, name) => { const e = document.createElement(tag); if (words !== undefined) e.textContent = words; if (name) e.className = name; return e; };
const drawn = (tag, attributes, words) => {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const name in attributes) e.setAttribute(name, attributes[name]);
  if (words !== undefined) e.textContent = words;
  return e;
};
/* A link to an op's line in the history. */
const opLink = (index) => { const a = element('a', `op ${index}`, 'op'); a.href = '#history'; a.dataset.op = index; return a; };
