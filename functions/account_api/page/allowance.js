/** Status: the message of the published terms, and what is left of each group's quota and of the week's evaluation runs. */

import { badge, count, countdown, el, empty, facts, moments } from "./view.js";

const WORDS = { ineligible: "Not eligible", eligible: "Eligible", enrolled: "Enrolled", ended: "Ended" };
const NEARLY = 80;

export function status(allowance) {
  const word = WORDS[allowance.status] ?? allowance.status;
  return [
    el("p", { class: "message" }, badge(allowance.status, word), " ", allowance.message ?? ""),
    allowance.status === "eligible" && hint(),
    allowance.status !== "ended" && groups(allowance),
  ]
    .flat()
    .filter(Boolean);
}

function hint() {
  const link = el("a", { href: "#sharing" }, "Enable sharing of prompts, completions and traces");
  return el("p", {}, link, " to use the complimentary tokens: they apply to shared traffic only.");
}

function groups({ groups: tokenGroups, eval_runs: runs }) {
  const rule =
    "All projects of the organization share these tokens. A request that does not fit in what remains is billed as " +
    "a whole, even if some tokens are left.";
  return [
    !tokenGroups.length && empty("No complimentary tokens apply to this organization now."),
    el("div", { class: "meters" }, tokenGroups.map(tokens), runs && evaluations(runs)),
    tokenGroups.length > 0 && el("p", { class: "muted" }, rule),
  ];
}

function tokens(group) {
  const closed = group.resets_at === null;
  return meter({
    ...group,
    title: `Group ${group.group}`,
    unit: "tokens",
    notes: [
      ["Window", closed ? "Not open yet" : span(group.window)],
      ["Resets", closed ? "24 hours after the next free request, which opens the window" : reset(group.resets_at)],
    ],
  });
}

function evaluations(runs) {
  return meter({
    ...runs,
    title: "Evaluation runs this week",
    unit: "runs",
    notes: [
      ["Applies to", "Shared evaluations, while the organization qualifies"],
      ["Resets", runs.resets_at === null ? null : reset(runs.resets_at)],
    ],
  });
}

function span(window) {
  if (!window) return null;
  return window.includes("T") ? ["24 hours from ", moments(window)] : `${window} (UTC day)`;
}

function reset(moment) {
  return [countdown(moment), moments(moment)];
}

function meter({ title, unit, quota, used, remaining, notes }) {
  const share = quota > 0 ? Math.min(used / quota, 1) * 100 : 100;
  const figures = `${count(used)} of ${count(quota)} used`;
  const bar = el("div", { class: "fill" });
  bar.style.width = `${share}%`;
  return el(
    "article",
    { class: `meter ${level(share, remaining)}` },
    el("div", { class: "head" }, el("h3", {}, title), warning(share, remaining)),
    el("p", { class: "remaining" }, el("strong", {}, count(remaining)), ` ${unit} left`),
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
    el("p", { class: "figures" }, `${figures} (${percent(share, remaining)}%)`),
    facts(notes),
  );
}

/** Never rounded up to 100 while something is left. */
function percent(share, remaining) {
  return remaining > 0 ? Math.min(Math.round(share), 99) : 100;
}

function level(share, remaining) {
  if (remaining <= 0) return "gone";
  return share >= NEARLY ? "nearly" : "plenty";
}

function warning(share, remaining) {
  const kind = level(share, remaining);
  return { gone: badge("gone", "Used up"), nearly: badge("nearly", "Nearly used up"), plenty: null }[kind];
}
