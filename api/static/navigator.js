// The strip below the chart: the whole retained history, and the part of it that the chart shows.

import { within } from "./ranges.js";

const LEAST_PIXELS = 8;

export class Navigator {
  constructor(place, onRange) {
    this.place = place;
    this.canvas = place.querySelector("canvas");
    this.brush = place.querySelector(".brush");
    this.onRange = onRange;
    this.bars = null;
    this.axis = "points";
    this.kept = { from: 0, to: 1 };
    this.range = this.kept;
    addEventListener("themechange", () => this.#draw());
    new ResizeObserver(() => { this.#draw(); this.look(this.range, this.kept); }).observe(place);
    this.#hand();
  }

  /** Show the whole history as `bars`. */
  show(bars) {
    this.bars = bars;
    this.#draw();
  }

  clear() {
    this.bars = null;
    this.canvas.width = 0; // which empties it
  }

  /** Mark `range` within `kept`, both on this axis. */
  look(range, kept, axis = this.axis) {
    this.range = range;
    this.kept = kept;
    if (axis !== this.axis) { this.axis = axis; this.#draw(); }
    const width = this.place.clientWidth;
    const scale = width / Math.max(kept.to - kept.from, 1);
    const wide = Math.max((range.to - range.from) * scale, LEAST_PIXELS);
    this.brush.style.width = `${wide}px`;
    this.brush.style.left = `${Math.min((range.from - kept.from) * scale, width - wide)}px`;
  }

  #hand() {
    let grabbed = null;
    const point = (event) => {
      const box = this.place.getBoundingClientRect();
      return this.kept.from + ((event.clientX - box.left) / box.width) * (this.kept.to - this.kept.from);
    };
    const go = (event) => {
      const length = this.range.to - this.range.from;
      const from = point(event) - grabbed;
      this.onRange(within({ from, to: from + length }, this.kept));
    };
    this.place.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.place.setPointerCapture(event.pointerId);
      const length = this.range.to - this.range.from;
      // On the mark, hold it where it was taken; beside it, bring its middle here.
      grabbed = event.target === this.brush ? Math.min(Math.max(point(event) - this.range.from, 0), length) : length / 2;
      go(event);
    });
    this.place.addEventListener("pointermove", (event) => { if (grabbed !== null) go(event); });
    for (const end of ["pointerup", "pointercancel"]) this.place.addEventListener(end, () => { grabbed = null; });
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!this.bars || !width) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const { time, index } = this.bars;
    const places = this.axis === "time" ? time : index;
    const wide = Math.max(places.at(-1) - places[0], 1);
    drawBand(pen, this.bars, height, 4, (i) => (places.length > 1 ? ((places[i] - places[0]) / wide) * width : width / 2));
  }
}

/** Draw the band and the means of bars, bar `i` at x(i); used for the small pictures. */
export function drawBand(pen, { index, min, max, mean }, height, margin, x) {
  if (!index.length) return;
  const style = getComputedStyle(document.documentElement);
  const low = Math.min(...min);
  const wide = Math.max(...max) - low;
  const scale = (height - 2 * margin) / (wide || 1);
  const y = (value) => (wide ? height - margin - (value - low) * scale : height / 2); // what does not move lies in the middle
  pen.beginPath();
  max.forEach((value, i) => pen.lineTo(x(i), y(value)));
  for (let i = min.length - 1; i >= 0; i--) pen.lineTo(x(i), y(min[i]));
  pen.fillStyle = style.getPropertyValue("--band");
  pen.fill();
  pen.beginPath();
  if (index.length === 1) pen.rect(x(0) - 1, y(mean[0]) - 1, 2, 2); // a line of one place would not be seen
  mean.forEach((value, i) => pen.lineTo(x(i), y(value)));
  pen.strokeStyle = style.getPropertyValue("--accent");
  pen.lineWidth = 1.2;
  pen.stroke();
}
