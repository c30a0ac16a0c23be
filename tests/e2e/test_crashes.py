"""A function that is killed between its writes: what comes again completes its work, nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from gratis_local.functions import ROOT
from gratis_local.stack import LOCAL_CREDENTIALS
from tests.builders.ledger import prove
from tests.e2e.system import System, queue_batch

MORE_THAN_ONE_TRANSACTION = 150
"""Events of one counter: at most 100 items fit a transaction, so these take two."""
KILLED = {
    "right before the first transaction": ("before", 1, "none"),
    "right after the first transaction": ("after", 1, "some"),
    "right before the second transaction": ("before", 2, "some"),
    "right after the second transaction": ("after", 2, "all"),
}


def killed(system: System, logical_id: str, event: Any, moment: str, call: str, *, count: int = 1) -> None:
    """Run a function as it is deployed, on the deployed table and queue, and let it be killed."""
    name = system.function(logical_id)
    deployed = system.client("lambda").get_function_configuration(FunctionName=name)
    environment = LOCAL_CREDENTIALS | deployed["Environment"]["Variables"]
    environment |= {"AWS_ENDPOINT_URL": system.up.endpoint_url, "POWERTOOLS_METRICS_DISABLED": "true"}
    function = {"ClassifyUsage": "classify_usage", "ReceiveUsage": "receive_usage"}[logical_id]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.dying_function", function, moment, call, str(count)],
        input=json.dumps(event),
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.mark.parametrize(("moment", "transaction", "decided"), KILLED.values(), ids=KILLED)
def test_a_worker_killed_around_a_transaction_loses_nothing_and_decides_nothing_twice(
    system: System, organization: str, moment: str, transaction: int, decided: str
) -> None:
    events = [system.usage(organization, f"r{number}", 8_000) for number in range(MORE_THAN_ONE_TRANSACTION)]
    batch = queue_batch(organization, events[:75], events[75:])
    killed(system, "ClassifyUsage", batch, moment, "dynamodb.TransactWriteItems", count=transaction)
    left_behind = system.stored(organization)
    assert how_many(left_behind.decisions) == decided
    prove(left_behind)

    assert system.invoke("ClassifyUsage", batch) == {"batchItemFailures": []}
    found = system.through(organization)
    assert len(found.decisions) == MORE_THAN_ONE_TRANSACTION
    assert {key: found.decisions[key] for key in left_behind.decisions} == left_behind.decisions
    assert found.used(slot=f"{system.yesterday}", organization=organization) == 1_000_000
    prove(found)
    system.emitted_once(organization, found.decisions.values())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_around_a_write_to_quarantine_leaves_one_entry(
    system: System, organization: str, moment: str
) -> None:
    good = [system.usage(organization, name) for name in ("first", "last")]
    invalid = system.usage(organization, "invalid") | {"type": "usage.unknown"}
    batch = queue_batch(organization, [good[0], invalid, good[1]])
    killed(system, "ClassifyUsage", batch, moment, "dynamodb.PutItem")

    assert system.invoke("ClassifyUsage", batch) == {"batchItemFailures": []}
    found = system.through(organization)
    assert found.verdicts().keys() == {"first", "last"}
    assert [entry.id for entry in found.quarantine] == ["invalid"]
    assert [each["request_id"] for each in system.bus.of("EventQuarantined", organization)] == ["invalid"]
    prove(found)
    system.emitted_once(organization, found.decisions.values())


STORING = {
    "before the quarantine entry": ("before", "dynamodb.PutItem"),
    "after the quarantine entry": ("after", "dynamodb.PutItem"),
    "before the message": ("before", "sqs.SendMessageBatch"),
    "after the message": ("after", "sqs.SendMessageBatch"),
}


@pytest.mark.parametrize(("moment", "call"), STORING.values(), ids=STORING)
def test_a_webhook_killed_while_it_stores_a_body_gets_it_again_from_the_sender(
    system: System, organization: str, moment: str, call: str
) -> None:
    events = [system.usage(organization, "good"), system.usage(organization, "bad") | {"type": "usage.unknown"}]
    body = json.dumps(events)
    request = {"rawPath": "/v1/usage-events", "headers": system.signed(body), "body": body, "isBase64Encoded": False}
    killed(system, "ReceiveUsage", request, moment, call)

    assert system.send(events)["accepted"] == 1
    found = system.through(organization)
    assert found.verdicts().keys() == {"good"}
    assert {entry.id for entry in found.quarantine} == {"bad"}
    assert len({entry.key["sk"]["S"] for entry in found.quarantine}) == 1
    prove(found)
    system.emitted_once(organization, found.decisions.values())


def how_many(decisions: Any) -> str:
    if len(decisions) in (0, MORE_THAN_ONE_TRANSACTION):
        return "all" if decisions else "none"
    return "some"
