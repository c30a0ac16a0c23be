"""A report shows the figures that CloudWatch would show for what the functions report, and its page is safe."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis_local.preview import charts, page, series
from gratis_local.preview.dashboard import Dashboard, Widget, _line, dashboards, substituted
from gratis_local.preview.periods import MAX_POINTS, period_of
from gratis_local.preview.samples import Dimensions, Sample
from gratis_local.preview.series import Drawn, lines_of, statistic
from gratis_local.preview.widgets import Reported, drawn

NOON = datetime(2025, 3, 11, 12, tzinfo=UTC)
START = int(NOON.timestamp())
OURS = frozenset({("service", "classify_usage")})


def sample(name: str, minutes: float, *values: float, dimensions: Dimensions = OURS) -> Sample:
    return Sample("Gratis", name, dimensions, NOON + timedelta(minutes=minutes), values)


def widget(*metrics: list[Any], kind: str = "metric", **properties: Any) -> Widget:
    named = {"title": "A widget", "stat": "Sum", "period": 300} | properties
    return Widget(kind, 0, 0, 8, 6, named, tuple(map(_line, metrics)))


def metric(name: str, **options: Any) -> list[Any]:
    return ["Gratis", name, "service", "classify_usage", {"label": name} | options]


def points(*metrics: list[Any], samples: list[Sample], period: int = 300, **properties: Any) -> list[dict[int, float]]:
    """The points of each visible line, by the seconds since noon."""
    lines = lines_of(widget(*metrics, **properties), samples, period)
    return [{start - START: value for start, value in line.points.items()} for line in lines]


# --- the definition ------------------------------------------------------------------------------------------------


def test_a_resource_is_named_by_its_logical_id_and_what_is_escaped_stays() -> None:
    sub = {"Fn::Sub": "${AWS::StackName} ${UsageQueue.QueueName} ${LedgerTable} ${!PROP('Dim.Reason')}"}
    assert substituted(sub) == "gratis UsageQueue LedgerTable ${PROP('Dim.Reason')}"


def test_there_is_a_dashboard_for_operators_and_one_for_the_business() -> None:
    assert [each.name for each in dashboards()] == ["gratis-operators", "gratis-business"]


# --- statistics and metric math ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stat", "value"),
    [("Sum", 10), ("Average", 2.5), ("Maximum", 4), ("SampleCount", 4), ("p50", 2), ("p75", 3), ("p99", 4)],
)
def test_a_statistic_is_taken_over_all_values_of_a_period(stat: str, value: float) -> None:
    assert statistic(stat, [4, 1, 3, 2]) == value
    samples = [sample("A", 0, 4, 1), sample("A", 4.9, 3, 2), sample("A", 5, 100)]
    assert points(metric("A"), samples=samples, stat=stat)[0][0] == value


def test_a_line_is_of_its_own_metric_under_its_own_dimensions() -> None:
    elsewhere = sample("A", 0, 7, dimensions=frozenset({("service", "receive_usage")}))
    assert points(metric("A"), samples=[sample("A", 0, 1), sample("B", 0, 5), elsewhere]) == [{0: 1}]


def test_a_widget_has_its_own_period_unless_the_time_is_too_long_for_it() -> None:
    samples = [sample("A", 0, 1), sample("A", 59, 1), sample("A", 61, 1)]
    assert points(metric("A"), samples=samples) == [{0: 1, 3300: 1, 3600: 1}]
    assert points(metric("A"), samples=samples, period=3600) == [{0: 2, 3600: 1}]
    assert points(metric("A"), samples=samples, setPeriodToTimeRange=True) == [{-START: 3}]


def test_a_line_may_have_a_statistic_of_its_own() -> None:
    assert points(metric("A", stat="Maximum"), metric("A"), samples=[sample("A", 0, 1, 2)]) == [{0: 2}, {0: 3}]


def test_metric_math_is_done_where_both_have_a_value_and_nothing_is_divided_by_zero() -> None:
    samples = [sample("A", 0, 6), sample("B", 0, 2), sample("A", 5, 1), sample("A", 10, 5), sample("B", 10, 0)]
    hidden = [metric("A", id="a", visible=False), metric("B", id="b", visible=False)]
    ratio = [{"expression": "100 * (a - b) / b", "label": "ratio"}]
    running = [{"expression": "RUNNING_SUM(a - b)", "label": "running"}]
    assert points(ratio, running, *hidden, samples=samples) == [{0: 200}, {0: 4, 600: 9}]


def test_a_search_finds_a_line_for_each_value_of_the_dimension() -> None:
    samples = [
        sample("Decisions", 0, count, dimensions=frozenset({("Reason", reason), ("Stack", stack)}))
        for reason, count, stack in (
            *(("within_quota", 2, "gratis"), ("over_quota", 1, "gratis"), ("within_quota", 3, "gratis")),
            ("within_quota", 7, "another"),
        )
    ]
    search = "SEARCH('{Gratis,Reason,Stack} MetricName=\"Decisions\" Stack=\"gratis\"', 'Sum', 300)"
    lines = lines_of(widget([{"expression": search, "label": "${PROP('Dim.Reason')}"}]), samples, 300)
    assert [(line.label, list(line.points.values())) for line in lines] == [("over_quota", [1]), ("within_quota", [5])]


def test_the_searches_of_the_dashboards_are_understood() -> None:
    expressions = [
        line.options["expression"]
        for dashboard in dashboards()
        for each in dashboard.widgets
        for line in each.lines
        if "SEARCH" in line.options.get("expression", "")
    ]
    assert expressions
    assert all(series._SEARCH.match(expression) for expression in expressions)


@pytest.mark.parametrize(
    ("span", "period"),
    [
        (timedelta(0), 300),
        (timedelta(seconds=300 * MAX_POINTS), 300),
        (timedelta(seconds=300 * MAX_POINTS + 1), 900),
        (timedelta(days=365), 7 * 86400),
        (timedelta(days=20_000), 7 * 86400),
    ],
)
def test_the_period_is_the_shortest_that_leaves_a_chart_readable(span: timedelta, period: int) -> None:
    assert period_of([NOON, NOON + span]) == period


# --- widgets -------------------------------------------------------------------------------------------------------


def test_a_widget_without_any_sample_is_named_and_not_drawn() -> None:
    there = widget(metric("A"), metric("Missing"), title="There")
    absent = widget(["AWS/SQS", "Age", "QueueName", "Q", {"label": "age"}], title="Queue <age>")
    content = drawn(Dashboard("d", (there, absent)), Reported([sample("A", 0, 2)], [], 300))
    assert content.count("<svg") == 1
    assert "Not in a replay: Queue &lt;age&gt;." in content
    assert re.search(r"Missing <span class=\"muted\">not in a replay</span>", content)


def test_a_line_that_adds_up_is_summed_and_another_is_shown_by_its_highest_point() -> None:
    lines = widget(metric("A"), metric("A", stat="p50", label="p50"))
    content = drawn(Dashboard("d", (lines,)), Reported([sample("A", 0, 2), sample("A", 5, 3)], [], 300))
    assert 'A <span class="muted">5</span>' in content
    assert 'p50 <span class="muted">up to 3</span>' in content


def test_contributors_are_listed_from_the_log_lines_that_match() -> None:
    rule = {"Contribution": {"Keys": ["$.organization"], "Filters": [{"Match": "$.message", "In": ["reached"]}]}}
    insight = {"ruleName": "r", "maxContributorCount": 1}
    one = Widget("metric", 0, 0, 24, 6, {"title": "Who", "period": 300, "insightRule": insight})
    lines = [{"message": "reached", "organization": each} for each in ("a", "b", "b")] + [{"message": "other"}]
    content = drawn(Dashboard("d", (one,), {"r": rule}), Reported([], lines, 300))
    assert "<td>b</td><td class=figure>2</td>" in content
    assert "<td>a</td>" not in content


def test_a_chart_takes_its_colours_from_the_page_and_its_width_too() -> None:
    line = Drawn("A", {START: 1.0, START + 300: 2.0})
    for drawing in (charts.over_time([line], 300, stacked=False), charts.over_time([line], 300, stacked=True)):
        assert "currentColor" in drawing
        assert "var(--line)" in drawing
        assert charts.INK not in drawing
        assert "<text" in drawing
        assert not re.search(r"<svg[^>]*\swidth=", drawing)


def test_a_chart_of_nothing_but_zeros_is_drawn_from_zero_to_one() -> None:
    drawing = charts.over_time([Drawn("A", {START: 0.0, START + 300: 0.0})], 300, stacked=False)
    assert re.findall(r">(0|0\.5|1)</text>", drawing) == ["0", "0.5", "1"]


def test_a_single_point_is_drawn_in_the_hour_it_belongs_to() -> None:
    drawing = charts.over_time([Drawn("A", {START: 1.0})], 300, stacked=False)
    assert {"11:55", "12:00", "12:05"} == set(re.findall(r">(\d\d:\d\d)</text>", drawing))


def test_a_name_with_dollars_is_text_and_no_mathematics() -> None:
    assert ">a$b$c</text>" in charts.side_by_side(["a$b$c"], [[1.0], [2.0]])


# --- the page ------------------------------------------------------------------------------------------------------

EVIL = "<script>alert('&')</script>"


def test_whatever_is_shown_is_escaped() -> None:
    content = page.document(
        EVIL,
        EVIL,
        page.section(EVIL, page.table([EVIL], [[EVIL]])),
        page.tiles({EVIL: EVIL}),
        page.card(EVIL, "", 8, EVIL),
        page.legend([("#000", EVIL, EVIL)]),
        page.bars([("#000", EVIL, 1)]),
    )
    assert "<script" not in content
    assert content.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;") == 13


def test_a_long_table_ends_with_how_much_is_missing() -> None:
    content = page.table(["n"], [[str(number)] for number in range(page.MAX_PAGE_ROWS + 3)])
    assert content.count("<td>") == page.MAX_PAGE_ROWS
    assert "3 more rows" in content


def test_the_command_does_not_load_the_plotting_library() -> None:
    slow = ("matplotlib", "gratis_local.preview.dashboard")
    loaded = f"import sys, gratis_local.cli; print(*(name in sys.modules for name in {slow}))"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
