/* The timeline: all lanes on one canvas, laid out and drawn. */
import { drawArrows } from './arrows.js';
import { drawAxis, drawFlag, flagViolations } from './axis.js';
import { BAR_ROWS } from './bars.js';
import { AXIS, BAR, GAP, PHASE, canvas, drawCrown, pen, size, stage } from './canvas.js';
import { drawClients } from './clients.js';
import { colours } from './colours.js';
import { byId } from './elements.js';
import { drawLane, layLane } from './lanes.js';
import { drawOverview, layOverview } from './overview.js';
import { layPicture } from './picture.js';
import { drawReigns } from './reigns.js';
import { run } from './run.js';
import { drawWith, selection, view, xOf } from './view.js';
import { clock, lasting } from './words.js';

const REIGNS_TOP = AXIS + PHASE + 6;
const CLIENTS = 44;
let clientsTop = 0;

export const isOnReigns = (y) => y >= REIGNS_TOP && y < REIGNS_TOP + BAR;
/* Which of the two rows of reigns: there are two while the terms of two leaders overlap. */
export const reignRowAt = (y) => (y - REIGNS_TOP < BAR / 2 ? 0 : 1);

export const layTimeline = () => {
  size.width = stage.clientWidth;
  if (size.width < 1) return;
  size.gutter = size.width < 640 ? 58 : 104;
  let y = REIGNS_TOP + BAR + GAP + 4;
  for (const lane of run.lanes) y = layLane(lane, y) + GAP;
  clientsTop = y;
  if (run.hasClients) y += CLIENTS;
  size.height = y + 4;
  size.scale = window.devicePixelRatio || 1;
  canvas.dataset.gutter = size.gutter;
  canvas.dataset.lanes = run.lanes.map((lane) => lane.y).join(' ');
  canvas.width = Math.round(size.width * size.scale);
  canvas.height = Math.round(size.height * size.scale);
  canvas.style.height = `${size.height}px`;
  layPicture(BAR_ROWS);
  layOverview();
};

const drawName = (words, y, colour, height, bold) => {
  pen.font = `${bold ? '600 ' : ''}${height}px ${size.font}`;
  pen.fillStyle = colour;
  let shown = words;
  while (shown.length > 2 && pen.measureText(shown).width > size.gutter - 20) shown = `${shown.slice(0, -2)}…`;
  pen.fillText(shown, 12, y);
};
const drawGutter = () => {
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, size.gutter, size.height);
  pen.fillStyle = colours.line;
  pen.fillRect(size.gutter - 1, AXIS, 1, size.height);
  pen.fillStyle = colours.gold;
  drawCrown(12, REIGNS_TOP + 8, 13);
  if (size.gutter > 70) {
    pen.font = `600 12px ${size.font}`;
    pen.fillStyle = colours.ink;
    pen.fillText('leader', 31, REIGNS_TOP + 13.5);
  }
  for (const lane of run.lanes) {
    const { name, sid, role } = lane.host;
    drawName(name, lane.y + 9, colours.ink, 13, true);
    drawName(`sid ${sid || '?'}${role === 'observer' ? ' observer' : ''}`, lane.y + 25, colours.dim, 11);
    if (!selection.chosen || selection.chosen.lane !== lane) continue;
    pen.fillStyle = colours.ink;
    pen.fillRect(4, lane.y, 3, BAR);
  }
  if (!run.hasClients) return;
  drawName('writes', clientsTop + 14, colours.ink, 12, true);
  if (size.gutter > 70) drawName('ok ↑ failed ↓', clientsTop + 29, colours.dim, 10.5);
};

const drawInstantMark = (t) => {
  const x = xOf(t);
  pen.fillStyle = colours.ink;
  pen.fillRect(x - 0.5, AXIS, 1, size.height);
  pen.beginPath();
  pen.moveTo(x - 5, AXIS - 6);
  pen.lineTo(x + 5, AXIS - 6);
  pen.lineTo(x, AXIS + 1);
  pen.fill();
};
const drawSelection = () => {
  const { choice, marker, instant, cursor } = selection;
  const isInView = (t) => t !== null && t >= view.from && t <= view.until;
  if (choice && !choice.overview) {
    const a = xOf(Math.min(choice.a, choice.b));
    pen.fillStyle = colours.link;
    pen.globalAlpha = 0.18;
    pen.fillRect(a, AXIS, xOf(Math.max(choice.a, choice.b)) - a, size.height);
    pen.globalAlpha = 1;
  }
  flagViolations();
  if (marker !== null) drawFlag(marker, clock(marker), colours.ink);
  else if (isInView(instant)) drawInstantMark(instant);
  if (!isInView(cursor)) return;
  pen.fillStyle = colours.ink;
  pen.globalAlpha = 0.45;
  pen.fillRect(xOf(cursor), AXIS, 1, size.height);
  pen.globalAlpha = 1;
};

export const drawTimeline = () => {
  if (size.width < 1) return; // not laid out, as in a page that is not shown
  const began = performance.now();
  pen.setTransform(size.scale, 0, 0, size.scale, 0, 0);
  pen.textBaseline = 'middle';
  pen.textAlign = 'left';
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, size.width, size.height);
  drawAxis();
  for (const lane of run.lanes) drawLane(lane);
  drawReigns(REIGNS_TOP);
  drawClients(clientsTop);
  const leftOut = drawArrows();
  drawSelection();
  drawGutter();
  drawOverview();
  canvas.dataset.from = view.from;
  canvas.dataset.until = view.until;
  const { from, until } = view;
  byId('window').textContent = `${clock(from)} to ${clock(until)}, ${lasting(until - from)}${leftOut}`;
  performance.measure('draw', { start: began, end: performance.now() });
};
drawWith(drawTimeline);
