/** The operator's view, for platform keys: all organizations, quarantine, days not proved, keys. */

import { filters } from "./list.js";
import { keys } from "./keys.js";
import { days, organizations, proofs } from "./organizations.js";
import { offerCodes, quarantine } from "./quarantine.js";
import { announce, byId, clear, during, fill } from "./view.js";

/**
 * Put the view into its place. `guarded` wraps every call; `openAccount(name, button)` leads from a button to an
 * organization's account. Gives what shows it all anew.
 */
export function operate(place, guarded, openAccount) {
  place.replaceChildren(byId("operator-template").content.cloneNode(true));
  const form = (name) => byId(`${name}-form`);
  const asked = (name) => filters(form(name));
  const [bodyOf, answerOf] = [(name) => byId(`${name}-body`), (name) => byId(`${name}-answer`)];
  const opens = (name, button) =>
    during(button, answerOf("organizations"), "Opening …", guarded(() => openAccount(name, button)));
  const shows = {
    organizations: () => organizations(bodyOf("organizations"), asked("organizations"), guarded, opens),
    quarantine: () => quarantine(bodyOf("quarantine"), answerOf("quarantine"), asked("quarantine"), guarded),
    keys: () => keys(bodyOf("keys"), answerOf("keys"), asked("keys"), guarded),
  };
  const showProofs = () => fill(bodyOf("proofs"), guarded(days), (found) => proofs(found, showDay));

  function showDay(day) {
    byId("organizations-day").value = day;
    byId("organizations-sort").value = "proof";
    byId("organizations").scrollIntoView();
    bodyOf("organizations").focus({ preventScroll: true });
    shows.organizations();
  }

  offerCodes(byId("quarantine-code"));
  for (const [name, show] of Object.entries(shows)) {
    form(name).addEventListener("submit", async (event) => {
      event.preventDefault();
      clear(answerOf(name));
      if (await show()) announce("The list is up to date.");
    });
  }
  return async () => {
    announce("Loading all organizations.");
    const worked = await Promise.all([...Object.values(shows).map((show) => show()), showProofs()]);
    if (worked.every(Boolean)) announce("All organizations are up to date.");
  };
}
