// The two axes of the chart. A range { from, to } lies on one of them: indexes of points, or microseconds since 1970
// (whole numbers: a millisecond would be too coarse, and a double holds no nanoseconds of today).

import { span, whole } from "./format.js";
import { barSize } from "./ranges.js";

const UNITS = [["d", 86_400e6], ["h", 3_600e6], ["m", 60e6], ["s", 1e6], ["ms", 1e3], ["us", 1]];
const SECOND = 1e6;
const [MINUTE, HOUR, DAY] = [60 * SECOND, 3_600 * SECOND, 86_400 * SECOND];
const MONTHS = [30 * DAY, 91 * DAY, 182 * DAY, 365 * DAY, 5 * 365 * DAY]; // told apart from days by their length only
const DECADES = [1, 10, 100, 1e3, 1e4, 1e5].flatMap((power) => [1, 2, 5].map((step) => step * power));
const LADDER = [
  ...DECADES, ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND), ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 4, 6, 12].map((n) => n * HOUR), ...[1, 2, 5, 10, 20, 50, 100, 365].map((n) => n * DAY),
];

/** Microseconds as the service reads them: 5m, 1500us. */
export function lasting(us) {
  const [unit, size] = UNITS.find(([, one]) => us % one === 0);
  return `${us / size}${unit}`;
}

/** Return the microseconds that a text as 5m or 1767225600000000us has, or null. */
export function microseconds(text) {
  const found = /^(\d{1,16})(us|ms|s|m|h|d)$/.exec(text ?? "");
  const us = found ? Number(found[1]) * UNITS.find(([unit]) => unit === found[2])[1] : NaN;
  return Number.isSafeInteger(us) ? us : null;
}

/** A time in UTC, with as many digits of the second as `step` needs. */
export function clock(us, step = 1e3) {
  const second = Math.floor(us / SECOND);
  const [day, time] = new Date(second * 1000).toISOString().split(/[T.]/);
  const digits = step >= SECOND ? 0 : step >= 1e3 ? 3 : 6;
  const part = digits ? `.${String(us - second * SECOND).padStart(6, "0").slice(0, digits)}` : "";
  return step >= DAY ? day : `${day} ${step >= MINUTE ? time.slice(0, 5) : time}${part}`;
}

/** The label of a place on the axis of time: the day where one begins, else the time of day. */
function short(us, step) {
  const [day, time] = clock(us, Math.min(step, HOUR)).split(" ");
  if (step >= MONTHS[0]) return step >= MONTHS[3] ? day.slice(0, 4) : day.slice(0, 7);
  return us % DAY === 0 ? day.slice(5) : time;
}

/** Return the places of months or years, `step` apart, from `low` to `high`. */
function calendar(low, high, step) {
  const months = { [MONTHS[0]]: 1, [MONTHS[1]]: 3, [MONTHS[2]]: 6, [MONTHS[3]]: 12, [MONTHS[4]]: 60 }[step];
  const places = [];
  for (let month = new Date(low / 1000).getUTCFullYear() * 12; ; month += months) {
    const at = Date.UTC(Math.floor(month / 12), month % 12) * 1000;
    if (at > high) return places;
    if (at >= low) places.push(at);
  }
}

function multiples(low, high, step) {
  const places = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) places.push(at);
  return places;
}

export const POINTS = {
  name: "points",
  presets: [10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, "all"],
  named: span,
  inAddress: String,
  kept: ({ start, total }) => ({ from: start, to: total }),
  bar: barSize,
  barNamed: (bar) => (bar === 1 ? "every point" : `${whole(bar)} points a bar, with min, max and mean of all of them`),
  question: ({ from, to }, bar, { total }) => ({ points: bar, from: Math.max(from, 0), to: Math.min(to, total) }),
  inEvents: String,
  /** Return where each bar stands: in the middle of its points. */
  places: ({ index, count }) => index.map((first, i) => first + (count[i] - 1) / 2),
  scale: ({ from, to }) => (to - from > 1 ? { min: from, max: to - 1 } : { min: from - 0.5, max: from + 0.5 }),
  label: (place) => whole(Math.round(place)),
  splits: undefined,
  steps: undefined,
  tick: (place) => (Number.isInteger(place) ? whole(place) : ""),
};

export const TIME = {
  name: "time",
  presets: [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, DAY, 7 * DAY, 30 * DAY, "all"],
  named: lasting,
  inAddress: lasting,
  kept: ({ oldest, time }) => ({ from: oldest, to: time + 1 }),
  bar: (range, most) => LADDER.find((step) => step * most >= range.to - range.from) ?? LADDER.at(-1),
  barNamed: (bar) => `bars of ${lasting(bar)}`,
  /** Whole bars; the newest one as far as it goes at this moment. */
  question: ({ from, to }, bar, { total, time }) => {
    const end = Math.ceil(to / bar) * bar;
    return { every: lasting(bar), from: `${Math.max(Math.floor(from / bar) * bar, 0)}us`, to: end > time ? total : `${end}us` };
  },
  inEvents: lasting,
  places: ({ time }, bar) => time.map((begin) => begin + bar / 2),
  scale: ({ from, to }, bar) => ({ min: Math.floor(from / bar) * bar, max: Math.ceil(to / bar) * bar }),
  label: (place, bar) => clock(Math.round(place - bar / 2), bar),
  splits: (low, high, step) => (MONTHS.includes(step) ? calendar(low, high, step) : multiples(low, high, step)),
  steps: [...LADDER.filter((step) => step <= 10 * DAY), ...MONTHS],
  tick: short,
};
