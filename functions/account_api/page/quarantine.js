/** Quarantine of all organizations, for the platform's operator: what was refused and why, and sent through again. */

import { Forgotten, post } from "./api.js";
import { pageWithSome, paged } from "./pages.js";
import { announce, code, count, during, el, empty, LOCAL, moments, problem, quiet, table, TIMES } from "./view.js";
import { utcDay, verdictBadge } from "./view.js";

const SHOWN = 20;
const LATELY = 7;
const DAY_MS = 86_400_000;
const AT_ONCE = 50;
const MOST_CALLS = 100;
const MOST_NAMED = 20;
const REASONS = [
  "invalid_event",
  "too_old",
  "in_the_future",
  "too_large",
  "no_organization",
  "conflict",
  "unknown_request",
  "internal_error",
];
const COLUMNS = [
  { label: "Received" },
  { label: "Organization" },
  { label: "Id" },
  { label: "What was wrong" },
  { label: "Redrive", action: true },
];
const STATES = {
  sent: "sent through again",
  decided: "decided, and out of quarantine",
  skipped: "not in need of a decision, and out of quarantine",
  refused: "refused again",
};
const WAIT = "What was sent leaves quarantine once it is decided: send it again in some seconds, and it goes.";

/** Put the reasons that the form offers into it. */
export function offerCodes(select) {
  select.append(...REASONS.map((reason) => el("option", { value: reason }, reason)));
}

/**
 * Show what was refused. `which`: {day, organization, code}, each only if narrowed to one; `answer`: where it is said
 * what became of what was sent again; `guarded` wraps every call. True if it went well.
 */
export function quarantine(body, answer, which, guarded) {
  return paged(body, guarded((place) => refused(which, place)), shown);

  function shown({ day, data, page, following }, turns, again) {
    const pages = el("div", { class: "buttons pages" }, turns);
    if (!data.length) return [empty(nothing(which, following)), pages];
    const send = (button, more, most) => redrive({ ...which, day, ...more }, most, button, answer, guarded, again);
    const rows = data.map((entry) => ({ cells: cells(entry, page, send), note: decided(entry) }));
    const all = quiet("Send all again", () => send(all, { limit: AT_ONCE }, MOST_CALLS));
    pages.append(all);
    const said = "Each stays until its event has a decision; what is sent twice is decided once. All: those of every page.";
    const caption = `Received on ${day} (UTC), by organization and id. ${TIMES}`;
    return [el("p", { class: "muted" }, said), table({ caption, columns: COLUMNS, rows }), pages];
  }
}

/** A page of the day, as {day, data, page, following}; without a day of the latest one that has some, of the last week. */
async function refused(which, place) {
  // of one organization its own list, whose pages are those of a redrive of it
  const path = which.organization ? "quarantine" : "/quarantine";
  let found = null;
  for (const day of place ? [place.day] : days(which)) {
    const { data, place: page, following } = await pageWithSome(path, { ...which, day, limit: SHOWN }, place?.page);
    found = { day, data, page, following: following && { day, page: following } };
    if (data.length || following) break;
  }
  return found;
}

function days({ day }) {
  return day ? [day] : Array.from({ length: LATELY }, (_, back) => utcDay(Date.now() - back * DAY_MS));
}

function nothing({ day, organization, code: reason }, following) {
  if (following) return "None so far; go on with the next ones.";
  const of = [organization && ` of ${organization}`, reason && ` for ${reason}`].filter(Boolean).join("");
  return day ? `Nothing${of} was refused on ${day} (UTC).` : `Nothing${of} was refused in the last ${LATELY} days.`;
}

function cells(entry, page, send) {
  const { organization, id, received_at: received, error } = entry;
  const which = { id, code: error.code, limit: SHOWN, ...(page && { page }) };
  const again = quiet("Send again", () => send(again, which, 1), id);
  return [
    moments(received, LOCAL),
    organization === null ? "–" : el("span", { class: "name" }, organization),
    id === null ? "–" : el("span", { class: "name" }, id),
    [code(error.code), " ", error.message],
    id === null ? "with all" : again,
  ];
}

/** Of a conflict, what stands. */
function decided({ decided: record }) {
  return record && ["The decision that stands: ", verdictBadge(record.verdict), " ", code(record.reason)];
}

// Sent through again

/** One at a time, so that what is said of one is not replaced by the next. */
async function redrive(which, most, button, answer, guarded, again) {
  if (answer.getAttribute("aria-busy") === "true") return announce("Wait until what was sent before is answered.");
  answer.setAttribute("aria-busy", "true");
  await during(button, answer, "Sending …", guarded(() => sent(which, most, button, answer, guarded, again)));
  answer.removeAttribute("aria-busy");
}

/** Send page after page. What happened is said, also where it ended early: with the error, and a button to go on. */
async function sent(which, most, button, answer, guarded, again) {
  const done = [];
  let [page, failed] = [which.page, null];
  try {
    for (let call = 0; call < most; call += 1) {
      const { data, next_page: following } = await post("/quarantine/redrive", { ...which, ...(page && { page }) });
      done.push(...data);
      page = following;
      if (!page) break;
    }
  } catch (error) {
    if (error instanceof Forgotten || error.status === 401 || !done.length) throw error;
    failed = error;
  }
  await again();
  const rest = page && most > 1;
  const goOn = rest && quiet("Go on", () => redrive({ ...which, page }, most, goOn, answer, guarded, again));
  announce(summary(done));
  return [...became(done), failed && problem(failed), goOn].filter(Boolean);
}

function became(done) {
  const refused = done.filter((each) => each.state === "refused");
  const more = refused.length > MOST_NAMED && el("p", {}, `and ${count(refused.length - MOST_NAMED)} more`);
  const item = ({ id, why }) => el("li", {}, el("span", { class: "name" }, id ?? "–"), ` ${why}`);
  const named = refused.slice(0, MOST_NAMED).map(item);
  const list = refused.length > 0 && el("div", {}, el("p", {}, "Refused again:"), el("ul", {}, named), more || null);
  return [el("p", { class: "saved" }, summary(done)), list].filter(Boolean);
}

function summary(done) {
  if (!done.length) return "Nothing was sent: there is no such event any more.";
  const number = (state) => done.filter((each) => each.state === state).length;
  const parts = Object.entries(STATES).map(([state, words]) => [number(state), words]);
  const said = parts.filter(([of]) => of).map(([of, words]) => `${count(of)} ${words}`).join("; ");
  return number("sent") ? `${said}. ${WAIT}` : `${said}.`;
}
