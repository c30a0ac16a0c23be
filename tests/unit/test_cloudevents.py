"""CloudEvents over HTTP in every mode: structured, batched, binary, base64, gzip; and errors that say what is wrong."""

import base64
import gzip
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from gratis.http import MAX_BODY_BYTES
from gratis.intake.encoding import MAX_MEMBERS
from tests.builders.aws import aws
from tests.builders.webhook import Answer, Deployed, deployed, event, signed

ATTRIBUTES = ("specversion", "type", "source", "id", "time", "subject")
GZIP = {"content-encoding": "gzip"}


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as found:
        yield found


@pytest.fixture
def webhook(clients: dict[str, Any]) -> Iterator[Deployed]:
    with deployed(clients) as found:
        yield found


def binary(sent: dict[str, Any], **changed: str | None) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an event in binary mode. `changed`: attributes as their headers write them, or left out."""
    body = json.dumps(sent["data"]).encode()
    written = {name: quote(sent[name]) for name in ATTRIBUTES} | changed
    headers = {f"ce-{name}": value for name, value in written.items() if value is not None}
    return body, {"content-type": "application/json", **headers}


def post(webhook: Deployed, body: bytes, headers: dict[str, str]) -> Answer:
    """Post a body signed as it is."""
    return webhook.post(body, signed(body) | headers)


# --- content types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
        "application/cloudevents-batch+json;charset=utf-8",
        "APPLICATION/JSON",
        " application/json ; charset=utf-8",
    ],
)
def test_a_content_type_may_be_written_in_any_case_and_have_parameters(webhook: Deployed, kind: str) -> None:
    assert post(webhook, json.dumps(event("r1")).encode(), {"content-type": kind}).accepted == 1
    assert post(webhook, json.dumps([event("r2"), event("r3")]).encode(), {"content-type": kind}).accepted == 2
    assert webhook.queued_ids() == ["r1", "r2", "r3"]


def test_a_byte_order_mark_is_no_part_of_the_body(webhook: Deployed) -> None:
    assert post(webhook, b"\xef\xbb\xbf" + json.dumps([event("r1")]).encode(), {}).accepted == 1
    assert post(webhook, gzip.compress(b"\xef\xbb\xbf" + json.dumps([event("r2")]).encode()), GZIP).accepted == 1
    assert webhook.queued_ids() == ["r1", "r2"]


# --- binary mode ---------------------------------------------------------------------------------------------------


def test_events_in_binary_mode_are_events_like_others(webhook: Deployed) -> None:
    sent = [event(f"r{number}", organization=f"org_{number}") for number in range(3)]
    assert [post(webhook, *binary(each)).accepted for each in sent] == [1, 1, 1]
    assert webhook.queued() == sent


def test_attributes_in_headers_are_percent_encoded(webhook: Deployed) -> None:
    sent = event("r1", source="urn:Büro 100%")
    assert post(webhook, *binary(sent, source=quote("urn:Büro 100%"))).accepted == 1
    assert webhook.queued() == [sent]


def test_an_attribute_may_stand_in_quotes(webhook: Deployed) -> None:
    assert post(webhook, *binary(event("r1"), source='"a \\"gateway\\""')).accepted == 1
    assert webhook.queued()[0]["source"] == 'a "gateway"'


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_missing_header_is_named(webhook: Deployed, name: str) -> None:
    (refused,) = post(webhook, *binary(event("r1"), **{name: None})).quarantined
    code = "no_organization" if name == "subject" else "invalid_event"
    assert refused["error"] == {"code": code, "message": f"the header ce-{name} is missing"}


def test_what_is_wrong_in_binary_mode_is_named(webhook: Deployed) -> None:
    (refused,) = post(webhook, *binary(event("r1"), time="yesterday")).quarantined
    assert refused["error"]["message"].startswith("time: must be a moment with an offset")
    body, headers = binary(event("r1"))
    assert post(webhook, b"{", headers).error["code"] == "invalid_json"
    assert post(webhook, b"", headers).error["code"] == "invalid_json"
    assert post(webhook, b"[" + body + b"]", headers).codes == ["invalid_event"]


def test_a_structured_event_is_none_in_binary_mode_whatever_headers_stand_beside_it(webhook: Deployed) -> None:
    _, headers = binary(event("another"))
    kind = {"content-type": "application/cloudevents+json"}
    assert post(webhook, json.dumps(event("r1")).encode(), headers | kind).accepted == 1
    assert webhook.queued_ids() == ["r1"]


def test_data_cannot_be_smuggled_in_by_a_header(webhook: Deployed) -> None:
    body, headers = binary(event("r1"))
    assert post(webhook, body, headers | {"ce-data": "{}"}).accepted == 1
    assert post(webhook, body, headers | {"ce-data_base64": "e30="}).codes == ["invalid_event"]


def test_a_deployment_may_refuse_binary_mode_and_only_that(webhook: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINARY_MODE", "refused")
    assert post(webhook, *binary(event("r1"))).error["code"] == "binary_mode"
    assert webhook.post_events(event("r2")).accepted == 1


# --- data_base64 ---------------------------------------------------------------------------------------------------


def in_base64(sent: dict[str, Any], **fields: Any) -> bytes:
    encoded = base64.b64encode(json.dumps(sent["data"]).encode()).decode()
    return json.dumps({name: sent[name] for name in ATTRIBUTES} | {"data_base64": encoded} | fields).encode()


def test_data_in_base64_is_data(webhook: Deployed) -> None:
    sent = event("r1")
    assert post(webhook, in_base64(sent), {}).accepted == 1
    assert post(webhook, in_base64(event("r2"), data=None), {}).accepted == 1
    assert webhook.queued()[0] == sent


@pytest.mark.parametrize("value", ["***", "e30", 7, [], "bm8gSlNPTg==", "é"])
def test_what_is_no_base64_of_json_is_named(webhook: Deployed, value: Any) -> None:
    (refused,) = post(webhook, in_base64(event("r1"), data_base64=value), {}).quarantined
    assert refused["error"]["message"] == "data_base64: is no base64 of JSON"


def test_an_event_has_its_data_once(webhook: Deployed) -> None:
    (refused,) = post(webhook, in_base64(event("r1"), data={}), {}).quarantined
    assert refused["error"]["message"].startswith("data_base64: stands beside data")


# --- gzip ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
def test_a_packed_body_is_signed_as_it_is_sent(webhook: Deployed, encoding: str) -> None:
    packed = gzip.compress(json.dumps([event("r1")]).encode())
    assert post(webhook, packed, {"content-encoding": encoding}).accepted == 1
    unpacked_signature = signed(gzip.decompress(packed)) | GZIP
    assert webhook.post(packed, unpacked_signature).status == 401


def test_binary_mode_may_be_packed_too(webhook: Deployed) -> None:
    body, headers = binary(event("r1"))
    assert post(webhook, gzip.compress(body), headers | GZIP).accepted == 1


def test_a_body_may_be_packed_in_several_files_and_not_in_thousands(webhook: Deployed) -> None:
    assert post(webhook, gzip.compress(b"[") + gzip.compress(b"]"), GZIP).accepted == 0
    many = gzip.compress(b"") * 200_000
    assert f"over {MAX_MEMBERS} files" in post(webhook, many[:MAX_BODY_BYTES], GZIP).error["message"]


def test_4_mb_may_be_packed_and_not_one_byte_more(webhook: Deployed) -> None:
    assert post(webhook, gzip.compress(b"[]" + b" " * (MAX_BODY_BYTES - 2)), GZIP).accepted == 0
    assert post(webhook, gzip.compress(b"[]" + b" " * (MAX_BODY_BYTES - 1)), GZIP).error["code"] == "body_too_large"


def test_a_bomb_is_a_413_at_once_and_is_not_unpacked(webhook: Deployed) -> None:
    bomb = gzip.compress(bytes(1 << 29), 9)
    headers = signed(bomb) | GZIP
    tracemalloc.start()
    begun = time.process_time()
    try:
        assert webhook.post(bomb, headers).status == 413
        assert time.process_time() - begun < 2
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


NOT_GZIP = {
    "plain JSON": b"[]",
    "nothing": b"",
    "a torn file": gzip.compress(b"[1, 2, 3]")[:-4],
    "a file and something else": gzip.compress(b"[]") + b"[]",
    "a wrong checksum": gzip.compress(b"[]")[:-8] + bytes(8),
}


@pytest.mark.parametrize("body", NOT_GZIP.values(), ids=NOT_GZIP)
def test_what_is_no_gzip_although_it_says_so_is_a_400(webhook: Deployed, body: bytes) -> None:
    answer = post(webhook, body, GZIP)
    assert (answer.status, answer.error["code"]) == (400, "invalid_body")
    assert answer.error["message"].startswith("the body is not gzip, as content-encoding says: ")


def test_gzip_that_nothing_announces_is_called_gzip(webhook: Deployed) -> None:
    answer = post(webhook, gzip.compress(b"[]"), {})
    assert answer.error["message"] == "the body is gzip, but content-encoding does not say so"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, br"])
def test_another_encoding_is_a_415_that_names_it(webhook: Deployed, encoding: str) -> None:
    answer = post(webhook, b"[]", {"content-encoding": encoding})
    assert (answer.status, answer.error["param"]) == (415, "content-encoding")
    assert repr(encoding) in answer.error["message"]


# --- signatures ----------------------------------------------------------------------------------------------------


def as_svix(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("webhook-", "svix-"): value for name, value in headers.items()}


def test_the_headers_of_svix_are_those_of_standard_webhooks(webhook: Deployed) -> None:
    assert webhook.post(b"[]", as_svix(signed(b"[]"))).accepted == 0
    assert webhook.post(b"[ ]", as_svix(signed(b"[]"))).status == 401


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_a_missing_header_of_the_signature_is_named(webhook: Deployed, name: str) -> None:
    headers = {each: value for each, value in signed(b"[]").items() if each != f"webhook-{name}"}
    answer = webhook.post(b"[]", headers)
    assert answer.status == 401
    assert answer.error["message"].endswith(f"the header webhook-{name} is missing")
