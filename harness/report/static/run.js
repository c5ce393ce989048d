/* The run that the page is about: hosts, lanes, faults, leaders, who hears whom.

   It is empty until begin.js has read it: first what the timeline is drawn from, then the rest, which an op's card, the
   search, the diagram and the history's lines need.

   A lane is a host's set of columns, sorted by time (report/columns.py wrote them as differences): `t` the time of a
   transition, `s` its state (see roleOf, phaseOf and isEstablished), `e` the epoch, `l` the leader's sid; with the rest
   also `i` the op, `d` the clock's error, `r` the round, `a` and `c` the accepted and the current epoch, `zh` and `zl`
   the last zxid, and `v`, `w`, `x` the places of the texts of its vote, reason and evidence.

   Times are microseconds of the run. */
import { lastAtMost, peaksOf, stacked, sum } from './columns.js';
import { unpack } from './packed.js';

export const ROLES = ['down', 'starting', 'LOOKING', 'FOLLOWING', 'LEADING', 'OBSERVING'];
export const PHASES = ['election', 'discovery', 'synchronization', 'broadcast'];
export const DOWN = 0;
export const STARTING = 1;
export const LOOKING = 2;
export const FOLLOWING = 3;
export const LEADING = 4;
export const OBSERVING = 5;
export const BROADCAST = 3;

export const run = {
  hosts: [],
  faults: [],
  phases: [],
  empty: [],
  violations: [],
  end: 1000,
  lanes: [],
  reigns: [],
  hearing: null,
  clients: null,
  hasClients: false,
  transitions: 0,
  rest: null, // what an op's card and the history's lines tell, once it is read
};

export const roleOf = (state) => state % 10;
export const phaseOf = (state) => Math.floor((state % 100) / 10);
export const isEstablished = (state) => state >= 100;

/* Which of the states that share a pixel is drawn: an established leader, then what RANK of its role says. */
const RANK = [3, 2, 2, 1, 4, 1];
const laneOf = (columns, place) => {
  const lane = { place, host: run.hosts[place], faults: [], deaf: [] };
  for (const key in columns) lane[key] = sum(columns[key]);
  const n = (lane.n = lane.t.length);
  lane.ranks = new Uint8Array(n);
  for (let k = 0; k < n; k++) {
    const s = lane.s[k];
    lane.ranks[k] = 10 * (isEstablished(s) ? 5 : RANK[roleOf(s)]) + (s % 100) / 10;
  }
  lane.peaks = peaksOf(lane.ranks);
  return lane;
};

const readFaults = () => {
  for (const fault of run.faults) for (const h of fault.hosts) run.lanes[h].faults.push({ fault, row: 0 });
  for (const lane of run.lanes) {
    lane.faults.sort((a, b) => a.fault.t[0] - b.fault.t[0]);
    lane.rows = stacked(
      lane.faults,
      (f) => f.fault.t[0],
      (f) => f.fault.t[3],
      4,
    );
  }
};

/* Who was the established leader of which epoch (`e`), on which host (`h`), from when (`a`) to when (`b`). */
const readReigns = ({ e, h, a, b }) => {
  const reigns = (run.reigns = e.map((epoch, i) => ({ e: epoch, h: h[i], a: a[i], b: b[i] })));
  stacked(
    reigns,
    (r) => r.a,
    (r) => r.b,
    2,
  );
  const holders = new Map(); // of an epoch, the server; or a set of them, as soon as there is another
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
  const { hearing, lanes } = run;
  for (const key of ['t', 'a', 'l', 'rt', 'rh', 'ru']) hearing[key] = sum(hearing[key]);
  const open = new Map();
  const until = hearing.until === null ? run.end : hearing.until;
  for (let k = 0; k < hearing.t.length; k++) {
    const atom = hearing.atoms[hearing.a[k]];
    const before = open.get(hearing.a[k]);
    if (atom[0] !== 'drops' || !lanes[atom[1]] || typeof atom[2] !== 'number') continue;
    if (before) before.b = hearing.t[k];
    open.delete(hearing.a[k]);
    if (!hearing.l[k]) continue;
    const deaf = { peer: atom[2], a: hearing.t[k], b: until, level: hearing.l[k] };
    lanes[atom[1]].deaf.push(deaf);
    open.set(hearing.a[k], deaf);
  }
};

export const readTimeline = async () => {
  Object.assign(run, await unpack('timeline'));
  run.end = Math.max(run.end, 1000);
  run.lanes = run.lanes.map(laneOf);
  run.transitions = run.lanes.reduce((n, lane) => n + lane.n, 0);
  run.hasClients = run.clients.n.length > 0;
  readFaults();
  readReigns(run.reigns);
  readHearing();
};
export const readRest = async () => {
  const read = await unpack('rest');
  read.ops.i = sum(read.ops.i);
  run.lanes.forEach((lane, h) => {
    for (const key in read.lanes[h]) lane[key] = sum(read.lanes[h][key]);
  });
  run.rest = read;
};

/* A lane's state at `t`. */
export const stateOf = (lane, t) => {
  const k = lastAtMost(lane.t, t);
  if (k < 0) return { role: DOWN, established: false, epoch: -1, leader: -1, phase: 0 };
  const state = lane.s[k];
  return {
    role: roleOf(state),
    phase: phaseOf(state),
    established: isEstablished(state),
    epoch: lane.e[k],
    leader: lane.l[k],
  };
};
