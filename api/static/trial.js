// Trying a request on the API page: a form, what it sends, the same as a command, and what came back.

import { ROOT, quoted, token } from "./client.js";
import { copy, el } from "./dom.js";

const SHOWN_CHARACTERS = 20_000;
const PATIENCE_S = 2;

/** Indented JSON, with lists of plain values on one line. */
export function pretty(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2).replace(/\[\s+([^[\]{}]+?)\s+\]/g, (_, items) => `[${items.replace(/\s*\n\s*/g, " ")}]`);
}

export function code(value, label) {
  return el("pre", { tabindex: "0", role: "group", "aria-label": label }, el("code", {}, pretty(value)));
}

const readable = (type) => /json|text|javascript|svg/.test(type);
const label = (one) => `${one.name}${one.required ? " *" : ""}`;

/** Return the request of a form: { url, method, headers, body }, and the same as a command line. */
function request({ path, method, parameters }, form) {
  let filled = path;
  const url = new URL(ROOT);
  const headers = {};
  for (const one of parameters) {
    const { value } = form.elements.namedItem(`${one.in}:${one.name}`);
    if (!value) continue;
    if (one.in === "path") filled = filled.replace(`{${one.name}}`, encodeURIComponent(value));
    else if (one.in === "query") url.searchParams.append(one.name, value);
    else if (one.in === "header") headers[one.name] = value;
  }
  url.pathname = `${ROOT.pathname}${filled.slice(1)}`;
  const type = form.elements.namedItem("type")?.value;
  let body;
  let data = [];
  if (type && readable(type)) {
    body = form.elements.namedItem("body").value;
    data = [`-d ${quoted(body)}`];
  } else if (type) {
    [body] = form.elements.namedItem("file").files;
    data = [`--data-binary ${quoted(`@${body?.name ?? "FILE"}`)}`];
  }
  if (type) headers["Content-Type"] = type;
  const shown = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  if (token.get()) {
    headers.Authorization = `Bearer ${token.get()}`;
    shown.push('-H "Authorization: Bearer $TOKEN"');
  }
  const verb = method === "get" || (method === "post" && data.length) ? [] : [`-X ${method.toUpperCase()}`];
  const command = ["curl -s", ...verb, ...shown, ...data, quoted(String(url))].join(" ");
  return { url, method, headers, body: body || undefined, command };
}

/** Show an answer, or what there is of it; `note` says why it is not all. */
function show(answer, response, ms, body, note) {
  const type = response.headers.get("Content-Type") ?? "no body";
  answer.replaceChildren(
    el("p", {}, el("span", { class: `status${response.ok ? "" : " refused"}` }, `${response.status} ${response.statusText}`),
      el("span", { class: "quiet" }, `${type} · ${ms.toFixed(1)} ms`)),
    code(body.slice(0, SHOWN_CHARACTERS) || "(empty)", "Answer"),
    ...(note ? [el("p", { class: "quiet" }, note)] : []),
  );
}

/** Send a request and show its answer as it comes. What never ends, a stream, is left after two seconds. */
async function send({ url, method, headers, body }, answer) {
  const begin = performance.now();
  answer.replaceChildren(el("p", { class: "quiet" }, "Asking …"));
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), 1000 * PATIENCE_S);
  const decoder = new TextDecoder();
  let response;
  let text = "";
  let size = 0;
  let note = "";
  try {
    response = await fetch(url, { method: method.toUpperCase(), headers, body, cache: "no-store", signal: limit.signal });
    const asText = readable(response.headers.get("Content-Type") ?? "");
    const reader = response.body?.getReader();
    while (reader && text.length <= SHOWN_CHARACTERS && size <= 50 * SHOWN_CHARACTERS) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      text = asText ? text + decoder.decode(value, { stream: true }) : `${size.toLocaleString("en")} bytes, which are no text`;
      show(answer, response, performance.now() - begin, text);
    }
  } catch (error) {
    if (!response) {
      const stored = method === "get" ? "" : " What was sent may have been carried out nevertheless.";
      const why = error.name === "AbortError" ? `Nothing came within ${PATIENCE_S} s, and this page waits no longer.${stored}` : `No answer: ${error.message}`;
      answer.replaceChildren(el("p", {}, why));
      return;
    }
    note = error.name === "AbortError" ? `Cut after ${PATIENCE_S} s; the answer had not ended.` : `Broken off: ${error.message}`;
  } finally {
    clearTimeout(timer);
    limit.abort();
  }
  if (size > 50 * SHOWN_CHARACTERS) note = "Cut: there is more of it.";
  try { text = pretty(JSON.parse(text)); } catch { /* not JSON, or not all of it: as it is */ }
  if (text.length > SHOWN_CHARACTERS) note = `Cut: the first ${SHOWN_CHARACTERS.toLocaleString("en")} characters are shown.`;
  show(answer, response, performance.now() - begin, text, note);
}

/** Make the choice of a content type with what goes with it: examples and a text, or a file for what is no text. */
function bodyFields(bodies) {
  const area = el("textarea", { name: "body", rows: "6", "aria-label": "Body", spellcheck: "false" });
  const file = el("label", {}, "File ", el("input", { type: "file", name: "file" }));
  const offers = el("span", { class: "row" });
  const type = el("select", { name: "type" }, ...bodies.map((one) => el("option", { value: one.type }, one.type)));
  const use = (value) => { area.value = plain(value); };
  const choose = () => {
    const { examples } = bodies.find((one) => one.type === type.value);
    area.hidden = !readable(type.value);
    file.hidden = readable(type.value);
    offers.replaceChildren(...examples.map(([name, value]) => el("button", { type: "button", onclick: () => use(value) }, name)));
    use(examples[0]?.[1] ?? "");
  };
  type.addEventListener("change", choose);
  choose();
  return [el("div", { class: "row" }, el("label", { class: "field" }, "Content type ", type), offers), area, file];
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** Make the form of an operation: { path, method, parameters, bodies: [{ type, examples }], socket }. */
export function trial(operation) {
  const inputs = operation.parameters.map((one) =>
    el("label", {}, label(one), el("input", {
      name: `${one.in}:${one.name}`, value: one.example ?? "", required: one.required, autocomplete: "off", spellcheck: "false",
    })));
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const form = el("form", { class: "try" }, el("div", { class: "inputs" }, ...inputs));
  const button = (name, action) => el("button", { type: "button", onclick: action }, name);
  if (operation.socket) {
    const command = () => {
      const { url } = request(operation, form);
      url.protocol = url.protocol.replace("http", "ws");
      return `python -m websockets ${quoted(String(url))}`;
    };
    form.append(el("p", {}, "A WebSocket stays open and has messages both ways, so this page has no button for it. The command opens one, ",
      "sends each line that you type, and prints what comes; it needs the package ", el("code", {}, "websockets"), ", which the service has as well."),
    el("div", { class: "row" }, button("Copy as command", () => copy(command()))));
    form.addEventListener("submit", (event) => event.preventDefault());
  } else {
    if (operation.bodies.length) form.append(...bodyFields(operation.bodies));
    form.append(el("div", { class: "row" }, el("button", { class: "primary" }, "Send"),
      button("Copy as curl", () => copy(request(operation, form).command))), answer);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(request(operation, form), answer);
    });
  }
  return el("details", {}, el("summary", {}, "Try it"), form);
}
