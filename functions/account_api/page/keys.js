/** API keys of all organizations, for the platform's operator: made known without being shown, and revoked. */

import { del, endsWith } from "./api.js";
import { pageWithSome, paged } from "./pages.js";
import { announce, asksFirst, badge, code, el, empty, LOCAL, moments, table, TIMES } from "./view.js";

const SHOWN = 20;
const COLUMNS = [
  { label: "Key" },
  { label: "Organization" },
  { label: "Role" },
  { label: "Created" },
  { label: "Last used" },
  { label: "Ends" },
  { label: "Revoke", action: true },
];

const OWN = " It is the key that this page is using.";

/**
 * Show the keys. `query`: {organization}, if narrowed to one; `answer`: where it is said what was revoked; `guarded`
 * wraps every call. True if it went well.
 */
export function keys(body, answer, query, guarded) {
  const load = guarded((place) => pageWithSome("/keys", { ...query, limit: SHOWN }, place));
  return paged(body, load, shown);

  function shown({ data, following }, turns, again) {
    const pages = el("div", { class: "buttons pages" }, turns);
    if (!data.length) return [empty(following ? "None so far; go on with the next ones." : "There is no key."), pages];
    const rows = data.map((key) => row(key, revoking(key, again)));
    return [table({ caption: `By organization. ${TIMES}`, columns: COLUMNS, rows }), pages];
  }

  function revoking(key, again) {
    return guarded(async () => {
      await del(`/keys/${encodeURIComponent(key.id)}`);
      const said = `The key ${named(key)} was revoked.`;
      answer.replaceChildren(el("p", { class: "saved" }, said));
      announce(said);
      await again();
    });
  }
}

function row(key, act) {
  const own = key.role === "platform" && key.last_four && endsWith(key.last_four);
  const [revoke, sure] = asksFirst({
    ask: "Revoke",
    name: named(key),
    question: `Revoke the key ${named(key)}? Its next call is refused, and it cannot be brought back.${own ? OWN : ""}`,
    yes: "Yes, revoke it",
    no: "Keep it",
    words: "Revoking …",
    act,
  });
  return { cells: cells(key, own, revoke), note: sure };
}

/** `“ci” (…abcd) of org_a` */
function named({ name, last_four: four, id, organization }) {
  return `“${name || id}” (…${four || "?"}) of ${organization ?? "the platform"}`;
}

function cells(key, own, revoke) {
  const { id, name, last_four: four, organization, role } = key;
  const { created_at: created, last_used: used, expires_at: ends } = key;
  const over = ends && new Date(ends) <= Date.now();
  const known = el("span", { class: "instead" }, four ? `…${four}, ` : "", "id ", code(id));
  return [
    [el("span", { class: "name" }, name || "without a name"), own && badge("free", "This page’s"), known].filter(Boolean),
    organization === null ? "the platform" : el("span", { class: "name" }, organization),
    role,
    moments(created, LOCAL),
    used ?? "never",
    ends ? [moments(ends, LOCAL), over && badge("gone", "Ended")].filter(Boolean) : "no end",
    revoke,
  ];
}
