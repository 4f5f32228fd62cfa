// The API page: made from /openapi.json, so that it says what this very service does. Requests can be tried here.

import { ask, token } from "./client.js";
import { $, el, header } from "./dom.js";
import { code, trial } from "./trial.js";

const METHODS = ["get", "post", "put", "patch", "delete"]; // HEAD and OPTIONS are those of GET

let openapi;

function resolved(node) {
  while (node?.$ref) node = node.$ref.slice(2).split("/").reduce((at, name) => at[name], openapi);
  return node;
}

/** `code` marked with backticks, as in the document, becomes an element. */
const words = (value) => (value ?? "").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
const prose = (value) => el("p", {}, ...words(value));

/** A bound as it is in the document, whose greatest numbers JavaScript rounds. */
const bound = (value) => {
  if (Math.abs(value) < 2 ** 63) return value;
  return value > 0 ? "2⁶³ − 1" : "−2⁶³ + 1";
};

/** How many of something there may be, of which one end may be open. */
function span(least, most, noun) {
  if (most === undefined) return `at least ${least} ${noun}${least === 1 ? "" : "s"}`;
  return `${least ?? 0} to ${most} ${noun}s`;
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
  if (schema.minimum !== undefined) bounds.push(`from ${bound(schema.minimum)}`);
  if (schema.maximum !== undefined) bounds.push(`to ${bound(schema.maximum)}`);
  if (schema.minLength !== undefined || schema.maxLength !== undefined) bounds.push(span(schema.minLength, schema.maxLength, "character"));
  if (schema.minItems !== undefined || schema.maxItems !== undefined) bounds.push(span(schema.minItems, schema.maxItems, "item"));
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
    el("tbody", {}, ...rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, name)), ...cells.map((cell) => el("td", {}, ...words(cell))))))));
}

function examples(media) {
  if (media.examples) return Object.values(media.examples).map(resolved).map((one) => [one.summary ?? "Example", one.value]);
  return "example" in media ? [["Example", media.example]] : [];
}

function content(described) {
  return Object.entries(described.content ?? {}).flatMap(([type, media]) => [
    el("p", { class: "quiet" }, type),
    ...(media.schema && /json/.test(type) ? [fieldTable(media.schema)] : []),
    ...examples(media).map(([name, value]) => code(value, name)),
  ]);
}

const parametersOf = (item, operation) => [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolved);

function parameters(item, operation) {
  const found = parametersOf(item, operation);
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
    const title = [el("span", { class: `status${status >= "400" ? " refused" : ""}` }, status), ...words(one.description)];
    return el("details", {}, el("summary", {}, ...title),
      ...headers.map(([name, what]) => el("p", {}, el("code", {}, name), " ", ...words(what))),
      ...(below.length || headers.length ? below : [el("p", { class: "quiet" }, "No body.")]));
  })];
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
    el("p", {}, el("b", {}, ...words(operation.summary))),
    ...(operation.description ? [prose(operation.description)] : []),
    ...scopes(operation),
    ...parameters(item, operation),
    ...(body ? [el("h4", {}, "Body"), ...(body.description ? [prose(body.description)] : []), ...content(body)] : []),
    ...responses(operation),
    trial({
      path, method, parameters: parametersOf(item, operation), socket: "101" in operation.responses,
      bodies: Object.entries(body?.content ?? {}).map(([type, media]) => ({ type, examples: examples(media) })),
    }));
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
    main.append(el("h2", {}, `${name}: `, ...words(description)), ...mine.map((one) => section(one.path, one.method, one.item, one.operation)));
  }
  $("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const node of document.querySelectorAll(".operation")) {
      node.hidden = !node.textContent.toLowerCase().includes(wanted);
      links.querySelector(`a[href="#${node.id}"]`).parentElement.hidden = node.hidden;
    }
  });
  const narrow = matchMedia("(max-width: 860px)").matches;
  $("fold").open = !narrow;
  links.addEventListener("click", (event) => { if (narrow && event.target.closest("a")) $("fold").open = false; });
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
