"""What the account API does to a request before a route sees it: what none may ignore, one spelling of each."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from gratis.http import Refused, body_of, headers_of
from gratis.strict_json import parse_json

ARRAYS = ("group_by", "project_ids", "user_ids", "api_key_ids", "models", "line_items")
REQUEST = "/v1/organization/requests/"


def unreadable_body(event: dict[str, Any]) -> Refused | None:
    """What keeps a body from being read as JSON, before anything looks into it."""
    if event["requestContext"]["http"]["method"] not in ("POST", "PUT"):
        return None
    kind = headers_of(event).get("content-type", "application/json")
    if kind.partition(";")[0].strip().lower() != "application/json":
        return Refused(415, "unsupported_media_type", f"the body must be application/json, not {kind!r}")
    try:
        parse_json(body_of(event))
    except ValueError as error:
        return Refused(400, "invalid_json", f"the body is no JSON: {error}", "body")
    except Refused as refused:
        return refused
    return None


def unknown_parameter(event: dict[str, Any], routes: Mapping[str, Callable[..., Any]]) -> Refused | None:
    """The first query parameter that the route does not take: ignored, it would be answered as if it were not there."""
    route = next((each for path, each in routes.items() if event["rawPath"].startswith(path)), None)
    taken = signature(route).parameters if route else {}
    for name in parse_qs(event.get("rawQueryString", ""), keep_blank_values=True):
        if _name(name) not in taken:
            return Refused(400, "unknown_parameter", f"this route has no parameter {name!r}", name)
    return None


def normalized(event: dict[str, Any]) -> dict[str, Any]:
    """Both spellings of arrays (`group_by=`, `group_by[]=`) as one, and a request id's slashes as part of its name.

    A body was seen to be JSON by now, in whatever letters its content type says so.
    """
    given = parse_qs(event.get("rawQueryString", ""), keep_blank_values=True)
    parameters: dict[str, list[str]] = {}
    for name, values in given.items():
        parameters.setdefault(_name(name), []).extend(values)
    head, slash, request_id = event["rawPath"].partition(REQUEST)
    path = f"{head}{slash}{quote(unquote(request_id), safe='')}"
    return {
        **event,
        "rawPath": path,
        "headers": headers_of(event) | {"content-type": "application/json"},
        "queryStringParameters": {name: ",".join(values) for name, values in parameters.items()},
    }


def _name(parameter: str) -> str:
    """A parameter's name without the brackets that some clients write behind an array's."""
    return parameter.removesuffix("[]") if parameter.removesuffix("[]") in ARRAYS else parameter
