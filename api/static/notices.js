// What the page says about the service itself: whether it is healthy, that it failed, that it wants a token.

import { ROOT, quoted, token } from "./client.js";
import { $, copy, el, link, text } from "./dom.js";
import { leadsTo } from "./place.js";

export function showHealth(health) {
  const ready = health.status === "ready";
  // Without a token that may read, the service says that it is not ready, and not why.
  const found = ready || health.reasons.length ? health.reasons ?? [] : [{ symbol: null, code: "not_ready", detail: health.detail }];
  const why = found.map(({ symbol, code, detail }) => [`${symbol ?? "store"}: ${code.replaceAll("_", " ")}`, detail]);
  light(found.length ? "warn" : "good", found.length ? `Not ready: ${found.length} reason${found.length > 1 ? "s" : ""}` : "Ready");
  // Built anew only where it differs, so that a selection in it survives.
  const said = JSON.stringify(why);
  if ($("reasons").dataset.said === said) return;
  $("reasons").dataset.said = said;
  $("reasons").replaceChildren(why.length
    ? el("ul", {}, ...why.map(([what, detail]) => el("li", {}, el("b", {}, what), el("p", {}, detail))))
    : el("p", {}, "Every series serves reads and takes writes."));
}

function light(kind, word) {
  $("health").className = `health ${kind}`;
  text($("health-text"), word);
}

/** Say that the service failed with `error`, a Refused or a fault of this page; null takes that back. */
export function showFailure(error, { everyS, onAgain }) {
  const notice = $("notice");
  document.body.classList.toggle("stale", Boolean(error));
  if (!error) {
    notice.hidden = true;
    notice.dataset.kind = "";
    return;
  }
  $("loading").hidden = true;
  notice.hidden = false;
  if (error.status === 401 || error.status === 403) { showToken(error, onAgain); return; }
  if (error.status === 0) light("bad", "Unreachable");
  const retry = everyS ? ` It is asked again every ${everyS} s; what you see is what it said last.` : "";
  // Written into the notice that is there: an alert that is made anew is read out anew, and its button loses the focus.
  if (notice.dataset.kind !== "failure") {
    notice.dataset.kind = "failure";
    notice.replaceChildren(el("p", { id: "failure" }), el("button", { type: "button", onclick: onAgain }, "Ask now"));
  }
  text($("failure"), `${error.message}.${retry}`);
}

function showToken(error, onAgain) {
  const notice = $("notice");
  light("bad", "Token needed");
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
    onAgain();
  });
  notice.replaceChildren(form);
  input.focus();
}

/** Show a page in place of symbols: a title, and what else there is to say. */
function message(title, ...content) {
  $("message").hidden = false;
  if ($("message").dataset.title === title) return;
  $("message").dataset.title = title;
  $("message").replaceChildren(el("h1", {}, title), ...content);
}

/** Say how to begin. */
export function showEmpty() {
  const body = '{"symbol":"ABC-USD","values":[150.1,150.5,151.0,149.8,150.2]}';
  const authorization = token.get() ? `\n  -H "Authorization: Bearer $TOKEN" \\` : "";
  const command = `curl -s ${new URL("add_batch/", ROOT)} \\${authorization}\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
  message("No symbols yet",
    el("p", {}, "The first batch of a symbol creates its series. This appends five prices to one:"),
    el("pre", { tabindex: "0" }, command),
    el("p", {}, el("button", { type: "button", onclick: () => copy(command) }, "Copy"), " and this page shows them as soon as they are there."));
}

/** Say that there is no series of this name, and lead to those that there are. */
export function showUnknown(symbol, infos, open, home) {
  message(`Symbol not found: ${symbol}`,
    el("p", {}, infos.length ? "There is no series of this name. Those there are:" : "There is no series at all yet."),
    el("ul", {}, ...infos.map((info) => el("li", {}, link({ href: leadsTo(info.symbol) }, () => open(info.symbol), info.symbol)))),
    el("p", {}, link({ href: "./" }, home, "All symbols")));
}
