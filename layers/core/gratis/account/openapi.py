"""The account API's OpenAPI document: what Powertools cannot know of answers, errors and roles."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Route

from gratis import __version__
from gratis.account.routes import pages
from gratis.table.api_keys import Role

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.models import OpenAPI

SCHEME = "key"
"""What the document calls a bearer key."""
ERRORS = {
    400: "A parameter or the body is not valid; `param` names it",
    401: "No valid API key",
    403: "The key's role may not do this",
    404: "There is nothing of this name for this key",
    503: "Cannot be read right now; ask again",
}
BODY_ERRORS = {413: "The body is too large", 415: "The body is not application/json"}
ENVELOPE = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
DOCS_HEADERS = pages.PAGE_HEADERS | {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""Of /docs. Swagger UI comes whole in one file, its scripts and styles inline."""


def only(*roles: Role) -> list[dict[str, list[str]]]:
    """A route's `security`: only keys with one of these roles may call it. Without it all may."""
    return [{SCHEME: [role]} for role in roles]


def roles_of(route: Route) -> list[str]:
    """The roles that may call a route, as `only` put them down; none if all may."""
    return [role for required in route.security or () for role in required[SCHEME]]


def with_our_errors(document: "OpenAPI") -> "OpenAPI":
    """Powertools' document with the errors that we answer, and without its own 422, which we never do."""
    for path in (document.paths or {}).values():
        for operation in filter(None, (path.get, path.put, path.post, path.delete)):
            errors = ERRORS | (BODY_ERRORS if operation.requestBody else {})
            answers = cast("dict[Any, Any]", operation.responses)
            answers.pop(422, None)
            content = {"application/json": {"schema": ENVELOPE}}
            answers |= {code: {"description": said, "content": content} for code, said in errors.items()}
    return document


def with_events(document: "OpenAPI") -> "OpenAPI":
    """The document with the routes by which events come in: another function serves them."""
    from gratis.account import event_documents  # noqa: PLC0415 - only the document needs it

    written = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    components = written.setdefault("components", {})
    components["schemas"] = event_documents.portable(components.get("schemas", {})) | event_documents.schemas()
    components["securitySchemes"] |= event_documents.SECURITY_SCHEMES
    written["paths"] |= event_documents.paths(ENVELOPE)
    return type(document).model_validate(written)


@cache
def add_docs(app: APIGatewayHttpResolver) -> None:
    """Add the page /docs, when it is first asked for: the models of OpenAPI are a good part of a cold start."""
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer, Server  # noqa: PLC0415

    app.enable_swagger(
        path="/docs",
        middlewares=[_with_headers],
        title="Gratis",
        version=__version__,
        description="What an organization has left of its free tokens, what it used, what it pays, and why. "
        f"The [JSON Schema of a usage event](.{pages.SCHEMA_PATH}).",
        servers=[Server(url="./")],
        security_schemes={SCHEME: HTTPBearer()},
        security=[{SCHEME: []}],
    )


def _with_headers(app: APIGatewayHttpResolver, following: Callable[..., Response[Any]]) -> Response[Any]:
    answer = following(app)
    answer.headers.update(DOCS_HEADERS)
    return answer


def answers(name: str, code: int = 200, /, **fields: str) -> dict[int, Any]:
    """How the document describes a route's answer: an object of this `object` name with at least these fields."""
    properties = {field: {"type": kind} for field, kind in fields.items()}
    schema = {"type": "object", "required": ["object", *fields], "properties": {"object": {"const": name}} | properties}
    return {code: {"description": f"A {name}", "content": {"application/json": {"schema": schema}}}}


CHECK = answers("allowance.check", verdict="string", reason="string", explanation="string")
_RESERVATION = answers("reservation", verdict="string", id="string", tokens="integer")[200]
RESERVATION: dict[int, Any] = {
    200: _RESERVATION | {"description": "Repeated: the reservation that is open"},
    201: _RESERVATION | {"description": "Judged now; billed: nothing is reserved, `expires_at` is null"},
    409: {"description": "The id is reserved with another body, or was decided today"},
    429: {"description": "Too many are open in this counter; `retry-after` says when the next one expires"},
}
RESERVATIONS = answers("list", data="array")
PAGE = answers("page", data="array", has_more="boolean")
ALLOWANCE = answers("allowance", status="string", groups="array")
OFFER = answers("offer", version="string", groups="array", excludes="array", aliases="object", words="array")
SHARING = answers("data_sharing", history="array")
DECISIONS = answers("list", data="array", has_more="boolean")
DECISIONS[200]["content"]["text/csv"] = {"schema": {"type": "string"}}
KEY = answers("key", role="string", name="string")
KEYS = answers("list", data="array", has_more="boolean")
REVOKED: dict[int, Any] = {204: {"description": "The key is no longer taken", "content": {}}}
QUARANTINE = answers("list", data="array", has_more="boolean")
REDRIVEN = answers("list", data="array", has_more="boolean")
STATEMENT_KEYS: dict[int, Any] = {
    200: {"description": "One after the other", "content": {"application/x-pem-file": {"schema": {"type": "string"}}}}
}
ORGANIZATIONS = answers("list", day="string", as_of="string", data="array", has_more="boolean")
ORGANIZATION = answers("organization", id="string", history="array")
WEBHOOKS = answers("list", data="array")
DELIVERIES = answers("list", data="array", has_more="boolean")
WEBHOOK = answers("webhook", 201, id="string", url="string", types="array", status="string")
WEBHOOK_ENABLED = answers("webhook", id="string", url="string", types="array", status="string")
WEBHOOK_TEST = answers("webhook.test", 202, event_id="string")
NOTHING: dict[int, Any] = {204: {"description": "Done, whether there was one or not", "content": {}}}
DECISION: dict[int, Any] = {
    200: {
        "description": "The billing record, and a sentence that explains it",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["id", "verdict", "reason", "tokens", "explanation"],
                    "properties": {"verdict": {"enum": ["free", "billed"]}, "explanation": {"type": "string"}},
                }
            }
        },
    }
}
