// What the address of the page says: which symbol, and which of its points.
//
//   ?symbol=ABC-USD                   the newest points, as many as the page opens with
//   ?symbol=ABC-USD&window=1000       the newest 1,000; window=all for everything that is kept
//   ?symbol=ABC-USD&from=10&to=20     the points 10 to 19

export const OPENS_WITH = 100_000;

const number = (value) => (/^\d{1,15}$/.test(value ?? "") ? Number(value) : null);

/** Return { symbol, window } or { symbol, from, to }; symbol is null for the overview. */
export function read() {
  const given = new URLSearchParams(location.search);
  const symbol = given.get("symbol") || null;
  const [from, to] = [number(given.get("from")), number(given.get("to"))];
  if (from !== null && to !== null && from < to) return { symbol, from, to };
  const window = given.get("window");
  return { symbol, window: window === "all" ? "all" : number(window) || OPENS_WITH };
}

/** Return the address of a symbol, as a link has it. */
export const leadsTo = (symbol) => `?${new URLSearchParams({ symbol })}`;

/** Put a place into the address: as a new step of the history, or in place of the present one. */
export function write({ symbol, window, from, to }, { replace }) {
  const query = new URLSearchParams();
  if (symbol) {
    query.set("symbol", symbol);
    if (window) query.set("window", window);
    else { query.set("from", from); query.set("to", to); }
  }
  const address = `${location.pathname}${symbol ? `?${query}` : ""}`;
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}
