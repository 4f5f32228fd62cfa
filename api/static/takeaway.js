// What can be taken away of a chart: its bars as CSV, its picture, its request as a command.

import { csv } from "./bars.js";
import { curl } from "./client.js";
import { copy, download, el } from "./dom.js";

const ABOVE = 44; // pixels for the symbol and the caption

const fileName = ({ symbol, bars, question }, suffix) => `${symbol.replace(/[^\w.-]+/g, "_")}-${bars.index[0] ?? 0}-${question.total}.${suffix}`;

export function saveCsv(shown) {
  download(fileName(shown, "csv"), new Blob([csv(shown.bars)], { type: "text/csv" }));
}

export const copyCurl = (shown) => copy(curl("bars/", shown.question.parameters));

/** Save the picture on `source` with the symbol and `caption` above it. */
export function savePng(shown, source, caption) {
  const ratio = devicePixelRatio || 1;
  const above = ABOVE * ratio;
  const canvas = el("canvas", { width: source.width, height: source.height + above });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  pen.fillStyle = style.getPropertyValue("--panel");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = style.getPropertyValue("--text");
  pen.font = `600 ${15 * ratio}px system-ui, sans-serif`;
  pen.fillText(shown.symbol, 12 * ratio, 20 * ratio);
  pen.fillStyle = style.getPropertyValue("--muted");
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.fillText(caption, 12 * ratio, 37 * ratio);
  pen.drawImage(source, 0, above);
  canvas.toBlob((blob) => download(fileName(shown, "png"), blob));
}
