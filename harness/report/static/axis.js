/* The axis above the lanes: times, the run's phases, and flags on the times of violations. */
import { AXIS, PHASE, fitted, pen, size } from './canvas.js';
import { colours } from './colours.js';
import { run } from './run.js';
import { view, xOf } from './view.js';
import { clock } from './words.js';

const STEPS_S = [
  1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14400,
];
const STEPS = STEPS_S.map((s) => s * 1e6);

const drawPhase = (phase, i) => {
  const a = xOf(phase.t);
  const b = i + 1 < run.phases.length ? xOf(run.phases[i + 1].t) : xOf(run.end);
  if (b < size.gutter || a > size.width) return;
  const x0 = Math.max(a, size.gutter);
  const x1 = Math.min(b, size.width);
  if (x1 - x0 > 2) {
    pen.fillStyle = i % 2 ? colours.line : colours.faint;
    pen.fillRect(x0, AXIS, x1 - x0, PHASE - 4);
  }
  fitted(phase.name, x0 + 6, AXIS + 8.5, x1 - x0 - 8, colours.ink, true);
  if (a < size.gutter) return;
  pen.strokeStyle = colours.dim;
  pen.lineWidth = 1;
  pen.setLineDash([2, 3]);
  pen.beginPath();
  pen.moveTo(Math.round(a) + 0.5, AXIS);
  pen.lineTo(Math.round(a) + 0.5, size.height);
  pen.stroke();
  pen.setLineDash([]);
};

export const drawAxis = () => {
  const wide = (size.width - size.gutter) / (view.until - view.from);
  const step = STEPS.find((s) => s * wide > 76) || STEPS[STEPS.length - 1];
  pen.font = `11px ${size.font}`;
  pen.textAlign = 'center';
  for (let t = Math.ceil(view.from / step) * step; t <= view.until; t += step) {
    const x = xOf(t);
    pen.fillStyle = colours.line;
    pen.fillRect(x, AXIS - 5, 1, size.height);
    pen.fillStyle = colours.dim;
    if (x > size.gutter + 16 && x < size.width - 22) pen.fillText(clock(t, step), x, 11);
  }
  pen.textAlign = 'left';
  run.phases.forEach(drawPhase);
};

export const drawFlag = (t, words, colour) => {
  const x = xOf(t);
  if (x < size.gutter || x > size.width) return;
  pen.fillStyle = colour;
  pen.fillRect(x - 0.75, AXIS - 2, 1.5, size.height);
  pen.font = `600 11px ${size.font}`;
  const width = pen.measureText(words).width + 10;
  const left = Math.min(x - 1, size.width - width);
  pen.fillRect(left, 2, width, 17);
  pen.fillStyle = colours.paper;
  pen.fillText(words, left + 5, 11);
};

/* Flags that would cover each other become one: ✕ 2–5. */
const FLAG = 46;
export const flagViolations = () => {
  let group = [];
  const plant = () => {
    if (!group.length) return;
    const [first, ...others] = group;
    pen.fillStyle = colours.bad;
    for (const v of others) pen.fillRect(xOf(v.t) - 0.5, AXIS - 2, 1, size.height);
    drawFlag(first.t, others.length ? `✕ ${first.n}–${others[others.length - 1].n}` : `✕ ${first.n}`, colours.bad);
  };
  for (const v of run.violations) {
    const x = xOf(v.t);
    if (x < size.gutter || x > size.width) continue;
    if (group.length && x - xOf(group[0].t) > FLAG) {
      plant();
      group = [];
    }
    group.push(v);
  }
  plant();
};
