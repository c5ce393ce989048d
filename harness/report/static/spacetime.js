/* The window of the space-time diagram: where it begins, its buttons, and how it follows the timeline. */
import { lastAtMost } from './columns.js';
import { drawDiagram } from './diagram.js';
import { byId } from './elements.js';
import { isRoutine, messages } from './messages.js';
import { run } from './run.js';
import { selection, view } from './view.js';
import { clock, counted } from './words.js';

const FIRST = 60;
const SPAN_MAX = 4e6;
const FOLLOW_MS = 50;
const box = byId('st'); // null in a report without messages
const withRoutine = byId('st-routine');
let shown = null;
let following = null;

export const isShown = () => box !== null && shown !== null;

/* The window that ends with FIRST messages before `t`, and goes on a little after it. */
const around = (t) => {
  let from = t;
  let found = 0;
  for (let m = lastAtMost(messages.sent, t); m >= 0 && found < FIRST && t - messages.sent[m] < SPAN_MAX; m--) {
    if (!withRoutine.checked && isRoutine(m)) continue;
    found++;
    from = messages.sent[m];
  }
  return [Math.max(0, from - 1e3), Math.min(run.end, t + Math.max(20e3, (t - from) * 0.25))];
};

export const drawSpaceTime = () => {
  if (!isShown() || !run.rest || !run.lanes.length) return;
  const [from, until] = shown;
  const drawn = drawDiagram(box, from, until, withRoutine.checked);
  const what = `${counted(drawn.shown, 'message')} from ${clock(from)} to ${clock(drawn.last)}`;
  const lost = drawn.lost ? `; ${drawn.lost} never arrived` : '';
  const leftOut = drawn.leftOut ? ` ${drawn.leftOut} more, up to ${clock(until)}, are not shown.` : '';
  const how = 'Time runs down the page, not to scale. Point at an arrow to read the message.';
  box.setAttribute('aria-label', `Space-time diagram of ${what}`);
  byId('st-says').textContent = `${what}${lost}.${leftOut} ${how}`;
};
const showSpaceTime = (from, until) => {
  clearTimeout(following);
  if (!box) return;
  shown = [Math.max(0, from), Math.min(run.end, until)];
  drawSpaceTime();
  const broken = box.querySelector('.broken line');
  box.scrollTop = broken ? broken.getAttribute('y1') - box.clientHeight * 0.7 : 0;
};
/* The timeline's window. */
export const showWindow = () => showSpaceTime(view.from, view.until);

/* The diagram follows the timeline to `t`: after the frame in which the timeline itself moves there, and once for
   many. */
export const followInSpaceTime = (t) => {
  clearTimeout(following);
  following = setTimeout(() => showSpaceTime(...around(t)), FOLLOW_MS);
};

const move = (share) => {
  const by = (shown[1] - shown[0]) * share;
  showSpaceTime(shown[0] + by, shown[1] + by);
};
const buttons = {
  earlier: () => move(-0.8),
  later: () => move(0.8),
  violation: () => showSpaceTime(...around(run.violations[Math.max(0, selection.violation)].t)),
  window: showWindow,
};
/* Where to begin: at the first violation; or where the first leader was established; or at the start. */
export const beginSpaceTime = () => {
  if (!box) return;
  const [violation] = run.violations;
  const [reign] = run.reigns;
  showSpaceTime(...around(violation ? violation.t : reign ? reign.a : Math.min(run.end, 1e6)));
  withRoutine.addEventListener('change', drawSpaceTime);
  document.querySelector('#spacetime .tools').addEventListener('click', (event) => {
    const name = event.target.dataset.st;
    if (name) buttons[name]();
  });
};
