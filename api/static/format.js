// Numbers and spans of time as text.

const WHOLE = new Intl.NumberFormat("en");
const formats = new Map();

export const whole = (n) => WHOLE.format(n);

/** 1234567 as 1.23 M. */
export function short(n) {
  for (const [factor, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= factor) return `${(n / factor).toPrecision(3)} ${unit}`;
  }
  return Number.isInteger(n) ? String(n) : n.toPrecision(3);
}

/** A window of points: 1000 as 1k, 12345 as it is. */
export function span(n) {
  if (n >= 1e6 && n % 1e6 === 0) return `${n / 1e6}M`;
  return n >= 1e3 && n % 1e3 === 0 ? `${n / 1e3}k` : String(n);
}

export function bytes(n) {
  for (const [factor, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= factor) return `${(n / factor).toFixed(n >= 100 * factor ? 0 : 1)} ${unit}`;
  }
  return `${n} B`;
}

/** Digits after the point that tell prices of this size, and of this spread, apart. */
export function decimals(value, spread = 0) {
  const size = Math.abs(value) > 0 ? 6 - Math.floor(Math.log10(Math.abs(value))) : 2;
  const fine = spread > 0 ? 3 - Math.floor(Math.log10(spread)) : 0;
  return Math.min(Math.max(size, fine, 0), 12);
}

const seen = new Map();

/** Digits after the point that the prices of `symbol` have had so far; these, newly seen, included. */
export function ticks(symbol, ...values) {
  let most = seen.get(symbol) ?? 0;
  for (const value of values) {
    if (value === null) continue;
    const own = /e/.test(value) ? 12 : (String(value).split(".")[1] ?? "").length;
    most = Math.max(most, Math.min(own, decimals(value)));
  }
  seen.set(symbol, most);
  return most;
}

export function price(value, digits = decimals(value)) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-6)) return value.toPrecision(7);
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format.format(value);
}

export function ago(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s ago`;
  if (seconds < 100) return `${Math.round(seconds)} s ago`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`;
}
