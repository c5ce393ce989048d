/* The colours of the canvas, as report.css has them for light, dark and paper. */
import { pen, size } from './canvas.js';

const NAMES = [
  'paper',
  'sheet',
  'ink',
  'dim',
  'line',
  'faint',
  'gold',
  'bad',
  'looking',
  'fault',
  'fault-faint',
  'empty',
  'on-epoch',
  'link',
];
/* By their names; `epochs` are six, `patterns` the hatchings of faults by their group. */
export const colours = { epochs: [], patterns: {} };

/* Colours as the numbers that a picture's pixels are. */
export const PERHAPS = 0.45;
export const ALPHAS = [0.38, 0.7, 1];
export const inks = { epochs: [], plain: [], gold: 0, sure: 0, perhaps: 0 };
const inkOf = (colour, alpha) => {
  const rgb = Number.parseInt(colour.slice(1), 16); // report.css has its colours as #rrggbb
  return ((Math.round(255 * alpha) << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
};
const readInks = () => {
  const all = [...colours.epochs, colours.looking]; // the last for epochs that nobody knows
  inks.epochs = ALPHAS.map((alpha) => all.map((colour) => inkOf(colour, alpha)));
  inks.plain = [inkOf(colours.dim, 1), inkOf(colours.looking, 1), inkOf(colours.looking, 1)];
  inks.gold = inkOf(colours.gold, 1);
  inks.sure = inkOf(colours.bad, 1);
  inks.perhaps = inkOf(colours.bad, PERHAPS);
};

const hatch = (draw, colour, width = 7) => {
  const tile = document.createElement('canvas');
  tile.width = tile.height = width;
  const tilePen = tile.getContext('2d');
  tilePen.strokeStyle = tilePen.fillStyle = colour;
  tilePen.lineWidth = 1.3;
  draw(tilePen, width);
  return pen.createPattern(tile, 'repeat');
};
const lines =
  (...points) =>
  (tilePen) => {
    tilePen.beginPath();
    for (let i = 0; i < points.length; i += 4) {
      tilePen.moveTo(points[i], points[i + 1]);
      tilePen.lineTo(points[i + 2], points[i + 3]);
    }
    tilePen.stroke();
  };
const dots = (tilePen) => {
  tilePen.fillRect(1, 1, 2, 2);
  tilePen.fillRect(4.5, 4.5, 2, 2);
};
const full = (tilePen, width) => {
  tilePen.globalAlpha = 0.75;
  tilePen.fillRect(0, 0, width, width);
};

export const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) colours[name] = style.getPropertyValue(`--${name}`).trim();
  colours.epochs = [0, 1, 2, 3, 4, 5].map((i) => style.getPropertyValue(`--e${i}`).trim());
  size.font = getComputedStyle(document.body).fontFamily;
  colours.patterns = {
    cut: hatch(lines(-1, 8, 8, -1, -4, 4, 4, -4, 3, 11, 11, 3), colours.fault),
    down: hatch(full, colours.fault),
    paused: hatch(lines(2, 0, 2, 7), colours.fault),
    clock: hatch(dots, colours.fault),
    poor: hatch(lines(0, 3, 7, 3), colours.fault),
    other: hatch(lines(-1, -1, 8, 8), colours.fault),
    asleep: hatch(lines(2, 0, 2, 7), colours.ink),
  };
  readInks();
};
export const epochColour = (epoch) => (epoch < 0 ? colours.looking : colours.epochs[epoch % 6]);
