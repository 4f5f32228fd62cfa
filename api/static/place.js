// What the address of the page says: which symbol, and which of its points.
//
//   ?symbol=ABC-USD                   the newest points, as many as the page opens with
//   ?symbol=ABC-USD&window=1000       the newest 1,000; window=1h for the newest hour; window=all for everything kept
//   ?symbol=ABC-USD&from=10&to=20     the points 10 to 19
//   ?symbol=ABC-USD&from=1767225600000000us&to=1767225660000000us      those of a time, in microseconds since 1970
//   &axis=points                      by points, where the page would have taken the time (axis=time: the other way)

import { POINTS, TIME, microseconds } from "./axis.js";

const AXES = { points: POINTS, time: TIME };
const number = (value) => (/^\d{1,15}$/.test(value ?? "") ? Number(value) : null);

/** Return { symbol, axis, window } or { symbol, axis, from, to }; null is what the address leaves open. */
export function read() {
  const given = new URLSearchParams(location.search);
  const symbol = given.get("symbol") || null;
  for (const [axis, value] of [["points", number], ["time", microseconds]]) {
    const [from, to] = [value(given.get("from")), value(given.get("to"))];
    if (from !== null && to !== null && from < to) return { symbol, axis, from, to };
    const window = value(given.get("window"));
    if (window) return { symbol, axis, window };
  }
  const axis = Object.hasOwn(AXES, given.get("axis") ?? "") ? given.get("axis") : null;
  return { symbol, axis, window: given.get("window") === "all" ? "all" : null };
}

/** Return the address of a symbol, as a link has it. */
export const leadsTo = (symbol) => `?${new URLSearchParams({ symbol })}`;

/** Put a place into the address: as a new step of the history, or in place of the present one. */
export function write({ symbol, axis, window, from, to }, { replace }) {
  const query = new URLSearchParams();
  if (symbol) {
    query.set("symbol", symbol);
    if (from !== undefined) {
      const unit = axis === "time" ? "us" : "";
      query.set("from", `${from}${unit}`);
      query.set("to", `${to}${unit}`);
    } else if (window && window !== "all") query.set("window", AXES[axis].inAddress(window));
    else {
      if (window) query.set("window", window);
      if (axis) query.set("axis", axis);
    }
  }
  const address = `${location.pathname}${symbol ? `?${query}` : ""}`;
  if (address === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}
