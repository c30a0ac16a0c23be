/** How things are shown: elements, states of a section, numbers, money and times. Data only ever becomes text nodes. */

import { Forgotten } from "./api.js";

const whole = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumFractionDigits: 8 });
const localTime = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const MINUTE = 60_000;

/** The person's own time zone, as named by the browser. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "your time zone";
/** Whether local time is another than UTC, so that both have to be said. */
const LOCAL_DIFFERS = !["UTC", "Etc/UTC", "Etc/UCT", "Etc/GMT", "GMT"].includes(ZONE);

/** An element. Attributes that are false or null are left out; `onclick` and the like are listeners. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== false));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Say something to those who listen to the page. */
export function announce(text) {
  byId("announce").textContent = text;
}

const latest = new WeakMap();
const filled = new WeakSet();

/**
 * Fill a section's body: what was there stays, marked as busy, until `load` has answered; then what `render` makes of
 * the answer, or the error with a button to try again, above the older figures where there are some. Of several calls
 * the last one wins. True if it went well.
 */
export async function fill(body, load, render) {
  const turn = Symbol("turn");
  latest.set(body, turn);
  body.setAttribute("aria-busy", "true");
  if (!body.hasChildNodes()) body.append(el("p", { class: "muted" }, "Loading …"));
  const [content, worked] = await outcome(load, render, () => fill(body, load, render));
  if (latest.get(body) !== turn) return false;
  body.setAttribute("aria-busy", "false");
  if (worked) filled.add(body);
  put(body, worked || !filled.has(body) ? content : [content, ...older(body)].flat());
  return worked;
}

/** What a section showed before it could not be read again; problems of earlier tries are left out. */
function older(body) {
  const figures = [...body.children].filter((each) => !each.matches(".problem, .older"));
  return [el("p", { class: "muted older" }, "These figures are older:"), ...figures];
}

/** Empty a section's body, and let no answer that is still on its way fill it. */
export function clear(body) {
  latest.delete(body);
  filled.delete(body);
  body.removeAttribute("aria-busy");
  body.replaceChildren();
}

async function outcome(load, render, again) {
  try {
    return [render(await load()), true];
  } catch (error) {
    return error instanceof Forgotten ? [[], false] : [problem(error, again), false];
  }
}

/** Replace the content without losing the place of someone who works by keyboard. */
function put(body, content) {
  const held = body.contains(document.activeElement);
  body.replaceChildren(...[content].flat());
  if (held) body.focus({ preventScroll: true });
}

/** An error as a message; with `again`, a button to try again. */
export function problem(error, again) {
  const button = again && el("button", { type: "button", class: "quiet", onclick: again }, "Try again");
  return el("div", { class: "problem", role: "alert" }, el("p", {}, sentence(error.message)), button ?? null);
}

/**
 * Do what a button is for, once however often it is pressed meanwhile. `answer` says `words` until then, and afterwards
 * what `act` gave to be said, or the error.
 */
export async function during(button, answer, words, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  answer.replaceChildren(el("p", { class: "muted" }, words));
  try {
    answer.replaceChildren(...[(await act()) ?? []].flat());
  } catch (error) {
    answer.replaceChildren(...(error instanceof Forgotten ? [] : [problem(error)]));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** A button beside others. `name`: what it is about, where several of a page say the same. */
export function quiet(label, onclick, name = null) {
  return el("button", { type: "button", class: "quiet", "aria-label": name && `${label}: ${name}`, onclick }, label);
}

/**
 * A button that asks whether it is meant, and the question it opens. `ask`, `yes`, `no`: what the buttons say;
 * `name`: what it is about, where several of a page ask the same; `act` is called after `yes`, and `words` are said
 * until it is done.
 */
export function asksFirst({ ask, name = null, question, yes, no, words, act }) {
  const answer = el("div", { class: "answer" });
  const first = el("button", { type: "button", class: "quiet danger", "aria-label": name && `${ask}: ${name}` }, ask);
  const confirm = el("button", { type: "button", class: "danger" }, yes);
  const keep = el("button", { type: "button", class: "quiet" }, no);
  const asked = el("p", { tabindex: "-1" }, question);
  const sure = el("div", { class: "sure", role: "group", "aria-label": "Confirm", hidden: true },
                  asked, el("div", { class: "buttons" }, confirm, keep), answer);
  const open = (asking) => {
    sure.hidden = !asking;
    first.hidden = asking;
    answer.replaceChildren();
    (asking ? asked : first).focus();
  };
  first.addEventListener("click", () => open(true));
  keep.addEventListener("click", () => open(false));
  confirm.addEventListener("click", () => during(confirm, answer, words, act));
  return [first, sure];
}

/** With a capital letter and an end. */
export function sentence(text) {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return ended.charAt(0).toUpperCase() + ended.slice(1);
}

export function empty(text) {
  return el("p", { class: "empty" }, text);
}

/** A word with a colour and a mark; it never says anything by colour alone. `kind` names the colour. */
export function badge(kind, word) {
  return el("span", { class: `badge ${kind}` }, word);
}

export function verdictBadge(verdict) {
  return badge(verdict, verdict === "free" ? "Free" : "Billed");
}

/** A code such as over_quota, which may break after its underscores. */
export function code(text) {
  return el("code", {}, text.split(/(?<=_)/).flatMap((part) => [part, el("wbr")]));
}

/**
 * A table that a narrow screen shows as cards; the roles keep it a table there. `columns`: {label, numeric, action};
 * one of actions is not on paper. A group of `rows` is one <tbody>: its cells, and optionally a `note` below them that is as wide as the table.
 */
export function table({ caption, columns, rows, total = null }) {
  return el(
    "table",
    { role: "table" },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(heading))),
    rows.map(({ cells, note = null }) =>
      el("tbody", { role: "rowgroup" }, line(columns, cells), note && noteLine(columns, note)),
    ),
    total && el("tfoot", { role: "rowgroup" }, line(columns, total)),
  );
}

function heading(column) {
  return el("th", { scope: "col", role: "columnheader", class: looks(column) }, column.label);
}

function looks({ numeric = false, action = false }) {
  return (numeric && "number") || (action && "action");
}

function line(columns, cells) {
  const shown = cells.map((content, index) => {
    const attributes = { role: "cell", "data-label": columns[index].label, class: looks(columns[index]) };
    return el("td", attributes, el("div", {}, content));
  });
  return el("tr", { role: "row" }, shown);
}

function noteLine(columns, note) {
  return el("tr", { role: "row", class: "note" }, el("td", { role: "cell", colspan: columns.length }, note));
}

/** What a table says of `moments(…, LOCAL)`, where there is no room for the zone's name in each row. */
export const LOCAL = " local time";
export const TIMES = LOCAL_DIFFERS ? `Times are UTC, and below that local time (${ZONE}).` : "Times are UTC.";

/** A list of terms and what they are; entries without content are left out. */
export function facts(entries) {
  const known = entries.filter(([, content]) => content !== null && content !== undefined);
  return el("dl", {}, known.map(([term, content]) => el("div", {}, el("dt", {}, term), el("dd", {}, content))));
}

/** 1,234,567; a dash for what is not known. */
export function count(number) {
  return number === null || number === undefined ? "–" : whole.format(number);
}

/** 1.2M */
export function compact(number) {
  return short.format(number);
}

/** An exact decimal, never rounded, with separators and at least two decimals. */
export function usd(decimal) {
  if (decimal === null || decimal === undefined) return "not known";
  const parts = /^(-?)(\d+)(?:\.(\d*?)0*)?$/.exec(decimal);
  return parts ? `${parts[1]}$${whole.format(BigInt(parts[2]))}.${(parts[3] ?? "").padEnd(2, "0")}` : `$${decimal}`;
}

const UNITS = {
  tokens: ["token", "tokens"],
  uncached_tokens: ["token that was not cached", "tokens that were not cached"],
  requests: ["request", "requests"],
  runs: ["run", "runs"],
};

/** What so many of a unit are called; of dollars nothing: their figure says it. */
export function unitName(figure, unit) {
  const [one, several] = UNITS[unit] ?? ["", ""];
  return figure === 1 ? one : several;
}

/** A figure of a quota in its unit: `1 request`, `30,000 tokens`, `$0.13`. */
export function units(figure, unit) {
  return unit === "usd" ? usd(figure) : `${count(figure)} ${unitName(figure, unit)}`;
}

/** A sum of floating amounts, such as the costs API answers with. */
export function usdSum(number) {
  return dollars.format(number);
}

/** 2025-03-11 23:10:00 UTC */
export function utc(moment) {
  const iso = new Date(moment).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** The day a moment lies in, UTC. */
export function utcDay(moment) {
  return new Date(moment).toISOString().slice(0, 10);
}

/** A moment in UTC, and below it in the person's own time zone. `zone`: what follows that, by default its name. */
export function moments(moment, zone = ` (${ZONE})`) {
  if (!moment) return "–";
  const local = localTime.format(new Date(moment));
  return el(
    "time",
    { datetime: moment },
    el("span", { class: "utc" }, utc(moment)),
    LOCAL_DIFFERS && el("span", { class: "local" }, `${local}${zone}`),
  );
}

/** "in 5 h 12 min", kept right by `tick`. */
export function countdown(moment) {
  return el("span", { class: "countdown", "data-until": moment }, until(moment));
}

export function tick() {
  for (const node of document.querySelectorAll("[data-until]")) node.textContent = until(node.dataset.until);
}

function until(moment) {
  const minutes = Math.floor((new Date(moment) - Date.now()) / MINUTE);
  if (minutes < 0) return "due now: refresh to see the new window";
  if (minutes < 1) return "in under a minute";
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor((minutes % 1440) / 60), minutes % 60];
  if (days) return hours ? `in ${days} d ${hours} h` : `in ${days} d`;
  return hours ? `in ${hours} h ${rest} min` : `in ${rest} min`;
}
