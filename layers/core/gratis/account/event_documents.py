"""How events come in, for the page /docs: the event's JSON Schema, and the routes of receive_usage. SPEC section 5.

Imported when somebody asks: no other route of the account needs the models of events.
"""

from typing import Any

from gratis.intake.event_models import UsageEvent
from gratis.intake.sources import LITELLM, OTLP, WEBHOOK, Source

EVENTS_PATH = "/v1/usage-events"
SIGNATURE, BEARER = "signature", "sender"
"""What the document calls the two ways in which senders are let in."""
SECURITY_SCHEMES = {
    SIGNATURE: {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks: `v1,` and the HMAC-SHA256 of `webhook-id`.`webhook-timestamp`.body in "
        "base64, with the webhook's secret; the other two are headers, too",
    },
    BEARER: {"type": "http", "scheme": "bearer", "description": "The secret that LiteLLM and OpenTelemetry share"},
}
ERRORS = {
    400: "The body cannot be read: no JSON, or not packed as it says",
    401: "No valid signature or secret",
    413: "The body is too large, or holds too many events",
    415: "A content type or encoding that is not accepted",
    503: "Nothing is promised to be stored; send the same again",
}
RECEIVED: dict[str, Any] = {
    "type": "object",
    "required": ["accepted", "skipped", "quarantined"],
    "properties": {
        "accepted": {"type": "integer", "minimum": 0},
        "skipped": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "By reason"},
        "quarantined": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "id", "error"],
                "properties": {
                    "index": {"type": "integer", "description": "The place in the body, from 0"},
                    "id": {},
                    "error": {
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        },
    },
}
PARTIAL_SUCCESS = {
    "type": "object",
    "properties": {
        "partialSuccess": {
            "type": "object",
            "properties": {"rejectedSpans": {"type": "string"}, "errorMessage": {"type": "string"}},
        }
    },
}
"""OTLP's ExportTraceServiceResponse."""
RPC_STATUS = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
PROTOBUF = {"type": "string", "format": "binary"}
EXAMPLE = {
    "specversion": "1.0",
    "type": "usage.request",
    "source": "https://gateway.example",
    "id": "req_001",
    "time": "2025-03-11T09:15:00Z",
    "subject": "org_demo",
    "data": {
        "project": "proj_web",
        "model": "gpt-4o-2024-08-06",
        "usage": {"input_tokens": 90000, "output_tokens": 30000, "total_tokens": 120000},
    },
}


def event_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one CloudEvent in structured mode.

    The webhook takes more than it describes: null for a field that may be left out. It cannot describe sums,
    nor which characters are printable.
    """
    described: dict[str, Any] = portable(UsageEvent.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described, "examples": [EXAMPLE]}


def portable(schema: Any) -> Any:
    """The schema without patterns that use classes of Unicode (`\\p{C}`): many validators cannot compile them."""
    if isinstance(schema, list):
        return [portable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: portable(value)
        for name, value in schema.items()
        if not (name == "pattern" and isinstance(value, str) and r"\p{" in value)
    }


def schemas() -> dict[str, Any]:
    """The same for an OpenAPI document's components, each model by its name."""
    described = UsageEvent.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**described.pop("$defs"), UsageEvent.__name__: described}


def paths(errors: dict[str, Any]) -> dict[str, Any]:
    """The routes of receive_usage for an OpenAPI document. `errors`: the schema of an error."""
    event = {"$ref": f"#/components/schemas/{UsageEvent.__name__}"}
    data = {"$ref": "#/components/schemas/UsageData"}
    events = {"type": "array", "items": event}
    example = {"example": EXAMPLE}
    entry = {"type": "object", "description": "A StandardLoggingPayload of LiteLLM"}
    webhook = {
        "application/cloudevents+json": {"schema": event, **example},
        "application/cloudevents-batch+json": {"schema": events},
        "application/json": {"schema": {"anyOf": [event, events, data]}, **example},
    }
    litellm = {"application/json": {"schema": {"anyOf": [entry, {"type": "array", "items": entry}]}}}
    otlp = {
        "application/x-protobuf": {"schema": PROTOBUF},
        "application/json": {"schema": {"type": "object", "required": ["resourceSpans"]}},
    }
    took = {202: ("All is stored; what cannot be decided is in quarantine, by name", _json(RECEIVED))}
    exported = {200: ("All is stored; rejected spans are in quarantine", _json(PARTIAL_SUCCESS, packed=True))}
    told, told_otlp = _json(errors), _json(RPC_STATUS, packed=True)
    return {
        **_route(WEBHOOK, "Usage events as CloudEvents, signed", SIGNATURE, webhook, took, told),
        **_route(LITELLM, "What LiteLLM's generic API logger posts", BEARER, litellm, took, told),
        **_route(OTLP, "Spans of OpenTelemetry (OTLP over HTTP)", BEARER, otlp, exported, told_otlp),
    }


def _json(schema: dict[str, Any], *, packed: bool = False) -> dict[str, Any]:
    """An answer's content; `packed`: protobuf goes out where protobuf came in."""
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    return content | {"application/x-protobuf": {"schema": PROTOBUF}} if packed else content


def _route(  # noqa: PLR0917 - a route's parts
    source: Source,
    summary: str,
    scheme: str,
    body: dict[str, Any],
    answer: dict[int, tuple[str, dict[str, Any]]],
    told: dict[str, Any],
) -> dict[str, Any]:
    refusals = {code: (said, told) for code, said in ERRORS.items()}
    operation = {
        "summary": summary,
        "operationId": f"receive_{source.name}",
        "tags": ["Events in"],
        "security": [{scheme: []}],
        "requestBody": {"required": True, "content": body},
        "responses": {
            code: {"description": said, "content": content} for code, (said, content) in (answer | refusals).items()
        },
    }
    return {f"{EVENTS_PATH}{source.path}": {"post": operation}}
