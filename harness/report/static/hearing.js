/* Who hears whom, and what else holds at one instant.

   What is known is the checkers' (report/hearing.py): an effect is not so, perhaps so, or surely so. */
import { BROADCAST, DOWN, FOLLOWING, LEADING, LOOKING, OBSERVING, PHASES, run, stateOf } from './run.js';

export const perhaps = (level) => (level === 1 ? ' (perhaps)' : '');

/* The world at `t`: the level of each effect, who runs, and the hosts among which a leader is due (null: none is). */
export const worldAt = (t) => {
  const { hearing } = run;
  const levels = new Map();
  const runs = run.lanes.map(() => null);
  for (let k = 0; k < hearing.t.length && hearing.t[k] <= t; k++) levels.set(hearing.a[k], hearing.l[k]);
  for (let k = 0; k < hearing.rt.length && hearing.rt[k] <= t; k++) runs[hearing.rh[k]] = hearing.ru[k] === 1;
  let majority = null;
  for (const [at, hosts] of hearing.majority) {
    if (at > t) break;
    majority = hosts;
  }
  const byKind = {};
  for (const [atom, level] of levels) {
    if (!level) continue;
    const [kind, ...hosts] = hearing.atoms[atom];
    (byKind[kind] ||= new Map()).set(hosts.join(' '), level);
  }
  const has = (kind, ...hosts) => (byKind[kind] && byKind[kind].get(hosts.join(' '))) || 0;
  return { runs, majority, has, known: hearing.until === null || t <= hearing.until };
};

export const isGone = (lane, t, world) => world.runs[lane.place] === false || stateOf(lane, t).role === DOWN;

const nameOf = (sid) => {
  const lane = run.lanes.find((l) => l.host.sid === String(sid));
  return lane ? lane.host.name : 'a server that is not in this run';
};
const doing = ({ role, established, epoch, leader }) => {
  const inEpoch = epoch >= 0 ? ` epoch ${epoch}` : '';
  if (role === LEADING) return `${established ? 'leads' : 'is elected,'}${inEpoch}`;
  if (role === LOOKING) return 'LOOKING';
  if (role !== FOLLOWING && role !== OBSERVING) return 'starting';
  return `${role === OBSERVING ? 'observes' : 'follows'} ${nameOf(leader)}${inEpoch ? `,${inEpoch}` : ''}`;
};

/* What a lane's server is at `t`, in words; the first says what it does. */
export const stateWords = (lane, t, world) => {
  const state = stateOf(lane, t);
  const troubles = [];
  for (const [kind, words] of [
    ['paused', 'paused'],
    ['clock', 'clock skewed'],
    ['disk', 'disk stuck'],
  ]) {
    const level = world.has(kind, lane.place);
    if (level) troubles.push(`${words}${perhaps(level)}`);
  }
  if (isGone(lane, t, world)) return ['down', ...troubles];
  const inPhase = state.role >= FOLLOWING && state.phase < BROADCAST ? ` in ${PHASES[state.phase]}` : '';
  return [doing(state) + inPhase, ...troubles];
};

/* The servers that a lane's server does not hear, or only over a bad link. */
export const deafWords = (lane, world) => {
  const cut = [];
  const poor = [];
  for (const other of run.lanes) {
    if (other === lane) continue;
    const drops = world.has('drops', lane.place, other.place);
    if (drops) cut.push(other.host.name + perhaps(drops));
    else if (world.has('degraded', lane.place, other.place)) poor.push(other.host.name);
  }
  return [cut.join(' '), poor.length ? `bad link: ${poor.join(' ')}` : ''].filter(Boolean).join('; ');
};
