// The dashboard: what is asked when, and who shows it.

import { Chart } from "./chart.js";
import { Refused, ROOT, ask, curl, quoted, token } from "./client.js";
import { $, copy, download, el, header, row, text, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { ago, bytes, decimals, price, short, span, ticks, whole } from "./format.js";
import { listen } from "./keys.js";
import { Overview, Watch, Windows, drawSpark, flash } from "./lists.js";
import { Navigator } from "./navigator.js";
import * as place from "./place.js";
import { barSize, moved, within, zoomed } from "./ranges.js";

const PRESETS = [10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, "all"];
const DEBOUNCE_MS = 70;
const RETRY_S = 2;
const PICTURES_A_TICK = 12;
const REFRESH = "hft-mmap.refresh";

const feed = new Feed();
let at = place.read(); // what the address says
let shown = null; // the newest answer of /series, and what was asked
let stats = null;
let everyS = Number(recall(REFRESH) ?? 1);
let timer;
let asking = null; // aborts the request of /series that is under way
let pause;
let navigatorOf = { symbol: null, total: -1, at: 0 };
let nextPicture = 0;
const pictures = new Map(); // symbol: the total its small picture is of

const chart = new Chart($("plot"), { onRange: look, onBar: readOut });
const navigator_ = new Navigator($("navigator"), look);
const overview = new Overview((symbol) => open(symbol));
const watch = new Watch((symbol) => open(symbol));
const windows = new Windows((window) => follow(window));

function recall(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

// -- what is shown: a range of the series --------------------------------------------------------------------------

function kept() {
  const info = feed.of(at.symbol);
  return { from: info.start, to: info.total };
}

function range() {
  const all = kept();
  if (!at.window) return within(at, all);
  return at.window === "all" ? all : { from: Math.max(all.to - at.window, all.from), to: all.to };
}

/** Go to another place: symbol, window or range. */
function go(next, { replace = false } = {}) {
  if (next.symbol !== at.symbol) {
    clearTimeout(pause);
    asking?.abort();
  }
  at = next;
  place.write(at, { replace });
  render().catch((error) => {
    if (!(error instanceof Refused)) throw error;
    showFailure(error);
  });
}

function open(symbol) {
  const { window } = at;
  go({ symbol, window: window || place.OPENS_WITH });
  $("main").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

function follow(window) {
  go({ symbol: at.symbol, window });
}

/** Show another range; one that reaches the newest point follows it. */
function look(next) {
  const all = kept();
  const length = next.to - next.from;
  const live = next.to >= all.to;
  if (live && length >= all.to - all.from) at = { symbol: at.symbol, window: "all" };
  else at = live ? { symbol: at.symbol, window: length } : { symbol: at.symbol, ...next };
  place.write(at, { replace: true });
  chart.look(next, all);
  navigator_.look(next, all);
  marks();
  clearTimeout(pause);
  pause = setTimeout(draw, DEBOUNCE_MS);
}

const zoom = (factor) => look(zoomed(range(), factor, at.window ? 1 : 0.5, kept()));
const pan = (share) => look(moved(range(), share * (range().to - range().from), kept()));

// -- asking --------------------------------------------------------------------------------------------------------

/** Ask everything that the page shows, once. */
async function tick() {
  clearTimeout(timer);
  let failed = null;
  try {
    const [rows, health] = await Promise.all([ask("symbols"), ask("ready").catch(reasons)]);
    showHealth(health);
    feed.take(rows.symbols);
    await render();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failed = error;
  }
  showFailure(failed);
  schedule(failed);
}

function reasons(error) {
  if (error.status === 503 && error.problem.reasons) return error.problem;
  throw error;
}

function schedule(failed) {
  clearTimeout(timer);
  if (document.hidden || failed?.status === 401 || failed?.status === 403) return;
  if (everyS) timer = setTimeout(tick, 1000 * (failed ? Math.max(everyS, RETRY_S) : everyS));
}

/** Ask for the bars of the present range. An answer that comes too late is dropped. */
async function draw() {
  const info = feed.of(at.symbol);
  if (!info?.count) return;
  const wanted = range();
  const size = barSize(wanted, chart.most);
  const question = { symbol: at.symbol, from: wanted.from, to: wanted.to, size };
  const key = JSON.stringify(question);
  // A refresh while the answer is still under way must not begin anew, or a slow network would never get any.
  if (asking?.key === key) return;
  if (shown && JSON.stringify(shown.question) === key) {
    chart.show(shown.answer, wanted, kept(), shown.digits);
    return;
  }
  asking?.abort();
  const mine = Object.assign(new AbortController(), { key });
  asking = mine;
  try {
    const answer = await ask("series", question, mine.signal);
    if (asking !== mine || question.symbol !== at.symbol) return;
    const digits = ticks(at.symbol, ...answer.first);
    const fine = decimals(answer.last.at(-1) ?? 0, Math.max(...answer.max) - Math.min(...answer.min));
    shown = { question, answer, digits, fine, size };
    chart.show(answer, wanted, kept(), digits);
    captions();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    showFailure(error);
  } finally {
    if (asking === mine) asking = null;
  }
}

async function drawNavigator() {
  const info = feed.of(at.symbol);
  const stale = performance.now() - navigatorOf.at > 5000 && navigatorOf.total !== info.total;
  if (navigatorOf.symbol === info.symbol && !stale) return;
  navigatorOf = { symbol: info.symbol, total: info.total, at: performance.now() };
  const answer = await ask("series", { symbol: info.symbol, buckets: 300 });
  if (info.symbol === at.symbol) navigator_.show(answer);
}

async function drawPictures() {
  const list = at.symbol ? watch : overview;
  if (at.symbol && !$("watch").offsetWidth) return;
  const due = feed.infos.filter((info) => info.count && pictures.get(info.symbol) !== `${list === watch}${info.total}`);
  const turn = due.slice(nextPicture % Math.max(due.length, 1)).concat(due).slice(0, Math.min(due.length, PICTURES_A_TICK));
  nextPicture += turn.length;
  await Promise.all(turn.map(async ({ symbol, total }) => {
    const series = await ask("series", { symbol, window: 10_000, buckets: 60 });
    const canvas = list.picture(symbol);
    if (canvas) drawSpark(canvas, series);
    pictures.set(symbol, `${list === watch}${total}`);
  }));
}

// -- showing -------------------------------------------------------------------------------------------------------

async function render() {
  $("loading").hidden = true;
  const info = feed.of(at.symbol);
  const empty = !feed.infos.length;
  $("overview").hidden = empty || at.symbol !== null;
  $("detail").hidden = !info;
  $("watch").hidden = !info;
  document.title = at.symbol ? `${at.symbol} · hft-mmap` : "hft-mmap";
  if (empty && !at.symbol) showEmpty();
  else if (at.symbol && !info) showUnknown();
  else $("message").hidden = true;
  overview.update(feed.infos);
  watch.update(feed.infos, at.symbol);
  if (!info) {
    chart.clear();
    shown = null;
    stats = null;
    await drawPictures();
    return;
  }
  if (shown && shown.question.symbol !== at.symbol) { shown = null; stats = null; chart.clear(); }
  facts();
  pick();
  marks();
  navigator_.look(range(), kept());
  const [answer] = await Promise.all([ask("stats", { symbol: info.symbol }), draw(), drawNavigator(), drawPictures()]);
  if (answer.symbol !== at.symbol) return;
  stats = answer;
  windows.update(stats);
  facts();
}

function facts() {
  const info = feed.of(at.symbol);
  if (!info) return;
  const digits = ticks(info.symbol, info.last);
  text($("symbol"), info.symbol);
  const last = $("last");
  const before = Number(last.dataset.value);
  if (info.last !== null && last.dataset.symbol === info.symbol && before !== info.last) {
    flash(last, info.last > before ? "up" : "down");
  }
  Object.assign(last.dataset, { value: String(info.last), symbol: info.symbol });
  text(last, price(info.last, digits));
  change(digits);
  const values = [
    ["Total", whole(info.total), "points ever appended"],
    ["Retained", whole(info.count), `from index ${whole(info.start)}`],
    ["Ingest", info.rate === null ? "–" : `${short(info.rate)}/s`, "points a second"],
    ["On disk", bytes(info.bytes), info.count >= 1e5 ? `${(info.bytes / info.count).toFixed(2)} bytes a point` : ""],
    ["Last point", info.age === null ? "–" : ago(info.age),
      info.age === null ? "" : new Date(info.appended_at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
  ];
  const list = $("facts");
  if (list.children.length !== values.length) {
    list.replaceChildren(...values.map(([name]) => el("div", {}, el("dt", {}, name), el("dd", {}), el("dd", { class: "more" }))));
  }
  values.forEach(([, value, more], i) => {
    text(list.children[i].children[1], value);
    text(list.children[i].children[2], more);
  });
  list.lastChild.classList.toggle("old", info.age !== null && info.age > 60);
}

/** Show how the newest price stands to the first one of the chart. */
function change(digits) {
  const node = $("change");
  const first = shown?.answer.first[0];
  const last = feed.of(at.symbol).last;
  if (first === undefined || last === null || !at.window) { text(node, ""); return; }
  const points = last - first;
  const share = first > 0 ? ` (${points >= 0 ? "+" : "−"}${Math.abs((points / first) * 100).toFixed(2)} %)` : "";
  text(node, `${points >= 0 ? "▲ +" : "▼ −"}${price(Math.abs(points), digits)}${share}`);
  node.className = points >= 0 ? "gain" : "loss";
}

function pick() {
  const picker = $("picker");
  const names = feed.infos.map((info) => info.symbol);
  if (picker.children.length !== names.length || names.some((name, i) => picker.children[i].value !== name)) {
    picker.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  }
  picker.value = at.symbol;
}

/** Mark what is chosen: the window, and whether the chart follows the newest point. */
function marks() {
  for (const button of $("presets").children) {
    const chosen = String(at.window) === button.dataset.window;
    button.setAttribute("aria-pressed", String(chosen));
  }
  $("live").setAttribute("aria-pressed", String(Boolean(at.window)));
  const { from, to } = range();
  const bar = barSize({ from, to }, chart.most);
  text($("caption"), `Points ${whole(from)} to ${whole(to - 1)} · ${whole(to - from)} points · ${
    bar === 1 ? "every point" : `${whole(bar)} points a bar, with min, max and mean of all of them`}`);
}

/** Say in words what the chart shows. */
function captions() {
  const { answer, digits } = shown;
  const [low, high] = [Math.min(...answer.min), Math.max(...answer.max)];
  $("plot").setAttribute("aria-label", `${at.symbol}, points ${whole(answer.from)} to ${whole(answer.to - 1)}: first ${
    price(answer.first[0], digits)}, last ${price(answer.last.at(-1), digits)}, least ${price(low, digits)}, greatest ${price(high, digits)}`);
  $("plot").dataset.from = answer.from;
  $("plot").dataset.to = answer.to;
  $("plot").dataset.size = shown.size;
  if (!$("table").hidden) fillTable();
  readOut(null);
  change(digits);
}

/** Show the numbers of bar `i`, or of all bars. */
function readOut(i) {
  if (!shown || !shown.answer.index.length) return;
  const { answer, digits, fine } = shown;
  const p = (value) => price(value, digits);
  const bar = i === null ? null : bars()[i];
  const parts = bar
    ? [bar.points === 1 ? `Point ${whole(bar.index)}` : `Points ${whole(bar.index)} – ${whole(bar.index + bar.points - 1)}`,
      ...(bar.points === 1 ? [["Price", p(bar.mean)]]
        : [["First", p(bar.first)], ["Last", p(bar.last)], ["Min", p(bar.min)], ["Max", p(bar.max)], ["Mean", price(bar.mean, fine)]])]
    : ["In view", ["First", p(answer.first[0])], ["Last", p(answer.last.at(-1))],
      ["Min", p(Math.min(...answer.min))], ["Max", p(Math.max(...answer.max))]];
  $("readout").replaceChildren(...parts.map((part) =>
    (typeof part === "string" ? el("span", { class: "where" }, part) : el("span", {}, `${part[0]} `, el("b", {}, part[1])))));
}

function bars() {
  const { answer } = shown;
  const { index, first, last, min, max, mean, to } = answer;
  return index.map((start, i) => ({
    index: start, points: (index[i + 1] ?? to) - start, first: first[i], last: last[i], min: min[i], max: max[i], mean: mean[i],
  }));
}

const BAR_COLUMNS = ["index", "points", "first", "last", "min", "max", "mean"];

function fillTable() {
  const rows = bars().map((bar) => row(BAR_COLUMNS.map((name, i) =>
    (i < 2 ? whole(bar[name]) : price(bar[name], name === "mean" ? shown.fine : shown.digits))), 1));
  $("table").replaceChildren(el("table", { class: "numbers" }, el("caption", {}, `${at.symbol}, oldest first`),
    header(BAR_COLUMNS), el("tbody", {}, ...rows)));
}

// -- states --------------------------------------------------------------------------------------------------------

function message(title, ...content) {
  $("message").hidden = false;
  // Built anew only where it differs, so that a selection in it survives.
  if ($("message").dataset.title === title) return;
  $("message").dataset.title = title;
  $("message").replaceChildren(el("h1", {}, title), ...content);
}

function showEmpty() {
  const body = '{"symbol":"ABC-USD","values":[150.1,150.5,151.0,149.8,150.2]}';
  const authorization = token.get() ? `\n  -H "Authorization: Bearer $TOKEN" \\` : "";
  const command = `curl -s ${new URL("add_batch/", ROOT)} \\${authorization}\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
  message("No symbols yet",
    el("p", {}, "The first batch of a symbol creates its series. This appends five prices to one:"),
    el("pre", { tabindex: "0" }, command),
    el("p", {}, el("button", { type: "button", onclick: () => copy(command) }, "Copy"), " and this page shows them as soon as they are there."));
}

function showUnknown() {
  message(`Symbol not found: ${at.symbol}`,
    el("p", {}, feed.infos.length ? "There is no series of this name. Those there are:" : "There is no series at all yet."),
    el("ul", {}, ...feed.infos.map(({ symbol }) =>
      el("li", {}, el("a", { href: "#", onclick: (event) => { event.preventDefault(); open(symbol); } }, symbol)))),
    el("p", {}, el("a", { href: "./" }, "All symbols")));
}

function showHealth(health) {
  const ready = health.status === "ready";
  // Without a token that may read, the service says that it is not ready, and not why.
  const found = ready || health.reasons.length ? health.reasons ?? [] : [{ symbol: null, code: "not_ready", detail: health.detail }];
  $("health").className = `health ${found.length ? "warn" : "good"}`;
  text($("health-text"), found.length ? `Not ready: ${found.length} reason${found.length > 1 ? "s" : ""}` : "Ready");
  $("reasons").replaceChildren(found.length
    ? el("ul", {}, ...found.map(({ symbol, code, detail }) =>
      el("li", {}, el("b", {}, `${symbol ?? "store"}: ${code.replaceAll("_", " ")}`), el("p", {}, detail))))
    : el("p", {}, "Every series serves reads and takes writes."));
}

function showFailure(error) {
  const notice = $("notice");
  document.body.classList.toggle("stale", Boolean(error));
  if (!error) {
    notice.hidden = true;
    notice.dataset.kind = "";
    return;
  }
  if (error.status === 401 || error.status === 403) { showToken(error); return; }
  if (error.status === 404) { notice.hidden = true; showUnknown(); return; }
  if (error.status === 0) {
    $("health").className = "health bad";
    text($("health-text"), "Unreachable");
  }
  const retry = everyS ? ` It is asked again every ${Math.max(everyS, RETRY_S)} s; what you see is what it said last.` : "";
  notice.dataset.kind = "failure";
  notice.hidden = false;
  $("loading").hidden = true;
  notice.replaceChildren(el("p", {}, `${error.message}.${retry}`), el("button", { type: "button", onclick: tick }, "Ask now"));
}

function showToken(error) {
  const notice = $("notice");
  $("loading").hidden = true;
  $("health").className = "health bad";
  text($("health-text"), "Token needed");
  notice.hidden = false;
  if (notice.dataset.kind === "token") { text($("token-why"), error.message); return; }
  notice.dataset.kind = "token";
  const input = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true });
  const form = el("form", { class: "token" }, el("h1", {}, "This service wants a token"),
    el("p", { id: "token-why" }, error.message),
    el("label", { for: "token" }, "Token"), input, el("button", {}, "Use"),
    el("p", { class: "more" }, "Kept until this tab is closed, and sent to this service only."));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    input.value = "";
    tick();
  });
  notice.replaceChildren(form);
  input.focus();
}

// -- what can be taken away ----------------------------------------------------------------------------------------

const fileName = (suffix) => `${at.symbol.replace(/[^\w.-]+/g, "_")}-${shown.answer.from}-${shown.answer.to}.${suffix}`;

function saveCsv() {
  if (!shown) return;
  const lines = bars().map((bar) => BAR_COLUMNS.map((name) => bar[name]).join(","));
  download(fileName("csv"), new Blob([`${BAR_COLUMNS.join(",")}\n${lines.join("\n")}\n`], { type: "text/csv" }));
}

function savePng() {
  if (!chart.canvas) return;
  const source = chart.canvas;
  const ratio = devicePixelRatio || 1;
  const above = 44 * ratio;
  const canvas = el("canvas", { width: source.width, height: source.height + above });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  pen.fillStyle = style.getPropertyValue("--panel");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = style.getPropertyValue("--text");
  pen.font = `600 ${15 * ratio}px system-ui, sans-serif`;
  pen.fillText(at.symbol, 12 * ratio, 20 * ratio);
  pen.fillStyle = style.getPropertyValue("--muted");
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.fillText($("caption").textContent, 12 * ratio, 37 * ratio);
  pen.drawImage(source, 0, above);
  canvas.toBlob((blob) => download(fileName("png"), blob));
}

const copyCurl = () => {
  if (shown) copy(curl("series/", shown.question));
};

function toggleTable() {
  const table = $("table");
  table.hidden = !table.hidden;
  $("table-toggle").setAttribute("aria-expanded", String(!table.hidden));
  if (shown && !table.hidden) fillTable();
}

// -- hands ---------------------------------------------------------------------------------------------------------

function refresh(seconds) {
  everyS = seconds;
  try { localStorage.setItem(REFRESH, String(seconds)); } catch { /* for this page only */ }
  for (const input of $("refresh").querySelectorAll("input")) input.checked = Number(input.value) === seconds;
  if (seconds) tick(); else schedule(null);
}

function step(by) {
  const names = feed.infos.map((info) => info.symbol);
  if (names.length) open(names[(names.indexOf(at.symbol) + by + names.length) % names.length]);
}

const inDetail = (action) => (key) => {
  if (!$("detail").hidden) action(key);
};

$("presets").append(...PRESETS.map((window) =>
  el("button", { type: "button", "data-window": String(window), "aria-pressed": "false", onclick: () => follow(window) },
    window === "all" ? "All" : span(window))));
$("zoom-in").addEventListener("click", () => zoom(0.5));
$("zoom-out").addEventListener("click", () => zoom(2));
$("live").addEventListener("click", () => follow(range().to - range().from));
$("copy").addEventListener("click", copyCurl);
$("csv").addEventListener("click", saveCsv);
$("png").addEventListener("click", savePng);
$("table-toggle").addEventListener("click", toggleTable);
$("picker").addEventListener("change", (event) => open(event.target.value));
$("home").addEventListener("click", (event) => { event.preventDefault(); go({ symbol: null, window: place.OPENS_WITH }); });
$("health").addEventListener("click", () => {
  const hidden = !$("reasons").hidden;
  $("reasons").hidden = hidden;
  $("health").setAttribute("aria-expanded", String(!hidden));
});
for (const input of $("refresh").querySelectorAll("input")) {
  input.checked = Number(input.value) === everyS;
  input.addEventListener("change", () => refresh(Number(input.value)));
}
listen([
  [["?"], "This list", () => $("keys").showModal()],
  [["1", "2", "3", "4", "5", "6", "7", "8"], "The newest 10 … 100,000,000 points", inDetail((key) => follow(10 ** Number(key)))],
  [["0"], "All points", inDetail(() => follow("all"))],
  [["+", "="], "Zoom in", inDetail(() => zoom(0.5))],
  [["-"], "Zoom out", inDetail(() => zoom(2))],
  [["ArrowLeft"], "Move to older points", inDetail(() => pan(-0.25))],
  [["ArrowRight"], "Move to newer points", inDetail(() => pan(0.25))],
  [["Home"], "Move to the oldest points", inDetail(() => look(within({ from: 0, to: range().to - range().from }, kept())))],
  [["End", "l"], "Follow the newest points", inDetail(() => follow(range().to - range().from))],
  [["]", "j"], "Next symbol", () => step(1)],
  [["[", "k"], "Previous symbol", () => step(-1)],
  [["o"], "All symbols", () => go({ symbol: null, window: place.OPENS_WITH })],
  [["r"], "Refresh: off, 1 s, 5 s, 10 s", () => {
    const steps = [0, 1, 5, 10];
    refresh(steps[(steps.indexOf(everyS) + 1) % steps.length]);
    toast(everyS ? `Refresh every ${everyS} s` : "Refresh off");
  }],
  [["t"], "Theme", () => $("theme").click()],
  [["c"], "Copy as curl", inDetail(copyCurl)],
  [["d"], "Download CSV", inDetail(saveCsv)],
  [["p"], "Download PNG", inDetail(savePng)],
  [["v"], "Show the table", inDetail(toggleTable)],
]);
addEventListener("popstate", () => { at = place.read(); tick(); });
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : tick()));
setInterval(() => { if (!document.hidden && everyS && feed.infos.length) { feed.age(); overview.update(feed.infos); facts(); } }, 250);
tick();
