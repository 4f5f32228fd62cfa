// Tables and lists of symbols and windows. Rows are made once and then only their changed cells are written.

import { $, el, header, link, text } from "./dom.js";
import { ago, bytes, decimals, price, short, span, ticks, whole } from "./format.js";
import { drawBand } from "./navigator.js";
import { COLUMNS } from "./order.js";
import { leadsTo } from "./place.js";
import { Scrolled } from "./scroll.js";

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
const change = ({ change: share }) => (share === null ? "–" : `${share < 0 ? "−" : "+"}${Math.abs(share * 100).toFixed(2)} %`);
const last = (info) => price(info.last, ticks(info.symbol, info.last));

export class Overview {
  /** `order` is changed by the heads of the columns; then `onOrder` is called, and `onSight` when others are in sight. */
  constructor(order, { onOpen, onOrder, onSight }) {
    this.order = order;
    this.infos = new Map();
    const [above, body, below] = [el("tbody", { "aria-hidden": "true" }), el("tbody"), el("tbody", { "aria-hidden": "true" })];
    this.heads = COLUMNS.map(([key, name]) => el("th", { scope: "col" }, key
      ? el("button", { type: "button", class: "link", onclick: () => { order.by(key); onOrder(); } }, name) : name));
    this.table = el("table", {}, el("thead", {}, el("tr", {}, ...this.heads)), above, body, below);
    $("overview-table").append(this.table);
    const rooms = [above, below].map((part) => {
      const cell = el("td", { colspan: String(COLUMNS.length), class: "room" });
      part.append(el("tr", {}, cell));
      return { part, cell };
    });
    this.rows = new Scrolled(body, (symbol) => this.#make(symbol, onOpen), {
      frame: () => ({ start: above.hidden ? body.getBoundingClientRect().top : above.getBoundingClientRect().top, from: 0, to: innerHeight }),
      pad: (...heights) => rooms.forEach(({ part, cell }, i) => {
        part.hidden = !heights[i];
        cell.style.height = `${heights[i]}px`;
      }),
      mark: (node, i) => node.setAttribute("aria-rowindex", String(i + 2)),
      onSight: () => { this.refresh(); onSight(); },
    });
  }

  #make(symbol, onOpen) {
    const name = link({ href: leadsTo(symbol) }, () => onOpen(symbol), symbol);
    const picture = new Spark();
    const cells = Array.from({ length: 7 }, () => el("td", { class: "number" }));
    const [first, ...others] = cells;
    const node = el("tr", {}, el("th", { scope: "row" }, name), first, el("td", {}, picture.node), ...others);
    return { node, cells, picture };
  }

  update(infos) {
    this.infos = new Map(infos.map((info) => [info.symbol, info]));
    this.heads.forEach((head, i) => {
      if (COLUMNS[i][0] === this.order.key) head.setAttribute("aria-sort", this.order.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.table.setAttribute("aria-rowcount", String(infos.length + 1));
    this.rows.update(infos.map(({ symbol }) => symbol));
    this.refresh();
  }

  /** Write the cells that are there anew. */
  refresh() {
    for (const [symbol, { cells }] of this.rows.rows.rows) {
      const info = this.infos.get(symbol);
      const values = [last(info), change(info), rate(info), age(info), whole(info.total), whole(info.count), bytes(info.bytes)];
      cells.forEach((cell, i) => text(cell, values[i]));
    }
  }

  picture(symbol) {
    return this.rows.get(symbol)?.picture;
  }
}

export class Watch {
  constructor({ onOpen, onSight }) {
    const list = el("ul", { tabindex: "-1" });
    this.infos = new Map();
    this.current = null;
    $("watch").append(el("h2", {}, "Symbols"), list);
    this.rows = new Scrolled(list, (symbol) => {
      const picture = new Spark();
      const [price_, news] = [el("span", { class: "last" }), el("span", { class: "news" })];
      const row = link({ href: leadsTo(symbol) }, () => onOpen(symbol),
        el("span", { class: "name" }, symbol), price_, news, picture.node);
      return { node: el("li", {}, row), link: row, last: price_, news, picture };
    }, {
      frame: () => {
        const { top, bottom } = list.getBoundingClientRect();
        return { start: top - list.scrollTop, from: Math.max(top, 0), to: Math.min(bottom, innerHeight) };
      },
      pad: (above, below) => { list.style.paddingTop = `${above}px`; list.style.paddingBottom = `${below}px`; },
      mark: (node, i, all) => { node.setAttribute("aria-posinset", String(i + 1)); node.setAttribute("aria-setsize", String(all)); },
      onSight: () => { this.refresh(); onSight(); },
    });
  }

  update(infos, current) {
    this.infos = new Map(infos.map((info) => [info.symbol, info]));
    this.current = current;
    this.rows.update(infos.map(({ symbol }) => symbol));
    this.refresh();
  }

  /** Write the rows that are there anew. */
  refresh() {
    for (const [symbol, parts] of this.rows.rows.rows) {
      const info = this.infos.get(symbol);
      text(parts.last, last(info));
      text(parts.news, info.rate ? rate(info) : age(info));
      if (symbol === this.current) parts.link.setAttribute("aria-current", "true");
      else parts.link.removeAttribute("aria-current");
    }
  }

  picture(symbol) {
    return this.rows.get(symbol)?.picture;
  }
}

const OF_WINDOWS = ["Window", "Min", "Max", "Average", "Std deviation", "Variance", "Last in range", "Points"];

export class Windows {
  constructor(onOpen) {
    const body = el("tbody");
    $("windows").append(header(OF_WINDOWS), body);
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
