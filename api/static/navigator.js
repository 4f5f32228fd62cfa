// The strip below the chart: the whole retained history, and the part of it that the chart shows.

import { within } from "./ranges.js";

const LEAST_PIXELS = 8;

export class Navigator {
  constructor(place, onRange) {
    this.place = place;
    this.canvas = place.querySelector("canvas");
    this.brush = place.querySelector(".brush");
    this.onRange = onRange;
    this.series = null;
    this.kept = { from: 0, to: 1 };
    this.range = this.kept;
    addEventListener("themechange", () => this.#draw());
    new ResizeObserver(() => { this.#draw(); this.look(this.range, this.kept); }).observe(place);
    this.#hand();
  }

  show(series) {
    this.series = series;
    this.#draw();
  }

  clear() {
    this.series = null;
    this.canvas.width = 0; // which empties it
  }

  /** Mark `range` within `kept`. */
  look(range, kept) {
    this.range = range;
    this.kept = kept;
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
    if (!this.series || !width) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    drawBand(pen, this.series, width, height, 4);
  }
}

/** Draw the band and the means of `series` into a box; used for the small pictures. */
export function drawBand(pen, series, width, height, margin) {
  const { index, min, max, mean } = series;
  if (!index.length) return;
  const style = getComputedStyle(document.documentElement);
  const low = Math.min(...min);
  const scale = (height - 2 * margin) / (Math.max(...max) - low || 1);
  const x = (i) => (index.length > 1 ? (i / (index.length - 1)) * width : width / 2);
  const y = (value) => height - margin - (value - low) * scale;
  pen.beginPath();
  max.forEach((value, i) => pen.lineTo(x(i), y(value)));
  for (let i = min.length - 1; i >= 0; i--) pen.lineTo(x(i), y(min[i]));
  pen.fillStyle = style.getPropertyValue("--band");
  pen.fill();
  pen.beginPath();
  mean.forEach((value, i) => pen.lineTo(x(i), y(value)));
  pen.strokeStyle = style.getPropertyValue("--accent");
  pen.lineWidth = 1.2;
  pen.stroke();
}
