"""Grafana draws what CloudWatch draws: every metric and expression of every widget, at the same place."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as Schema

from gratis_local.preview.dashboard import Dashboard, Line, Widget, dashboards, deployed, widgets_of
from gratis_local.preview.grafana import grafana_json
from gratis_local.stack import Stack

DRAWN: Mapping[str, tuple[Dashboard, Any]] = {
    each.name: (each, json.loads(grafana_json(each))) for each in dashboards()
}
PANELS = [
    pytest.param(widget, panel, id=f"{name} {number}")
    for name, (dashboard, written) in DRAWN.items()
    for number, (widget, panel) in enumerate(zip(dashboard.widgets, written["panels"], strict=True))
]
METRICS = [each for each in PANELS if each.values[0].lines]


def metric(line: Line, widget: Widget) -> tuple[Any, ...]:
    properties = widget.properties
    stat = line.options.get("stat", properties["stat"])
    return line.namespace, line.name, sorted(line.dimensions), stat, str(properties["period"]), properties["region"]


def queried(target: Mapping[str, Any]) -> tuple[Any, ...]:
    dimensions = sorted((name, value) for name, values in target["dimensions"].items() for value in values)
    return (target["namespace"], target["metricName"], dimensions, *map(target.get, ("statistic", "period", "region")))


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_written_is_read_by_grafanas_schema_without_a_loss(name: str) -> None:
    register_default_plugins()
    _, written = DRAWN[name]
    read = Schema.from_json(written)
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    assert again["templating"] == written["templating"]
    for panel, was in zip(again["panels"], written["panels"], strict=True):
        assert panel | {"fieldConfig": None} == was | {"fieldConfig": None}
        assert panel.get("fieldConfig", {}).get("overrides") == was.get("fieldConfig", {}).get("overrides")


@pytest.mark.parametrize(("widget", "panel"), PANELS)
def test_each_widget_is_a_panel_at_its_place(widget: Widget, panel: Any) -> None:
    assert panel["gridPos"] == {"x": widget.x, "y": widget.y, "w": widget.width, "h": widget.height}
    assert panel["title"] == widget.title
    if widget.kind == "text":
        assert panel["options"]["content"] == widget.properties["markdown"]


@pytest.mark.parametrize(("widget", "panel"), METRICS)
def test_each_metric_of_a_widget_is_queried(widget: Widget, panel: Any) -> None:
    metrics = [queried(each) for each in panel["targets"] if each.get("metricName")]
    assert sorted(metrics) == sorted(metric(line, widget) for line in widget.lines if line.name)


@pytest.mark.parametrize(("widget", "panel"), METRICS)
def test_each_line_that_is_shown_has_its_label_and_its_expression(widget: Widget, panel: Any) -> None:
    shown = [line for line in widget.lines if line.options.get("visible", True)]
    targets = [each for each in panel["targets"] if not each["hide"]]
    assert [each["label"] for each in targets] == [line.options["label"] for line in shown]
    if widget.properties.get("view") != "singleValue":
        assert [each.get("expression") for each in targets] == [line.options.get("expression") for line in shown]


@pytest.mark.parametrize(("widget", "panel"), METRICS)
def test_a_query_has_all_that_grafana_asks_for_and_finds_the_queries_that_it_computes_with(
    widget: Widget, panel: Any
) -> None:
    assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])
    ids = [each["id"] for each in panel["targets"] if each["id"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z][a-zA-Z0-9_]*", each) for each in ids)
    for target in panel["targets"]:
        assert target["datasource"] == {"type": "cloudwatch", "uid": "${datasource}"}
        assert (target["queryMode"], target["metricQueryType"]) == ("Metrics", 0)
        assert target["metricEditorMode"] == ("expression" in target)  # 0: builder, 1: code
        assert target["statistic"]
        assert target["region"]
        assert target["id"] or not target["hide"], "Grafana leaves out a hidden query without an id"
        expression = re.sub(r"SEARCH\(.*\)", "", target.get("expression", ""))
        of_all = re.findall(r'METRICS\("(\w+)"\)', expression)
        assert all(any(part in each for each in ids) for part in of_all)
        assert set(re.findall(r"\b[a-z]\w*", re.sub(r'"\w+"', "", expression))) <= set(ids)


def test_single_values_are_of_the_whole_time_shown() -> None:
    _, written = DRAWN["gratis-business"]
    panel = next(each for each in written["panels"] if each["type"] == "stat")
    assert [each["expression"] for each in panel["targets"] if not each["hide"]] == [
        "TIME_SERIES(SUM(listed))",
        "TIME_SERIES(SUM(billed))",
        "TIME_SERIES(SUM(listed) - SUM(billed))",
        "TIME_SERIES(100 * (SUM(listed) - SUM(billed)) / SUM(listed))",
    ]


def test_a_line_keeps_its_color_and_its_axis() -> None:
    _, written = DRAWN["gratis-operators"]
    verdicts = next(each for each in written["panels"] if each["title"] == "Verdicts")
    assert verdicts["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    colors = [each["properties"][0]["value"]["fixedColor"] for each in verdicts["fieldConfig"]["overrides"]]
    assert colors == ["#2ca02c", "#ff7f0e"]
    ages = next(each for each in written["panels"] if each["title"].startswith("Oldest message"))
    placed = {each["matcher"]["options"]: each["properties"] for each in ages["fieldConfig"]["overrides"]}
    right = [{"id": "custom.axisPlacement", "value": "right"}]
    assert placed == {"line2": right, "line3": right}


def test_a_rule_of_contributor_insights_is_a_query_of_its_log_group() -> None:
    _, written = DRAWN["gratis-business"]
    (target,) = next(each for each in written["panels"] if each["type"] == "table")["targets"]
    assert target["logGroupNames"] == ["ClassifyUsageLog"]
    assert target["expression"].split("\n| ") == [
        'filter message in ["quota threshold reached"]',
        "stats count(*) as times by organization, group, reached",
        "sort times desc",
        "limit 25",
    ]


def test_alarms_of_the_stack_are_marked_on_the_charts() -> None:
    _, written = DRAWN["gratis-operators"]
    (marks,) = written["annotations"]["list"]
    target = marks["target"]
    assert (target["queryMode"], target["region"]) == ("Annotations", "us-east-1")
    assert (target["prefixMatching"], target["alarmNamePrefix"]) == (True, "gratis-")
    assert "metricName" not in target, "Grafana would mark this metric's alarms only"
    listed = next(each for each in written["panels"] if each["title"] == "Alarms")
    assert "UsageDeadLettersAlarm" in listed["options"]["content"]


@dataclass(frozen=True)
class Answering(Stack):
    """A stack `acme` in another region, with one widget, and resources on two pages."""

    def client(self, service: str) -> Any:
        client = boto3.Session("key", "secret", region_name="eu-west-1").client(service)  # type: ignore[call-overload]
        answers = Stubber(client)
        if service == "cloudwatch":
            insight = {"ruleName": "acme-near-quota", "orderBy": "Sum", "maxContributorCount": 7}
            properties = {"title": "Near", "region": "eu-west-1", "period": 3600, "insightRule": insight}
            widget = {"type": "metric", "x": 0, "y": 0, "width": 24, "height": 6, "properties": properties}
            body = {"DashboardBody": json.dumps({"widgets": [widget]})}
            answers.add_response("get_dashboard", body, {"DashboardName": "acme-business"})
        else:
            other, log = (self.resource(*each) for each in (("Other", "x"), ("ClassifyUsageLog", "acme-log")))
            first = {"StackResourceSummaries": [other], "NextToken": "more"}
            answers.add_response("list_stack_resources", first, {"StackName": "acme"})
            answers.add_response(
                "list_stack_resources", {"StackResourceSummaries": [log]}, {"StackName": "acme", "NextToken": "more"}
            )
        answers.activate()
        return client

    def resource(self, logical: str, physical: str) -> dict[str, Any]:
        named = {"LogicalResourceId": logical, "PhysicalResourceId": physical, "ResourceType": "AWS::Logs::LogGroup"}
        return {**named, "ResourceStatus": "CREATE_COMPLETE", "LastUpdatedTimestamp": datetime(2026, 1, 1, tzinfo=UTC)}


def test_a_deployed_stack_names_what_is_deployed() -> None:
    written = json.loads(grafana_json(deployed(Answering(None, {}), "acme", "business")))
    (panel,) = written["panels"]
    assert (written["title"], panel["title"]) == ("acme-business", "Near")
    assert (panel["targets"][0]["logGroupNames"], panel["targets"][0]["region"]) == (["acme-log"], "eu-west-1")
    assert panel["targets"][0]["expression"].endswith("limit 7")


def test_the_id_of_a_long_name_is_one_that_grafana_takes() -> None:
    text = '{"widgets": [{"type": "text", "x": 0, "y": 0, "width": 24, "height": 2, "properties": {"markdown": "-"}}]}'
    written = json.loads(grafana_json(Dashboard(f"{'long-' * 20}operators", widgets_of(text))))
    assert len(written["uid"]) == 40
    assert written["uid"].endswith("-operators")
