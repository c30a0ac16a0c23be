/** Lists that come in pages. */

import { get } from "./api.js";
import { fill, quiet } from "./view.js";

const MOST_CALLS = 10;

/**
 * Show a list page by page in a section's body. `load(place)` gives what stands at a place, with `following`, the next
 * place, or null; the first place is null. `render(answer, turns, again)` makes the content: `turns` are the buttons to
 * other pages, if there are some; `again()` shows this one anew. True if it went well.
 */
export function paged(body, load, render, [back, on] = ["Previous", "Next"]) {
  const go = (places) => {
    const shown = (answer) => render(answer, turns(places, answer.following), () => go(places));
    return fill(body, () => load(places.at(-1)), shown);
  };
  const turns = (places, following) => {
    if (places.length === 1 && !following) return [];
    const [before, after] = [places.slice(0, -1), [...places, following]];
    return [turn(back, before.length > 0 && (() => go(before))), turn(on, following && (() => go(after)))];
  };
  return go([null]);
}

function turn(label, action) {
  const button = quiet(label, action || (() => {}));
  button.disabled = !action;
  return button;
}

/** The first page from `place` on that holds something, as {data, place, following}: an empty one may not be the last. */
export async function pageWithSome(path, query, place) {
  let [answer, at] = [await get(path, { ...query, ...(place && { page: place }) }), place];
  for (let call = 1; call < MOST_CALLS && !answer.data.length && answer.has_more; call += 1) {
    at = answer.next_page;
    answer = await get(path, { ...query, page: at });
  }
  return { ...answer, place: at, following: answer.has_more ? answer.next_page : null };
}
