"""Reads events from files: a CloudEvent, an array, JSON lines, or a Lambda envelope around them."""

import base64
import json
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gratis.config import configured_offer
from gratis.errors import Rejected
from gratis.http import Refused, headers_of
from gratis.intake.sources import WEBHOOK, Source, source_at, source_of
from gratis.intake.stream import message_of
from gratis.rules.account import Account
from gratis.rules.offer import Offer
from gratis.rules.offer_file import OfferInvalid
from gratis.strict_json import parse_json
from gratis_local.lambda_events import other_kind

MAX_PROBLEMS = 20
"""That a message names one by one."""


class Unusable(Exception):
    """Input that no event can be read from; the message names the file and what is wrong."""


class Events(list[Any]):
    """Events in file order. `skipped`: how many entries of the files need no decision, by reason."""

    skipped: Counter[str]


def read_events(files: list[str]) -> Events:
    """All events of all files; `-` is standard input."""
    skipped = Counter[str]()
    events = Events(event for file in files for event in _events_of(file, skipped))
    events.skipped = skipped
    return events


def read_organizations(file: Path) -> list[Account]:
    """The accounts of an organizations file. Shape: SPEC section 5."""
    try:
        accounts = _Organizations.model_validate_json(_read(str(file))).organizations
    except ValidationError as error:
        raise Unusable(f"{file}: {problems(error)}") from None
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
    except OfferInvalid as error:
        raise Unusable(f"{named}: {error}") from None


class _Organizations(BaseModel):
    model_config = ConfigDict(extra="forbid")

    organizations: list[Account]


def problems(error: ValidationError) -> str:
    """The problems, by field and value; at most the first `MAX_PROBLEMS`."""
    every = error.errors(include_url=False, include_context=False)
    found = [each for each in every if not _follows(each, every)]
    more = [f"and {len(found) - MAX_PROBLEMS} more"] if len(found) > MAX_PROBLEMS else []
    return "; ".join([*map(_line, found[:MAX_PROBLEMS]), *more])


def _follows(problem: ErrorDetails, every: Sequence[ErrorDetails]) -> bool:
    """Whether a list is called too short only because an entry with a problem of its own was not counted."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(each["loc"][:-1][: len(place)] == place for each in every)


def _line(problem: ErrorDetails) -> str:
    if problem["type"] == "json_invalid":
        return problem["msg"]
    place = ".".join(str(part) for part in problem["loc"]) or "content"
    shown = repr(problem["input"])
    said = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {said} (found {shown if len(shown) < 80 else shown[:77] + '...'})"


def _read(file: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from None
    return content.removeprefix(BOM_UTF8)


def _events_of(file: str, skipped: Counter[str]) -> Iterator[Any]:
    content = _read(file)
    if not content.strip():
        raise Unusable(f"{file}: is empty")
    if file.endswith(".jsonl"):
        yield from _lines(file, content, skipped)
        return
    try:
        decoded = _json(content)
    except ValueError as error:
        if _begins_with_a_line(content):
            yield from _lines(file, content, skipped)
            return
        raise Unusable(f"{file}: is no JSON: {error}") from None
    yield from _unwrapped(file, decoded, skipped)


def _begins_with_a_line(content: bytes) -> bool:
    """Whether it is JSON lines, whatever the file is called: its first line is JSON alone."""
    try:
        _json(content.lstrip().partition(b"\n")[0])
    except ValueError:
        return False
    return True


def _lines(file: str, content: bytes, skipped: Counter[str]) -> Iterator[Any]:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield from _unwrapped(f"{file}:{number}", _decoded(f"{file}:{number}", line), skipped)


def _unwrapped(place: str, decoded: Any, skipped: Counter[str]) -> Iterator[Any]:
    """The events in what was decoded: Lambda's envelopes are opened, each source's entries mapped."""
    if isinstance(decoded, dict) and (kind := other_kind(decoded)):
        raise Unusable(
            f"{place}: is {kind}: no usage events come in that way; replay what an HTTP API, SQS or Kinesis hands over"
        )
    if isinstance(decoded, dict) and isinstance(decoded.get("Records"), list):
        for index, record in enumerate(decoded["Records"]):
            yield from _unwrapped(place, _record(f"{place}: Records.{index}", place, record), skipped)
    elif isinstance(decoded, dict) and set(decoded) == {"organizations"}:
        raise Unusable(f"{place}: holds organizations, not events; name it with --organizations")
    elif isinstance(decoded, dict) and "requestContext" in decoded:
        yield from _posted(place, decoded, skipped)
    else:
        for each in decoded if isinstance(decoded, list) else [decoded]:
            source, entries = source_of(each)
            yield from _mapped(source, entries, skipped)


def _record(named: str, place: str, record: Any) -> Any:
    """What a record of SQS or Kinesis holds, decoded."""
    if not isinstance(record, dict) or "kinesis" not in record:
        return _decoded(f"{named}.body", _body(place, record))
    try:
        message = message_of(record)
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(f"{named}.kinesis: is no record of Kinesis: {type(error).__name__}: {error}") from None
    return _decoded(f"{named}.kinesis.data", message.body.encode())


def _posted(place: str, envelope: dict[str, Any], skipped: Counter[str]) -> Iterator[Any]:
    """The events of a request to the webhook, as an HTTP API hands it over; its signature is not looked at."""
    path, headers = envelope.get("rawPath") or "", envelope.get("headers") or {}
    if not isinstance(path, str):
        raise Unusable(f"{place}: rawPath: is {path!r}, not a path")
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        raise Unusable(f"{place}: headers: is {headers!r}, not an object of strings")
    source = source_at(path)
    try:
        entries = source.read(_body(place, envelope), headers_of(envelope))
    except Refused as refused:
        raise Unusable(f"{place}: body: {refused}") from None
    for each in entries:
        if source is WEBHOOK:
            yield from _unwrapped(place, each, skipped)
        else:
            yield from _mapped(source, [each], skipped)


def _mapped(source: Source, entries: Iterable[Any], skipped: Counter[str]) -> Iterator[Any]:
    for entry in entries:
        if reason := source.skipped(entry):
            skipped[reason] += 1
            continue
        try:
            yield source.event(entry)
        except Rejected:
            yield entry  # the classifier refuses it too, and names the error


def _body(place: str, envelope: Any) -> bytes:
    body = envelope.get("body") if isinstance(envelope, dict) else None
    named = envelope.get("eventSource") if isinstance(envelope, dict) else None
    if isinstance(named, str) and named != "aws:sqs":
        raise Unusable(f"{place}: is an event of {named}, not of SQS: no usage events come in that way")
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
