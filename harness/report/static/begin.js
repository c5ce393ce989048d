/* The page's own links, its light and its paper; and then everything is drawn for the first time.

   What a reader sees first is there first: the timeline is drawn before the long tables are laid down and before the rest
   of the data is read.  Both follow at once, in steps between which the page answers. */

// ---- links from the page ------------------------------------------------------------------------------------------

document.addEventListener('click', (event) => {
  const line = event.target.closest('a[data-op]');
  if (line) {
    event.preventDefault();
    showOp(Number(line.dataset.op));
    $('history').scrollIntoView();
    return;
  }
  const link = event.target.closest('a[href="#timeline"][data-from], a[data-violation]');
  if (link) {
    event.preventDefault();
    if (link.dataset.violation) toViolation(Number(link.dataset.violation));
    else { marker = Number(link.dataset.from); setInstant(marker); show(marker, Number(link.dataset.to || marker)); }
    $('timeline').scrollIntoView();
    canvas.focus({ preventScroll: true });
  }
});
/* A noscript of class `later` holds a part of this page as the parser would have read it: its text, escaped where a host
   wrote it, is laid down in its place. */
const layDown = (block) => { block.insertAdjacentHTML('afterend', block.textContent); block.remove(); };
const stillToLay = () => document.querySelectorAll('noscript.later');
const openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const inside = target.matches('li') && target.querySelector('details');
  if (inside) inside.open = true;
  for (let e = target.closest('details'); e; e = e.parentElement.closest('details')) e.open = true;
  if (target.closest('details')) target.scrollIntoView();
};
window.addEventListener('hashchange', openTarget);
document.addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-copy]');
  if (!button) return;
  const source = $(button.dataset.copy);
  try { await navigator.clipboard.writeText(source.textContent); } catch {
    getSelection().selectAllChildren(source);
    document.execCommand('copy');
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});

// ---- light, dark, paper -------------------------------------------------------------------------------------------

const redress = () => { readColours(); overviewCache = null; layout(); draw(); };
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redress);
/* Paper cannot be clicked: violations that are folded are open on it, and as the reader had them when it is over. */
let unfolded = [];
const onPaper = (paper) => {
  stillToLay().forEach(layDown);
  if (paper) {
    const folded = [...document.querySelectorAll('details.more:not([open])')];
    folded.forEach((e) => { e.open = true; });
    unfolded.push(...folded);
  } else {
    unfolded.forEach((e) => { e.open = false; });
    unfolded = [];
  }
  document.documentElement.classList.toggle('print', paper);
  redress();
};
matchMedia('print').addEventListener('change', (event) => onPaper(event.matches));
window.addEventListener('beforeprint', () => onPaper(true));
window.addEventListener('afterprint', () => onPaper(false));

// ---- the first drawing, and the rest ------------------------------------------------------------------------------

const nextTask = () => new Promise((done) => { setTimeout(done); });
/* A page has loaded when all of it is read: whoever prints it as soon as it has (chromium --print-to-pdf) prints all of it.
   A browser waits for a frame that is still being written.  (In a sandbox, as in `onethrone serve`, no frame is ours.) */
const holdLoad = () => {
  const frame = element('iframe');
  frame.hidden = true;
  document.body.append(frame);
  if (!frame.contentDocument) { frame.remove(); return () => {}; }
  frame.contentDocument.open();
  return () => { frame.contentDocument.close(); setTimeout(() => frame.remove()); };
};
const begin = async () => {
  await readTimeline();
  view = [0, END];
  instant = D.violations.length ? D.violations[0].t : reigns.length ? reigns[0].a : 0;
  redress();
  drawInstant(instant);
  new ResizeObserver(() => { if (stage.clientWidth !== W) { redress(); drawSpaceTime(); } }).observe(stage);
  performance.mark('drawn');
  await nextTask();
  await readMessages();
  await nextTask();
  await readRest();
  schedule();
  beginSpaceTime();
  beginHistory();
};
const layAll = async () => {
  for (const block of stillToLay()) { await nextTask(); if (block.isConnected) layDown(block); }
  // A link to what has only now come to be is followed again.
  if (location.hash.length > 1 && !document.querySelector(':target')) location.replace(location.hash);
  openTarget();
};
const loaded = holdLoad();
begin()
  .catch((error) => { $('unread').hidden = false; $('unread').append(` (${error})`); })
  .then(layAll)
  .finally(() => { performance.mark('ready'); loaded(); });
