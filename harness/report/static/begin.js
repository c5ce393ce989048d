/* The page's own links, its light and its paper; and then everything is drawn for the first time. */

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
const onPaper = (paper) => { document.documentElement.classList.toggle('print', paper); redress(); };
matchMedia('print').addEventListener('change', (event) => onPaper(event.matches));
window.addEventListener('beforeprint', () => onPaper(true));
window.addEventListener('afterprint', () => onPaper(false));
new ResizeObserver(() => { if (stage.clientWidth !== W) { redress(); drawSpaceTime(); } }).observe(stage);
instant = D.violations.length ? D.violations[0].t : reigns.length ? reigns[0].a : 0;
redress();
drawInstant(instant);
performance.mark('drawn');
// What stands below the first screen is drawn after it.
setTimeout(() => { beginSpaceTime(); beginHistory(); openTarget(); performance.mark('ready'); });
