/** Free and billed tokens against cost per UTC day: a chart, and the same figures as a table. */

import { buckets } from "./api.js";
import { compact, count, el, empty, table, usdSum, utcDay } from "./view.js";

const DAYS = 14;
const DAY = 86_400;
const FREE = "incentivized-tier";
const HEIGHT = 260;
const LABEL_WIDTH = 56;

/** The last 14 UTC days, today included, oldest first: {start, free, billed, cost, unpriced, requests}. */
export async function daily(now = Date.now()) {
  const first = (Math.floor(now / 1000 / DAY) - DAYS + 1) * DAY;
  const span = { start_time: first, bucket_width: "1d", limit: DAYS };
  const [usage, costs] = await Promise.all([
    buckets("usage/completions", { ...span, "group_by[]": "service_tier" }),
    buckets("costs", { start_time: first, limit: DAYS }),
  ]);
  return Array.from({ length: DAYS }, (_, index) => day(first + index * DAY, usage, costs));
}

function day(start, usage, costs) {
  const used = results(usage, start);
  const isFree = ({ service_tier: tier }) => tier === FREE;
  return {
    start,
    free: sum(used.filter(isFree), tokens),
    billed: sum(used.filter((result) => !isFree(result)), tokens),
    requests: sum(used, (result) => result.num_model_requests),
    cost: sum(results(costs, start), (result) => Number(result.amount.value)),
    unpriced: sum(results(costs, start), (result) => result.unpriced_requests ?? 0),
  };
}

function results(found, start) {
  return found.filter((bucket) => bucket.start_time === start).flatMap((bucket) => bucket.results);
}

/** Input includes cached tokens, output includes reasoning. */
function tokens(result) {
  return result.input_tokens + result.output_tokens;
}

function sum(items, figure) {
  return items.reduce((total, item) => total + figure(item), 0);
}

export function usageAndCost(days) {
  if (!days.some(({ requests, free, billed, cost }) => requests || free || billed || cost))
    return empty("No usage in the last 14 days.");
  const chart = window.uPlot ? chartOf(days) : null;
  return [chart, figures(days, !chart)].filter(Boolean);
}

function totalOf(days) {
  const total = (name) => sum(days, (each) => each[name]);
  const names = ["free", "billed", "requests", "cost", "unpriced"];
  return Object.fromEntries(names.map((name) => [name, total(name)]));
}

/** Of requests without a price only the number is known. */
function costOf({ cost, unpriced }) {
  return unpriced ? `${usdSum(cost)} + ${count(unpriced)} without a price` : usdSum(cost);
}

function figures(days, open) {
  const columns = [
    { label: "Day (UTC)" },
    { label: "Free tokens", numeric: true },
    { label: "Billed tokens", numeric: true },
    { label: "All tokens", numeric: true },
    { label: "Requests", numeric: true },
    { label: "Cost", numeric: true },
  ];
  const cells = (name, { free, billed, requests, ...amounts }) =>
    [name, count(free), count(billed), count(free + billed), count(requests), costOf(amounts)];
  const rows = days.map((each) => ({ cells: cells(utcDay(each.start * 1000), each) })).reverse();
  const caption = "Tokens and cost per UTC day, newest first";
  const shown = table({ caption, columns, rows, total: cells("14 days", totalOf(days)) });
  return el("details", { open }, el("summary", {}, "Show the figures as a table"), shown);
}

function chartOf(days) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": summary(days) });
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, described("14 days", totalOf(days)));
  const tell = (index) => {
    readout.textContent =
      index === null ? described("14 days", totalOf(days)) : described(utcDay(days[index].start * 1000), days[index]);
  };
  keepDrawn(plot, () => draw(plot, days, tell));
  return el("figure", {}, legend(), plot, readout);
}

function legend() {
  const entry = (kind, text) => el("li", { class: kind }, text);
  const entries = [
    entry("free", "Free tokens (lower part)"),
    entry("billed", "Billed tokens (upper part)"),
    entry("cost", "Cost in USD (line, right axis)"),
  ];
  return el("ul", { class: "legend" }, entries);
}

function described(name, { free, billed, ...amounts }) {
  return `${name}: ${count(free)} free tokens, ${count(billed)} billed tokens, ${costOf(amounts)}`;
}

function summary(days) {
  return `Chart of tokens and cost per UTC day. ${described("14 days", totalOf(days))}. The table has every figure.`;
}

/** Draw once the place for it is on the page, again when the colours change, as for paper, and in every new width. */
function keepDrawn(plot, drawn) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const gone = new AbortController();
  let chart = null;
  const redraw = () => {
    chart?.destroy();
    chart = plot.clientWidth ? drawn() : null;
  };
  const fit = () => (chart && plot.clientWidth ? chart.setSize({ width: plot.clientWidth, height: HEIGHT }) : redraw());
  const resized = new ResizeObserver(() => {
    if (plot.isConnected) return fit();
    resized.disconnect();
    gone.abort();
    chart?.destroy();
  });
  const onPaper = (is) => {
    plot.classList.toggle("paper", is);
    redraw();
  };
  const until = { signal: gone.signal };
  resized.observe(plot);
  dark.addEventListener("change", redraw, until);
  addEventListener("beforeprint", () => onPaper(true), until);
  addEventListener("afterprint", () => onPaper(false), until);
}

/** The bars are stacked by drawing those of all tokens first and those of the free tokens over them; none for zero. */
function draw(plot, days, tell) {
  const colours = getComputedStyle(plot);
  const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
  const bars = window.uPlot.paths.bars({ size: [0.62, 40] });
  const all = days.map(({ free, billed }) => free + billed || null);
  const options = {
    width: plot.clientWidth,
    height: HEIGHT,
    padding: [12, 0, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: false, range: [-0.6, days.length - 0.4] },
      tokens: { range: fromZero },
      usd: { range: fromZero },
    },
    series: [
      {},
      { scale: "tokens", paths: bars, points: { show: false }, width: 1, ...bar("billed", colour) },
      { scale: "tokens", paths: bars, points: { show: false }, width: 1, ...bar("free", colour) },
      { scale: "usd", width: 2, stroke: colour("cost"), points: { size: 7, width: 2, fill: colour("surface") } },
    ],
    axes: [dayAxis(days, colour), valueAxis("tokens", compact, 3, colour), valueAxis("usd", axisDollars, 1, colour)],
    hooks: { setCursor: [(chart) => tell(chart.cursor.idx ?? null)] },
  };
  const data = [days.map((_, index) => index), all, days.map(({ free }) => free || null), days.map(({ cost }) => cost)];
  return new window.uPlot(options, data, plot);
}

function fromZero(chart, low, high) {
  return [0, high > 0 ? high * 1.1 : 1];
}

function bar(kind, colour) {
  return { fill: colour(`${kind}-fill`), stroke: colour(kind) };
}

/** As many days as there is room for, counted back from today. */
function dayAxis(days, colour) {
  const last = days.length - 1;
  const name = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const shown = (chart) => {
    const step = Math.ceil((LABEL_WIDTH * days.length) / (chart.bbox.width / devicePixelRatio || 1));
    return days.map((_, index) => index).filter((index) => (last - index) % step === 0);
  };
  const values = (chart, indices) => indices.map((index) => name.format(days[index].start * 1000));
  return { ...axis(colour), splits: shown, values, grid: { show: false } };
}

function valueAxis(scale, text, side, colour) {
  const grid = { show: scale === "tokens", stroke: colour("line"), width: 1 };
  return { ...axis(colour), scale, side, size: 58, grid, values: (chart, values) => values.map(text) };
}

function axis(colour) {
  const stroke = colour("muted");
  return { stroke, font: "12px system-ui, sans-serif", ticks: { stroke: colour("line"), width: 1 } };
}

function axisDollars(value) {
  return `$${value >= 1000 ? compact(value) : Number(value.toPrecision(6))}`;
}
