/* Lines of history.jsonl, those that are in the page: the one that was asked for, and what stands around it. */
const LINES_AROUND = 8;
let lineAt = -1;

/* Shows the lines around the op; false: it is not in the page. */
const showOp = (index) => {
  const opIndexes = rest ? rest.ops.i : [], nearest = Math.max(0, lastAtMost(opIndexes, index)), here = opIndexes[nearest] === index;
  if (!opIndexes.length) return false;
  lineAt = nearest;
  const rows = [];
  let before = -1;
  for (let n = Math.max(0, nearest - LINES_AROUND); n < Math.min(opIndexes.length, nearest + LINES_AROUND + 1); n++) {
    const i = opIndexes[n];
    if (before >= 0 && i !== before + 1) rows.push(element('li', `⋯ ${i - before - 1} lines are only in the history`, 'gap'));
    before = i;
    const row = element('li', undefined, i === index ? 'here' : ''), code = element('code', rest.ops.x[n]);
    if (i === index) row.setAttribute('aria-current', 'true');
    row.append(element('span', String(i + 1), 'line'), code);
    rows.push(row);
  }
  $('lines').replaceChildren(...rows);
  $('op-number').value = index;
  $('viewer-says').textContent = here ? `op ${index} is line ${index + 1} of history.jsonl` : `op ${index}, line ${index + 1}, is not in this page; these are the nearest`;
  return here;
};
const moveLines = (by) => { if (lineAt >= 0) showOp(rest.ops.i[Math.max(0, Math.min(rest.ops.i.length - 1, lineAt + by * LINES_AROUND))]); };
const beginHistory = () => {
  showOp(D.violations.length ? D.violations[0].op : 0);
  document.querySelector('#viewer .tools').addEventListener('click', (event) => { const by = Number(event.target.dataset.lines); if (by) moveLines(by); });
  $('op-number').addEventListener('change', () => { const index = Number.parseInt($('op-number').value, 10); if (index >= 0) showOp(index); });
};
