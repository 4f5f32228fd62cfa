// Numbers and spans of time as text.

const MOST_DECIMALS = 12;
const WHOLE = new Intl.NumberFormat("en");
const AMOUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
const formats = new Map();

export const whole = (n) => WHOLE.format(n);

/** 1234567 as 1.23 M. */
export function short(n) {
  if (n < 1000 && Number.isInteger(n)) return String(n);
  for (const [factor, unit] of [[1, ""], [1e3, " k"], [1e6, " M"], [1e9, " G"]]) {
    // Rounded first: 999.7 has three digits, 1.00 k, only in the next unit.
    const rounded = (n / factor).toPrecision(3);
    if (Number(rounded) < 1000) return `${rounded}${unit}`;
  }
  return `${whole(Math.round(n / 1e9))} G`;
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
  return Math.min(Math.max(size, fine, 0), MOST_DECIMALS);
}

const seen = new Map();

/** Digits after the point that the prices of `symbol` have had so far; these, newly seen, included. */
export function ticks(symbol, ...values) {
  let most = seen.get(symbol) ?? 0;
  for (const value of values) {
    if (value === null) continue;
    const [mantissa, exponent] = String(value).split("e");
    const own = (mantissa.split(".")[1] ?? "").length - Number(exponent ?? 0);
    most = Math.max(most, Math.min(own, MOST_DECIMALS));
  }
  seen.set(symbol, most);
  return most;
}

/** A price with so many digits after the point; without them, any number with seven digits that count. */
export function price(value, digits) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e16) return digits === undefined ? value.toExponential(6) : value.toExponential(); // nobody counts seventeen digits
  if (size >= 1e15 || (size > 0 && size < 1e-6)) return digits === undefined ? value.toPrecision(7) : String(value);
  digits ??= decimals(value);
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(digits, format);
  }
  return format.format(value);
}

/** A share as per cent, with its sign: +0.36 %, −1,234 %. */
export function percent(share) {
  const size = Math.abs(share * 100);
  return `${share < 0 ? "−" : "+"}${size >= 1e16 ? size.toExponential(2) : price(size, size < 1e5 ? 2 : 0)} %`;
}

/** How much was traded: six digits after the point, or fewer. */
export const amount = (n) => (n > 0 && (n < 1e-5 || n >= 1e16) ? price(n) : AMOUNT.format(n));

export function ago(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s ago`;
  if (seconds < 100) return `${Math.round(seconds)} s ago`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`;
}
