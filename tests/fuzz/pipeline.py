"""The way of an event in this process: the real functions one after the other, on a simulated table and queue."""

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock, patch

import boto3
import pytest

from gratis import config
from gratis.intake.sources import Source
from gratis.outbox import bus_entries
from gratis.table.accounts import Accounts
from gratis.table.decision_items import decision_of
from gratis.table.quarantine import Quarantine
from gratis_local.functions import Context, Handler, handler_of
from gratis_simulation.machines.queue import Queue
from gratis_simulation.machines.stream import passes, record_of
from gratis_simulation.machines.table import Table
from tests.builders import webhook
from tests.builders.ledger import by_the_events_clock
from tests.builders.organizations import account
from tests.builders.webhook import BEARER, SECRET

NOW = datetime(2025, 3, 11, 23, 30, tzinfo=UTC)
"""When everything is received: the events of the corpus are of that day."""
TABLE = "gratis-fuzz"
DEPLOYED = {
    "LEDGER_TABLE": TABLE,
    "USAGE_QUEUE": "queue",
    "OFFER": "data-sharing",
    "WEBHOOK_SECRET": SECRET,
    "LITELLM_SECRET": BEARER,
}
NAME, REQUEST_ID, DAY = "[A-Za-z0-9._-]{1,64}", "[A-Za-z0-9._:/-]{1,256}", r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
KEY = re.compile(
    rf"COUNTER#{NAME}#{NAME} ({DAY}|WEEK#{DAY}|ROLLING|PAGE#{DAY}#[01]*1)"
    rf"|DAY#{NAME}#{DAY}#[0-7] REQ#{REQUEST_ID}"
    rf"|DAY#{DAY}#(1[0-5]|[0-9]) ORG#{NAME}#{NAME}"
    rf"|ORG#{NAME} (ACCOUNT|PROJECTS#[0-9a-f]{{64}}#[0-9]{{6}})"
    rf"|QUARANTINE#{DAY} {REQUEST_ID}#{REQUEST_ID}#[0-9a-f]{{32}}(#[0-9]+)?"
)
"""Every key there may be, partition and sort key: whatever an event names itself, it gets no separator into one."""


class Clock(datetime):
    """`datetime` whose `now` is the moment of the corpus."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return NOW


class Secrets:
    """A secret is what it is named."""

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        return {"SecretString": asked["SecretId"]}


@contextmanager
def environment(client: Callable[[str], Any]) -> Iterator[None]:
    """The configuration of a deployment; its AWS clients are these."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("OFFER_ENDS", "PLATFORM_NAME"):
            patched.delenv(name, raising=False)
        for name, value in DEPLOYED.items():
            patched.setenv(name, value)
        patched.setattr(boto3, "client", lambda service, **_: client(service))
        patched.setattr(Table, "meta", MagicMock(), raising=False)  # what is set about the SDK's client has no effect
        _forget()
        yield
    _forget()


def _forget() -> None:
    config.config.cache_clear()
    config.dynamodb.cache_clear()


def standing_still(handler: Handler) -> Any:
    """While in this context, the function's clock shows NOW."""
    return patch.dict(inspect.unwrap(handler).__globals__, {"datetime": Clock})


@dataclass
class Pipeline:
    """What a body goes through, and what it leaves behind."""

    receive: Handler = field(default_factory=lambda: handler_of("receive_usage"))
    classify: Handler = field(default_factory=lambda: by_the_events_clock(handler_of("classify_usage")))
    table: Any = field(default_factory=Table)
    queue: Any = field(default_factory=lambda: Queue(lambda: NOW))

    @contextmanager
    def running(self) -> Iterator["Pipeline"]:
        clients = {"dynamodb": self.table, "sqs": self.queue, "secretsmanager": Secrets()}
        with environment(lambda service: clients[service]), standing_still(self.receive):
            yield self

    def clear(self) -> None:
        """As if nothing had come yet. org_demo shares everything at tier 4."""
        self.table.__init__()
        self.queue.__init__(lambda: NOW)
        Accounts(self.table, TABLE).put(account("org_demo"))

    def post(self, source: Source, body: bytes, headers: Mapping[str, str]) -> Any:
        """What the function answers to a body from a known sender."""
        known = webhook.signed(body, seconds_ahead=int((NOW - datetime.now(UTC)).total_seconds())) | {
            "authorization": f"Bearer {BEARER}"
        }
        request = webhook.request(body, {**headers, **known}, path=f"/v1/usage-events{source.path}")
        return self.receive(request, Context("receive_usage"))

    def decide(self, *records: Mapping[str, Any]) -> list[str]:
        """Let the function decide messages of the queue; returns those that have to come again."""
        answer = self.classify({"Records": records}, Context("classify_usage"))
        assert answer.keys() == {"batchItemFailures"}
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]

    def queued(self) -> list[Any]:
        """The events in the queue."""
        return [event for message in self.queue.sent for event in json.loads(message.body)]

    def quarantined(self) -> list[str]:
        """What is kept in quarantine, as JSON text."""
        return [entry.raw for entry in Quarantine(self.table, TABLE).of_day(NOW.date())]

    def events_quarantined(self) -> list[str]:
        """Of that, the events."""
        return [entry.raw for entry in Quarantine(self.table, TABLE).of_day(NOW.date()) if entry.source is None]

    def decided(self) -> Counter[str]:
        """The payload hashes of the decisions."""
        items = [item for (_, sk), item in self.table.items.items() if sk.startswith("REQ#")]
        return Counter(decision_of(item).payload_hash for item in items)

    def check_stored(self) -> None:
        """There is no key but ours, and the stream carries every decision to the bus, once, as JSON."""
        odd = [key for key in self.table.items if not KEY.fullmatch(" ".join(key))]
        assert not odd, odd
        changes = [change for change in self.table.log if passes(change)]
        entries = bus_entries([record_of(change, number) for number, change in enumerate(changes)])
        records = [record for entry in entries for record in json.loads(entry.text).get("records", ())]
        assert Counter(record["payload_hash"] for record in records) == self.decided()
