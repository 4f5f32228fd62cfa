// The dashboard: what is asked when, and who shows it.

import { BarTable, bars, csv } from "./bars.js";
import { Chart } from "./chart.js";
import { ROOT, Refused, ask, curl, quoted, token } from "./client.js";
import { $, copy, download, el, link, plainly, text, toast } from "./dom.js";
import { Feed, PAGE } from "./feed.js";
import { ago, bytes, decimals, price, short, span, ticks, whole } from "./format.js";
import { listen } from "./keys.js";
import { Overview, Watch, Windows, flash } from "./lists.js";
import { Navigator } from "./navigator.js";
import { message, showFailure, showHealth } from "./notices.js";
import { Order } from "./order.js";
import * as place from "./place.js";
import { barSize, moved, within, zoomed } from "./ranges.js";

const PRESETS = [10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, "all"];
const DEBOUNCE_MS = 70;
const RETRY_S = 2;
const MOST_CHOICES = 500; // symbols to choose from in a menu; more are found by a search
const PICTURES_A_TICK = 12;
const IN_SIGHT = 60; // rows that are asked for one by one
const PICTURE_MS = 5000; // a small picture is not drawn anew more often: nobody could see what has changed
const REFRESH = "hft-mmap.refresh";

const feed = new Feed();
let at = place.read(); // what the address says
let symbolShown = null; // whose numbers are on the page
let shown = null; // the newest answer of /series, and what was asked
let told = ""; // the place that a screen reader was last told of
let everyS = Number(recall(REFRESH) ?? 1);
let timer;
let turn = 0; // of ticks; only the newest goes on
let asking = null; // aborts the request of /series that is under way
let pause;
let navigatorAsks = null;
let navigatorOf = { symbol: null, total: -1, at: 0 };
let nextPicture = 0;
const pictures = new Map(); // symbol: the list and the total that its small picture is of, and when it was drawn

const chart = new Chart($("plot"), { onRange: look, onBar: readOut });
const table = new BarTable($("table"));
const navigator_ = new Navigator($("navigator"), look);
const order = new Order();
const lists = { onOpen: (symbol) => open(symbol), onOrder: () => list(), onSight: () => drawPictures().catch(fail) };
const overview = new Overview(order, lists);
const watch = new Watch(lists);
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
function go(next) {
  place.write(next, { replace: false });
  arrive(next);
}

function arrive(next) {
  clearTimeout(pause);
  if (next.symbol !== at.symbol) asking?.abort();
  at = next;
  render().then(() => fail(null), fail);
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
  if (!feed.of(at.symbol)?.count) return;
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
  pause = setTimeout(() => draw().then(() => fail(null), fail), DEBOUNCE_MS);
}

const zoom = (factor) => look(zoomed(range(), factor, at.window ? 1 : 0.5, kept()));
const pan = (share) => look(moved(range(), share * (range().to - range().from), kept()));

// -- asking --------------------------------------------------------------------------------------------------------

/** Ask everything that the page shows, once. Whatever comes of it, the next time is set. */
async function tick() {
  clearTimeout(timer);
  const mine = turn += 1;
  let failed = null;
  try {
    // Both, before anything is said: a light that comes after a failure would hide it.
    const [rows, health] = await Promise.allSettled([ask("symbols", feed.question()), ask("ready").catch(reasons)]);
    if (mine !== turn) return;
    if (health.value) showHealth(health.value);
    for (const { reason } of [rows, health]) if (reason) throw reason;
    feed.take(rows.value);
    // All pages at first; from then on one at a time, and with it what is in sight.
    while (!feed.complete) {
      if (at.symbol === null) list();
      const page = await ask("symbols", feed.question());
      if (mine !== turn) return;
      feed.take(page);
    }
    await inSight(new Set(rows.value.symbols.map(({ symbol }) => symbol)));
    if (mine !== turn) return;
    await render();
  } catch (error) {
    failed = error;
  } finally {
    if (mine === turn) {
      fail(failed);
      schedule(failed);
    }
  }
}

/** Ask for the rows that are in sight and were not on the page that was `had`: of many symbols a page has few. */
async function inSight(had) {
  if (feed.known.size <= PAGE) return;
  const { rows } = at.symbol === null ? overview : watch;
  const wanted = [...new Set([at.symbol, ...rows.inSight.slice(0, IN_SIGHT)])].filter((symbol) => symbol !== null && !had.has(symbol));
  await Promise.all(wanted.map(async (symbol) => {
    // The name itself comes before those that begin with it.
    const { symbols } = await ask("symbols", { prefix: symbol, limit: 1 });
    feed.note(symbol, symbols.find((row) => row.symbol === symbol));
  }));
  feed.age();
}

function reasons(error) {
  if (error.status === 503 && Array.isArray(error.problem.reasons)) return error.problem;
  throw error;
}

/** Tell a failure, or (null) that there is none. */
function fail(error) {
  if (error && !(error instanceof Refused)) reportError(error); // a fault of this page: in the console as well
  showFailure(error, { everyS: everyS && Math.max(everyS, RETRY_S), onAgain: tick });
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
    tell();
    return;
  }
  asking?.abort();
  const mine = Object.assign(new AbortController(), { key });
  asking = mine;
  try {
    const answer = await ask("series", question, mine.signal);
    if (asking !== mine || question.symbol !== at.symbol) return;
    const { first, last, min, max } = answer;
    const digits = ticks(at.symbol, ...first, ...last, ...min, ...max);
    const fine = Math.max(digits, decimals(last.at(-1) ?? 0, Math.max(...max) - Math.min(...min)));
    shown = { question, answer, digits, fine, size };
    chart.show(answer, wanted, kept(), digits);
    captions();
    if (!performance.getEntriesByName("chart").length) performance.mark("chart");
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    if (asking === mine) asking = null;
  }
}

async function drawNavigator() {
  const { symbol, total } = feed.of(at.symbol);
  const stale = performance.now() - navigatorOf.at > 5000 && navigatorOf.total !== total;
  if (navigatorAsks === symbol || (navigatorOf.symbol === symbol && !stale)) return;
  navigatorAsks = symbol;
  try {
    const answer = await ask("series", { symbol, buckets: 300 });
    if (symbol !== at.symbol) return;
    navigator_.show(answer);
    navigatorOf = { symbol, total, at: performance.now() };
  } finally {
    if (navigatorAsks === symbol) navigatorAsks = null;
  }
}

async function drawPictures() {
  const shownIn = at.symbol ? watch : overview;
  if (at.symbol && !$("watch").offsetWidth) return;
  const now = performance.now();
  const due = shownIn.rows.inSight.map((symbol) => feed.of(symbol)).filter((info) => {
    const had = pictures.get(info?.symbol);
    const picture = shownIn.picture(info?.symbol);
    return info?.count && (had?.picture !== picture || (had.total !== info.total && now - had.at >= PICTURE_MS));
  });
  const some = due.slice(nextPicture % Math.max(due.length, 1)).concat(due).slice(0, Math.min(due.length, PICTURES_A_TICK));
  nextPicture += some.length;
  await Promise.all(some.map(async ({ symbol, total }) => {
    let series;
    try {
      series = await ask("series", { symbol, window: 10_000, buckets: 60 });
    } catch (error) {
      if (error.status === 404) return; // it was removed just now, and the next list is without it
      throw error;
    }
    const picture = shownIn.picture(symbol);
    picture?.show(series);
    pictures.set(symbol, { picture, total, at: now });
  }));
}

async function drawWindows() {
  const answer = await ask("stats", { symbol: at.symbol });
  if (answer.symbol === at.symbol) windows.update(answer);
}

// -- showing -------------------------------------------------------------------------------------------------------

/** Bring the lists of symbols up to date: the one that shows. */
function list() {
  const infos = order.of(feed.infos);
  $("loading").hidden = true;
  $("overview").hidden = !feed.known.size || at.symbol !== null;
  $("watch").hidden = !feed.of(at.symbol);
  if (at.symbol === null) overview.update(infos);
  else watch.update(infos, at.symbol);
  text($("found"), order.query.trim() ? `${whole(infos.length)} of ${whole(feed.known.size)}` : whole(feed.known.size));
}

async function render() {
  if (!feed.complete) { await tick(); return; }
  const info = feed.of(at.symbol);
  const empty = !feed.known.size;
  $("detail").hidden = !info;
  document.title = at.symbol ? `${at.symbol} · hft-mmap` : "hft-mmap";
  if (empty && !at.symbol) showEmpty();
  else if (at.symbol && !info) showUnknown();
  else $("message").hidden = true;
  list();
  if (symbolShown !== at.symbol || !info?.count) forget();
  if (info) {
    facts();
    pick();
    marks();
    navigator_.look(range(), kept());
  }
  const parts = info?.count ? [drawWindows(), draw(), drawNavigator(), drawPictures()] : [drawPictures()];
  // Each shows what it got, whatever became of the others; then the first failure is told.
  const failed = (await Promise.allSettled(parts)).find((part) => part.status === "rejected");
  if (failed) throw failed.reason;
}

/** Take the numbers of the symbol of before off the page: they must not stand under the name of another one. */
function forget() {
  symbolShown = at.symbol;
  shown = null;
  told = "";
  chart.clear();
  windows.clear();
  table.clear();
  navigator_.clear();
  navigatorOf = { symbol: null, total: -1, at: 0 };
  $("readout").replaceChildren();
  text($("change"), "");
  $("plot").setAttribute("aria-label", "Chart");
  for (const name of ["from", "to", "size"]) delete $("plot").dataset[name];
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
  const share = first > 0 && last >= 0 ? ` (${points >= 0 ? "+" : "−"}${Math.abs((points / first) * 100).toFixed(2)} %)` : "";
  text(node, `${points >= 0 ? "▲ +" : "▼ −"}${price(Math.abs(points), digits)}${share}`);
  node.className = points >= 0 ? "gain" : "loss";
}

function pick() {
  const picker = $("picker");
  const names = order.of(feed.infos).slice(0, MOST_CHOICES).map((info) => info.symbol);
  if (!names.includes(at.symbol)) names.push(at.symbol);
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
  text($("caption"), from === to ? "No points" : `Points ${whole(from)} to ${whole(to - 1)} · ${whole(to - from)} points · ${
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
  tell();
}

/** Tell a screen reader where it is now; new points at the same place are not told. */
function tell() {
  const now = JSON.stringify(at);
  if (told === now) return;
  told = now;
  text($("state"), $("plot").getAttribute("aria-label"));
}

/** Show the numbers of bar `i`, or of all bars. */
function readOut(i) {
  if (!shown || !shown.answer.index.length) return;
  const { answer, digits, fine } = shown;
  const p = (value) => price(value, digits);
  const bar = i === null ? null : bars(answer)[i];
  const parts = bar
    ? [bar.points === 1 ? `Point ${whole(bar.index)}` : `Points ${whole(bar.index)} – ${whole(bar.index + bar.points - 1)}`,
      ...(bar.points === 1 ? [["Price", p(bar.mean)]]
        : [["First", p(bar.first)], ["Last", p(bar.last)], ["Min", p(bar.min)], ["Max", p(bar.max)], ["Mean", price(bar.mean, fine)]])]
    : ["In view", ["First", p(answer.first[0])], ["Last", p(answer.last.at(-1))],
      ["Min", p(Math.min(...answer.min))], ["Max", p(Math.max(...answer.max))]];
  $("readout").replaceChildren(...parts.map((part) =>
    (typeof part === "string" ? el("span", { class: "where" }, part) : el("span", {}, `${part[0]} `, el("b", {}, part[1])))));
}

function fillTable() {
  table.show(shown.answer, shown.digits, shown.fine);
}

// -- states --------------------------------------------------------------------------------------------------------

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
    el("p", {}, feed.known.size ? "There is no series of this name. Those there are:" : "There is no series at all yet."),
    el("ul", {}, ...order.of(feed.infos).slice(0, MOST_CHOICES).map(({ symbol }) => el("li", {}, link({ href: place.leadsTo(symbol) }, () => open(symbol), symbol)))),
    el("p", {}, link({ href: "./" }, home, "All symbols")));
}

// -- what can be taken away ----------------------------------------------------------------------------------------

const fileName = (suffix) => `${at.symbol.replace(/[^\w.-]+/g, "_")}-${shown.answer.from}-${shown.answer.to}.${suffix}`;

function saveCsv() {
  if (shown) download(fileName("csv"), new Blob([csv(shown.answer)], { type: "text/csv" }));
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
  const hidden = !$("table").hidden;
  $("table").hidden = hidden;
  $("table-toggle").setAttribute("aria-expanded", String(!hidden));
  if (shown && !hidden) fillTable();
}

// -- hands ---------------------------------------------------------------------------------------------------------

function refresh(seconds) {
  everyS = seconds;
  try { localStorage.setItem(REFRESH, String(seconds)); } catch { /* for this page only */ }
  for (const input of $("refresh").querySelectorAll("input")) input.checked = Number(input.value) === seconds;
  if (seconds) tick(); else schedule(null);
}

function step(by) {
  const names = order.of(feed.infos).map((info) => info.symbol);
  const here = names.indexOf(at.symbol);
  const next = here < 0 ? (by > 0 ? 0 : names.length - 1) : (here + by + names.length) % names.length;
  if (names.length) open(names[next]);
}

function home() {
  go({ symbol: null, window: place.OPENS_WITH });
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
$("home").addEventListener("click", (event) => plainly(event, home));
$("health").addEventListener("click", () => {
  const hidden = !$("reasons").hidden;
  $("reasons").hidden = hidden;
  $("health").setAttribute("aria-expanded", String(!hidden));
});
for (const input of $("refresh").querySelectorAll("input")) {
  input.checked = Number(input.value) === everyS;
  input.addEventListener("change", () => refresh(Number(input.value)));
}
$("search").addEventListener("input", (event) => {
  order.query = event.target.value;
  list();
});
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
  [["o"], "All symbols", home],
  [["/"], "Search a symbol", () => { if (at.symbol !== null) home(); $("overview").hidden = false; $("search").focus(); }],
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
addEventListener("popstate", () => arrive(place.read()));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (everyS) tick();
});
setInterval(() => {
  if (document.hidden || !feed.complete) return;
  feed.age();
  (at.symbol === null ? overview : watch).refresh();
  facts();
}, 250);
tick();
