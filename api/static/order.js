// Which symbols are listed, and in which order: by what was searched for, and the column that was chosen.

export const COLUMNS = [
  ["symbol", "Symbol"], ["last", "Last"], [null, "Newest 10,000"], ["change", "Change"], ["rate", "Points a second"],
  ["age", "Last point"], ["total", "Total"], ["count", "Retained"], ["bytes", "Bytes"],
];
const UP_FIRST = new Set(["symbol", "age"]); // of the others the greatest are looked for

export class Order {
  constructor() {
    this.query = "";
    this.only = null; // those of a group
    this.key = "symbol";
    this.up = true;
  }

  /** Order by this column; by the same once more: the other way round. */
  by(key) {
    this.up = key === this.key ? !this.up : UP_FIRST.has(key);
    this.key = key;
  }

  /** Return those that were searched for, in order; what has no value comes last, either way. */
  of(infos) {
    const { key } = this;
    const query = this.query.trim().toLowerCase();
    const found = infos.filter(({ symbol }) => (!query || symbol.toLowerCase().includes(query)) && (!this.only || this.only.has(symbol)));
    const [less, more] = this.up ? [-1, 1] : [1, -1];
    return found.sort((one, other) => {
      const [a, b] = [one[key] ?? null, other[key] ?? null];
      if (a === b) return one.symbol < other.symbol ? -1 : 1;
      if (a === null || b === null) return a === null ? 1 : -1;
      return a < b ? less : more;
    });
  }
}
