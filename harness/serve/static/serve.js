/* The pages work without this. With it, the table is asked for anew as one types, and what changes shows by itself. */
import { ask, focusSearch, followForm, isTyping, showAll } from './ask.js';
import { onKeys } from './keys.js';
import { keepFresh, part, whenPlaced } from './part.js';
import { chosenRow, markChosen, step } from './rows.js';

const go = (selector) => {
  const link = (chosenRow() || document).querySelector(selector);
  if (link) location.href = link.href;
};
const click = (selector) => part.querySelector(selector)?.click();
const next = () => step(1);
const previous = () => step(-1);
const keys = {
  '/': focusSearch,
  j: next,
  ArrowDown: next,
  k: previous,
  ArrowUp: previous,
  Enter: (event) => {
    if (!event.target.closest('a, button')) go('a.open');
    return false;
  },
  f: () => {
    if (chosenRow()) go('a.files');
  },
  l: () => {
    location.href = chosenRow()?.querySelector('a.live')?.href || '/live/';
  },
  n: () => click('[data-do=next]'),
  p: () => click('[data-do=previous]'),
  Escape: () => {
    showAll();
  },
};

document.documentElement.classList.add('js');
if (part) {
  whenPlaced(markChosen);
  keepFresh(isTyping);
}
if (part && ask) {
  followForm();
  onKeys(document, keys);
}
