'use strict';
/* What all parts of the script stand on: the page's data, made into columns, and the words for times and numbers.

   The parts, each a file, are one block in the page, in this order: data, lanes (the canvas), arrows (messages on it),
   instant (who hears whom), spacetime (the diagram), history (lines of it), timeline (hand and keys), find, begin.

   The data is packed in the page in parts (report/packed.py).  All is empty here until begin.js has read them: first what
   the timeline is drawn from, then the rest, which an op's card, find, the diagram and the history's lines need.

   Every lane is a set of columns sorted by time (report/columns.py wrote them as differences).  Times are microseconds
   of the run.  Texts are only ever set as textContent or drawn with fillText: none is markup. */
const $ = (id) => document.getElementById(id);
const MIN_SPAN = 200;
const ROLES = ['down', 'starting', 'LOOKING', 'FOLLOWING', 'LEADING', 'OBSERVING'];
const PHASES = ['election', 'discovery', 'synchronization', 'broadcast'];

// ---- data ---------------------------------------------------------------------------------------------------------

let D = { hosts: [], faults: [], phases: [], empty: [], violations: [] };
let END = 1000, lanes = [], reigns = [], hearing = null, clients = null, hasClients = false;
let rest = null;  // what an op's card and the history's lines tell, once it is read
/* Messages (report/exchanged.py), by the time when they were sent. */
let M = { s: [], w: [], f: [], o: [], k: [], said: [] }, longestWay = 0;

const unpack = (part) => {
  const packed = atob($(`packed-${part}`).textContent), bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  $(`packed-${part}`).remove();
  const inflate = new DecompressionStream('deflate'), into = inflate.writable.getWriter();
  into.write(bytes);
  into.close();
  return new Response(inflate.readable).json();
};
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

/* Which of the states that share a pixel is drawn: an established leader, then what RANK of its role says. */
const RANK = [3, 2, 2, 1, 4, 1];
/* A tree over the ranks of a lane: the places n and above are the transitions themselves, each place below n names the
   higher of the two under it.  The highest of any stretch is found in as many steps as its length has binary digits. */
const peaksOf = (ranks) => {
  const n = ranks.length, peaks = new Int32Array(2 * n);
  for (let i = 0; i < n; i++) peaks[n + i] = i;
  for (let i = n - 1; i > 0; i--) { const a = peaks[2 * i], b = peaks[2 * i + 1]; peaks[i] = ranks[b] > ranks[a] ? b : a; }
  return peaks;
};
/* The transition of the highest rank from a to before b. */
const highest = ({ ranks, peaks, n }, a, b) => {
  let best = a;
  for (let i = a + n, j = b + n; i < j; i >>= 1, j >>= 1) {
    if (i & 1) { const p = peaks[i++]; if (ranks[p] > ranks[best]) best = p; }
    if (j & 1) { const p = peaks[--j]; if (ranks[p] > ranks[best]) best = p; }
  }
  return best;
};
const laneOf = (columns, place) => {
  const lane = { place, host: D.hosts[place], faults: [], deaf: [] };
  for (const key in columns) lane[key] = sum(columns[key]);
  const n = lane.n = lane.t.length;
  lane.ranks = new Uint8Array(n);
  for (let k = 0; k < n; k++) { const s = lane.s[k]; lane.ranks[k] = 10 * (s >= 100 ? 5 : RANK[s % 10]) + s % 100 / 10; }
  lane.peaks = peaksOf(lane.ranks);
  return lane;
};
/* Gives each item the first row that is free when it begins; answers how many rows there are. */
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
const readFaults = () => {
  for (const fault of D.faults) for (const h of fault.hosts) lanes[h].faults.push({ fault, row: 0 });
  for (const lane of lanes) {
    lane.faults.sort((a, b) => a.fault.t[0] - b.fault.t[0]);
    lane.rows = stacked(lane.faults, (f) => f.fault.t[0], (f) => f.fault.t[3], 4);
  }
};
const readReigns = () => {
  reigns = D.reigns.e.map((e, i) => ({ e, h: D.reigns.h[i], a: D.reigns.a[i], b: D.reigns.b[i] }));
  stacked(reigns, (r) => r.a, (r) => r.b, 2);
  const holders = new Map();  // of an epoch, the server; or a set of them, as soon as there is another
  let until = -1;
  reigns.forEach((r, i) => {
    // Two at once, mostly because the old one has not noticed yet, share the height; any other has it all.
    const overlaps = r.a < until || (i + 1 < reigns.length && reigns[i + 1].a < r.b);
    r.height = overlaps ? 0.5 : 1;
    if (!overlaps) r.row = 0;
    until = Math.max(until, r.b);
    const held = holders.get(r.e);
    if (held === undefined) holders.set(r.e, r.h);
    else if (held !== r.h) holders.set(r.e, new Set(held instanceof Set ? held : [held]).add(r.h));
  });
  for (const r of reigns) r.shared = r.e >= 0 && holders.get(r.e) instanceof Set ? [...holders.get(r.e)] : null;
};
/* Who hears whom (report/hearing.py): for each lane, from when to when it hears nothing from which other. */
const readHearing = () => {
  hearing = D.hearing;
  for (const key of ['t', 'a', 'l', 'rt', 'rh', 'ru']) hearing[key] = sum(hearing[key]);
  const open = new Map(), until = hearing.until === null ? END : hearing.until;
  for (let k = 0; k < hearing.t.length; k++) {
    const atom = hearing.atoms[hearing.a[k]], before = open.get(hearing.a[k]);
    if (atom[0] !== 'drops' || !lanes[atom[1]] || typeof atom[2] !== 'number') continue;
    if (before) before.b = hearing.t[k];
    open.delete(hearing.a[k]);
    if (hearing.l[k]) { const deaf = { peer: atom[2], a: hearing.t[k], b: until, level: hearing.l[k] }; lanes[atom[1]].deaf.push(deaf); open.set(hearing.a[k], deaf); }
  }
};
/* The parts of the data, in the order in which they are read. */
const readTimeline = async () => {
  D = await unpack('timeline');
  END = Math.max(D.end, 1000);
  lanes = D.lanes.map(laneOf);
  clients = D.clients;
  hasClients = clients.n.length > 0;
  readFaults();
  readReigns();
  readHearing();
};
const readMessages = async () => {
  const columns = await unpack('messages');
  for (const key of ['s', 'w', 'f', 'o', 'k']) columns[key] = sum(columns[key]);
  longestWay = columns.w.reduce((most, w) => Math.max(most, w), 0);
  M = columns;
};
const readRest = async () => {
  const read = await unpack('rest');
  read.ops.i = sum(read.ops.i);
  lanes.forEach((lane, h) => { for (const key in read.lanes[h]) lane[key] = sum(read.lanes[h][key]); });
  rest = read;
};

const ROUTINE = new Set(['PING', 'PROPOSAL', 'ACK', 'COMMIT', 'INFORM', 'REQUEST', 'SYNC', 'REVALIDATE']);
const routine = (m) => ROUTINE.has(M.said[M.k[m]][0]);
const ofElection = (m) => M.said[M.k[m]][0] === 'vote' || M.said[M.k[m]][0] === 'introduction';
/* Messages that touch the window, by number; those that were sent long before it and arrive in it too. */
const messagesIn = (from, until, wanted, most) => {
  const found = [];
  for (let m = lastAtMost(M.s, from - longestWay - 1) + 1; m < M.s.length && M.s[m] <= until; m++)
    if (M.s[m] + Math.max(M.w[m], 0) >= from && wanted(m)) { if (found.length >= most) return null; found.push(m); }
  return found;
};
const messageSays = (m) => `${D.hosts[M.f[m]].name} to ${D.hosts[M.o[m]].name}: ${M.said[M.k[m]][1]}`;

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
