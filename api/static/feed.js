// What is known of every series, from the answers of /symbols: with it, how fast they grow and how old they are.

import { serviceNow } from "./client.js";

const RATE_OVER_MS = 10_000;

export class Feed {
  constructor() {
    this.infos = [];
    this.samples = new Map();
  }

  /** Take an answer of /symbols. */
  take(rows) {
    const now = performance.now();
    for (const { symbol, total } of rows) {
      const kept = (this.samples.get(symbol) || []).filter((sample) => sample.at > now - RATE_OVER_MS);
      this.samples.set(symbol, [...kept, { at: now, total }]);
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
    return last.at - first.at < 400 ? null : ((last.total - first.total) * 1000) / (last.at - first.at);
  }
}
