"""What is done with hostile input, and what has to hold whatever it is.

A target takes bytes as they come from outside. It fails on any exception but the one that is promised, on an answer of
another shape, on an event that is neither accepted nor refused by name, and on one that does not survive its way.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from gratis.errors import Rejected
from gratis.http import Refused
from gratis.intake.events import compact, parse_event
from gratis.intake.messages import Message
from gratis.intake.receive import ENTRY
from gratis.intake.signature import require_signature
from gratis.intake.sources import LITELLM, OTLP, SOURCES, WEBHOOK, Source
from gratis.outbox import bus_entries
from gratis.rules.account import Account
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.window import Counter as Windows
from gratis.strict_json import parse_json
from gratis.table import keys
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from gratis.table.quarantine import text_of
from gratis_local.functions import Context, handler_of
from gratis_local.prove import prove_from_records
from gratis_local.sources import Unusable, read_events, read_offer, read_organizations
from tests.builders import account_api, webhook
from tests.builders.aws import http
from tests.builders.events import usage
from tests.builders.offers import DAILY
from tests.builders.organizations import account
from tests.builders.webhook import SECRET, signature
from tests.fuzz.pipeline import KEY, NOW, TABLE, Pipeline, environment, standing_still

Check = Callable[[bytes], None]
REQUEST = parse_event(usage("req_1"), NOW)


@contextmanager
def alone(check: Check) -> Iterator[Check]:
    """A target that needs nothing around it."""
    yield check


# --- bodies --------------------------------------------------------------------------------------------------------


@contextmanager
def posted(source: Source, written: Callable[[bytes], tuple[dict[str, str], bytes]]) -> Iterator[Check]:
    """What a known sender posts. `written`: headers and body of the bytes that a case holds."""
    with Pipeline().running() as way:

        def check(data: bytes) -> None:
            way.clear()
            headers, body = written(data)
            answered = way.post(source, body, headers)
            assert answered["statusCode"] in {200, 202, 400, 413, 415}, answered
            if answered["statusCode"] < 300:
                check_stored(events_in(source, body, headers), answered)
            else:
                assert way.queued() == way.quarantined() == []

        def check_stored(events: dict[int, Mapped], answered: Mapping[str, Any]) -> None:
            """Nothing is lost: accepted and quarantined are all, and all that is accepted has its own end."""
            refused = [each for each in events.values() if not is_taken_in(each.event)]
            accepted = [each.event for each in events.values() if is_taken_in(each.event)]
            if answered["statusCode"] == 202:
                check_answer(events, webhook.Answer.of(answered), len(accepted))
            assert set(way.quarantined()) == {text_of(each.kept) for each in refused}
            assert sorted(map(text_of, map(as_mapped, way.queued()))) == sorted(map(text_of, accepted))
            assert way.decide(*(message.record() for message in way.queue.sent)) == []
            assert_each_ends_once(way, accepted)

        def check_answer(events: dict[int, Mapped], answer: webhook.Answer, accepted: int) -> None:
            refused = {each["index"]: each["error"] for each in answer.quarantined}
            assert answer.accepted == accepted == len(events) - len(refused)
            for index, error in refused.items():
                if events[index].event is not None:
                    assert_names_what_is_wrong(error, events[index].event)

        yield check


class Mapped(NamedTuple):
    """The event of an entry, None if it has none, and what quarantine keeps of it."""

    event: Any
    kept: Any


def events_in(source: Source, body: bytes, headers: Mapping[str, str]) -> dict[int, Mapped]:
    """The events in a body by their index, without what is skipped."""
    entries = enumerate(in_body(body) if source is WEBHOOK and not headers else source.read(body, headers))
    return {index: mapped(source, each) for index, each in entries if not source.skipped(each)}


def mapped(source: Source, entry: Any) -> Mapped:
    try:
        event = source.event(entry)
    except Rejected:
        return Mapped(None, source.kept(entry) if source.kept else entry)
    return Mapped(event, source.kept(entry) if source.kept else event)


def in_body(body: bytes) -> list[Any]:
    """As another parser reads it."""
    decoded = json.loads(body.decode("utf-8-sig"), parse_constant=no_constant)
    return decoded if isinstance(decoded, list) else [decoded]


def no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def bare(data: bytes) -> tuple[dict[str, str], bytes]:
    return {}, data


def with_headers(data: bytes) -> tuple[dict[str, str], bytes]:
    """Headers, written one a line before an empty one, and the body."""
    head, _, body = data.partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\n"))
    named = {name.strip().lower(): value.strip() for name, _, value in lines if name.strip()}
    return {"content-type": "application/cloudevents-batch+json"} | named, body


def exported(data: bytes) -> tuple[dict[str, str], bytes]:
    """An export, in JSON if it begins so."""
    return {"content-type": "application/json" if data[:1] == b"{" else "application/x-protobuf"}, data


def as_mapped(event: Any) -> Any:
    """An event of the queue without what it carries of its entry."""
    if not isinstance(event, dict):
        return event
    return {name: value for name, value in event.items() if name != ENTRY or event.get("source") not in CARRYING}


CARRYING = {source.name for source in SOURCES if source.kept}


def assert_each_ends_once(way: Pipeline, events: Sequence[Any]) -> None:
    """Each event has a decision, the only one of its payload, or is kept."""
    decided, kept = way.decided(), [text_of(as_mapped(json.loads(raw))) for raw in way.events_quarantined()]
    assert max(decided.values(), default=1) == 1
    payloads: dict[str, Any] = {}
    for event in events:
        payload_hash = accepted_as(event)
        assert payload_hash in decided or text_of(event) in kept, event
        if payload_hash:
            assert payloads.setdefault(payload_hash, told_of(event)) == told_of(event)
    way.check_stored()


def told_of(event: Any) -> list[Any]:
    """What no two events may differ in and yet be the same."""
    data = event["data"]
    return [event["type"], event["subject"], event["id"], data["model"], data["usage"]["total_tokens"]]


def assert_names_what_is_wrong(error: Mapping[str, str], event: Any) -> None:
    """`place: what is wrong: value`; the value wherever there is one at that place of the event."""
    assert error["code"] in webhook.CODES - {"conflict"}
    place, _, said = error["message"].partition(": ")
    assert said, error
    assert len(error["message"]) <= 1000
    found = event if place == "event" else at(place.split("."), event)
    figures = place == "data.usage" and isinstance(found, dict)  # then the message holds the figures themselves
    if error["code"] == "invalid_event" and "Field required" not in said and place != "event" and not figures:
        assert text_of(found)[:80] in said, (error, event)


def at(place: list[str], event: Any) -> Any:
    """What is at a place, or the last thing on the way to it."""
    for part in place:
        if isinstance(event, list) and part.isdigit():
            event = event[int(part)]
        elif isinstance(event, dict) and part in event:
            event = event[part]
    return event


# --- messages of the queue, past the webhook -----------------------------------------------------------------------

RECEIVED_AT = "received_at: "


@contextmanager
def queued() -> Iterator[Check]:
    """A message between two good ones of other organizations, which are decided whatever it holds.

    `received_at: ...` in its first line is the message's attribute.
    """
    with Pipeline().running() as way:

        def check(data: bytes) -> None:
            way.clear()
            stated, body = NOW.isoformat(), data.decode(errors="replace")
            if body.startswith(RECEIVED_AT):
                stated, _, body = body.removeprefix(RECEIVED_AT).partition("\n")
            good = [usage("good", organization=name) for name in ("org_first", "org_last")]
            first, last = (message(each["subject"], json.dumps([each])) for each in good)
            assert way.decide(first, message("hostile", body, stated), last) == []
            assert_each_ends_once(way, [*in_message(body), *good])

        yield check


def message(group: str, body: str, received_at: str = NOW.isoformat()) -> dict[str, Any]:
    """A message as Lambda hands it on."""
    return {
        "messageId": group,
        "body": body,
        "attributes": {"MessageGroupId": group, "SentTimestamp": str(int(NOW.timestamp() * 1000))},
        "messageAttributes": {"received_at": {"dataType": "String", "stringValue": received_at}},
    }


def in_message(body: str) -> list[Any]:
    try:
        decoded = parse_json(body)
    except ValueError:
        return [body]
    return decoded if isinstance(decoded, list) else [decoded]


def accepted_as(event: Any) -> str | None:
    """The payload hash, if this is an event that is accepted."""
    try:
        return parse_event(event, NOW).payload_hash
    except Rejected:
        return None


def is_taken_in(event: Any) -> bool:
    """Whether the webhook takes this event: it is accepted, and can be written into the queue."""
    try:
        compact(event)
    except Rejected:
        return False
    return accepted_as(event) is not None


# --- who sends -----------------------------------------------------------------------------------------------------


def signed(data: bytes) -> None:
    """Header lines, an empty line, a body. `{now}`, `{old}` and `{signature}` stand for what is right, or just not."""
    head, _, body = data.partition(b"\n\n")
    now = int(datetime.now(UTC).timestamp())
    written = head.decode("latin-1").replace("{now}", str(now)).replace("{old}", str(now - 302))
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in written.splitlines())}
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    right = signature(body, SECRET, message_id, timestamp) if (message_id + timestamp).isascii() else "v1,none"
    headers = {name: text.replace("{signature}", right) for name, text in headers.items()}
    if is_let_in(headers, body):
        assert right in headers["webhook-signature"]
        assert abs(float(timestamp) - now) <= 301


def is_let_in(headers: Mapping[str, str], body: bytes) -> bool:
    try:
        require_signature([SECRET, "whsec_!"], headers, body, datetime.now(UTC))
    except Refused as refused:
        if refused.status not in {400, 401}:
            raise
        return False
    return True


# --- the account API -----------------------------------------------------------------------------------------------

ONLY_B = "only-org-b-knows"
STATUSES = {200, 400, 401, 403, 404, 413, 415}


@contextmanager
def asked() -> Iterator[Check]:
    """A request line, header lines, an empty line, a body; `{owner}`, `{reader}` and `{platform}` stand for keys.

    Nothing of org_b comes out under a key of org_a.
    """
    handler, way = handler_of("account_api"), Pipeline()
    table = way.table
    with environment(lambda _: table), standing_still(handler):
        roles: Any = {"owner": "org_a", "reader": "org_a", "platform": None}
        keys = {f"{{{role}}}": Keys(table, TABLE).create(Holder(role, of, role), NOW) for role, of in roles.items()}
        for organization, project in (("org_a", "proj_a"), ("org_b", ONLY_B)):
            Accounts(table, TABLE).put(account(organization))
            event = usage("req_1", organization=organization, project=project)
            assert way.decide(message(organization, json.dumps([event]))) == []
        stored = dict(table.items)

        def check(data: bytes) -> None:
            table.items, table.log = dict(stored), []
            written = data.decode("latin-1")
            for role, key in keys.items():
                written = written.replace(role, key)
            answer = handler(http_request(written), Context("account_api"))
            assert_answered(answer)
            if b"{platform}" not in data and ONLY_B.encode() not in data:
                assert ONLY_B not in str(answer["body"])
            odd = [key for key in table.items if key not in stored and not KEY.fullmatch(" ".join(key))]
            assert not odd, odd
            for item in table.items.values():
                if "account" in item:
                    Account.model_validate_json(item["account"]["S"])

        yield check


def assert_answered(answer: Mapping[str, Any]) -> None:
    """Nothing is answered that is not promised, nor in another shape."""
    assert answer["statusCode"] in STATUSES, answer
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    if answer["statusCode"] >= 400:
        assert account_api.Answer(answer["statusCode"], headers, answer["body"]).error
    elif headers["content-type"] == "application/json":
        parse_json(answer["body"])


def http_request(written: str) -> dict[str, Any]:
    """Lambda's event for a request that is written out."""
    head, _, body = written.partition("\n\n")
    line, *rest = head.split("\n")
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    encoded = base64.b64encode(body.encode("latin-1")).decode()
    with_body = {"body": encoded, "isBase64Encoded": True} if body else {}
    return http(method, path or "/", query, headers) | with_body


# --- files ---------------------------------------------------------------------------------------------------------


@contextmanager
def written(*names: str, read: Callable[[Path], None]) -> Iterator[Check]:
    """A file of each of these names, which is read, or cannot be used; then the message names it."""
    with TemporaryDirectory() as folder:

        def check(data: bytes) -> None:
            for name in names:
                file = Path(folder) / name
                file.write_bytes(data)
                said = why_unusable(read, file)
                assert said is None or (name in said and len(said) < 20_000)

        yield check


def why_unusable(read: Callable[[Path], None], file: Path) -> str | None:
    try:
        read(file)
    except Unusable as unusable:
        return str(unusable)
    return None


def organizations_file(file: Path) -> None:
    """Accounts that can be read can be stored, and decided by."""
    for each in read_organizations(file):
        assert Account.model_validate_json(each.model_dump_json()) == each
        case_of(REQUEST, DAILY, each)


def offer_file(file: Path) -> None:
    """An offer that can be read decides."""
    settle(Books(Windows(), {}), [case_of(REQUEST, read_offer(str(file)), account())], NOW)


def events_file(file: Path) -> None:
    """Whatever it holds can be handed to the function as replay does."""
    for event in read_events([str(file)]):
        assert [event] == Message("m", "g", json.dumps([event]), NOW).events()


def records_file(file: Path) -> None:
    """A proof says something, and says it in JSON."""
    for proof in prove_from_records([str(file)]):
        json.dumps(proof.content(), allow_nan=False)


# --- the stream ----------------------------------------------------------------------------------------------------


def streamed(data: bytes) -> None:
    """A receipt is emitted, or the batch fails and comes again; it is never passed over. Other items do nothing."""
    try:
        images = [dict(record["dynamodb"].get("NewImage", {})) for record in parse_json(data)["Records"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return  # the service hands on records
    stream = parse_json(data)["Records"]
    if any({"receipt", "statement", "code", "account"} & image.keys() or is_request(image) for image in images):
        try:
            entries = list(bus_entries(stream))
        except Exception:  # noqa: BLE001 - whatever it is, Lambda hands the batch over again, with an alarm
            return
        details = [json.loads(entry.text) for entry in entries if entry.kind == "BillingRecords"]
        assert sum(len(detail["records"]) for detail in details) == sum(
            bool(image) and keys.is_decision(image) for image in images
        )
    elif all(isinstance(image.get(key, {}), dict) for image in images for key in ("pk", "sk")):
        assert list(bus_entries(stream)) == []


def is_request(image: Mapping[str, Any]) -> bool:
    """Whether an item lies where a decision does, whatever is in it."""
    key = image.get("sk", {})
    return isinstance(key, dict) and str(key.get("S")).startswith(keys.REQUEST)


TARGETS: dict[str, Callable[[], AbstractContextManager[Check]]] = {
    "webhook": lambda: posted(WEBHOOK, bare),
    "cloudevents": lambda: posted(WEBHOOK, with_headers),
    "litellm": lambda: posted(LITELLM, bare),
    "otlp": lambda: posted(OTLP, exported),
    "queue": queued,
    "signature": lambda: alone(signed),
    "account_api": asked,
    "organizations": lambda: written("organizations.json", read=organizations_file),
    "offer": lambda: written("offer.json", read=offer_file),
    "replay": lambda: written("events.json", "events.jsonl", read=events_file),
    "records": lambda: written("records.json", "records.json.gz", read=records_file),
    "stream": lambda: alone(streamed),
}
"""What parses bytes from outside, by the name of its corpus."""
