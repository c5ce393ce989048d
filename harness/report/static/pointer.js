/* The pointer on the timeline: what is under it, pan, zoom, a window that is dragged out. */
import { arrowAt } from './arrows.js';
import { AXIS, PHASE, canvas, size } from './canvas.js';
import { hideTip, pin, showTip } from './cards.js';
import { lastAtMost } from './columns.js';
import { drawInstant, setInstant } from './instant.js';
import { faultRowAt } from './lanes.js';
import { run } from './run.js';
import { isOnReigns, reignRowAt } from './timeline.js';
import { pan, schedule, selection, setView, timeAt, view, xOf, zoom } from './view.js';

const reignOrGap = (y, t) => {
  const row = reignRowAt(y);
  const here = run.reigns.filter((r) => r.a <= t && t <= r.b);
  if (here.length) return { reign: here.find((r) => r.row === row) || here[0] };
  const gap = run.empty.find(([a, b]) => a <= t && t <= b);
  return gap ? { gap } : null;
};
const inLane = (lane, x, y, t) => {
  if (lane.deafHeight && y > lane.deafTop - 1 && y <= lane.faultsTop) {
    const deaf = lane.deaf.filter((d) => d.a <= t && t <= d.b);
    if (deaf.length) return { deaf, lane };
  }
  if (y > lane.faultsTop - 1) {
    const row = faultRowAt(lane, y);
    const covers = ({ t: times }) => {
      const x0 = xOf(times[0]);
      return x0 - 2 <= x && x <= Math.max(xOf(times[3]), x0 + 2) + 2;
    };
    const found = lane.faults.find((f) => f.row === row && covers(f.fault));
    if (found) return { fault: found.fault, lane };
  }
  const k = lastAtMost(lane.t, t);
  return k < 0 ? null : { lane, k };
};
/* What is at a place of the canvas: one of violation, message, deaf, phase, gap, reign, fault, lane and k; or null. */
const findAt = (x, y) => {
  if (x < size.gutter) return null;
  const t = timeAt(x);
  const message = arrowAt(x, y);
  if (message >= 0) return { message };
  const violation = y < AXIS && run.violations.find((v) => Math.abs(xOf(v.t) - x) < 14);
  if (violation) return { violation };
  if (isOnReigns(y)) return reignOrGap(y, t);
  const lane = run.lanes.find((l) => y >= l.y - 3 && y <= l.y + l.height);
  if (lane) return inLane(lane, x, y, t);
  const phase = y >= AXIS && y < AXIS + PHASE && run.phases.findLast((p) => p.t <= t);
  return phase ? { phase } : null;
};

const placeIn = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
let armed = false; // whether the wheel zooms
let held = null;

const press = (event) => {
  if (event.button) return;
  const [x, y] = placeIn(event);
  if (x < size.gutter) return;
  canvas.setPointerCapture(event.pointerId);
  held = { x, from: view.from, until: view.until, moved: false, choosing: event.shiftKey || y < AXIS };
  if (held.choosing) canvas.classList.add('choosing');
};
const drag = (x) => {
  held.moved ||= Math.abs(x - held.x) > 3;
  if (!held.moved) return;
  hideTip();
  if (held.choosing) {
    selection.choice = { a: timeAt(held.x), b: timeAt(Math.max(size.gutter, Math.min(size.width, x))) };
  } else {
    canvas.classList.add('panning');
    const by = ((held.x - x) / (size.width - size.gutter)) * (held.until - held.from);
    setView(held.from + by, held.until + by);
  }
  schedule();
};
const move = (event) => {
  if (event.movementX || event.movementY) armed = true;
  const [x, y] = placeIn(event);
  if (held) {
    drag(x);
    return;
  }
  const t = x >= size.gutter ? timeAt(x) : null;
  selection.cursor = t;
  drawInstant(t === null ? selection.instant : Math.max(0, Math.min(run.end, t)));
  showTip(findAt(x, y), x, y);
  schedule();
};
const release = (event) => {
  if (!held) return;
  canvas.classList.remove('panning', 'choosing');
  const { choice } = selection;
  if (choice) setView(Math.min(choice.a, choice.b), Math.max(choice.a, choice.b));
  else if (!held.moved && event.type === 'pointerup') {
    const [x, y] = placeIn(event);
    const found = findAt(x, y);
    selection.chosen = found && found.k !== undefined ? found : null;
    selection.marker = null;
    setInstant(timeAt(x));
    pin(found);
  }
  held = selection.choice = null;
  schedule();
};
const leave = () => {
  armed = false;
  selection.cursor = null;
  hideTip();
  drawInstant(selection.instant);
  schedule();
};
const turnWheel = (event) => {
  if (!(armed || event.ctrlKey || document.activeElement === canvas)) return;
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
  const along = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  const isAll = view.until - view.from >= run.end;
  if (Math.abs(along) > Math.abs(event.deltaY) || event.shiftKey) pan((along * unit) / (size.width - size.gutter));
  else if (event.deltaY > 0 && isAll && !event.ctrlKey) return;
  else zoom(Math.exp(event.deltaY * unit * 0.0018), Math.max(size.gutter, placeIn(event)[0]));
  event.preventDefault();
  hideTip();
};

export const followPointer = () => {
  canvas.addEventListener('pointerdown', press);
  canvas.addEventListener('pointermove', move);
  canvas.addEventListener('pointerup', release);
  canvas.addEventListener('pointercancel', release);
  canvas.addEventListener('pointerleave', leave);
  canvas.addEventListener('dblclick', (event) => zoom(0.35, placeIn(event)[0]));
  canvas.addEventListener('wheel', turnWheel, { passive: false });
  // A page that is being scrolled past the timeline scrolls on: the wheel zooms once the pointer has moved over it.
  window.addEventListener(
    'wheel',
    (event) => {
      if (event.target !== canvas) armed = false;
    },
    { passive: true },
  );
};
