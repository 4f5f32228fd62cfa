// What is drawn over the prices, from the bars alone: mean and sigma of the newest so many of them, VWAP, rebased lines.

export const SPAN = 20; // bars that mean and sigma are of

/** Return mean and standard deviation of all points of the bars (i - span, i], for each i; null before there are so many. */
export function rolling({ count, mean, std }, span = SPAN) {
  const found = { mean: [], std: [] };
  for (let i = 0; i < count.length; i++) {
    if (i < span - 1) { found.mean.push(null); found.std.push(null); continue; }
    let [points, middle, squares] = [0, 0, 0];
    // Merged as Chan, Golub and LeVeque (1983) do: nothing is ever subtracted from a sum.
    for (let j = i - span + 1; j <= i; j++) {
      const all = points + count[j];
      const gap = mean[j] - middle;
      squares += std[j] ** 2 * count[j] + gap ** 2 * (points * count[j]) / all;
      middle += gap * (count[j] / all);
      points = all;
    }
    found.mean.push(middle);
    found.std.push(Math.sqrt(squares / points));
  }
  return found;
}

/** Return the lower and the upper edge of mean ± k sigma. */
export function bands({ mean, std }, k) {
  const edge = (sign) => mean.map((value, i) => (value === null ? null : value + sign * k * std[i]));
  return [edge(-1), edge(1)];
}

/** Return the volume-weighted mean of all that was traded from bar `begin` on up to each bar; null before. */
export function vwap({ volume, vwap: each }, begin) {
  let [traded, middle] = [0, 0];
  return volume.map((size, i) => {
    if (i < begin) return null;
    if (size > 0 && each[i] !== null) {
      traded += size;
      middle += (each[i] - middle) * (size / traded);
    }
    return traded > 0 ? middle : null;
  });
}

/** Return prices in per cent of change since the first one from bar `begin` on; null before, and where that is 0. */
export function rebased(prices, begin) {
  const first = prices.find((value, i) => i >= begin && value !== null);
  return prices.map((value, i) => (i < begin || value === null || value < 0 || !(first > 0) ? null : (value / first - 1) * 100));
}

/** Put the values of bars with other times at the places of ours: of each place the newest one up to it. */
export function aligned(times, { time, last }) {
  let at = 0;
  return times.map((wanted) => {
    while (at < time.length && time[at] <= wanted) at += 1;
    return at ? last[at - 1] : null;
  });
}
