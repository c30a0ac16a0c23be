/** Status: the message of the published terms, and what is left of each group's quota and of the week's evaluation runs. */

import { badge, code, count, countdown, el, empty, facts, moments, unitName, usd } from "./view.js";

const WORDS = { ineligible: "Not eligible", eligible: "Eligible", enrolled: "Enrolled", ended: "Ended" };
const WHAT_WOULD_CHANGE = {
  not_eligible: "Only some organizations qualify; the platform's operator says which.",
  zero_data_retention: "Organizations with Zero Data Retention have no part in it; it is the platform's operator who can change that.",
  enterprise_excluded: "This Enterprise plan has no part in it; another plan would.",
  no_balance: "With a positive balance requests can be free again.",
  tier_not_included: "There is no allowance for this usage tier; a higher tier may have one.",
  offer_not_started: "The offer has not started yet.",
};
const NEARLY = 80;
const DAY_MS = 86_400_000;

export function status(allowance) {
  const word = WORDS[allowance.status] ?? allowance.status;
  return [
    el("p", { class: "message" }, badge(allowance.status, word), " ", allowance.message ?? ""),
    allowance.status === "eligible" && hint(),
    allowance.why && el("p", {}, "Why: ", code(allowance.why), ". ", WHAT_WOULD_CHANGE[allowance.why] ?? ""),
    allowance.status !== "ended" && lastDay(allowance.ends),
    allowance.status !== "ended" && groups(allowance),
    saved(allowance.saved_usd),
    allowance.as_of && el("p", { class: "muted as-of" }, "As of ", moments(allowance.as_of)),
  ]
    .flat()
    .filter(Boolean);
}

/** What the free requests would have cost. */
function saved({ today, month }) {
  return el("p", { class: "saved" }, `Saved by free requests: ${usd(today)} today, ${usd(month)} this month (UTC).`);
}

function hint() {
  const link = el("a", { href: "#sharing" }, "Enable sharing of prompts, completions and traces");
  return el("p", {}, link, " to use the complimentary tokens: they apply to shared traffic only.");
}

function lastDay(ends) {
  return ends && el("p", {}, `The offer's last day is ${ends} (UTC).`);
}

function groups({ groups: tokenGroups, eval_runs: runs }) {
  const shared = tokenGroups.every((group) => group.project === undefined);
  const rule =
    (shared ? "All projects of the organization share this. " : "") +
    "A request that does not fit in what remains is billed as a whole, even if something is left.";
  return [
    !tokenGroups.length && empty("No complimentary tokens apply to this organization now."),
    el("div", { class: "meters" }, tokenGroups.map(quotaOf), runs && evaluations(runs)),
    tokenGroups.length > 0 && el("p", { class: "muted" }, rule),
  ];
}

function quotaOf(group) {
  const closed = group.resets_at === null;
  return meter({
    ...group,
    title: `Group ${group.group}${project(group)}`,
    notes: [
      ["Window", closed ? "Not open yet" : span(group)],
      ["Resets", closed ? "The next free request opens the window" : reset(group.resets_at)],
      ["At this pace", group.used_up_at && ["used up ", moments(group.used_up_at)]],
      ["Reserved", Number(group.reserved) > 0 && `${group.unit === "usd" ? usd(group.reserved) : count(group.reserved)} ${unitName(group.reserved, group.unit)}`],
    ].filter(([, content]) => content),
  });
}

/** Of a group that counts by project. */
function project({ project: name }) {
  if (name === undefined) return "";
  return name === null ? ", no project" : `, project ${name}`;
}

function evaluations(runs) {
  return meter({
    ...runs,
    title: "Evaluation runs",
    unit: "runs",
    notes: [
      ["Applies to", "Shared evaluations"],
      ["Resets", runs.resets_at === null ? null : reset(runs.resets_at)],
    ],
  });
}

function span({ window, resets_at: end }) {
  if (window.includes("T")) return ["From ", moments(window)];
  const isUtcDay = new Date(end) - new Date(window) === DAY_MS;
  return isUtcDay ? `${window} (UTC day)` : `From ${window} on`;
}

function reset(moment) {
  return [countdown(moment), moments(moment)];
}

function meter({ title, unit, quota, used, reserved = 0, remaining, notes }) {
  const share = quota > 0 ? Math.min(used / quota, 1) * 100 : 100;
  const written = unit === "usd" ? usd : count;
  const aside = Number(reserved) > 0 ? `, ${written(reserved)} reserved` : "";
  const figures = `${written(used)} of ${written(quota)} used${aside}`;
  const bar = el("div", { class: "fill" });
  bar.style.width = `${share}%`;
  return el(
    "article",
    { class: `meter ${level(share, remaining)}` },
    el("div", { class: "head" }, el("h3", {}, title), warning(share, remaining, aside)),
    el("p", { class: "remaining" }, el("strong", {}, written(remaining)), ` ${unitName(remaining, unit)} left`.replace("  ", " ")),
    el(
      "div",
      {
        class: "bar",
        role: "meter",
        "aria-label": `${title}, used`,
        "aria-valuemin": 0,
        "aria-valuemax": quota,
        "aria-valuenow": Math.min(used, quota),
        "aria-valuetext": figures,
      },
      bar,
    ),
    el("p", { class: "figures" }, `${figures} (${percent(share)}%)`),
    facts(notes),
  );
}

/** Never rounded up to 100 while not all is used. */
function percent(share) {
  return share < 100 ? Math.min(Math.round(share), 99) : 100;
}

function level(share, remaining) {
  if (remaining <= 0) return "gone";
  return share >= NEARLY ? "nearly" : "plenty";
}

function warning(share, remaining, aside) {
  const kind = level(share, remaining);
  return { gone: badge("gone", aside ? "The rest is reserved" : "Used up"), nearly: badge("nearly", "Nearly used up"), plenty: null }[kind];
}
