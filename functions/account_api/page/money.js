/** What was paid, and what it would have cost without the offer: of today, this month or any span, by model and project. */

import { buckets } from "./api.js";
import { count, el, empty, table, usdSum, utcDay } from "./view.js";

const FREE = "incentivized-tier";
const DAY = 86_400;
const PAGE_DAYS = 31;
const SHOWN = 20;
const COLUMNS = [
  { label: "Model" },
  { label: "Project" },
  { label: "Requests", numeric: true },
  { label: "Input tokens", numeric: true },
  { label: "of which cached", numeric: true },
  { label: "Output tokens", numeric: true },
  { label: "Paid", numeric: true },
  { label: "At the normal rate", numeric: true },
];

/** First and last UTC day (included) that a form asks for. */
export function spanOf(form, now = Date.now()) {
  const asked = new FormData(form);
  const today = utcDay(now);
  if (asked.get("span") === "today") return { name: "Today", first: today, last: today };
  if (asked.get("span") === "month") return { name: "This month", first: `${today.slice(0, 8)}01`, last: today };
  const [first, last] = [asked.get("from") || today, asked.get("to") || today].sort();
  return { name: first === last ? `On ${first}` : `From ${first} to ${last}`, first, last };
}

/** Sums of a span: one for each model and project, the dearest first. */
export async function spent({ name, first, last }) {
  const start = Date.parse(first) / 1000;
  const found = await buckets("usage/completions", {
    start_time: start,
    end_time: Date.parse(last) / 1000 + DAY,
    bucket_width: "1d",
    limit: PAGE_DAYS,
    group_by: "model,project_id,service_tier",
  });
  const sums = new Map();
  for (const result of found.flatMap((bucket) => bucket.results)) {
    const key = JSON.stringify([result.model, result.project_id]);
    sums.set(key, plus(sums.get(key) ?? nothing(result.model, result.project_id), result));
  }
  const rows = [...sums.values()].sort((one, other) => other.normal - one.normal);
  return { name, rows, total: rows.reduce(added, nothing("All", null)) };
}

function nothing(model, project) {
  return { model, project, requests: 0, input: 0, cached: 0, output: 0, paid: 0, normal: 0, unpriced: 0, billedUnpriced: 0 };
}

function plus(sum, result) {
  const normal = Number(result.list_amount.value);
  const unpriced = result.unpriced_requests ?? 0;
  const isFree = result.service_tier === FREE;
  return added(sum, {
    requests: result.num_model_requests,
    input: result.input_tokens,
    cached: result.input_cached_tokens,
    output: result.output_tokens,
    paid: isFree ? 0 : normal,
    normal,
    unpriced,
    billedUnpriced: isFree ? 0 : unpriced,
  });
}

function added(sum, more) {
  const figures = ["requests", "input", "cached", "output", "paid", "normal", "unpriced", "billedUnpriced"];
  return { ...sum, ...Object.fromEntries(figures.map((each) => [each, sum[each] + more[each]])) };
}

export function paid({ name, rows, total }) {
  if (!rows.length) return empty(`${name}: no usage.`);
  return [
    el(
      "p",
      { class: "message headline" },
      `${name}: you paid `,
      el("strong", {}, usdSum(total.paid)),
      " instead of ",
      el("strong", {}, usdSum(total.normal)),
      ".",
    ),
    total.unpriced > 0 && el("p", {}, withoutPrice(total)),
    el("details", {}, el("summary", {}, "By model and project"), shown(rows, total)),
  ].filter(Boolean);
}

function withoutPrice({ unpriced, billedUnpriced }) {
  const requests = unpriced === 1 ? "1 request is of a model" : `${count(unpriced)} requests are of models`;
  const billed = billedUnpriced ? `, ${count(billedUnpriced)} of them billed` : "";
  return `Not counted: ${requests} without a known price${billed}.`;
}

function shown(rows, total) {
  const more = rows.length > SHOWN ? `The ${SHOWN} dearest of ${count(rows.length)}. ` : "";
  const caption = `${more}Input includes cached tokens. Days are UTC.`;
  return table({
    caption,
    columns: COLUMNS,
    rows: rows.slice(0, SHOWN).map((row) => ({ cells: cells(row) })),
    total: cells(total),
  });
}

function cells({ model, project, requests, input, cached, output, ...amounts }) {
  const named = (name) => el("span", { class: "name" }, name);
  return [
    named(model),
    project === null ? "–" : named(project),
    count(requests),
    count(input),
    count(cached),
    count(output),
    known(amounts.paid, amounts.billedUnpriced, requests),
    known(amounts.normal, amounts.unpriced, requests),
  ];
}

/** Never $0 where nothing is known. */
function known(amount, unpriced, requests) {
  if (!unpriced) return usdSum(amount);
  return unpriced === requests && amount === 0 ? "not known" : `${usdSum(amount)} + ${count(unpriced)} without a price`;
}
