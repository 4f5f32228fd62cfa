// How the prices of many symbols have changed: of those that nobody tells of, some hundreds in a request.

import { ask, columns } from "./client.js";
import { CHANGE_OVER } from "./feed.js";

const AT_ONCE = 250; // symbols of one question: their names have to fit into the head of a request

/** Ask it of `infos`, but for the symbols in `told`; `onSome()` is called as answers come. */
export async function learnChanges(feed, infos, told, onSome) {
  const left = infos.filter(({ symbol, count }) => count && !told.has(symbol)).map(({ symbol }) => symbol);
  while (left.length) {
    const some = left.splice(0, AT_ONCE);
    try {
      feed.change(columns(await ask("stats", { symbol: some, window: CHANGE_OVER, stats: "return" }), some));
    } catch (error) {
      if (error.status !== 404) throw error; // one of them was removed just now
    }
    onSome();
  }
}
