"""Load on a deployed stack, and the ratios that docs/scaling.md assumes: `python -m benchmarks.load --stack NAME`.

It posts events of organizations of its own, which share nothing, waits until the last of each is decided, and divides
what CloudWatch counted meanwhile by the number of events. So nobody else should use the stack. On AWS it costs what its
events cost; on a local engine, which has no such metrics, only what is known without them is shown.
"""

import argparse
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gratis import moment
from gratis.intake.events import parse_event
from gratis.table.ledger import Ledger
from gratis_local.sender import send
from gratis_local.stack import Stack, stack_of

ASSUMED = {
    "calls to the webhook": ("0.01", "1"),
    "messages in the queue": ("0.01", "1"),
    "write units": ("2.05", "4.04"),
    "read units": ("0.03", "2"),
    "ms of classify_usage": ("0.31", "15"),
    "bus entries": ("0.08", "0.63"),
}
"""What an event costs, packed and single: docs/scaling.md."""
METRICS_SECONDS = 240
"""Until CloudWatch has counted everything."""
PATIENCE_SECONDS = 300
"""Until what was sent is decided."""


@dataclass(frozen=True)
class Load:
    """Events posted and decided between two moments. `calls`: to the webhook."""

    events: int
    calls: int
    began: datetime
    decided: datetime


def main() -> None:
    arguments = _arguments()
    stack = stack_of(arguments.endpoint_url, arguments.stack)
    load = send_load(stack, arguments.events, arguments.batch, arguments.organizations)
    seconds = (load.decided - load.began).total_seconds()
    console = Console()
    console.print(f"{load.events} events in {load.calls} calls, all decided after {seconds:.1f} s")
    if stack.endpoint_url is None:
        console.print(f"waiting {METRICS_SECONDS} s for CloudWatch's metrics ...")
        time.sleep(METRICS_SECONDS)
    console.print(as_table(ratios(load, counted(stack, arguments.stack, load))))


def send_load(stack: Stack, events: int, batch: int, organizations: int) -> Load:
    """Post events, `batch` of an organization a call, organizations side by side; and wait for their decisions."""
    secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["WebhookSecretName"])
    run, began = uuid.uuid4().hex[:8], datetime.now(UTC)
    of_each = [_events(f"gratis_load_{run}_{each}", events // organizations) for each in range(organizations)]
    batches = [[mine[start : start + batch] for start in range(0, len(mine), batch)] for mine in of_each]

    def post(of_one: Sequence[Sequence[Any]]) -> int:
        url, key = f"{stack.base_url}/usage-events", secret["SecretString"].split()[0]
        return sum(send(each, url, key).accepted for each in of_one)

    with ThreadPoolExecutor(organizations) as pool:
        accepted = sum(pool.map(post, batches))
    _wait(stack, [mine[-1] for mine in of_each])
    return Load(accepted, sum(map(len, batches)), began, datetime.now(UTC))


def _events(organization: str, count: int) -> list[Any]:
    counts = {"input_tokens": 900, "output_tokens": 100, "total_tokens": 1000}
    return [
        {
            "specversion": "1.0",
            "type": "usage.request",
            "source": "benchmarks.load",
            "id": str(uuid.uuid4()),
            "time": moment.text(datetime.now(UTC)),
            "subject": organization,
            "data": {"project": "proj_load", "model": "gpt-4o-mini-2024-07-18", "usage": counts},
        }
        for _ in range(count)
    ]


def _wait(stack: Stack, last: Sequence[Any]) -> None:
    """Until the last event of every organization is decided: the earlier ones are by then. Raises TimeoutError."""
    ledger = Ledger(stack.client("dynamodb"), stack.outputs["LedgerTableName"])
    wanted = [parse_event(each, datetime.now(UTC)).key for each in last]
    until = time.monotonic() + PATIENCE_SECONDS
    while wanted:
        decided = ledger.decisions(wanted)
        wanted = [each for each in wanted if each not in decided]
        if wanted and time.monotonic() > until:
            raise TimeoutError(f"{len(wanted)} organizations have no decision after {PATIENCE_SECONDS} s")
        time.sleep(0.5)


def counted(stack: Stack, name: str, load: Load) -> dict[str, float]:
    """What CloudWatch counted in the minutes of the load, by the name of its ratio; without what it has no data of."""
    watched = list(_metrics(stack, name))
    queries = [
        {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}
        for index, (_, metric) in enumerate(watched)
    ]
    answer = stack.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries,
        StartTime=load.began.replace(second=0, microsecond=0),
        EndTime=load.decided.replace(second=0, microsecond=0) + timedelta(minutes=2),
    )
    values = {each["Id"]: sum(each["Values"]) for each in answer["MetricDataResults"] if each["Values"]}
    return {ratio: values[f"m{index}"] for index, (ratio, _) in enumerate(watched) if f"m{index}" in values}


def _metrics(stack: Stack, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    found = [each for page in pages for each in page["StackResourceSummaries"]]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}
    table = stack.outputs["LedgerTableName"]
    for ratio, namespace, metric, dimensions in (
        ("messages in the queue", "AWS/SQS", "NumberOfMessagesSent", {"QueueName": _last(physical["UsageQueue"])}),
        ("write units", "AWS/DynamoDB", "ConsumedWriteCapacityUnits", {"TableName": table}),
        ("read units", "AWS/DynamoDB", "ConsumedReadCapacityUnits", {"TableName": table}),
        ("ms of classify_usage", "AWS/Lambda", "Duration", {"FunctionName": physical["ClassifyUsage"]}),
        ("bus entries", "Gratis", "BusEntries", {"service": "emit_billing", "Stack": name}),
    ):
        pairs = [{"Name": each, "Value": value} for each, value in dimensions.items()]
        yield ratio, {"Namespace": namespace, "MetricName": metric, "Dimensions": pairs}


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def ratios(load: Load, sums: Mapping[str, float]) -> dict[str, float | None]:
    """By event; None where nobody counted."""
    known = {"calls to the webhook": load.calls, **sums}
    return {ratio: known[ratio] / load.events if ratio in known else None for ratio in ASSUMED}


def as_table(found: Mapping[str, float | None]) -> Table:
    """The ratios beside those that docs/scaling.md assumes."""
    table = Table("an event costs", "here", "assumed, packed", "assumed, single", box=box.SIMPLE)
    for ratio, value in found.items():
        table.add_row(ratio, "not counted" if value is None else f"{value:.3g}", *ASSUMED[ratio])
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--stack", default="gratis")
    parser.add_argument("--endpoint-url", help="of a local engine (.gratis/up.json)")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=100, help="events a call: 100 is packed, 1 is single")
    parser.add_argument("--organizations", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
