/* The part of the run that the timeline shows, and what in it the reader has chosen. */
import { size } from './canvas.js';
import { run } from './run.js';

const SPAN_MIN = 200;

export const view = { from: 0, until: run.end };

/* `instant`: that of the graph beside the timeline.  `marker`: a time with a flag, or null.  `cursor`: the time
   under the pointer, or null.  `chosen`: {lane, k}, or null.  `choice`: the window that is being dragged out, {a,
   b}, or null; `overview` in it: on the strip above.  `violation`: the place of the last one that was gone to, or
   -1. */
export const selection = { instant: 0, marker: null, cursor: null, chosen: null, choice: null, violation: -1 };

export const xOf = (t) => size.gutter + ((t - view.from) / (view.until - view.from)) * (size.width - size.gutter);
export const timeAt = (x) => view.from + ((x - size.gutter) / (size.width - size.gutter)) * (view.until - view.from);
export const middleOfView = () => (view.from + view.until) / 2;

/* Drawing is asked for as often as anybody likes, and done once a frame, by the painter that timeline.js gives. */
let paint = () => {};
let asked = false;
export const drawWith = (painter) => {
  paint = painter;
};
export const schedule = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    paint();
  });
};

export const setView = (from, until) => {
  const span = Math.min(run.end, Math.max(SPAN_MIN, until - from));
  view.from = Math.min(run.end - span, Math.max(0, (from + until - span) / 2));
  view.until = view.from + span;
  schedule();
};
export const zoom = (factor, x = (size.gutter + size.width) / 2) => {
  const t = timeAt(x);
  const span = Math.min(run.end, Math.max(SPAN_MIN, (view.until - view.from) * factor));
  const share = (x - size.gutter) / (size.width - size.gutter);
  setView(t - span * share, t + span * (1 - share));
};
export const pan = (share) => {
  const by = (view.until - view.from) * share;
  setView(view.from + by, view.until + by);
};
/* Shows all of a span, or an instant, with something around it. */
export const show = (from, until) => {
  const span = until > from ? until - from : 0;
  const around = Math.max(span * 0.35, Math.min(run.end / 10, 750e3));
  setView(from - around, (until > from ? until : from) + around);
};
