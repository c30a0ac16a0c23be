/** The account page: opens an account with a key, shows its sections, forgets it all again. */

import { forget, Forgotten, get, kept, open, turnTo } from "./api.js";
import { status } from "./allowance.js";
import { paid, spanOf, spent } from "./money.js";
import { included } from "./offer.js";
import { filters, list, offerReasons } from "./list.js";
import { operate } from "./operator.js";
import { decision, explained } from "./requests.js";
import { edited, settings, sharing } from "./sharing.js";
import { daily, usageAndCost } from "./usage.js";
import { endpoints, offerTypes, register, secretOnce, shown } from "./webhooks.js";
import { announce, byId, clear, el, fill, problem, tick } from "./view.js";

const USABLE = /^[\x21-\x7e]+$/;
const BODIES = [
  "status-body",
  "offer-body",
  "money-body",
  "usage-body",
  "decisions-body",
  "why-body",
  "sharing-body",
  "webhooks-secret",
  "webhooks-body",
  "webhooks-answer",
];
const OWNER = "owner";
const PLATFORM = "platform";
const TICK_MS = 15_000;
const [SIGN_IN, ACCOUNT, ALL] = ["sign-in", "account", "operator"];
const VIEWS = [SIGN_IN, ACCOUNT, ALL];

/** Whose key is in use, as the API says: {role, organization, name}. */
let holder = null;
/** Shows the operator's view anew, once a platform key has come to it. */
let showAll = null;
/** What led from the operator's view to an account. */
let opener = null;

// Opening and forgetting

async function signIn(key, organization, keep) {
  if (!USABLE.test(key)) return refuse("This is not an API key: a key has no spaces or special characters");
  byId("key-form").setAttribute("aria-busy", "true");
  byId("key-error").replaceChildren();
  open(key, organization, keep);
  try {
    holder = await get("/key");
    if (holder.role === PLATFORM && !organization) enterAll();
    else enter(await get("allowance"));
  } catch (error) {
    if (error instanceof Forgotten) return;
    leave();
    refuse(error.message);
  } finally {
    byId("key-form").setAttribute("aria-busy", "false");
  }
}

/** Go on with the key that was kept in this tab, as if it had been pasted again. */
function resume(stored) {
  if (!stored) return;
  byId("key").value = stored.key;
  byId("organization").value = stored.organization;
  byId("keep").checked = true;
  byId("key-form").requestSubmit();
}

function refuse(message) {
  byId("key-error").replaceChildren(problem(new Error(message)));
  byId("key").focus();
}

function enter(allowance) {
  byId("key-form").reset();
  byId("session-organization").textContent = allowance.organization;
  document.title = `${allowance.organization} · Gratis account`;
  show(ACCOUNT);
  fromTheTop();
  refresh(allowance);
}

/** The operator's view: as it was left, or made anew. */
function enterAll() {
  byId("key-form").reset();
  document.title = "All organizations · Gratis account";
  const isNew = !showAll;
  showAll ??= operate(byId("operator"), guarded, openAccount);
  show(ALL);
  if (opener?.isConnected) opener.focus();
  else fromTheTop();
  opener = null;
  if (isNew) showAll();
}

/** From the operator's view to an organization's account. Of several that were asked for the last one opens. */
async function openAccount(name, button) {
  opener = button;
  const allowance = await get("allowance", { organization: name });
  if (opener !== button) return;
  turnTo(name);
  enter(allowance);
}

/** Back from an account to the operator's view. */
function backToAll() {
  turnTo("");
  clearAccount();
  enterAll();
}

function clearAccount() {
  for (const id of BODIES) clear(byId(id));
  for (const id of ["why-form", "list-form", "money-form", "webhooks-form"]) byId(id).reset();
  byId("session-organization").textContent = "";
}

function leave() {
  forget();
  holder = showAll = opener = null;
  clearAccount();
  byId("operator").replaceChildren();
  document.title = "Gratis account";
  show(SIGN_IN);
}

function fromTheTop() {
  byId("main").focus({ preventScroll: true });
  scrollTo({ top: 0, behavior: "instant" });
}

/** Show one of the page's views, and what belongs to it. */
function show(view) {
  for (const each of VIEWS) byId(each).hidden = each !== view;
  byId("session").hidden = view === SIGN_IN;
  byId("sections").hidden = byId("session-whose").hidden = view !== ACCOUNT;
  byId("operator-sections").hidden = byId("session-all").hidden = view !== ALL;
  byId("back").hidden = view !== ACCOUNT || holder?.role !== PLATFORM;
  for (const each of document.querySelectorAll("[data-owner]")) each.hidden = holder?.role !== OWNER;
}

// The sections

/** A key that is not accepted any more ends the session; anything else is shown where it happened. */
function guarded(load) {
  return async (...given) => {
    try {
      return await load(...given);
    } catch (error) {
      if (error.status === 401) {
        leave();
        refuse(error.message);
        throw new Forgotten();
      }
      throw error;
    }
  };
}

async function refresh(allowance) {
  announce("Loading the account.");
  const worked = await Promise.all([
    showStatus(allowance),
    fill(byId("offer-body"), guarded(() => get("offer")), included),
    showMoney(),
    fill(byId("usage-body"), guarded(daily), usageAndCost),
    showList(),
    edited(byId("sharing-body")) || showSharing(),
    holder.role !== OWNER || showWebhooks(),
  ]);
  if (worked.every(Boolean)) announce("The account is up to date.");
}

/** `known`: an answer that is still fresh, so that it need not be asked for again. */
function showStatus(known = null) {
  return fill(byId("status-body"), known ? async () => known : guarded(() => get("allowance")), status);
}

function showSharing() {
  const saved = holder.role === OWNER ? savedSharing : null;
  const read = guarded(settings);
  return fill(byId("sharing-body"), read, (current) => sharing(current, saved, read));
}

async function savedSharing(message) {
  await Promise.all([showSharing(), showStatus()]);
  byId("sharing-body").prepend(el("p", { class: "saved" }, message));
  announce(message);
}

function showWebhooks() {
  return fill(byId("webhooks-body"), guarded(endpoints), (found) => shown(found, guarded, changedWebhooks));
}

async function changedWebhooks(message) {
  await showWebhooks();
  byId("webhooks-body").prepend(el("p", { class: "saved" }, message));
  announce(message);
}

/** The secret stays until it was stored, whatever is shown anew meanwhile. */
function registeredWebhook(made) {
  byId("webhooks-secret").replaceChildren(
    secretOnce(made, () => {
      clear(byId("webhooks-secret"));
      byId("webhooks-url").focus();
    }),
  );
  byId("webhook-secret").focus();
  return changedWebhooks(`${made.url} was registered.`);
}

function showMoney() {
  for (const field of document.querySelectorAll("[data-days]")) field.hidden = byId("money-span").value !== "days";
  return fill(byId("money-body"), guarded(() => spent(spanOf(byId("money-form")))), paid);
}

function showList() {
  return list(byId("decisions-body"), filters(byId("list-form")), guarded, lookUp);
}

function showWhy(id, day) {
  return fill(byId("why-body"), guarded(() => decision(id, day)), (record) => explained(record, id, day));
}

function lookUp(id, day) {
  byId("why-id").value = id;
  byId("why-day").value = day;
  byId("why").scrollIntoView();
  byId("why-body").focus({ preventScroll: true });
  showWhy(id, day);
}

// Wiring

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(byId("key").value.trim(), byId("organization").value.trim(), byId("keep").checked);
});
byId("why-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showWhy(byId("why-id").value.trim(), byId("why-day").value);
});
byId("money-form").addEventListener("change", showMoney);
byId("money-form").addEventListener("submit", (event) => event.preventDefault());
byId("list-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showList();
});
byId("webhooks-form").addEventListener("submit", (event) => {
  event.preventDefault();
  register(byId("webhooks-form"), byId("webhooks-answer"), guarded, registeredWebhook);
});
byId("refresh").addEventListener("click", () => (byId(ALL).hidden ? refresh() : showAll()));
byId("back").addEventListener("click", backToAll);
byId("forget").addEventListener("click", () => {
  leave();
  announce("The key was forgotten.");
  byId("key").focus();
});
// On paper nothing can be opened
addEventListener("beforeprint", () => {
  for (const closed of document.querySelectorAll("details:not([open])")) closed.toggleAttribute("data-closed", (closed.open = true));
});
addEventListener("afterprint", () => {
  for (const closed of document.querySelectorAll("details[data-closed]")) closed.open = closed.toggleAttribute("data-closed", false);
});
// Back from the browser's cache of pages: start again, without the key unless it was kept
addEventListener("pageshow", (event) => event.persisted && location.reload());
setInterval(tick, TICK_MS);

offerReasons(byId("list-reason"));
offerTypes(byId("webhooks-types"));
show(SIGN_IN);
resume(kept());
