// The hand on the chart. Wheel: zoom at the pointer. Shift and drag, or one finger: move. Two fingers: zoom.

import { moved, zoomed } from "./ranges.js";

const WHEEL = 1.0015;

/** Let the pointer move what `chart` shows: { range, kept, onRange, ruler }. A ruler that is on has the pointer. */
export function grasp(over, chart) {
  const fingers = new Map();
  let before = null;
  const share = (x) => {
    const box = over.getBoundingClientRect();
    return Math.min(Math.max((x - box.left) / box.width, 0), 1);
  };
  const move = (by) => chart.onRange(moved(chart.range, by * (chart.range.to - chart.range.from), chart.kept));
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? 30 : 1;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX * pixels) / over.clientWidth);
    else chart.onRange(zoomed(chart.range, WHEEL ** (event.deltaY * pixels), share(event.clientX), chart.kept));
  }, { passive: false });
  over.addEventListener("pointerdown", (event) => {
    if (chart.ruler.on) { chart.ruler.begin(event); return; }
    if (event.pointerType === "mouse" && !event.shiftKey && event.button !== 1) return;
    event.preventDefault();
    fingers.set(event.pointerId, event.clientX);
    over.setPointerCapture(event.pointerId);
    before = { range: chart.range, places: [...fingers.values()] };
  });
  over.addEventListener("pointermove", (event) => {
    if (chart.ruler.on) { chart.ruler.move(event); return; }
    if (!fingers.has(event.pointerId) || !before) return;
    fingers.set(event.pointerId, event.clientX);
    const [was, is] = [before.places, [...fingers.values()]];
    const length = before.range.to - before.range.from;
    if (is.length === 1) {
      chart.onRange(moved(before.range, ((was[0] - is[0]) / over.clientWidth) * length, chart.kept));
    } else if (is.length === 2) {
      const factor = Math.max(Math.abs(was[0] - was[1]), 10) / Math.max(Math.abs(is[0] - is[1]), 10);
      chart.onRange(zoomed(before.range, factor, share((is[0] + is[1]) / 2), chart.kept));
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    over.addEventListener(end, (event) => {
      chart.ruler.end();
      fingers.delete(event.pointerId);
      before = fingers.size ? { range: chart.range, places: [...fingers.values()] } : null;
    });
  }
}
