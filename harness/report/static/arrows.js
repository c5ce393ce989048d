/* Messages as arrows between the lanes, once the window is so narrow (SPAN_MAX) that an arrow is more than an upright.

   All of them if there are few; without pings and writes if that makes them few; else none, and the line below the
   lanes says how to see them.  A vote is dashed, what makes an epoch solid, the rest thin; what never arrived ends
   half-way in a cross. */
const ARROWS_MAX = 500, LABELS_MAX = 45, SPAN_MAX = 4e6;
let shownArrows = [];

const laneMiddle = (place) => lanes[place].y + BAR / 2;
/* From where to where a message is drawn: x0, y0, x1, y1, and whether it arrived. */
const arrowOf = (m) => {
  const up = lanes[M.o[m]].y < lanes[M.f[m]].y, y0 = laneMiddle(M.f[m]) + (up ? -BAR / 2 : BAR / 2), x0 = X(M.s[m]);
  const y1 = laneMiddle(M.o[m]) + (up ? BAR / 2 : -BAR / 2);
  if (M.w[m] >= 0) return [x0, y0, X(M.s[m] + M.w[m]), y1, true];
  return [x0, y0, x0 + 14, y0 + (y1 - y0) * 0.45, false];
};
const chooseArrows = () => {
  if (view[1] - view[0] > SPAN_MAX) return [[], '; zoom in for the messages between servers'];
  const few = messagesIn(view[0], view[1], () => true, ARROWS_MAX);
  if (few) return [few, ''];
  const telling = messagesIn(view[0], view[1], (m) => !routine(m), ARROWS_MAX);
  if (telling && telling.length) return [telling, `; ${telling.length} messages, zoom in for pings and writes too`];
  return [[], '; zoom in for the messages between servers'];
};
const drawArrows = () => {
  shownArrows = [];
  if (!M.s.length) return '';
  const [arrows, says] = chooseArrows();
  shownArrows = arrows;
  g.save();
  g.beginPath(); g.rect(GUT, 0, W - GUT, H); g.clip();
  // Where on each row of labels the last one ends: one that would cover it is left out, and told under the pointer.
  const labels = arrows.length <= LABELS_MAX ? new Map() : null;
  for (const m of arrows) {
    const [x0, y0, x1, y1, arrived] = arrowOf(m), plain = routine(m);
    g.strokeStyle = g.fillStyle = arrived ? plain ? C.dim : C.ink : C.bad;
    g.globalAlpha = plain ? 0.5 : 0.85;
    g.lineWidth = plain ? 0.8 : 1.3;
    g.setLineDash(ofElection(m) ? [4, 3] : []);
    g.beginPath(); g.moveTo(x0, y0); g.lineTo(x1, y1); g.stroke();
    g.setLineDash([]);
    if (arrived) {
      const turn = Math.atan2(y1 - y0, x1 - x0);
      g.beginPath(); g.moveTo(x1, y1);
      for (const side of [0.4, -0.4]) g.lineTo(x1 - 7 * Math.cos(turn + side), y1 - 7 * Math.sin(turn + side));
      g.fill();
    } else { g.beginPath(); g.moveTo(x1 - 3, y1 - 3); g.lineTo(x1 + 3, y1 + 3); g.moveTo(x1 - 3, y1 + 3); g.lineTo(x1 + 3, y1 - 3); g.stroke(); }
    const row = `${M.f[m]} ${y1 > y0}`;
    if (labels && !plain && x0 > Math.max(GUT, labels.get(row) || 0)) {
      g.globalAlpha = 1; g.font = `10px ${font}`;
      const words = M.said[M.k[m]][2], wide = g.measureText(words).width, y = y0 + (y1 > y0 ? 9 : -8);
      labels.set(row, x0 + wide + 10);
      g.fillStyle = C.sheet; g.globalAlpha = 0.85; g.fillRect(x0 + 4, y - 6, wide + 4, 12);
      g.globalAlpha = 1; g.fillStyle = C.ink; g.fillText(words, x0 + 6, y);
    }
  }
  g.restore();
  g.globalAlpha = 1;
  return says;
};
/* The message under the pointer, or -1. */
const arrowAt = (x, y) => {
  let nearest = -1, least = 5;
  for (const m of shownArrows) {
    const [x0, y0, x1, y1] = arrowOf(m), dx = x1 - x0, dy = y1 - y0;
    const along = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
    const away = Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
    if (away < least) { least = away; nearest = m; }
  }
  return nearest;
};
