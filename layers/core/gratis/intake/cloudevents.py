"""CloudEvents 1.0 over HTTP: structured, batched and binary mode, `data_base64`. SPEC section 5."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from gratis.errors import Rejected
from gratis.http import Refused
from gratis.strict_json import parse_json

STRUCTURED = "application/cloudevents"
HEADER = "ce-"
GZIP_MAGIC = b"\x1f\x8b"
REQUIRED = ("specversion", "type", "source", "id", "time", "subject")
"""Attributes that an event of ours has; in binary mode each is a header."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Binary(dict[str, Any]):
    """An event in binary mode: what is wrong with its attributes is named by their headers."""


def entries(body: bytes, headers: Mapping[str, str], *, binary_mode: bool = True) -> list[Any]:
    """The events of a body, decoded. Raises Refused, 400.

    `headers` have lower-case names. `binary_mode`: whether attributes may come in headers, which no signature covers.
    """
    if not is_binary(headers):
        decoded = parsed(body)
        return decoded if isinstance(decoded, list) else [decoded]
    if not binary_mode:
        message = "CloudEvents in binary mode are not accepted here, since no signature covers their headers"
        raise Refused(400, "binary_mode", message)
    attributes = {name.removeprefix(HEADER): _value(value) for name, value in headers.items() if _is_attribute(name)}
    return [Binary(attributes, data=parsed(body))]


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the event's attributes are in the headers, and the body is its data."""
    structured = headers.get("content-type", "").strip().lower().startswith(STRUCTURED)
    return not structured and any(map(_is_attribute, headers))


def event(entry: Any) -> Any:
    """The event with its data as JSON. Raises Rejected for `data_base64` that is none, or stands beside `data`."""
    if isinstance(entry, Binary):
        missing = [f"{HEADER}{name}" for name in REQUIRED if not entry.get(name)]
        if missing:
            code = "no_organization" if missing == [f"{HEADER}subject"] else "invalid_event"
            raise Rejected(code, f"the header {' and the header '.join(missing)} is missing")
    if not isinstance(entry, dict) or entry.get("data_base64") is None:
        return entry
    if entry.get("data") is not None:
        raise Rejected("invalid_event", "data_base64: stands beside data; an event has one of them")
    try:
        decoded = parse_json(base64.b64decode(entry["data_base64"], validate=True))
    except (ValueError, TypeError):
        raise Rejected("invalid_event", "data_base64: is no base64 of JSON") from None
    return {name: value for name, value in entry.items() if name != "data_base64"} | {"data": decoded}


def parsed(body: bytes) -> Any:
    """A body of JSON. Raises Refused, 400."""
    try:
        return parse_json(body)
    except ValueError as error:
        if body.startswith(GZIP_MAGIC):
            raise Refused(400, "invalid_body", "the body is gzip, but content-encoding does not say so") from None
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}") from None


def _value(written: str) -> str:
    """An attribute as its header writes it: percent-encoded, perhaps in quotes. Rule: CloudEvents' HTTP binding."""
    quoted = _QUOTED.fullmatch(written)
    return unquote(re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else written)


def _is_attribute(name: str) -> bool:
    return name.startswith(HEADER)
