// Asks the service that served this page. Every answer is JSON, and so is every refusal.

export const ROOT = new URL("..", import.meta.url);
const TOKEN = "hft-mmap.token";

/** A refusal of the service (status and problem document), or no answer at all (status 0). */
export class Refused extends Error {
  constructor(status, problem, text) {
    super(text);
    this.status = status;
    this.problem = problem;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

let skewMs = 0; // the clock of the service less ours

/** Return the time of the service in Unix seconds, as well as its answers tell. */
export const serviceNow = () => (Date.now() + skewMs) / 1000;

export function address(path, parameters = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}

export async function ask(path, parameters = {}, signal = undefined) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  let response;
  let answer;
  try {
    response = await fetch(address(path, parameters), { headers, signal, cache: "no-store" });
    answer = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, {}, "The service does not answer");
  }
  noteClock(response.headers.get("Date"));
  let found;
  try {
    found = JSON.parse(answer);
  } catch {
    found = { detail: answer.slice(0, 300) };
  }
  if (!response.ok) throw new Refused(response.status, found, found.detail || response.statusText);
  return found;
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
