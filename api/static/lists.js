// Tables and lists of symbols and windows. Rows are made once and then only their changed cells are written.

import { $, el, header, link, text } from "./dom.js";
import { ago, bytes, decimals, price, short, span, ticks, whole } from "./format.js";
import { drawBand } from "./navigator.js";
import { leadsTo } from "./place.js";

/** A keyed table body: `cells(key)` makes the nodes of a new row. */
export class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
  }

  update(keys) {
    const wanted = new Set(keys);
    for (const [key, parts] of this.rows) if (!wanted.has(key)) { parts.node.remove(); this.rows.delete(key); }
    keys.forEach((key, i) => {
      if (!this.rows.has(key)) this.rows.set(key, this.make(key));
      const { node } = this.rows.get(key);
      // A node that stays where it is keeps the focus.
      if (this.body.children[i] !== node) this.body.insertBefore(node, this.body.children[i] ?? null);
    });
    return this.rows;
  }
}

/** A small picture of a series, drawn anew in the colours of another theme. */
class Spark {
  constructor() {
    this.node = el("canvas", { class: "spark", width: "240", height: "56", "aria-hidden": "true" });
    this.series = null;
    addEventListener("themechange", () => this.#draw());
  }

  show(series) {
    this.series = series;
    this.#draw();
  }

  #draw() {
    if (!this.series) return;
    const { node } = this;
    const pen = node.getContext("2d");
    pen.clearRect(0, 0, node.width, node.height);
    pen.save();
    pen.scale(2, 2);
    drawBand(pen, this.series, node.width / 2, node.height / 2, 2);
    pen.restore();
  }
}

const age = (info) => (info.age === null ? "–" : ago(info.age));
const rate = (info) => (info.rate === null ? "–" : `${short(info.rate)}/s`);

export class Overview {
  constructor(onOpen) {
    const body = el("tbody");
    const names = ["Symbol", "Last", "Newest 10,000", "Points a second", "Last point", "Total", "Retained", "Bytes"];
    $("overview-table").append(el("table", {}, header(names), body));
    this.rows = new Rows(body, (symbol) => {
      const name = link({ href: leadsTo(symbol) }, () => onOpen(symbol), symbol);
      const picture = new Spark();
      const cells = Array.from({ length: 6 }, () => el("td", { class: "number" }));
      const [last, ...others] = cells;
      const node = el("tr", {}, el("th", { scope: "row" }, name), last, el("td", {}, picture.node), ...others);
      return { node, cells, picture };
    });
  }

  update(infos) {
    const rows = this.rows.update(infos.map((info) => info.symbol));
    for (const info of infos) {
      const values = [price(info.last, ticks(info.symbol, info.last)), rate(info), age(info), whole(info.total), whole(info.count), bytes(info.bytes)];
      rows.get(info.symbol).cells.forEach((cell, i) => text(cell, values[i]));
    }
  }

  picture(symbol) {
    return this.rows.rows.get(symbol)?.picture;
  }
}

export class Watch {
  constructor(onOpen) {
    const list = el("ul");
    $("watch").append(el("h2", {}, "Symbols"), list);
    this.rows = new Rows(list, (symbol) => {
      const picture = new Spark();
      const [last, news] = [el("span", { class: "last" }), el("span", { class: "news" })];
      const row = link({ href: leadsTo(symbol) }, () => onOpen(symbol),
        el("span", { class: "name" }, symbol), last, news, picture.node);
      return { node: el("li", {}, row), link: row, last, news, picture };
    });
  }

  update(infos, current) {
    const rows = this.rows.update(infos.map((info) => info.symbol));
    for (const info of infos) {
      const parts = rows.get(info.symbol);
      text(parts.last, price(info.last, ticks(info.symbol, info.last)));
      text(parts.news, info.rate ? rate(info) : age(info));
      if (info.symbol === current) parts.link.setAttribute("aria-current", "true");
      else parts.link.removeAttribute("aria-current");
    }
  }

  picture(symbol) {
    return this.rows.rows.get(symbol)?.picture;
  }
}

const COLUMNS = ["Window", "Min", "Max", "Average", "Std deviation", "Variance", "Last in range", "Points"];

export class Windows {
  constructor(onOpen) {
    const body = el("tbody");
    $("windows").append(header(COLUMNS), body);
    this.rows = Array.from({ length: 8 }, (_, i) => {
      const window = 10 ** (i + 1);
      const button = el("button", { type: "button", class: "link", onclick: () => onOpen(window) }, span(window));
      const cells = Array.from({ length: 5 }, () => el("td", { class: "number" }));
      const mark = el("span", { class: "mark" });
      const rail = el("span", { class: "rail", role: "img" }, mark);
      const points = el("td", { class: "number" });
      body.append(el("tr", {}, el("th", { scope: "row" }, button), ...cells, el("td", {}, rail), points));
      return { cells, mark, rail, points, window };
    });
  }

  /** Show nothing, until the answer of another symbol is there. */
  clear() {
    for (const { cells, mark, rail, points } of this.rows) {
      for (const cell of [...cells, points]) { text(cell, ""); cell.removeAttribute("title"); }
      mark.style.removeProperty("left");
      rail.setAttribute("aria-label", "nothing yet");
    }
  }

  /** Show an answer of /stats for all windows. */
  update(answer) {
    for (const [i, row] of this.rows.entries()) {
      const { min, max, avg, var: variance, last } = answer.windows[i + 1];
      const digits = ticks(answer.symbol, min, max, last);
      const values = [price(min, digits), price(max, digits), price(avg, Math.max(digits, decimals(last, max - min))),
        price(Math.sqrt(variance)), variance === 0 ? "0" : variance.toPrecision(6)];
      row.cells.forEach((cell, j) => {
        if (cell.textContent === values[j]) return;
        const first = !cell.textContent;
        cell.textContent = values[j];
        cell.title = String([min, max, avg, Math.sqrt(variance), variance][j]);
        if (!first) flash(cell);
      });
      const share = max > min ? (last - min) / (max - min) : 0.5;
      row.mark.style.left = `${share * 100}%`;
      row.rail.setAttribute("aria-label", `${Math.round(share * 100)} % of the way from min to max`);
      text(row.points, whole(Math.min(row.window, answer.count)));
    }
  }
}

export function flash(node, kind = "tick") {
  node.classList.remove(kind);
  void node.offsetWidth; // begins the animation anew
  node.classList.add(kind);
}
