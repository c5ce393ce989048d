/* How times and numbers are written. Times are microseconds. */
import { run } from './run.js';

/* When, since the run began, as finely as `step` needs. */
export const clock = (us, step = 1000) => {
  const digits = step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : step >= 1e3 ? 3 : 6;
  const sign = us < 0 ? '−' : '';
  const s = Math.abs(us) / 1e6;
  if (run.end <= 60e6 || s < 59.9995) return `${sign}${s.toFixed(digits)} s`;
  const rounded = Number(s.toFixed(digits));
  const seconds = (rounded % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, '0');
  const minutes = Math.floor(rounded / 60);
  if (minutes < 60) return `${sign}${minutes}:${seconds}`;
  return `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${seconds}`;
};

/* How long. */
export const lasting = (us) => {
  if (us < 1000) return `${us.toFixed(0)} µs`;
  if (us < 1e4) return `${(us / 1e3).toFixed(1)} ms`;
  if (us < 1e6) return `${(us / 1e3).toFixed(0)} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(2)} s`;
  return `${Math.floor(us / 60e6)} min ${Math.round((us % 60e6) / 1e6)} s`;
};

export const zxid = (high, low) => (high < 0 ? '–' : `0x${high.toString(16)}${low.toString(16).padStart(8, '0')}`);
export const known = (number) => (number < 0 ? '–' : String(number));
export const text = (table, place) => (place < 0 ? 'not in this page; see the history' : table[place]);
export const counted = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
