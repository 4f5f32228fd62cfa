// Rows that are made once; then only their changed cells are written.

/** A keyed table body: `make(key)` makes the nodes of a new row. */
export class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
  }

  update(keys) {
    const wanted = new Set(keys);
    for (const [key, parts] of this.rows) if (!wanted.has(key)) { parts.node.remove(); this.rows.delete(key); }
    keys.forEach((key, i) => {
      if (!this.rows.has(key)) this.rows.set(key, this.make(key));
      const { node } = this.rows.get(key);
      // A node that stays where it is keeps the focus.
      if (this.body.children[i] !== node) this.body.insertBefore(node, this.body.children[i] ?? null);
    });
    return this.rows;
  }
}
