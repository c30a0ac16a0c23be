"""Draws the widgets of a dashboard from what functions report."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gratis_local.preview import charts, page
from gratis_local.preview.dashboard import Dashboard, Widget
from gratis_local.preview.samples import Sample, contributors
from gratis_local.preview.series import Drawn, lines_of

SPANS = {86400: "day", 3600: "hour", 60: "min"}


@dataclass(frozen=True)
class Reported:
    """What functions report: metrics by time, in periods of at least `period` seconds, and log lines."""

    samples: Sequence[Sample]
    lines: Sequence[Mapping[str, Any]]
    period: int


def drawn(dashboard: Dashboard, reported: Reported) -> str:
    """The dashboard's widgets that have something to show, and the names of those that have not."""
    shown: list[str] = []
    empty: list[str] = []
    for widget in dashboard.widgets:
        content = _content(widget, dashboard, reported)
        if content:
            shown.append(content)
        elif widget.title:
            empty.append(widget.title)
    note = f'<p class="muted">Not in a replay: {escape(", ".join(empty))}.</p>' if empty else ""
    return f'<div class="grid">\n{"".join(shown)}</div>{note}'


def _content(widget: Widget, dashboard: Dashboard, reported: Reported) -> str:
    if widget.kind == "text":
        return _heading(widget)
    if rule := widget.properties.get("insightRule"):
        return _contributors(widget, dashboard.rules[rule["ruleName"]], rule["maxContributorCount"], reported)
    lines = lines_of(widget, reported.samples, reported.period)
    if not any(line.points for line in lines):
        return ""
    view = widget.properties.get("view", "timeSeries")
    if view == "singleValue":
        return page.card(widget.title, page.tiles({line.label: _figure(_total(line)) for line in lines}), widget.width)
    if view == "bar":
        entries = [(charts.color_of(line, number), line.label, _total(line)) for number, line in enumerate(lines)]
        return page.card(widget.title, page.bars(entries), widget.width)
    return _chart(widget, lines, reported.period)


def _chart(widget: Widget, lines: Sequence[Drawn], period: int) -> str:
    seconds = max(period, widget.properties["period"])
    drawing = charts.over_time(lines, seconds, stacked=widget.properties.get("stacked", False))
    entries = [(charts.color_of(line, number), line.label, _summary(line)) for number, line in enumerate(lines)]
    return page.card(widget.title, drawing + page.legend(entries), widget.width, f"per {_span(seconds)}")


def _summary(line: Drawn) -> str:
    """A line in one figure: what its points add up to, or the highest of them."""
    if not line.points:
        return "not in a replay"
    return charts.short(_total(line)) if line.summed else f"up to {charts.short(max(line.points.values()))}"


def _total(line: Drawn) -> float:
    return sum(line.points.values())


def _figure(value: float) -> str:
    return f"{value:,.2f}"


def _span(seconds: int) -> str:
    length, name = next((length, name) for length, name in SPANS.items() if seconds % length == 0)
    return name if seconds == length else f"{seconds // length} {name}"


def _contributors(widget: Widget, rule: Mapping[str, Any], most: int, reported: Reported) -> str:
    found = contributors(rule, reported.lines).most_common(most)
    heads = [key.removeprefix("$.") for key in rule["Contribution"]["Keys"]]
    rows = [[*keys, f"{count:,}"] for keys, count in found]
    content = page.table([*heads, "times"], rows, ["times"]) or '<p class="muted">None did.</p>'
    return page.card(widget.title, content, widget.width)


def _heading(widget: Widget) -> str:
    """The heading of a dashboard from its text widget; nothing for a text that only explains another widget."""
    head, _, rest = widget.properties["markdown"].partition("\n")
    if not head.startswith("# "):
        return ""
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", escape(rest))
    return f'<div class="card plain"><h2>{escape(head[2:])}</h2><p>{text}</p></div>\n'
