/** What the offer includes: groups with their quotas and models, what is left out, undated names, dates. */

import { el, empty, facts } from "./view.js";

const REQUIRED = { positive_balance: "A positive balance" };
const OVERFLOW = {
  skip: "A request that does not fit in what remains is billed as a whole; a later, smaller one may still be free.",
  close: "A request that does not fit in what remains is billed as a whole, and so is every later one of the window.",
};

export function included(offer) {
  const names = Object.entries(offer.aliases).map(([name, model]) => `${name} is ${model}`);
  return [
    offer.groups.length === 0 && empty("No model is included."),
    offer.groups.map(group),
    offer.evals && evaluations(offer.evals),
    more("Left out", offer.excludes.map(({ sentence }) => sentence)),
    more("Undated names", names),
    terms(offer),
    el("p", { class: "muted" }, OVERFLOW[offer.overflow]),
  ]
    .flat()
    .filter(Boolean);
}

/** What is asked for less often than the models. */
function terms(offer) {
  return el(
    "details",
    {},
    el("summary", {}, "Dates, requirements and source"),
    facts([
      ["Offer", offer.version],
      ["Valid", offer.ends ? `${offer.starts} to ${offer.ends}` : `from ${offer.starts} on`],
      ["Requires", offer.requires.map((each) => REQUIRED[each] ?? each).join(", ") || null],
      ["Usage tier", offer.tier === null ? "none" : `${offer.tier}`],
      ["Read in", offer.source && `${offer.source}${offer.seen ? ` (seen by ${offer.seen})` : ""}`],
    ]),
  );
}

function group({ group: name, words, models }) {
  return more(`Group ${name}: ${words ?? "nothing for this usage tier"}`, models);
}

function evaluations({ words, starts, ends }) {
  const dates = ends ? `${starts} to ${ends}` : `from ${starts} on`;
  return el("p", {}, `Shared evaluations: ${words ?? "nothing for this usage tier"}, ${dates}`);
}

/** A list that opens on demand. */
function more(title, lines) {
  if (!lines.length) return null;
  return el("details", {}, el("summary", {}, title), el("ul", {}, lines.map((line) => el("li", {}, line))));
}
