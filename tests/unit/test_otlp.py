"""OpenTelemetry's GenAI spans, in protobuf and in JSON, as SDKs and collectors export them."""

import base64
import gzip
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gratis.errors import Rejected
from gratis.intake import otlp
from gratis.intake.events import parse_event
from gratis.rules.request import Request, Tokens
from gratis_local.functions import ROOT, Context
from tests.builders.aws import aws, aws_error, fails
from tests.builders.webhook import BEARER, Deployed, deployed, request

PATH = "/v1/usage-events/otlp/v1/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
PRIVATE = "a private prompt"
CLIENT, INTERNAL = 3, 1
STARTED = datetime(2026, 11, 22, 14, 57, 20, 647450, tzinfo=UTC)
OURS = {"gratis.organization": "org_a", "gratis.project": "proj_a"}
USED = {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 300}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.id": "chatcmpl-1",
    "openai.response.service_tier": "flex",
    "gen_ai.usage.cache_read.input_tokens": 1024,
    "gen_ai.input.messages": PRIVATE,
    "gen_ai.output.messages": PRIVATE,
    **USED,
}
OLD = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o-2024-08-06",
    "gen_ai.openai.response.service_tier": "default",
    "gen_ai.usage.prompt_tokens": 10,
    "gen_ai.usage.completion_tokens": 5,
    "gen_ai.prompt.0.content": PRIVATE,
    "gen_ai.completion.0.content": PRIVATE,
}


class Exported(NamedTuple):
    """A span, as a test names it."""

    attributes: dict[str, Any]
    kind: int = CLIENT
    name: str = "chat gpt-4o"
    scope: str = "opentelemetry.instrumentation.openai_v2"
    resource: dict[str, Any] = OURS
    trace: str = "5b8efff798038103d269b633813fc60c"
    span: str = "eee19b7ec3c1b174"
    start: datetime = STARTED


def chat(**changed: Any) -> dict[str, Any]:
    """The attributes of a chat, some of them changed (`__` stands for a dot) or, where None is given, left out."""
    named = {name.replace("__", "."): value for name, value in changed.items()}
    return {name: value for name, value in (CHAT | named).items() if value is not None}


def nanoseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 + 42


def value_in_json(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_in_json(each) for each in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def attributes_in_json(attributes: dict[str, Any]) -> list[Any]:
    return [{"key": name, "value": value_in_json(value)} for name, value in attributes.items()]


def in_json(*spans: Exported) -> bytes:
    """An ExportTraceServiceRequest in JSON, as the specification says: ids in hex, whole numbers as text."""
    return json.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": attributes_in_json(each.resource)},
                    "scopeSpans": [
                        {
                            "scope": {"name": each.scope},
                            "spans": [
                                {
                                    "traceId": each.trace,
                                    "spanId": each.span,
                                    "name": each.name,
                                    "kind": each.kind,
                                    "startTimeUnixNano": str(nanoseconds(each.start)),
                                    "attributes": attributes_in_json(each.attributes),
                                }
                            ],
                        }
                    ],
                }
                for each in spans
            ]
        }
    ).encode()


def pairs(attributes: dict[str, Any]) -> Iterator[KeyValue]:
    for name, value in attributes.items():
        yield KeyValue(key=name, value=any_value(value))


def any_value(value: Any) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(each) for each in value]))
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    return AnyValue(**{kinds[type(value)]: value})


def in_protobuf(*spans: Exported) -> bytes:
    """The same in protobuf."""
    request_made = ExportTraceServiceRequest()
    for each in spans:
        of_resource = request_made.resource_spans.add()
        of_resource.resource.attributes.extend(pairs(each.resource))
        of_scope = of_resource.scope_spans.add()
        of_scope.scope.name = each.scope
        of_scope.spans.append(
            Span(
                trace_id=bytes.fromhex(each.trace),
                span_id=bytes.fromhex(each.span),
                name=each.name,
                kind=each.kind,
                start_time_unix_nano=nanoseconds(each.start),
                attributes=pairs(each.attributes),
            )
        )
    return request_made.SerializeToString()


WRITTEN = {PROTOBUF: in_protobuf, JSON: in_json}


def read(kind: str, *spans: Exported, **headers: str) -> list[otlp.Span]:
    return otlp.entries(WRITTEN[kind](*spans), {"content-type": kind, **headers})


def request_of(span: otlp.Span) -> Request:
    return parse_event(otlp.usage_event(span), STARTED + timedelta(minutes=1))


def only(attributes: dict[str, Any], **of_span: Any) -> Request:
    """The request of a single span."""
    (span,) = read(JSON, Exported(attributes, **of_span))
    assert otlp.skipped(span) is None
    return request_of(span)


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as found:
        yield found


@pytest.fixture
def webhook(clients: dict[str, Any]) -> Iterator[Deployed]:
    with deployed(clients) as found:
        yield found


# --- spans ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_span_is_a_request_with_every_field_in_its_place(kind: str) -> None:
    (span,) = read(kind, Exported(CHAT))
    found = request_of(span)
    assert (found.organization, found.project, found.id) == ("org_a", "proj_a", "chatcmpl-1")
    assert (found.model, found.endpoint, found.service_tier) == ("gpt-4o-2024-08-06", "chat.completions", "flex")
    assert (found.tokens, found.occurred_at) == (Tokens(1200, 1024, 300), STARTED)


def test_protobuf_and_json_say_the_same() -> None:
    spans = [Exported(CHAT), Exported(OLD, INTERNAL), Exported({"gen_ai.response.finish_reasons": ["stop"], **CHAT})]
    assert read(PROTOBUF, *spans) == read(JSON, *spans)


def test_the_conventions_before_1_37_are_read() -> None:
    found = only(OLD)
    assert (found.model, found.service_tier, found.tokens) == ("gpt-4o-2024-08-06", "default", Tokens(10, 0, 5))


def test_without_an_id_of_the_response_the_request_is_named_by_its_span() -> None:
    found = only(chat(gen_ai__response__id=None))
    assert found.id == "5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174"


def test_an_id_that_our_alphabet_does_not_take_is_hashed() -> None:
    assert only(chat(gen_ai__response__id="resp_a=")).id.startswith("sha256:")


def test_the_callers_id_that_litellm_writes_in_place_of_the_platforms_is_none() -> None:
    assert only(chat(gen_ai__response__id="mine") | {"litellm.call_id": "mine"}).id.startswith("5b8efff7")


def test_a_span_says_whose_it_is_before_its_resource_and_both_before_the_header() -> None:
    spans = [Exported(CHAT | {"gratis.organization": "org_s"}), Exported(CHAT), Exported(CHAT, resource={})]
    found = read(PROTOBUF, *spans, **{otlp.HEADER: "org_h"})
    assert [otlp.usage_event(each)["subject"] for each in found] == ["org_s", "org_a", "org_h"]


@pytest.mark.parametrize(
    ("resource", "project"),
    [
        ({"service.name": "shop"}, "shop"),
        ({"service.name": "shop", "gratis.project": "proj_a"}, "proj_a"),
        ({"service.name": "unknown_service"}, None),
        ({"service.name": "unknown_service:python"}, None),
        ({}, None),
    ],
)
def test_the_service_is_the_project_where_no_project_is_named(resource: dict[str, Any], project: str | None) -> None:
    assert only(CHAT, resource={"gratis.organization": "org_a"} | resource).project == project


def test_a_span_that_names_no_organization_is_refused_in_words_of_opentelemetry() -> None:
    (span,) = read(JSON, Exported(CHAT, resource={}))
    with pytest.raises(Rejected) as caught:
        request_of(span)
    assert caught.value.code == "no_organization"
    said = "(in the span: gratis.organization of span or resource, else the header x-gratis-organization)"
    assert otlp.in_their_words(caught.value.message).endswith(said)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2024-08-06"),
        ("OpenAI", "gpt-4o-2024-08-06"),
        ("azure.ai.openai", "azure.ai.openai/gpt-4o-2024-08-06"),
        ("litellm_proxy", "litellm_proxy/gpt-4o-2024-08-06"),
    ],
)
def test_another_providers_traffic_keeps_the_providers_name(provider: str, model: str) -> None:
    assert only(chat(gen_ai__provider__name=provider)).model == model


def test_a_span_that_does_not_say_whose_model_it_called_is_refused() -> None:
    (span,) = read(JSON, Exported(chat(gen_ai__provider__name=None)))
    with pytest.raises(Rejected) as caught:
        request_of(span)
    assert caught.value.message.startswith("data.model: ")


def test_the_model_that_served_decides_only_where_it_is_a_dated_id_of_the_one_asked_for() -> None:
    assert only(chat(gen_ai__response__model="the proxy's own")).model == "gpt-4o"
    assert only(chat(gen_ai__request__model=None)).model == "gpt-4o-2024-08-06"


@pytest.mark.parametrize(
    ("attributes", "endpoint"),
    [
        ({"openai.api.type": "responses"}, "responses"),
        ({"openai.api.type": "chat_completions"}, "chat.completions"),
        ({"gen_ai.response.id": "resp_1"}, "responses"),
        ({"gen_ai.operation.name": "text_completion"}, "completions"),
        ({"gen_ai.operation.name": "embeddings"}, "embeddings"),
        ({"gen_ai.operation.name": ""}, "responses"),
    ],
    ids=str,
)
def test_the_operation_is_the_endpoint(attributes: dict[str, str], endpoint: str) -> None:
    assert only(CHAT | attributes).endpoint == endpoint


def test_cached_input_by_a_name_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(Rejected) as caught:
        only(CHAT | {"gen_ai.usage.cached_tokens": 1100})
    assert caught.value.message.startswith("data: usage.gen_ai.usage.cached_tokens has a price of its own")
    assert only(CHAT | {"gen_ai.usage.total_tokens": 90, "gen_ai.usage.cost": 0.5}).tokens == Tokens(1200, 1024, 300)


def test_cached_input_as_pydantic_ai_names_it_is_read() -> None:
    bare = {name: value for name, value in CHAT.items() if "cache" not in name}
    assert only(bare | {"gen_ai.usage.details.cache_read_tokens": 90}).tokens.cached == 90
    assert only(bare | {"gen_ai.usage.details.cache_write_tokens": 90}).tokens.cache_write == 90
    assert only(CHAT | {"gen_ai.usage.details.cache_read_tokens": 1024}).tokens == only(CHAT).tokens


def test_what_was_written_to_the_cache_and_reasoned_is_read() -> None:
    details = {"gen_ai.usage.cache_creation.input_tokens": 100, "gen_ai.usage.reasoning.output_tokens": 200}
    assert only(CHAT | details).tokens == Tokens(1200, 1024, 300, cache_write=100)


def test_an_embedding_has_no_output() -> None:
    assert only(chat(gen_ai__usage__output_tokens=None)).tokens == Tokens(1200, 1024, 0)


@pytest.mark.parametrize("count", ["12", 12.0, True, -1, 2**62])
def test_a_count_that_is_no_count_is_refused_by_name(count: Any) -> None:
    (span,) = read(JSON, Exported(CHAT | {"gen_ai.usage.input_tokens": count}))
    with pytest.raises(Rejected) as caught:
        request_of(span)
    assert "data.usage.input_tokens: " in caught.value.message


def test_a_reservation_is_handed_on() -> None:
    assert only(CHAT | {"gratis.reservation": "req_7"}).reservation == "req_7"


# --- what is no request --------------------------------------------------------------------------------------------

LITELLM = {"scope": "litellm", "name": "litellm_request", "kind": INTERNAL}
OTHERS = {
    "a parent that repeats the sums": Exported(CHAT | {"gen_ai.operation.name": "invoke_agent"}),
    "a parent that calls nothing itself": Exported(CHAT, INTERNAL),
    "a tool": Exported(CHAT | {"gen_ai.operation.name": "execute_tool"}),
    "a server's span": Exported(CHAT, 2),
    "a call of a database": Exported({"db.system.name": "postgresql"}),
    "LiteLLM's copy of the raw request": Exported({"llm.openai.model": "gpt-4o"}, INTERNAL, "raw_gen_ai_request"),
}


@pytest.mark.parametrize("span", OTHERS.values(), ids=OTHERS)
def test_other_spans_are_no_requests(span: Exported) -> None:
    assert [otlp.skipped(each) for each in read(PROTOBUF, span)] == ["not_a_model_call"]


def test_a_call_that_used_nothing_is_skipped() -> None:
    failed = chat(gen_ai__usage__input_tokens=None, gen_ai__usage__output_tokens=None)
    zeros = chat(gen_ai__usage__input_tokens=0, gen_ai__usage__output_tokens=0)
    assert [otlp.skipped(each) for each in read(JSON, Exported(failed), Exported(zeros))] == ["no_usage"] * 2


def test_litellms_own_span_of_a_call_counts_though_it_calls_itself_internal() -> None:
    old = OLD | {"gen_ai.operation.name": "acompletion", "litellm.cache_hit": False}
    assert only(old, **LITELLM).tokens.total == 15
    (hit,) = read(JSON, Exported(old | {"litellm.cache_hit": True}, **LITELLM))
    assert otlp.skipped(hit) == "cache_hit"


@pytest.mark.parametrize(
    ("named", "model"),
    [("gpt-4o", "gpt-4o"), ("azure/gpt-4o", "azure/gpt-4o"), ("openrouter/openai/x", "openrouter/openai/x")],
)
def test_where_litellm_leaves_the_provider_out_its_name_of_the_model_has_it(named: str, model: str) -> None:
    left_out = {"gen_ai.system": "", "litellm.provider.model": named, "gen_ai.request.model": "gpt-4o"}
    assert only(OLD | left_out, **LITELLM).model == model


# --- what is kept --------------------------------------------------------------------------------------------------


def test_neither_prompts_nor_answers_are_kept() -> None:
    spans = read(PROTOBUF, Exported(CHAT), Exported(OLD | {"gen_ai.usage.note": PRIVATE, PRIVATE: 1}))
    assert PRIVATE not in json.dumps([spans, [otlp.usage_event(each) for each in spans]])


def test_a_figure_that_nobody_reads_yet_is_kept_for_a_later_mapping() -> None:
    (span,) = read(PROTOBUF, Exported(CHAT | {"gen_ai.usage.audio.input_tokens": 7}))
    assert span["attributes"]["gen_ai.usage.audio.input_tokens"] == 7


# --- over HTTP -----------------------------------------------------------------------------------------------------


def post(webhook: Deployed, body: bytes, kind: str = PROTOBUF, **headers: str) -> dict[str, Any]:
    """The function's answer: status, and the message that it holds."""
    sent = {"authorization": f"Bearer {BEARER}", "content-type": kind} | headers
    return webhook.handler(request(body, sent, path=PATH), Context("receive_usage"))


def message_of(answered: dict[str, Any]) -> dict[str, Any]:
    """The ExportTraceServiceResponse of an answer, as JSON."""
    if answered["headers"]["content-type"] == JSON:
        found: dict[str, Any] = json.loads(answered["body"])
        return found
    assert answered["isBase64Encoded"]
    return MessageToDict(ExportTraceServiceResponse.FromString(base64.b64decode(answered["body"])))


def recent(attributes: dict[str, Any], **of_span: Any) -> Exported:
    return Exported(attributes, start=datetime.now(UTC) - timedelta(seconds=5), **of_span)


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_exported_is_queued_and_answered_as_otlp_says(webhook: Deployed, kind: str) -> None:
    body = WRITTEN[kind](recent(CHAT), recent(CHAT, kind=INTERNAL))
    answered = post(webhook, body, kind)
    assert (answered["statusCode"], answered["headers"]["content-type"], message_of(answered)) == (200, kind, {})
    assert webhook.queued_ids() == ["chatcmpl-1"]


def test_a_packed_export_is_read(webhook: Deployed) -> None:
    body = gzip.compress(in_protobuf(recent(CHAT)))
    assert post(webhook, body, **{"content-encoding": "gzip"})["statusCode"] == 200
    assert webhook.queued_ids() == ["chatcmpl-1"]


@pytest.mark.parametrize("kind", WRITTEN)
def test_spans_that_are_refused_are_counted_and_named_and_the_others_are_stored(webhook: Deployed, kind: str) -> None:
    nobodys = [recent(CHAT, resource={}) for _ in range(12)]
    answered = post(webhook, WRITTEN[kind](*nobodys, recent(CHAT)), kind)
    partial = message_of(answered)["partialSuccess"]
    assert (answered["statusCode"], partial["rejectedSpans"]) == (200, "12")
    assert partial["errorMessage"].startswith("chatcmpl-1: subject: names no organization")
    assert partial["errorMessage"].endswith("(and 2 more)")
    assert webhook.queued_ids() == ["chatcmpl-1"]
    assert {(entry.code, entry.source) for entry in webhook.quarantined()} == {("no_organization", "otlp")}


def test_what_was_skipped_is_in_the_metric(webhook: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    post(webhook, in_protobuf(recent(CHAT, kind=INTERNAL)))
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["Skipped"] for each in logged if each.get("Reason") == "not_a_model_call"] == [[1]]


def status_of(answered: dict[str, Any]) -> dict[str, Any]:
    """The `google.rpc.Status` of an answer, as JSON. Raises for what is none."""
    status = google_rpc_status()
    if answered["headers"]["content-type"] == JSON:
        return MessageToDict(Parse(answered["body"], status))
    assert answered["headers"]["content-type"] == PROTOBUF
    status.ParseFromString(base64.b64decode(answered["body"]))
    return MessageToDict(status)


def google_rpc_status() -> Message:
    """An empty `google.rpc.Status`, by its published definition (but for `details`)."""
    described = FileDescriptorProto(name="google/rpc/status.proto", package="google.rpc", syntax="proto3")
    message = described.message_type.add(name="Status")
    kinds = {"code": FieldDescriptorProto.TYPE_INT32, "message": FieldDescriptorProto.TYPE_STRING}
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        message.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    pool = DescriptorPool()
    pool.Add(described)
    return GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))()


MANY = [Exported({}, name="", scope="", resource={})] * 10_001
PACKED = {"content-encoding": "gzip"}
REFUSED: dict[str, tuple[bytes | None, dict[str, str], int, int, str]] = {
    "no export": (b"\xff", {}, 400, 3, "the body is no"),
    "no gzip": (b"\xff", PACKED, 400, 3, "the body is not gzip"),
    "another secret": (b"", {"authorization": "Bearer another"}, 401, 16, "the Authorization header holds no valid"),
    "too large": (gzip.compress(bytes(5 << 20)), PACKED, 413, 3, "the body is over 4194304 bytes when unpacked"),
    "too many spans": (None, {}, 413, 3, "the body holds over 10000 spans"),
    "another encoding": (b"", {"content-encoding": "br"}, 415, 3, "content-encoding: 'br' is not accepted"),
}
"""Body (None: too many spans), headers; status, code, beginning of the message."""


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize(("body", "headers", "status", "code", "begins"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_status_in_the_encoding_of_the_request(
    webhook: Deployed, body: bytes | None, headers: dict[str, str], status: int, code: int, begins: str, kind: str
) -> None:
    answered = post(webhook, WRITTEN[kind](*MANY) if body is None else body, kind, **headers)
    said = status_of(answered)
    assert (answered["statusCode"], answered["headers"]["content-type"], said["code"]) == (status, kind, code)
    assert said["message"].startswith(begins)


@pytest.mark.parametrize("kind", ["text/plain", ""])
def test_another_content_type_is_refused_in_json(webhook: Deployed, kind: str) -> None:
    answered = post(webhook, b"{}", kind)
    assert (answered["statusCode"], status_of(answered)["code"]) == (415, 3)
    assert f"content-type: {kind!r} is not accepted" in status_of(answered)["message"]


def test_json_that_is_no_object_is_refused(webhook: Deployed) -> None:
    assert post(webhook, b"[]", JSON)["statusCode"] == 400


def test_an_empty_export_is_answered(webhook: Deployed) -> None:
    for body, kind in ((b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans": null}', JSON)):
        assert message_of(post(webhook, body, kind)) == {}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_could_not_be_stored_is_a_503_to_be_sent_again(webhook: Deployed, kind: str) -> None:
    webhook.sqs.on("send_message_batch", fails(aws_error("InternalError")))
    answered = post(webhook, WRITTEN[kind](recent(CHAT)), kind)
    assert (answered["statusCode"], answered["headers"]["retry-after"]) == (503, "1")
    assert status_of(answered)["code"] == 14


ODD = {
    "no lists": {"resourceSpans": [{"resource": 7, "scopeSpans": 7}, 7, None]},
    "no objects": {"resourceSpans": [{"scopeSpans": [{"scope": [], "spans": [7, None, {}]}]}]},
    "odd attributes": {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {"spans": [{"kind": 3, "attributes": [7, {"key": 7}, {"key": "a"}, {"key": "b", "value": 7}]}]}
                ]
            }
        ]
    },
    "odd moments": {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {"kind": 3, "startTimeUnixNano": start, "attributes": attributes_in_json(CHAT)}
                            for start in (None, [], "soon", -1, 1.5, "9" * 5000, 10**40, True)
                        ]
                    }
                ]
            }
        ]
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_json_is_skipped_or_refused_span_by_span(webhook: Deployed, odd: Any) -> None:
    assert post(webhook, json.dumps(odd).encode(), JSON)["statusCode"] == 200
    assert webhook.queued() == []


def test_the_messages_of_otlp_are_imported_only_when_such_a_request_comes() -> None:
    import subprocess

    read_all = "import sys, gratis.intake.sources; print([each for each in sys.modules if 'protobuf' in each])"
    path = str(ROOT / "layers/core")
    done = subprocess.run(
        [sys.executable, "-c", read_all], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
