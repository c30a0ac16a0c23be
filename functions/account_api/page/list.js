/** The list of decisions: by day, model, project, verdict and reason, page by page, and as a file. */

import { csvPage, get } from "./api.js";
import { paged } from "./pages.js";
import { decisions } from "./requests.js";
import { code, el, moments, LOCAL, problem, quiet, table } from "./view.js";

const SHOWN = 20;
const MOST_CALLS = 10;
const FILE_ROWS = 100;
const MOST_FILE_PAGES = 100;
const REASONS = [
  "within_quota",
  "over_quota",
  "model_not_listed",
  "tier_not_included",
  "tool_use",
  "fine_tuned_model",
  "fine_tuning_training",
  "evals",
  "o_series_on_assistants",
  "sharing_disabled",
  "project_not_shared",
  "eval_sharing_disabled",
  "eval_not_shared",
  "not_eligible",
  "no_balance",
  "zero_data_retention",
  "enterprise_excluded",
  "no_price",
  "offer_not_started",
  "offer_ended",
  "void",
];

/** What the form asks for, as the API's parameters. */
export function filters(form) {
  const asked = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  return Object.fromEntries(Object.entries(asked).filter(([, value]) => value));
}

/** Put the reasons that the form offers into it. */
export function offerReasons(select) {
  select.append(...REASONS.map((reason) => el("option", { value: reason }, reason)));
}

/**
 * Show the decisions that are asked for. `guarded` wraps every call; `lookUp(id, day)` shows one in full. True if it
 * went well.
 */
export function list(body, query, guarded, lookUp) {
  return paged(body, guarded((after) => search(query, after)), shown, ["Newer", "Older"]);

  function shown({ records, following, refused }, turns) {
    const answer = el("div", { class: "answer", "aria-live": "polite" });
    const save = guarded(() => download(query, answer));
    return [
      records.length || !following ? decisions(records, lookUp) : el("p", {}, "None so far; go on with older ones."),
      el(
        "div",
        { class: "buttons pages" },
        turns,
        records.length > 0 && quiet("Download as CSV", () => save().catch((error) => answer.replaceChildren(problem(error)))),
      ),
      answer,
      refused.length > 0 && refusals(refused),
    ].filter(Boolean);
  }
}

/** A page of decisions. Answers may be short where few of many fit the filters: then it is asked for the next ones. */
async function search(query, after) {
  const refused = after ? [] : (await get("quarantine", query.day ? { day: query.day } : {})).data;
  const records = [];
  let following = after;
  for (let call = 0; call < MOST_CALLS; call += 1) {
    const limit = SHOWN - records.length;
    const answer = await get("requests", { ...query, limit, ...(following && { page: following }) });
    records.push(...answer.data);
    following = answer.next_page;
    if (!following || records.length >= SHOWN) break;
  }
  return { records, following, refused };
}

// As a file

/** All pages one after the other, one file. */
async function download(query, answer) {
  answer.replaceChildren(el("p", { class: "muted" }, "Collecting …"));
  const parts = [];
  let following = null;
  for (let number = 0; number < MOST_FILE_PAGES; number += 1) {
    const { text, next } = await csvPage("requests", { ...query, limit: FILE_ROWS, ...(following && { page: following }) });
    parts.push(parts.length ? text.slice(text.indexOf("\n") + 1) : text);
    following = next;
    if (!following) break;
  }
  save(parts, `decisions-${query.day ?? "latest"}.csv`);
  const rest = following ? " There are more than one file takes here: the API has them all." : "";
  answer.replaceChildren(el("p", { class: "standing" }, `The file was saved.${rest}`));
}

function save(parts, name) {
  const address = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address));
}

// What was refused

function refusals(entries) {
  const rows = entries.map(({ received_at: received, id, error }) => ({
    cells: [moments(received, LOCAL), el("span", { class: "name" }, id ?? "–"), [code(error.code), " ", error.message]],
  }));
  const columns = [{ label: "Received" }, { label: "Id" }, { label: "What was wrong" }];
  const caption = "Events that could not be decided. They are kept until they are sent through again.";
  return el("details", { open: true }, el("summary", {}, "Refused events"), table({ caption, columns, rows }));
}
