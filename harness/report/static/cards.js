/* Cards: what is under the pointer, in words; as a tooltip, or kept below the timeline. */
import { canvas, size } from './canvas.js';
import { byId, element, opLink } from './elements.js';
import { perhaps } from './hearing.js';
import { arrival, arrived, fullWords, messages } from './messages.js';
import { LOOKING, PHASES, ROLES, STARTING, isEstablished, phaseOf, roleOf, run } from './run.js';
import { clock, known, lasting, text, zxid } from './words.js';

const EVIDENCE_MAX = 260;
const tip = byId('tip');
const pinned = byId('pinned');

const card = (title, rows, reason) => {
  const box = element('div', undefined, 'card');
  const head = element('p');
  head.append(element('b', title));
  box.append(head);
  if (reason) box.append(element('p', reason, 'reason'));
  const table = element('table');
  for (const [name, words] of rows) {
    if (words === '' || words === '–') continue;
    const row = element('tr');
    row.append(element('td', name), element('td', words));
    table.append(row);
  }
  box.append(table);
  return box;
};
const spanRows = (a, b) => [
  ['from', clock(a)],
  ['to', clock(b)],
  ['for', lasting(b - a)],
];
const hostNames = (hosts) => hosts.map((h) => run.hosts[h].name).join(' ');

const messageCard = (m) =>
  card(fullWords(m), [
    ['sent', clock(messages.sent[m], 1)],
    ['arrived', arrived(m) ? `${clock(arrival(m), 1)}, ${lasting(messages.took[m])} later` : 'never'],
  ]);
const deafCard = (lane, deaf) => {
  const peers = new Set(deaf.map(({ peer, level }) => run.hosts[peer].name + perhaps(level)));
  const title = `${lane.host.name} hears nothing from ${[...peers].join(', ')}`;
  return card(
    title,
    deaf.length > 1
      ? []
      : [
          ['from', clock(deaf[0].a)],
          ['to', clock(deaf[0].b)],
        ],
  );
};
const reignCard = (r) => {
  const others = r.shared ? r.shared.filter((h) => h !== r.h) : [];
  const rows = [...spanRows(r.a, r.b), ['shared with', hostNames(others)]];
  return card(`Epoch ${r.e}: ${run.hosts[r.h].name} is the established leader`, rows);
};
const faultCard = (f, lane) => {
  const [requested, began, undoRequested, ended] = f.t;
  const peers = f.from[lane.place];
  return card(`${f.kind} ${f.id}`, [
    ['what', f.says],
    ['op', String(f.i)],
    [`${lane.host.name} does not hear`, peers ? peers.join(' ') : ''],
    ['with', f.what],
    ['requested', clock(requested)],
    ['verified', began > requested ? `after ${lasting(began - requested)}` : 'never'],
    ['undo requested', clock(undoRequested)],
    ['ended', clock(ended)],
    ['hosts', hostNames(f.hosts)],
  ]);
};
const stateCard = (lane, k, whole) => {
  const role = roleOf(lane.s[k]);
  const phase = PHASES[phaseOf(lane.s[k])];
  const until = k + 1 < lane.n ? lane.t[k + 1] : run.end;
  const inPhase = role >= LOOKING && phase ? ` in ${phase}` : '';
  const title = `${lane.host.name}: ${ROLES[role]}${inPhase}${isEstablished(lane.s[k]) ? ', established' : ''}`;
  const { rest } = run;
  if (!rest) {
    const rows = [
      ['at', clock(lane.t[k], 1)],
      ['epoch', known(lane.e[k])],
    ];
    return card(title, rows, 'The page is still reading the rest of its data.');
  }
  const error = lane.d[k] ? ` ± ${lasting(lane.d[k])}` : '';
  const rows = [
    ['op', String(lane.i[k])],
    ['at', `${clock(lane.t[k], 1)}${error}, for ${lasting(until - lane.t[k])}`],
  ];
  if (role >= LOOKING) {
    const evidence = text(rest.evidence, lane.x[k]);
    const cut = !whole && evidence.length >= EVIDENCE_MAX;
    rows.push(
      ['epoch', known(lane.e[k])],
      ['round', known(lane.r[k])],
      ['leader', known(lane.l[k])],
      ['accepted, current', `${known(lane.a[k])}, ${known(lane.c[k])}`],
      ['last zxid', zxid(lane.zh[k], lane.zl[k])],
      ['vote', text(rest.texts, lane.v[k])],
      ['evidence', cut ? `${evidence.slice(0, EVIDENCE_MAX)} …` : evidence],
    );
  }
  return card(title, rows, role === STARTING ? '' : text(rest.texts, lane.w[k]));
};

/* The card of what pointer.js found; `whole`: however long it is. */
const cardOf = (found, whole) => {
  if (found.violation) {
    const { n, promise, t, message } = found.violation;
    return card(`Violation ${n}: ${promise}`, [['at', clock(t)]], message);
  }
  if (found.message !== undefined) return messageCard(found.message);
  if (found.deaf) return deafCard(found.lane, found.deaf);
  if (found.phase)
    return card(`Phase ${found.phase.name}`, [
      ['from', clock(found.phase.t)],
      ['with', found.phase.more],
    ]);
  if (found.gap) return card('No established leader', spanRows(...found.gap));
  if (found.reign) return reignCard(found.reign);
  if (found.fault) return faultCard(found.fault, found.lane);
  return stateCard(found.lane, found.k, whole);
};

export const hideTip = () => {
  tip.hidden = true;
};
export const showTip = (found, x, y) => {
  tip.hidden = !found;
  if (!found) return;
  tip.replaceChildren(cardOf(found, false));
  const width = tip.offsetWidth;
  tip.style.left = `${Math.max(4, x + 16 + width > size.width ? x - width - 12 : x + 16)}px`;
  tip.style.top = `${canvas.offsetTop + y + 18}px`;
};

const targetOf = ({ fault, violation }) => {
  if (fault && byId(`fault-${fault.id}`)) return [`fault-${fault.id}`, 'its row in the table'];
  return violation ? [`violation-${violation.n}`, 'the violation above'] : null;
};
const opOf = ({ lane, k, fault }) => {
  if (k !== undefined) return run.rest ? lane.i[k] : null;
  return fault ? fault.i : null;
};
/* Keeps the card of what was found below the timeline, with links; null: none. */
export const pin = (found) => {
  pinned.hidden = !found;
  pinned.replaceChildren();
  if (!found) return;
  const links = element('p', undefined, 'links');
  const op = opOf(found);
  if (op !== null) links.append(opLink(op, `line ${op + 1} of the history`));
  const target = targetOf(found);
  if (target) {
    const link = element('a', target[1]);
    link.href = `#${target[0]}`;
    links.append(link);
  }
  pinned.append(cardOf(found, true), links);
};
