// The API page: made from /openapi.json, so that it says what this very service does. Requests can be tried here.

import { ROOT, ask, quoted, token } from "./client.js";
import { $, copy, el, header } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"]; // HEAD and OPTIONS are those of GET
const SHOWN_CHARACTERS = 20_000;

let openapi;

function resolved(node) {
  while (node?.$ref) node = node.$ref.slice(2).split("/").reduce((at, name) => at[name], openapi);
  return node;
}

/** `code` marked with backticks, as in the document, becomes an element. */
function prose(value) {
  return el("p", {}, ...(value ?? "").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part)));
}

/** Indented JSON, with lists of plain values on one line. */
function pretty(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2).replace(/\[\s+([^[\]{}]+?)\s+\]/g, (_, items) => `[${items.replace(/\s*\n\s*/g, " ")}]`);
}

/** Say the type of a schema in a few words. */
function kind(schema) {
  schema = resolved(schema) ?? {};
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map(kind).join(" or ");
  if (schema.allOf) return "object";
  const name = [schema.type ?? "any"].flat().join(" or ");
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) bounds.push(`to ${schema.maximum}`);
  if (schema.minLength !== undefined || schema.maxLength !== undefined) bounds.push(`${schema.minLength ?? 0} to ${schema.maxLength ?? "any"} characters`);
  if (schema.minItems !== undefined || schema.maxItems !== undefined) bounds.push(`${schema.minItems ?? 0} to ${schema.maxItems ?? "any"} items`);
  if (schema.default !== undefined) bounds.push(`default ${JSON.stringify(schema.default)}`);
  const of = name === "array" ? ` of ${kind(schema.items)}` : "";
  return `${name}${of}${bounds.length ? `, ${bounds.join(", ")}` : ""}`;
}

/** List the fields of an object schema, those of nested objects below their own. */
function fields(schema, prefix = "", depth = 0) {
  schema = resolved(schema) ?? {};
  const parts = [schema, ...(schema.allOf ?? []), ...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].map(resolved);
  if (depth > 4) return [];
  return parts.flatMap((part, i) => [
    ...(i > 0 && (part.allOf || part.anyOf) ? fields(part, prefix, depth + 1) : []),
    ...Object.entries(part.properties ?? {}).flatMap(([name, field]) => {
      const path = `${prefix}${name}`;
      const found = resolved(field);
      const below = found.type === "array" ? fields(found.items, `${path}[].`, depth + 1) : fields(found, `${path}.`, depth + 1);
      return [[path, kind(field), (part.required ?? []).includes(name) ? "yes" : "", field.description ?? found.description ?? ""], ...below];
    }),
  ]);
}

function fieldTable(schema) {
  const rows = fields(schema);
  if (!rows.length) return el("p", {}, kind(schema));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Fields" }, el("table", {}, header(["Field", "Type", "Always", "Meaning"]),
    el("tbody", {}, ...rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, name)), ...cells.map((cell) => el("td", {}, cell)))))));
}

function examples(media) {
  if (media.examples) return Object.values(media.examples).map(resolved).map((one) => [one.summary ?? "Example", one.value]);
  return "example" in media ? [["Example", media.example]] : [];
}

function code(value, label) {
  return el("pre", { tabindex: "0", role: "group", "aria-label": label }, el("code", {}, pretty(value)));
}

function content(described) {
  return Object.entries(described.content ?? {}).flatMap(([type, media]) => [
    el("p", { class: "quiet" }, type),
    ...(media.schema && /json/.test(type) ? [fieldTable(media.schema)] : []),
    ...examples(media).map(([name, value]) => code(value, name)),
  ]);
}

function parameters(item, operation) {
  const found = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolved);
  if (!found.length) return [];
  return [el("h4", {}, "Parameters"),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Parameters" }, el("table", {}, header(["Name", "In", "Type", "Required", "Meaning"]), el("tbody", {},
      ...found.map((one) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, one.name)), el("td", {}, one.in), el("td", {}, kind(one.schema)),
        el("td", {}, one.required ? "yes" : ""), el("td", {}, prose(one.description)))))))];
}

function responses(operation) {
  return [el("h4", {}, "Answers"), ...Object.entries(operation.responses).map(([status, reference]) => {
    const one = resolved(reference);
    const below = content(one);
    const headers = Object.entries(one.headers ?? {}).map(([name, found]) => [name, resolved(found).description ?? ""]);
    const title = [el("span", { class: `status${status >= "400" ? " refused" : ""}` }, status), one.description.replaceAll("`", "")];
    return el("details", {}, el("summary", {}, ...title),
      ...headers.map(([name, what]) => el("p", {}, el("code", {}, name), ` ${what}`)),
      ...(below.length || headers.length ? below : [el("p", { class: "quiet" }, "No body.")]));
  })];
}

// -- trying --------------------------------------------------------------------------------------------------------

/** Return the request of a form: { url, method, headers, body }, and the same as a command line. */
function request(path, method, item, operation, form) {
  let filled = path;
  const url = new URL(ROOT);
  const headers = {};
  for (const one of [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolved)) {
    const { value } = form.elements.namedItem(`${one.in}:${one.name}`);
    if (!value) continue;
    if (one.in === "path") filled = filled.replace(`{${one.name}}`, encodeURIComponent(value));
    else if (one.in === "query") url.searchParams.append(one.name, value);
    else if (one.in === "header") headers[one.name] = value;
  }
  url.pathname = `${ROOT.pathname}${filled.slice(1)}`;
  const body = form.elements.namedItem("body")?.value;
  if (body) headers["Content-Type"] = form.elements.namedItem("type").value;
  const shown = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  if (token.get()) {
    headers.Authorization = `Bearer ${token.get()}`;
    shown.push('-H "Authorization: Bearer $TOKEN"');
  }
  const verb = method === "get" || (method === "post" && body) ? [] : [`-X ${method.toUpperCase()}`];
  const command = ["curl -s", ...verb, ...shown, ...(body ? [`-d ${quoted(body)}`] : []), quoted(String(url))].join(" ");
  return { url, headers, body: body || undefined, command };
}

async function send({ url, headers, body }, method, answer) {
  const begin = performance.now();
  answer.replaceChildren(el("p", { class: "quiet" }, "Asking …"));
  // What never ends (a stream) is shown as far as it came in two seconds.
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), 2000);
  let response;
  let text = "";
  try {
    response = await fetch(url, { method: method.toUpperCase(), headers, body, cache: "no-store", signal: limit.signal });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    while (reader && text.length < SHOWN_CHARACTERS) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
    }
  } catch (error) {
    if (!response) {
      answer.replaceChildren(el("p", {}, error.name === "AbortError" ? "No answer within two seconds" : `No answer: ${error.message}`));
      return;
    }
  } finally {
    clearTimeout(timer);
    limit.abort();
  }
  const took = (performance.now() - begin).toFixed(1);
  let body_ = text;
  try { body_ = pretty(JSON.parse(text)); } catch { /* not JSON: as it is */ }
  const good = response.ok ? "" : " refused";
  answer.replaceChildren(
    el("p", {}, el("span", { class: `status${good}` }, `${response.status} ${response.statusText}`),
      el("span", { class: "quiet" }, `${response.headers.get("Content-Type") ?? "no body"} · ${took} ms`)),
    code(body_.slice(0, SHOWN_CHARACTERS) || "(empty)", "Answer"),
  );
}

function trial(path, method, item, operation) {
  const inputs = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolved).map((one) =>
    el("label", {}, `${one.name}${one.required ? " *" : ""}`, el("input", {
      name: `${one.in}:${one.name}`, value: one.example ?? "", required: one.required, autocomplete: "off", spellcheck: "false",
    })));
  const bodies = Object.entries(resolved(operation.requestBody)?.content ?? {}).filter(([type]) => /json|text/.test(type));
  const offered = bodies.flatMap(([type, media]) => examples(media).map(([name, value]) => ({ type, name, value })));
  const body = [];
  if (bodies.length) {
    const area = el("textarea", { name: "body", rows: "6", "aria-label": "Body", spellcheck: "false" });
    const type = el("input", { type: "hidden", name: "type", value: bodies[0][0] });
    const use = (one) => { area.value = typeof one.value === "string" ? one.value : JSON.stringify(one.value); type.value = one.type; };
    if (offered.length) use(offered[0]);
    body.push(el("div", { class: "row" }, el("span", { class: "quiet" }, "Body:"),
      ...offered.map((one) => el("button", { type: "button", onclick: () => use(one) }, one.name))), area, type);
  }
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const form = el("form", { class: "try" }, el("div", { class: "inputs" }, ...inputs), ...body,
    el("div", { class: "row" }, el("button", { class: "primary" }, "Send"),
      el("button", { type: "button", onclick: () => copy(request(path, method, item, operation, form).command) }, "Copy as curl")), answer);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(request(path, method, item, operation, form), method, answer);
  });
  return el("details", {}, el("summary", {}, "Try it"), form);
}

// -- the page ------------------------------------------------------------------------------------------------------

const anchor = (path, method) => `${method}${path.replace(/[^\w]+/g, "-")}`.replace(/-$/, "");

/** Say which token a request needs, where the service has tokens. */
function scopes(operation) {
  const named = (operation.security ?? openapi.security ?? []).flatMap((one) => Object.values(one).flat());
  return named.length ? [el("p", { class: "quiet" }, "Where the service has tokens, one with the scope ", ...named.map((scope) => el("code", {}, scope)), ".")] : [];
}

function section(path, method, item, operation) {
  const body = resolved(operation.requestBody);
  return el("section", { class: "operation panel", id: anchor(path, method), "aria-labelledby": `${anchor(path, method)}-title` },
    el("h3", { id: `${anchor(path, method)}-title` }, el("span", { class: `method ${method}` }, method.toUpperCase()), el("code", {}, path)),
    el("p", {}, el("b", {}, operation.summary ?? "")),
    ...(operation.description ? [prose(operation.description)] : []),
    ...scopes(operation),
    ...parameters(item, operation),
    ...(body ? [el("h4", {}, "Body"), ...(body.description ? [prose(body.description)] : []), ...content(body)] : []),
    ...responses(operation),
    trial(path, method, item, operation));
}

function build() {
  const operations = Object.entries(openapi.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, item, operation: item[method] })));
  const main = $("main");
  main.replaceChildren(el("div", { class: "about" }, el("h1", {}, `${openapi.info.title} ${openapi.info.version}`), prose(openapi.info.summary), prose(openapi.info.description)));
  const links = $("links");
  for (const { name, description } of openapi.tags) {
    const mine = operations.filter(({ operation }) => operation.tags.includes(name));
    if (!mine.length) continue;
    const list = el("ul", {}, ...mine.map(({ path, method }) =>
      el("li", {}, el("a", { href: `#${anchor(path, method)}` }, el("span", { class: `method ${method}` }, method.toUpperCase()), path))));
    links.append(el("section", {}, el("h2", {}, name), list));
    main.append(el("h2", {}, `${name}: ${description ?? ""}`), ...mine.map((one) => section(one.path, one.method, one.item, one.operation)));
  }
  $("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const node of document.querySelectorAll(".operation")) {
      node.hidden = !node.textContent.toLowerCase().includes(wanted);
      links.querySelector(`a[href="#${node.id}"]`).parentElement.hidden = node.hidden;
    }
  });
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

$("token").value = token.get();
$("token-form").addEventListener("submit", (event) => { event.preventDefault(); $("token").blur(); });
$("token").addEventListener("change", (event) => { token.set(event.target.value.trim()); if (!openapi) start(); });

async function start() {
  try {
    openapi = await ask("openapi.json");
  } catch (error) {
    $("main").replaceChildren(el("p", { class: "panel", role: "alert" }, `${error.message}. ${error.status === 401 ? "Give the token above." : ""}`));
    return;
  }
  build();
}
start();
