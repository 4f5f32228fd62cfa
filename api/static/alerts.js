// Alerts of this page: a price at or above a bound, at or below one, or so many sigma away from the mean.

import { ask } from "./client.js";
import { $, el, link, text, toast } from "./dom.js";
import { CHANGE_OVER } from "./feed.js";
import { price, ticks } from "./format.js";
import { leadsTo } from "./place.js";

const KEY = "hft-mmap.alerts";
const SAYS = { above: "≥", below: "≤", sigma: "± σ" };

export class Alerts {
  /** `symbol()` is the one that a new alert is for; `onChange()` is called when others are to be listened to. */
  constructor({ symbol, onOpen, onChange, onFail }) {
    Object.assign(this, { onOpen, onChange, onFail, all: [] });
    try {
      this.all = JSON.parse(localStorage.getItem(KEY) ?? "[]").filter((one) => typeof one.symbol === "string" && Object.hasOwn(SAYS, one.kind) && one.bound >= 0);
    } catch { /* nothing is kept, or nothing of ours */ }
    $("alert-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const bound = Number($("alert-bound").value);
      if (!symbol() || !$("alert-bound").value.trim() || !(bound >= 0) || !Number.isFinite(bound)) { toast("An alert needs a number from 0"); return; }
      this.#set([...this.all, { symbol: symbol(), kind: $("alert-kind").value, bound, told: "" }]);
      $("alert-bound").value = "";
    });
    this.#show();
  }

  get symbols() {
    return [...new Set(this.all.filter(({ told }) => !told).map(({ symbol }) => symbol))];
  }

  #set(all) {
    this.all = all;
    try { localStorage.setItem(KEY, JSON.stringify(all.map(({ symbol, kind, bound, told }) => ({ symbol, kind, bound, told })))); } catch { /* for this page only */ }
    this.#show();
    this.onChange();
  }

  #show() {
    const armed = this.all.some(({ told }) => told);
    $("alerts").replaceChildren(...this.all.map((one) => el("li", { class: one.told ? "told" : null },
      link({ href: leadsTo(one.symbol) }, () => this.onOpen(one.symbol), one.symbol),
      el("span", {}, one.kind === "sigma" ? `${one.bound} σ from the mean` : `${SAYS[one.kind]} ${price(one.bound, ticks(one.symbol, one.bound))}`),
      el("span", { class: "news" }, one.told || "waits"),
      ...(one.told ? [el("button", { type: "button", "aria-label": `Set the alert of ${one.symbol} again`, onclick: () => this.#again(one) }, "Again")] : []),
      el("button", { type: "button", "aria-label": `Remove the alert of ${one.symbol}`, onclick: () => this.#set(this.all.filter((other) => other !== one)) }, "×"))));
    $("alerts-title").classList.toggle("told", armed);
  }

  #again(one) {
    this.#set(this.all.map((other) => (other === one ? { ...one, told: "", seen: undefined } : other)));
  }

  /** Take an event. An alert is of the points that come after it was set, and tells of the first of them that meets it. */
  hear(event) {
    for (const one of this.all) {
      if (one.told || one.symbol !== event.symbol || !event.count) continue;
      const seen = one.seen ?? event.total;
      one.seen = event.total;
      if (event.total > seen) this.#look(one, event, seen).catch(this.onFail);
    }
  }

  async #look(one, event, seen) {
    const { symbol, kind, bound } = one;
    if (kind === "sigma") {
      const { last, avg, var: variance } = event.windows[CHANGE_OVER];
      const score = Math.abs(last - avg) / Math.sqrt(variance);
      if (variance > 0 && score >= bound) this.#tell(one, `${price(last, ticks(symbol, last))}, ${score.toFixed(2)} σ from the mean`);
      return;
    }
    // The window that holds all new points, and older ones perhaps: where it does not reach the bound, none of them does.
    const [, window] = Object.entries(event.windows).find(([points]) => Number(points) >= event.total - seen) ?? [];
    if (window && (kind === "above" ? window.max < bound : window.min > bound)) return;
    const found = await ask("first", { symbol, after: seen - 1, until: event.total, [kind]: bound });
    if (found.index !== null) this.#tell(one, `${price(found.value, ticks(symbol, found.value))} at point ${found.index.toLocaleString("en")}`);
  }

  #tell(one, what) {
    if (!this.all.includes(one) || one.told) return;
    one.told = what;
    this.#set([...this.all]);
    toast(`${one.symbol}: ${what}`);
    text($("alert-news"), `Alert: ${one.symbol} ${what}`);
  }
}
