/* Messages as arrows between the lanes, once the window is so narrow (SPAN_MAX) that an arrow is more than an upright.

   All of them if there are few; without pings and writes if that makes them few; else none, and the line below the
   lanes says how to see them.  A vote is dashed with an open head, what makes an epoch solid with a full one, the rest
   thin; what never arrived ends half-way in a cross. */
import { BAR, canvas, pen, size } from './canvas.js';
import { colours } from './colours.js';
import { arrival, arrived, isRoutine, isVote, messages, messagesIn, shortWords } from './messages.js';
import { run } from './run.js';
import { view, xOf } from './view.js';

const ARROWS_MAX = 500;
const LABELS_MAX = 45;
const SPAN_MAX = 4e6;
let shown = [];

/* From where to where a message is drawn. */
const placeOf = (m) => {
  const source = run.lanes[messages.source[m]].y + BAR / 2;
  const target = run.lanes[messages.target[m]].y + BAR / 2;
  const half = target < source ? -BAR / 2 : BAR / 2;
  const x0 = xOf(messages.sent[m]);
  const y0 = source + half;
  const y1 = target - half;
  if (arrived(m)) return { x0, y0, x1: xOf(arrival(m)), y1 };
  return { x0, y0, x1: x0 + 14, y1: y0 + (y1 - y0) * 0.45 };
};

/* Which are drawn, and what the line below the lanes says of the others. */
const choose = () => {
  if (view.until - view.from > SPAN_MAX) return [[], '; zoom in to see messages between servers'];
  const all = messagesIn(view.from, view.until, () => true, ARROWS_MAX);
  if (all) return [all, ''];
  const few = messagesIn(view.from, view.until, (m) => !isRoutine(m), ARROWS_MAX);
  if (few && few.length) return [few, `; ${few.length} messages; zoom in to see pings and writes too`];
  return [[], '; zoom in to see messages between servers'];
};

const drawHead = (x0, y0, x1, y1, open) => {
  const turn = Math.atan2(y1 - y0, x1 - x0);
  const corner = (side) => [x1 - 7 * Math.cos(turn + side), y1 - 7 * Math.sin(turn + side)];
  pen.beginPath();
  pen.moveTo(...corner(0.4));
  pen.lineTo(x1, y1);
  pen.lineTo(...corner(-0.4));
  if (open) pen.stroke();
  else pen.fill();
};
const drawCross = (x, y) => {
  pen.beginPath();
  pen.moveTo(x - 3, y - 3);
  pen.lineTo(x + 3, y + 3);
  pen.moveTo(x - 3, y + 3);
  pen.lineTo(x + 3, y - 3);
  pen.stroke();
};
const drawArrow = (m, { x0, y0, x1, y1 }) => {
  const plain = isRoutine(m);
  const vote = isVote(m);
  pen.strokeStyle = pen.fillStyle = arrived(m) ? (plain ? colours.dim : colours.ink) : colours.bad;
  pen.globalAlpha = plain ? 0.5 : 0.85;
  pen.lineWidth = plain ? 0.8 : 1.3;
  pen.setLineDash(vote ? [4, 3] : []);
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
  pen.setLineDash([]);
  if (arrived(m)) drawHead(x0, y0, x1, y1, vote);
  else drawCross(x1, y1);
};
const drawLabel = (words, x, y) => {
  const wide = pen.measureText(words).width;
  pen.fillStyle = colours.sheet;
  pen.globalAlpha = 0.85;
  pen.fillRect(x + 4, y - 6, wide + 4, 12);
  pen.globalAlpha = 1;
  pen.fillStyle = colours.ink;
  pen.fillText(words, x + 6, y);
  return x + wide + 10;
};

/* Draws them; answers what the line below the lanes says of those that are left out. */
export const drawArrows = () => {
  shown = [];
  if (!messages.sent.length) return '';
  const [arrows, says] = choose();
  shown = arrows;
  canvas.dataset.messages = arrows.length;
  pen.save();
  pen.beginPath();
  pen.rect(size.gutter, 0, size.width - size.gutter, size.height);
  pen.clip();
  // Where on each row of labels the last one ends: one that would cover it is left out, and told under the pointer.
  const labels = arrows.length <= LABELS_MAX ? new Map() : null;
  for (const m of arrows) {
    const place = placeOf(m);
    drawArrow(m, place);
    const down = place.y1 > place.y0;
    const row = `${messages.source[m]} ${down}`;
    if (!labels || isRoutine(m) || place.x0 <= Math.max(size.gutter, labels.get(row) || 0)) continue;
    pen.font = `10px ${size.font}`;
    labels.set(row, drawLabel(shortWords(m), place.x0, place.y0 + (down ? 9 : -8)));
  }
  pen.restore();
  pen.globalAlpha = 1;
  return says;
};

/* The message under the pointer, or -1. */
export const arrowAt = (x, y) => {
  let nearest = -1;
  let least = 5;
  for (const m of shown) {
    const { x0, y0, x1, y1 } = placeOf(m);
    const dx = x1 - x0;
    const dy = y1 - y0;
    const along = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
    const away = Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
    if (away >= least) continue;
    least = away;
    nearest = m;
  }
  return nearest;
};
