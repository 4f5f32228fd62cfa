// A long list of which only the rows in sight are there, so that ten thousand scroll as quickly as ten.

import { Rows } from "./rows.js";

const FEW = 100; // so many are simply there
const MARGIN = 20; // rows above and below those in sight

export class Scrolled {
  /**
   * `body` holds the rows that are there, `make` makes them (see Rows). `frame()` says where the first row of all lies
   * and between which heights rows are in sight; `pad(above, below)` keeps the room of those that are not there, and
   * `mark(node, i)` tells a screen reader which of all a row is. `onSight` is called when others came into sight.
   */
  constructor(body, make, { frame, pad, mark, onSight }) {
    Object.assign(this, { body, frame, pad, mark, onSight });
    this.rows = new Rows(body, make);
    this.keys = [];
    this.inSight = [];
    this.due = 0;
    addEventListener("scroll", () => this.#later(), { capture: true, passive: true });
    addEventListener("resize", () => this.#later());
  }

  /** Show these, in this order. */
  update(keys) {
    this.keys = keys;
    this.#place();
  }

  get(key) {
    return this.rows.rows.get(key);
  }

  #later() {
    this.due ||= requestAnimationFrame(() => {
      this.due = 0;
      if (this.keys.length > FEW && this.#place()) this.onSight();
    });
  }

  /** Make the rows that are in sight, and those next to them; say whether they are others than before. */
  #place() {
    const [first, last, top, bottom] = this.#range();
    const before = this.inSight[0];
    this.inSight = this.keys.slice(top, bottom);
    const keys = this.keys.slice(first, last);
    const others = before !== this.inSight[0] || keys.some((key) => !this.rows.rows.has(key));
    this.rows.update(keys);
    this.pad(first * this.pitch, (this.keys.length - last) * this.pitch);
    keys.forEach((key, i) => this.mark(this.get(key).node, first + i, this.keys.length));
    return others;
  }

  #range() {
    const all = this.keys.length;
    const [one, two] = this.body.children;
    this.pitch = two ? two.offsetTop - one.offsetTop : 0;
    if (all <= FEW || !this.pitch) return [0, Math.min(all, FEW), 0, Math.min(all, FEW)];
    const { start, from, to } = this.frame();
    const within = (row) => Math.min(Math.max(row, 0), all);
    const top = within(Math.floor((from - start) / this.pitch));
    const bottom = within(Math.ceil((to - start) / this.pitch));
    return [within(top - MARGIN), within(bottom + MARGIN), top, bottom];
  }
}
