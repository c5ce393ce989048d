/* A lane: the bars of a server, below them a line for each server that it hears nothing from, and its faults. */
import { drawBars } from './bars.js';
import { BAR, STRIP, THIN, pen, size } from './canvas.js';
import { PERHAPS, colours, inks } from './colours.js';
import { LINES, developPicture, drawRow, picture } from './picture.js';
import { run } from './run.js';
import { selection, view, xOf } from './view.js';

const LINE = 3;

/* Gives a lane its place; answers where the next may begin. */
export const layLane = (lane, y) => {
  lane.y = y;
  lane.deafTop = y + BAR + 4;
  lane.deafHeight = lane.deaf.length ? Math.min(LINES, run.lanes.length - 1) * LINE + 2 : 0;
  lane.faultsTop = lane.deafTop + lane.deafHeight;
  lane.height = BAR + 3 + lane.deafHeight + lane.rows * (STRIP + 1) + 4;
  return y + lane.height;
};
export const faultTop = (lane, row) => lane.faultsTop + row * (STRIP + 1);
export const faultRowAt = (lane, y) => Math.floor((y - lane.faultsTop) / (STRIP + 1));

/* Below the bar, a line for each server that this one hears nothing from, in the lanes' order; paler while not sure. */
const drawDeaf = (lane) => {
  if (!lane.deaf.length) return;
  const { levels, dots } = picture;
  const { width, gutter } = size;
  const top = lane.deafTop;
  const most = Math.max(1, run.lanes.length - 1);
  const rows = Math.min(LINES, most);
  const wide = (width - gutter) / (view.until - view.from);
  pen.fillStyle = colours.bad;
  levels.fill(0);
  for (const { peer, a, b, level } of lane.deaf) {
    const x0 = Math.max(gutter + (a - view.from) * wide, gutter);
    const x1 = Math.min(gutter + (b - view.from) * wide, width);
    if (x1 < gutter || x0 > width) continue;
    const row = Math.floor(((peer > lane.place ? peer - 1 : peer) * rows) / most);
    if (x1 - x0 > THIN) {
      pen.globalAlpha = level > 1 ? 1 : PERHAPS;
      pen.fillRect(x0, top + row * LINE, x1 - x0, LINE - 1);
      continue;
    }
    const until = Math.min(width, Math.max(Math.floor(x0) + 1, Math.floor(x1)));
    for (let x = Math.floor(x0); x < until; x++) {
      if (level > levels[row * width + x]) levels[row * width + x] = level;
    }
  }
  pen.globalAlpha = 1;
  for (let i = 0; i < levels.length; i++) dots[i] = levels[i] > 1 ? inks.sure : levels[i] ? inks.perhaps : 0;
  developPicture();
  for (let row = 0; row < rows; row++) drawRow(row, top + row * LINE, LINE - 1);
};

/* A fault that is wide enough for its pattern, and for its name if that fits. */
const drawFault = (lane, fault, top, x0, x1) => {
  pen.fillStyle = colours['fault-faint'];
  pen.fillRect(x0, top, x1 - x0, STRIP);
  const begins = Math.max(xOf(fault.t[1]), size.gutter - 2);
  const ends = Math.min(Math.max(xOf(fault.t[2]), xOf(fault.t[1])), size.width + 2);
  if (ends > begins) {
    pen.fillStyle = colours.patterns[fault.group] || colours.patterns.other;
    pen.globalAlpha = 0.75;
    pen.fillRect(begins, top, ends - begins, STRIP);
    if (fault.group === 'paused') {
      pen.fillStyle = colours.patterns.asleep;
      pen.globalAlpha = 0.55;
      pen.fillRect(begins, lane.y, ends - begins, BAR);
    }
    pen.globalAlpha = 1;
  }
  pen.strokeStyle = colours.fault;
  pen.strokeRect(x0 + 0.5, top + 0.5, x1 - x0 - 1, STRIP - 1);
  if (x1 - x0 < 20) return;
  pen.font = `600 10px ${size.font}`;
  for (const words of [`${fault.kind} ${fault.id}`, fault.id]) {
    const wide = pen.measureText(words).width;
    if (x1 - x0 < wide + 10) continue;
    pen.fillStyle = colours.sheet;
    pen.fillRect(x0 + 3, top + 1.5, wide + 5, STRIP - 3);
    pen.fillStyle = colours.ink;
    pen.fillText(words, x0 + 5.5, top + STRIP / 2 + 0.5);
    return;
  }
};

/* The faults that hit a lane's host, in their rows; of those too narrow for a pattern one for each pixel. */
const drawFaults = (lane) => {
  const narrow = [[], [], [], []]; // for each row: from which pixel to which
  pen.lineWidth = 1;
  for (const { fault, row } of lane.faults) {
    const a = xOf(fault.t[0]);
    const b = xOf(fault.t[3]);
    if (b < size.gutter || a > size.width) continue;
    const x0 = Math.max(a, size.gutter - 2);
    const x1 = Math.min(Math.max(b, a + 2), size.width + 2);
    if (x1 - x0 > THIN) {
      drawFault(lane, fault, faultTop(lane, row), x0, x1);
      continue;
    }
    const strokes = narrow[row];
    const last = strokes.length - 1;
    const pixel = Math.floor(x0);
    if (last >= 0 && pixel <= strokes[last]) strokes[last] = Math.max(strokes[last], pixel + 1);
    else strokes.push(pixel, pixel + 1);
  }
  pen.fillStyle = colours.fault;
  pen.globalAlpha = 0.6;
  narrow.forEach((strokes, row) => {
    for (let i = 0; i < strokes.length; i += 2) {
      pen.fillRect(strokes[i], faultTop(lane, row), strokes[i + 1] - strokes[i], STRIP);
    }
  });
  pen.globalAlpha = 1;
};

export const drawLane = (lane) => {
  const { t, n, y } = lane;
  pen.fillStyle = colours['fault-faint'];
  pen.globalAlpha = 0.5;
  for (const { fault } of lane.faults) {
    const a = xOf(fault.t[0]);
    const b = xOf(fault.t[3]);
    if (b >= size.gutter && a <= size.width && b - a >= 1) pen.fillRect(a, y - 3, b - a, lane.height + 3);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colours.line;
  pen.fillRect(size.gutter, y + BAR, size.width - size.gutter, 1);
  drawBars(lane);
  drawDeaf(lane);
  drawFaults(lane);
  const { chosen } = selection;
  if (!chosen || chosen.lane !== lane || chosen.k >= n) return;
  const x0 = xOf(t[chosen.k]);
  const x1 = chosen.k + 1 < n ? xOf(t[chosen.k + 1]) : xOf(run.end);
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 2;
  pen.strokeRect(x0, y - 2, Math.max(x1 - x0, 2), BAR + 4);
};
