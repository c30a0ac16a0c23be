"""CloudEvents 1.0 over HTTP: structured, batched and binary mode, `data_base64`, gzip. SPEC section 5."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from gratis.errors import Rejected
from gratis.http import MAX_BODY_BYTES, Refused, too_large
from gratis.strict_json import parse_json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STRUCTURED = "application/cloudevents"
GZIP = zlib.MAX_WBITS | 16
_HEADER = "ce-"


def entries(body: bytes, headers: Mapping[str, str], *, binary_mode: bool = True) -> list[Any]:
    """The events of a body, decoded. Raises Refused: 400, 413 or 415 by what is wrong with it.

    `headers` have lower-case names. `binary_mode`: whether attributes may come in headers, which no signature covers.
    """
    unpacked = plain(body, headers).removeprefix(BYTE_ORDER_MARK)
    if not is_binary(headers):
        decoded = _json(unpacked)
        return decoded if isinstance(decoded, list) else [decoded]
    if not binary_mode:
        message = "CloudEvents in binary mode are not accepted here, since no signature covers their headers"
        raise Refused(400, "binary_mode", message)
    attributes = {name.removeprefix(_HEADER): unquote(value) for name, value in headers.items() if _is_attribute(name)}
    return [attributes | {"data": _json(unpacked)}]


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the event's attributes are in the headers, and the body is its data."""
    structured = headers.get("content-type", "").strip().lower().startswith(STRUCTURED)
    return not structured and any(map(_is_attribute, headers))


def event(entry: Any) -> Any:
    """The event with its data as JSON. Raises Rejected for `data_base64` that is none, or stands beside `data`."""
    if not isinstance(entry, dict) or "data_base64" not in entry:
        return entry
    if "data" in entry:
        raise Rejected("invalid_event", "data_base64: stands beside data; an event has one of them")
    try:
        decoded = parse_json(base64.b64decode(entry["data_base64"], validate=True))
    except (ValueError, TypeError):
        raise Rejected("invalid_event", "data_base64: is no base64 of JSON") from None
    return {name: value for name, value in entry.items() if name != "data_base64"} | {"data": decoded}


def in_their_words(message: str) -> str:
    """An error message as it is: what is missing in binary mode is named by its header."""
    return message


def plain(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body without its content encoding; never more than is accepted, however small it was packed.

    Raises Refused: 413 if it is too large, 400 if it is no gzip, 415 for another encoding.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in ("gzip", "x-gzip"):
        message = f"content-encoding: {encoding!r} is not accepted; send gzip, or none"
        raise Refused(415, "unsupported_content_encoding", message, "content-encoding")
    unpacking = zlib.decompressobj(GZIP)
    try:
        unpacked = unpacking.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, "invalid_body", f"the body is not gzip, as content-encoding says: {error}") from None
    if len(unpacked) > MAX_BODY_BYTES:
        raise too_large(f"over {MAX_BODY_BYTES} bytes when unpacked", MAX_BODY_BYTES)
    if not unpacking.eof:
        raise Refused(400, "invalid_body", "the body is gzip that ends too early")
    return unpacked


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}") from None


def _is_attribute(name: str) -> bool:
    return name.startswith(_HEADER)
