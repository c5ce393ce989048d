/* Light, dark, paper: what changes when the page's colours do. */
import { stage, size } from './canvas.js';
import { readColours } from './colours.js';
import { layAllNow } from './links.js';
import { drawSpaceTime } from './spacetime.js';
import { drawTimeline, layTimeline } from './timeline.js';

export const redress = () => {
  readColours();
  layTimeline();
  drawTimeline();
};

/* Paper cannot be clicked: violations that are folded are open on it, and as the reader had them when it is over. */
let unfolded = [];
const onPaper = (paper) => {
  layAllNow();
  if (paper) {
    const folded = [...document.querySelectorAll('details.more:not([open])')];
    folded.forEach((e) => {
      e.open = true;
    });
    unfolded.push(...folded);
  } else {
    unfolded.forEach((e) => {
      e.open = false;
    });
    unfolded = [];
  }
  document.documentElement.classList.toggle('print', paper);
  redress();
};

export const followPaper = () => {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redress);
  matchMedia('print').addEventListener('change', (event) => onPaper(event.matches));
  window.addEventListener('beforeprint', () => onPaper(true));
  window.addEventListener('afterprint', () => onPaper(false));
};
/* The page has been given another width. */
export const followSize = () => {
  const resized = () => {
    if (stage.clientWidth === size.width) return;
    redress();
    drawSpaceTime();
  };
  new ResizeObserver(resized).observe(stage);
};
