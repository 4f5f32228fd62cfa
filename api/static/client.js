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
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}

const COLUMNS = ["index", "first", "last", "min", "max", "mean"];
// What an answer has at least. What has it not is none of this service: a proxy or a hotel has answered in its place.
const SHAPES = {
  symbols: (found) => Array.isArray(found.symbols),
  ready: (found) => found.status === "ready",
  stats: (found) => [1, 2, 3, 4, 5, 6, 7, 8].every((exponent) => found.windows?.[exponent]),
  series: (found) => COLUMNS.every((name) => Array.isArray(found[name])),
  "openapi.json": (found) => Boolean(found.paths && found.info),
};

/** Return the answer. Refused; AbortError where `signal` says so. What takes longer than ten seconds is no answer. */
export async function ask(path, parameters = {}, signal = undefined) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), PATIENCE_MS);
  let response;
  let answer;
  try {
    const either = signal ? AbortSignal.any([signal, limit.signal]) : limit.signal;
    response = await fetch(address(path, parameters), { headers, signal: either, cache: "no-store" });
    answer = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, {}, "The service does not answer");
  } finally {
    clearTimeout(timer);
  }
  noteClock(response.headers.get("Date"));
  const found = parsed(answer);
  if (!response.ok) throw new Refused(response.status, found ?? {}, found?.detail || `${response.status} ${response.statusText}`);
  if (!found || !SHAPES[path](found)) throw new Refused(0, {}, `What answers at /${path} is not this service`);
  return found;
}

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
