// Groups of symbols that one has made: kept in this browser. The star of a row puts it into the group that is chosen.

import { $, el, toast } from "./dom.js";

const KEY = "hft-mmap.groups";
const FIRST = "Watchlist"; // there is always one

export class Groups {
  /** `onChange()` is called when another group is chosen, others are in it, or it is shown alone. */
  constructor(onChange) {
    Object.assign(this, { onChange, all: new Map(), chosen: FIRST, alone: false });
    try {
      const { groups, chosen, alone } = JSON.parse(localStorage.getItem(KEY) ?? "{}");
      this.all = new Map(Object.entries(groups ?? {}).map(([name, symbols]) => [name, new Set(symbols)]));
      if (this.all.has(chosen)) Object.assign(this, { chosen, alone: alone === true });
    } catch { /* nothing is kept, or nothing of ours */ }
    if (!this.all.size) this.all.set(FIRST, new Set());
    if (!this.all.has(this.chosen)) [this.chosen] = this.all.keys();
    $("group").addEventListener("change", (event) => this.#set({ chosen: event.target.value }));
    $("group-only").addEventListener("click", () => this.#set({ alone: !this.alone }));
    $("group-remove").addEventListener("click", () => this.#remove());
    $("group-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add($("group-name").value.trim());
    });
    this.#show();
  }

  /** The symbols of the group, where it is to be shown alone; else null. */
  get only() {
    return this.alone ? this.all.get(this.chosen) : null;
  }

  has(symbol) {
    return this.all.get(this.chosen).has(symbol);
  }

  /** Put a symbol into the group, or take it out of it. */
  mark(symbol) {
    const group = this.all.get(this.chosen);
    if (!group.delete(symbol)) group.add(symbol);
    this.#set({});
  }

  #add(name) {
    if (!name) { toast("A group needs a name"); return; }
    if (!this.all.has(name)) this.all.set(name, new Set());
    $("group-name").value = "";
    this.#set({ chosen: name, alone: false });
    toast(`The stars are those of ${name} now`);
  }

  #remove() {
    this.all.delete(this.chosen);
    if (!this.all.size) this.all.set(FIRST, new Set());
    this.#set({ chosen: this.all.keys().next().value, alone: false });
  }

  #set(some) {
    Object.assign(this, some);
    const groups = Object.fromEntries([...this.all].map(([name, symbols]) => [name, [...symbols]]));
    try { localStorage.setItem(KEY, JSON.stringify({ groups, chosen: this.chosen, alone: this.alone })); } catch { /* for this page only */ }
    this.#show();
    this.onChange();
  }

  #show() {
    $("group").replaceChildren(...[...this.all].map(([name, symbols]) => el("option", { value: name }, `${name} (${symbols.size})`)));
    $("group").value = this.chosen;
    $("group-only").setAttribute("aria-pressed", String(this.alone));
  }
}
