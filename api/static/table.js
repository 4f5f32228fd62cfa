// The bars of the chart as a table, which says to a screen reader what the picture shows.

import { clock } from "./axis.js";
import { MORE, ROW, rows } from "./bars.js";
import { $, el, header, text } from "./dom.js";
import { amount, price, whole } from "./format.js";
import { Rows } from "./rows.js";

/** A row for each bar. The rows of bars that stay are kept, so that nobody who reads in them loses the place. */
export class BarTable {
  constructor() {
    this.names = null;
    this.rows = null;
  }

  /** Show `bars`; prices have `digits` after the point, means `fine`. */
  show(symbol, bars, digits, fine) {
    this.#columns([...ROW, ...MORE.filter((name) => bars[name])]);
    const found = rows(bars);
    text(this.caption, `${symbol}, oldest first`);
    const there = this.rows.update(found.map((bar) => bar.index));
    for (const bar of found) {
      there.get(bar.index).cells.forEach((cell, i) => text(cell, shown(bar, this.names[i], digits, fine)));
    }
  }

  #columns(names) {
    if (this.names?.length === names.length) return;
    this.names = names;
    this.caption = el("caption");
    const body = el("tbody");
    $("table").replaceChildren(el("table", { class: "numbers" }, this.caption, header(names), body));
    this.rows = new Rows(body, () => {
      const cells = names.map((_, i) => el(i ? "td" : "th", { scope: i ? null : "row" }));
      return { node: el("tr", {}, ...cells), cells };
    });
  }

  clear() {
    if (!this.rows) return;
    text(this.caption, "");
    this.rows.update([]);
  }
}

function shown(bar, name, digits, fine) {
  const value = bar[name];
  if (name === "index" || name === "points") return whole(value);
  if (name === "time") return clock(value, 1);
  if (name === "volume") return amount(value);
  return price(value, name === "vwap" || (name === "mean" && bar.points > 1) ? fine : digits);
}
