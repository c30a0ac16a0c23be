"""receive_usage from the HTTP request to what it stored: nothing is answered with 2xx before all of it is safe."""

import base64
import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gratis import moment
from gratis.http import MAX_BODY_BYTES
from gratis.intake.messages import Message
from gratis.intake.queue import MAX_ATTEMPTS
from gratis.intake.sources import LAMBDA_BODY_BYTES
from gratis_local.functions import Context
from tests.builders.aws import aws, aws_error, fails, leaves
from tests.builders.events import incompressible
from tests.builders.webhook import (
    BEARER,
    OTHER_SECRET,
    SECRET,
    Answer,
    Deployed,
    deployed,
    event,
    now,
    request,
    signed,
    using,
)

LAMBDA_ANSWER_BYTES = 6 * 1024 * 1024
"""The largest answer that Lambda hands on; a larger one is a 500."""


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as clients:
        yield clients


@pytest.fixture
def webhook(clients: dict[str, Any]) -> Iterator[Deployed]:
    with deployed(clients) as webhook:
        yield webhook


def stored(webhook: Deployed) -> tuple[int, int]:
    """How many events lie in the queue and in quarantine."""
    return len(webhook.queued()), len(webhook.quarantined())


def as_lambda_gets(message: dict[str, Any]) -> Message:
    """A message of the queue as Lambda hands it to classify_usage."""
    stated = message["MessageAttributes"]["received_at"]
    attributes = {"received_at": {"stringValue": stated["StringValue"], "dataType": stated["DataType"]}}
    record = {"messageId": message["MessageId"], "body": message["Body"], "attributes": message["Attributes"]}
    return Message.from_record(record | {"messageAttributes": attributes})


# --- who may send --------------------------------------------------------------------------------------------------


def test_a_signed_event_is_accepted_and_queued(webhook: Deployed) -> None:
    sent = event("r1")
    answer = webhook.post(json.dumps(sent).encode())
    assert (answer.status, answer.content) == (202, {"accepted": 1, "skipped": {}, "quarantined": []})
    assert webhook.queued() == [sent]


def test_a_signature_by_any_of_several_active_secrets_passes(webhook: Deployed) -> None:
    webhook.put_secret("webhook", f"{SECRET} {OTHER_SECRET}\n")
    for number, secret in enumerate((SECRET, OTHER_SECRET)):
        body = json.dumps(event(f"r{number}")).encode()
        assert webhook.post(body, signed(body, secret)).accepted == 1


def test_a_secret_that_was_rotated_out_is_refused_a_minute_later(
    webhook: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(event("r1")).encode()
    assert webhook.post(body, signed(body, SECRET)).status == 202
    webhook.put_secret("webhook", OTHER_SECRET)
    assert webhook.post(body, signed(body, SECRET)).status == 202

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=61)

    monkeypatch.setattr("aws_lambda_powertools.utilities.parameters.base.datetime", Later)
    assert webhook.post(body, signed(body, SECRET)).status == 401
    assert webhook.post(body, signed(body, OTHER_SECRET)).status == 202


def test_secrets_are_fetched_once_for_many_requests(webhook: Deployed) -> None:
    for number in range(3):
        webhook.post_events(event(f"r{number}"))
    assert len(webhook.secretsmanager.asked("get_secret_value")) == 1


def test_a_secret_that_holds_nothing_lets_nobody_in(webhook: Deployed) -> None:
    webhook.put_secret("webhook", " \n")
    webhook.put_secret("litellm", " \n")
    assert webhook.post_events(event("r1")).status == 401
    assert webhook.post_litellm(b"[]", {"authorization": "Bearer "}).status == 401


def test_a_secret_that_is_not_base64_lets_the_others_work(webhook: Deployed) -> None:
    webhook.put_secret("webhook", f"whsec_A {OTHER_SECRET}")
    body = b"[]"
    assert webhook.post(body, signed(body, OTHER_SECRET)).status == 202
    assert webhook.post(body, signed(body, SECRET)).status == 401


def test_an_empty_secret_lets_the_others_work(webhook: Deployed) -> None:
    webhook.put_secret("webhook", f"whsec_ {OTHER_SECRET}")
    assert webhook.post(b"[]", signed(b"[]", OTHER_SECRET)).status == 202


SCRAPS = {
    "one byte": "whsec_QQ==",
    "what decodes to nothing": "whsec_----",
    "23 bytes": "whsec_" + base64.b64encode(bytes(23)).decode(),
    "the name of a JSON field": '{"the_webhook_secret_of_this_stack": ',
    "a placeholder": "changeme",
}


@pytest.mark.parametrize("scrap", SCRAPS.values(), ids=SCRAPS)
def test_a_scrap_in_a_secrets_place_lets_nobody_in_and_the_others_work(webhook: Deployed, scrap: str) -> None:
    webhook.put_secret("webhook", f"{scrap} {OTHER_SECRET}")
    webhook.put_secret("litellm", f"{scrap[:23]} {BEARER}")
    words = scrap.removeprefix("whsec_").strip()
    key = base64.b64decode("".join(re.findall("[A-Za-z0-9+/]", words)) + "==") or b""
    for guessed in (key, b""):
        assert webhook.post(b"[]", signed(b"[]", "whsec_" + base64.b64encode(guessed).decode())).status == 401
    for guessed_bearer in (scrap[:23].strip(), scrap[:23], ""):
        assert webhook.post_litellm(b"[]", {"authorization": f"Bearer {guessed_bearer}"}).status == 401
    assert webhook.post(b"[]", signed(b"[]", OTHER_SECRET)).status == 202
    assert webhook.post_litellm(b"[]").status == 202


def test_a_secret_that_is_stored_as_bytes_lets_nobody_in(webhook: Deployed) -> None:
    """As text, b' ' would be two secrets: b' and '."""
    for name in ("webhook", "litellm"):
        webhook.secretsmanager.client.put_secret_value(SecretId=f"{webhook.table}-{name}", SecretBinary=b" " * 30)
    for token in ("'", "b'", str(b" " * 30)):
        assert webhook.post_litellm(b"[]", {"authorization": f"Bearer {token}"}).status == 401
    assert webhook.post(b"[]").status == 401


WRONG = "v1," + base64.b64encode(bytes(32)).decode()
PASSING_SIGNATURES = {
    "after a wrong one": f"{WRONG} GOOD",
    "before a wrong one": f"GOOD {WRONG}",
    "after an asymmetric one": "v1a,aGVsbG8= GOOD",
    "after one of a later version": "v2,aGVsbG8= GOOD",
    "after words without a comma": "nonsense GOOD",
    "after a lone comma": ", GOOD",
    "after one in another alphabet": "v1,äöü GOOD",
    "as the last of ten": f"{WRONG} " * 9 + "GOOD",
    "between two spaces": " GOOD  ",
    "in a header that was joined with commas": f"{WRONG},GOOD",
}


@pytest.mark.parametrize("header", PASSING_SIGNATURES.values(), ids=PASSING_SIGNATURES)
def test_a_good_signature_passes_whatever_stands_beside_it(webhook: Deployed, header: str) -> None:
    headers = signed(b"[]")
    header = header.replace("GOOD", headers["webhook-signature"])
    assert webhook.post(b"[]", headers | {"webhook-signature": header}).status == 202


def test_a_good_signature_passes_after_one_that_is_not_base64(webhook: Deployed) -> None:
    headers = signed(b"[]")
    headers["webhook-signature"] = f"v1,a {headers['webhook-signature']}"
    assert webhook.post(b"[]", headers).status == 202


def test_a_long_list_of_wrong_signatures_is_cut(webhook: Deployed) -> None:
    headers = signed(b"[]")
    headers["webhook-signature"] = " ".join([WRONG] * 10 + [headers["webhook-signature"]])
    assert webhook.post(b"[]", headers).status == 401


FAILING_HEADERS: dict[str, dict[str, str | None]] = {
    "no signature": {"webhook-signature": None},
    "an empty signature": {"webhook-signature": ""},
    "only an asymmetric signature": {"webhook-signature": "v1a,aGVsbG8="},
    "a signature without a version": {"webhook-signature": "aGVsbG8="},
    "a signature that is not base64": {"webhook-signature": "v1,a"},
    "a signature without a value": {"webhook-signature": "v1,"},
    "a wrong signature": {"webhook-signature": WRONG},
    "no id": {"webhook-id": None},
    "an empty id": {"webhook-id": ""},
    "another id": {"webhook-id": "msg_2"},
    "an id in another alphabet": {"webhook-id": "é\x00😀"},
    "no timestamp": {"webhook-timestamp": None},
    "an empty timestamp": {"webhook-timestamp": ""},
    "another timestamp": {"webhook-timestamp": str(int(time.time()) - 1)},
    "a timestamp in words": {"webhook-timestamp": "yesterday"},
    "a timestamp as a moment": {"webhook-timestamp": "2025-03-11T09:15:00Z"},
    "a timestamp that is no number": {"webhook-timestamp": "nan"},
    "an endless timestamp": {"webhook-timestamp": "inf"},
    "a timestamp beyond all years": {"webhook-timestamp": "9" * 400},
    "a negative timestamp": {"webhook-timestamp": "-1"},
}


@pytest.mark.parametrize("changed", FAILING_HEADERS.values(), ids=FAILING_HEADERS)
def test_headers_that_do_not_prove_the_sender_are_a_401(webhook: Deployed, changed: dict[str, str | None]) -> None:
    body = json.dumps([event("r1")]).encode()
    headers = {name: value for name, value in {**signed(body), **changed}.items() if value is not None}
    answer = webhook.post(body, headers)
    assert (answer.status, answer.error["code"]) == (401, "invalid_signature")
    assert stored(webhook) == (0, 0)


@pytest.mark.parametrize("seconds", [-290, 290])
def test_a_clock_within_five_minutes_of_ours_passes(webhook: Deployed, seconds: int) -> None:
    assert webhook.post(b"[]", signed(b"[]", seconds_ahead=seconds)).status == 202


@pytest.mark.parametrize("seconds", [-310, 310, -86400, 86400])
def test_a_clock_over_five_minutes_from_ours_is_a_401(webhook: Deployed, seconds: int) -> None:
    answer = webhook.post(b"[]", signed(b"[]", seconds_ahead=seconds))
    assert answer.status == 401
    assert "timestamp" in answer.error["message"]


def test_a_signature_of_another_body_is_a_401(webhook: Deployed) -> None:
    assert webhook.post(b"[ ]", signed(b"[]")).status == 401


def test_headers_in_any_case_are_read(webhook: Deployed) -> None:
    assert webhook.post(b"[]", {name.title(): value for name, value in signed(b"[]").items()}).status == 202


def test_a_request_without_any_header_is_a_401(webhook: Deployed) -> None:
    assert webhook.call(request(b"[]", {}) | {"headers": None}).status == 401
    assert webhook.call({"rawPath": "/v1/usage-events"}).status == 401
    assert webhook.call({"rawPath": "/v1/usage-events/litellm"}).status == 401


def test_a_signature_does_not_open_the_route_of_litellm(webhook: Deployed) -> None:
    assert webhook.post_litellm(b"[]", signed(b"[]")).error["code"] == "invalid_api_key"


def test_a_bearer_secret_does_not_open_the_webhook(webhook: Deployed) -> None:
    assert webhook.post(b"[]", {"authorization": f"Bearer {BEARER}"}).status == 401


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_bearer_secret_opens_the_route_of_litellm(webhook: Deployed, scheme: str) -> None:
    assert webhook.post_litellm(b"[]", {"Authorization": f"{scheme}{BEARER}"}).status == 202


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {BEARER}", BEARER, f"Bearer {BEARER}x", "Bearer é"]
)
def test_anything_but_the_bearer_secret_is_a_401(webhook: Deployed, header: str) -> None:
    answer = webhook.post_litellm(b"[]", {"authorization": header})
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_any_of_several_active_bearer_secrets_passes(webhook: Deployed) -> None:
    webhook.put_secret("litellm", f"another-bearer-secret-for-litellm\n{BEARER}")
    for secret in ("another-bearer-secret-for-litellm", BEARER):
        assert webhook.post_litellm(b"[]", {"authorization": f"Bearer {secret}"}).status == 202


# --- the body ------------------------------------------------------------------------------------------------------


def test_a_body_is_verified_as_it_was_sent_encoded_or_not(webhook: Deployed) -> None:
    body = json.dumps([event("ünï")], ensure_ascii=False).encode()
    for encoded in (True, False):
        assert webhook.post(body, signed(body), base64_encoded=encoded).status == 202


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json; charset=utf-8", ""],
)
def test_an_event_and_a_batch_are_told_apart_by_the_body_not_by_the_content_type(
    webhook: Deployed, content_type: str
) -> None:
    one, batch = json.dumps(event("r1")).encode(), json.dumps([event("r2"), event("r3")]).encode()
    assert [webhook.post(body, signed(body) | {"content-type": content_type}).accepted for body in (one, batch)] == [
        1,
        2,
    ]
    assert webhook.queued_ids() == ["r1", "r2", "r3"]


def test_an_empty_batch_is_accepted_and_stores_nothing(webhook: Deployed) -> None:
    assert webhook.post(b"[]").content == {"accepted": 0, "skipped": {}, "quarantined": []}
    assert (webhook.sqs.calls, webhook.dynamodb.calls) == ([], [])


def test_a_body_of_exactly_4_mb_is_read_and_one_byte_more_is_a_413(webhook: Deployed) -> None:
    body = b"[]".ljust(MAX_BODY_BYTES)
    assert webhook.post(body).status == 202
    answer = webhook.post(body + b" ")
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert "4194305" in answer.error["message"]


def test_litellms_route_reads_all_that_lambda_hands_over_and_one_byte_more_is_a_413(webhook: Deployed) -> None:
    assert webhook.post_litellm(b"[]" + b" " * (LAMBDA_BODY_BYTES - 2)).accepted == 0
    assert webhook.post_litellm(b"[]" + b" " * (LAMBDA_BODY_BYTES - 1)).status == 413


def test_a_body_that_is_not_utf_8_is_a_400_where_it_is_signed(webhook: Deployed) -> None:
    body = b'["\xff"]'
    assert webhook.post(body).error["code"] == "invalid_json"
    assert webhook.post(body, {}).error["code"] == "invalid_signature"


@pytest.mark.parametrize("path", ["/v1/usage-events", "/v1/usage-events/litellm"])
def test_a_body_that_is_not_base64_although_it_says_so_is_a_400(webhook: Deployed, path: str) -> None:
    asked = request(b"", {"authorization": f"Bearer {BEARER}"}, path=path) | {"body": "a"}
    assert webhook.call(asked).status == 400


def test_a_body_outside_ascii_although_it_says_base64_is_a_400(webhook: Deployed) -> None:
    assert webhook.call(request(b"", {}) | {"body": "é"}).status == 400


NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "only spaces": b" \n\t",
    "words": b"one, two",
    "a torn array": b'[{"id": "r1"}, {"id"',
    "two values": b"[] []",
    "json lines": b'{"id": "r1"}\n{"id": "r2"}',
    "a byte order mark and nothing else": b"\xef\xbb\xbf",
    "UTF-16": "[]".encode("utf-16"),
    "not UTF-8": b'["\xff\xfe"]',
    "a surrogate as bytes": b'["\xed\xa0\x80"]',
    "a lone surrogate": rb'["\ud800"]',
    "a lone surrogate in a name": rb'{"\udc00": 1}',
    "NaN": b'[{"id": NaN}]',
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "a number of 5000 digits": b"[" + b"9" * 5000 + b"]",
    "nesting without end": b"[" * 100_000,
    "nesting of 100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "a control character in a string": b'["\x00"]',
    "a trailing comma": b"[1,]",
    "single quotes": b"['r1']",
    "a comment": b"[] // none",
    "a form": b"id=r1&model=gpt-4o",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x8b\x8e\x05\x00)\xbbL\r\x02\x00\x00\x00",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_not_json_is_a_400_and_stores_nothing(webhook: Deployed, body: bytes) -> None:
    answer = webhook.post(body)
    assert answer.status == 400
    assert answer.error["code"] in {"invalid_json", "invalid_body"}
    assert stored(webhook) == (0, 0)


# --- hostile events ------------------------------------------------------------------------------------------------


class Hostile(NamedTuple):
    """A body, what becomes of its events in order (`None`: queued), and what the first message says."""

    body: bytes
    becomes: tuple[str | None, ...]
    says: str = ""


def one(raw: Any, becomes: str | None, says: str = "") -> Hostile:
    return Hostile(json.dumps(raw).encode(), (becomes,), says)


def text(template: str, becomes: str | None, says: str = "", **fields: Any) -> Hostile:
    """A body that is an event as text, with `@` replaced by `template`."""
    written = json.dumps(event("r1", **fields))
    assert '"@"' in written
    return Hostile(written.replace('"@"', template).encode(), (becomes,), says)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD = "invalid_event"
COUNTS = {"output_tokens": 0, "total_tokens": 1}
CHAT = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
ID, SUBJECT, INPUT = "id:", "subject:", "data.usage.input_tokens:"
HOSTILE: dict[str, Hostile] = {
    # no event at all
    "null": Hostile(b"null", (BAD,), "event: must be a JSON object: null"),
    "a number": Hostile(b"1", (BAD,), "event: must be a JSON object: 1"),
    "a text": Hostile(b'"r1"', (BAD,), 'event: must be a JSON object: "r1"'),
    "a batch in a batch": Hostile(b"[[]]", (BAD,), "event: must be a JSON object: []"),
    "an empty object": Hostile(b"{}", (BAD,)),
    "a batch of nothing in particular": Hostile(b'[0, true, null, "", [], {}]', (BAD,) * 6),
    # identifiers
    "no id": one({key: value for key, value in event("r1").items() if key != "id"}, BAD, ID),
    "an id that is null": one(event("r1", id=None), BAD, ID),
    "an id that is a number": one(event("r1", id=7), BAD, ID),
    "an id that is an object": one(event("r1", id={"$ne": 1}), BAD, ID),
    "an empty id": one(event(""), BAD, ID),
    "an id of 256 characters": one(event("r" * 256), None),
    "an id of 257 characters": one(event("r" * 257), BAD, ID),
    "an id with a key separator": one(event("r1#2025-03-11"), BAD, ID),
    "an id that looks like a decision's key": one(event("REQ#r1"), BAD, ID),
    "an id with a line feed at the end": one(event("r1\n"), BAD, ID),
    "an id with a NUL": one(event("r1\x00"), BAD, ID),
    "an id with a control character": one(event("r\x1b[31m"), BAD, ID),
    "an id with a space": one(event("r 1"), BAD, ID),
    "an id in letters that look like ours": one(event("r\u0430"), BAD, ID),
    "an id with a mark that turns the direction": one(event("r\u202e1"), BAD, ID),
    "an id of every character that is allowed": one(event("aZ09._-:/"), None),
    "an organization with a key separator": one(event("r1", organization="org_a#org_b"), BAD, SUBJECT),
    "an organization with a colon": one(event("r1", organization="org:a"), BAD, SUBJECT),
    "an organization with a slash": one(event("r1", organization="../org_a"), BAD, SUBJECT),
    "an organization of 64 characters": one(event("r1", organization="o" * 64), None),
    "an organization of 65 characters": one(event("r1", organization="o" * 65), BAD, SUBJECT),
    "no organization": one(event("r1", subject=None), "no_organization", SUBJECT),
    "an empty organization": one(event("r1", organization=""), "no_organization", SUBJECT),
    "an organization that is a list": one(event("r1", subject=["org_a"]), BAD, SUBJECT),
    "a model of 129 characters": one(event("r1", data={"model": "m" * 129, "usage": CHAT}), BAD, "data.model:"),
    "a model with a key separator": one(event("r1", data={"model": "m#1", "usage": CHAT}), None),
    "a model with a control character": one(event("r1", data={"model": "m\x00", "usage": CHAT}), BAD, "data.model:"),
    "a project of 65 characters": one(
        event("r1", data={"model": "m", "project": "p" * 65, "usage": CHAT}), BAD, "data.project:"
    ),
    # token counts
    "tokens as text": one(using(input_tokens="1", **COUNTS), BAD, f'{INPUT} Input should be a valid integer: "1"'),
    "tokens as a float": one(using(input_tokens=1.0, **COUNTS), BAD, INPUT),
    "tokens as a boolean": one(using(input_tokens=True, **COUNTS), BAD, INPUT),
    "tokens as null": one(using(input_tokens=None, **COUNTS), BAD, "data.usage: names neither"),
    "negative tokens": one(using(input_tokens=-1, output_tokens=1, total_tokens=0), BAD, INPUT),
    "a negative zero": text("-0", None, data={"model": "m", "usage": {**CHAT, "completion_tokens": "@"}}),
    "tokens with an exponent": text("1e0", BAD, INPUT, data={"model": "m", "usage": {**COUNTS, "input_tokens": "@"}}),
    "more tokens than there are": one(
        using(input_tokens=10**15, output_tokens=0, total_tokens=10**15), BAD, "data.usage."
    ),
    "tokens of 4000 digits": text(
        "9" * 4000, BAD, INPUT, data={"model": "m", "usage": {**COUNTS, "input_tokens": "@"}}
    ),
    "tokens beyond any float": text("1e999", BAD, "event: holds a number", data={"model": "m", "usage": {"n": "@"}}),
    "a number beyond any float": text("-1e999", BAD, "event: holds a number", note="@"),
    "a total that is not the sum": one(
        using(input_tokens=2, **COUNTS), BAD, "data.usage: total_tokens is 1, but input 2 + output 0 is 2"
    ),
    "more cached than input": one(
        using(input_tokens=1, input_tokens_details={"cached_tokens": 2}, **COUNTS),
        BAD,
        "data.usage: cached_tokens is 2",
    ),
    "no usage": one(event("r1", data={"model": "m"}), BAD, "data.usage"),
    "usage as a list": one(event("r1", data={"model": "m", "usage": []}), BAD, "data.usage"),
    "both shapes at odds": one(using(input_tokens=5, **CHAT), BAD, "data.usage: contradicts itself: input_tokens is 5"),
    # moments
    "no offset": one(event("r1", time="2025-03-11T09:15:00"), BAD, "time:"),
    "a moment as a number": one(event("r1", time=1741684500), BAD, "time:"),
    "a day that there is not": one(event("r1", time="2025-02-30T09:15:00Z"), BAD, "time:"),
    "hour 24": one(event("r1", time="2025-03-11T24:00:00Z"), BAD, "time:"),
    "an offset beyond a day": one(event("r1", time="2025-03-11T09:15:00+99:99"), BAD, "time:"),
    "digits of another script": one(event("r1", time="٢٠٢٥-03-11T09:15:00Z"), BAD, "time:"),
    "the year 9999": one(event("r1", time="9999-12-31T23:59:59Z"), BAD, "time:"),
    "36 days ago": one(event("r1", time=moment.text(now() - timedelta(days=36))), "too_old", "time: "),
    "an hour ahead": one(event("r1", time=moment.text(now() + timedelta(hours=1))), "in_the_future", "time: "),
    # the envelope
    "another type": one(event("r1", type="usage.deleted"), BAD, "type:"),
    "another version": one(event("r1", specversion="0.3"), BAD, "specversion:"),
    "no source": one(event("r1", source=""), BAD, "source:"),
    "data as text": one(event("r1", data="{}"), BAD, "data: must be a JSON object"),
    "nothing in data": one(event("r1", data={}), BAD, "data.model:"),
    "a batch flag as text": one(event("r1", data={"model": "m", "batch": "false", "usage": CHAT}), BAD, "data.batch:"),
    "tools as an object": one(event("r1", data={"model": "m", "tools": {}, "usage": CHAT}), BAD, "data.tools:"),
    "a tool without a type": one(event("r1", data={"model": "m", "tools": [{}], "usage": CHAT}), BAD, "data.tools.0"),
    # what travels along
    "names of Python's own": one(event("r1", __class__="x", model_config={}, payload_hash="0"), None),
    "unknown fields with odd values": one(event("r1", note=[None, True, -0.0, 1e308, "\x00\ud83d\ude00", {}]), None),
    "a number of 4000 digits": text("9" * 4000, None, note="@"),
    "nesting of 190 levels": one(event("r1", note=nested(190)), None),
    "the same name twice: the last one holds": Hostile(
        json.dumps(event("r1")).replace("{", '{"id": "#", ', 1).encode(), (None,)
    ),
    "an event of 81 KB": one(event("r1", note="x" * 81_000), "too_large", "event: is 81"),
    "an event of 1 MB of control characters": one(event("r1", note="\x00" * 600_000), "too_large", "event: is 3"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_event_is_queued_whole_or_quarantined_by_name(webhook: Deployed, hostile: Hostile) -> None:
    answer = webhook.post(hostile.body)
    refused = [code for code in hostile.becomes if code is not None]
    assert (answer.accepted, answer.codes) == (len(hostile.becomes) - len(refused), refused)
    if refused:
        assert answer.quarantined[0]["error"]["message"].startswith(hostile.says)
    assert sorted(entry.code for entry in webhook.quarantined()) == refused
    assert all(entry.whence == "receive_usage" for entry in webhook.quarantined())
    messages = [as_lambda_gets(message) for message in webhook.messages()]
    assert sum(len(message.events()) for message in messages) == answer.accepted


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_event_between_good_ones_does_not_touch_them(webhook: Deployed, hostile: Hostile) -> None:
    body = json.dumps([event("first"), "@", event("last")]).encode().replace(b'"@"', hostile.body)
    accepted = webhook.post(body).accepted
    messages = [as_lambda_gets(message) for message in webhook.messages()]
    ids = [raw["id"] for message in messages for raw in message.events()]
    assert len(ids) == accepted
    assert {"first", "last"} <= set(ids)


# --- good and bad ones in a batch ----------------------------------------------------------------------------------


def test_the_good_events_of_a_batch_are_queued_and_the_bad_ones_named(webhook: Deployed) -> None:
    bad = event("bad", subject="org a")
    old = event("old", time="2020-01-01T00:00:00Z")
    answer = webhook.post_events(event("r1"), bad, event("r2"), 7, old, event("r3", subject=None))
    assert answer.accepted == 2
    assert [(each["index"], each["id"], each["error"]["code"]) for each in answer.quarantined] == [
        (1, "bad", "invalid_event"),
        (3, None, "invalid_event"),
        (4, "old", "too_old"),
        (5, "r3", "no_organization"),
    ]
    assert webhook.queued_ids() == ["r1", "r2"]
    entries = {entry.id: entry for entry in webhook.quarantined()}
    assert json.loads(entries["bad"].raw) == bad
    assert {each["id"]: each["error"] for each in answer.quarantined} == {
        name: entry.error() for name, entry in entries.items()
    }


def test_events_of_each_organization_keep_their_order_and_have_a_group_of_their_own(webhook: Deployed) -> None:
    webhook.post_events(*[event(f"r{number}", organization=f"org_{number % 3}") for number in range(9)])
    groups: dict[str, list[str]] = {}
    for message in webhook.messages():
        ids = [raw["id"] for raw in as_lambda_gets(message).events()]
        groups.setdefault(message["Attributes"]["MessageGroupId"], []).extend(ids)
    assert groups == {"org_0": ["r0", "r3", "r6"], "org_1": ["r1", "r4", "r7"], "org_2": ["r2", "r5", "r8"]}


def test_a_message_tells_when_its_events_arrived(webhook: Deployed) -> None:
    before = now() - timedelta(milliseconds=1)
    webhook.post_events(event("r1"))
    (message,) = webhook.messages()
    assert before <= as_lambda_gets(message).received_at <= now()


def test_unknown_fields_of_an_event_travel_along(webhook: Deployed) -> None:
    sent = event("r1", traceparent="00-1-2-01", data={"model": "m", "usage": {**CHAT, "cost": 0.1}, "note": "ü\x00😀"})
    webhook.post_events(sent)
    assert webhook.queued() == [sent]


def test_the_same_bad_event_twice_is_kept_once_and_named_twice(webhook: Deployed) -> None:
    answer = webhook.post_events(7, 7)
    assert [each["index"] for each in answer.quarantined] == [0, 1]
    assert webhook.raw_quarantined() == ["7"]


def test_the_same_request_again_stores_nothing_twice(webhook: Deployed) -> None:
    body = json.dumps([event("r1"), 7]).encode()
    assert webhook.post(body).content == webhook.post(body, signed(body, message_id="msg_2")).content
    assert stored(webhook) == (1, 1)


def test_ten_thousand_tiny_invalid_events_are_all_kept(webhook: Deployed) -> None:
    kept = set()

    def takes(_real: Any, arguments: dict[str, Any]) -> Any:
        kept.add(arguments["Item"]["sk"]["S"])
        return {}

    webhook.dynamodb.on("put_item", takes, 10_000)
    answer = webhook.post(json.dumps(list(range(10_000))).encode())
    assert answer.codes == ["invalid_event"] * 10_000
    assert len(kept) == 10_000
    assert len(json.dumps(answer.content)) < LAMBDA_ANSWER_BYTES


def test_ten_thousand_organizations_in_a_body_are_a_thousand_calls_sixteen_at_a_time(webhook: Deployed) -> None:
    """Calls that wait for one another: fewer at a time would wait for ever."""
    together, numbers, groups = threading.Barrier(16, timeout=60), count(), list[str]()

    def takes(_real: Any, arguments: dict[str, Any]) -> Any:
        if next(numbers) < 1000 - 1000 % 16:
            together.wait()
        groups.extend(each["MessageGroupId"] for each in arguments["Entries"])
        return {"Successful": [{"Id": each["Id"]} for each in arguments["Entries"]]}

    webhook.sqs.on("send_message_batch", takes, 1000)
    sent = [event("r1", organization=f"org_{number}") for number in range(10_000)]
    assert webhook.post(json.dumps(sent).encode()).content["accepted"] == 10_000
    assert len(webhook.sqs.asked("send_message_batch")) == 1000
    assert len(set(groups)) == 10_000


def test_an_event_more_than_ten_thousand_is_a_413_and_nothing_is_stored(webhook: Deployed) -> None:
    answer = webhook.post(b"[" + b"0," * 10_000 + b"0]")
    assert (answer.status, answer.error["code"]) == (413, "too_many_events")
    assert (webhook.sqs.calls, webhook.dynamodb.calls) == ([], [])


@pytest.mark.parametrize(("most", "times"), [("\x7f", 251), ("\U0001f389", 95), ("\\", 195), ('"', 195), ("\x01", 60)])
def test_ten_thousand_ids_in_other_alphabets_get_an_answer_that_lambda_hands_on(
    webhook: Deployed, most: str, times: int
) -> None:
    webhook.dynamodb.on("put_item", lambda *_: {}, 10_000)
    body = json.dumps([{"id": f"{number:05}" + most * times} for number in range(10_000)], ensure_ascii=False).encode()
    answered = webhook.handler(request(body, signed(body)), Context("receive_usage"))
    handed_on = json.dumps(answered, ensure_ascii=False).encode()
    assert (answered["statusCode"], len(handed_on) < LAMBDA_ANSWER_BYTES) == (202, True)


@pytest.mark.parametrize("field", ["id", "subject"])
def test_an_identifier_of_half_a_megabyte_is_quarantined_and_cut_in_the_answer(webhook: Deployed, field: str) -> None:
    sent = event("r1") | {field: "x" * 500_000}
    answer = webhook.post_events(sent)
    assert answer.codes == ["too_large"]
    assert len(json.dumps(answer.content)) < 2000
    assert [json.loads(raw) for raw in webhook.raw_quarantined()] == [sent]


def test_a_message_is_short_enough_to_read(webhook: Deployed) -> None:
    (refused,) = webhook.post_events(using(input_tokens="x" * 70_000, **CHAT)).quarantined
    assert len(refused["error"]["message"]) < 1000


# --- when AWS does not take it -------------------------------------------------------------------------------------

OUTAGES = {
    "an error of the service": aws_error("InternalError"),
    "throttling": aws_error("ThrottlingException"),
    "no permission": aws_error("AccessDenied"),
    "nothing listens": EndpointConnectionError(endpoint_url="https://example.com"),
    "no answer": ConnectTimeoutError(endpoint_url="https://example.com"),
}


def assert_not_taken(answer: Answer) -> None:
    """The sender is told to try again, and nothing is claimed."""
    assert (answer.status, answer.error["code"]) == (503, "try_again")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_a_queue_that_does_not_answer_is_a_503_and_the_same_request_works_later(
    webhook: Deployed, error: Exception
) -> None:
    body = json.dumps([event("r1"), 7]).encode()
    webhook.sqs.on("send_message_batch", fails(error))
    assert_not_taken(webhook.post(body))
    assert webhook.queued() == []
    assert webhook.post(body).accepted == 1
    assert stored(webhook) == (1, 1)


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_a_quarantine_that_does_not_answer_is_a_503_and_nothing_is_queued(webhook: Deployed, error: Exception) -> None:
    body = json.dumps([event("r1"), 7]).encode()
    webhook.dynamodb.on("put_item", fails(error))
    assert_not_taken(webhook.post(body))
    assert stored(webhook) == (0, 0)
    assert webhook.post(body).accepted == 1
    assert stored(webhook) == (1, 1)


def test_a_table_that_leaves_parts_of_entries_unprocessed_for_ever_is_a_503(webhook: Deployed) -> None:
    webhook.dynamodb.on("batch_write_item", lambda _, arguments: {"UnprocessedItems": arguments["RequestItems"]}, 99)
    assert_not_taken(webhook.post_events(event("r1"), event("r2", note=incompressible(1_000_000))))
    assert webhook.queued() == []


KNOWN: dict[str, tuple[bytes, dict[str, str], int]] = {
    "no JSON": (b"{", {}, 400),
    "an encoding that is none of ours": (b"{}", {"content-encoding": "br"}, 415),
    "more events than a body may hold": (b"[" + b"0," * 10_000 + b"0]", {}, 413),
    "a body that unpacks to more than it may": (
        gzip.compress(bytes(MAX_BODY_BYTES + 1)),
        {"content-encoding": "gzip"},
        413,
    ),
}
"""What a sender with a right signature is refused for: the body, headers, the status."""


def known_senders_refused(capsys: pytest.CaptureFixture[str]) -> list[float]:
    """What each refused call said to the metric that an alarm watches."""
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [value for line in lines for value in line.get("KnownSendersRefused", ())]


@pytest.mark.parametrize(("body", "headers", "status"), KNOWN.values(), ids=KNOWN)
def test_the_first_refused_batch_of_a_sender_that_signs_rightly_is_counted(
    webhook: Deployed, capsys: pytest.CaptureFixture[str], body: bytes, headers: dict[str, str], status: int
) -> None:
    assert webhook.post(body, signed(body) | headers).status == status
    assert webhook.post(body, signed(body, OTHER_SECRET) | headers).status == 401
    assert known_senders_refused(capsys) == [1, 0]


def test_a_gateway_with_the_right_bearer_secret_is_a_known_sender(
    webhook: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert webhook.post_litellm(b"{").status == 400
    assert webhook.post_litellm(b"{", {"authorization": "Bearer a-secret-that-nobody-knows"}).status == 401
    assert known_senders_refused(capsys) == [1, 0]


def test_a_known_sender_whose_clock_is_wrong_is_told_from_a_stranger(
    webhook: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    for secret in (SECRET, OTHER_SECRET):
        assert webhook.post(b"[]", signed(b"[]", secret, seconds_ahead=-600)).status == 401
    assert known_senders_refused(capsys) == [1, 0]


def test_a_sender_that_still_has_the_secret_before_the_rotation_is_known_and_not_let_in(
    webhook: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.put_secret("webhook", OTHER_SECRET)
    webhook.put_secret("litellm", "another-bearer-secret-for-litellm")
    assert webhook.post(b"[]", signed(b"[]", SECRET)).status == 401
    assert webhook.post_litellm(b"[]").status == 401
    assert webhook.post(b"[]", signed(b"[]", OTHER_SECRET)).status == 202
    assert known_senders_refused(capsys) == [1, 1]


def test_the_secret_before_is_looked_up_once_a_minute_however_many_strangers_post(webhook: Deployed) -> None:
    for _ in range(20):
        assert webhook.post(b"[]", signed(b"[]", OTHER_SECRET)).status == 401
    asked = [each for each in webhook.secretsmanager.asked("get_secret_value") if "VersionStage" in each]
    assert 1 <= len(asked) <= 2  # a minute may end meanwhile


def test_an_outage_of_ours_is_no_mistake_of_a_sender(webhook: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    webhook.sqs.on("send_message_batch", fails(aws_error("InternalError")))
    assert_not_taken(webhook.post_events(event("r1")))
    assert known_senders_refused(capsys) == [0]


def test_a_503_is_counted(webhook: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    webhook.sqs.on("send_message_batch", fails(aws_error("InternalError")))
    assert_not_taken(webhook.post_events(event("r1")))
    assert "RequestsRefused" in capsys.readouterr().out


def test_secrets_that_cannot_be_fetched_are_a_503(webhook: Deployed) -> None:
    webhook.secretsmanager.on("get_secret_value", fails(aws_error("InternalServiceError")))
    assert_not_taken(webhook.post(b"[]"))


def test_only_the_messages_that_were_not_taken_are_sent_again(webhook: Deployed) -> None:
    webhook.sqs.on("send_message_batch", leaves(1, 3))
    webhook.sqs.on("send_message_batch", leaves(0))
    organizations = [f"org_{number}" for number in range(5)]
    assert webhook.post_events(*[event("r1", organization=each) for each in organizations]).accepted == 5
    groups = [[entry["MessageGroupId"] for entry in entries] for entries in webhook.sent()]
    assert groups == [organizations, ["org_1", "org_3"], ["org_1"]]
    assert sorted(each["subject"] for each in webhook.queued()) == organizations


def test_no_2xx_before_every_message_is_stored(webhook: Deployed) -> None:
    body = json.dumps([event("r1", organization="org_a"), event("r1", organization="org_b")]).encode()
    webhook.sqs.on("send_message_batch", leaves(1))
    webhook.sqs.on("send_message_batch", leaves(0), MAX_ATTEMPTS - 1)
    assert_not_taken(webhook.post(body))
    assert len(webhook.sent()) == MAX_ATTEMPTS
    assert webhook.post(body, signed(body, message_id="msg_2")).accepted == 2
    assert sorted(each["subject"] for each in webhook.queued()) == ["org_a", "org_b"]


def test_no_2xx_when_a_later_call_to_the_queue_fails(webhook: Deployed) -> None:
    body = json.dumps([event("r1", organization=f"org_{number}") for number in range(12)]).encode()
    webhook.sqs.on("send_message_batch", lambda real, arguments: real(**arguments))
    webhook.sqs.on("send_message_batch", fails(aws_error("InternalError")))
    assert_not_taken(webhook.post(body))
    assert webhook.post(body).accepted == 12
    assert len({each["subject"] for each in webhook.queued()}) == 12


def test_an_answer_of_the_queue_that_names_no_message_is_no_success(webhook: Deployed) -> None:
    webhook.sqs.on("send_message_batch", lambda *_: {}, MAX_ATTEMPTS)
    assert_not_taken(webhook.post_events(event("r1")))


# --- whatever comes ------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["specversion", "type", "source", "id", "time", "subject", "data"])
CHANGED = st.dictionaries(NAMES, VALUES, max_size=3).map(lambda fields: event("r1") | fields)
DATA = st.dictionaries(st.sampled_from(["model", "usage", "tools", "batch", "project"]), VALUES)
EVENTS = CHANGED | DATA.map(lambda data: event("r1", data={"model": "m", "usage": CHAT} | data)) | VALUES
BODIES = (
    st.binary(max_size=300)
    | EVENTS.map(lambda raw: json.dumps(raw).encode())
    | st.lists(EVENTS, max_size=4).map(lambda raws: json.dumps(raws, ensure_ascii=False).encode("utf-8", "replace"))
    | st.lists(EVENTS, max_size=4).map(lambda raws: "\n".join(map(json.dumps, raws)).encode())
)
HEADERS = st.dictionaries(
    st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "authorization", "content-type", "x"]),
    st.text() | st.sampled_from(["v1,", f"v1,{'A' * 43}=", f"Bearer {BEARER}", str(int(time.time()))]),
)
PATHS = st.sampled_from(["/v1/usage-events", "/v1/usage-events/litellm"])
WHATEVER = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@WHATEVER
@given(body=BODIES, headers=HEADERS, path=PATHS)
def test_whatever_comes_unsigned_is_answered_and_only_a_bearer_secret_opens_anything(
    webhook: Deployed, body: bytes, headers: dict[str, str], path: str
) -> None:
    answer = webhook.post(body, headers, path=path)
    opened = path.endswith("litellm") and headers.get("authorization") == f"Bearer {BEARER}"
    assert answer.status in ({202, 400} if opened else {400, 401})


@WHATEVER
@given(body=st.text(st.characters(max_codepoint=127)) | st.none(), encoded=st.booleans(), path=PATHS)
def test_whatever_stands_in_the_body_of_lambdas_event_is_answered(
    webhook: Deployed, body: str | None, encoded: bool, path: str
) -> None:
    asked = request(b"", {}, path=path) | {"body": body, "isBase64Encoded": encoded}
    assert webhook.call(asked).status in {400, 401}
