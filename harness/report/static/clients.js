/* The lane below the servers': the clients' writes, those that were acknowledged upwards, the others downwards. */
import { pen, size } from './canvas.js';
import { colours } from './colours.js';
import { lastAtMost } from './columns.js';
import { run } from './run.js';
import { view, xOf } from './view.js';

export const drawClients = (top) => {
  if (!run.hasClients) return;
  const { clients } = run;
  const bin = clients.bin_us;
  const per = Math.max(1, Math.ceil((3 * (view.until - view.from)) / (size.width - size.gutter) / bin));
  const groups = [];
  let most = 1;
  let k = Math.max(0, lastAtMost(clients.n, view.from / bin - 1));
  for (; k < clients.n.length && clients.n[k] * bin <= view.until; k++) {
    const at = Math.floor(clients.n[k] / per);
    if (!groups.length || groups[groups.length - 1][0] !== at) groups.push([at, 0, 0, 0]);
    const group = groups[groups.length - 1];
    group[1] += clients.ok[k];
    group[2] += clients.fail[k];
    group[3] += clients.unknown[k];
    most = Math.max(most, group[1], group[2] + group[3]);
  }
  const middle = top + 24;
  const up = 20 / most;
  const down = 12 / most;
  pen.fillStyle = colours.line;
  pen.fillRect(size.gutter, middle, size.width - size.gutter, 1);
  for (const [at, ok, fail, unknown] of groups) {
    const x = xOf(at * per * bin);
    const width = Math.max(1, xOf((at + 1) * per * bin) - x - 0.6);
    pen.fillStyle = colours.dim;
    pen.globalAlpha = 0.6;
    pen.fillRect(x, middle - ok * up, width, ok * up);
    pen.globalAlpha = 1;
    if (fail) {
      pen.fillStyle = colours.bad;
      pen.fillRect(x, middle + 1, width, fail * down);
    }
    if (unknown) {
      pen.fillStyle = colours.fault;
      pen.fillRect(x, middle + 1 + fail * down, width, unknown * down);
    }
  }
};
