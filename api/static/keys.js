// Keys, and the page that lists them.

import { $, el, row } from "./dom.js";

const OFF = "hft-mmap.keys-off";
const MOVES = new Set(["ArrowLeft", "ArrowRight", "Home", "End"]);

/** Say whether the element that has the focus takes this key itself. */
function takes(node, key) {
  if (node.closest("select, textarea, dialog[open]") || node.matches("input:not([type=radio], [type=checkbox])")) return true;
  // Radio buttons are chosen by arrows, and what scrolls is scrolled by them.
  return MOVES.has(key) && node.closest("input, .scroll") !== null;
}

/** `bindings` are [keys, what they do, action]; a key is event.key. */
export function listen(bindings) {
  const off = el("input", { type: "checkbox", id: "keys-off" });
  try { off.checked = localStorage.getItem(OFF) === "1"; } catch { /* on */ }
  off.addEventListener("change", () => { try { localStorage.setItem(OFF, off.checked ? "1" : "0"); } catch { /* now only */ } });
  const names = { " ": "Space", ArrowLeft: "←", ArrowRight: "→" };
  const cap = (key) => el("kbd", {}, names[key] || key);
  const rows = bindings.map(([keys, what]) => row([el("span", {}, ...keys.flatMap((key) => [cap(key), " "])), what]));
  $("keys").append(
    el("h2", { id: "keys-title" }, "Keyboard"),
    el("table", {}, el("tbody", {}, ...rows)),
    el("p", {}, "In the chart: drag to zoom in, wheel to zoom, shift and drag to move."),
    el("p", {}, el("label", {}, off, " Switch single keys off")),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  $("help").addEventListener("click", () => $("keys").showModal());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || off.checked) return;
    if (takes(event.target, event.key)) return;
    const found = bindings.find(([keys]) => keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    found[2](event.key);
  });
}
