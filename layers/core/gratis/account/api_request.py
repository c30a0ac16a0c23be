"""What the account API settles before a route is called: who asks, and whether the route may be asked this way.

A call is refused for the first of these that it lacks: a valid key, a role that may call the route, a body that can be
read, parameters that the route has. So nobody makes us parse a body who may not send it.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.event_handler.openapi.compat import is_scalar_field

from gratis.account import openapi
from gratis.account.api_router import Match
from gratis.account.routes.call import no_organization
from gratis.http import Refused, body_of, headers_of
from gratis.strict_json import parse_json
from gratis.table.api_keys import Holder, Keys

JSON = "application/json"
FIXED = ("group_by",)
"""Lists of words of ours, none of which holds a comma: several in one value come apart there."""


def holder_of(event: Mapping[str, Any], keys: Keys, now: datetime) -> Holder:
    """Whose key came with a request. Raises Refused: 401; Busy."""
    scheme, _, key = headers_of(event).get("authorization", "").partition(" ")
    found = keys.find(key.strip(), now) if scheme.lower() == "bearer" and key.strip() else None
    if found is None:
        raise Refused(401, "invalid_api_key", "the Authorization header holds no valid API key")
    return found


def require_admission(holder: Holder, match: Match, event: Mapping[str, Any]) -> None:
    """That this holder may call the route, with this body and these parameters. Raises Refused."""
    _require_role(holder, match)
    if match.route.dependant.body_params:
        _require_json_object(event)
    _require_known_parameters(event, match.route)


def spelled_alike(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with one spelling for what clients spell in several: arrays (`group_by=`, `group_by[]=`), headers.

    A body's content type is JSON: none other comes as far as a route.
    """
    parameters: dict[str, list[str]] = {}
    for spelled, values in _query_of(event).items():
        name = spelled.removesuffix("[]")
        apart = [part for value in values for part in value.split(",")] if name in FIXED else values
        parameters.setdefault(name, []).extend(apart)
    return {
        **event,
        "headers": headers_of(event) | {"content-type": JSON},
        "multiValueQueryStringParameters": parameters,
        "queryStringParameters": {name: ",".join(values) for name, values in parameters.items()},
    }


def _require_role(holder: Holder, match: Match) -> None:
    """Raises Refused: 403, but 404 where the path names an organization that is not the holder's."""
    roles = openapi.roles_of(match.route)
    if not roles or holder.role in roles:
        return
    organization = match.names.get("organization")
    if organization not in (None, holder.organization):
        raise no_organization(organization)
    said = f"this takes a key with the role {' or '.join(roles)}; yours is {holder.role}"
    raise Refused(403, "insufficient_permissions", said)


def _require_json_object(event: Mapping[str, Any]) -> None:
    kind = headers_of(event).get("content-type", JSON)
    if kind.partition(";")[0].strip().lower() != JSON:
        raise Refused(415, "unsupported_media_type", f"the body must be {JSON}, not {kind!r}")
    try:
        content = parse_json(body_of(event))
    except ValueError as error:
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}", "body") from None
    if not isinstance(content, dict):  # of an array Powertools would take the first element
        raise Refused(400, "invalid_value", f"body: must be a JSON object, not {json.dumps(content)[:120]}", "body")


def _require_known_parameters(event: Mapping[str, Any], route: Route) -> None:
    """Raises Refused: 400 for a parameter that the route would ignore, and so answer as if it were not there."""
    fields = route.dependant.query_params
    known = {field.alias for field in fields}
    known |= {f"{field.alias}[]" for field in fields if not is_scalar_field(field)}
    for name in _query_of(event):
        if name not in known:
            raise Refused(400, "unknown_parameter", f"this route has no parameter {name!r}", name)


def _query_of(event: Mapping[str, Any]) -> dict[str, list[str]]:
    return parse_qs(event.get("rawQueryString", ""), keep_blank_values=True)
