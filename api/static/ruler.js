// The measuring tool: from one place of the chart to another, how far it is in price, in per cent, and on the axis.

import { el, text } from "./dom.js";

export class Ruler {
  /** `told({ x, y }, { x, y })` says in words how far two places of the chart are from each other. */
  constructor(told) {
    this.on = false;
    this.told = told;
    this.plot = null;
    this.box = el("div", { class: "ruler", hidden: true });
    this.label = el("div", { class: "tag ruler-tag", role: "status", hidden: true });
    this.places = null;
    this.drawing = false;
  }

  /** Measure on this plot from now on. */
  lie(plot) {
    this.plot = plot;
    plot.over.append(this.box, this.label);
    this.draw();
  }

  toggle(on) {
    this.on = on;
    this.places = null;
    this.draw();
  }

  begin(event) {
    event.preventDefault();
    this.plot.over.setPointerCapture(event.pointerId);
    this.places = [this.#place(event), this.#place(event)];
    this.drawing = true;
    this.draw();
  }

  move(event) {
    if (!this.drawing) return;
    this.places[1] = this.#place(event);
    this.draw();
  }

  end() {
    this.drawing = false;
  }

  #place({ clientX, clientY }) {
    const box = this.plot.over.getBoundingClientRect();
    return { x: this.plot.posToVal(clientX - box.left, "x"), y: this.plot.posToVal(clientY - box.top, "y") };
  }

  /** Draw it where its two places are now: it moves with the chart. */
  draw() {
    this.box.hidden = !this.places;
    this.label.hidden = !this.places;
    if (!this.places || !this.plot) return;
    const [one, other] = this.places.map(({ x, y }) => ({ x: this.plot.valToPos(x, "x"), y: this.plot.valToPos(y, "y") }));
    const [left, top] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
    Object.assign(this.box.style, {
      left: `${left}px`, top: `${top}px`, width: `${Math.abs(one.x - other.x)}px`, height: `${Math.abs(one.y - other.y)}px`,
    });
    this.box.classList.toggle("falls", this.places[1].y < this.places[0].y);
    text(this.label, this.told(...this.places));
    Object.assign(this.label.style, { left: `${left}px`, top: `${top}px` });
  }
}
