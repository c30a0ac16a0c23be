"""OpenTelemetry: GenAI spans of OTLP/HTTP as usage events. SPEC section 5; semantic conventions 1.27 to 1.41.

A span is reduced to what is read here as soon as it is decoded: numbers, names, no prompt and no answer.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gratis import moment
from gratis.http import Refused
from gratis.http import answer as http_answer
from gratis.intake.cloudevents import parsed
from gratis.intake.mapping import PLATFORM, fitting, model_of

if TYPE_CHECKING:
    from gratis.intake.receive import Received

SOURCE = "otlp"
PROTOBUF = "application/x-protobuf"
MAX_SPANS = 10_000
"""In one body, whatever they are of; collectors send 8,192 at once."""
CLIENT = (3, "SPAN_KIND_CLIENT")
OPERATIONS = {
    "chat": "chat.completions",
    "text_completion": "completions",
    "embeddings": "embeddings",
    "generate_content": "generate_content",
    "completion": "chat.completions",
    "acompletion": "chat.completions",
    "atext_completion": "completions",
    "responses": "responses",
    "aresponses": "responses",
    "embedding": "embeddings",
    "aembedding": "embeddings",
}
"""The endpoint of a model call by `gen_ai.operation.name`; LiteLLM writes its own call types there."""
API_TYPES = {"chat_completions": "chat.completions", "responses": "responses"}
"""The endpoint by `openai.api.type`, which tells the two kinds of chat apart."""
LITELLM_SPAN = ("litellm", "litellm_request")
"""Scope and name of the span of a call that LiteLLM makes, which it does not call a client's by default."""

HEADER = "x-gratis-organization"
USAGE = "gen_ai.usage."
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHED = (
    *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    *("gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens"),
)
WRITTEN = (
    *("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"),
    "gen_ai.usage.details.cache_write_tokens",
)
"""The last ones as Pydantic AI names them."""
REASONING = (
    *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
    "gen_ai.usage.completion_tokens_details.reasoning_tokens",
)
ORGANIZATION = ("gratis.organization", "metadata.user_api_key_org_id")
PROJECT = ("gratis.project", "metadata.user_api_key_project_id", "metadata.user_api_key_team_id")
SERVICE = "service.name"
UNNAMED_SERVICE = "unknown_service"
"""Begins the name that SDKs give to a service that has none."""
PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
REQUESTED, SERVED, RESPONSE_ID = "gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id"
LITELLM_MODEL, LITELLM_CALL, LITELLM_CACHE = "litellm.provider.model", "litellm.call_id", "litellm.cache_hit"
OPERATION, API_TYPE, RESERVATION = "gen_ai.operation.name", "openai.api.type", "gratis.reservation"
SERVICE_TIER = (
    *("openai.response.service_tier", "gen_ai.openai.response.service_tier"),
    *("openai.request.service_tier", "gen_ai.openai.request.service_tier"),
)
READ = frozenset(
    {*INPUT, *OUTPUT, *CACHED, *WRITTEN, *REASONING, *ORGANIZATION, *PROJECT, SERVICE, *PROVIDER, *SERVICE_TIER}
    | {REQUESTED, SERVED, RESPONSE_ID, LITELLM_MODEL, LITELLM_CALL, LITELLM_CACHE, OPERATION, API_TYPE, RESERVATION}
)
"""Attributes that are read, of spans and of resources."""
ALSO_KEPT = re.compile(r"(gen_ai\.usage|openai)\.[a-z_.]+")
"""Attributes that a later mapping may read: figures and short names."""
MAX_TEXT = 512
"""Characters of an attribute; longer ones are cut."""
FIELDS = {
    "id": f"{RESPONSE_ID}, else traceId and spanId",
    "time": "startTimeUnixNano",
    "subject": f"gratis.organization of span or resource, else the header {HEADER}",
    "data.project": f"gratis.project of span or resource, else {SERVICE}",
    "data.model": f"{REQUESTED}, {SERVED}, {' or '.join(PROVIDER)}",
    "data.usage": "gen_ai.usage.*",
    "data.service_tier": "openai.response.service_tier",
    "data.reservation": RESERVATION,
}
"""Where spans hold what our messages name."""

Span = dict[str, Any]


def entries(body: bytes, headers: Mapping[str, str]) -> list[Span]:
    """The spans of a body, reduced to what is read. Raises Refused: 400, 413, or 415 for another content type.

    `headers` have lower-case names.
    """
    kind = _content_type(headers)
    if kind == PROTOBUF:
        return _of_protobuf(body, headers.get(HEADER))
    if kind == "application/json":
        decoded = parsed(body)
        if not isinstance(decoded, Mapping):
            raise Refused(400, "invalid_body", "the body is no ExportTraceServiceRequest: it is no object")
        return _few(_of_json(decoded, headers.get(HEADER)))
    message = f"content-type: {kind!r} is not accepted; send {PROTOBUF} or application/json"
    raise Refused(415, "unsupported_content_type", message, "content-type")


def of_json(decoded: Any) -> list[Span]:
    """The spans of decoded OTLP JSON; none of anything else."""
    is_otlp = isinstance(decoded, Mapping) and isinstance(decoded.get("resourceSpans"), list)
    return list(_of_json(decoded, None)) if is_otlp else []


def skipped(span: Span) -> str | None:
    """Why a span is skipped, None if it is decided (or refused).

    `not_a_model_call`: any other span, parents among them, which repeat the sums of their children. `cache_hit`:
    answered by LiteLLM itself. `no_usage`: the call used nothing, or failed before it did.
    """
    if not _is_model_call(span):
        return "not_a_model_call"
    attributes = span["attributes"]
    if attributes.get(LITELLM_CACHE) is True:
        return "cache_hit"
    return None if any(attributes.get(name) not in (None, 0) for name in (*INPUT, *OUTPUT)) else "no_usage"


def usage_event(span: Span) -> dict[str, Any]:
    """The CloudEvent of a span."""
    attributes = span["resource"] | span["attributes"]
    first = _first(attributes)
    service = attributes.get(SERVICE)
    named = service if isinstance(service, str) and not service.startswith(UNNAMED_SERVICE) else None
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": SOURCE,
        "id": _request_id(span),
        "time": _time(span["start"]),
        "subject": first(ORGANIZATION) or span.get("organization"),
        "data": {
            "project": first(PROJECT) or named or None,
            "model": _model(span, attributes),
            "endpoint": _endpoint(attributes),
            "service_tier": next(
                (tier for name in SERVICE_TIER if (tier := attributes.get(name)) not in _NO_TIER), None
            ),
            "usage": _usage(first) | _other_figures(attributes),
            "reservation": attributes.get(RESERVATION) or None,
        },
    }


def kept(span: Span) -> Span:
    """The span: it is reduced already."""
    return span


def in_their_words(message: str) -> str:
    """An error message with the attributes' names beside ours."""
    theirs = [
        FIELDS[ours] for each in message.split("; ") for ours in FIELDS if each.startswith((f"{ours}:", f"{ours}."))
    ]
    return f"{message} (in the span: {', '.join(dict.fromkeys(theirs))})" if theirs else message


# --- what the sender is told ---------------------------------------------------------------------------------------

RPC_CODES = {400: 3, 401: 16, 413: 3, 415: 3, 503: 14}
"""Codes of `google.rpc.Status` by HTTP status."""
MAX_ERRORS_NAMED = 10


def answer(received: "Received", headers: Mapping[str, str]) -> dict[str, Any]:
    """An ExportTraceServiceResponse: what was refused lies in quarantine, so it is not to be sent again."""
    refused = received.quarantined
    said = "; ".join(f"{each['id']}: {each['error']['message']}" for each in refused[:MAX_ERRORS_NAMED])
    more = f" (and {len(refused) - MAX_ERRORS_NAMED} more)" if len(refused) > MAX_ERRORS_NAMED else ""
    if not _is_protobuf(headers):
        partial = {"rejectedSpans": str(len(refused)), "errorMessage": said + more}
        return http_answer(200, {"partialSuccess": partial} if refused else {})
    return _in_protobuf(
        200, _field(1, _number(1, len(refused)) + _field(2, (said + more).encode())) if refused else b""
    )


def refusal(refused: Refused, headers: Mapping[str, str]) -> dict[str, Any]:
    """A `google.rpc.Status` in the request's encoding, as OTLP demands; after a 503 the sender sends again."""
    code, message = RPC_CODES.get(refused.status, 2), str(refused)
    if _is_protobuf(headers):
        status = _in_protobuf(refused.status, _number(1, code) + _field(2, message.encode()))
    else:
        status = http_answer(refused.status, {"code": code, "message": message})
    return status | {"headers": status["headers"] | ({"retry-after": "1"} if refused.status == 503 else {})}


def _is_protobuf(headers: Mapping[str, str]) -> bool:
    return _content_type(headers) == PROTOBUF


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _in_protobuf(status: int, message: bytes) -> dict[str, Any]:
    body = base64.b64encode(message).decode()
    return {
        "statusCode": status,
        "headers": {"content-type": PROTOBUF, "cache-control": "no-store"},
        "body": body,
        "isBase64Encoded": True,
    }


def _number(place: int, value: int) -> bytes:
    """A field of a message that is a number. Two messages of two fields are not worth the import."""
    return bytes([place << 3]) + _varint(value)


def _field(place: int, content: bytes) -> bytes:
    """A field of a message that is text or a message."""
    return bytes([place << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = []
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


# --- what a span says ----------------------------------------------------------------------------------------------

_NO_TIER = (None, "", "auto")


def _is_model_call(span: Span) -> bool:
    """A client's span with the name of a model and of an operation that calls one, if it names any operation."""
    attributes = span["attributes"]
    is_call = span["kind"] in CLIENT or (span["scope"], span["name"]) == LITELLM_SPAN
    operation = attributes.get(OPERATION)
    has_model = bool(attributes.get(REQUESTED) or attributes.get(SERVED))
    return is_call and has_model and (operation in (None, "") or operation in OPERATIONS)


def _endpoint(attributes: Mapping[str, Any]) -> str | None:
    """The endpoint; both kinds of chat are `chat`: the id of the response, or `openai.api.type`, says which."""
    if str(attributes.get(RESPONSE_ID)).startswith("resp_"):
        return "responses"
    by_operation = OPERATIONS.get(str(attributes.get(OPERATION)))
    return API_TYPES.get(str(attributes.get(API_TYPE)), by_operation)


def _first(attributes: Mapping[str, Any]) -> Callable[[Sequence[str]], Any]:
    """Looks up the first of some names under which anything stands."""
    return lambda names: next((value for name in names if (value := attributes.get(name)) not in (None, "")), None)


def _request_id(span: Span) -> str | None:
    """The platform's id of the response, which LiteLLM replaces by the caller's id of the call where there is none."""
    stated = span["attributes"].get(RESPONSE_ID)
    if isinstance(stated, str) and stated and stated != span["attributes"].get(LITELLM_CALL):
        return fitting(stated)
    return fitting(f"{span['trace']}-{span['span']}") if span["trace"] and span["span"] else None


def _time(nanoseconds: Any) -> Any:
    """Nanoseconds since 1970, as a number or as text, as the moment they stand for; anything else as it is."""
    if isinstance(nanoseconds, bool) or not isinstance(nanoseconds, int | str):
        return nanoseconds
    try:
        since = timedelta(microseconds=int(nanoseconds) // 1000)
        return moment.text(datetime(1970, 1, 1, tzinfo=UTC) + since)
    except (ValueError, OverflowError):
        return nanoseconds


def _model(span: Span, attributes: Mapping[str, Any]) -> Any:
    """The model; None where it is not said whose it is, since another provider's is not the platform's."""
    provider, stated = _first(attributes)(PROVIDER), attributes.get(REQUESTED)
    if provider is None and span["scope"] == LITELLM_SPAN[0]:  # it leaves the provider of some calls out
        before, slash, rest = str(attributes.get(LITELLM_MODEL) or "").partition("/")
        provider, stated = (before, rest) if slash else (PLATFORM[0], stated)
    if not isinstance(provider, str):
        return None
    return model_of(provider.lower(), stated, attributes.get(SERVED)) or stated


def _usage(first: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
    """Counts that are whole numbers are ours; others stay what they are, to be refused by name."""
    counts = {"input_tokens": first(INPUT), "output_tokens": first(OUTPUT)}
    usage: dict[str, Any] = {name: 0 if count is None else count for name, count in counts.items()}
    both = [usage["input_tokens"], usage["output_tokens"]]
    usage["total_tokens"] = sum(both) if all(type(each) is int for each in both) else 0
    usage["input_tokens_details"] = {"cached_tokens": first(CACHED), "cache_write_tokens": first(WRITTEN)}
    usage["output_tokens_details"] = {"reasoning_tokens": first(REASONING)}
    return usage


def _other_figures(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of usage that nothing here reads, by their own names: what changes the price is then refused by name."""
    unread = ((name, value) for name, value in attributes.items() if name.startswith(USAGE) and name not in READ)
    return {name: value for name, value in unread if type(value) is int}


# --- protobuf and JSON, into the same ------------------------------------------------------------------------------


def _of_protobuf(body: bytes, organization: str | None) -> list[Span]:
    """Imported here: it takes a tenth of a second, which only such a request should cost."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise Refused(400, "invalid_body", f"the body is no ExportTraceServiceRequest: {error}") from None
    return _few(_of_message(request, organization))


def _of_message(request: Any, organization: str | None) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = _attributes((each.key, _in_message(each.value)) for each in of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                attributes = _attributes((each.key, _in_message(each.value)) for each in span.attributes)
                yield {
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "scope": of_scope.scope.name[:MAX_TEXT],
                    "name": span.name[:MAX_TEXT],
                    "kind": span.kind,
                    "start": str(span.start_time_unix_nano),
                    "organization": organization,
                    "resource": resource,
                    "attributes": attributes,
                }


def _in_message(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value", "bool_value") else None


def _of_json(request: Mapping[str, Any], organization: str | None) -> Iterator[Span]:
    for of_resource in _objects(request.get("resourceSpans")):
        resource = _attributes(_pairs(_object(of_resource.get("resource")).get("attributes")))
        for of_scope in _objects(of_resource.get("scopeSpans")):
            scope = _text(_object(of_scope.get("scope")).get("name"))
            for span in _objects(of_scope.get("spans")):
                yield {
                    "trace": _text(span.get("traceId")).lower(),
                    "span": _text(span.get("spanId")).lower(),
                    "scope": scope,
                    "name": _text(span.get("name")),
                    "kind": span.get("kind") if isinstance(span.get("kind"), int | str) else None,
                    "start": span.get("startTimeUnixNano"),
                    "organization": organization,
                    "resource": resource,
                    "attributes": _attributes(_pairs(span.get("attributes"))),
                }


def _pairs(attributes: Any) -> Iterator[tuple[str, Any]]:
    for each in _objects(attributes):
        key, value = each.get("key"), _object(each.get("value"))
        if isinstance(key, str):
            yield key, _in_json(value)


def _in_json(value: Mapping[str, Any]) -> Any:
    """An AnyValue; whole numbers of 64 bits are texts of digits there."""
    if "intValue" in value:
        stated = value["intValue"]
        return int(stated) if isinstance(stated, str) and re.fullmatch(r"-?\d{1,19}", stated) else stated
    return next((value[kind] for kind in ("stringValue", "doubleValue", "boolValue") if kind in value), None)


def _attributes(pairs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Those that are read, or may be one day; texts cut. A double that is whole is no count all the same."""
    return {
        name: value[:MAX_TEXT] if isinstance(value, str) else value
        for name, value in pairs
        if isinstance(value, str | int | float) and value != "" and (name in READ or _is_kept(name, value))
    }


def _is_kept(name: str, value: Any) -> bool:
    return len(name) <= MAX_TEXT and not isinstance(value, str) and bool(ALSO_KEPT.fullmatch(name))


def _few(spans: Iterator[Span]) -> list[Span]:
    """The spans. Raises Refused for more than MAX_SPANS, before the rest of them is reduced."""
    found: list[Span] = []
    for span in spans:
        if len(found) == MAX_SPANS:
            raise Refused(413, "too_many_spans", f"the body holds over {MAX_SPANS} spans; send fewer at once")
        found.append(span)
    return found


def _objects(listed: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (listed if isinstance(listed, list) else ()) if isinstance(each, Mapping))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""
