// The numbers of one symbol beside its chart: price, change, facts, and those of the bar under the pointer.

import { clock } from "./axis.js";
import { end, rows } from "./bars.js";
import { $, el, text } from "./dom.js";
import { ago, amount, bytes, percent, price, short, ticks, whole } from "./format.js";
import { flash } from "./lists.js";

/** Show how the series stands. */
export function showFacts(info) {
  const digits = ticks(info.symbol, info.last);
  text($("symbol"), info.symbol);
  const last = $("last");
  const before = Number(last.dataset.value);
  if (info.last !== null && last.dataset.symbol === info.symbol && before !== info.last) {
    flash(last, info.last > before ? "up" : "down");
  }
  Object.assign(last.dataset, { value: String(info.last), symbol: info.symbol });
  text(last, price(info.last, digits));
  const values = [
    ["Total", whole(info.total), "points ever appended"],
    ["Retained", whole(info.count), `from index ${whole(info.start)}`],
    ["Ingest", info.rate === null ? "–" : `${short(info.rate)}/s`, "points a second"],
    ["On disk", bytes(info.bytes), info.count >= 1e5 ? `${(info.bytes / info.count).toFixed(2)} bytes a point` : ""],
    ["Last point", info.age === null ? "–" : ago(info.age),
      info.age === null ? "" : new Date(info.appended_at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
  ];
  const list = $("facts");
  if (list.children.length !== values.length) {
    list.replaceChildren(...values.map(([name]) => el("div", {}, el("dt", {}, name), el("dd", {}), el("dd", { class: "more" }))));
  }
  values.forEach(([, value, more], i) => {
    text(list.children[i].children[1], value);
    text(list.children[i].children[2], more);
  });
  list.lastChild.classList.toggle("old", info.age !== null && info.age > 60);
}

/** Show how the newest price stands to the `first` one of the chart; undefined: there is none. */
export function showChange(first, last, digits) {
  const node = $("change");
  if (first === undefined || last === null) { text(node, ""); return; }
  const points = last - first;
  const share = first > 0 && last >= 0 ? ` (${percent(points / first)})` : "";
  text(node, points === 0 ? `${price(0, digits)}${first > 0 ? " (0.00 %)" : ""}` : `${points > 0 ? "▲ +" : "▼ −"}${price(Math.abs(points), digits)}${share}`);
  node.className = points === 0 ? "" : points > 0 ? "gain" : "loss";
}

/** Show the numbers of bar `i` of what is shown, or (null) of all that are in view. */
export function readOut(shown, i) {
  if (!shown || !shown.bars.index.length) return;
  const { bars, digits, fine, seen } = shown;
  const p = (value) => price(value, digits);
  const bar = i === null || i >= bars.index.length ? null : rows(bars)[i];
  const more = bar?.volume === undefined ? [] : [["Volume", amount(bar.volume)], ...(bar.vwap === null ? [] : [["VWAP", price(bar.vwap, fine)]])];
  const parts = bar
    ? [...where(shown, bar), ...(bar.points === 1 ? [["Price", p(bar.mean)]]
      : [["First", p(bar.first)], ["Last", p(bar.last)], ["Min", p(bar.min)], ["Max", p(bar.max)], ["Mean", price(bar.mean, fine)]]), ...more]
    : ["In view", ["First", p(bars.first[seen])], ["Last", p(bars.last.at(-1))], ["Min", p(lowest(shown))], ["Max", p(highest(shown))]];
  const drawn = i === null || !bar ? [] : shown.lines.filter(({ values }) => values[i] !== null).map(({ name, values, kind }) => [name, kind === "other" ? percent(values[i] / 100) : price(values[i], fine)]);
  $("readout").classList.toggle("more", shown.lines.length > 0);
  $("readout").replaceChildren(...[...parts, ...drawn].map((part) =>
    (typeof part === "string" ? el("span", { class: "where" }, part) : el("span", {}, `${part[0]} `, el("b", {}, part[1])))));
}

function where({ axis, bar: step }, bar) {
  const points = bar.points === 1 ? `Point ${whole(bar.index)}` : `Points ${whole(bar.index)} – ${whole(bar.index + bar.points - 1)}`;
  return axis.name === "time" ? [clock(bar.time, step), ["Points", whole(bar.points)]] : [points];
}

export const lowest = ({ bars, seen }) => Math.min(...bars.min.slice(seen));
export const highest = ({ bars, seen }) => Math.max(...bars.max.slice(seen));

/** Say in words which points the chart shows, and what a bar is. */
export function placed(axis, { from, to }, bar, shown) {
  if (from === to) return "No points";
  if (axis.name === "points") return `Points ${whole(from)} to ${whole(to - 1)} · ${whole(to - from)} points · ${axis.barNamed(bar)}`;
  const step = Math.min(bar, 1e6);
  const points = shown ? ` · ${whole(end(shown.bars) - shown.bars.index[shown.seen])} points` : "";
  return `${clock(from, step)} to ${clock(to - 1, step)} UTC${points} · ${axis.barNamed(bar)}`;
}
