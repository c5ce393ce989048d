/* The timeline's buttons and keys.

   Letters, digits and signs work wherever the reader is, and bring the timeline into sight; arrows and paging
   keys scroll the page, unless the timeline has the focus. */
import { canvas, size } from './canvas.js';
import { hideTip, pin } from './cards.js';
import { byId } from './elements.js';
import { onKeys } from './keys.js';
import { changeLane, changeReign, nextViolation, step } from './places.js';
import { run } from './run.js';
import { isShown, showWindow } from './spacetime.js';
import { pan, schedule, selection, setView, view, xOf, zoom } from './view.js';

const zoomIn = () => {
  const { chosen } = selection;
  zoom(0.6, chosen ? Math.min(size.width, Math.max(size.gutter, xOf(chosen.lane.t[chosen.k]))) : undefined);
};
const zoomOut = () => zoom(1 / 0.6);
const showAll = () => {
  selection.marker = null;
  setView(0, run.end);
};
const left = () => pan(-0.2);
const right = () => pan(0.2);
const next = () => changeReign(1);
const previous = () => changeReign(-1);

const buttons = { in: zoomIn, out: zoomOut, left, right, all: showAll, next, previous, violation: nextViolation };

export const focusTimeline = () => {
  byId('timeline').scrollIntoView();
  canvas.focus({ preventScroll: true });
};

const letGo = () => {
  selection.chosen = selection.marker = null;
  hideTip();
  pin(null);
  schedule();
};
const showMessages = () => {
  if (!isShown()) return;
  showWindow();
  byId('spacetime').scrollIntoView();
};
const anywhere = {
  '+': zoomIn,
  '=': zoomIn,
  '-': zoomOut,
  _: zoomOut,
  0: showAll,
  ',': () => step(-1),
  '.': () => step(1),
  n: next,
  p: previous,
  v: nextViolation,
};
const span = () => view.until - view.from;
const inSight = (act) => () => {
  if (!byId('timeline').contains(document.activeElement)) focusTimeline();
  act();
};
const broughtIntoSight = Object.entries(anywhere).map(([key, act]) => [key, inSight(act)]);

export const beginCommands = () => {
  document.querySelector('#timeline .tools').addEventListener('click', (event) => {
    const name = event.target.dataset.do;
    if (name) buttons[name]();
  });
  onKeys(canvas, {
    ...anywhere,
    ArrowLeft: left,
    ArrowRight: right,
    ArrowUp: () => changeLane(-1),
    ArrowDown: () => changeLane(1),
    PageUp: () => pan(-0.9),
    PageDown: () => pan(0.9),
    Home: () => setView(0, span()),
    End: () => setView(run.end - span(), run.end),
  });
  onKeys(document, { ...Object.fromEntries(broughtIntoSight), m: showMessages, Escape: letGo });
};
