// What is known of every series, from the answers of /symbols and from events: with it, how fast they grow, how old they are.

import { serviceNow } from "./client.js";

const RATE_OVER_MS = 10_000;
const LEAST_MS = 400;

export const PAGE = 500; // rows of one answer of /symbols
export const CHANGE_OVER = 10_000; // newest points over which a change is told, as the small picture shows them

export class Feed {
  constructor() {
    this.known = new Map(); // symbol: its row
    this.complete = false; // whether every symbol was in an answer already
    this.told = null; // whose numbers change by events alone: the symbol with its chart, all of whose numbers have one moment
    this.after = null; // the last symbol of the page before; null: the next page is the first
    this.seen = new Set(); // in this pass through all pages
    this.samples = new Map();
  }

  get infos() {
    return [...this.known.values()];
  }

  /** What to ask /symbols next. */
  question() {
    return this.after === null ? { limit: PAGE } : { limit: PAGE, after: this.after };
  }

  /** Take an answer to that. At the end of all pages, what was on none of them is gone. */
  take({ symbols, next }) {
    for (const row of symbols) {
      this.seen.add(row.symbol);
      const had = this.known.get(row.symbol);
      if (row.symbol === this.told && row.total >= had?.total) had.bytes = row.bytes; // an event tells of the rest
      else this.note(row.symbol, row);
    }
    this.after = next ?? null;
    if (this.after === null) {
      for (const symbol of this.known.keys()) if (!this.seen.has(symbol)) this.note(symbol, undefined);
      this.seen.clear();
      this.complete = true;
    }
    this.age();
  }

  /** Take the newest row of one symbol, or that there is none. */
  note(symbol, row) {
    if (!row) {
      for (const map of [this.known, this.samples]) map.delete(symbol);
      return;
    }
    const now = performance.now();
    const before = this.samples.get(symbol) || [];
    // A total that went back is that of another series of this name.
    const same = !before.length || before.at(-1).total <= row.total;
    const kept = same ? before : [];
    // The newest one from before the time over which a rate is taken stays: it is where that time begins.
    const begin = kept.findLastIndex((sample) => sample.at <= now - RATE_OVER_MS);
    this.samples.set(symbol, [...kept.slice(Math.max(begin, 0)), { at: now, total: row.total }]);
    const had = this.known.get(symbol) ?? { change: null };
    this.known.set(symbol, Object.assign(had, row, { rate: this.#rate(symbol) }));
  }

  /** Take an event: how a series stands at one moment. */
  hear(event) {
    const had = this.known.get(event.symbol);
    if (!had || !event.count) return;
    const [window] = Object.values(event.windows);
    const change = event.windows[CHANGE_OVER]?.return ?? null;
    const grew = event.total > had.total;
    this.note(event.symbol, {
      total: event.total, count: event.count, start: event.total - event.count, last: window.last, change,
      time: event.time === undefined ? null : Math.floor(event.time / 1000), appended_at: grew ? serviceNow() : had.appended_at,
    });
    this.age();
  }

  /** Take an answer of /stats for many symbols: how their prices have changed. */
  change({ symbols, return: found }) {
    symbols.forEach((symbol, i) => { if (this.known.has(symbol)) this.known.get(symbol).change = found[i]; });
  }

  /** Bring the ages up to now. */
  age() {
    for (const info of this.known.values()) info.age = info.appended_at === null ? null : Math.max(serviceNow() - info.appended_at, 0);
  }

  of(symbol) {
    return this.known.get(symbol);
  }

  #rate(symbol) {
    const samples = this.samples.get(symbol);
    const [first, last] = [samples[0], samples.at(-1)];
    return last.at - first.at < LEAST_MS ? null : ((last.total - first.total) * 1000) / (last.at - first.at);
  }
}
