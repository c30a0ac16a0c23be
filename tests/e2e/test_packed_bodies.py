"""Bodies as HTTP packs them, posted to the deployed webhook: gzip, base64, byte order marks, and gzip bombs."""

import base64
import gzip
import json
import time
import zlib
from functools import cache
from typing import Any

import pytest

from tests.builders.webhook import signed
from tests.e2e.system import System

JSON = {"content-type": "application/json"}
PACKED = {"content-encoding": "gzip"}
ROUTES = ("usage-events", "usage-events/litellm", "usage-events/otlp/v1/traces")


def post(system: System, route: str, body: bytes, headers: dict[str, str]) -> Any:
    """Status and decoded answer; signed, or with the bearer secret, as the route asks for."""
    bearer = {"authorization": f"Bearer {system.up.litellm_secret}"}
    proved = signed(body, system.up.webhook_secret) if route == "usage-events" else bearer
    url = f"{system.up.base_url}/{route}"
    answer = system.http.request("POST", url, body=body, headers=JSON | headers | proved)
    return answer.status, answer.json()


@cache
def bomb() -> bytes:
    """A quarter of a gibibyte of blanks in a quarter of a megabyte of gzip."""
    packer = zlib.compressobj(9, wbits=31)
    packed = [packer.compress(b" " * (1 << 20)) for _ in range(256)]
    return b"".join([*packed, packer.flush()])


@pytest.mark.parametrize("route", ROUTES)
def test_a_gzip_bomb_is_a_413(system: System, route: str) -> None:
    status, answer = post(system, route, bomb(), PACKED)
    assert status == 413
    assert "bytes when unpacked" in json.dumps(answer)


def test_an_event_is_read_however_it_is_packed(system: System, organization: str) -> None:
    events = [system.usage(organization, name) for name in ("plain", "gzip", "bom", "base64", "binary")]
    plain, zipped, marked, encoded, binary = events
    encoded = encoded | {"data_base64": base64.b64encode(json.dumps(encoded["data"]).encode()).decode()}
    del encoded["data"]
    attributes = {f"Ce-{name}": value for name, value in binary.items() if name != "data"}
    bodies = (
        (json.dumps(plain).encode(), {"content-type": "Application/CloudEvents+JSON; charset=UTF-8"}),
        (gzip.compress(json.dumps([zipped]).encode()), PACKED),
        (b"\xef\xbb\xbf" + json.dumps(marked).encode(), {}),
        (json.dumps(encoded).encode(), {}),
        (gzip.compress(json.dumps(binary["data"]).encode()), PACKED | attributes),
    )
    for body, headers in bodies:
        assert post(system, ROUTES[0], body, headers) == (202, {"accepted": 1, "skipped": {}, "quarantined": []})
    found = system.through(organization).decisions.values()
    assert {each.request_id: each.input + each.output for each in found} == {each["id"]: 1000 for each in events}


def test_spans_in_json_are_read_and_what_is_refused_is_named(system: System, organization: str) -> None:
    whose = [{"key": "gratis.organization", "value": {"stringValue": organization}}]
    spans = [span("chatcmpl-good", 100), span("chatcmpl-bad", -1), span("chatcmpl-empty", 0)]
    body = {"resourceSpans": [{"resource": {"attributes": whose}, "scopeSpans": [{"spans": spans}]}]}
    status, answer = post(system, ROUTES[2], gzip.compress(json.dumps(body).encode()), PACKED)
    assert (status, answer["partialSuccess"]["rejectedSpans"]) == (200, "1")
    assert answer["partialSuccess"]["errorMessage"].startswith("chatcmpl-bad: data.usage.")
    found = system.through(organization)
    assert [each.request_id for each in found.decisions.values()] == ["chatcmpl-good"]
    assert [entry.code for entry in found.quarantine] == ["invalid_event"]


def span(response_id: str, tokens: int) -> dict[str, Any]:
    """A client's span of a minute ago."""
    texts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": response_id,
    }
    attributes: list[Any] = [{"key": name, "value": {"stringValue": text}} for name, text in texts.items()]
    attributes.append({"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(tokens)}})
    begun = str(int(time.time() - 60) * 10**9)
    named = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "kind": 3}
    return named | {"startTimeUnixNano": begun, "attributes": attributes}
