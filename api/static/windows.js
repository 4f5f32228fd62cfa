// The table of the standard windows: by points, and by time where the symbol has times.

import { microseconds } from "./axis.js";
import { $, el, header, text } from "./dom.js";
import { price, span, ticks, whole } from "./format.js";
import { flash } from "./lists.js";

const HEADS = ["Window", "Min", "Max", "Average", "Std dev", "Variance", "In range", "Points"];
const ROWS = 8;

export class Windows {
  /** `onOpen(axis, window)` is called when one is to be seen in the chart. */
  constructor(onOpen) {
    this.byTime = false;
    this.event = null;
    const body = el("tbody");
    $("windows").append(header(HEADS), body);
    this.rows = Array.from({ length: ROWS }, () => {
      const row = { window: null };
      const name = el("button", { type: "button", class: "link", onclick: () => row.window && onOpen(this.byTime ? "time" : "points", row.window) });
      const cells = Array.from({ length: 5 }, () => el("td", { class: "number" }));
      const mark = el("span", { class: "mark" });
      const rail = el("span", { class: "rail", role: "img" }, mark);
      const points = el("td", { class: "number" });
      body.append(el("tr", {}, el("th", { scope: "row" }, name), ...cells, el("td", {}, rail), points));
      return Object.assign(row, { name, cells, mark, rail, points });
    });
    for (const button of $("windows-by").children) {
      button.addEventListener("click", () => { this.byTime = button.value === "time"; this.clear(); });
    }
    this.clear(true);
  }

  /** Show nothing, until there is an event again; `other`: it will be of another symbol. */
  clear(other = false) {
    if (other) this.event = null;
    this.rows.forEach(({ name, cells, mark, rail, points }, i) => {
      if (!this.byTime) text(name, span(10 ** (i + 1)));
      for (const cell of [...cells, points]) { text(cell, ""); cell.removeAttribute("title"); }
      mark.style.removeProperty("left");
      rail.setAttribute("aria-label", "nothing yet");
    });
    if (this.event) this.update(this.event);
  }

  /** Show an event of /events for the standard windows. */
  update(event) {
    this.event = event;
    $("windows-by").hidden = !event.by_time;
    if (!event.by_time) this.byTime = false;
    for (const button of $("windows-by").children) button.setAttribute("aria-pressed", String((button.value === "time") === this.byTime));
    const found = Object.entries(this.byTime ? event.by_time : event.windows);
    this.rows.forEach((row, i) => { if (found[i]) this.#write(row, event.symbol, ...found[i]); });
  }

  #write(row, symbol, name, { min, max, avg, var: variance, last, count }) {
    row.window = this.byTime ? microseconds(name) : Number(name);
    text(row.name, this.byTime ? name : span(row.window));
    const digits = ticks(symbol, min, max, last);
    const exact = [min, max, avg, Math.sqrt(variance), variance];
    const values = [price(min, digits), price(max, digits), price(avg, max > min ? Math.min(digits + 2, 12) : digits), small(exact[3]), small(variance)];
    row.cells.forEach((cell, j) => {
      if (cell.textContent === values[j]) return;
      const first = !cell.textContent;
      cell.textContent = values[j];
      cell.title = String(exact[j]);
      if (!first) flash(cell);
    });
    const share = max > min ? (last - min) / (max - min) : 0.5;
    row.mark.style.left = `${share * 100}%`;
    row.rail.setAttribute("aria-label", `${Math.round(share * 100)} % of the way from min to max`);
    text(row.points, whole(count));
  }
}

/** A spread or a variance: five digits that count. */
const small = (value) => (value === 0 ? "0" : value >= 1e-4 && value < 1e7 ? price(value, Math.max(4 - Math.floor(Math.log10(value)), 0)) : value.toPrecision(5));
