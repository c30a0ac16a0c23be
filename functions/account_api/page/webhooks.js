/** Outgoing webhooks, for an owner: endpoints, how they are doing, what was delivered, and registering one. */

import { del, get, post } from "./api.js";
import { asksFirst, badge, during, el, empty, facts, LOCAL, moments, quiet, table, TIMES } from "./view.js";

const SHOWN = 10;
const TYPES = {
  BillingRecords: "decisions",
  QuotaThresholdReached: "a quota at 80 % and used up",
  EventQuarantined: "a refused event",
  DayClosed: "a day's statement",
  SharingChanged: "changed sharing settings",
  ModelNotListed: "a model that no group lists",
};
const OUTCOMES = { delivered: ["free", "Delivered"], retry: ["billed", "Failed"], given_up: ["gone", "Given up"] };
const COLUMNS = [
  { label: "Time" },
  { label: "Event" },
  { label: "Attempt", numeric: true },
  { label: "Outcome" },
  { label: "Answer" },
  { label: "Milliseconds", numeric: true },
];

// Registering

/** Put the types of events that an endpoint may get into the form. */
export function offerTypes(fieldset) {
  fieldset.append(...Object.entries(TYPES).map(([type, about]) => choice(type, about)));
}

function choice(type, about) {
  const box = el("input", { type: "checkbox", name: "types", value: type, checked: true });
  return el("label", { class: "choice" }, box, el("span", {}, el("code", {}, type), ` ${about}`));
}

/**
 * Register what the form asks for; `registered(endpoint)` is called with the answer, which holds the secret. `guarded`
 * wraps every call.
 */
export function register(form, answer, guarded, registered) {
  const asked = new FormData(form);
  const [url, types] = [asked.get("url").trim(), asked.getAll("types")];
  const send = guarded(async () => {
    if (!types.length) throw new Error("Choose at least one type of event");
    const made = await post("webhooks", { url, types });
    form.reset();
    await registered(made);
  });
  return during(form.querySelector("button"), answer, "Registering …", send);
}

/** A new endpoint's secret until `stored()`: it cannot be read again. */
export function secretOnce({ url, secret }, stored) {
  const field = el("input", { id: "webhook-secret", type: "text", readonly: true, spellcheck: "false" });
  field.value = secret;
  field.addEventListener("focus", () => field.select());
  return el(
    "div",
    { class: "saved once", role: "group", "aria-label": "Signing secret" },
    el("label", { for: field.id }, `Signing secret of ${url}`),
    el("p", {}, "It is shown this once. Store it where the endpoint verifies what it gets."),
    field,
    el("button", { type: "button", onclick: stored }, "I have stored it"),
  );
}

// Endpoints

export function endpoints() {
  return get("webhooks");
}

/** `changed(message)` is called when the API took a change; `guarded` wraps every call. */
export function shown({ data }, guarded, changed) {
  if (!data.length) return empty("No endpoint is registered.");
  return data.map((endpoint) => card(endpoint, guarded, changed));
}

function card(endpoint, guarded, changed) {
  const { id, url, status, notice } = endpoint;
  const log = el("div", { class: "body", tabindex: "-1" });
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const doing = (button, words, act) => during(button, answer, words, guarded(act));
  const test = quiet("Send a test", () =>
    doing(test, "Sending …", async () => {
      const { event_id: event } = await post(`webhooks/${id}/test`);
      return el("p", {}, "A test is under way; seconds later it is among the deliveries: ", el("code", {}, event));
    }),
  );
  const enable = quiet("Enable again", () =>
    doing(enable, "Enabling …", async () => {
      await post(`webhooks/${id}/enable`);
      await changed(`${url} is enabled again. What fell due meanwhile is not sent.`);
    }),
  );
  const logged = quiet("Show deliveries", () =>
    doing(logged, "Loading …", async () => {
      log.replaceChildren(...(await deliveries(id, null, doing)));
    }),
  );
  const [remove, sure] = asksFirst({
    ask: "Delete",
    question: "Delete this endpoint? Nothing is sent there any more, and its secret is gone.",
    yes: "Yes, delete it",
    no: "Keep it",
    words: "Deleting …",
    act: guarded(async () => {
      await del(`webhooks/${id}`);
      await changed(`${url} was deleted.`);
    }),
  });
  return el(
    "article",
    { class: "meter", "aria-labelledby": `${id}-title` },
    el("div", { class: "head" }, el("h3", { id: `${id}-title` }, url), standing(status)),
    notice && el("p", {}, `Disabled: ${notice}.`),
    facts(figures(endpoint)),
    el("div", { class: "buttons" }, status === "enabled" ? test : enable, logged, remove),
    sure,
    answer,
    log,
  );
}

function standing(status) {
  return status === "enabled" ? badge("free", "Enabled") : badge("gone", "Disabled");
}

function figures({ types, created_at: created, created_by: actor, failing_since: failing, last_success_at: success }) {
  const all = types.length === Object.keys(TYPES).length;
  return [
    ["Gets", all ? "every type of event" : types.join(", ")],
    ["Registered", [moments(created), ` by ${actor}`]],
    ["Failing since", failing && moments(failing)],
    ["Last delivered", success ? moments(success) : "never"],
  ];
}

// Deliveries

/** A page of the log, and a button that puts the next one in its place. */
async function deliveries(id, page, doing) {
  const { data, next_page: following } = await get(`webhooks/${id}/deliveries`, { limit: SHOWN, ...(page && { page }) });
  if (!data.length) return [empty("Nothing was sent there in the last 30 days.")];
  const caption = `Attempts of the last 30 days, newest first. ${TIMES}`;
  const found = [table({ caption, columns: COLUMNS, rows: data.map((attempt) => ({ cells: cells(attempt) })) })];
  if (!following) return found;
  const older = quiet("Older deliveries", () =>
    doing(older, "Loading …", async () => {
      const [log, next] = [older.parentElement, await deliveries(id, following, doing)];
      log.replaceChildren(...next);
      log.focus();
    }),
  );
  return [...found, older];
}

function cells({ at, type, event_id: event, attempt, outcome, status, error, milliseconds, next_at: next }) {
  const [kind, word] = OUTCOMES[outcome];
  return [
    moments(at, LOCAL),
    [el("code", {}, type), " ", el("span", { class: "name" }, event)],
    String(attempt),
    [badge(kind, word), next && ["; again ", moments(next, LOCAL)]].flat().filter(Boolean),
    [status && `HTTP ${status}`, error].filter(Boolean).join(": ") || "–",
    String(milliseconds),
  ];
}
