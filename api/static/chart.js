/* global uPlot */
// The price chart: candles, or the line of the means in the band from min to max; volume; what is drawn over them.

import { percent, price, span } from "./format.js";
import { grasp } from "./hands.js";
import { Labels, drawCandles } from "./layers.js";
import { within } from "./ranges.js";
import { Ruler } from "./ruler.js";

const ROOM = 410; // pixels of a screen that are not the chart's, so that all of it is in sight
const BELOW = 300; // further ones where the windows stand below the chart, not beside it
const WIDE = 1400;
const NARROW = 600; // a window less wide is a telephone's: there the chart has half of the height
const CANDLE = 7; // pixels of one, with the room beside it
const PRICES = 3; // series of the prices: least, greatest, and the line between
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5"];

function height() {
  const room = innerWidth < NARROW ? innerHeight * 0.52 : ROOM + (innerWidth < WIDE ? BELOW : 0);
  return Math.round(Math.min(Math.max(innerHeight - room, 240), 760));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  /** `onRange(range)` is called when the user asks for another one, `onBar(i)` when the pointer is on a bar, or null. */
  constructor(place, { onRange, onBar }) {
    Object.assign(this, { place, onRange, onBar, view: null, plot: null, key: "", on: null });
    this.kept = { from: 0, to: 1 };
    this.range = this.kept;
    this.ruler = new Ruler((one, other) => this.#measured(one, other));
    addEventListener("themechange", () => this.#build());
    new ResizeObserver(() => this.#resize()).observe(place);
  }

  /** Return how many bars are worth asking for: one for each pixel of the width, or for each candle. */
  most(style) {
    const width = this.place.clientWidth - 80;
    return style === "candles" ? Math.max(Math.floor(width / CANDLE), 30) : Math.min(Math.max(Math.floor(width), 100), 1600);
  }

  /**
   * Show a view: { bars, places, bar, axis, style, log, percent, lines, digits, last } over `range`. A line is
   * { name, values, kind }, kind being "band", "mean", "vwap" or "other"; `percent` says that all are rebased.
   */
  show(view, range, kept) {
    Object.assign(this, { view, range, kept });
    const key = JSON.stringify([view.axis.name, view.style, view.log, view.percent, Boolean(view.bars.volume), view.lines.map(({ name }) => name)]);
    if (!this.plot || key !== this.key) { this.key = key; this.#build(); return; }
    this.plot.batch(() => {
      this.plot.setData(this.#columns(), false);
      this.#scale();
    });
  }

  /** Move to another range at once, with the bars there are, until those of the range arrive. */
  look(range, kept) {
    Object.assign(this, { range, kept });
    if (this.plot) this.#scale();
  }

  clear() {
    this.plot?.destroy();
    Object.assign(this, { plot: null, view: null, on: null });
    this.ruler.toggle(this.ruler.on);
  }

  get canvas() {
    return this.plot?.ctx.canvas;
  }

  #columns() {
    const { bars, places, percent, prices, lines, style } = this.view;
    const none = places.map(() => null);
    const shown = percent ? [none, none, prices] : [bars.min, bars.max, style === "candles" ? bars.last : bars.mean];
    return [places, ...shown, ...lines.map(({ values }) => values), ...(this.#hasVolume ? [bars.volume] : [])];
  }

  get #hasVolume() {
    return Boolean(this.view.bars.volume) && !this.view.percent;
  }

  #scale() {
    this.plot.setScale("x", this.view.axis.scale(this.range, this.view.bar));
  }

  #resize() {
    if (this.plot && this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: height() });
  }

  #build() {
    if (!this.view || !this.place.clientWidth) return;
    const before = this.plot && this.plot.cursor.left >= 0 ? { left: this.plot.cursor.left, top: this.plot.cursor.top } : null;
    this.plot?.destroy();
    this.plot = new uPlot(this.#options(), this.#columns(), this.place);
    this.labels = new Labels(this.plot.over);
    this.ruler.lie(this.plot);
    this.#scale();
    grasp(this.plot.over, this);
    if (before) this.plot.setCursor(before);
  }

  #options() {
    return {
      width: this.place.clientWidth,
      height: height(),
      legend: { show: false },
      padding: [10, 0, 0, 8],
      cursor: {
        drag: { x: true, y: false, setScale: false },
        points: { size: (_, i) => (i === PRICES && !this.#candles ? 7 : 0), fill: colour("--accent"), stroke: colour("--panel"), width: 2 },
        bind: { dblclick: () => () => null, mousedown: (_, __, go) => (event) => (event.shiftKey || this.ruler.on ? null : go(event)) },
      },
      scales: { x: { time: false }, y: this.#priceScale(), v: { range: (_, __, high) => [0, (high || 1) * 5] } },
      axes: this.#axes(),
      series: this.#series(),
      bands: this.#bands(),
      hooks: {
        setCursor: [() => this.#pointed()],
        setSelect: [(plot) => this.#selected(plot)],
        drawSeries: [(plot, i) => { if (i === PRICES && this.#candles) drawCandles(plot, this.view, { gain: colour("--gain"), loss: colour("--loss") }); }],
        draw: [() => this.#drawn()],
      },
    };
  }

  get #candles() {
    return this.view.style === "candles" && !this.view.percent;
  }

  /** Characters of the tag of the last price, which has to fit on the axis. */
  get #tagLength() {
    return this.view.last ? this.#said(this.view.last.value).length : 0;
  }

  #priceScale() {
    const log = this.view.log && !this.view.percent;
    return {
      ...(log ? { distr: 100, fwd: Math.log, bwd: Math.exp } : {}),
      range: (_, low, high) => (log ? spreadLog(low, high) : spread(low, high)),
    };
  }

  #axes() {
    const { axis, log, percent } = this.view;
    const common = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const longest = (labels) => Math.max(4, ...(labels ?? []).map((label) => label.length));
    const named = (_, splits) => (percent ? splits.map((y) => `${price(y, axisDigits(splits, 2))} %`) : splits.map((y) => price(y, axisDigits(splits, this.view.digits))));
    return [
      {
        ...common, space: 90, size: 30,
        ...(axis.steps ? { incrs: axis.steps, splits: (_, __, low, high, step) => axis.splits(low, high, step) } : {}),
        values: (_, splits, __, ___, step) => splits.map((x) => axis.tick(x, step)),
      },
      {
        ...common, side: 1, size: (_, labels) => 16 + 6.6 * Math.max(longest(labels), this.#tagLength), values: named,
        ...(log && !percent ? { splits: (_, __, low, high) => logSplits(low, high) } : {}),
      },
    ];
  }

  #series() {
    const line = { spanGaps: false, points: { show: false } };
    const hidden = { ...line, paths: () => null };
    const edge = { ...line, stroke: colour("--band-edge"), width: 1 };
    const main = this.#candles ? hidden : {
      ...line, stroke: colour("--accent"), width: 1.5,
      points: { show: (plot) => sparse(plot, this.view), size: 5, fill: colour("--accent") },
    };
    const range = this.#candles || this.view.percent ? hidden : edge;
    const volume = { ...line, scale: "v", fill: colour("--volume"), paths: uPlot.paths.bars({ size: [0.7, 24] }), points: { show: false } };
    return [{}, range, range, main, ...this.view.lines.map((one, i) => ({ ...line, spanGaps: one.kind === "other", ...drawnAs(one, i) })), ...(this.#hasVolume ? [volume] : [])];
  }

  #bands() {
    const found = this.#candles || this.view.percent ? [] : [{ series: [2, 1], fill: colour("--band") }];
    const edges = this.view.lines.flatMap(({ kind }, i) => (kind === "band" ? [PRICES + 1 + i] : []));
    return edges.length ? [...found, { series: [edges[1], edges[0]], fill: colour("--sigma") }] : found;
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const from = Math.ceil(plot.posToVal(left, "x"));
    const to = Math.floor(plot.posToVal(left + width, "x")) + 1;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onRange(within({ from, to }, this.kept));
  }

  /** The pointer is somewhere else: on which bar, and what the labels say. */
  #pointed() {
    if (!this.labels || !this.view) return; // uPlot tells of it while it is being made
    const { left, top, idx } = this.plot.cursor;
    this.on = idx ?? null;
    this.onBar(this.on);
    if (left === undefined || left < 0 || this.on === null) { this.labels.showCross(null); return; }
    const { axis, places, bar } = this.view;
    this.labels.showCross({ left, top, x: axis.label(places[this.on], bar), y: this.#said(this.plot.posToVal(top, "y")) });
  }

  #drawn() {
    if (!this.labels) return;
    const { last } = this.view;
    const { min, max } = this.plot.scales.y;
    const seen = last !== null && last.value >= min && last.value <= max;
    this.labels.showLast(seen ? this.plot.valToPos(last.value, "y") : null, seen ? this.#said(last.value) : "", seen ? last.kind : "");
    this.#pointed();
    this.ruler.draw();
  }

  #said(value) {
    return this.view.percent ? percent(value / 100) : price(value, this.view.digits);
  }

  #measured(one, other) {
    const { axis, bar, digits, percent } = this.view;
    const step = other.y - one.y;
    const sign = step < 0 ? "−" : "+";
    const share = percent || !(one.y > 0) ? "" : ` (${sign}${price(Math.abs(step / one.y) * 100, 2)} %)`;
    const wide = Math.round(Math.abs(other.x - one.x));
    const bars = Math.round(wide / bar);
    const along = axis.name === "time" ? durations(wide) : `${span(wide)} points`;
    return `${sign}${percent ? `${price(Math.abs(step), 2)} %` : price(Math.abs(step), digits)}${share} · ${along} · ${bars} bar${bars === 1 ? "" : "s"}`;
  }
}

function drawnAs({ kind }, i) {
  if (kind === "band") return { stroke: colour("--sigma-edge"), width: 1 };
  if (kind === "mean") return { stroke: colour("--sigma-edge"), width: 1, dash: [4, 4] };
  if (kind === "vwap") return { stroke: colour("--line-1"), width: 1.5 };
  return { stroke: colour(COLOURS[i % COLOURS.length]), width: 1.5 };
}

function durations(us) {
  const seconds = us / 1e6;
  if (seconds < 1) return `${price(us / 1000, 3)} ms`;
  if (seconds < 120) return `${price(seconds, seconds < 10 ? 2 : 0)} s`;
  if (seconds < 7200) return `${price(seconds / 60, 1)} min`;
  return seconds < 172_800 ? `${price(seconds / 3600, 1)} h` : `${price(seconds / 86_400, 1)} days`;
}

/** Return the y range: a little more than the prices take; a constant price lies in the middle. */
function spread(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = high > low ? (high - low) * 0.06 : Math.max(Math.abs(high) * 0.001, Number.MIN_VALUE * 1e6);
  return [low - room, high + room];
}

/** The same where equal shares are equally high. */
function spreadLog(low, high) {
  if (low === null || high === null || low <= 0) return [0.1, 1];
  const factor = high > low ? (high / low) ** 0.06 : 1.001;
  return [low / factor, high * factor];
}

/** Return places for labels on a logarithmic axis: round numbers, as many as are told apart. */
export function logSplits(low, high) {
  if (high / low < 20) {
    const power = 10 ** Math.floor(Math.log10((high - low) / 5));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => (high - low) / one <= 6);
    return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, i) => (Math.ceil(low / step) + i) * step);
  }
  const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  const every = Math.max(Math.ceil((last - first) / 8), 1);
  return Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => 10 ** (first + i * every));
}

/** Say whether bars are single points with room between them, which are shown as dots. */
const sparse = (plot, { bars, bar, axis }) => axis.name === "points" && bar === 1 && plot.width / bars.index.length > 8;

function axisDigits(splits, most) {
  const steps = splits.slice(1).map((y, i) => Math.abs(y - splits[i])).filter((one) => one > 0);
  if (!steps.length) return Math.min(most, 4);
  const step = Math.min(...steps);
  let digits = 0;
  while (digits < 12 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6 * step * 10 ** digits) digits += 1;
  return digits;
}
