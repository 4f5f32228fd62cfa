// What is known of every series, from the answers of /symbols: with it, how fast they grow and how old they are.

import { serviceNow } from "./client.js";

const RATE_OVER_MS = 10_000;
const LEAST_MS = 400;

export class Feed {
  constructor() {
    this.infos = [];
    this.known = false; // until the first answer, nothing is
    this.samples = new Map();
  }

  /** Take an answer of /symbols. */
  take(rows) {
    const now = performance.now();
    this.known = true;
    for (const { symbol, total } of rows) {
      const before = this.samples.get(symbol) || [];
      // A total that went back is that of another series of this name.
      const kept = before.length && before.at(-1).total > total ? [] : before;
      // The newest one from before the time over which a rate is taken stays: it is where that time begins.
      const first = kept.findLastIndex((sample) => sample.at <= now - RATE_OVER_MS);
      this.samples.set(symbol, [...kept.slice(Math.max(first, 0)), { at: now, total }]);
    }
    this.infos = rows.map((row) => ({ ...row, rate: this.#rate(row.symbol) }));
    this.age();
  }

  /** Bring the ages up to now. */
  age() {
    for (const info of this.infos) info.age = info.appended_at === null ? null : Math.max(serviceNow() - info.appended_at, 0);
  }

  of(symbol) {
    return this.infos.find((info) => info.symbol === symbol);
  }

  #rate(symbol) {
    const samples = this.samples.get(symbol);
    const [first, last] = [samples[0], samples.at(-1)];
    return last.at - first.at < LEAST_MS ? null : ((last.total - first.total) * 1000) / (last.at - first.at);
  }
}
