/* The timeline's lanes, on a canvas of our own: the view and the drawing.

   The cost of a frame follows the pixels, not the transitions.  The run is divided into cells, a pixel wide each, that
   stay where they are while the view is panned.  A transition that is alone in its cell is a bar, from when to when it
   lasts.  Of several in one cell the one of the highest rank has the pixel (data.js finds it in a few steps, however many
   they are): an established leader never vanishes, whatever stood around it.  What begins last lasts on from there. */
const stage = $('stage'), canvas = $('lanes'), overview = $('overview'), tip = $('tip'), pinned = $('pinned');
const g = canvas.getContext('2d', { alpha: false }), og = overview.getContext('2d', { alpha: false });

// ---- colours ------------------------------------------------------------------------------------------------------

let C = {}, patterns = {}, font = '';
const hatch = (draw, colour, size = 7) => {
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const t = tile.getContext('2d');
  t.strokeStyle = t.fillStyle = colour;
  t.lineWidth = 1.3;
  draw(t, size);
  return g.createPattern(tile, 'repeat');
};
const line = (...points) => (t) => { t.beginPath(); for (let i = 0; i < points.length; i += 4) { t.moveTo(points[i], points[i + 1]); t.lineTo(points[i + 2], points[i + 3]); } t.stroke(); };
const dots = (t) => { t.fillRect(1, 1, 2, 2); t.fillRect(4.5, 4.5, 2, 2); };
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['paper', 'sheet', 'ink', 'dim', 'line', 'faint', 'gold', 'good', 'bad', 'looking', 'fault', 'fault-faint', 'empty', 'on-epoch', 'link'])
    C[name] = style.getPropertyValue(`--${name}`).trim();
  C.epochs = [0, 1, 2, 3, 4, 5].map((i) => style.getPropertyValue(`--e${i}`).trim());
  readInks();
  font = getComputedStyle(document.body).fontFamily;
  patterns = {
    cut: hatch(line(-1, 8, 8, -1, -4, 4, 4, -4, 3, 11, 11, 3), C.fault),
    down: hatch((t, n) => { t.globalAlpha = 0.75; t.fillRect(0, 0, n, n); }, C.fault),
    paused: hatch(line(2, 0, 2, 7), C.fault),
    clock: hatch(dots, C.fault),
    poor: hatch(line(0, 3, 7, 3), C.fault),
    other: hatch(line(-1, -1, 8, 8), C.fault),
    asleep: hatch(line(2, 0, 2, 7), C.ink),
  };
};
const epochColour = (e) => e < 0 ? C.looking : C.epochs[e % 6];

// ---- layout and view ----------------------------------------------------------------------------------------------

const AXIS = 24, PHASE = 20, BAR = 26, STRIP = 13, GAP = 10, EAR = 3;
let W = 0, H = 0, GUT = 0, throneY = 0, clientsY = 0, scale = 1;
let view = [0, END];
let marker = null, cursor = null, chosen = null, choice = null, at = null, instant = 0;

const layout = () => {
  W = stage.clientWidth;
  if (W < 1) return;
  GUT = W < 640 ? 58 : 104;
  let y = AXIS + PHASE + 6;
  throneY = y;
  y += BAR + GAP + 4;
  for (const lane of lanes) {
    lane.y = y;
    lane.ears = lane.deaf.length ? Math.min(EARS, lanes.length - 1) * EAR + 2 : 0;
    lane.height = BAR + 3 + lane.ears + lane.rows * (STRIP + 1) + 4;
    y += lane.height + GAP;
  }
  clientsY = y;
  if (hasClients) y += 44;
  H = y + 4;
  canvas.dataset.gutter = GUT; canvas.dataset.lanes = lanes.map((lane) => lane.y).join(' ');
  scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(W * scale); canvas.height = Math.round(H * scale); canvas.style.height = `${H}px`;
  layPicture();
  overview.width = Math.round(W * scale); overview.height = Math.round(34 * scale);
};
const X = (t) => GUT + (t - view[0]) / (view[1] - view[0]) * (W - GUT);
const T = (x) => view[0] + (x - GUT) / (W - GUT) * (view[1] - view[0]);
const OX = (t) => GUT + t / END * (W - GUT - 1);
const OT = (x) => Math.min(END, Math.max(0, (x - GUT) / (W - GUT - 1) * END));

const setView = (from, until) => {
  const span = Math.min(END, Math.max(MIN_SPAN, until - from));
  const start = Math.min(END - span, Math.max(0, (from + until - span) / 2));
  view = [start, start + span];
  schedule();
};
const zoom = (factor, x = (GUT + W) / 2) => {
  const t = T(x), span = Math.min(END, Math.max(MIN_SPAN, (view[1] - view[0]) * factor));
  const share = (x - GUT) / (W - GUT);
  setView(t - span * share, t + span * (1 - share));
};
const pan = (share) => { const d = (view[1] - view[0]) * share; setView(view[0] + d, view[1] + d); };
const show = (from, until) => {
  const span = until > from ? until - from : 0;
  const around = Math.max(span * 0.35, Math.min(END / 10, 750e3));
  setView(from - around, (until > from ? until : from) + around);
};

// ---- drawing ------------------------------------------------------------------------------------------------------

let asked = false;
const schedule = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };
const ROOM_MIN = 12;
const fitted = (words, x, y, room, colour, bold) => {
  if (room < ROOM_MIN) return false;
  g.font = `${bold ? '600 ' : ''}11px ${font}`;
  if (g.measureText(words).width > room) return false;
  g.fillStyle = colour;
  g.fillText(words, x, y);
  return true;
};
const crown = (x, y, size) => {
  const u = size / 12;
  g.beginPath();
  [[0, 1.5], [3, 4], [6, 0], [9, 4], [12, 1.5], [11, 8], [1, 8]].forEach(([a, b], i) => i ? g.lineTo(x + a * u, y + b * u) : g.moveTo(x + a * u, y + b * u));
  g.closePath();
  g.fill();
};

/* The first place from k on whose time is t or later: mostly it is near. */
const firstFrom = (times, k, t) => {
  const n = times.length;
  let far = 1;
  while (k + far <= n && times[k + far - 1] < t) far *= 2;
  let low = k + (far >> 1), high = Math.min(n, k + far - 1);
  while (low < high) { const mid = (low + high) >> 1; if (times[mid] < t) low = mid + 1; else high = mid; }
  return low;
};
/* What a state is drawn with: how high, and how strongly. */
const HEIGHTS = [1.5, 2, 6, 12, 19, BAR];
const heightOf = (role, phase) => role < 3 ? role : Math.min(5, 2 + phase);
const FAINT = 0, ELECTED = 1, FULL = 2, ALPHAS = [0.38, 0.7, 1];
const strengthOf = (role, established) => established || role < 3 ? FULL : role === 4 ? ELECTED : FAINT;
/* Bars of at most THIN pixels, of which there may be thousands, are not drawn one by one.  Each pixel of a lane goes to
   the bar of the highest rank on it, and then all are painted at once, as a picture with a row for each height, which is
   drawn that high; below these are the rows of the gold on leaders of such a height. */
const THIN = 3, EARS = 4, PERHAPS = 0.45, ROWS = 2 * HEIGHTS.length;
const picture = document.createElement('canvas'), pg = picture.getContext('2d', { willReadFrequently: true });
let claims = null, levels = null, image = null, dots32 = null, inks = null;
const ink32 = (colour, alpha) => {
  const rgb = Number.parseInt(colour.slice(1), 16);  // report.css has its colours as #rrggbb
  return (Math.round(255 * alpha) << 24 | (rgb & 255) << 16 | rgb & 0xff00 | rgb >> 16) >>> 0;
};
const readInks = () => {
  const all = [...C.epochs, C.looking];  // the last for epochs that nobody knows
  inks = { epochs: ALPHAS.map((alpha) => all.map((colour) => ink32(colour, alpha))), plain: [ink32(C.dim, 1), ink32(C.looking, 1), ink32(C.looking, 1)], gold: ink32(C.gold, 1), sure: ink32(C.bad, 1), perhaps: ink32(C.bad, PERHAPS) };
};
const layPicture = () => {
  picture.width = W; picture.height = ROWS;
  claims = new Int32Array(W).fill(-1);
  levels = new Uint8Array(EARS * W);
  image = new ImageData(W, ROWS);
  dots32 = new Uint32Array(image.data.buffer);
};
const claim = ({ ranks }, k, x0, x1) => {
  const from = Math.max(0, Math.floor(x0)), until = Math.min(W, Math.max(from + 1, Math.floor(x1)));
  for (let x = from; x < until; x++) if (claims[x] < 0 || ranks[k] > ranks[claims[x]]) claims[x] = k;
};
const paintThin = ({ s, e, y }) => {
  let rows = 0;
  for (let x = 0; x < W; x++) {
    const k = claims[x];
    if (k < 0) continue;
    const state = s[k], role = state % 10, established = state >= 100, row = heightOf(role, Math.floor(state % 100 / 10));
    if (!rows) dots32.fill(0);
    dots32[row * W + x] = role < 3 ? inks.plain[role] : inks.epochs[strengthOf(role, established)][e[k] < 0 ? 6 : e[k] % 6];
    rows |= 1 << row;
    if (established) { dots32[(row + HEIGHTS.length) * W + x] = inks.gold; rows |= 1 << row + HEIGHTS.length; }
  }
  if (!rows) return;
  claims.fill(-1);
  pg.putImageData(image, 0, 0);
  g.imageSmoothingEnabled = false;
  for (let row = 0; row < ROWS; row++) {
    if (!(rows >> row & 1)) continue;
    const height = HEIGHTS[row % HEIGHTS.length], top = y + BAR - (row ? height : (BAR + height) / 2);
    g.drawImage(picture, 0, row, W, 1, 0, top, W, row < HEIGHTS.length ? height : 3);
  }
};
/* The bar of a lane's transition k, or as much of it as can be seen. */
const drawBar = (lane, k, left, right) => {
  const x0 = Math.max(GUT - 2, left), x1 = Math.min(W + 2, right);
  if (x1 < GUT || x1 <= x0) return;
  const state = lane.s[k], epoch = lane.e[k], established = state >= 100, role = state % 10, phase = Math.floor(state % 100 / 10);
  const y = lane.y, base = y + BAR, w = Math.max(x1 - x0, 1);
  if (w <= THIN) { claim(lane, k, x0, x1); return; }
  if (role === 0) {
    g.strokeStyle = C.dim;
    g.lineWidth = 1.5;
    g.setLineDash([1.5, 3.5]);
    g.beginPath(); g.moveTo(x0, y + BAR / 2); g.lineTo(x0 + w, y + BAR / 2); g.stroke();
    g.setLineDash([]);
    if (w > 48) { g.fillStyle = C.sheet; g.fillRect(x0 + w / 2 - 20, y + 5, 40, 16); g.textAlign = 'center'; fitted('down', x0 + w / 2, y + 13, w, C.dim); g.textAlign = 'left'; }
    return;
  }
  const height = HEIGHTS[heightOf(role, phase)], top = base - height;
  g.fillStyle = role < 3 ? C.looking : epochColour(epoch);
  g.globalAlpha = ALPHAS[strengthOf(role, established)];
  g.fillRect(x0, top, w, height);
  g.globalAlpha = 1;
  if (established) {
    g.fillStyle = C.gold;
    g.fillRect(x0, top, w, 3);
    const room = w - 8;
    if (w > 17) { g.fillStyle = C['on-epoch']; crown(x0 + 4, y + 11, 10); if (phase >= 3) fitted(`epoch ${epoch}`, x0 + 19, y + 15.5, room - 15, C['on-epoch'], true) || fitted(String(epoch), x0 + 19, y + 15.5, room - 15, C['on-epoch'], true); }
  } else if (phase >= 3 && w > 30) fitted(String(epoch), x0 + 5, y + 14, w - 8, C.ink);
  g.fillStyle = C.sheet; g.fillRect(x0 + w - 0.75, top, 0.75, height);
};

const drawLane = (lane) => {
  const { t, n, y } = lane, base = y + BAR;
  g.fillStyle = C['fault-faint'];
  g.globalAlpha = 0.5;
  for (const { fault } of lane.faults) {
    const a = X(fault.t[0]), b = X(fault.t[3]);
    if (b >= GUT && a <= W && b - a >= 1) g.fillRect(a, y - 3, b - a, lane.height + 3);
  }
  g.globalAlpha = 1;
  g.fillStyle = C.line;
  g.fillRect(GUT, base, W - GUT, 1);
  const from = view[0], wide = (W - GUT) / (view[1] - from), cell = 1 / wide;
  for (let k = Math.max(0, lastAtMost(t, from)); k < n && t[k] <= view[1];) {
    const number = Math.floor(t[k] / cell), next = firstFrom(t, k + 1, (number + 1) * cell);
    const x1 = GUT + ((next < n ? t[next] : END) - from) * wide;
    if (next === k + 1) drawBar(lane, k, GUT + (t[k] - from) * wide, x1);
    else if (x1 >= GUT) {
      const top = highest(lane, k, next), x = Math.round(GUT + (number * cell - from) * wide);
      drawBar(lane, top, x, top === next - 1 ? x1 : x + 1);
      if (top !== next - 1 && x1 - x > 1.5) drawBar(lane, next - 1, x + 1, x1);
    }
    k = next;
  }
  paintThin(lane);
  drawEars(lane, base + 4);
  drawFaults(lane, base + 4 + lane.ears);
  if (chosen && chosen.lane === lane && chosen.k < n) {
    const x0 = X(t[chosen.k]), x1 = chosen.k + 1 < n ? X(t[chosen.k + 1]) : X(END);
    g.strokeStyle = C.ink; g.lineWidth = 2;
    g.strokeRect(x0, y - 2, Math.max(x1 - x0, 2), BAR + 4);
  }
};

/* The faults that hit a lane's host, in their rows; of those too narrow for a pattern one for each pixel. */
const drawFaults = (lane, below) => {
  const narrow = [[], [], [], []];  // for each row: from which pixel to which
  g.lineWidth = 1;
  for (const { fault, row } of lane.faults) {
    const a = X(fault.t[0]), d = X(fault.t[3]);
    if (d < GUT || a > W) continue;
    const top = below + row * (STRIP + 1), p = patterns[fault.group] || patterns.other;
    const x0 = Math.max(a, GUT - 2), x1 = Math.min(Math.max(d, a + 2), W + 2);
    if (x1 - x0 <= THIN) {
      const strokes = narrow[row], last = strokes.length - 1, pixel = Math.floor(x0);
      if (last >= 0 && pixel <= strokes[last]) strokes[last] = Math.max(strokes[last], pixel + 1); else strokes.push(pixel, pixel + 1);
      continue;
    }
    const b = X(fault.t[1]), c = X(fault.t[2]);
    g.fillStyle = C['fault-faint'];
    g.fillRect(x0, top, x1 - x0, STRIP);
    const s0 = Math.max(b, GUT - 2), s1 = Math.min(Math.max(c, b), W + 2);
    if (s1 > s0) {
      g.fillStyle = p; g.globalAlpha = 0.75; g.fillRect(s0, top, s1 - s0, STRIP);
      if (fault.group === 'paused') { g.fillStyle = patterns.asleep; g.globalAlpha = 0.55; g.fillRect(s0, lane.y, s1 - s0, BAR); }
      g.globalAlpha = 1;
    }
    g.strokeStyle = C.fault;
    g.strokeRect(x0 + 0.5, top + 0.5, x1 - x0 - 1, STRIP - 1);
    if (x1 - x0 < 20) continue;
    g.font = `600 10px ${font}`;
    for (const words of [`${fault.kind} ${fault.id}`, fault.id]) {
      const wide = g.measureText(words).width;
      if (x1 - x0 < wide + 10) continue;
      g.fillStyle = C.sheet; g.fillRect(x0 + 3, top + 1.5, wide + 5, STRIP - 3);
      g.fillStyle = C.ink; g.fillText(words, x0 + 5.5, top + STRIP / 2 + 0.5);
      break;
    }
  }
  g.fillStyle = C.fault; g.globalAlpha = 0.6;
  narrow.forEach((strokes, row) => { for (let i = 0; i < strokes.length; i += 2) g.fillRect(strokes[i], below + row * (STRIP + 1), strokes[i + 1] - strokes[i], STRIP); });
  g.globalAlpha = 1;
};

/* Below the bar, a line for each server that this one hears nothing from, in the lanes' order; paler while not sure. */
const drawEars = (lane, top) => {
  if (!lane.deaf.length) return;
  const most = Math.max(1, lanes.length - 1), rows = Math.min(EARS, most), from = view[0], wide = (W - GUT) / (view[1] - from);
  g.fillStyle = C.bad;
  levels.fill(0);
  for (const { peer, a, b, level } of lane.deaf) {
    const x0 = Math.max(GUT + (a - from) * wide, GUT), x1 = Math.min(GUT + (b - from) * wide, W);
    if (x1 < GUT || x0 > W) continue;
    const row = Math.floor((peer > lane.place ? peer - 1 : peer) * rows / most);
    if (x1 - x0 > THIN) { g.globalAlpha = level > 1 ? 1 : PERHAPS; g.fillRect(x0, top + row * EAR, x1 - x0, EAR - 1); continue; }
    const until = Math.min(W, Math.max(Math.floor(x0) + 1, Math.floor(x1)));
    for (let x = Math.floor(x0); x < until; x++) if (level > levels[row * W + x]) levels[row * W + x] = level;
  }
  g.globalAlpha = 1;
  for (let i = 0; i < levels.length; i++) dots32[i] = levels[i] > 1 ? inks.sure : levels[i] ? inks.perhaps : 0;
  pg.putImageData(image, 0, 0);
  for (let row = 0; row < rows; row++) g.drawImage(picture, 0, row, W, 1, 0, top + row * EAR, W, EAR - 1);
};

const drawThrone = () => {
  const from = view[0], wide = (W - GUT) / (view[1] - from);
  let last = -1;
  g.fillStyle = C.empty;
  for (const [a, b] of D.empty) {
    const x0 = GUT + (a - from) * wide, x1 = GUT + (b - from) * wide;
    if (x1 < GUT || x0 > W) continue;
    if (x1 - x0 < 5) {
      if (Math.floor(x0) === last) continue;
      last = Math.floor(x0);
      g.fillRect(last, throneY + BAR - 4, Math.max(x1 - last, 1), 4);
      continue;
    }
    g.strokeStyle = C.empty; g.lineWidth = 1.2; g.setLineDash([4, 3]);
    g.strokeRect(x0 + 0.6, throneY + 0.6, x1 - x0 - 1.2, BAR - 1.2);
    g.setLineDash([]);
    const start = Math.max(x0, GUT), room = Math.min(x1, W) - start - 8;
    if (room >= ROOM_MIN) fitted(`empty ${lasting(b - a)}`, start + 5, throneY + BAR / 2 + 0.5, room, C.empty, true) || fitted(lasting(b - a), start + 5, throneY + BAR / 2 + 0.5, room, C.empty, true);
  }
  const pixels = [-1, -1];
  for (const r of reigns) {
    const x0 = Math.max(GUT + (r.a - from) * wide, GUT - 2), x1 = Math.min(GUT + (r.b - from) * wide, W + 2);
    if (x1 < GUT || x0 > W) continue;
    const narrow = x1 - x0 < 1, pixel = Math.floor(x0);
    if (narrow && pixel === pixels[r.row] && !r.shared) continue;
    pixels[r.row] = pixel;
    const h = BAR * r.height, y = throneY + r.row * h, x = narrow ? pixel : x0, w = Math.max(x1 - x0, 1);
    g.fillStyle = epochColour(r.e);
    g.fillRect(x, y, w, r.height < 1 ? h - 1 : h);
    if (r.shared) { g.strokeStyle = C.bad; g.lineWidth = 2.5; g.strokeRect(x0 + 1, y + 1, Math.max(w - 2, 1), h - 2); }
    else if (w > 3) { g.fillStyle = C.sheet; g.fillRect(x0 + w - 0.75, y, 0.75, h); }
    if (w < ROOM_MIN) continue;
    const name = D.hosts[r.h].name;
    fitted(`epoch ${r.e} · ${name}`, x0 + 6, y + h / 2 + 0.5, w - 9, C['on-epoch'], true) || fitted(`${r.e} ${name}`, x0 + 4, y + h / 2 + 0.5, w - 6, C['on-epoch'], true) || fitted(String(r.e), x0 + 3, y + h / 2 + 0.5, w - 4, C['on-epoch'], true);
  }
};

const drawClients = () => {
  if (!hasClients) return;
  const bin = clients.bin_us, per = Math.max(1, Math.ceil(3 * (view[1] - view[0]) / (W - GUT) / bin));
  const groups = [];
  let most = 1;
  for (let k = Math.max(0, lastAtMost(clients.n, view[0] / bin - 1)); k < clients.n.length && clients.n[k] * bin <= view[1]; k++) {
    const at = Math.floor(clients.n[k] / per);
    if (!groups.length || groups[groups.length - 1][0] !== at) groups.push([at, 0, 0, 0]);
    const group = groups[groups.length - 1];
    group[1] += clients.ok[k]; group[2] += clients.fail[k]; group[3] += clients.unknown[k];
    most = Math.max(most, group[1], group[2] + group[3]);
  }
  const middle = clientsY + 24, up = 20 / most, down = 12 / most;
  g.fillStyle = C.line; g.fillRect(GUT, middle, W - GUT, 1);
  for (const [at, ok, fail, unknown] of groups) {
    const x = X(at * per * bin), w = Math.max(1, X((at + 1) * per * bin) - x - 0.6);
    g.fillStyle = C.dim; g.globalAlpha = 0.6; g.fillRect(x, middle - ok * up, w, ok * up); g.globalAlpha = 1;
    if (fail) { g.fillStyle = C.bad; g.fillRect(x, middle + 1, w, fail * down); }
    if (unknown) { g.fillStyle = C.fault; g.fillRect(x, middle + 1 + fail * down, w, unknown * down); }
  }
};

const STEPS = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].map((s) => s * 1e6);
const drawAxis = () => {
  const step = STEPS.find((s) => s / (view[1] - view[0]) * (W - GUT) > 76) || STEPS[STEPS.length - 1];
  g.font = `11px ${font}`;
  g.textAlign = 'center';
  for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step) {
    const x = X(t);
    g.fillStyle = C.line; g.fillRect(x, AXIS - 5, 1, H);
    g.fillStyle = C.dim; if (x > GUT + 16 && x < W - 22) g.fillText(clock(t, step), x, 11);
  }
  g.textAlign = 'left';
  D.phases.forEach((phase, i) => {
    const a = X(phase.t), b = i + 1 < D.phases.length ? X(D.phases[i + 1].t) : X(END);
    if (b < GUT || a > W) return;
    const x0 = Math.max(a, GUT), x1 = Math.min(b, W);
    if (x1 - x0 > 2) { g.fillStyle = i % 2 ? C.line : C.faint; g.fillRect(x0, AXIS, x1 - x0, PHASE - 4); }
    fitted(phase.name, x0 + 6, AXIS + 8.5, x1 - x0 - 8, C.ink, true);
    if (a >= GUT) { g.strokeStyle = C.dim; g.lineWidth = 1; g.setLineDash([2, 3]); g.beginPath(); g.moveTo(Math.round(a) + 0.5, AXIS); g.lineTo(Math.round(a) + 0.5, H); g.stroke(); g.setLineDash([]); }
  });
};

const flag = (t, words, colour) => {
  const x = X(t);
  if (x < GUT || x > W) return;
  g.fillStyle = colour; g.fillRect(x - 0.75, AXIS - 2, 1.5, H);
  g.font = `600 11px ${font}`;
  const w = g.measureText(words).width + 10, left = Math.min(x - 1, W - w);
  g.fillRect(left, 2, w, 17);
  g.fillStyle = C.paper; g.fillText(words, left + 5, 11);
};

/* Flags that would cover each other become one: ✕ 2–5. */
const flagViolations = () => {
  let group = [];
  const plant = () => { if (group.length) { for (const v of group.slice(1)) { const x = X(v.t); if (x >= GUT) { g.fillStyle = C.bad; g.fillRect(x - 0.5, AXIS - 2, 1, H); } } flag(group[0].t, group.length > 1 ? `✕ ${group[0].n}–${group[group.length - 1].n}` : `✕ ${group[0].n}`, C.bad); } };
  for (const v of D.violations) {
    const x = X(v.t);
    if (x < GUT || x > W) continue;
    if (group.length && x - X(group[0].t) > 46) { plant(); group = []; }
    group.push(v);
  }
  plant();
};

const drawGutter = () => {
  g.fillStyle = C.sheet; g.fillRect(0, 0, GUT, H);
  g.fillStyle = C.line; g.fillRect(GUT - 1, AXIS, 1, H);
  const label = (words, y, colour, size, bold) => {
    g.font = `${bold ? '600 ' : ''}${size}px ${font}`; g.fillStyle = colour;
    let shown = words;
    while (shown.length > 2 && g.measureText(shown).width > GUT - 20) shown = `${shown.slice(0, -2)}…`;
    g.fillText(shown, 12, y);
  };
  g.fillStyle = C.gold; crown(12, throneY + 8, 13);
  if (GUT > 70) { g.font = `600 12px ${font}`; g.fillStyle = C.ink; g.fillText('throne', 31, throneY + 13.5); }
  for (const lane of lanes) {
    label(lane.host.name, lane.y + 9, C.ink, 13, true);
    label(`sid ${lane.host.sid || '?'}${lane.host.role === 'observer' ? ' observer' : ''}`, lane.y + 25, C.dim, 11);
    if (chosen && chosen.lane === lane) { g.fillStyle = C.ink; g.fillRect(4, lane.y, 3, BAR); }
  }
  if (hasClients) { label('writes', clientsY + 14, C.ink, 12, true); if (GUT > 70) label('ok ↑ not ↓', clientsY + 29, C.dim, 10.5); }
};

let overviewCache = null;
const drawOverview = () => {
  if (!overviewCache) {
    og.setTransform(scale, 0, 0, scale, 0, 0);
    og.fillStyle = C.sheet; og.fillRect(0, 0, W, 34);
    D.phases.forEach((phase, i) => { og.fillStyle = i % 2 ? C.line : C.faint; og.fillRect(OX(phase.t), 0, W, 34); });
    og.fillStyle = C.sheet; og.fillRect(OX(END), 0, W, 34);
    let last = -1;
    for (const r of reigns) {
      const x = OX(r.a), w = OX(r.b) - x;
      if (w < 0.5 && Math.floor(x) === last) continue;
      last = Math.floor(x);
      og.fillStyle = epochColour(r.e); og.fillRect(x, 9, Math.max(w - 0.5, 0.7), 16);
    }
    og.fillStyle = C.fault;
    for (const fault of D.faults) og.fillRect(OX(fault.t[0]), 28, Math.max(OX(fault.t[3]) - OX(fault.t[0]), 1), 3);
    og.fillStyle = C.bad;
    for (const v of D.violations) og.fillRect(OX(v.t) - 1, 0, 2, 34);
    og.fillStyle = C.dim; og.font = `11px ${font}`; og.textBaseline = 'middle'; og.fillText(GUT > 70 ? 'whole run' : 'all', 12, 17);
    overviewCache = document.createElement('canvas');
    overviewCache.width = overview.width; overviewCache.height = overview.height;
    overviewCache.getContext('2d').drawImage(overview, 0, 0);
  }
  og.setTransform(1, 0, 0, 1, 0, 0);
  og.drawImage(overviewCache, 0, 0);
  og.setTransform(scale, 0, 0, scale, 0, 0);
  const [from, until] = choice && choice.overview ? [Math.min(choice.a, choice.b), Math.max(choice.a, choice.b)] : view;
  const a = OX(from), b = Math.max(OX(until), a + 3);
  og.globalAlpha = 0.62; og.fillStyle = C.sheet; og.fillRect(GUT, 0, a - GUT, 34); og.fillRect(b, 0, W - b, 34); og.globalAlpha = 1;
  og.strokeStyle = C.ink; og.lineWidth = 1.5; og.strokeRect(a + 0.75, 1, b - a - 1.5, 32);
};

const draw = () => {
  if (W < 1) return;  // not laid out, as in a page that is not shown
  const began = performance.now();
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.textBaseline = 'middle'; g.textAlign = 'left';
  g.fillStyle = C.sheet; g.fillRect(0, 0, W, H);
  drawAxis();
  for (const lane of lanes) drawLane(lane);
  drawThrone();
  drawClients();
  const carried = drawArrows();
  if (choice && !choice.overview) { g.fillStyle = C.link; g.globalAlpha = 0.18; const a = X(Math.min(choice.a, choice.b)); g.fillRect(a, AXIS, X(Math.max(choice.a, choice.b)) - a, H); g.globalAlpha = 1; }
  flagViolations();
  if (marker !== null) flag(marker, clock(marker), C.ink);
  else if (instant >= view[0] && instant <= view[1]) { const x = X(instant); g.fillStyle = C.ink; g.fillRect(x - 0.5, AXIS, 1, H); g.beginPath(); g.moveTo(x - 5, AXIS - 6); g.lineTo(x + 5, AXIS - 6); g.lineTo(x, AXIS + 1); g.fill(); }
  if (cursor !== null && cursor >= view[0] && cursor <= view[1]) { g.fillStyle = C.ink; g.globalAlpha = 0.45; g.fillRect(X(cursor), AXIS, 1, H); g.globalAlpha = 1; }
  drawGutter();
  drawOverview();
  canvas.dataset.from = view[0]; canvas.dataset.until = view[1];
  $('window').textContent = `${clock(view[0])} to ${clock(view[1])}, ${lasting(view[1] - view[0])}${carried}`;
  performance.measure('draw', { start: began, end: performance.now() });
};
