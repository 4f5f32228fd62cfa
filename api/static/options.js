// How the chart is drawn: what one chooses above it, kept in this browser.

import { $, el } from "./dom.js";

const KEY = "hft-mmap.chart";
const SIGMAS = [0, 1, 2, 3];
const STANDARD = { style: "line", log: false, sigma: 0, vwap: false };

export class Options {
  /** `onChange()` is called when another way was chosen. */
  constructor(onChange) {
    Object.assign(this, STANDARD, { compare: [] });
    this.onChange = onChange;
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      if (["line", "candles"].includes(kept.style)) this.style = kept.style;
      if (SIGMAS.includes(kept.sigma)) this.sigma = kept.sigma;
      for (const name of ["log", "vwap"]) if (typeof kept[name] === "boolean") this[name] = kept[name];
    } catch { /* nothing is kept, or nothing of ours */ }
    $("style").addEventListener("click", () => this.set({ style: this.style === "line" ? "candles" : "line" }));
    $("log").addEventListener("click", () => this.set({ log: !this.log }));
    $("vwap").addEventListener("click", () => this.set({ vwap: !this.vwap }));
    $("sigma").append(...SIGMAS.map((k) => el("option", { value: String(k) }, k ? `± ${k} σ` : "No bands")));
    $("sigma").addEventListener("change", (event) => this.set({ sigma: Number(event.target.value) }));
    this.mark({ times: false, sizes: false, positive: true });
  }

  set(some) {
    Object.assign(this, some);
    try {
      localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(Object.keys(STANDARD).map((name) => [name, this[name]]))));
    } catch { /* for this page only */ }
    this.onChange();
  }

  /** Draw another symbol beside this one, or no more. */
  beside(symbol, wanted) {
    this.compare = wanted ? [...new Set([...this.compare, symbol])] : this.compare.filter((one) => one !== symbol);
    this.onChange();
  }

  /** Show what is chosen, and what can be, as the series has times, sizes, and prices above 0 only, or not. */
  mark({ times, sizes, positive }) {
    for (const [id, pressed] of [["style", this.style === "candles"], ["log", this.log], ["vwap", this.vwap]]) {
      $(id).setAttribute("aria-pressed", String(pressed));
    }
    $("sigma").value = String(this.sigma);
    able("vwap", sizes, "The symbol has no sizes");
    able("log", positive, "A price of 0 has no place on it");
    able("compare", times, "By time only");
    $("compared").replaceChildren(...this.compare.map((symbol, i) =>
      el("button", { type: "button", class: `other other-${(i % 5) + 1}`, "aria-label": `Do not compare with ${symbol}`, onclick: () => this.beside(symbol, false) }, `${symbol} ×`)));
  }
}

function able(id, can, why) {
  $(id).disabled = !can;
  $(id).title = can ? "" : why;
}
