/* The part of the page that changes: asked for again and again, and put in place.

   All HTML that is put in place here is our own server's, in which whatever came from a host is escaped. */
import { byId } from './elements.js';

const ANSWER_MS = 10_000;
export const part = byId('part'); // null on a page that does not change
let etag = '';
let asking = null;
let over = false;
let placed = () => {};

/* Calls `then` whenever the part has been put in place. */
export const whenPlaced = (then) => {
  placed = then;
};

// Only what differs is exchanged: a selection, a tooltip or the focus elsewhere survives.
const place = (html) => {
  const next = document.createElement('div');
  next.innerHTML = html;
  const active = document.activeElement;
  const focused = active && part.contains(active) ? active.getAttribute('href') : null;
  const before = [...part.children];
  const after = [...next.children];
  if (before.length !== after.length || before.some((e, n) => e.tagName !== after[n].tagName)) {
    part.replaceChildren(...after);
  } else {
    before.forEach((e, n) => {
      if (e.outerHTML !== after[n].outerHTML) e.replaceWith(after[n]);
    });
  }
  if (focused && !part.contains(document.activeElement)) {
    part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  over = Boolean(part.querySelector('[data-over]'));
  placed();
};

const addressOfPart = () => {
  const url = new URL(location.href);
  url.searchParams.set('part', '1');
  return url;
};
const goTo = (address) => {
  const url = new URL(address);
  url.searchParams.delete('part');
  location.replace(url);
};
export const fetchPart = async () => {
  asking?.abort();
  const mine = (asking = new AbortController());
  const timer = setTimeout(() => mine.abort(), ANSWER_MS);
  const headers = etag ? { 'If-None-Match': etag } : {};
  try {
    const answer = await fetch(addressOfPart(), { headers, signal: mine.signal, cache: 'no-store' });
    if (answer.redirected) {
      goTo(answer.url);
      return;
    }
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(String(answer.status));
      const html = await answer.text();
      if (mine !== asking) return;
      etag = answer.headers.get('ETag') || '';
      place(html);
    }
    part.classList.remove('stale');
  } catch {
    if (mine === asking) part.classList.add('stale'); // the page says so, and asks again
  } finally {
    clearTimeout(timer);
  }
};
/* Asks for it whole, for instance because the address has changed. */
export const fetchAnew = () => {
  etag = '';
  return fetchPart();
};

/* Asks again and again, until what is shown is over; not while nobody looks, nor while `isBusy`. */
export const keepFresh = async (isBusy) => {
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !over) fetchPart();
  });
  const every = Number(part.dataset.every);
  while (!over) {
    await new Promise((done) => setTimeout(done, every));
    if (!document.hidden && !over && !isBusy()) await fetchPart();
  }
};
