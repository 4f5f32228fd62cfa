/* global uPlot */
// The price chart: the band from min to max and the line of the means, and the hand that zooms and moves it.

import { price, whole } from "./format.js";
import { moved, within, zoomed } from "./ranges.js";

const WHEEL = 1.0015;
const HEIGHT = () => Math.round(Math.min(Math.max(innerHeight * 0.44, 240), 560));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return the columns that uPlot draws: a bar stands in the middle of its points. */
function columns(series) {
  const { index, min, max, mean } = series;
  const x = index.map((first, i) => first + ((i + 1 < index.length ? index[i + 1] : series.to) - first - 1) / 2);
  return [x, min, max, mean];
}

export class Chart {
  /** `onRange(range)` is called when the user asks for another one, `onBar(i)` when the pointer is on a bar, or null. */
  constructor(place, { onRange, onBar }) {
    this.place = place;
    this.onRange = onRange;
    this.onBar = onBar;
    this.kept = { from: 0, to: 1 };
    this.range = { from: 0, to: 1 };
    this.series = null;
    this.digits = 2;
    this.plot = null;
    addEventListener("themechange", () => this.#build());
    new ResizeObserver(() => this.#resize()).observe(place);
  }

  /** Return how many bars are worth asking for: one for each pixel of the width. */
  get most() {
    return Math.min(Math.max(Math.floor(this.place.clientWidth - 80), 100), 1600);
  }

  /** Show `series`, an answer of /series, over `range`. */
  show(series, range, kept, digits) {
    Object.assign(this, { series, range, kept, digits });
    if (!this.plot) { this.#build(); return; }
    this.plot.batch(() => {
      this.plot.setData(columns(series), false);
      this.#scale();
    });
  }

  /** Move to another range at once, with the bars there are, until those of the range arrive. */
  look(range, kept) {
    this.range = range;
    this.kept = kept;
    if (this.plot) this.#scale();
  }

  clear() {
    this.plot?.destroy();
    this.plot = null;
    this.series = null;
  }

  get canvas() {
    return this.plot?.ctx.canvas;
  }

  #scale() {
    const { from, to } = this.range;
    this.plot.setScale("x", to - from > 1 ? { min: from, max: to - 1 } : { min: from - 0.5, max: from + 0.5 });
  }

  #resize() {
    if (this.plot && this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: HEIGHT() });
  }

  #build() {
    if (!this.series || !this.place.clientWidth) return;
    this.plot?.destroy();
    const grid = { stroke: colour("--grid"), width: 1 };
    const axis = { stroke: colour("--muted"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const line = { spanGaps: false, points: { show: false } };
    this.plot = new uPlot(
      {
        width: this.place.clientWidth,
        height: HEIGHT(),
        legend: { show: false },
        padding: [10, 36, 0, 0],
        cursor: {
          drag: { x: true, y: false, setScale: false },
          points: { size: 7, fill: colour("--accent"), stroke: colour("--panel"), width: 2 },
          bind: { dblclick: () => () => null, mousedown: (_, __, go) => (event) => (event.shiftKey ? null : go(event)) },
        },
        scales: { x: { time: false }, y: { range: (_, low, high) => spread(low, high) } },
        axes: [
          { ...axis, space: 90, size: 30, values: (_, splits) => splits.map((x) => (Number.isInteger(x) ? whole(x) : "")) },
          { ...axis, size: (_, labels) => 16 + 6.6 * Math.max(4, ...(labels ?? []).map((label) => label.length)), values: (_, splits) => splits.map((y) => price(y, axisDigits(splits, this.digits))) },
        ],
        series: [
          {},
          { ...line, stroke: colour("--band-edge"), width: 1 },
          { ...line, stroke: colour("--band-edge"), width: 1 },
          { ...line, stroke: colour("--accent"), width: 1.5, points: { show: singles(() => this.series), size: 5, fill: colour("--accent") } },
        ],
        bands: [{ series: [2, 1], fill: colour("--band") }],
        hooks: {
          setCursor: [(plot) => this.onBar(plot.cursor.idx ?? null)],
          setSelect: [(plot) => this.#selected(plot)],
        },
      },
      columns(this.series),
      this.place,
    );
    this.#scale();
    this.#hands(this.plot.over);
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const from = Math.ceil(plot.posToVal(left, "x"));
    const to = Math.floor(plot.posToVal(left + width, "x")) + 1;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onRange(within({ from, to }, this.kept));
  }

  /** Wheel: zoom at the pointer. Shift and drag, or one finger: move. Two fingers: zoom. */
  #hands(over) {
    const fingers = new Map();
    let before = null;
    const share = (x) => {
      const box = over.getBoundingClientRect();
      return Math.min(Math.max((x - box.left) / box.width, 0), 1);
    };
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaMode === 1 ? 30 : 1;
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.#move((event.deltaX * pixels) / over.clientWidth);
      else this.onRange(zoomed(this.range, WHEEL ** (event.deltaY * pixels), share(event.clientX), this.kept));
    }, { passive: false });
    over.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && !event.shiftKey && event.button !== 1) return;
      event.preventDefault();
      fingers.set(event.pointerId, event.clientX);
      over.setPointerCapture(event.pointerId);
      before = { range: this.range, places: [...fingers.values()] };
    });
    over.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId) || !before) return;
      fingers.set(event.pointerId, event.clientX);
      const [was, is] = [before.places, [...fingers.values()]];
      const length = before.range.to - before.range.from;
      if (is.length === 1) {
        this.onRange(moved(before.range, ((was[0] - is[0]) / over.clientWidth) * length, this.kept));
      } else if (is.length === 2) {
        const factor = Math.max(Math.abs(was[0] - was[1]), 10) / Math.max(Math.abs(is[0] - is[1]), 10);
        this.onRange(zoomed(before.range, factor, share((is[0] + is[1]) / 2), this.kept));
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      over.addEventListener(end, (event) => {
        fingers.delete(event.pointerId);
        before = fingers.size ? { range: this.range, places: [...fingers.values()] } : null;
      });
    }
  }

  #move(share) {
    this.onRange(moved(this.range, share * (this.range.to - this.range.from), this.kept));
  }
}

/** Return the y range: a little more than the prices take; a constant price lies in the middle. */
function spread(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = high > low ? (high - low) * 0.06 : Math.max(Math.abs(high) * 0.001, 1e-9);
  return [low - room, high + room];
}

/** Show points as dots where bars are single points with room between them. */
const singles = (series) => (plot) => {
  const shown = series();
  return shown.index.length > 1 && shown.index[1] - shown.index[0] === 1 && plot.width / shown.index.length > 8;
};

function axisDigits(splits, most) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 0;
  if (!step) return Math.min(most, 4);
  let digits = 0;
  while (digits < 12 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6 * step * 10 ** digits) digits += 1;
  return digits;
}
