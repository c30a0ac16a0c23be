/** Sharing settings: the form for an owner, opting out of everything, and the history. */

import { get, post } from "./api.js";
import { asksFirst, during, el, empty, facts, LOCAL, moments, problem, table, TIMES } from "./view.js";

const IDENTIFIER = /^[A-Za-z0-9._-]{1,64}$/;
const SHORT = 5;
const SAVING = "Saving …";
const MODES = { disabled: "Disabled", enabled: "Enabled", selected: "Enabled for selected projects" };
const PARTS = {
  traffic: {
    title: "Prompts, completions and traces",
    about:
      "API traffic of enabled projects is shared: prompts, completions, traces, and other API activity like " +
      "fine-tuning and evaluations. Complimentary tokens apply to this traffic only.",
  },
  evals: {
    title: "Evaluations",
    about:
      "Members decide for each evaluation whether to share its data: prompts, completions, grading logic and " +
      "results. Shared evaluation runs are free up to the weekly number shown under Status.",
  },
  feedback: {
    title: "Feedback from the playground",
    about:
      "Members see a “thumbs down” button on model responses in the Playground. It gives them the option to share " +
      "feedback and the conversation up to that point, including prompts, outputs and uploaded files.",
  },
};
const CONFIRMATION =
  "I confirm that the organization has the permissions needed for this data to be processed and used as described " +
  "here, and that the data it shares includes no sensitive, confidential or proprietary information.";

/** The settings with a page of their history: the newest versions, or those of `page`. */
export function settings(page = null) {
  return get("data_sharing", page ? { page } : {});
}

/** Whether someone has changed the form and not saved it. */
export function edited(body) {
  return body.querySelector("form[data-edited]") !== null;
}

/**
 * `saved(message)` is called when the API took a change; null where the key may change nothing. `read(page)` gives
 * the settings with a further page of their history.
 */
export function sharing(current, saved, read) {
  if (!saved) return [readOnly(current), history(current, read)];
  return [optOut(current, saved), form(current, saved), history(current, read)].filter(Boolean);
}

function readOnly(current) {
  const rows = Object.entries(PARTS).map(([part, { title }]) => [title, words(current[part])]);
  return el("div", {}, facts(rows), el("p", { class: "muted" }, "Only an owner's key of the organization changes these settings."));
}

// The form

function form(current, saved) {
  const parts = Object.keys(PARTS).map((part) => fieldset(part, current[part]));
  const confirmed = el("input", { type: "checkbox" });
  const sense = el("span", {}, CONFIRMATION);
  const confirmation = el("label", { class: "choice confirmation", hidden: true }, confirmed, sense);
  const answer = el("div", { class: "answer" });
  const button = el("button", { type: "submit" }, "Save changes");
  const settingsOf = el("div", { class: "parts" }, parts.map((part) => part.node));
  const node = el("form", {}, settingsOf, confirmation, answer, button);

  const change = () => changed(current, parts);
  node.addEventListener("input", () => {
    const asked = change();
    node.toggleAttribute("data-edited", Object.keys(asked).length > 0);
    confirmation.hidden = !optsIn(asked);
    answer.replaceChildren();
  });
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = change();
    const fault = faultOf(asked, confirmed.checked);
    if (fault) answer.replaceChildren(problem(new Error(fault)));
    else send({ ...(optsIn(asked) && { confirmed: true }), ...asked }, button, answer, saved);
  });
  return node;
}

/** One setting. `read` gives what the form says now. */
function fieldset(part, { mode, projects }) {
  const { title, about } = PARTS[part];
  const ids = el("textarea", { id: `${part}-projects`, rows: 2, spellcheck: "false", autocapitalize: "off" });
  ids.value = (projects ?? []).join(", ");
  const names = el(
    "div",
    { class: "field", hidden: mode !== "selected" },
    el("label", { for: ids.id }, "Project ids, separated by commas or lines"),
    ids,
  );
  const radios = Object.keys(MODES).map((value) =>
    el("input", { type: "radio", name: part, value, checked: value === mode }),
  );
  const labels = radios.map((radio) => el("label", { class: "choice" }, radio, MODES[radio.value]));
  const node = el("fieldset", {}, el("legend", {}, title), el("p", { class: "muted" }, about), labels, names);
  const chosen = () => radios.find((radio) => radio.checked).value;
  node.addEventListener("change", () => {
    names.hidden = chosen() !== "selected";
  });
  return { part, node, read: () => setting(chosen(), ids.value) };
}

function setting(mode, text) {
  return mode === "selected" ? { mode, projects: listed(text) } : { mode };
}

function listed(text) {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** Only the settings that differ from those in force. */
function changed(current, parts) {
  const asked = parts.map(({ part, read }) => [part, read()]);
  return Object.fromEntries(asked.filter(([part, wanted]) => !same(current[part], wanted)));
}

function same(setting, wanted) {
  const names = ({ projects }) => [...(projects ?? [])].sort().join();
  return setting.mode === wanted.mode && (wanted.mode !== "selected" || names(setting) === names(wanted));
}

function optsIn(asked) {
  return Object.values(asked).some(({ mode }) => mode !== "disabled");
}

/** Why the change cannot be sent as it is, or null. */
function faultOf(asked, confirmed) {
  const [unfit] = Object.values(asked).flatMap(({ projects }) => projects ?? []).filter((id) => !IDENTIFIER.test(id));
  const unnamed = Object.entries(asked).find(([, { mode, projects }]) => mode === "selected" && !projects.length);
  if (!Object.keys(asked).length) return "Nothing has been changed yet.";
  if (unnamed) return `Name at least one project to share: ${PARTS[unnamed[0]].title}.`;
  if (unfit) return `“${unfit}” cannot be a project id: up to 64 letters, digits, dots, hyphens and underscores.`;
  if (optsIn(asked) && !confirmed) return "Please confirm that the organization may share this data.";
  return null;
}

function send(change, button, answer, saved) {
  return during(button, answer, SAVING, () => save(change, saved));
}

async function save(change, saved) {
  await post("data_sharing", change);
  saved("The sharing settings were saved and are in force now.");
}

// Opting out

/** One click, and one more to confirm, in the page. */
function optOut(current, saved) {
  const shared = Object.keys(PARTS).filter((part) => current[part].mode !== "disabled");
  if (!shared.length) return el("p", { class: "standing" }, "Nothing is shared.");
  const nothing = Object.fromEntries(shared.map((part) => [part, { mode: "disabled" }]));
  const [stop, sure] = asksFirst({
    ask: "Stop sharing everything",
    question: "Stop sharing everything? It takes effect at once, and requests are billed at normal rates from then on.",
    yes: "Yes, stop sharing",
    no: "Keep sharing",
    words: SAVING,
    act: () => save(nothing, saved),
  });
  return el("div", { class: "opt-out" }, standing(shared), stop, sure);
}

function standing(shared) {
  const names = shared.map((part) => PARTS[part].title.toLowerCase());
  return el("p", { class: "standing" }, `Shared now: ${names.join("; ")}.`);
}

// The history

/** Versions are counted from 1, so the newest one's number says how many there are. */
function history({ history: newest, next_page: following }, read) {
  if (!newest.length) return empty("These settings have never been changed.");
  const count = newest[0].version;
  const body = el("div", { tabindex: "-1" });
  showVersions(body, newest, following, read);
  const title = `History (${count} ${count === 1 ? "version" : "versions"})`;
  return el("details", { open: count <= SHORT }, el("summary", {}, title), body);
}

/** The versions so far, and a button for older ones where there are more. */
function showVersions(body, versions, following, read) {
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const more = async () => {
    try {
      const next = await read(following);
      showVersions(body, [...versions, ...next.history], next.next_page, read);
      body.focus({ preventScroll: true });
    } catch (error) {
      answer.replaceChildren(problem(error));
    }
  };
  const older = el("button", { type: "button", class: "quiet", onclick: more }, "Show older versions");
  body.replaceChildren(versionsTable(versions), ...(following ? [el("div", { class: "buttons pages" }, older), answer] : []));
}

function versionsTable(versions) {
  const columns = ["Version", "In force from", "By", ...Object.values(PARTS).map(({ title }) => title), "Confirmed"];
  const rows = versions.map((version) => ({
    cells: [
      String(version.version),
      moments(version.effective_at, LOCAL),
      name(version.actor ?? "–", "who"),
      ...Object.keys(PARTS).map((part) => name(words(version[part]))),
      version.confirmed ? "Yes" : "No",
    ],
  }));
  return table({
    caption: `The versions of the sharing settings, newest first. ${TIMES}`,
    columns: columns.map((label) => ({ label })),
    rows,
  });
}

/** Long names may break anywhere. */
function name(text, kind = "") {
  return el("span", { class: `name ${kind}` }, text);
}

/** Of a long list the history says how many projects it names. */
function words({ mode, projects, project_count }) {
  if (project_count) return `Selected projects: ${project_count}`;
  return mode === "selected" ? `Selected projects: ${(projects ?? []).join(", ") || "none"}` : MODES[mode] ?? mode;
}

