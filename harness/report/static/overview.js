/* The strip above the timeline: all of the run, and in it the window that the timeline shows. */
import { size } from './canvas.js';
import { colours, epochColour } from './colours.js';
import { byId } from './elements.js';
import { run } from './run.js';
import { schedule, selection, setView, view } from './view.js';

const HEIGHT = 34;
const strip = byId('overview');
const pen = strip.getContext('2d', { alpha: false });
let whole = null; // a picture of all the run, until colours or the size change

const xOf = (t) => size.gutter + (t / run.end) * (size.width - size.gutter - 1);
const timeAt = (x) => Math.min(run.end, Math.max(0, ((x - size.gutter) / (size.width - size.gutter - 1)) * run.end));

export const layOverview = () => {
  whole = null;
  strip.width = Math.round(size.width * size.scale);
  strip.height = Math.round(HEIGHT * size.scale);
};

const drawWhole = () => {
  pen.setTransform(size.scale, 0, 0, size.scale, 0, 0);
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, size.width, HEIGHT);
  run.phases.forEach((phase, i) => {
    pen.fillStyle = i % 2 ? colours.line : colours.faint;
    pen.fillRect(xOf(phase.t), 0, size.width, HEIGHT);
  });
  pen.fillStyle = colours.sheet;
  pen.fillRect(xOf(run.end), 0, size.width, HEIGHT);
  let last = -1;
  for (const r of run.reigns) {
    const x = xOf(r.a);
    const width = xOf(r.b) - x;
    if (width < 0.5 && Math.floor(x) === last) continue;
    last = Math.floor(x);
    pen.fillStyle = epochColour(r.e);
    pen.fillRect(x, 9, Math.max(width - 0.5, 0.7), 16);
  }
  pen.fillStyle = colours.fault;
  for (const { t } of run.faults) pen.fillRect(xOf(t[0]), 28, Math.max(xOf(t[3]) - xOf(t[0]), 1), 3);
  pen.fillStyle = colours.bad;
  for (const v of run.violations) pen.fillRect(xOf(v.t) - 1, 0, 2, HEIGHT);
  pen.fillStyle = colours.dim;
  pen.font = `11px ${size.font}`;
  pen.textBaseline = 'middle';
  pen.fillText(size.gutter > 70 ? 'whole run' : 'all', 12, 17);
  whole = document.createElement('canvas');
  whole.width = strip.width;
  whole.height = strip.height;
  whole.getContext('2d').drawImage(strip, 0, 0);
};

export const drawOverview = () => {
  if (!whole) drawWhole();
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(whole, 0, 0);
  pen.setTransform(size.scale, 0, 0, size.scale, 0, 0);
  const { choice } = selection;
  const shown = choice && choice.overview ? choice : { a: view.from, b: view.until };
  const a = xOf(Math.min(shown.a, shown.b));
  const b = Math.max(xOf(Math.max(shown.a, shown.b)), a + 3);
  pen.globalAlpha = 0.62;
  pen.fillStyle = colours.sheet;
  pen.fillRect(size.gutter, 0, a - size.gutter, HEIGHT);
  pen.fillRect(b, 0, size.width - b, HEIGHT);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1.5;
  pen.strokeRect(a + 0.75, 1, b - a - 1.5, HEIGHT - 2);
};

const timeUnder = (event) => timeAt(event.clientX - strip.getBoundingClientRect().left);
export const followOverview = () => {
  strip.addEventListener('pointerdown', (event) => {
    strip.setPointerCapture(event.pointerId);
    const t = timeUnder(event);
    selection.choice = { a: t, b: t, overview: true };
  });
  strip.addEventListener('pointermove', (event) => {
    const { choice } = selection;
    if (!choice || !choice.overview) return;
    choice.b = timeUnder(event);
    schedule();
  });
  strip.addEventListener('pointerup', () => {
    const { choice } = selection;
    if (!choice) return;
    selection.choice = null;
    const a = Math.min(choice.a, choice.b);
    const b = Math.max(choice.a, choice.b);
    const half = (view.until - view.from) / 2;
    if (xOf(b) - xOf(a) > 3) setView(a, b);
    else setView(a - half, a + half);
  });
};
