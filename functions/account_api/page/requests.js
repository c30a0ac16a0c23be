/** Decisions in a table, and one decision in full. */

import { ApiError, get } from "./api.js";
import { badge, code, count, el, empty, facts, LOCAL, moments, sentence, table, TIMES } from "./view.js";
import { units, usd, utcDay, verdictBadge } from "./view.js";

const EVALS = "evals";
const COLUMNS = [
  { label: "Time" },
  { label: "Request" },
  { label: "Model" },
  { label: "Project" },
  { label: "Tokens", numeric: true },
  { label: "Verdict" },
  { label: "Amount", numeric: true },
];

/** `lookUp(id, day)` shows one of them in full. */
export function decisions(records, lookUp) {
  if (!records.length) return empty("No such decisions. New ones appear here seconds after a request has been decided.");
  const rows = records.map((record) => ({ cells: cells(record, lookUp), note: record.explanation }));
  const caption = `The newest decided first. ${TIMES}`;
  return table({ caption, columns: COLUMNS, rows });
}

function cells(record, lookUp) {
  const show = () => lookUp(record.request_id, utcDay(record.occurred_at));
  return [
    moments(record.occurred_at, LOCAL),
    el("button", { type: "button", class: "link", title: "Show all its figures", onclick: show }, record.request_id),
    el("span", { class: "name" }, record.model),
    record.project === null ? "–" : el("span", { class: "name" }, record.project),
    count(record.tokens.total),
    [record.voids ? badge("void", "Void") : verdictBadge(record.verdict), " ", code(record.reason)],
    amount(record),
  ];
}

function amount(record) {
  const billed = el("span", {}, usd(record.amount_usd));
  if (record.verdict !== "free" || record.list_amount_usd === null) return billed;
  return [billed, el("span", { class: "instead" }, `instead of ${usd(record.list_amount_usd)}`)];
}

/** The record, or why there is none: `{missing: message}`, with `refused` true if its event lies in quarantine. */
export async function decision(id, day) {
  try {
    return await get(`requests/${encodeURIComponent(id)}`, day ? { day } : {});
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) {
      return { missing: error.message, refused: error.code === "refused" };
    }
    throw error;
  }
}

export function explained(record, id, day) {
  if (record.missing) return record.refused ? refused(record.missing) : unknown(id, day);
  return [
    el("p", { class: "message" }, verdictBadge(record.verdict), " ", why(record.explanation)),
    record.void && el("p", { class: "message" }, badge("void", "Void"), " ", why(record.void.explanation)),
    facts([...theRequest(record), ...theCounter(record), ...theReceipt(record)]),
  ].filter(Boolean);
}

/** The explanation without the verdict it begins with, which the badge beside it says. */
function why(explanation) {
  return sentence(explanation.replace(/^(Free|Billed): /, ""));
}

function refused(message) {
  return el("p", { class: "message" }, badge("gone", "Refused"), " ", sentence(message));
}

function unknown(id, day) {
  const start = `There is no decision for the request “${id}”${day ? ` on ${day} (UTC)` : ""}.`;
  const advice = "Check the id; a request that was sent a moment ago may not be decided yet.";
  return empty(`${start} ${advice}${day ? " Without a day, every day that is still kept is searched." : ""}`);
}

function theRequest(record) {
  const { input, cached_input: cached, output, total } = record.tokens;
  return [
    ["Occurred", moments(record.occurred_at)],
    ["Request", record.request_id],
    ["Model", record.model],
    ["Project", record.project ?? "none"],
    ["Tokens", `${count(total)} (${count(input)} input, of which ${count(cached)} cached; ${count(output)} output)`],
    ["Reason", code(record.reason)],
    ["Billed amount", usd(record.amount_usd)],
    ["At the normal rate", usd(record.list_amount_usd)],
  ];
}

/** Figures that do not apply are null, and left out. Evaluation runs are counted in runs. */
function theCounter(record) {
  const unit = record.unit ?? (record.group === EVALS ? "runs" : "tokens"); // records of the first release name none
  const figure = (number) => (number === null ? null : units(number, unit));
  return [
    ["Group", record.group],
    ["Window", record.window],
    ["Quota", figure(record.quota)],
    ["Used before", figure(record.used_before)],
    ["Used after", figure(record.used_after)],
    ["Running total with it", figure(record.running_total)],
  ];
}

function theReceipt(record) {
  return [
    ["Usage tier", record.tier === null ? "none" : count(record.tier)],
    ["Offer", record.offer],
    ["Profile version", count(record.profile_version)],
    ["Settings version", count(record.settings_version)],
    ["Price version", record.price_version ?? "–"],
    ["Received", moments(record.received_at)],
    ["Decided", moments(record.decided_at)],
    ["Record", record.id],
    ["Payload hash", el("code", {}, record.payload_hash)],
  ];
}
