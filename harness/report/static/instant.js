/* Who hears whom at one instant: a graph of arrows, and the same as a table.

   What is known is the checkers' (report/hearing.py): an effect is not so, perhaps so, or surely so.  An arrow from n1 to
   n3 says that n3 hears n1; dashed, that the link is disturbed; a red stub with a bar, that what n1 says does not arrive.
   Of more than SERVERS_MAX servers only the links that are not whole are drawn. */
const SERVERS_MAX = 12;

/* The world at `t`: the level of each effect, who runs, and the hosts that are owed a leader (null: none are). */
const worldAt = (t) => {
  const levels = new Map(), runs = lanes.map(() => null);
  for (let k = 0; k < hearing.t.length && hearing.t[k] <= t; k++) levels.set(hearing.a[k], hearing.l[k]);
  for (let k = 0; k < hearing.rt.length && hearing.rt[k] <= t; k++) runs[hearing.rh[k]] = hearing.ru[k] === 1;
  let majority = null;
  for (const [at, hosts] of hearing.majority) { if (at > t) break; majority = hosts; }
  const of = {};
  for (const [a, level] of levels) if (level) { const [kind, ...hosts] = hearing.atoms[a]; (of[kind] ||= new Map()).set(hosts.join(' '), level); }
  return { runs, majority, has: (kind, ...hosts) => (of[kind] && of[kind].get(hosts.join(' '))) || 0, known: hearing.until === null || t <= hearing.until };
};
const perhaps = (level) => level === 1 ? ' (perhaps)' : '';
const stateOf = (lane, t) => {
  const k = lastAtMost(lane.t, t);
  return k < 0 ? { role: 0, established: false, epoch: -1, leader: -1, phase: 0 } : { role: lane.s[k] % 10, phase: Math.floor(lane.s[k] % 100 / 10), established: lane.s[k] >= 100, epoch: lane.e[k], leader: lane.l[k] };
};
const nameOf = (sid) => { const lane = lanes.find((l) => l.host.sid === String(sid)); return lane ? lane.host.name : 'somebody'; };
const isWhat = (lane, t, world) => {
  const { role, established, epoch, leader, phase } = stateOf(lane, t), h = lane.place, ails = [];
  if (world.has('paused', h)) ails.push(`paused${perhaps(world.has('paused', h))}`);
  if (world.has('clock', h)) ails.push(`clock bent${perhaps(world.has('clock', h))}`);
  if (world.has('disk', h)) ails.push(`disk stuck${perhaps(world.has('disk', h))}`);
  if (role === 0 || world.runs[h] === false) return ['down', ...ails];
  const inPhase = role >= 3 && phase < 3 ? ` in ${PHASES[phase]}` : '';
  const of = epoch >= 0 ? ` epoch ${epoch}` : '';
  const what = role === 4 ? `${established ? 'leads' : 'is elected,'}${of}` : role === 3 || role === 5 ? `${role === 5 ? 'observes' : 'follows'} ${nameOf(leader)}${of ? `,${of}` : ''}` : role === 2 ? 'LOOKING' : 'starting';
  return [what + inPhase, ...ails];
};
const hearsNot = (lane, world) => {
  const cut = [], poor = [];
  for (const other of lanes) {
    if (other === lane) continue;
    const drops = world.has('drops', lane.place, other.place), degraded = world.has('degraded', lane.place, other.place);
    if (drops) cut.push(other.host.name + perhaps(drops)); else if (degraded) poor.push(other.host.name);
  }
  return [cut.join(' '), poor.length ? `badly: ${poor.join(' ')}` : ''].filter(Boolean).join('; ');
};

const graph = $('graph');
const SIZE = 300, NODE = 19;
const spot = (n) => { const turn = -Math.PI / 2 + 2 * Math.PI * n / lanes.length, far = lanes.length > 2 ? 108 : 80; return [SIZE / 2 + far * Math.cos(turn), SIZE / 2 + 4 + far * Math.sin(turn)]; };
const drawGraph = (t, world) => {
  const svg = drawn('svg', { viewBox: `0 0 ${SIZE} ${SIZE}`, role: 'img', 'aria-label': `Who hears whom at ${clock(t)}; the table below says the same` });
  const edges = drawn('g', {}), nodes = drawn('g', {}), small = lanes.length > 8 ? Math.max(0.35, 8 / lanes.length) : 1, node = NODE * small;
  const silent = (lane) => world.runs[lane.place] === false || stateOf(lane, t).role === 0;
  for (const hearer of lanes) for (const said of lanes) {
    if (hearer === said || silent(hearer) || silent(said)) continue;
    const cut = world.has('drops', hearer.place, said.place), poor = world.has('degraded', hearer.place, said.place);
    if (!cut && !poor && lanes.length > SERVERS_MAX) continue;
    const [ax, ay] = spot(said.place), [bx, by] = spot(hearer.place), long = Math.hypot(bx - ax, by - ay), ux = (bx - ax) / long, uy = (by - ay) / long;
    const aside = 3.2, x0 = ax + ux * (node + 3) - uy * aside, y0 = ay + uy * (node + 3) + ux * aside, x1 = bx - ux * (node + 5) - uy * aside, y1 = by - uy * (node + 5) + ux * aside;
    const edge = drawn('g', { class: cut ? `cut${cut === 1 ? ' unsure' : ''}` : poor ? 'poor' : 'whole' });
    edge.append(drawn('title', {}, cut ? `${hearer.host.name} hears nothing from ${said.host.name}${perhaps(cut)}` : poor ? `${hearer.host.name} hears ${said.host.name} badly${perhaps(poor)}` : `${hearer.host.name} hears ${said.host.name}`));
    if (cut) {
      const short = Math.min(26, long * 0.28), cx = x1 - ux * short, cy = y1 - uy * short;
      edge.append(drawn('line', { x1: cx, y1: cy, x2: x1, y2: y1 }), drawn('line', { x1: cx - uy * 4, y1: cy + ux * 4, x2: cx + uy * 4, y2: cy - ux * 4 }));
    } else edge.append(drawn('line', { x1: x0, y1: y0, x2: x1, y2: y1 }), drawn('path', { d: `M${x1 + ux * 4} ${y1 + uy * 4}L${x1 - ux * 3 - uy * 3} ${y1 - uy * 3 + ux * 3}L${x1 - ux * 3 + uy * 3} ${y1 - uy * 3 - ux * 3}Z` }));
    edges.append(edge);
  }
  for (const lane of lanes) {
    const [x, y] = spot(lane.place), { role, established, epoch } = stateOf(lane, t), gone = silent(lane);
    const at = drawn('g', { class: `node${gone ? ' down' : ''}${established && !gone ? ' leading' : ''}${world.majority && world.majority.includes(lane.place) ? ' owed' : ''}` });
    at.append(drawn('title', {}, `${lane.host.name}: ${isWhat(lane, t, world).join(', ')}`));
    if (world.majority && world.majority.includes(lane.place)) at.append(drawn('circle', { class: 'ring', cx: x, cy: y, r: node + 5 }));
    const throned = !gone && role >= 3 && epoch >= 0;
    at.append(drawn('circle', { class: `body${throned ? ` e${epoch % 6}` : ''}${throned && !established ? ' pale' : ''}`, cx: x, cy: y, r: node }));
    if (world.has('paused', lane.place)) at.append(drawn('path', { class: 'pause', d: `M${x - 5} ${y - node + 3}V${y + node - 3}M${x + 5} ${y - node + 3}V${y + node - 3}` }));
    if (established && !gone) at.append(drawn('path', { class: 'crown', d: `M${x - 8} ${y - node - 3}l-1 -9 5 3.5 4 -6 4 6 5 -3.5 -1 9z` }));
    at.append(drawn('text', { x, y: small < 1 ? y + 3 : y - 1.5, class: 'name' }, lane.host.name));
    if (small === 1) at.append(drawn('text', { x, y: y + 10, class: 'epoch' }, gone ? 'down' : role === 2 ? 'LOOK' : role === 1 ? 'starts' : epoch >= 0 ? String(epoch) : '–'));
    nodes.append(at);
  }
  svg.append(edges, nodes);
  graph.replaceChildren(svg);
};
let instantShown = -1;
const drawInstant = (t) => {
  if (t === instantShown || !lanes.length) return;
  instantShown = t;
  const world = worldAt(t), names = (hosts) => hosts.map((h) => lanes[h].host.name).join(' ');
  const whole = world.majority ? `${names(world.majority)} ${world.majority.length === lanes.length ? 'are all whole' : 'are a majority, whole and cut off cleanly'}: owed a leader.` : 'No majority is whole and cleanly cut off from the rest: nobody is owed a leader.';
  $('instant-says').textContent = world.known ? `At ${clock(t)}. ${whole}` : `At ${clock(t)}. What held then is in the history only.`;
  drawGraph(t, world);
  const rows = lanes.map((lane) => {
    const row = element('tr'), name = element('th', lane.host.name), is = isWhat(lane, t, world);
    name.scope = 'row';
    if (world.majority && world.majority.includes(lane.place)) name.append(element('span', ' ●', 'owed'));
    row.append(name, element('td', is.join(', ')), element('td', is[0] === 'down' ? '' : hearsNot(lane, world) || '–'));
    return row;
  });
  document.querySelector('#instant-table tbody').replaceChildren(...rows);
};
const setInstant = (t) => { instant = Math.max(0, Math.min(END, t)); drawInstant(instant); schedule(); };
