// Which points a chart shows. A range is { from, to }: the points from index `from` to before index `to`.

const LEAST_POINTS = 2;

/** Move and cut a range so that it lies in what is kept, keeping its length where that is possible. */
export function within(range, kept) {
  const most = kept.to - kept.from;
  const length = Math.min(Math.max(Math.round(range.to - range.from), LEAST_POINTS), Math.max(most, 1));
  const from = Math.min(Math.max(Math.round(range.from), kept.from), kept.to - length);
  return { from, to: from + length };
}

/** Zoom by a factor (below 1: in) and keep the point at `share` of the width where it is. */
export function zoomed(range, factor, share, kept) {
  const length = range.to - range.from;
  const at = range.from + share * length;
  const longer = Math.max(length * factor, LEAST_POINTS);
  return within({ from: at - share * longer, to: at + (1 - share) * longer }, kept);
}

export function moved(range, points, kept) {
  return within({ from: range.from + points, to: range.to + points }, kept);
}

/** Return how many points a bar should hold: 1, 2, 5, 10, 20 …, for about `most` bars. */
export function barSize(range, most) {
  const least = (range.to - range.from) / most;
  if (least <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((step) => step * power).find((size) => size >= least);
}
