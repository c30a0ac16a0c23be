/** The organizations of a day, for the platform's operator; and the days that are not proved. */

import { get } from "./api.js";
import { pageWithSome, paged } from "./pages.js";
import { badge, count, el, empty, moments, quiet, table, unitName, usd, utcDay } from "./view.js";

const SHOWN = 25;
const BLOCK = 1000;
const DAYS = 7;
const DAY_MS = 86_400_000;
const NEARLY = 0.2;
const STATUS = { ineligible: "Not eligible", eligible: "Eligible", ended: "Ended" };
const PROOFS = {
  fails: ["gone", "Does not hold"],
  missing: ["nearly", "None yet"],
  holds: ["free", "Holds"],
  open: ["open", "Day not over"],
  nothing: ["open", "Nothing to prove"],
};
const COLUMNS = [
  { label: "Organization" },
  { label: "Left" },
  { label: "Given away", numeric: true },
  { label: "Billed", numeric: true },
  { label: "Refused", numeric: true },
  { label: "Proof" },
];

/**
 * Show the organizations of a day. Blocks are sorted within themselves, and shown in parts. `guarded` wraps every
 * call; `openAccount(name, button)` leads to one. True if it went well.
 */
export function organizations(body, query, guarded, openAccount) {
  let block = null;
  const load = guarded(async (place) => {
    const { after, first } = place ?? { after: null, first: 0 };
    if (block?.after !== after) {
      block = { ...(await pageWithSome("/organizations", { ...query, limit: BLOCK }, after)), after };
      query = { ...query, day: block.day }; // whatever midnight passes before the next one
    }
    const [last, next] = [first + SHOWN, block.following];
    const following = last < block.data.length ? { after, first: last } : next && { after: next, first: 0 };
    const isPart = Boolean(after || next);
    return { ...block, rows: block.data.slice(first, last), first, following, isPart };
  });
  return paged(body, load, (answer, turns) => shown(answer, query, turns, openAccount));
}

function shown({ day, as_of: asOf, data, rows, first, following, isPart }, { prefix }, turns, openAccount) {
  const when = el("p", { class: "muted as-of" }, `Of ${day} (UTC), as of `, moments(asOf));
  const isListed = !prefix || following || data.some((row) => row.organization === prefix);
  const pages = el("div", { class: "buttons pages" }, turns, isListed ? [] : openIdle(prefix, openAccount));
  if (!rows.length) return [nobody(day, prefix, following), when, pages];
  const part = `, ${count(first + 1)} to ${count(first + rows.length)} of ${count(data.length)}`;
  const span = data.length > rows.length ? part : "";
  const sorted = isPart ? ` There are more: sorted are ${count(data.length)} at a time, in the order of names.` : "";
  const caption = `Organizations that sent something${span}.${sorted} A name opens the account.`;
  const lines = rows.map((row) => ({ cells: cells(row, openAccount) }));
  return [table({ caption, columns: COLUMNS, rows: lines }), when, pages];
}

function nobody(day, prefix, following) {
  if (following) return empty("None so far; go on with the next ones.");
  const who = prefix ? `No organization whose name begins with “${prefix}”` : "Nobody";
  return empty(`${who} sent anything on ${day}.`);
}

/** Who sent nothing that day is not in the list, and has an account all the same. */
function openIdle(name, openAccount) {
  const open = quiet(`Open the account of ${name}`, () => openAccount(name, open));
  return open;
}

function cells(row, openAccount) {
  const open = el("button", { type: "button", class: "link", title: "Open the account" }, row.organization);
  open.addEventListener("click", () => openAccount(row.organization, open));
  const said = `${count(row.unpriced_requests)} without a price`;
  const unpriced = row.unpriced_requests > 0 && el("span", { class: "instead" }, said);
  return [
    [open, " ", standing(row)],
    row.groups.length ? row.groups.map(left) : "–",
    [el("span", {}, usd(row.saved_usd)), requests(row.free_requests)],
    [el("span", {}, usd(row.amount_usd)), requests(row.billed_requests), unpriced].filter(Boolean),
    row.quarantined === null ? "too many to count" : count(row.quarantined),
    proof(row.proof),
  ];
}

/** What is unusual about it. */
function standing({ is_known: known, status }) {
  if (!known) return badge("unknown", "Unknown");
  return STATUS[status] ? badge(status, STATUS[status]) : null;
}

function left({ group, unit, quota, remaining }) {
  const written = unit === "usd" ? usd : count;
  const part = Number(quota) > 0 ? Number(remaining) / Number(quota) : 0;
  const word = part <= 0 ? badge("gone", "Used up") : part <= NEARLY ? badge("nearly", "Nearly used up") : null;
  const figures = `${group}: ${written(remaining)} of ${written(quota)} ${unitName(quota, unit)}`;
  return el("p", {}, figures.trim(), " ", word);
}

function requests(number) {
  return el("span", { class: "instead" }, number === 1 ? "1 request" : `${count(number)} requests`);
}

function proof(name) {
  return badge(...(PROOFS[name] ?? ["open", name]));
}

// Days that are not proved

/** Of each of the last days that are over, the newest first, how the proofs of its organizations stand. */
export async function days(now = Date.now()) {
  const found = [];
  for (let back = 1; back <= DAYS; back += 1) {
    const day = utcDay(now - back * DAY_MS);
    const { data, has_more: more } = await get("/organizations", { day, sort: "proof", limit: BLOCK });
    found.push({ day, more, proofs: data.map((each) => each.proof) });
  }
  return found;
}

/** `showDay(day)` shows a day's organizations. */
export function proofs(found, showDay) {
  const columns = [
    { label: "Day (UTC)" },
    { label: "State" },
    { label: "Proofs" },
  ];
  const some = found.filter((each) => each.more || stand(each));
  if (!some.length) return empty(`Nothing was decided on the last ${DAYS} days.`);
  const more = "Of the first organizations by name; there are more.";
  const rows = some.map((each) => ({ cells: dayCells(each, showDay), note: each.more ? more : null }));
  const open = some.filter(unproved).length;
  const are = open === 1 ? "is" : "are";
  const said = open ? `${open} of the last ${DAYS} days ${are} not proved.` : `No day of the last ${DAYS} waits for a proof.`;
  const caption = "Days with decisions, the newest first. A day is proved soon after it is over.";
  return [el("p", { class: "message" }, said), table({ caption, columns, rows })];
}

function unproved(day) {
  return number(day, "fails") + number(day, "missing");
}

function number({ proofs: all }, name) {
  return all.filter((each) => each === name).length;
}

/** `1 not holding, 14 holding`: of how many organizations; empty if nothing was decided. */
function stand(day) {
  const words = { fails: "not holding", missing: "not there yet", holds: "holding" };
  const parts = Object.entries(words).map(([name, said]) => [number(day, name), said]);
  return parts.filter(([of]) => of).map(([of, said]) => `${count(of)} ${said}`).join(", ");
}

function dayCells(each, showDay) {
  const attributes = { type: "button", class: "link", title: "Show its organizations" };
  const show = el("button", { ...attributes, onclick: () => showDay(each.day) }, each.day);
  const word = unproved(each) ? badge("gone", "Not proved") : badge("free", "Proved");
  return [show, word, stand(each) || "–"];
}
