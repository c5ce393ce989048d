/* Going to places of the run: a server's op, a reign, a fault, a violation. */
import { pin } from './cards.js';
import { lastAtMost } from './columns.js';
import { setInstant } from './instant.js';
import { messages } from './messages.js';
import { run } from './run.js';
import { followInSpaceTime } from './spacetime.js';
import { middleOfView, selection, setView, show, view } from './view.js';

/* Chooses a lane's transition k; `near`: and zooms in on it. */
export const choose = (lane, k, near) => {
  const chosen = { lane, k };
  const t = lane.t[k];
  selection.chosen = chosen;
  selection.marker = null;
  const half = (view.until - view.from) / 2;
  if (near) show(t, t);
  else if (t < view.from || t > view.until) setView(t - half, t + half);
  pin(chosen);
  setInstant(Math.max(t, 0));
};
export const chooseAt = (lane, t) => choose(lane, Math.max(0, lastAtMost(lane.t, t)));
/* The op before or after the one that is chosen. */
export const step = (by) => {
  const { chosen } = selection;
  if (!chosen) {
    const lane = run.lanes.find((l) => l.n);
    if (lane) chooseAt(lane, view.from);
    return;
  }
  const k = chosen.k + by;
  if (k >= 0 && k < chosen.lane.n) choose(chosen.lane, k);
};
export const changeLane = (by) => {
  const { chosen } = selection;
  const from = chosen ? run.lanes.indexOf(chosen.lane) : by > 0 ? -1 : run.lanes.length;
  const t = chosen ? chosen.lane.t[chosen.k] : middleOfView();
  for (let i = from + by; i >= 0 && i < run.lanes.length; i += by) {
    if (!run.lanes[i].n) continue;
    chooseAt(run.lanes[i], t);
    return;
  }
};

let reignAt = -1;
export const goToReign = (n) => {
  const r = run.reigns[n];
  const before = run.empty.find(([, b]) => b === r.a);
  reignAt = n;
  selection.marker = r.a;
  setInstant(r.a);
  show(before && before[0] > 0 ? before[0] : r.a, r.a + Math.min(r.b - r.a, 2e6));
  pin({ reign: r });
};
export const changeReign = (by) => {
  const last = run.reigns.length - 1;
  if (last < 0) return;
  if (reignAt < 0) goToReign(by > 0 ? 0 : last);
  else goToReign(Math.min(last, Math.max(0, reignAt + by)));
};

export const goToFault = (f) => {
  const [requested, began, , ended] = f.t;
  selection.marker = requested;
  setInstant(Math.max(began, requested));
  show(requested, ended);
  pin({ fault: f, lane: run.lanes[f.hosts[0]] || run.lanes[0] });
};

export const goToMessage = (m) => {
  const t = messages.sent[m];
  selection.marker = t;
  setView(t - 60e3, t + 140e3);
  setInstant(t);
  pin({ message: m });
};

export const goToTime = (t, until = t) => {
  selection.marker = t;
  setInstant(t);
  show(t, until);
};

/* To a violation by its number in the report. */
export const goToViolation = (number) => {
  const found = run.violations.findIndex((v) => v.n === number);
  if (found < 0) return;
  const violation = run.violations[found];
  selection.violation = found;
  selection.marker = selection.chosen = null;
  setInstant(violation.t);
  show(violation.t, violation.t);
  pin({ violation });
  followInSpaceTime(violation.t);
};
export const nextViolation = () => {
  const { violations } = run;
  if (violations.length) goToViolation(violations[(selection.violation + 1) % violations.length].n);
};
