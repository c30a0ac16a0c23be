"""What is done with hostile input, and what has to hold whatever it is. SPEC section 3, promise 4.

A target takes bytes as they come from outside. It fails on any exception that is not the one promised, on an answer of
another shape, on an event that is neither accepted nor refused by name, and on one that does not survive its way.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import boto3
import pydantic_core
import pytest

from gratis import config, litellm
from gratis.account import Account
from gratis.accounts import Accounts
from gratis.decision import Books, case_of, settle
from gratis.events import parse_event, parse_json
from gratis.http import Refused
from gratis.keys import Holder, Keys
from gratis.ledger import decision_of
from gratis.messages import Message
from gratis.outbox import bus_entries
from gratis.quarantine import Quarantine
from gratis.signature import require_signature
from gratis.window import Counter as Windows
from local.functions import Context, Handler, handler_of
from local.prove import prove_from_records
from local.simulation.queue import Queue
from local.simulation.stream import passes, record_of
from local.simulation.table import Table
from local.sources import Unusable, read_events, read_offer, read_organizations
from tests.ledger_builders import account, usage
from tests.unit import account_api, webhook
from tests.unit.webhook import BEARER, SECRET, signature

Check = Callable[[bytes], None]
NOW = datetime(2025, 3, 11, 23, 30, tzinfo=UTC)
"""When everything is received: the events of the corpus are of that day."""
TABLE = "gratis-fuzz"
ID, REQUEST_ID, DAY = "[A-Za-z0-9._-]{1,64}", "[A-Za-z0-9._:/-]{1,256}", r"\d{4}-\d\d-\d\d"
KEYS = re.compile(
    rf"COUNTER#{ID}#[A-Za-z0-9._-]+ ({DAY}|WEEK#{DAY}|ROLLING)"
    rf"|DAY#{ID}#{DAY}#\d REQ#{REQUEST_ID}"
    rf"|DAY#{DAY} ORG#{ID}#[A-Za-z0-9._-]+"
    rf"|ORG#{ID} ACCOUNT"
    rf"|QUARANTINE#{DAY} (-|{REQUEST_ID})#(-|{REQUEST_ID})#[0-9a-f]{{32}}(#\d+)?"
)
"""Every key there may be: whatever an event names itself, it gets no separator into one."""


class Clock(datetime):
    """`datetime` whose `now` is the moment of the corpus."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return NOW


@contextmanager
def environment(client: Callable[[str], Any]) -> Iterator[None]:
    """The configuration of a deployment; its AWS clients are these."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("KEEP", "OFFER_ENDS", "PLATFORM_NAME"):
            patched.delenv(name, raising=False)
        deployed = {"LEDGER_TABLE": TABLE, "USAGE_QUEUE": "queue", "OFFER": "data-sharing", "CLOCK": "events"}
        for name, value in deployed.items() | {("WEBHOOK_SECRET", SECRET), ("LITELLM_SECRET", BEARER)}:
            patched.setenv(name, value)
        patched.setattr(boto3, "client", lambda service, **_: client(service))
        for cached in (config.config, config.dynamodb):
            cached.cache_clear()
        yield
    for cached in (config.config, config.dynamodb):
        cached.cache_clear()


# --- the way of an event: webhook, queue, decision, bus ------------------------------------------------------------


class Secrets:
    """A secret is what it is named."""

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        return {"SecretString": asked["SecretId"]}


@dataclass
class Pipeline:
    """The real functions one after the other, on a table and a queue in this process."""

    receive: Handler
    classify: Handler
    table: Table = field(default_factory=Table)
    queue: Queue = field(default_factory=lambda: Queue(lambda: NOW))

    def client(self, service: str) -> Any:
        return {"dynamodb": self.table, "sqs": self.queue, "secretsmanager": Secrets()}[service]

    def empty(self) -> None:
        """As if nothing had come yet. org_demo shares everything at tier 4."""
        self.table.__init__()  # type: ignore[misc]
        self.queue.__init__(lambda: NOW)  # type: ignore[misc]
        Accounts(self.table, TABLE).put(account("org_demo"))  # type: ignore[arg-type]

    def answer(self, body: bytes, path: str) -> webhook.Answer:
        headers = webhook.signed(body) | {"authorization": f"Bearer {BEARER}"}
        request = webhook.request(body, headers, path=path)
        return webhook.Answer.of(self.receive(request, Context("receive_usage")))

    def decide(self, records: list[dict[str, Any]]) -> list[str]:
        """Let the function decide messages of the queue; returns those that it could not finish."""
        answer = self.classify({"Records": records}, Context("classify_usage"))
        assert answer.keys() == {"batchItemFailures"}
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]

    def quarantined(self) -> list[str]:
        """The raw events in quarantine."""
        found = Quarantine(self.table, TABLE).of_day(NOW.date())  # type: ignore[arg-type]
        return [entry.raw for entry in found]

    def decided(self) -> Counter[str]:
        """Payload hashes of the decisions."""
        items = [item for (_, sk), item in self.table.items.items() if sk.startswith("REQ#")]
        return Counter(decision_of(item).payload_hash for item in items)

    def check_stored(self) -> None:
        """No key but ours, and everything that the stream carries comes out as JSON, each decision once."""
        odd = [key for key in self.table.items if not KEYS.fullmatch(" ".join(key))]
        assert not odd, odd
        changes = [change for change in self.table.log if passes(change)]
        entries = list(bus_entries([record_of(change, number) for number, change in enumerate(changes)]))
        details = [(entry.kind, json.loads(entry.text)) for entry in entries]
        emitted = Counter(
            record["payload_hash"] for kind, detail in details if kind == "BillingRecords" for record in detail["records"]
        )
        assert emitted == self.decided()


@contextmanager
def pipeline() -> Iterator[Pipeline]:
    built = Pipeline(handler_of("receive_usage"), handler_of("classify_usage"))
    module = _module(built.receive)
    with environment(built.client), patch.dict(module, {"datetime": Clock}):
        yield built


def _module(handler: Handler) -> dict[str, Any]:
    """The names in a function's own module."""
    unwrapped: Any = handler
    while hasattr(unwrapped, "__wrapped__"):
        unwrapped = unwrapped.__wrapped__
    return unwrapped.__globals__  # type: ignore[no-any-return]


@contextmanager
def received(path: str, events_of: Callable[[bytes], list[Any]]) -> Iterator[Check]:
    """A body, properly signed. `events_of`: the events in a body that is answered with 202."""
    with pipeline() as way:

        def check(body: bytes) -> None:
            way.empty()
            answer = way.answer(body, path)
            assert answer.status in {202, 400, 413}, answer.content
            if answer.status != 202:
                assert way.queue.sent == []
                assert way.quarantined() == []
                return
            events = events_of(body)
            assert answer.accepted + len(answer.quarantined) == len(events)
            refused = {each["index"] for each in answer.quarantined}
            accepted = [event for index, event in enumerate(events) if index not in refused]
            for each in answer.quarantined:
                assert_names_what_is_wrong(each["error"], events[each["index"]])
            assert set(way.quarantined()) == {raw_text(events[index]) for index in refused}
            assert sorted(raw_text(each) for message in way.queue.sent for each in json.loads(message.body)) == sorted(
                map(raw_text, accepted)
            )
            assert way.decide([message.record() for message in way.queue.sent]) == []
            hashes = {parse_event(event, NOW).payload_hash: raw_text(event) for event in accepted}
            decided, kept = way.decided(), way.quarantined()
            assert set(decided) <= set(hashes)
            assert max(decided.values(), default=1) == 1
            undecided = {raw_text(event) for event in accepted if parse_event(event, NOW).payload_hash not in decided}
            assert undecided <= set(kept)  # as conflicts
            way.check_stored()

        yield check


def raw_text(event: Any) -> str:
    """An event as quarantine keeps it."""
    return pydantic_core.to_json(event).decode()


def assert_names_what_is_wrong(error: Mapping[str, str], event: Any) -> None:
    """`place: what is wrong: value`, where the place can be found in the event."""
    assert error["code"] in webhook.CODES - {"conflict"}, error
    place, colon, said = error["message"].partition(": ")
    assert colon, error
    assert said, error
    assert len(error["message"]) <= 1000
    found: Any = event
    for part in [] if place == "event" else place.split("."):
        found = found[int(part)] if isinstance(found, list) else found.get(part, found) if isinstance(found, dict) else found
    figures = place == "data.usage" and isinstance(found, dict)
    if error["code"] == "invalid_event" and place != "event" and "Field required" not in said and not figures:
        assert raw_text(found)[:80] in said, (error, event)


@contextmanager
def _pure(check: Check) -> Iterator[Check]:
    yield check


def webhook_events(body: bytes) -> list[Any]:
    decoded = parse_json(body)
    return decoded if isinstance(decoded, list) else [decoded]


def litellm_events(body: bytes) -> list[Any]:
    return [litellm.usage_event(each) for each in litellm.entries(body) if not litellm.is_skipped(each)]


# --- messages of the queue, past the webhook -----------------------------------------------------------------------


@contextmanager
def queued() -> Iterator[Check]:
    """A message between two good ones of other organizations: whatever it holds, they are decided."""
    with pipeline() as way:

        def check(data: bytes) -> None:
            way.empty()
            good = [message_of("org_first"), message_of("org_last")]
            assert way.decide([good[0], hostile_message(data), good[1]]) == []
            owners = {decision_of(item).organization for (_, sk), item in way.table.items.items() if sk.startswith("REQ#")}
            assert owners >= {"org_first", "org_last"}
            events = events_in(hostile_message(data)["body"])
            hashes = [accepted_hash(event) for event in events]
            decided, kept = way.decided(), set(way.quarantined())
            for event, payload_hash in zip(events, hashes, strict=True):
                assert payload_hash in decided or raw_text(event) in kept, event
            way.check_stored()

        yield check


def message_of(organization: str) -> dict[str, Any]:
    body = json.dumps([usage("good", organization=organization)])
    return {"messageId": organization, "body": body, "attributes": {"MessageGroupId": organization}} | received_at(NOW)


def received_at(when: datetime) -> dict[str, Any]:
    return {"messageAttributes": {"received_at": {"dataType": "String", "stringValue": when.isoformat()}}}


def hostile_message(data: bytes) -> dict[str, Any]:
    """SQS hands on text. What reads `received_at: ...` in its first line has that as its attribute."""
    text = data.decode(errors="replace")
    head, newline, rest = text.partition("\n")
    stated = head.removeprefix("received_at: ") if newline and head.startswith("received_at: ") else NOW.isoformat()
    attribute = {"received_at": {"dataType": "String", "stringValue": stated}}
    attributes = {"MessageGroupId": "hostile", "SentTimestamp": str(int(NOW.timestamp() * 1000))}
    body = rest if stated is not NOW.isoformat() and newline and head.startswith("received_at: ") else text
    return {"messageId": "hostile", "body": body, "attributes": attributes, "messageAttributes": attribute}


def events_in(body: str) -> list[Any]:
    try:
        decoded = parse_json(body)
    except ValueError:
        return [body]
    return decoded if isinstance(decoded, list) else [decoded]


def accepted_hash(event: Any) -> str | None:
    try:
        return parse_event(event, NOW).payload_hash
    except Exception:  # noqa: BLE001 - whatever it is, the event has to be in quarantine then
        return None


# --- who sends -----------------------------------------------------------------------------------------------------


def signed_request(data: bytes) -> None:
    """Header lines, an empty line, a body. `{now}`, `{old}` and `{signature}` stand for what is right, or just not."""
    head, _, body = data.partition(b"\n\n")
    now = str(int(datetime.now(UTC).timestamp()))
    lines = dict(line.partition(": ")[::2] for line in head.decode("latin-1").splitlines())
    headers = {name.lower(): text.replace("{now}", now).replace("{old}", str(int(now) - 301)) for name, text in lines.items()}
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    right = signature(body, SECRET, message_id, timestamp) if (message_id + timestamp).isascii() else "v1,"
    headers = {name: text.replace("{signature}", right) for name, text in headers.items()}
    try:
        require_signature([SECRET, "whsec_!"], headers, body)
    except Refused as refused:
        assert refused.status in {400, 401}
        json.dumps(refused.answer(), allow_nan=False)
        return
    assert right in headers["webhook-signature"]
    assert abs(float(timestamp) - float(now)) <= 301


# --- the account API -----------------------------------------------------------------------------------------------

ONLY_B = "only-org-b-knows"
STATUSES = {200, 400, 401, 403, 404, 413, 415}


@contextmanager
def account_requests() -> Iterator[Check]:
    """A request line, header lines, an empty line, a body; `{owner}` and so on stand for keys of org_a's."""
    handler, table = handler_of("account_api"), Table()
    with environment(lambda _: table), patch.dict(_module(handler), {"datetime": Clock}):
        tokens = {
            f"{{{name}}}": Keys(table, TABLE).create(Holder(role, organization, name))  # type: ignore[arg-type]
            for name, role, organization in [
                ("owner", "owner", "org_a"),
                ("reader", "reader", "org_a"),
                ("platform", "platform", None),
            ]
        }
        for organization in ("org_a", "org_b"):
            Accounts(table, TABLE).put(account(organization))  # type: ignore[arg-type]
        way = Pipeline(handler, handler_of("classify_usage"), table)
        for organization, project in (("org_a", "proj_a"), ("org_b", ONLY_B)):
            body = json.dumps([usage("req_1", organization=organization, project=project)])
            sent = {"messageId": "m", "body": body, "attributes": {"MessageGroupId": organization}} | received_at(NOW)
            assert way.decide([sent]) == []
        stored = dict(table.items)

        def check(data: bytes) -> None:
            table.items, table.log = dict(stored), []
            text = data.decode("latin-1")
            for token, key in tokens.items():
                text = text.replace(token, key)
            answer = handler(http_request(text), Context("account_api"))
            assert answer["statusCode"] in STATUSES, answer
            kind = {name.lower(): value for name, value in answer["headers"].items()}["content-type"]
            if answer["statusCode"] >= 400:
                account_api.Answer(answer["statusCode"], {"content-type": kind}, answer["body"]).error  # noqa: B018
            elif kind == "application/json":
                json.loads(answer["body"], parse_constant=_no_constant)
            if tokens["{platform}"] not in text and ONLY_B not in text:
                assert ONLY_B not in str(answer["body"])
            odd = [key for key in table.items if key not in stored and not KEYS.fullmatch(" ".join(key))]
            assert not odd, odd
            for (_, sk), item in table.items.items():
                if sk == "ACCOUNT":
                    Account.model_validate_json(item["account"]["S"])

        yield check


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def http_request(text: str) -> dict[str, Any]:
    """Lambda's event for a request that is written out."""
    head, _, body = text.partition("\n\n")
    line, *rest = head.split("\n")
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    headers = dict(each.partition(": ")[::2] for each in rest)
    event = account_api.http(method, path or "/", query, {name.lower(): value for name, value in headers.items()})
    encoded = base64.b64encode(body.encode("latin-1")).decode()
    return event | ({"body": encoded, "isBase64Encoded": True} if body else {})


# --- files ---------------------------------------------------------------------------------------------------------


@contextmanager
def written(*names: str, read: Callable[[Path], None]) -> Iterator[Check]:
    """A file that is read, or is unusable with a message that names it."""
    with TemporaryDirectory() as folder:

        def check(data: bytes) -> None:
            for name in names:
                file = Path(folder) / name
                file.write_bytes(data)
                try:
                    read(file)
                except Unusable as unusable:
                    assert file.name in str(unusable)
                    assert len(str(unusable)) < 20_000

        yield check


def organizations_file(file: Path) -> None:
    for each in read_organizations(file):
        assert Account.model_validate_json(each.model_dump_json()) == each
        case_of(REQUEST, DAILY, each)


def offer_file(file: Path) -> None:
    """An offer that can be read decides."""
    offer = read_offer(str(file))
    settle(Books(Windows(), {}), [case_of(REQUEST, offer, account())], NOW)


def events_file(file: Path) -> None:
    """Whatever it holds can be handed to the function as replay does."""
    for event in read_events([str(file)]):
        assert [event] == Message("m", "g", json.dumps([event]), NOW).events()


def records_file(file: Path) -> None:
    for proof in prove_from_records([str(file)]):
        json.dumps(proof.content(), allow_nan=False)


REQUEST = parse_event(usage("req_1"), NOW)
DAILY = read_offer("data-sharing")


# --- the stream ----------------------------------------------------------------------------------------------------


def stream_records(data: bytes) -> None:
    """A receipt is emitted, or the batch fails and comes again; it is never passed over. Nothing else does any harm."""
    try:
        records = parse_json(data)["Records"]
    except (ValueError, TypeError, KeyError):
        return
    if not isinstance(records, list) or not all(map(_has_images, records)):
        return
    receipts = sum("receipt" in record["dynamodb"].get("NewImage", {}) for record in records)
    try:
        entries = list(bus_entries(records))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        assert receipts or any(_is_ours(record) for record in records)
        return
    details = [json.loads(entry.text) for entry in entries]
    assert sum(len(detail["records"]) for entry, detail in zip(entries, details, strict=True) if entry.kind == "BillingRecords") == receipts


def _has_images(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("dynamodb"), dict)


def _is_ours(record: Any) -> bool:
    image = record["dynamodb"].get("NewImage", {})
    return not isinstance(image, dict) or bool({"statement", "code", "account", "pk", "sk"} & image.keys())


TARGETS: dict[str, Callable[[], AbstractContextManager[Check]]] = {
    "webhook": lambda: received("/v1/usage-events", webhook_events),
    "litellm": lambda: received("/v1/usage-events/litellm", litellm_events),
    "queue": queued,
    "signature": lambda: _pure(signed_request),
    "account_api": account_requests,
    "organizations": lambda: written("organizations.json", read=organizations_file),
    "offer": lambda: written("offer.json", read=offer_file),
    "replay": lambda: written("events.json", "events.jsonl", read=events_file),
    "records": lambda: written("records.json", "records.json.gz", read=records_file),
    "stream": lambda: _pure(stream_records),
}
"""What parses bytes from outside, by the name of its corpus."""
