/* Lines of history.jsonl, those that are in the page: the one that was asked for, and what stands around it. */
import { lastAtMost } from './columns.js';
import { byId, element } from './elements.js';
import { run } from './run.js';
import { counted } from './words.js';

const LINES_AROUND = 8;
let lineAt = -1;

const lineRow = (n, index) => {
  const { i, x } = run.rest.ops;
  const isHere = i[n] === index;
  const row = element('li', undefined, isHere ? 'here' : '');
  if (isHere) row.setAttribute('aria-current', 'true');
  row.append(element('span', String(i[n] + 1), 'line'), element('code', x[n]));
  return row;
};
/* Shows the lines around the op. */
export const showOp = (index) => {
  const indexes = run.rest ? run.rest.ops.i : [];
  if (!indexes.length) return;
  const nearest = Math.max(0, lastAtMost(indexes, index));
  lineAt = nearest;
  const rows = [];
  const first = Math.max(0, nearest - LINES_AROUND);
  for (let n = first; n < Math.min(indexes.length, nearest + LINES_AROUND + 1); n++) {
    const missing = n > first ? indexes[n] - indexes[n - 1] - 1 : 0;
    if (missing) rows.push(element('li', `⋯ ${counted(missing, 'line')} only in history.jsonl`, 'gap'));
    rows.push(lineRow(n, index));
  }
  byId('lines').replaceChildren(...rows);
  byId('op-number').value = index;
  byId('viewer-says').textContent =
    indexes[nearest] === index
      ? `Op ${index} is line ${index + 1} of history.jsonl.`
      : `Op ${index} (line ${index + 1}) is not in this page; these are the nearest lines.`;
};
const moveLines = (by) => {
  if (lineAt < 0) return;
  const { i } = run.rest.ops;
  showOp(i[Math.max(0, Math.min(i.length - 1, lineAt + by * LINES_AROUND))]);
};
export const beginHistory = () => {
  showOp(run.violations.length ? run.violations[0].op : 0);
  document.querySelector('#viewer .tools').addEventListener('click', (event) => {
    const by = Number(event.target.dataset.lines);
    if (by) moveLines(by);
  });
  byId('op-number').addEventListener('change', () => {
    const index = Number.parseInt(byId('op-number').value, 10);
    if (index >= 0) showOp(index);
  });
};
