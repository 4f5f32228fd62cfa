// The dashboard: what is asked when, and who shows it.

import { Alerts } from "./alerts.js";
import { learnChanges } from "./changes.js";
import { readOut, showChange, showFacts, placed, lowest, highest } from "./detail.js";
import { Refused, ask } from "./client.js";
import { $, el, plainly, text, toast } from "./dom.js";
import { CHANGE_OVER, Feed } from "./feed.js";
import { price, ticks, whole } from "./format.js";
import { Groups } from "./groups.js";
import { listen } from "./keys.js";
import { Overview, Watch } from "./lists.js";
import { showEmpty, showFailure, showHealth, showUnknown } from "./notices.js";
import { Options } from "./options.js";
import { Order } from "./order.js";
import { Pictures } from "./pictures.js";
import * as place from "./place.js";
import { Sight } from "./sight.js";
import { Stream } from "./stream.js";
import { BarTable } from "./table.js";
import { copyCurl, saveCsv, savePng } from "./takeaway.js";
import { Windows } from "./windows.js";

const RETRY_S = 2;
const LIST_S = 2; // between two pages of the list of symbols where it is what one looks at
const BESIDE_S = 10; // and where a chart is
const MOST_CHOICES = 500; // symbols to choose from in a menu; more are found by a search
const IN_SIGHT = 60; // rows that the service tells of by itself
const SETTLE_MS = 250; // a list that is scrolled has to rest so long before its rows are listened to
const MOST_TOLD = 200; // symbols of one stream
const REFRESH = "hft-mmap.refresh";

const feed = new Feed();
const pictures = new Pictures(feed);
let at = place.read(); // what the address says
let symbolShown = null; // whose numbers are on the page
let told = ""; // the place that a screen reader was last told of
let everyS = Number(recall(REFRESH) ?? 1);
let timer;
let settling;
let frame = 0;
let turn = 0; // of ticks; only the newest goes on
const failures = new Map(); // what failed last, of all that asks

const options = new Options(() => { if (sight.isKnown) { sight.redraw(); listenTo(); } });
const sight = new Sight({
  info: () => feed.of(at.symbol), options, onShown, onPlace, onBar: (i) => readOut(sight.shown, i), onFail: (error) => fail("chart", error),
});
const stream = new Stream({ onEvent: heard, onState: (error) => (error?.status === 404 ? tick() : fail("stream", error)) });
const table = new BarTable();
const order = new Order();
const groups = new Groups(() => { order.only = groups.only; if (feed.complete) { list(); listenTo(); drawPictures(); } });
const alerts = new Alerts({ symbol: () => at.symbol, onOpen: (symbol) => open(symbol), onChange: () => listenTo(), onFail: (error) => fail("alerts", error) });
order.only = groups.only;
const lists = { groups, onOpen: (symbol) => open(symbol), onOrder: () => list(), onSight: () => { drawPictures(); listenTo(); } };
const overview = new Overview(order, lists);
const watch = new Watch(lists);
const windows = new Windows((axis, window) => onPlace({ symbol: at.symbol, axis, window }, { replace: false }));

function recall(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

// -- going somewhere -----------------------------------------------------------------------------------------------

/** Go to another place: symbol, window or range. */
function onPlace(next, { replace, arrive: arrives = !replace }) {
  place.write(next, { replace });
  if (arrives) { arrive(next); return; }
  at = next;
  marks();
  listenTo();
}

function arrive(next) {
  at = next;
  sight.at = next;
  render();
}

function open(symbol) {
  const { axis, window } = at;
  onPlace({ symbol, axis: window ? axis : null, window: window ?? null }, { replace: false });
  $("main").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

const home = () => onPlace({ symbol: null, axis: null, window: null }, { replace: false });

function step(by) {
  const names = order.of(feed.infos).map((info) => info.symbol);
  const here = names.indexOf(at.symbol);
  const next = here < 0 ? (by > 0 ? 0 : names.length - 1) : (here + by + names.length) % names.length;
  if (names.length) open(names[next]);
}

// -- asking, and being told ----------------------------------------------------------------------------------------

/** Ask which symbols there are, a page of them, and whether all is well. Whatever comes of it, the next time is set. */
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
    const first = !feed.complete;
    feed.take(rows.value);
    // All pages at first; from then on one at a time.
    while (!feed.complete) {
      if (at.symbol === null) list();
      const page = await ask("symbols", feed.question());
      if (mine !== turn) return;
      feed.take(page);
    }
    render();
    if (failures.has("chart")) sight.draw();
    if (at.symbol === null) await learnChanges(feed, first ? feed.infos : rows.value.symbols, new Set(stream.wanted?.symbol), later);
  } catch (error) {
    failed = error;
  } finally {
    if (mine === turn) {
      fail("list", failed);
      schedule(failed);
    }
  }
}

/** Listen to what is in sight: the symbol with its chart, and the rows of the list. */
function listenTo() {
  clearTimeout(settling);
  if (!feed.complete) return;
  // With the refresh off a symbol is told of once, when it is opened; then its numbers stand still, all of them.
  if (!everyS && (at.symbol === null || sight.shown)) { stream.want(null); return; }
  const rows = (at.symbol === null ? overview : watch).rows.inSight.slice(0, IN_SIGHT);
  const others = at.symbol !== null && !$("watch").offsetWidth ? [] : rows;
  const symbols = [...new Set([at.symbol, ...others, ...sight.others, ...alerts.symbols])].slice(0, MOST_TOLD).filter((symbol) => feed.of(symbol));
  const bars = at.symbol !== null && sight.isKnown && sight.isLive ? { bars: sight.axis.inEvents(sight.bar) } : {};
  const wanted = { symbol: symbols, stats: "count,return", interval_ms: 1000 * (everyS || 1), ...(feed.of(at.symbol) ? bars : { window: CHANGE_OVER }) };
  const listen_ = () => stream.want(symbols.length && !document.hidden ? wanted : null, !everyS);
  if (symbols[0] === stream.wanted?.symbol[0]) settling = setTimeout(listen_, SETTLE_MS);
  else listen_();
}

/** Take an event: how a series stands at one moment, in all of its numbers. */
function heard(event) {
  feed.hear(event);
  alerts.hear(event);
  later();
  if (event.symbol !== at.symbol || !event.count) return;
  if (symbolShown !== at.symbol) return;
  feed.told = event.symbol;
  windows.update(event);
  showFacts(feed.of(at.symbol));
  sight.heard(event);
  marks();
}

function reasons(error) {
  if (error.status === 503 && Array.isArray(error.problem.reasons)) return error.problem;
  throw error;
}

/** Tell that `what` failed, or (null) that it does not any more. */
function fail(what, error) {
  if (error && !(error instanceof Refused)) reportError(error); // a fault of this page: in the console as well
  if (error) failures.set(what, error);
  else failures.delete(what);
  const [first = null] = failures.values();
  showFailure(first, { everyS: everyS && Math.max(everyS, RETRY_S), onAgain: again });
}

function again() {
  if (failures.has("stream")) stream.again();
  if (failures.has("chart")) sight.draw();
  tick();
}

function schedule(failed) {
  clearTimeout(timer);
  if (document.hidden || failed?.status === 401 || failed?.status === 403) return;
  const pause = failures.size ? RETRY_S : at.symbol === null ? LIST_S : BESIDE_S;
  if (everyS) timer = setTimeout(tick, 1000 * Math.max(everyS, pause));
}

function drawPictures() {
  if (at.symbol && !$("watch").offsetWidth) return;
  pictures.draw(at.symbol ? watch : overview).then(() => fail("pictures", null), (error) => fail("pictures", error));
}

// -- showing -------------------------------------------------------------------------------------------------------

/** Bring the lists up to date with the next frame, once for all that has come until then. */
function later() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    list();
    drawPictures();
  });
}

/** Bring the lists of symbols up to date: the one that shows. */
function list() {
  const infos = order.of(feed.infos);
  $("loading").hidden = true;
  $("overview").hidden = !feed.known.size || at.symbol !== null;
  $("watch").hidden = !feed.of(at.symbol);
  if (at.symbol === null) overview.update(infos);
  else watch.update(infos, at.symbol);
  text($("found"), infos.length < feed.known.size ? `${whole(infos.length)} of ${whole(feed.known.size)}` : whole(feed.known.size));
}

function render() {
  if (!feed.complete) { tick(); return; }
  const info = feed.of(at.symbol);
  const empty = !feed.known.size;
  sight.at = at;
  $("detail").hidden = !info;
  document.title = at.symbol ? `${at.symbol} · hft-mmap` : "hft-mmap";
  if (empty && !at.symbol) showEmpty();
  else if (at.symbol && !info) showUnknown(at.symbol, order.of(feed.infos).slice(0, MOST_CHOICES), open, home);
  else $("message").hidden = true;
  list();
  if (symbolShown !== at.symbol || !info?.count) forget();
  if (info) {
    showFacts(info);
    pick();
    marks();
    if (sight.isKnown) sight.draw();
  }
  listenTo();
  drawPictures();
}

/** Take the numbers of the symbol of before off the page: they must not stand under the name of another one. */
function forget() {
  symbolShown = at.symbol;
  feed.told = null;
  told = "";
  sight.forget();
  windows.clear(true);
  table.clear();
  $("readout").replaceChildren();
  text($("change"), "");
  text($("caption"), "");
  $("plot").setAttribute("aria-label", "Chart");
  if (feed.of(at.symbol)?.count) stream.want(null); // so that it tells of this one from the beginning
}

function pick() {
  const names = order.of(feed.infos).slice(0, MOST_CHOICES).map((info) => info.symbol);
  if (!names.includes(at.symbol)) names.push(at.symbol);
  for (const [id, first, chosen] of [["picker", [], at.symbol], ["compare", [""], ""]]) {
    const values = [...first, ...names.filter((name) => id === "picker" || name !== at.symbol)];
    const node = $(id);
    if (node.children.length !== values.length || values.some((name, i) => node.children[i].value !== name)) {
      node.replaceChildren(...values.map((name) => el("option", { value: name }, name || "Compare …")));
    }
    if (document.activeElement !== node) node.value = chosen;
  }
}

/** Mark what is chosen: the axis, the window, and whether the chart follows the newest point. */
function marks() {
  if (!sight.isKnown) return;
  const { axis } = sight;
  const box = $("presets");
  if (box.dataset.axis !== axis.name) {
    box.dataset.axis = axis.name;
    box.setAttribute("aria-label", axis.name === "time" ? "Newest time" : "Newest points");
    box.replaceChildren(...axis.presets.map((window) =>
      el("button", { type: "button", "data-window": String(window), "aria-pressed": "false", onclick: () => sight.follow(window) }, window === "all" ? "All" : axis.named(window))));
  }
  for (const button of box.children) button.setAttribute("aria-pressed", String(String(sight.window) === button.dataset.window));
  $("axis").setAttribute("aria-pressed", String(axis.name === "time"));
  $("axis").disabled = !sight.hasTimes;
  $("live").setAttribute("aria-pressed", String(sight.isLive));
  $("back").disabled = !sight.trail.places.length;
  text($("caption"), placed(axis, sight.range, sight.bar, sight.shown));
}

/** New bars are on the page: say in words what the chart shows. */
function onShown(shown) {
  const { bars, digits, seen } = shown;
  if (bars.index.length) {
    $("plot").setAttribute("aria-label", `${at.symbol}, points ${whole(bars.index[seen])} to ${whole(bars.index.at(-1) + bars.count.at(-1) - 1)}: first ${
      price(bars.first[seen], digits)}, last ${price(bars.last.at(-1), digits)}, least ${price(lowest(shown), digits)}, greatest ${price(highest(shown), digits)}`);
  }
  if (!$("table").hidden) fillTable();
  readOut(shown, sight.chart.on);
  const { symbol, last } = feed.of(at.symbol);
  showChange(shown.live ? bars.first[seen] : undefined, last, ticks(symbol, last));
  marks();
  listenTo();
  // Tell a screen reader where it is now; new points at the same place are not told.
  const now = JSON.stringify(at);
  if (told === now) return;
  told = now;
  text($("state"), $("plot").getAttribute("aria-label"));
}

const fillTable = () => table.show(at.symbol, sight.shown.bars, sight.shown.digits, sight.shown.fine);

// -- hands ---------------------------------------------------------------------------------------------------------

function toggleTable() {
  const hidden = !$("table").hidden;
  $("table").hidden = hidden;
  $("table-toggle").setAttribute("aria-expanded", String(!hidden));
  if (sight.shown && !hidden) fillTable();
}

function measure() {
  sight.chart.ruler.toggle(!sight.chart.ruler.on);
  $("measure").setAttribute("aria-pressed", String(sight.chart.ruler.on));
  $("plot").classList.toggle("measuring", sight.chart.ruler.on);
}

function refresh(seconds) {
  everyS = seconds;
  try { localStorage.setItem(REFRESH, String(seconds)); } catch { /* for this page only */ }
  for (const input of $("refresh").querySelectorAll("input")) input.checked = Number(input.value) === seconds;
  if (!seconds && feed.complete) turn += 1; // what is on its way would move the numbers of a page that stands still
  if (seconds || !feed.complete) tick();
  else schedule(null);
  listenTo();
}

const saves = {
  copy: () => sight.shown && copyCurl(sight.shown),
  csv: () => sight.shown && saveCsv(sight.shown),
  png: () => sight.chart.canvas && savePng(sight.shown, sight.chart.canvas, $("caption").textContent),
};
const turnAxis = () => sight.turn(sight.axis.name === "time" ? "points" : "time");

function buttons() {
  const pressed = {
    ...saves, "zoom-in": () => sight.zoom(0.5), "zoom-out": () => sight.zoom(2), live: () => sight.follow(), back: () => sight.back(),
    axis: turnAxis, measure, "table-toggle": toggleTable,
  };
  for (const [id, action] of Object.entries(pressed)) $(id).addEventListener("click", action);
  $("picker").addEventListener("change", (event) => open(event.target.value));
  $("compare").addEventListener("change", (event) => { if (event.target.value) options.beside(event.target.value, true); event.target.value = ""; });
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
  $("search").addEventListener("input", (event) => { order.query = event.target.value; list(); listenTo(); });
}

function keys() {
  const inDetail = (action) => (key) => { if (!$("detail").hidden) action(key); };
  const preset = (i) => { if (sight.isKnown) sight.follow(sight.axis.presets.at(i)); };
  listen([
    [["?"], "This list", () => $("keys").showModal()],
    [["1", "2", "3", "4", "5", "6", "7", "8"], "The newest 10 … 100,000,000 points, or minute … month", inDetail((key) => preset(Number(key) - 1))],
    [["0"], "All points", inDetail(() => preset(-1))],
    [["+", "="], "Zoom in", inDetail(() => sight.zoom(0.5))],
    [["-"], "Zoom out", inDetail(() => sight.zoom(2))],
    [["Backspace", "b"], "Back to where the chart was before", inDetail(() => sight.back())],
    [["ArrowLeft"], "Move to older points", inDetail(() => sight.pan(-0.25))],
    [["ArrowRight"], "Move to newer points", inDetail(() => sight.pan(0.25))],
    [["Home"], "Move to the oldest points", inDetail(() => sight.toOldest())],
    [["End", "l"], "Follow the newest points", inDetail(() => sight.follow())],
    [["x"], "Axis: time, points", inDetail(turnAxis)],
    [["s"], "Style: line, candles", inDetail(() => $("style").click())],
    [["g"], "Logarithmic scale", inDetail(() => $("log").click())],
    [["w"], "VWAP", inDetail(() => $("vwap").click())],
    [["m"], "Measure", inDetail(measure)],
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
    [["c"], "Copy as curl", inDetail(saves.copy)],
    [["d"], "Download CSV", inDetail(saves.csv)],
    [["p"], "Download PNG", inDetail(saves.png)],
    [["v"], "Show the table", inDetail(toggleTable)],
  ]);
}

buttons();
keys();
addEventListener("popstate", () => arrive(place.read()));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (everyS) tick();
  if (everyS) listenTo();
});
setInterval(() => {
  if (document.hidden || !feed.complete) return;
  feed.age();
  (at.symbol === null ? overview : watch).refresh();
  if (feed.of(at.symbol)) showFacts(feed.of(at.symbol));
}, 250);
sight.at = at;
tick();
