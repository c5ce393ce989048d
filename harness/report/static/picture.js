/* A picture with rows one pixel high, into which thousands of thin bars are painted at once.

   Bars of at most THIN pixels, of which there may be thousands, are not drawn one by one.  Each pixel of a lane goes to
   the bar of the highest rank on it (`claims`); then all are painted at once, each row stretched to its height. */
import { pen, size } from './canvas.js';

const holder = document.createElement('canvas');
const holderPen = holder.getContext('2d', { willReadFrequently: true });

/* `dots`: the pixels of all rows.  `claims`: for each pixel of a row, which bar has it, or -1.
   `levels`: the same for LINES rows of lines. */
export const picture = { dots: null, claims: null, levels: null };
export const LINES = 4;
let image = null;

export const layPicture = (rows) => {
  const { width } = size;
  holder.width = width;
  holder.height = rows;
  picture.claims = new Int32Array(width).fill(-1);
  picture.levels = new Uint8Array(LINES * width);
  image = new ImageData(width, rows);
  picture.dots = new Uint32Array(image.data.buffer);
};

/* Claims the pixels from x0 to x1, where the rank of k is higher than that of who has them. */
export const claim = (ranks, k, x0, x1) => {
  const { claims } = picture;
  const from = Math.max(0, Math.floor(x0));
  const until = Math.min(size.width, Math.max(from + 1, Math.floor(x1)));
  for (let x = from; x < until; x++) if (claims[x] < 0 || ranks[k] > ranks[claims[x]]) claims[x] = k;
};

export const developPicture = () => holderPen.putImageData(image, 0, 0);
export const drawRow = (row, top, height) => pen.drawImage(holder, 0, row, size.width, 1, 0, top, size.width, height);
