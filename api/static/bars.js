// The bars of the chart: as /bars and the events answer them, put together, and as CSV.

const NAMES = { open: "first", high: "max", low: "min", close: "last" };
const COLUMNS = ["index", "count", "first", "last", "min", "max", "mean", "std", "time", "volume", "vwap"];
export const ROW = ["index", "points", "first", "last", "min", "max", "mean"];
export const MORE = ["time", "volume", "vwap"];

/** Return the columns of an answer, under the names of this page, with times in microseconds. */
export function taken(answer) {
  const found = {};
  for (const [name, values] of Object.entries(answer)) if (Array.isArray(values)) found[NAMES[name] ?? name] = values;
  // Nanoseconds of today are beyond what a double holds exactly, by a tenth of a microsecond.
  if (found.time) found.time = found.time.map((ns) => Math.round(ns / 1000));
  return found;
}

/** The index behind the last point. */
export const end = ({ index, count }) => (index.length ? index.at(-1) + count.at(-1) : 0);

/** Put the newest bars behind those there are, in place of the ones that they continue; null where some are missing. */
export function merged(bars, tail) {
  const [first] = tail.index;
  if (first === undefined || first > end(bars) || (bars.index.length && first < bars.index[0])) return null;
  const keep = bars.index.findIndex((index) => index >= first);
  const kept = keep < 0 ? bars.index.length : keep;
  return Object.fromEntries(COLUMNS.filter((name) => bars[name] && tail[name]).map((name) => [name, [...bars[name].slice(0, kept), ...tail[name]]]));
}

/** Return the bars from `i` on. */
export function from(bars, i) {
  return i > 0 ? Object.fromEntries(Object.entries(bars).map(([name, values]) => [name, values.slice(i)])) : bars;
}

/** Return the bars as rows. */
export function rows(bars) {
  const more = MORE.filter((name) => bars[name]);
  return bars.index.map((index, i) => ({
    index, points: bars.count[i], ...Object.fromEntries([...ROW.slice(2), ...more].map((name) => [name, bars[name][i]])),
  }));
}

/** Return them as CSV, with every digit; times in microseconds since 1970. */
export function csv(bars) {
  const names = [...ROW, ...MORE.filter((name) => bars[name])];
  const lines = rows(bars).map((bar) => names.map((name) => bar[name] ?? "").join(","));
  return `${names.map((name) => (name === "time" ? "time_us" : name)).join(",")}\n${lines.join("\n")}\n`;
}
