// Asks the service that served this page. Every answer is JSON, and so is every refusal.

export const ROOT = new URL("..", import.meta.url);
const TOKEN = "hft-mmap.token";
const PATIENCE_MS = 10_000;

/** A refusal of the service (status and problem document), or no answer of it at all (status 0). */
export class Refused extends Error {
  constructor(status, problem, text) {
    super(text);
    this.status = status;
    this.problem = problem;
  }
}

let kept = "";
try { kept = sessionStorage.getItem(TOKEN) || ""; } catch { /* a browser that keeps nothing: for this page only */ }

export const token = {
  get: () => kept,
  set: (value) => {
    kept = value;
    try { if (value) sessionStorage.setItem(TOKEN, value); else sessionStorage.removeItem(TOKEN); } catch { /* likewise */ }
  },
};

let skewMs = 0; // the clock of the service less ours

/** Return the time of the service in Unix seconds, as well as its answers tell. */
export const serviceNow = () => (Date.now() + skewMs) / 1000;

export function address(path, parameters = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) for (const one of [value].flat()) url.searchParams.append(name, one);
  return url;
}

const COLUMNS = ["index", "open", "close", "high", "low", "mean", "count"];
// What an answer has at least. What has it not is none of this service: a proxy or a hotel has answered in its place.
const SHAPES = {
  symbols: (found) => Array.isArray(found.symbols),
  ready: (found) => found.status === "ready",
  stats: (found) => Array.isArray(found.symbols) || "min" in found,
  bars: (found) => COLUMNS.every((name) => Array.isArray(found[name])),
  series: (found) => Array.isArray(found.index),
  first: (found) => "index" in found,
  "openapi.json": (found) => Boolean(found.paths && found.info),
};

/** Return the answer. Refused; AbortError where `signal` says so. What takes longer than ten seconds is no answer. */
export async function ask(path, parameters = {}, signal = undefined) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), PATIENCE_MS);
  let response;
  let answer;
  try {
    response = await fetched(path, parameters, signal ? AbortSignal.any([signal, limit.signal]) : limit.signal);
    answer = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, {}, "The service does not answer");
  } finally {
    clearTimeout(timer);
  }
  const found = parsed(answer);
  if (!response.ok) throw refused(response, found);
  if (!found || !SHAPES[path](found)) throw stranger(path);
  return found;
}

/** Return an answer of this media type whose body has not come yet. Refused; AbortError where `signal` says so. */
export async function connect(path, parameters, type, signal) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), PATIENCE_MS);
  signal.addEventListener("abort", () => limit.abort(), { once: true });
  let response;
  try {
    response = await fetched(path, parameters, limit.signal);
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refused(0, {}, "The service does not answer");
  } finally {
    clearTimeout(timer);
  }
  if (!response.ok) throw refused(response, parsed(await response.text()));
  if (!response.headers.get("Content-Type")?.startsWith(type)) throw stranger(path);
  return response;
}

async function fetched(path, parameters, signal) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const response = await fetch(address(path, parameters), { headers, signal, cache: "no-store" });
  noteClock(response.headers.get("Date"));
  return response;
}

const refused = (response, found) => new Refused(response.status, found ?? {}, found?.detail || `${response.status} ${response.statusText}`);
const stranger = (path) => new Refused(0, {}, `What answers at /${path} is not this service`);

/** Return an answer about `symbols` as columns; of one alone the service answers without them. */
export const columns = (found, symbols) => (found.symbols ? found : { ...Object.fromEntries(Object.entries(found).map(([name, value]) => [name, [value]])), symbols });

/** Return the object that `text` is in JSON, or null for anything else. */
function parsed(text) {
  try {
    const found = JSON.parse(text);
    return typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

function noteClock(date) {
  const theirs = date ? Date.parse(date) : NaN;
  // The header has whole seconds; a smaller difference is none.
  if (Number.isFinite(theirs)) skewMs = Math.abs(theirs - Date.now()) < 2000 ? 0 : theirs - Date.now();
}

/** Return a request as a command line; the token is left to a variable. */
export function curl(path, parameters) {
  const header = token.get() ? `-H "Authorization: Bearer $TOKEN" ` : "";
  return `curl -s ${header}${quoted(String(address(path, parameters)))}`;
}

export const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;
