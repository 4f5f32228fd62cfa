// What the chart draws itself, over what uPlot does: candles, the line of the last price, labels at the crosshair.

import { el, text } from "./dom.js";

/** Draw the candles of the bars in sight; `colours` are { gain, loss }. */
export function drawCandles(plot, { bars, places, bar }, colours) {
  const { ctx, bbox } = plot;
  const [first, last] = plot.series[0].idxs ?? [0, -1];
  if (first === null) return;
  const at = (value, scale) => plot.valToPos(value, scale, true);
  const wide = Math.min(Math.max(0.7 * (at(places[first] + bar, "x") - at(places[first], "x")), devicePixelRatio), 24 * devicePixelRatio);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (let i = first; i <= last; i++) {
    const x = Math.round(at(places[i], "x"));
    ctx.fillStyle = bars.last[i] >= bars.first[i] ? colours.gain : colours.loss;
    const [high, low] = [at(bars.max[i], "y"), at(bars.min[i], "y")];
    ctx.fillRect(x - devicePixelRatio / 2, high, devicePixelRatio, Math.max(low - high, 1));
    const [top, bottom] = [at(Math.max(bars.first[i], bars.last[i]), "y"), at(Math.min(bars.first[i], bars.last[i]), "y")];
    ctx.fillRect(x - wide / 2, top, wide, Math.max(bottom - top, devicePixelRatio));
  }
  ctx.restore();
}

/** Labels on the axes: the last price, and where the pointer is. They stay where they are while data comes in. */
export class Labels {
  constructor(over) {
    const make = (name) => el("div", { class: name, hidden: true });
    this.over = over;
    this.line = make("last-line");
    this.last = make("tag last-tag");
    this.x = make("tag cross-x");
    this.y = make("tag cross-y");
    over.append(this.line);
    over.parentElement.append(this.last, this.x, this.y);
  }

  /** Show the last price at `top` pixels, or (null) nowhere: it is out of sight. */
  showLast(top, label, kind) {
    for (const node of [this.line, this.last]) node.hidden = top === null;
    if (top === null) return;
    this.line.style.top = `${top}px`;
    this.last.style.top = `${this.over.offsetTop + top}px`;
    this.last.style.left = `${this.over.offsetLeft + this.over.clientWidth}px`;
    this.last.dataset.kind = kind;
    text(this.last, label);
  }

  /** Show the labels of the crosshair at these pixels; null takes them away. */
  showCross(at) {
    for (const node of [this.x, this.y]) node.hidden = at === null;
    if (at === null) return;
    text(this.x, at.x);
    text(this.y, at.y);
    const half = this.x.offsetWidth / 2;
    const left = Math.min(Math.max(at.left, half - this.over.offsetLeft), this.over.clientWidth - half);
    this.x.style.left = `${this.over.offsetLeft + left}px`;
    this.x.style.top = `${this.over.offsetTop + this.over.clientHeight}px`;
    this.y.style.left = `${this.over.offsetLeft + this.over.clientWidth}px`;
    this.y.style.top = `${this.over.offsetTop + at.top}px`;
  }
}
