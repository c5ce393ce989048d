/* The lane above the servers': who was the established leader when, and when nobody was. */
import { BAR, ROOM_MIN, fitted, pen, size } from './canvas.js';
import { colours, epochColour } from './colours.js';
import { run } from './run.js';
import { view } from './view.js';
import { lasting } from './words.js';

/* Writes the first of several words that fits. */
const firstFitted = (choices, y, colour) => choices.some(([words, x, room]) => fitted(words, x, y, room, colour, true));

const drawEmpty = (top, wide) => {
  let last = -1;
  for (const [a, b] of run.empty) {
    const x0 = size.gutter + (a - view.from) * wide;
    const x1 = size.gutter + (b - view.from) * wide;
    if (x1 < size.gutter || x0 > size.width) continue;
    pen.fillStyle = colours.empty;
    if (x1 - x0 < 5) {
      if (Math.floor(x0) === last) continue;
      last = Math.floor(x0);
      pen.fillRect(last, top + BAR - 4, Math.max(x1 - last, 1), 4);
      continue;
    }
    pen.strokeStyle = colours.empty;
    pen.lineWidth = 1.2;
    pen.setLineDash([4, 3]);
    pen.strokeRect(x0 + 0.6, top + 0.6, x1 - x0 - 1.2, BAR - 1.2);
    pen.setLineDash([]);
    const start = Math.max(x0, size.gutter) + 5;
    const room = Math.min(x1, size.width) - start - 3;
    if (room < ROOM_MIN) continue;
    const long = lasting(b - a);
    firstFitted(
      [
        [`no leader ${long}`, start, room],
        [long, start, room],
      ],
      top + BAR / 2 + 0.5,
      colours.empty,
    );
  }
};

export const drawReigns = (top) => {
  const wide = (size.width - size.gutter) / (view.until - view.from);
  drawEmpty(top, wide);
  const pixels = [-1, -1];
  for (const r of run.reigns) {
    const x0 = Math.max(size.gutter + (r.a - view.from) * wide, size.gutter - 2);
    const x1 = Math.min(size.gutter + (r.b - view.from) * wide, size.width + 2);
    if (x1 < size.gutter || x0 > size.width) continue;
    const narrow = x1 - x0 < 1;
    const pixel = Math.floor(x0);
    if (narrow && pixel === pixels[r.row] && !r.shared) continue;
    pixels[r.row] = pixel;
    const height = BAR * r.height;
    const y = top + r.row * height;
    const width = Math.max(x1 - x0, 1);
    pen.fillStyle = epochColour(r.e);
    pen.fillRect(narrow ? pixel : x0, y, width, r.height < 1 ? height - 1 : height);
    if (r.shared) {
      pen.strokeStyle = colours.bad;
      pen.lineWidth = 2.5;
      pen.strokeRect(x0 + 1, y + 1, Math.max(width - 2, 1), height - 2);
    } else if (width > 3) {
      pen.fillStyle = colours.sheet;
      pen.fillRect(x0 + width - 0.75, y, 0.75, height);
    }
    if (width < ROOM_MIN) continue;
    const { name } = run.hosts[r.h];
    const choices = [
      [`epoch ${r.e} · ${name}`, x0 + 6, width - 9],
      [`${r.e} ${name}`, x0 + 4, width - 6],
      [String(r.e), x0 + 3, width - 4],
    ];
    firstFitted(choices, y + height / 2 + 0.5, colours['on-epoch']);
  }
};
