/* The bars of a lane: what its server was, from when to when.

   The cost of a frame follows the pixels, not the transitions.  The run is divided into cells, a pixel wide each,
   that stay where they are while the view is panned.  A transition that is alone in its cell is a bar, from when to
   when it lasts.  Of several in one cell the one of the highest rank has the pixel (columns.js finds it in a few
   steps, however many they are): an established leader never vanishes, whatever stood around it.  What begins last
   lasts on from there. */
import { BAR, THIN, drawCrown, fitted, pen, size } from './canvas.js';
import { ALPHAS, colours, epochColour, inks } from './colours.js';
import { firstFrom, highest, lastAtMost } from './columns.js';
import { claim, developPicture, drawRow, picture } from './picture.js';
import { BROADCAST, DOWN, FOLLOWING, LEADING, isEstablished, phaseOf, roleOf, run } from './run.js';
import { view } from './view.js';

/* What a state is drawn with: how high, and how strongly. */
const HEIGHTS = [1.5, 2, 6, 12, 19, BAR];
const heightOf = (role, phase) => (role < FOLLOWING ? role : Math.min(5, 2 + phase));
const FAINT = 0;
const ELECTED = 1;
const FULL = 2;
const strengthOf = (role, established) => (established || role < FOLLOWING ? FULL : role === LEADING ? ELECTED : FAINT);
/* The picture has a row for each height, and below these a row of gold for leaders of each. */
export const BAR_ROWS = 2 * HEIGHTS.length;

const paintThin = ({ s, e, y }) => {
  const { claims, dots } = picture;
  const { width } = size;
  let rows = 0;
  for (let x = 0; x < width; x++) {
    const k = claims[x];
    if (k < 0) continue;
    const role = roleOf(s[k]);
    const established = isEstablished(s[k]);
    const row = heightOf(role, phaseOf(s[k]));
    if (!rows) dots.fill(0);
    const byEpoch = inks.epochs[strengthOf(role, established)];
    dots[row * width + x] = role < FOLLOWING ? inks.plain[role] : byEpoch[e[k] < 0 ? 6 : e[k] % 6];
    rows |= 1 << row;
    if (!established) continue;
    dots[(row + HEIGHTS.length) * width + x] = inks.gold;
    rows |= 1 << (row + HEIGHTS.length);
  }
  if (!rows) return;
  claims.fill(-1);
  developPicture();
  pen.imageSmoothingEnabled = false;
  for (let row = 0; row < BAR_ROWS; row++) {
    if (!((rows >> row) & 1)) continue;
    const height = HEIGHTS[row % HEIGHTS.length];
    drawRow(row, y + BAR - (row ? height : (BAR + height) / 2), row < HEIGHTS.length ? height : 3);
  }
};

const drawDown = (x, y, width) => {
  pen.strokeStyle = colours.dim;
  pen.lineWidth = 1.5;
  pen.setLineDash([1.5, 3.5]);
  pen.beginPath();
  pen.moveTo(x, y + BAR / 2);
  pen.lineTo(x + width, y + BAR / 2);
  pen.stroke();
  pen.setLineDash([]);
  if (width <= 48) return;
  pen.fillStyle = colours.sheet;
  pen.fillRect(x + width / 2 - 20, y + 5, 40, 16);
  pen.textAlign = 'center';
  fitted('down', x + width / 2, y + 13, width, colours.dim);
  pen.textAlign = 'left';
};

/* The gold of an established leader, its crown, and its epoch in as many words as fit. */
const drawLeader = (x, top, y, width, epoch, phase) => {
  pen.fillStyle = colours.gold;
  pen.fillRect(x, top, width, 3);
  if (width <= 17) return;
  const light = colours['on-epoch'];
  pen.fillStyle = light;
  drawCrown(x + 4, y + 11, 10);
  if (phase < BROADCAST) return;
  const write = (words) => fitted(words, x + 19, y + 15.5, width - 23, light, true);
  if (!write(`epoch ${epoch}`)) write(String(epoch));
};

/* The bar of a lane's transition k, or as much of it as can be seen. */
const drawBar = (lane, k, left, right) => {
  const x0 = Math.max(size.gutter - 2, left);
  const x1 = Math.min(size.width + 2, right);
  if (x1 < size.gutter || x1 <= x0) return;
  const width = Math.max(x1 - x0, 1);
  if (width <= THIN) {
    claim(lane.ranks, k, x0, x1);
    return;
  }
  const { y } = lane;
  const epoch = lane.e[k];
  const role = roleOf(lane.s[k]);
  const phase = phaseOf(lane.s[k]);
  const established = isEstablished(lane.s[k]);
  if (role === DOWN) {
    drawDown(x0, y, width);
    return;
  }
  const height = HEIGHTS[heightOf(role, phase)];
  const top = y + BAR - height;
  pen.fillStyle = role < FOLLOWING ? colours.looking : epochColour(epoch);
  pen.globalAlpha = ALPHAS[strengthOf(role, established)];
  pen.fillRect(x0, top, width, height);
  pen.globalAlpha = 1;
  if (established) drawLeader(x0, top, y, width, epoch, phase);
  else if (phase >= BROADCAST && width > 30) fitted(String(epoch), x0 + 5, y + 14, width - 8, colours.ink);
  pen.fillStyle = colours.sheet;
  pen.fillRect(x0 + width - 0.75, top, 0.75, height);
};

export const drawBars = (lane) => {
  const { t, n } = lane;
  const { from } = view;
  const wide = (size.width - size.gutter) / (view.until - from);
  const cell = 1 / wide;
  for (let k = Math.max(0, lastAtMost(t, from)); k < n && t[k] <= view.until;) {
    const number = Math.floor(t[k] / cell);
    const next = firstFrom(t, k + 1, (number + 1) * cell);
    const x1 = size.gutter + ((next < n ? t[next] : run.end) - from) * wide;
    if (next === k + 1) drawBar(lane, k, size.gutter + (t[k] - from) * wide, x1);
    else if (x1 >= size.gutter) {
      const top = highest(lane, k, next);
      const x = Math.round(size.gutter + (number * cell - from) * wide);
      drawBar(lane, top, x, top === next - 1 ? x1 : x + 1);
      if (top !== next - 1 && x1 - x > 1.5) drawBar(lane, next - 1, x + 1, x1);
    }
    k = next;
  }
  paintThin(lane);
};
