/* The row of the table that the keys have chosen. It is known by its address, so that it stays chosen when rows come
   and go. */
import { part } from './part.js';

let chosen = '';

const rows = () => [...part.querySelectorAll('#runs tbody tr')];
const addressOf = (row) => row.querySelector('a.files').getAttribute('href');
export const chosenRow = () => part.querySelector('#runs tr.here');

export const markChosen = () => {
  for (const row of rows()) row.classList.toggle('here', chosen !== '' && addressOf(row) === chosen);
};
export const forgetChosen = () => {
  chosen = '';
};
export const step = (by) => {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => addressOf(row) === chosen);
  const first = by > 0 ? 0 : all.length - 1;
  const next = at < 0 ? first : Math.min(Math.max(at + by, 0), all.length - 1);
  chosen = addressOf(all[next]);
  markChosen();
  all[next].scrollIntoView({ block: 'nearest' });
  all[next].querySelector('a.open').focus({ preventScroll: true });
};
