// The small pictures of a list: those in sight that have new points, all in one request.

import { ask, columns } from "./client.js";
import { CHANGE_OVER } from "./feed.js";

const MOST = 60; // rows in sight
const AGAIN_MS = 5000; // none is drawn anew more often: nobody could see what has changed
const WHAT = { window: CHANGE_OVER, buckets: 60 };

export class Pictures {
  constructor(feed) {
    this.feed = feed;
    this.drawn = new Map(); // symbol: the picture and the total that it is of, and when it was drawn
  }

  /** Draw those of `list` that are due. Refused, but for a symbol that was removed just now. */
  async draw(list) {
    const now = performance.now();
    const due = list.rows.inSight.map((symbol) => this.feed.of(symbol)).filter((info) => {
      const had = this.drawn.get(info?.symbol);
      const picture = list.picture(info?.symbol);
      return info?.count && (had?.picture !== picture || (had.total !== info.total && now - had.at >= AGAIN_MS));
    }).slice(0, MOST);
    if (!due.length) return;
    const symbols = due.map(({ symbol }) => symbol);
    for (const { symbol, total } of due) this.drawn.set(symbol, { picture: list.picture(symbol), total, at: now });
    try {
      const { symbols: found, index, min, max, mean } = columns(await ask("series", { symbol: symbols, ...WHAT }), symbols);
      found.forEach((symbol, i) => list.picture(symbol)?.show({ index: index[i], min: min[i], max: max[i], mean: mean[i] }));
    } catch (error) {
      for (const symbol of symbols) this.drawn.delete(symbol);
      if (error.status !== 404) throw error; // the next list is without the one that was removed
    }
  }
}
