/* The form above the table: what is asked for, in the address and in the fields. */
import { byId } from './elements.js';
import { fetchAnew, part } from './part.js';
import { forgetChosen, step } from './rows.js';

const TYPED_MS = 120;
export const ask = byId('ask'); // null on a page without a table
let typing = 0;
export const isTyping = () => typing !== 0;

const show = (url, push) => {
  history[push ? 'pushState' : 'replaceState'](null, '', url);
  forgetChosen();
  return fetchAnew();
};
const fromForm = () => {
  const url = new URL('/', location.href);
  for (const [name, value] of new FormData(ask)) {
    if (value && !(name === 'sort' && value === 'when')) url.searchParams.set(name, value);
  }
  return url;
};
const intoForm = () => {
  const asked = new URL(location.href).searchParams;
  for (const field of ask.elements) {
    if (field.name) field.value = asked.get(field.name) || (field.name === 'sort' ? 'when' : '');
  }
};
export const showAll = () => show('/', true).then(intoForm);
export const focusSearch = () => {
  ask.q.focus();
  ask.q.select();
};

const typed = () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    typing = 0;
    show(fromForm(), false);
  }, TYPED_MS);
};
const submitted = (event) => {
  event.preventDefault();
  clearTimeout(typing);
  typing = 0;
  show(fromForm(), true);
};
const clicked = (event) => {
  const link = event.target.closest('thead a, .pages a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  show(link.href, true).then(() => {
    intoForm();
    if (link.closest('thead')) part.querySelector('th[aria-sort] a')?.focus({ preventScroll: true });
  });
};
const pressed = (event) => {
  if (event.key === 'Escape') event.target.blur();
  else if (event.key === 'ArrowDown' && event.target === ask.q) {
    event.target.blur();
    step(1);
  } else return;
  event.preventDefault();
};
export const followForm = () => {
  ask.addEventListener('input', typed);
  ask.addEventListener('submit', submitted);
  ask.addEventListener('keydown', pressed);
  part.addEventListener('click', clicked);
  addEventListener('popstate', () => {
    intoForm();
    fetchAnew();
  });
};
