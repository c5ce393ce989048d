/* Columns of numbers: read from their differences, and searched. */

/* The numbers whose differences report/columns.py wrote: as a list, or as runs of zeros each before a difference. */
export const sum = (column) => {
  const sparse = !Array.isArray(column);
  const differences = sparse ? column.d : column;
  const out = new Float64Array(sparse ? column.n : differences.length);
  let value = 0;
  if (!sparse) {
    for (let i = 0; i < differences.length; i++) out[i] = value += differences[i];
    return out;
  }
  let place = 0;
  for (let i = 0; i < differences.length; i += 2) {
    out.fill(value, place, (place += differences[i]));
    value += differences[i + 1];
  }
  return out.fill(value, place);
};

/* The last place whose number is <= x, or -1. */
export const lastAtMost = (column, x) => {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (column[mid] <= x) low = mid + 1;
    else high = mid;
  }
  return low - 1;
};

/* The first place from k on whose time is t or later: mostly it is near. */
export const firstFrom = (times, k, t) => {
  const n = times.length;
  let far = 1;
  while (k + far <= n && times[k + far - 1] < t) far *= 2;
  let low = k + (far >> 1);
  let high = Math.min(n, k + far - 1);
  while (low < high) {
    const mid = (low + high) >> 1;
    if (times[mid] < t) low = mid + 1;
    else high = mid;
  }
  return low;
};

/* A tree over ranks: the places n and above are the ranked items themselves, each place below n names the higher of the
   two under it.  The highest of any stretch is found in as many steps as its length has binary digits. */
export const peaksOf = (ranks) => {
  const n = ranks.length;
  const peaks = new Int32Array(2 * n);
  for (let i = 0; i < n; i++) peaks[n + i] = i;
  for (let i = n - 1; i > 0; i--) {
    const a = peaks[2 * i];
    const b = peaks[2 * i + 1];
    peaks[i] = ranks[b] > ranks[a] ? b : a;
  }
  return peaks;
};

/* The item of the highest rank from a to before b. */
export const highest = ({ ranks, peaks, n }, a, b) => {
  let best = a;
  for (let i = a + n, j = b + n; i < j; i >>= 1, j >>= 1) {
    if (i & 1) {
      const peak = peaks[i++];
      if (ranks[peak] > ranks[best]) best = peak;
    }
    if (j & 1) {
      const peak = peaks[--j];
      if (ranks[peak] > ranks[best]) best = peak;
    }
  }
  return best;
};

/* Gives each item the first row that is free when it begins; answers how many rows there are. */
export const stacked = (items, from, until, rowsMax) => {
  const ends = [];
  for (const item of items) {
    let row = ends.findIndex((end) => end <= from(item));
    if (row < 0) row = Math.min(ends.length, rowsMax - 1);
    ends[row] = Math.max(ends[row] || 0, until(item));
    item.row = row;
  }
  return Math.max(ends.length, 1);
};
