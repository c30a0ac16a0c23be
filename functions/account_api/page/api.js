/**
 * Calls of the account API. The key is held here, in memory; sessionStorage has it only if the person asked to keep it,
 * and then until the tab closes. It is never part of an address.
 */

const STORED = "gratis.session";
const PATIENCE_MS = 20_000;
const MOST_PAGES = 20;

let session = null;

/** The API refused, or could not be reached (`status` 0). `message` is for the person. */
export class ApiError extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The key was forgotten, or another organization opened, while a call was under way: nobody waits for its answer. */
export class Forgotten extends Error {}

/** Use this key from now on. `organization`: whom a platform key asks about, else "". */
export function open(key, organization, keep) {
  forget();
  session = { key, organization, keep, ended: new AbortController(), left: new AbortController() };
  if (keep) store({ key, organization });
}

/** Ask about another organization from now on, with the same key; "": about none. Answers about the last one drop. */
export function turnTo(organization) {
  session.left.abort();
  session = { ...session, organization, left: new AbortController() };
  if (session.keep) store({ key: session.key, organization });
}

/** Whether the key that is in use may be one of which the last characters are known. */
export function endsWith(four) {
  return session.key.endsWith(four);
}

/** Drop the key everywhere, and the answers that are still on their way. */
export function forget() {
  session?.ended.abort();
  session?.left.abort();
  session = null;
  store(null);
}

/** What was kept in this tab, or null. */
export function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED));
  } catch {
    return null;
  }
}

export function get(path, query = {}) {
  return call("GET", path, query);
}

export function post(path, body) {
  return call("POST", path, {}, body);
}

export function del(path) {
  return call("DELETE", path, {});
}

/** A page of a list as a table: its text, and the cursor of the next page or null. */
export async function csvPage(path, query) {
  const link = (response) => /<([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "")?.[1] ?? "";
  return call("GET", path, query, undefined, "text/csv", (response, text) => {
    if (!response.ok) return content(response, text);
    return { text, next: new URLSearchParams(link(response)).get("page") };
  });
}

/** The buckets of all pages of a usage or costs query. */
export async function buckets(path, query) {
  const found = [];
  let page = null;
  for (let number = 0; number < MOST_PAGES; number += 1) {
    const answer = await get(path, page ? { ...query, page } : query);
    found.push(...answer.data);
    if (!answer.has_more || !answer.next_page) return found;
    page = answer.next_page;
  }
  throw new ApiError(0, "The API answered with more pages than this page reads.");
}

function store(value) {
  try {
    if (value) sessionStorage.setItem(STORED, JSON.stringify(value));
    else sessionStorage.removeItem(STORED);
  } catch {
    // storage is switched off: the key stays in memory only
  }
}

async function call(method, path, query, body, accept = "application/json", read = content) {
  if (!session) throw new Forgotten();
  const { key, organization, ended, left } = session;
  const ofAccount = organization && !path.startsWith("/");
  const named = ofAccount ? { ...query, organization } : query;
  const dropped = AbortSignal.any(ofAccount ? [ended.signal, left.signal] : [ended.signal]);
  const answer = await send(address(path, named), {
    method,
    headers: { accept, authorization: `Bearer ${key}`, ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.any([dropped, AbortSignal.timeout(PATIENCE_MS)]),
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  }, read).catch((error) => {
    throw dropped.aborted ? new Forgotten() : error;
  });
  if (dropped.aborted) throw new Forgotten();
  return answer;
}

/** Relative to the page: the base path differs between deployments. What begins with / is not of one organization. */
function address(path, query) {
  const url = new URL(path.startsWith("/") ? `v1${path}` : `v1/organization/${path}`, document.baseURI);
  url.search = new URLSearchParams(query);
  return url;
}

async function send(url, options, read) {
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    return read(response, text);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (error.name === "TimeoutError") throw new ApiError(0, "The API did not answer in time. Try again.");
    throw new ApiError(0, "The API could not be reached. Check the connection and try again.");
  }
}

function content(response, text) {
  if (response.status === 204) return null;
  const answer = parsed(text);
  if (response.ok && answer !== null) return answer;
  const message = answer?.error?.message ?? `The API answered with status ${response.status} and no explanation.`;
  throw new ApiError(response.status, message, answer?.error?.code ?? null);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
