"""After a deployment: a good and a bad event, a repeat and a void through the stack, looked for where they must show.

Its events are of an organization of its own, which shares nothing, so nobody's allowance is touched.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import urllib3
from botocore.exceptions import ClientError

from gratis import moment
from gratis.intake.events import parse_event
from gratis.intake.receive import Received
from gratis.table.api_keys import Holder, Keys
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.sender import NotTaken, send
from gratis_local.stack import Stack
from gratis_local.voiding import void_events

ORGANIZATION = "gratis_smoke"
KEY_LASTS = timedelta(hours=1)
"""Of the key that looks for the events, should nobody come to take it back."""
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Check:
    """One place that was looked at. `wrong`: what is wrong there, empty if nothing is."""

    place: str
    wrong: str = ""


def smoke(stack: Stack, name: str, patience: float = PATIENCE_SECONDS) -> Iterator[Check]:
    """Look at what is deployed, then send events and look for them, each at most `patience` seconds."""
    yield from _wiring(stack, name)
    with _listening(stack) as heard, _key(stack) as key:
        good, bad = _event(), _event() | {"type": "usage.unknown"}
        sent = _sent(stack, good, bad)
        yield sent
        if sent.wrong:
            return
        void = _void(good)
        for place, look in (
            ("ledger: the decision", lambda: _decided(stack, good)),
            ("webhook: a void", lambda: _taken(stack, void)),
            ("ledger: the void", lambda: _decided(stack, void)),
            ("quarantine: the bad event", lambda: _quarantined(stack, bad)),
            ("account API: the decision explained", lambda: bool(_shown(stack, key, good))),
            ("account API: the void beside it", lambda: "void" in _shown(stack, key, good)),
            ("bus: the billing record and the refusal", lambda: heard() >= {good["id"], bad["id"]}),
            ("bus: the void's record", lambda: f"{good['id']}~void" in heard()),
        ):
            found = _eventually(look, patience)
            yield Check(place, "" if found else f"not there after {patience:g} seconds")


# What is deployed -----------------------------------------------------------------------------------------------------


def _wiring(stack: Stack, name: str) -> Iterator[Check]:
    """What carries events from one part to the next, whether or not one passes now."""
    yield Check("stream of the ledger", "" if _streams(stack) else "is off: nothing reaches the bus")
    off = _sources_off(stack, name)
    yield Check("event sources", f"not enabled: {', '.join(off)}" if off else "")
    yield Check("bus: a rule to the long-term ledger", "" if _delivers(stack) else "there is none that is enabled")
    unprotected = stack.endpoint_url is None and stack.outputs.get("LedgerProtection") == "off"
    yield Check("deletion protection", "is off: deploy once more with ProtectData=true" if unprotected else "")


def _streams(stack: Stack) -> bool:
    table = stack.client("dynamodb").describe_table(TableName=stack.outputs["LedgerTableName"])["Table"]
    return bool(table.get("StreamSpecification", {}).get("StreamEnabled"))


def _sources_off(stack: Stack, name: str) -> list[str]:
    """The stack's event source mappings that are not enabled, each with its state."""
    kinds = "AWS::Lambda::EventSourceMapping"
    pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    found = [each for page in pages for each in page["StackResourceSummaries"] if each["ResourceType"] == kinds]
    states = {each["LogicalResourceId"]: _state(stack, each["PhysicalResourceId"]) for each in found}
    return [
        f"{source} ({state})" for source, state in states.items() if state not in ("Enabled", "Enabling", "Updating")
    ]


def _state(stack: Stack, uuid_of_source: str) -> str:
    functions = stack.client("lambda")
    try:
        return str(functions.get_event_source_mapping(UUID=uuid_of_source)["State"])
    except functions.exceptions.ResourceNotFoundException:
        return "gone"


def _delivers(stack: Stack) -> bool:
    """Whether an enabled rule carries billing records to a delivery stream."""
    events, bus = stack.client("events"), stack.outputs["BusName"]
    rules = [each for each in events.list_rules(EventBusName=bus)["Rules"] if each["State"] == "ENABLED"]
    targets = [events.list_targets_by_rule(Rule=each["Name"], EventBusName=bus)["Targets"] for each in rules]
    return any(":firehose:" in target["Arn"] for each in targets for target in each)


# Events through it ----------------------------------------------------------------------------------------------------


def _event() -> dict[str, Any]:
    counts = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": "gratis smoke",
        "id": f"smoke_{uuid.uuid4().hex}",
        "time": moment.text(datetime.now(UTC)),
        "subject": ORGANIZATION,
        "data": {"model": "gpt-4o-mini-2024-07-18", "usage": counts},
    }


def _void(event: Any) -> dict[str, Any]:
    """A void of the event's request."""
    day = moment.day_of(moment.parse(event["time"]))
    return dict(*void_events(ORGANIZATION, day, [event["id"]], datetime.now(UTC), None))


def _sent(stack: Stack, good: Any, bad: Any) -> Check:
    """A good event, a bad one and the good one again are taken, and the bad one is named."""
    place = "webhook: a good event, a bad one and a repeat"
    try:
        answer = _posted(stack, [good, bad, good])
    except NotTaken as error:
        return Check(place, str(error))
    refused = [each["id"] for each in answer.quarantined]
    return Check(place, "" if (answer.accepted, refused) == (2, [bad["id"]]) else f"answered {answer}")


def _taken(stack: Stack, event: Any) -> bool:
    try:
        return _posted(stack, [event]).accepted == 1
    except NotTaken:
        return False


def _posted(stack: Stack, events: Sequence[Any]) -> Received:
    """Raises NotTaken."""
    secrets = stack.client("secretsmanager").get_secret_value(SecretId=stack.outputs["WebhookSecretName"])
    first = (secrets["SecretString"].split() or [""])[0]
    return send(events, f"{stack.base_url}/usage-events", first)


def _decided(stack: Stack, event: Any) -> bool:
    ledger = Ledger(stack.client("dynamodb"), stack.outputs["LedgerTableName"])
    return bool(ledger.decisions([parse_event(event, datetime.now(UTC)).key]))


def _quarantined(stack: Stack, event: Any) -> bool:
    entries = Quarantine(stack.client("dynamodb"), stack.outputs["LedgerTableName"])
    days = {event["time"][:10], moment.text(datetime.now(UTC))[:10]}
    return any(
        each.id == event["id"] for day in days for each in entries.of_day(moment.parse(f"{day}T00:00:00Z").date())
    )


def _shown(stack: Stack, key: str, event: Any) -> dict[str, Any]:
    """What the account API says of the request; nothing while there is no explanation."""
    url = f"{stack.base_url}/organization/requests/{event['id']}"
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", url, headers={"authorization": f"Bearer {key}"}, retries=False)
    shown: dict[str, Any] = answer.json() if answer.status == 200 else {}
    return shown if shown.get("explanation") else {}


@contextmanager
def _key(stack: Stack) -> Iterator[str]:
    """A key that reads the smoke organization's account, and is taken back."""
    keys, now = Keys(stack.client("dynamodb"), stack.outputs["LedgerTableName"]), datetime.now(UTC)
    key = keys.create(Holder("reader", ORGANIZATION, "gratis smoke"), now, now + KEY_LASTS)
    try:
        yield key
    finally:
        keys.revoke(key)


@contextmanager
def _listening(stack: Stack) -> Iterator[Callable[[], set[str]]]:
    """Listens to the bus with a queue and rule of its own, removed at the end; yields a function: the ids heard so far.

    They are request ids; for a void, that of its decision in the ledger.
    """
    sqs, events, bus = stack.client("sqs"), stack.client("events"), stack.outputs["BusName"]
    name, ids = f"gratis-smoke-{uuid.uuid4().hex[:12]}", set[str]()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    try:
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["gratis"], "detail": {"organization": [ORGANIZATION]}})
        rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=pattern)["RuleArn"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(_policy(arn, rule))})
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])

        def heard() -> set[str]:
            for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                detail = json.loads(message["Body"])["detail"]
                ids.update(each["id"].rpartition(":")[2] for each in detail.get("records", ()))
                ids.add(detail.get("request_id"))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return ids

        yield heard
    finally:
        _quietly(lambda: events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"]))
        _quietly(lambda: events.delete_rule(Name=name, EventBusName=bus))
        sqs.delete_queue(QueueUrl=url)


def _policy(queue: str, rule: str) -> Any:
    """Only the rule may send to the queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _quietly(remove: Callable[[], Any]) -> None:
    """What was never made need not be removed."""
    try:
        remove()
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise


def _eventually(look: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
