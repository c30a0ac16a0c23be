"""`gratis smoke` on a system of its own: it passes, and finds each of several deliberate breakages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from typer.testing import CliRunner, Result

from gratis_local.cli import app
from gratis_local.smoke import ORGANIZATION
from gratis_local.stack import Stack
from gratis_local.up import Running, running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Running]]:
    state: Path = tmp_path_factory.mktemp("gratis") / "up.json"
    with running(state=state) as started:
        yield started


def smoke(up: tuple[Stack, Running], patience: int = 5) -> Result:
    arguments = ["smoke", "--stack", "gratis", "--endpoint-url", up[1].endpoint_url, "--patience", str(patience)]
    return CliRunner().invoke(app, arguments)


def wrong(result: Result) -> list[str]:
    return [line.removeprefix("wrong").strip() for line in result.stdout.splitlines() if line.startswith("wrong")]


def mapping_of(stack: Stack, function: str) -> Any:
    """The event source of a function."""
    described = stack.client("cloudformation").describe_stack_resource(StackName="gratis", LogicalResourceId=function)
    name = described["StackResourceDetail"]["PhysicalResourceId"]
    (mapping,) = stack.client("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    return mapping


def test_a_system_that_works_passes_and_nothing_of_the_test_is_left(up: tuple[Stack, Running]) -> None:
    stack, _ = up
    passed = smoke(up, 60)
    assert (passed.exit_code, wrong(passed)) == (0, []), passed.output
    assert len([line for line in passed.stdout.splitlines() if line.startswith("ok")]) == 13
    assert not [url for url in stack.client("sqs").list_queues().get("QueueUrls", []) if "smoke" in url]
    rules = stack.client("events").list_rules(EventBusName=stack.outputs["BusName"])["Rules"]
    assert [each["Name"] for each in rules if "smoke" in each["Name"]] == []
    table = stack.client("dynamodb").scan(TableName=stack.outputs["LedgerTableName"])["Items"]
    assert [item for item in table if item.get("organization", {}).get("S") == ORGANIZATION and "role" in item] == []


def test_a_rule_that_is_gone_is_found(up: tuple[Stack, Running]) -> None:
    stack, _ = up
    events, bus = stack.client("events"), stack.outputs["BusName"]
    names = [each["Name"] for each in events.list_rules(EventBusName=bus)["Rules"]]
    targets = {name: events.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"] for name in names}
    (rule,) = [name for name, of_rule in targets.items() if any(":firehose:" in each["Arn"] for each in of_rule)]
    events.disable_rule(Name=rule, EventBusName=bus)
    try:
        broken = smoke(up, 30)
    finally:
        events.enable_rule(Name=rule, EventBusName=bus)
    assert (broken.exit_code, wrong(broken)) == (1, ["bus: a rule to the long-term ledger"])


def test_a_secret_that_the_webhook_does_not_know_is_found(up: tuple[Stack, Running]) -> None:
    stack, running = up
    secrets, name = stack.client("secretsmanager"), stack.outputs["WebhookSecretName"]
    secrets.put_secret_value(SecretId=name, SecretString="whsec_" + "A" * 44)
    try:
        broken = smoke(up)
    finally:
        secrets.put_secret_value(SecretId=name, SecretString=running.webhook_secret)
    assert (broken.exit_code, wrong(broken)) == (1, ["webhook: a good event, a bad one and a repeat"])
    assert "401" in broken.stderr


@pytest.mark.parametrize(
    ("function", "missing"),
    [("ClassifyUsage", "ledger: the decision"), ("EmitBilling", "bus: the billing record and the refusal")],
)
def test_an_event_source_that_is_disabled_is_found(up: tuple[Stack, Running], function: str, missing: str) -> None:
    stack, _ = up
    source = mapping_of(stack, function)["UUID"]
    stack.client("lambda").update_event_source_mapping(UUID=source, Enabled=False)
    try:
        broken = smoke(up)
    finally:
        stack.client("lambda").update_event_source_mapping(UUID=source, Enabled=True)
    assert broken.exit_code == 1
    assert {"event sources", missing} <= set(wrong(broken)), broken.output
    assert function in broken.stderr


def test_a_stream_that_is_off_is_found(up: tuple[Stack, Running]) -> None:
    stack, _ = up
    off = {"StreamEnabled": False}
    stack.client("dynamodb").update_table(TableName=stack.outputs["LedgerTableName"], StreamSpecification=off)
    broken = smoke(up)
    assert broken.exit_code == 1
    assert {"stream of the ledger", "bus: the billing record and the refusal"} <= set(wrong(broken)), broken.output
    assert "off" in broken.stderr


@pytest.mark.parametrize("path", ["endpoint_url", "base_url", "page_url"])
def test_a_page_of_elsewhere_gets_no_answer_of_the_engine(up: tuple[Stack, Running], path: str) -> None:
    url = getattr(up[1], path)
    with urllib3.PoolManager() as pool:
        status = {
            origin: pool.request("GET", url, headers={"origin": origin} if origin else {}, retries=False).status
            for origin in ("", "https://evil.example", "null")
        }
    assert (status["https://evil.example"], status["null"]) == (403, 403)
    assert status[""] != 403


def test_a_stack_that_is_not_there_is_said_and_the_exit_code_is_2(up: tuple[Stack, Running]) -> None:
    result = CliRunner().invoke(app, ["smoke", "--stack", "another", "--endpoint-url", up[1].endpoint_url])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "another" in result.stderr
