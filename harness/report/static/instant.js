/* Who hears whom at one instant: a graph of arrows, and the same as a table.

   An arrow from n1 to n3 says that n3 hears n1; dashed, that the link is disturbed; a red stub with a bar, that what n1
   sends does not arrive.  Of more than SERVERS_MAX servers only the links that are disturbed or cut are drawn. */
import { byId, element, svgElement } from './elements.js';
import { deafWords, isGone, perhaps, stateWords, worldAt } from './hearing.js';
import { FOLLOWING, LOOKING, STARTING, run, stateOf } from './run.js';
import { schedule, selection } from './view.js';
import { clock } from './words.js';

const SERVERS_MAX = 12;
const SIZE = 300;
const NODE = 19;

const spotOf = (n) => {
  const turn = -Math.PI / 2 + (2 * Math.PI * n) / run.lanes.length;
  const far = run.lanes.length > 2 ? 108 : 80;
  return [SIZE / 2 + far * Math.cos(turn), SIZE / 2 + 4 + far * Math.sin(turn)];
};
/* Small nodes, where there are many. */
const shrunk = () => (run.lanes.length > 8 ? Math.max(0.35, 8 / run.lanes.length) : 1);

const linkWords = (hearer, sender, cut, poor) => {
  const [one, other] = [hearer.host.name, sender.host.name];
  if (cut) return `${one} hears nothing from ${other}${perhaps(cut)}`;
  return poor ? `${one} hears ${other} over a bad link${perhaps(poor)}` : `${one} hears ${other}`;
};
const linkShape = (hearer, sender, cut) => {
  const node = NODE * shrunk();
  const [ax, ay] = spotOf(sender.place);
  const [bx, by] = spotOf(hearer.place);
  const long = Math.hypot(bx - ax, by - ay);
  const ux = (bx - ax) / long;
  const uy = (by - ay) / long;
  const aside = 3.2; // the link the other way lies on the other side
  const x0 = ax + ux * (node + 3) - uy * aside;
  const y0 = ay + uy * (node + 3) + ux * aside;
  const x1 = bx - ux * (node + 5) - uy * aside;
  const y1 = by - uy * (node + 5) + ux * aside;
  if (cut) {
    const short = Math.min(26, long * 0.28);
    const cx = x1 - ux * short;
    const cy = y1 - uy * short;
    return [
      svgElement('line', { x1: cx, y1: cy, x2: x1, y2: y1 }),
      svgElement('line', { x1: cx - uy * 4, y1: cy + ux * 4, x2: cx + uy * 4, y2: cy - ux * 4 }),
    ];
  }
  const tip = `M${x1 + ux * 4} ${y1 + uy * 4}`;
  const left = `L${x1 - ux * 3 - uy * 3} ${y1 - uy * 3 + ux * 3}`;
  const right = `L${x1 - ux * 3 + uy * 3} ${y1 - uy * 3 - ux * 3}`;
  return [svgElement('line', { x1: x0, y1: y0, x2: x1, y2: y1 }), svgElement('path', { d: `${tip}${left}${right}Z` })];
};
const drawLinks = (t, world) => {
  const links = svgElement('g', {});
  const here = run.lanes.filter((lane) => !isGone(lane, t, world));
  for (const hearer of here) {
    for (const sender of here) {
      if (hearer === sender) continue;
      const cut = world.has('drops', hearer.place, sender.place);
      const poor = world.has('degraded', hearer.place, sender.place);
      if (!cut && !poor && run.lanes.length > SERVERS_MAX) continue;
      const name = cut ? `cut${cut === 1 ? ' unsure' : ''}` : poor ? 'poor' : 'whole';
      const link = svgElement('g', { class: name });
      link.append(svgElement('title', {}, linkWords(hearer, sender, cut, poor)), ...linkShape(hearer, sender, cut));
      links.append(link);
    }
  }
  return links;
};

const nodeWords = (gone, role, epoch) => {
  if (gone) return 'down';
  if (role === LOOKING) return 'LOOK';
  if (role === STARTING) return 'starts';
  return epoch >= 0 ? String(epoch) : '–';
};
const drawNode = (lane, t, world) => {
  const small = shrunk();
  const radius = NODE * small;
  const [x, y] = spotOf(lane.place);
  const { role, established, epoch } = stateOf(lane, t);
  const gone = isGone(lane, t, world);
  const leads = established && !gone;
  const isIn = isInMajority(lane, world);
  const names = ['node', gone && 'down', leads && 'leading', isIn && 'due'];
  const node = svgElement('g', { class: names.filter(Boolean).join(' ') });
  node.append(svgElement('title', {}, `${lane.host.name}: ${stateWords(lane, t, world).join(', ')}`));
  if (isIn) node.append(svgElement('circle', { class: 'ring', cx: x, cy: y, r: radius + 5 }));
  const coloured = !gone && role >= FOLLOWING && epoch >= 0;
  const body = `body${coloured ? ` e${epoch % 6}` : ''}${coloured && !established ? ' pale' : ''}`;
  node.append(svgElement('circle', { class: body, cx: x, cy: y, r: radius }));
  const bar = (aside) => `M${x + aside} ${y - radius + 3}V${y + radius - 3}`;
  if (world.has('paused', lane.place)) node.append(svgElement('path', { class: 'pause', d: `${bar(-5)}${bar(5)}` }));
  const crown = `M${x - 8} ${y - radius - 3}l-1 -9 5 3.5 4 -6 4 6 5 -3.5 -1 9z`;
  if (leads) node.append(svgElement('path', { class: 'crown', d: crown }));
  node.append(svgElement('text', { x, y: small < 1 ? y + 3 : y - 1.5, class: 'name' }, lane.host.name));
  if (small === 1) node.append(svgElement('text', { x, y: y + 10, class: 'epoch' }, nodeWords(gone, role, epoch)));
  return node;
};
const isInMajority = (lane, world) => Boolean(world.majority && world.majority.includes(lane.place));

const drawGraph = (t, world) => {
  const svg = svgElement('svg', {
    viewBox: `0 0 ${SIZE} ${SIZE}`,
    role: 'img',
    'aria-label': `Who hears whom at ${clock(t)}, as in the table below`,
  });
  const nodes = svgElement('g', {});
  nodes.append(...run.lanes.map((lane) => drawNode(lane, t, world)));
  svg.append(drawLinks(t, world), nodes);
  byId('graph').replaceChildren(svg);
};
const drawTable = (t, world) => {
  const rows = run.lanes.map((lane) => {
    const row = element('tr');
    const name = element('th', lane.host.name);
    const words = stateWords(lane, t, world);
    name.scope = 'row';
    if (isInMajority(lane, world)) name.append(element('span', ' ●', 'due'));
    const deaf = words[0] === 'down' ? '' : deafWords(lane, world) || '–';
    row.append(name, element('td', words.join(', ')), element('td', deaf));
    return row;
  });
  document.querySelector('#instant-table tbody').replaceChildren(...rows);
};
const majorityWords = (world) => {
  if (!world.known) return 'This page does not have what was in force then; the history does.';
  if (!world.majority) return 'No majority is healthy and cleanly cut off from the others, so no leader is due.';
  const names = world.majority.map((h) => run.lanes[h].host.name).join(' ');
  if (world.majority.length === run.lanes.length) return `${names} are all healthy, so a leader is due.`;
  return `${names} are a healthy majority, cleanly cut off from the others, so a leader is due.`;
};

let shown = -1;
export const drawInstant = (t) => {
  if (t === shown || !run.lanes.length) return;
  shown = t;
  const world = worldAt(t);
  byId('instant-says').textContent = `At ${clock(t)}. ${majorityWords(world)}`;
  drawGraph(t, world);
  drawTable(t, world);
};
export const setInstant = (t) => {
  selection.instant = Math.max(0, Math.min(run.end, t));
  drawInstant(selection.instant);
  schedule();
};
