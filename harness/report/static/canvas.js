/* The timeline's canvas: its size, and what everything that is drawn on it draws with. */
import { byId } from './elements.js';

export const stage = byId('stage');
export const canvas = byId('lanes');
export const pen = canvas.getContext('2d', { alpha: false });

/* In CSS pixels: `gutter` is the width of the names on the left, `scale` the device's pixels in each.  `font`: the
   family in which all is written. */
export const size = { width: 0, height: 0, gutter: 0, scale: 1, font: '' };

/* Heights: of the axis, the phases below it, a server's bar, a fault's strip, the gap between two lanes. */
export const AXIS = 24;
export const PHASE = 20;
export const BAR = 26;
export const STRIP = 13;
export const GAP = 10;
/* Bars of at most so many pixels are painted as a picture (picture.js). */
export const THIN = 3;

/* Writes `words` if they fit into `room`; answers whether they did. */
export const ROOM_MIN = 12;
export const fitted = (words, x, y, room, colour, bold) => {
  if (room < ROOM_MIN) return false;
  pen.font = `${bold ? '600 ' : ''}11px ${size.font}`;
  if (pen.measureText(words).width > room) return false;
  pen.fillStyle = colour;
  pen.fillText(words, x, y);
  return true;
};

const CROWN = [
  [0, 1.5],
  [3, 4],
  [6, 0],
  [9, 4],
  [12, 1.5],
  [11, 8],
  [1, 8],
];
export const drawCrown = (x, y, width) => {
  const unit = width / 12;
  pen.beginPath();
  CROWN.forEach(([a, b], i) => (i ? pen.lineTo(x + a * unit, y + b * unit) : pen.moveTo(x + a * unit, y + b * unit)));
  pen.closePath();
  pen.fill();
};
