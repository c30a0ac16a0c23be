"""Dashboards and alarms: what is on them is emitted, what is emitted is on them, and each alarm is explained."""

import ast
import inspect
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest

from gratis import telemetry
from gratis.classify import Outcome
from gratis.closing.proof import Differences, Proof
from gratis.closing.sums import statement_of
from gratis.errors import Busy
from gratis.http import Refused
from gratis.intake.receive import Received
from gratis.outbox import Emitted
from gratis.outgoing.sending import Sent
from gratis.rules.receipt import Decision
from gratis_local.functions import ROOT, handler_of
from gratis_local.options import STACK
from gratis_local.preview import replayed
from gratis_local.preview.dashboard import NAMES, Dashboard, Line, Widget, dashboards, substituted
from gratis_local.preview.samples import Dimensions, Sample, contributors
from gratis_local.preview.series import _SEARCH
from tests.builders.events import DAY, RECEIVED, request
from tests.builders.ledger import Desk
from tests.unit.test_template import (
    FUNCTIONS,
    PACKAGE,
    RESOURCES,
    TEMPLATE,
    dead_letter_queues,
    module,
    names_in,
    of_type,
)

ANY = "*"
Named = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and dimensions of a metric; `ANY` for a value that a search leaves open."""


def decisions() -> list[Decision]:
    """Two decisions: one reaches 80 and 100 % of the quota, the next one no longer fits."""
    return Desk().decide(request(1_000_000), request(1))


REPORTED: dict[str, Any] = {
    "report_batch": lambda: [Outcome(decisions=decisions())],
    "report_received": lambda: [Received()],
    "report_refused": lambda: [Refused(401, "invalid_signature", "no"), "no"],
    "report_emitted": lambda: [Emitted(decided_at={"2025-03-11T09:15:00Z"}), RECEIVED],
    "report_answered": lambda: [200],
    "report_sent": lambda: [Sent()],
    "report_queued": lambda: [3, DAY],
    "report_closed": lambda: [Proof.of(statement_of("org_a", DAY, []), Differences()), None],
    "report_put_down": lambda: ["org_a", DAY],
    "report_unchanged": lambda: ["org_a", DAY],
    "report_no_longer_kept": lambda: ["org_a", DAY],
    "report_not_closed": lambda: ["org_a", DAY, Busy("later")],
}
"""What each function of `telemetry` that records metrics is called with."""


def output_of(folder: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a function prints when each of its reports is made."""
    namespace = inspect.unwrap(handler_of(folder)).__globals__
    capsys.readouterr()
    for name in sorted(REPORTED.keys() & namespace.keys()):
        namespace[name](*REPORTED[name](), namespace["logger"], namespace["metrics"])
        namespace["metrics"].flush_metrics()
    return capsys.readouterr().out


def printed_samples(output: str, when: datetime) -> Iterator[Sample]:
    """The metrics in what a function printed, in CloudWatch's embedded format: each under every set of dimensions."""
    for blob in map(json.loads, output.splitlines()):
        for directive in blob.get("_aws", {}).get("CloudWatchMetrics", []):
            for names, metric in itertools.product(directive["Dimensions"], directive["Metrics"]):
                dimensions = frozenset((name, blob[name]) for name in names)
                values = blob[metric["Name"]]
                values = tuple(values) if isinstance(values, list) else (values,)
                yield Sample(directive["Namespace"], metric["Name"], dimensions, when, values)


def emitted(capsys: pytest.CaptureFixture[str]) -> set[Named]:
    """Every metric that the functions emit, as CloudWatch reads them from their logs."""
    return {
        (each.namespace, each.name, opened(each.dimensions))
        for folder in FUNCTIONS
        for each in printed_samples(output_of(folder, capsys), RECEIVED)
    }


def opened(dimensions: Dimensions) -> Dimensions:
    """Reasons are many, and searched for."""
    return frozenset((name, ANY if name == "Reason" else value) for name, value in dimensions)


def widgets() -> list[Widget]:
    return [widget for dashboard in dashboards() for widget in dashboard.widgets]


def shown() -> Iterator[Named]:
    """Every metric on a dashboard."""
    for line in (line for widget in widgets() for line in widget.lines):
        found = _SEARCH.match(line.options.get("expression", ""))
        if line.name:
            yield line.namespace, line.name, line.dimensions
        elif found:
            yield (
                found["namespace"],
                found["name"],
                frozenset({(found["dimension"], ANY), (found["fixed"], found["value"])}),
            )


def alarmed() -> Iterator[Named]:
    """Every metric that an alarm watches."""
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        compared = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each]
        for metric in compared or [alarm]:
            dimensions = frozenset((pair["Name"], resource(pair["Value"])) for pair in metric.get("Dimensions", ()))
            yield namespace_of(metric["Namespace"]), metric["MetricName"], dimensions


def namespace_of(stated: Any) -> str:
    """A namespace; what the access log's filters count has one for each stack, since it can have no dimension."""
    return stated if isinstance(stated, str) else substituted(stated)


def resource(value: Any) -> str:
    """A plain value, or the logical id of the resource that it names; the stack is that of the report."""
    if isinstance(value, str):
        return value
    if "Fn::If" in value:
        return resource(value["Fn::If"][2])
    return NAMES.get(value.get("Ref", ""), str(value.get("Ref") or value["Fn::GetAtt"][0]))


def of_ours(metrics: Iterator[Named]) -> set[Named]:
    return {each for each in metrics if each[0] == telemetry.NAMESPACE}


def test_every_function_that_records_metrics_is_called() -> None:
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "functions" / folder / "app.py" for folder in FUNCTIONS)]
    definitions = [each for source in sources for each in module(source).definitions]
    recording = {each.name for each in definitions if names_in(each.body) & {"add_metric", "single_metric"}}
    assert recording == REPORTED.keys()


def test_every_metric_of_ours_on_a_dashboard_or_an_alarm_is_emitted(capsys: pytest.CaptureFixture[str]) -> None:
    assert of_ours(shown())
    assert of_ours(alarmed())
    assert (of_ours(shown()) | of_ours(alarmed())) - emitted(capsys) == set()


def test_every_metric_that_is_emitted_is_on_a_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    assert emitted(capsys) - of_ours(shown()) == set()


def test_every_metric_of_ours_says_of_which_stack_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = emitted(capsys) | of_ours(shown()) | of_ours(alarmed())
    assert {dict(dimensions)["Stack"] for _, _, dimensions in named} == {STACK}
    monkeypatch.setenv("STACK", "another")
    assert telemetry.stack_dimension() == {"Stack": "another"}
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["STACK"] == {"Ref": "AWS::StackName"}


def test_no_metric_has_a_dimension_with_many_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for _, _, dimensions in emitted(capsys) for name, _ in dimensions} == {"service", "Reason", "Stack"}


AWS_METRICS = {
    "AWS/ApiGateway": ("ApiId", "AWS::ApiGatewayV2::Api", {"Count", "4xx", "5xx", "Latency", "IntegrationLatency"}),
    "AWS/DynamoDB": (
        "TableName",
        "AWS::DynamoDB::Table",
        {
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "WriteThrottleEvents",
            "TransactionConflict",
        },
    ),
    "AWS/Firehose": (
        "DeliveryStreamName",
        "AWS::KinesisFirehose::DeliveryStream",
        {"DeliveryToS3.DataFreshness", "DeliveryToS3.Success"},
    ),
    "AWS/Lambda": (
        "FunctionName",
        "AWS::Serverless::Function",
        {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "IteratorAge", "Throttles"},
    ),
    "AWS/Logs": ("LogGroupName", "AWS::Logs::LogGroup", {"IncomingBytes"}),
    "AWS/SQS": (
        "QueueName",
        "AWS::SQS::Queue",
        {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent"},
    ),
}
"""By namespace: the dimension, what it names, and the metrics, as AWS documents them."""
OF_EVENT_SOURCES = {"DroppedEventCount", "OnFailureDestinationDeliveredEventCount"}
"""In the namespace of Lambda, of an event source whose `MetricsConfig` asks for them."""


def test_every_metric_of_aws_is_one_that_aws_documents_for_a_resource_of_ours() -> None:
    theirs = {each for each in [*shown(), *alarmed()] if each[0] not in (telemetry.NAMESPACE, OF_THE_ACCESS_LOG)}
    assert {namespace for namespace, _, _ in theirs} == AWS_METRICS.keys()
    for namespace, name, dimensions in theirs:
        dimension, kind, names = AWS_METRICS[namespace]
        ((stated, logical_id),) = dimensions
        if name in OF_EVENT_SOURCES:
            dimension, kind, names = "EventSourceMappingUUID", "AWS::Lambda::EventSourceMapping", OF_EVENT_SOURCES
        assert (stated, RESOURCES[logical_id]["Type"], name in names) == (dimension, kind, True), (name, logical_id)


def test_a_queue_is_named_by_its_name_and_not_by_its_url() -> None:
    bodies = [str(each["DashboardBody"]["Fn::Sub"]) for each in of_type("AWS::CloudWatch::Dashboard").values()]
    queues = re.findall(r'"QueueName", "\$\{(\w+)(\.QueueName)?\}"', " ".join(bodies))
    assert queues
    assert all(attribute for _, attribute in queues)
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        for pair in alarm.get("Dimensions", ()):
            if pair["Name"] == "QueueName":
                assert pair["Value"]["Fn::GetAtt"][1] == "QueueName"


# --- dashboards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each.name)
def test_the_widgets_of_a_dashboard_fit_the_grid_and_do_not_overlap(dashboard: Dashboard) -> None:
    cells = [
        (x, y)
        for each in dashboard.widgets
        for x in range(each.x, each.x + each.width)
        for y in range(each.y, each.y + each.height)
    ]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)


@pytest.mark.parametrize("widget", [each for each in widgets() if each.lines], ids=lambda each: each.title)
def test_the_expressions_of_a_widget_name_lines_of_it(widget: Widget) -> None:
    ids = [line.options["id"] for line in widget.lines if "id" in line.options]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", each) for each in ids)
    for expression in (line.options["expression"] for line in widget.lines if "expression" in line.options):
        names = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
        assert names - {"SEARCH", "SUM", "METRICS", "RUNNING_SUM"} <= set(ids)


def test_the_cost_of_computing_is_that_of_the_functions_memory() -> None:
    """USD of a million milliseconds of a GB on arm64 is 0.0133334; the widget's text says so."""
    expressions = {line.options["id"]: line.options["expression"] for line in lines_with("expression")}
    usual = TEMPLATE["Globals"]["Function"]["MemorySize"]
    closing = RESOURCES["CloseDay"]["Properties"]["MemorySize"]
    for name, memory in (("functions", usual), ("days", closing)):
        assert f"{memory / 1024 * 0.0133334:.7f}" in expressions[name]


def lines_with(option: str) -> list[Any]:
    return [line for widget in widgets() for line in widget.lines if option in line.options and "id" in line.options]


def test_a_hidden_line_is_there_for_an_expression() -> None:
    for widget in widgets():
        expressions = " ".join(line.options.get("expression", "") for line in widget.lines)
        patterns = re.findall(r'METRICS\("(\w+)"\)', expressions)
        for line in hidden(widget):
            name = line.options["id"]
            assert re.search(rf"\b{name}\b", expressions) or any(pattern in name for pattern in patterns), name


def hidden(widget: Widget) -> list[Line]:
    return [line for line in widget.lines if not line.options.get("visible", True)]


def test_the_operators_see_every_alarm() -> None:
    (listed,) = [widget.properties["alarms"] for widget in widgets() if widget.kind == "alarm"]
    assert sorted(listed) == sorted(of_type("AWS::CloudWatch::Alarm"))


def test_the_rule_that_names_organizations_reads_the_line_that_classify_usage_logs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (rule,) = {name: each for dashboard in dashboards() for name, each in dashboard.rules.items()}.items()
    (widget,) = [each for each in widgets() if "insightRule" in each.properties]
    assert widget.properties["insightRule"]["ruleName"] == rule[0]
    lines = [json.loads(line) for line in output_of("classify_usage", capsys).splitlines()]
    assert contributors(rule[1], lines) == {("org_demo", "1m", "80 %"): 1, ("org_demo", "1m", "100 %"): 1}
    assert resource_log("NearQuotaRule") == RESOURCES["ClassifyUsage"]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]


def test_a_report_draws_the_metrics_and_lines_that_the_function_prints(capsys: pytest.CaptureFixture[str]) -> None:
    output, outcome = output_of("classify_usage", capsys), Outcome(decisions=decisions())
    printed = [each for each in printed_samples(output, RECEIVED) if each.name not in replayed.NOT_IN_A_REPLAY]
    assert values_by_metric(replayed.samples(outcome, RECEIVED)) == values_by_metric(printed)
    logged = [json.loads(line) for line in output.splitlines()]
    assert [line for line in replayed.lines(outcome) if not any(line.items() <= each.items() for each in logged)] == []
    assert len(list(replayed.lines(outcome))) == 2


def values_by_metric(samples: Iterable[Sample]) -> dict[tuple[str, Dimensions], tuple[float, ...]]:
    """All values of each metric, in order."""
    found: dict[tuple[str, Dimensions], tuple[float, ...]] = {}
    for each in samples:
        found[each.name, each.dimensions] = (*found.get((each.name, each.dimensions), ()), *each.values)
    return found


def resource_log(rule: str) -> str:
    (group,) = json.loads(substituted(RESOURCES[rule]["Properties"]["RuleBody"]))["LogGroupNames"]
    return str(group)


# --- alarms --------------------------------------------------------------------------------------------------------


def test_every_alarm_tells_somebody() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    assert all(each["AlarmActions"] == [{"Ref": "AlarmTopic"}] for each in alarms)


def test_the_topic_of_the_alarms_takes_what_cloudwatch_publishes() -> None:
    """CloudWatch may not use the key that AWS manages for SNS; with it no alarm would ever arrive."""
    (topic,) = of_type("AWS::SNS::Topic").values()
    assert topic.get("KmsMasterKeyId") != "alias/aws/sns"


def test_every_alarm_points_to_its_entry_in_the_runbook_and_every_entry_is_of_an_alarm() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    described = [each["AlarmDescription"] for each in of_type("AWS::CloudWatch::Alarm").values()]
    pointed = [re.fullmatch(r"[A-Z].+: docs/operations\.md#([a-z-]+)", each) for each in described]
    assert {each[1] for each in pointed if each} == anchors
    assert all(pointed)


OF_THE_ACCESS_LOG = f"{telemetry.NAMESPACE}/{STACK}"


def test_what_the_access_log_says_of_refused_senders_is_counted_and_watched() -> None:
    filters = of_type("AWS::Logs::MetricFilter").values()
    counted = {each["MetricTransformations"][0]["MetricName"]: each["FilterPattern"] for each in filters}
    assert {name for namespace, name, _ in alarmed() if namespace == OF_THE_ACCESS_LOG} == counted.keys()
    written = json.loads(RESOURCES["HttpStage"]["Properties"]["AccessLogSettings"]["Format"])
    for pattern in counted.values():
        assert set(re.findall(r"\$\.(\w+)", pattern)) <= written.keys()
    assert all(each["LogGroupName"] == {"Ref": "AccessLog"} for each in filters)
    assert RESOURCES["TooLargeAlarm"]["Properties"]["Threshold"] == 0  # LiteLLM loses the batch at the first one


def test_events_that_are_not_decided_and_decisions_that_are_not_emitted_ring_after_15_minutes() -> None:
    for name, before, after in (
        ("NothingDecidedAlarm", {"EventsAccepted"}, {"EventsReceived"}),
        ("NothingEmittedAlarm", {"FreeRequests", "BilledRequests"}, {"RecordsEmitted"}),
    ):
        alarm = RESOURCES[name]["Properties"]
        stats = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
        assert {each["Metric"]["MetricName"] for each in stats} == before | after
        assert {each["Period"] * alarm["EvaluationPeriods"] for each in stats} == {900}
        (expression,) = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
        ids = {each["Id"] for each in alarm["Metrics"] if "MetricStat" in each}
        assert set(re.findall(r"FILL\((\w+), 0\)", expression)) == ids


def watched(namespace: str, metric: str) -> list[str]:
    """The resources that an alarm on this metric watches."""
    return [name for each in alarmed() if each[:2] == (namespace, metric) for _, name in each[2]]


def test_errors_of_every_function_are_an_alarm() -> None:
    called_by_cloudformation = {"CheckOffer"}  # an error of its own fails the deployment
    assert (
        set(watched("AWS/Lambda", "Errors")) == of_type("AWS::Serverless::Function").keys() - called_by_cloudformation
    )


def test_throttles_are_an_alarm_where_events_come_in_and_where_decisions_are_written() -> None:
    assert watched("AWS/Lambda", "Throttles") == ["ReceiveUsage", "ClassifyUsage"]
    assert watched("AWS/DynamoDB", "WriteThrottleEvents") == ["LedgerTable"]
    assert watched("AWS/DynamoDB", "ReadThrottleEvents") == ["LedgerTable"]


def test_every_queue_of_dead_letters_is_watched() -> None:
    assert sorted(watched("AWS/SQS", "ApproximateNumberOfMessagesVisible")) == sorted(dead_letter_queues())


def test_the_age_of_the_stream_of_the_usage_queue_and_of_what_goes_to_the_lake_are_watched() -> None:
    assert watched("AWS/Lambda", "IteratorAge") == ["ClassifyUsage", "EmitBilling"]
    for given_up in ("OnFailureDestinationDeliveredEventCount", "DroppedEventCount"):
        assert watched("AWS/Lambda", given_up) == ["ClassifyUsageStream"]
    assert RESOURCES["ClassifyUsageStream"]["Properties"]["MetricsConfig"] == {"Metrics": ["EventCount"]}
    assert "UsageQueue" in watched("AWS/SQS", "ApproximateAgeOfOldestMessage")
    assert watched("AWS/Firehose", "DeliveryToS3.DataFreshness") == ["RecordsDelivery"]


def test_a_day_without_a_call_of_the_schedule_is_an_alarm() -> None:
    alarm = RESOURCES["DayNotClosedAlarm"]["Properties"]
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["Statistic"] == "SampleCount"
    assert alarm["Period"] * alarm["EvaluationPeriods"] > 86400


# --- figures -------------------------------------------------------------------------------------------------------


def test_at_most_ten_values_are_picked_evenly_and_the_greatest_is_among_them() -> None:
    assert telemetry.picked([]) == []
    assert telemetry.picked([3, 1, 2]) == [1, 2, 3]
    assert telemetry.picked(range(1000)) == [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]
    assert len(telemetry.picked(range(11))) == 10


def test_a_wait_is_in_milliseconds_and_never_below_zero() -> None:
    early, late = "2025-03-11T09:15:00Z", "2025-03-11T09:15:01.250Z"
    assert telemetry.waits([(early, late), (early, late), (late, early)]) == [0, 1250]


def test_the_use_of_a_quota_is_that_after_the_last_decision_of_each_counter() -> None:
    desk = Desk()
    decided = desk.decide(request(100_000), request(150_000), request(900_000))
    assert list(telemetry.quota_uses(decided)) == [25]
