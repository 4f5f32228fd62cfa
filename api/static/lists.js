// The table and the list of symbols. Rows are made once and then only their changed cells are written.

import { $, el, link, text } from "./dom.js";
import { ago, bytes, percent, price, short, ticks, whole } from "./format.js";
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
    const { length } = this.series.index;
    drawBand(pen, this.series, node.height / 2, 2, (i) => (length > 1 ? (i / (length - 1)) : 0.5) * (node.width / 2));
    pen.restore();
  }
}

const age = (info) => (info.age === null ? "–" : ago(info.age));
const rate = (info) => (info.rate === null ? "–" : `${short(info.rate)}/s`);
const change = ({ change: share }) => (share === null ? "–" : percent(share));
const direction = ({ change: share }) => (share > 0 ? "gain" : share < 0 ? "loss" : "");
const last = (info) => price(info.last, ticks(info.symbol, info.last));

export class Overview {
  /** `order` is changed by the heads of the columns; then `onOrder` is called, and `onSight` when others are in sight. */
  constructor(order, { groups, onOpen, onOrder, onSight }) {
    this.order = order;
    this.groups = groups;
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
    const star = el("button", { type: "button", class: "star", "aria-label": `${symbol} in the group`, onclick: () => this.groups.mark(symbol) });
    const picture = new Spark();
    const cells = Array.from({ length: 7 }, () => el("td", { class: "number" }));
    const [first, ...others] = cells;
    const node = el("tr", {}, el("th", { scope: "row" }, star, name), first, el("td", {}, picture.node), ...others);
    return { node, cells, picture, star };
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
    for (const [symbol, { cells, star }] of this.rows.rows.rows) {
      const info = this.infos.get(symbol);
      star.setAttribute("aria-pressed", String(this.groups.has(symbol)));
      const values = [last(info), change(info), rate(info), age(info), whole(info.total), whole(info.count), bytes(info.bytes)];
      cells.forEach((cell, i) => text(cell, values[i]));
      cells[1].className = `number ${direction(info)}`;
    }
  }

  picture(symbol) {
    return this.rows.get(symbol)?.picture;
  }
}

export class Watch {
  constructor({ onOpen, onSight }) {
    const list = el("ul");
    // A box around it: the room of rows that are not there is part of the list, and no list is lower than its own room.
    const box = el("div", { class: "box", tabindex: "-1" }, list);
    this.infos = new Map();
    this.current = null;
    $("watch").append(el("h2", {}, "Symbols"), box);
    this.rows = new Scrolled(list, (symbol) => {
      const picture = new Spark();
      const [price_, news] = [el("span", { class: "last" }), el("span", { class: "news" })];
      const row = link({ href: leadsTo(symbol) }, () => onOpen(symbol),
        el("span", { class: "name" }, symbol), price_, news, picture.node);
      return { node: el("li", {}, row), link: row, last: price_, news, picture };
    }, {
      frame: () => {
        const { top, bottom } = box.getBoundingClientRect();
        return { start: top - box.scrollTop, from: Math.max(top, 0), to: Math.min(bottom, innerHeight) };
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
      text(parts.news, info.change === null ? age(info) : change(info));
      parts.news.className = `news ${direction(info)}`;
      if (symbol === this.current) parts.link.setAttribute("aria-current", "true");
      else parts.link.removeAttribute("aria-current");
    }
  }

  picture(symbol) {
    return this.rows.get(symbol)?.picture;
  }
}

export function flash(node, kind = "tick") {
  node.classList.remove(kind);
  void node.offsetWidth; // begins the animation anew
  node.classList.add(kind);
}
