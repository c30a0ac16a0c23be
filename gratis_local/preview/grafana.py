"""Writes a dashboard for Grafana, whose CloudWatch data source draws the same metrics as CloudWatch's own dashboard.

Fields and values as Grafana's schema has them (grafana-foundation-sdk). What Grafana does otherwise than CloudWatch:
a period stays as it is however long the time shown is; a rule of Contributor Insights becomes a query of its log group,
which needs no rule; alarms are marks on all charts.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grafana_foundation_sdk.builders import bargauge, cloudwatch, common, stat, table, text, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.cloudwatch import CloudWatchQueryMode, MetricEditorMode, MetricQueryType
from grafana_foundation_sdk.models.common import BigValueTextMode, StackingMode, VizOrientation
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DynamicConfigValue, GridPos

from gratis_local.preview.dashboard import Dashboard, Line, Widget

SOURCE = DataSourceRef(type_val="cloudwatch", uid="${datasource}")
"""The CloudWatch data source that is chosen in the variable above the panels."""
ALARM_COLOR = "#d62728"
MAX_UID = 40
"""Characters that Grafana takes as the id of a dashboard."""


def grafana_json(dashboard: Dashboard) -> str:
    """What Grafana imports: Dashboards, New, Import."""
    return json.dumps(_dashboard(dashboard).build(), cls=JSONEncoder, indent=2)


def _dashboard(dashboard: Dashboard) -> builders.Dashboard:
    made = builders.Dashboard(dashboard.name).uid(dashboard.name[-MAX_UID:]).tags(["gratis"])
    made = made.time("now-24h", "now").refresh("5m").timezone("utc")
    made.with_variable(builders.DatasourceVariable("datasource").label("CloudWatch").type("cloudwatch"))
    for number, widget in enumerate(dashboard.widgets, 1):
        if widget.kind == "alarm":
            made.annotation(_alarms(dashboard))
        made.with_panel(_panel(widget, dashboard.rules).id(number))
    return made


def _panel(widget: Widget, rules: Mapping[str, Any]) -> Any:
    if widget.kind == "alarm":
        names = ", ".join(arn.rsplit(":", 1)[-1] for arn in widget.properties["alarms"])
        panel: Any = text.Panel().content(f"Changes of these alarms are marked on the charts: {names}")
    elif widget.kind == "text":
        panel = text.Panel().content(widget.properties["markdown"])
    elif found := widget.properties.get("insightRule"):
        panel = table.Panel().datasource(SOURCE).with_target(_contributors(widget, rules[found["ruleName"]]))
    else:
        panel = _chart(widget)
    return panel.title(widget.title).grid_pos(GridPos(x=widget.x, y=widget.y, w=widget.width, h=widget.height))


def _chart(widget: Widget) -> Any:
    view = widget.properties.get("view", "timeSeries")
    panel = PANELS[view](widget).datasource(SOURCE)
    for query in _summed(widget) if view == "singleValue" else _queries(widget):
        panel.with_target(query)
    for number, line in enumerate(widget.lines):
        if chosen := list(_chosen(line)):
            panel.override_by_query(_ref(number), chosen)
    return panel


def _lines(widget: Widget) -> timeseries.Panel:
    panel = timeseries.Panel()
    if widget.properties.get("stacked"):
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(50)
    return panel


def _values(_: Widget) -> stat.Panel:
    return stat.Panel().reduce_options(_reduced("lastNotNull")).text_mode(BigValueTextMode.VALUE_AND_NAME)


def _bars(_: Widget) -> bargauge.Panel:
    return bargauge.Panel().reduce_options(_reduced("sum")).orientation(VizOrientation.HORIZONTAL)


PANELS: Mapping[str, Callable[[Widget], Any]] = {"timeSeries": _lines, "singleValue": _values, "bar": _bars}
"""What Grafana calls a view of CloudWatch's."""


def _reduced(how: str) -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs([how])


def _chosen(line: Line) -> Iterator[DynamicConfigValue]:
    """What a line has of its own: a color, the axis on the right."""
    if color := line.options.get("color"):
        yield DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
    if line.options.get("yAxis") == "right":
        yield DynamicConfigValue("custom.axisPlacement", "right")


def _ref(number: int) -> str:
    return f"line{number}"


def _queries(widget: Widget) -> Iterator[cloudwatch.CloudWatchMetricsQuery]:
    for number, line in enumerate(widget.lines):
        query = _query(widget, number, line.options.get("stat"))
        query = query.id(line.options.get("id", "")).label(line.options.get("label", ""))
        yield _measured(query, line) if line.name else _computed(query, line.options["expression"])


def _summed(widget: Widget) -> Iterator[cloudwatch.CloudWatchMetricsQuery]:
    """Single values cover the whole time shown: expressions use the sum of each metric, which itself is hidden."""
    ids = [line.options["id"] for line in widget.lines if line.name]
    for number, line in enumerate(widget.lines):
        options = line.options
        if line.name:
            yield _measured(_query(widget, len(widget.lines) + number), line).id(options["id"]).hide(True)
        sums = re.sub(rf"\b({'|'.join(ids)})\b", r"SUM(\1)", options.get("expression", options["id"]))
        whole = _computed(_query(widget, number), f"TIME_SERIES({sums})")
        yield whole.id(f"whole_{options['id']}").label(options["label"])


def _query(widget: Widget, number: int, own: str | None = None) -> cloudwatch.CloudWatchMetricsQuery:
    properties = widget.properties
    return (
        cloudwatch.CloudWatchMetricsQuery()
        .ref_id(_ref(number))
        .datasource(SOURCE)
        .query_mode(CloudWatchQueryMode.METRICS)
        .metric_query_type(MetricQueryType.SEARCH)
        .region(properties["region"])
        .statistic(own or properties["stat"])
        .period(str(properties["period"]))
    )


def _measured(query: cloudwatch.CloudWatchMetricsQuery, line: Line) -> cloudwatch.CloudWatchMetricsQuery:
    named = query.metric_editor_mode(MetricEditorMode.BUILDER).namespace(line.namespace).metric_name(line.name)
    dimensions: dict[str, str | list[str]] = {name: [value] for name, value in sorted(line.dimensions)}
    return named.dimensions(dimensions).match_exact(True).hide(not line.options.get("visible", True))


def _computed(query: cloudwatch.CloudWatchMetricsQuery, expression: str) -> cloudwatch.CloudWatchMetricsQuery:
    return query.metric_editor_mode(MetricEditorMode.CODE).expression(expression).hide(False)


def _contributors(widget: Widget, rule: Mapping[str, Any]) -> cloudwatch.CloudWatchLogsQuery:
    """The rule as a query of CloudWatch Logs Insights."""
    keys = [key.removeprefix("$.") for key in rule["Contribution"]["Keys"]]
    filters = [
        f"{each['Match'].removeprefix('$.')} in {json.dumps(each['In'])}" for each in rule["Contribution"]["Filters"]
    ]
    most = widget.properties["insightRule"]["maxContributorCount"]
    steps = [f"stats count(*) as times by {', '.join(keys)}", "sort times desc", f"limit {most}"]
    return (
        cloudwatch.CloudWatchLogsQuery()
        .ref_id(_ref(0))
        .datasource(SOURCE)
        .query_mode(CloudWatchQueryMode.LOGS)
        .id("contributors")
        .region(widget.properties["region"])
        .log_group_names(rule["LogGroupNames"])
        .stats_groups(keys)
        .expression("\n| ".join([f"filter {' and '.join(filters)}", *steps]))
    )


def _alarms(dashboard: Dashboard) -> builders.AnnotationQuery:
    """Marks where an alarm changed whose name begins with the stack's, as CloudFormation names them."""
    stack, _, _ = dashboard.name.rpartition("-")
    query = (
        cloudwatch.CloudWatchAnnotationQuery()
        .ref_id("alarms")
        .datasource(SOURCE)
        .query_mode(CloudWatchQueryMode.ANNOTATIONS)
        .prefix_matching(True)
        .alarm_name_prefix(f"{stack}-")
        .region(next(each.properties["region"] for each in dashboard.widgets if "region" in each.properties))
    )
    marks = builders.AnnotationQuery().name("Alarms").datasource(SOURCE).enable(True).icon_color(ALARM_COLOR)
    return marks.target(query)  # type: ignore[arg-type]  # the schema knows only Grafana's own targets here
