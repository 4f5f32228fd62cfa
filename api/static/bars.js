// The bars of the chart as rows: for the table, which says to a screen reader what the picture shows, and for CSV.

import { $, el, header, text } from "./dom.js";
import { price, whole } from "./format.js";
import { Rows } from "./rows.js";

const COLUMNS = ["index", "points", "first", "last", "min", "max", "mean"];

/** Return the bars of an answer of /series. */
export function bars({ index, first, last, min, max, mean, to }) {
  return index.map((start, i) => ({
    index: start, points: (index[i + 1] ?? to) - start, first: first[i], last: last[i], min: min[i], max: max[i], mean: mean[i],
  }));
}

/** Return them as CSV, with every digit. */
export function csv(answer) {
  const lines = bars(answer).map((bar) => COLUMNS.map((name) => bar[name]).join(","));
  return `${COLUMNS.join(",")}\n${lines.join("\n")}\n`;
}

/** A row for each bar. The rows of bars that stay are kept, so that nobody who reads in them loses the place. */
export class BarTable {
  constructor(place) {
    this.caption = el("caption");
    const body = el("tbody");
    place.append(el("table", { class: "numbers" }, this.caption, header(COLUMNS), body));
    this.rows = new Rows(body, () => {
      const cells = COLUMNS.map((_, i) => el(i ? "td" : "th", { scope: i ? null : "row" }));
      return { node: el("tr", {}, ...cells), cells };
    });
  }

  /** Show the bars of `answer`; prices have `digits` after the point, means `fine`. */
  show(answer, digits, fine) {
    const found = bars(answer);
    text(this.caption, `${answer.symbol}, oldest first`);
    const rows = this.rows.update(found.map((bar) => bar.index));
    for (const bar of found) {
      rows.get(bar.index).cells.forEach((cell, i) => {
        const name = COLUMNS[i];
        text(cell, i < 2 ? whole(bar[name]) : price(bar[name], name === "mean" && bar.points > 1 ? fine : digits));
      });
    }
  }

  clear() {
    text(this.caption, "");
    this.rows.update([]);
  }
}
