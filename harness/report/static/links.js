/* The page's own links: to ops, times, violations; parts that are laid down later; buttons that copy. */
import { focusTimeline } from './commands.js';
import { byId } from './elements.js';
import { showOp } from './history.js';
import { goToTime, goToViolation } from './places.js';

const COPIED_MS = 1500;

const follow = (event) => {
  const line = event.target.closest('a[data-op]');
  if (line) {
    event.preventDefault();
    showOp(Number(line.dataset.op));
    byId('history').scrollIntoView();
    return;
  }
  const link = event.target.closest('a[href="#timeline"][data-from], a[data-violation]');
  if (!link) return;
  event.preventDefault();
  const { violation, from, to } = link.dataset;
  if (violation) goToViolation(Number(violation));
  else goToTime(Number(from), Number(to || from));
  focusTimeline();
};

const copy = async (event) => {
  const button = event.target.closest('button[data-copy]');
  if (!button) return;
  const source = byId(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // not allowed here: as by hand
    getSelection().selectAllChildren(source);
    document.execCommand('copy');
  }
  button.textContent = 'Copied';
  setTimeout(() => {
    button.textContent = 'Copy';
  }, COPIED_MS);
};

/* What the address names is opened, and stands in sight. */
const openTarget = () => {
  const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const inside = target.matches('li') && target.querySelector('details');
  if (inside) inside.open = true;
  const folded = target.closest('details');
  for (let e = folded; e; e = e.parentElement.closest('details')) e.open = true;
  if (folded) target.scrollIntoView();
};
export const followLinks = () => {
  document.addEventListener('click', follow);
  document.addEventListener('click', copy);
  window.addEventListener('hashchange', openTarget);
};

/* A noscript of class `later` holds a part of this page as the parser would have read it: its text, escaped where a
   host wrote it, is laid down in its place. */
const layDown = (block) => {
  block.insertAdjacentHTML('afterend', block.textContent);
  block.remove();
};
const stillToLay = () => document.querySelectorAll('noscript.later');
export const layAllNow = () => stillToLay().forEach(layDown);
/* One after the other, each when `pause` is over. */
export const layAll = async (pause) => {
  for (const block of stillToLay()) {
    await pause();
    if (block.isConnected) layDown(block);
  }
  // A link to what has only now come to be is followed again.
  if (location.hash.length > 1 && !document.querySelector(':target')) location.replace(location.hash);
  openTarget();
};
