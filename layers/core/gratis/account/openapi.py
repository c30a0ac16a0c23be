"""The account API's OpenAPI document: what Powertools cannot know of our answers and errors."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.openapi.models import OpenAPI

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


class Api(APIGatewayHttpResolver):
    """Powertools' resolver; its document promises our errors in place of the 422 that we never answer."""

    def get_openapi_schema(self, **described: Any) -> "OpenAPI":
        """The OpenAPI document."""
        document = super().get_openapi_schema(**described)
        for path in (document.paths or {}).values():
            for operation in filter(None, (path.get, path.post, path.put)):
                errors = ERRORS | (BODY_ERRORS if operation.requestBody else {})
                answers = cast("dict[Any, Any]", operation.responses)
                answers.pop(422, None)
                content = {"application/json": {"schema": ENVELOPE}}
                answers |= {code: {"description": said, "content": content} for code, said in errors.items()}
        return document


@cache
def document(api: Api, middleware: Callable[..., Any]) -> None:
    """Add the page /docs, when it is first asked for: the models of OpenAPI are a good part of a cold start."""
    from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer, Server  # noqa: PLC0415

    api.enable_swagger(
        path="/docs",
        middlewares=[middleware],
        title="Gratis",
        version="1.0.0",
        description="What an organization has left of its free tokens, what it used, what it pays, and why.",
        servers=[Server(url="./")],
        security_schemes={"key": HTTPBearer()},
        security=[{"key": []}],
    )


def answers(name: str, **fields: str) -> dict[int, Any]:
    """How the document describes a route's answer: an object of this `object` name with at least these fields."""
    properties = {field: {"type": kind} for field, kind in fields.items()}
    schema = {"type": "object", "required": ["object", *fields], "properties": {"object": {"const": name}} | properties}
    return {200: {"description": f"A {name}", "content": {"application/json": {"schema": schema}}}}


PAGE = answers("page", data="array", has_more="boolean")
ALLOWANCE = answers("allowance", status="string", groups="array")
SHARING = answers("data_sharing", history="array")
DECISIONS = answers("list", data="array")
ORGANIZATION = answers("organization", id="string", history="array")
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
