/* The space-time diagram: a line down the page for each server, an arrow for each message between them.

   Time goes down, and not to scale: an instant gets as many lines as its words need so that none covers another,
   and idle time is pressed together.  A server's line is wide while it leads, and coloured by its epoch.  The
   diagram is SVG, so that it prints. */
import { pen, size } from './canvas.js';
import { lastAtMost } from './columns.js';
import { svgElement } from './elements.js';
import { arrival, arrived, fullWords, isRoutine, isVote, messages, messagesIn, shortWords } from './messages.js';
import { DOWN, FOLLOWING, LOOKING, ROLES, isEstablished, phaseOf, roleOf, run } from './run.js';
import { clock, lasting, text } from './words.js';

const ARROWS_MAX = 220;
const STATES_MAX = 120;
const LINE = 13;
const GRID_MIN = 3 * LINE;
const HEADS = 30;
const LEFT = 64;
const COLUMN_MIN = 150;
const LABEL_GAP = 4;

/* Where the servers' lines stand. */
const columnsIn = (boxWidth) => {
  const width = Math.max(boxWidth, COLUMN_MIN * (run.lanes.length + 1)) - 4;
  const step = (width - LEFT - 10) / run.lanes.length;
  return { width, step, at: (place) => LEFT + step * (place + 0.8) };
};

// ---- what there is to draw ----------------------------------------------------------------------------------------

/* The messages of the window, at most ARROWS_MAX, and until when they reach. */
const messagesOf = (from, until, wanted) => {
  const all = messagesIn(from, until, wanted, Infinity);
  const chosen = all.slice(0, ARROWS_MAX);
  const leftOut = all.length - chosen.length;
  return { chosen, leftOut, last: leftOut ? messages.sent[chosen[chosen.length - 1]] : until };
};
/* Transitions of servers that are worth a line, and begins and ends of faults. */
const marksOf = (from, last) => {
  const marks = [];
  for (const lane of run.lanes) {
    let mine = 0;
    for (let k = lastAtMost(lane.t, from) + 1; k < lane.n && lane.t[k] <= last && mine < STATES_MAX; k++) {
      // A transition that changes neither role, phase nor epoch is not worth a line here.
      if (k && lane.s[k] === lane.s[k - 1] && lane.e[k] === lane.e[k - 1]) continue;
      if (mine && marks[marks.length - 1].t === lane.t[k]) {
        marks[marks.length - 1].k = k;
        continue;
      }
      mine++;
      marks.push({ t: lane.t[k], lane, k });
    }
    for (const { fault } of lane.faults) {
      for (const [t, happens] of [
        [fault.t[1], 'begins'],
        [fault.t[3], 'ends'],
      ]) {
        if (t >= from && t <= last && t < run.end) marks.push({ t, lane, fault, happens });
      }
    }
  }
  return marks;
};
const stateWords = (lane, k) => {
  const role = roleOf(lane.s[k]);
  if (role < LOOKING) return ROLES[role];
  const phase = ['election', 'discovery', 'sync'][phaseOf(lane.s[k])];
  const inPhase = role >= FOLLOWING && phase ? `, ${phase}` : '';
  return `${ROLES[role]}${inPhase}${lane.e[k] >= 0 ? `, epoch ${lane.e[k]}` : ''}`;
};

// ---- words that do not cover each other ---------------------------------------------------------------------------

/* Words `aside` of a server's line; on its other side if there is no room on the one that is asked for. */
const label = (t, line, aside, words, columns, { toLeft = false, bold = false, name = 'label' }) => {
  pen.font = `${bold ? '600 ' : ''}10px ${size.font}`;
  const wide = pen.measureText(words).width;
  const isLeft = toLeft ? line - aside - wide >= LEFT : line + aside + wide > columns.width;
  const x = isLeft ? line - aside : line + aside;
  return { t, x, words, isLeft, name, left: isLeft ? x - wide : x, right: isLeft ? x : x + wide, row: 0 };
};
/* One for all messages that a server sends at once, in one direction, with the same words. */
const messageLabels = (chosen, from, columns) => {
  const labels = new Map();
  for (const m of chosen) {
    if (isRoutine(m)) continue;
    const t = Math.max(from, messages.sent[m]);
    const toLeft = messages.target[m] < messages.source[m];
    const key = [messages.source[m], t, toLeft, messages.saying[m]].join(' ');
    const line = columns.at(messages.source[m]);
    if (!labels.has(key)) labels.set(key, label(t, line, 11, shortWords(m), columns, { toLeft }));
  }
  return [...labels.values()];
};
const markLabel = ({ t, lane, k, fault, happens }, columns) => {
  const words = fault ? `${fault.kind} ${fault.id} ${happens}` : stateWords(lane, k);
  const name = fault ? 'fault' : 'state';
  return label(t, columns.at(lane.place), 7, words, columns, { toLeft: true, bold: true, name });
};
const violationLabel = (v, columns) =>
  label(v.t, LEFT, 0, `✕ ${v.n} ${v.promise}`, columns, { bold: true, name: 'broken' });

/* Gives each label the lowest row above its instant where no other of that instant stands; answers how many rows each
   instant has. */
const stackLabels = (labels) => {
  const rowsAt = new Map();
  for (const one of labels) {
    if (!rowsAt.has(one.t)) rowsAt.set(one.t, []);
    const rows = rowsAt.get(one.t);
    const isFree = (row) =>
      row.every((other) => one.left > other.right + LABEL_GAP || other.left > one.right + LABEL_GAP);
    const free = rows.findIndex(isFree);
    one.row = free < 0 ? rows.length : free;
    if (free < 0) rows.push([one]);
    else rows[free].push(one);
  }
  return new Map([...rowsAt].map(([t, rows]) => [t, rows.length]));
};

/* How far down each instant is: below all of its words, and the farther the longer nothing happened. */
const scaleOf = (instants, rowsAt) => {
  const times = [...new Set(instants)].sort((a, b) => a - b);
  const downs = [];
  let down = 0;
  times.forEach((t, k) => {
    const idle = k ? Math.min(40, 7 * Math.log1p((t - times[k - 1]) / 1000)) : 0;
    down += Math.max((rowsAt.get(t) || 0) * LINE, 3, idle);
    downs.push(down);
  });
  const at = (t) => {
    const k = lastAtMost(times, t);
    if (k < 0) return downs[0];
    if (k + 1 >= times.length || times[k] === t) return downs[k];
    return downs[k] + ((downs[k + 1] - downs[k]) * (t - times[k])) / (times[k + 1] - times[k]);
  };
  return { at, times, downs, bottom: down + 24 };
};

// ---- drawing ------------------------------------------------------------------------------------------------------

const drawGrid = ({ times, downs }, width) => {
  const grid = svgElement('g', {});
  let above = -Infinity;
  times.forEach((t, k) => {
    const y = downs[k];
    if (y - above <= GRID_MIN) return;
    above = y;
    grid.append(
      svgElement('line', { class: 'grid', x1: LEFT - 6, x2: width, y1: y, y2: y }),
      svgElement('text', { class: 'when', x: LEFT - 10, y: y + 3.5 }, clock(t, 1e3)),
    );
  });
  return grid;
};
const drawLife = (lane, x, from, last, scale) => {
  const life = svgElement('g', {});
  for (let k = Math.max(0, lastAtMost(lane.t, from)); k < lane.n && lane.t[k] <= last; k++) {
    const y0 = scale.at(Math.max(from, lane.t[k]));
    const y1 = scale.at(k + 1 < lane.n ? Math.min(last, lane.t[k + 1]) : last);
    if (y1 <= y0) continue;
    const role = roleOf(lane.s[k]);
    if (role === DOWN) {
      life.append(svgElement('line', { class: 'gone', x1: x, x2: x, y1: y0, y2: y1 }));
      continue;
    }
    const leads = isEstablished(lane.s[k]);
    const half = leads ? 5 : role >= FOLLOWING ? 3 : 1.5;
    const colour = role >= FOLLOWING && lane.e[k] >= 0 ? ` e${lane.e[k] % 6}` : '';
    const name = `life${colour}${leads ? ' leads' : ''}`;
    life.append(svgElement('rect', { class: name, x: x - half, y: y0, width: 2 * half, height: y1 - y0 }));
  }
  return life;
};
const headOf = (x0, y0, x1, y1, open) => {
  const turn = Math.atan2(y1 - y0, x1 - x0);
  const corner = (side) =>
    `${(x1 - 7 * Math.cos(turn + side)).toFixed(1)} ${(y1 - 7 * Math.sin(turn + side)).toFixed(1)}`;
  return svgElement('path', { class: 'head', d: `M${corner(0.35)}L${x1} ${y1}L${corner(-0.35)}${open ? '' : 'Z'}` });
};
const drawArrow = (m, from, last, columns, scale) => {
  const right = messages.target[m] > messages.source[m];
  const side = right ? 1 : -1;
  const a = columns.at(messages.source[m]);
  const whole = arrived(m) && arrival(m) <= last;
  const x0 = a + 6 * side;
  const y0 = scale.at(Math.max(from, messages.sent[m]));
  const x1 = whole ? columns.at(messages.target[m]) - 6 * side : a + side * Math.min(74, columns.step * 0.5);
  const y1 = whole ? scale.at(arrival(m)) : y0 + 9;
  const kind = isRoutine(m) ? 'routine' : isVote(m) ? 'vote' : 'packet';
  const arrow = svgElement('g', { class: `message ${kind}${arrived(m) ? '' : ' lost'}` });
  const came = arrived(m) ? `arrived ${lasting(messages.took[m])} later` : 'never arrived';
  arrow.append(
    svgElement('title', {}, `${fullWords(m)}. Sent at ${clock(messages.sent[m], 1)}, ${came}`),
    svgElement('line', { x1: x0, y1: y0, x2: x1, y2: y1 }),
    arrived(m)
      ? headOf(x0, y0, x1, y1, isVote(m))
      : svgElement('path', { class: 'cross', d: `M${x1 - 3.5} ${y1 - 3.5}l7 7m-7 0l7 -7` }),
  );
  return arrow;
};
const drawMark = ({ t, lane, k, fault, happens }, columns, scale) => {
  const x = columns.at(lane.place);
  const y = scale.at(t);
  const leads = !fault && isEstablished(lane.s[k]);
  const mark = svgElement('g', { class: `mark${fault ? ' fault' : leads ? ' leads' : ''}` });
  const words = fault
    ? `${fault.says}: ${happens} at ${clock(t, 1)}`
    : `${lane.host.name} at ${clock(t, 1)}, op ${lane.i[k]}: ${text(run.rest.texts, lane.w[k])}`;
  mark.append(
    svgElement('title', {}, words),
    fault
      ? svgElement('rect', { x: x - 4, y: y - 4, width: 8, height: 8 })
      : svgElement('circle', { cx: x, cy: y, r: 4 }),
  );
  return mark;
};
const drawViolation = (v, width, scale) => {
  const y = scale.at(v.t);
  const mark = svgElement('g', { class: 'broken' });
  mark.append(svgElement('title', {}, v.message), svgElement('line', { x1: LEFT - 6, x2: width, y1: y, y2: y }));
  return mark;
};
const drawLabel = ({ t, x, words, isLeft, name, row }, scale) =>
  svgElement(
    'text',
    {
      class: `words ${name}`,
      x,
      y: scale.at(t) - 3.5 - row * LINE,
      'text-anchor': isLeft ? 'end' : 'start',
    },
    words,
  );

/* Draws the window into `box`.  Answers how many messages there are in it (`shown`), how many of those never arrived
   (`lost`), how many are left out, and until when the diagram goes (`last`). */
export const drawDiagram = (box, from, until, withRoutine) => {
  const { chosen, leftOut, last } = messagesOf(from, until, (m) => withRoutine || !isRoutine(m));
  const columns = columnsIn(box.clientWidth || 0);
  const marks = marksOf(from, last);
  const broken = run.violations.filter((v) => v.t >= from && v.t <= last);
  const labels = [
    ...messageLabels(chosen, from, columns),
    ...marks.map((mark) => markLabel(mark, columns)),
    ...broken.map((v) => violationLabel(v, columns)),
  ];
  const starts = chosen.map((m) => Math.max(from, messages.sent[m]));
  const ends = chosen.filter((m) => arrived(m) && arrival(m) <= last).map(arrival);
  const instants = [from, last, ...starts, ...ends, ...marks.map(({ t }) => t), ...broken.map(({ t }) => t)];
  const scale = scaleOf(instants, stackLabels(labels));

  const { width } = columns;
  const svgOf = (height, name) => svgElement('svg', { class: name, viewBox: `0 0 ${width} ${height}`, width, height });
  const heads = svgOf(HEADS, 'heads');
  const svg = svgOf(scale.bottom, 'body');
  svg.append(drawGrid(scale, width));
  for (const lane of run.lanes) {
    const x = columns.at(lane.place);
    heads.append(svgElement('text', { class: 'host', x, y: HEADS - 10 }, lane.host.name));
    svg.append(drawLife(lane, x, from, last, scale));
  }
  svg.append(...chosen.map((m) => drawArrow(m, from, last, columns, scale)));
  svg.append(...marks.map((mark) => drawMark(mark, columns, scale)));
  svg.append(...broken.map((v) => drawViolation(v, width, scale)));
  svg.append(...labels.map((one) => drawLabel(one, scale)));
  box.replaceChildren(heads, svg);
  return { shown: chosen.length, lost: chosen.filter((m) => !arrived(m)).length, leftOut, last };
};
