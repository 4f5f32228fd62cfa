// What one sees of one symbol: which range of it, the bars of that range, and how they follow new points.

import { POINTS, TIME, microseconds } from "./axis.js";
import { end, from as barsFrom, merged, taken } from "./bars.js";
import { Chart } from "./chart.js";
import { ask } from "./client.js";
import { $ } from "./dom.js";
import { decimals, ticks } from "./format.js";
import { Navigator } from "./navigator.js";
import { SPAN, aligned, bands, rebased, rolling, vwap } from "./overlays.js";
import { moved, within, zoomed } from "./ranges.js";
import { Trail } from "./trail.js";

const AXES = { points: POINTS, time: TIME };
const DEBOUNCE_MS = 70;
const STRIP_BARS = 300;
const STRIP_MS = 5000; // the strip is drawn anew no more often
const FEW = 1e6; // points; the strip of more changes so little that it is drawn twelve times less often
const ENOUGH = 1000; // points make a picture: the page opens with the shortest time that has so many
const OPENS_WITH = 100_000; // points, where there are no times

export class Sight {
  /**
   * `info()` returns what is known of the symbol, `options` say how to draw. `onPlace(at, { replace })` is called when
   * another part is to be seen, `onShown(shown)` when its bars are there, `onBar(i)`, and `onFail(error)`.
   */
  constructor({ info, options, onPlace, onShown, onBar, onFail }) {
    Object.assign(this, { info, options, onPlace, onShown, onFail });
    this.at = { symbol: null };
    this.trail = new Trail();
    this.chart = new Chart($("plot"), { onRange: (range) => this.look(range), onBar });
    this.strip = new Navigator($("navigator"), (range) => this.look(range));
    this.forget();
  }

  /** Take everything of the symbol of before off the page: it must not stand under the name of another one. */
  forget() {
    this.asking?.abort();
    Object.assign(this, { shown: null, asking: null, oldest: undefined, opens: null, stripAsks: null, stripOf: { total: -1, at: -Infinity } });
    clearTimeout(this.pause);
    this.trail.clear();
    this.chart.clear();
    this.strip.clear();
    for (const name of ["from", "to", "size"]) delete $("plot").dataset[name];
  }

  // -- which range of which axis --

  get hasTimes() {
    return (this.info()?.time ?? null) !== null;
  }

  get axis() {
    if (!this.hasTimes) return POINTS;
    return AXES[this.at.axis] ?? TIME;
  }

  /** Whether it is known how far the axis goes. */
  get isKnown() {
    const info = this.info();
    return Boolean(info?.count) && info.time !== undefined && (this.axis === POINTS || this.oldest !== undefined);
  }

  get kept() {
    return this.axis.kept({ ...this.info(), oldest: this.oldest });
  }

  get isLive() {
    return this.#place.from === undefined;
  }

  /** The place as it can be: what the address says of time is nothing for a series without times. */
  get #place() {
    return this.at.axis === "time" && !this.hasTimes ? { window: null } : this.at;
  }

  get window() {
    return this.isLive ? this.#place.window ?? (this.axis === TIME ? this.opens ?? "all" : OPENS_WITH) : null;
  }

  get range() {
    const all = this.kept;
    if (!this.isLive) return within(this.at, all);
    return this.window === "all" ? all : within({ from: all.to - this.window, to: all.to }, all);
  }

  get bar() {
    return this.axis.bar(this.range, this.chart.most(this.#style));
  }

  get #style() {
    return this.options.compare.length && this.axis === TIME ? "line" : this.options.style;
  }

  /** Show another range; one that reaches the newest point follows it. */
  look(next) {
    if (!this.isKnown) return;
    const all = this.kept;
    const { symbol } = this.at;
    const axis = this.axis.name;
    this.trail.leave(this.at, { byHand: true });
    const length = next.to - next.from;
    if (next.to < all.to) this.at = { symbol, axis, from: next.from, to: next.to };
    else this.at = { symbol, axis, window: length >= all.to - all.from ? "all" : length };
    this.onPlace(this.at, { replace: true });
    this.chart.look(next, all);
    this.strip.look(next, all);
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.draw(), DEBOUNCE_MS);
  }

  zoom(factor) { if (this.isKnown) this.look(zoomed(this.range, factor, this.isLive ? 1 : 0.5, this.kept)); }

  pan(share) { if (this.isKnown) this.look(moved(this.range, share * (this.range.to - this.range.from), this.kept)); }

  toOldest() { if (this.isKnown) this.look(within({ from: this.kept.from, to: this.kept.from + this.range.to - this.range.from }, this.kept)); }

  /** Follow the newest points: so many, or so long; without `window` as wide as it is. */
  follow(window) {
    if (!this.isKnown) return;
    this.trail.leave(this.at);
    const { from, to } = this.range;
    this.onPlace({ symbol: this.at.symbol, axis: this.axis.name, window: window ?? to - from }, { replace: false });
  }

  /** Go back to where the chart was before the last movement; return whether there was such a place. */
  back() {
    const place = this.trail.back();
    if (place) this.onPlace(place, { replace: true, arrive: true });
    return Boolean(place);
  }

  /** Change the axis, and see the same points on it. */
  turn(name) {
    if (!this.isKnown || name === this.axis.name) return;
    this.trail.leave(this.at);
    const { symbol } = this.at;
    if (!this.shown?.bars.time?.length) { this.onPlace({ symbol, axis: name, window: null }, { replace: false }); return; }
    const { bars, seen } = this.shown;
    const [from, to] = name === "time" ? [bars.time[seen], bars.time.at(-1) + (this.axis === TIME ? this.bar : 1)] : [bars.index[seen], end(bars)];
    const window = name === "time" ? Math.max(this.info().time + 1 - from, 1) : this.info().total - from;
    this.onPlace(this.isLive ? { symbol, axis: name, window } : { symbol, axis: name, from, to: Math.max(to, from + 2) }, { replace: false });
  }

  // -- its bars --

  /** Take an event: what it has of newer bars is shown at once, what it has not is asked for. */
  heard(event) {
    // The shortest of the standard times that has enough points; it stays while the symbol does.
    const enough = Object.keys(event.by_time ?? {}).find((name) => event.by_time[name].count >= ENOUGH);
    this.opens ??= microseconds(enough) ?? "all";
    if (!this.isKnown) { this.draw(); return; }
    this.strip.look(this.range, this.kept);
    if (!this.isLive) return;
    const tail = event.bars && taken(event.bars);
    const bars = tail && this.#continues() ? merged(this.shown.bars, tail) : null;
    if (!bars || this.others.length) { this.draw(); return; }
    this.#present({ ...this.shown, bars, total: event.total });
    this.#drawStrip().catch((error) => this.onFail(error));
  }

  #continues() {
    const { shown } = this;
    return shown && shown.live && shown.symbol === this.at.symbol && shown.axis === this.axis && shown.bar === this.bar && shown.lead === this.#lead;
  }

  get #lead() {
    return this.options.sigma ? SPAN - 1 : 0;
  }

  /** Symbols that are drawn beside this one. */
  get others() {
    return this.axis === TIME ? this.options.compare.filter((symbol) => symbol !== this.at.symbol) : [];
  }

  #question() {
    const { axis, range, bar, isLive: live } = this;
    const lead = this.#lead;
    const { total } = this.info();
    const part = axis.question({ from: range.from - lead * bar, to: range.to }, bar, this.info());
    const key = JSON.stringify([this.at.symbol, axis.name, bar, lead, this.others, live ? [live, range.to - range.from] : part]);
    return { key, axis, bar, lead, live, total, parameters: { symbol: this.at.symbol, ...part } };
  }

  /** Ask for the bars of the present range, all as they were at one moment. An answer that comes too late is dropped. */
  async draw() {
    try {
      await Promise.all([this.#drawStrip(), this.#drawBars()]);
      this.onFail(null);
    } catch (error) {
      if (error.name !== "AbortError") this.onFail(error);
    }
  }

  async #drawBars() {
    if (!this.isKnown) return;
    const question = this.#question();
    // A refresh while the answer is still under way must not begin anew, or a slow network would never get any.
    if (this.asking?.key === question.key) return;
    const { shown } = this;
    if (shown?.question.key === question.key && shown.total === question.total) { this.#present(shown); return; }
    this.asking?.abort();
    const mine = Object.assign(new AbortController(), { key: question.key });
    this.asking = mine;
    try {
      const { symbol } = this.at;
      const { symbol: _, points, ...same } = question.parameters;
      const to = typeof same.to === "number" ? `${this.info().time + 1}us` : same.to; // an index of one series is none of another
      const [answer, ...others] = await Promise.all([
        ask("bars", question.parameters, mine.signal),
        ...this.others.map((other) => ask("bars", { ...same, symbol: other, to }, mine.signal).then((found) => ({ symbol: other, bars: taken(found) }))),
      ]);
      if (this.asking !== mine || symbol !== this.at.symbol) return;
      const { axis, bar, lead, live, total } = question;
      this.#present({ symbol, question, axis, bar, lead, live, total, others, bars: taken(answer) });
      if (!performance.getEntriesByName("chart").length) performance.mark("chart");
    } finally {
      if (this.asking === mine) this.asking = null;
    }
  }

  /** Show bars, with what is drawn over them. */
  #present(found) {
    const { axis, bar, range, kept } = this;
    const seen = Math.max(firstSeen(found, range), 0);
    const bars = barsFrom(found.bars, seen - found.lead);
    const shown = { ...found, bars, seen: Math.min(seen, found.lead), places: axis.places(bars, bar) };
    shown.digits = ticks(shown.symbol, ...bars.first, ...bars.last, ...bars.min, ...bars.max);
    shown.fine = Math.max(shown.digits, decimals(bars.last.at(-1) ?? 0, bars.index.length ? Math.max(...bars.max) - Math.min(...bars.min) : 0));
    shown.percent = this.others.length > 0;
    shown.lines = this.#lines(shown);
    const positive = bars.min.every((price) => price > 0);
    this.options.mark({ times: this.hasTimes, sizes: Boolean(bars.volume), positive });
    this.shown = shown;
    const prices = shown.percent ? rebased(bars.last, shown.seen) : null;
    const newest = shown.percent ? prices.at(-1) : this.info().last;
    const last = newest === undefined || newest === null ? null : { value: newest, kind: bars.last.at(-1) >= (bars.first.at(-1) ?? 0) ? "gain" : "loss" };
    this.chart.show({ bars, places: shown.places, bar, axis, style: this.#style, log: this.options.log && positive, percent: shown.percent, prices, lines: shown.lines, digits: shown.digits, last }, range, kept);
    this.strip.look(range, kept, axis.name);
    Object.assign($("plot").dataset, { from: bars.index[shown.seen] ?? kept.from, to: end(bars), size: bar });
    this.onShown(shown);
  }

  #lines(shown) {
    const { bars, seen, others } = shown;
    if (shown.percent) return others.map((one) => ({ name: one.symbol, kind: "other", values: rebased(aligned(bars.time, one.bars), seen) }));
    const found = [];
    if (this.options.sigma) {
      const { mean, std } = rolling(bars);
      const [low, high] = bands({ mean, std }, this.options.sigma);
      found.push({ name: `Mean of ${SPAN} bars`, kind: "mean", values: mean }, { name: `−${this.options.sigma} σ`, kind: "band", values: low }, { name: `+${this.options.sigma} σ`, kind: "band", values: high });
    }
    if (this.options.vwap && bars.volume) found.push({ name: "VWAP from the left", kind: "vwap", values: vwap(bars, seen) });
    return found;
  }

  async #drawStrip() {
    const { symbol, total, start, count, time } = this.info() ?? {};
    if (!count || time === undefined) return;
    const pause = count > FEW ? 12 * STRIP_MS : STRIP_MS;
    const stale = performance.now() - this.stripOf.at > pause && this.stripOf.total !== total;
    if (this.stripAsks === symbol || (this.stripOf.symbol === symbol && !stale)) return;
    this.stripAsks = symbol;
    try {
      const bars = taken(await ask("bars", { symbol, points: Math.max(Math.ceil((total - start) / STRIP_BARS), 1) }));
      if (symbol !== this.at.symbol) return;
      this.stripOf = { symbol, total, at: performance.now() };
      const first = this.oldest === undefined;
      this.oldest = bars.time?.[0] ?? null;
      this.strip.show(bars);
      this.strip.look(this.range, this.kept, this.axis.name);
      if (first) await this.#drawBars();
    } finally {
      if (this.stripAsks === symbol) this.stripAsks = null;
    }
  }

  /** Draw again what is there: how it is drawn has changed. */
  redraw() {
    if (this.shown && this.#continues() && !this.others.length && !this.shown.percent) this.#present(this.shown);
    else this.draw();
  }
}

/** Return the first bar of which something lies in the range. */
function firstSeen({ bars, axis, bar }, { from }) {
  if (axis === TIME) return bars.time.findIndex((time) => time + bar > from);
  return bars.index.findIndex((index, i) => index + bars.count[i] > from);
}
