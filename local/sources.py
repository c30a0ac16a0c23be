"""Reads events from files: a CloudEvent, an array, JSON lines, or a Lambda envelope around them."""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gratis import litellm
from gratis.account import Account
from gratis.config import configured_offer
from gratis.offer import Offer
from gratis.strict_json import parse_json

MOST_PROBLEMS = 20
"""That a message names one by one."""


class Unusable(Exception):
    """Input that no event can be read from; the message names the file and what is wrong."""


def read_events(files: list[str]) -> list[Any]:
    """All events of all files, in file order; `-` is standard input."""
    return [event for file in files for event in _events_of(file)]


def read_organizations(file: Path) -> list[Account]:
    """The accounts of an organizations file. Shape: SPEC section 5."""
    accounts = _validated(_ORGANIZATIONS, file)["organizations"]
    ids = [account.id for account in accounts]
    twice = {each for each in ids if ids.count(each) > 1}
    if twice:
        raise Unusable(f"{file}: organizations: listed twice: {', '.join(sorted(twice))}")
    return accounts


def read_offer(named: str) -> Offer:
    """A shipped offer by its id, or one from a file."""
    try:
        return configured_offer(named)
    except KeyError as error:
        raise Unusable(f"{error.args[0]}; or name a file that ends in .json") from None
    except OSError as error:
        raise Unusable(f"{named}: {error.strerror}") from None
    except ValidationError as error:
        raise Unusable(f"{named}: {problems(error)}") from None


_ORGANIZATIONS = TypeAdapter(dict[str, list[Account]])


def _validated(adapter: TypeAdapter[dict[str, list[Account]]], file: Path) -> dict[str, list[Account]]:
    try:
        found = adapter.validate_json(_read(str(file)))
    except ValidationError as error:
        raise Unusable(f"{file}: {problems(error)}") from None
    if set(found) != {"organizations"}:
        raise Unusable(f"{file}: holds {sorted(found)}, not just 'organizations'")
    return found


def problems(error: ValidationError) -> str:
    """Every problem, by field and value; of very many the first."""
    lines = []
    found = error.errors(include_url=False, include_context=False)
    for problem in found[:MOST_PROBLEMS]:
        place = ".".join(str(part) for part in problem["loc"]) or "content"
        shown = repr(problem["input"])
        said = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {said} (found {shown if len(shown) < 80 else shown[:77] + '...'})")
    more = [f"and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
    return "; ".join(lines + more)


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from None


def _events_of(file: str) -> Iterator[Any]:
    content = _read(file)
    if not content.strip():
        raise Unusable(f"{file}: is empty")
    if file.endswith(".jsonl"):
        yield from _lines(file, content)
        return
    try:
        decoded = _json(content)
    except ValueError as error:
        if file == "-" and b"\n" in content.strip():
            yield from _lines(file, content)
            return
        raise Unusable(f"{file}: is no JSON: {error}") from None
    yield from _unwrapped(file, decoded)


def _lines(file: str, content: bytes) -> Iterator[Any]:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield from _unwrapped(f"{file}:{number}", _decoded(f"{file}:{number}", line))


def _unwrapped(place: str, decoded: Any) -> Iterator[Any]:
    """The events in what was decoded: Lambda's SQS and HTTP API envelopes are opened."""
    if isinstance(decoded, list):
        for each in decoded:
            yield from _unwrapped(place, each) if litellm.is_entry(each) else [each]
    elif isinstance(decoded, dict) and isinstance(decoded.get("Records"), list):
        for index, record in enumerate(decoded["Records"]):
            yield from _unwrapped(place, _decoded(f"{place}: Records.{index}.body", _body(place, record)))
    elif isinstance(decoded, dict) and set(decoded) == {"organizations"}:
        raise Unusable(f"{place}: holds organizations, not events; name it with --organizations")
    elif isinstance(decoded, dict) and "requestContext" in decoded:
        yield from _unwrapped(place, _decoded(f"{place}: body", _body(place, decoded)))
    elif litellm.is_entry(decoded):
        if not litellm.is_skipped(decoded):
            yield litellm.usage_event(decoded)
    else:
        yield decoded


def _body(place: str, envelope: Any) -> bytes:
    body = envelope.get("body") if isinstance(envelope, dict) else None
    if isinstance(envelope, dict) and "dynamodb" in envelope:
        raise Unusable(f"{place}: a record of the table's stream holds decisions, not usage events to be replayed")
    if not isinstance(body, str):
        raise Unusable(f"{place}: the Lambda envelope has no body (found {body!r})")
    try:
        return base64.b64decode(body, validate=True) if envelope.get("isBase64Encoded") else body.encode()
    except ValueError as error:
        raise Unusable(f"{place}: the body is not base64: {error}") from None


def _json(text: bytes) -> Any:
    """Any JSON value that can be handed on as JSON. Raises ValueError for no JSON, and for a number such as 1e400."""
    decoded = parse_json(text)
    json.dumps(decoded, allow_nan=False)
    return decoded


def _decoded(place: str, text: bytes) -> Any:
    try:
        return _json(text)
    except ValueError as error:
        raise Unusable(f"{place}: is no JSON: {error}") from None
