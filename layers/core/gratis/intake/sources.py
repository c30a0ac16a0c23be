"""Everything that may post usage events, a row a source: who it is let in by, and how its bodies become our events.

The webhook's function, `gratis replay` and a redrive go over this list. A new source is a module and a row.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from gratis.http import MAX_BODY_BYTES, Refused, answer
from gratis.intake import cloudevents, litellm, otlp
from gratis.intake.encoding import plain
from gratis.intake.receive import Received
from gratis.intake.signature import require_bearer, require_signature

Headers = Mapping[str, str]
"""By lower-case name."""
LAMBDA_BODY_BYTES = 6 * 1024 * 1024
"""The largest body that Lambda hands over."""


def _accepted(received: Received, _: Headers) -> dict[str, Any]:
    return answer(202, received.content())


class Source(NamedTuple):
    """A kind of sender.

    `path`: after `/v1/usage-events`. `secret`: the variable that names its secret. `authenticate`: raises Refused, 401.
    `entries`: the decoded entries of an unpacked body; raises Refused. `event`: the CloudEvent of one; raises Rejected.
    `of_json`: the entries of decoded JSON that is the source's, whoever hands it over; of anything else none.
    `skipped`: the reason for which an entry is none of ours to decide, None if it is. `kept`: what quarantine keeps of
    an entry, so that a later release can map it anew. `worded`: an error message with the source's own names of fields.
    `max_body_bytes`: of a body, as it was sent and unpacked. `answer`, `refusal`: what the sender is told, in its form.
    """

    name: str
    path: str
    secret: str
    authenticate: Callable[[Sequence[str], Headers, bytes, datetime], None]
    entries: Callable[[bytes, Headers], Sequence[Any]]
    event: Callable[[Any], Any]
    of_json: Callable[[Any], Sequence[Any]] = lambda _: ()
    skipped: Callable[[Any], str | None] = lambda _: None
    kept: Callable[[Any], Any] | None = None
    worded: Callable[[str], str] = str
    max_body_bytes: int = MAX_BODY_BYTES
    answer: Callable[[Received, Headers], dict[str, Any]] = _accepted
    refusal: Callable[[Refused, Headers], dict[str, Any]] = lambda refused, _: refused.answer()

    def read(self, body: bytes, headers: Headers) -> Sequence[Any]:
        """The entries of a body as it was sent. Raises Refused."""
        return self.entries(plain(body, headers, self.max_body_bytes), headers)


def _bearer(secrets: Sequence[str], headers: Headers, _: bytes, __: datetime) -> None:
    require_bearer(secrets, headers)


def _binary_mode() -> bool:
    return os.environ.get("BINARY_MODE", "allowed") == "allowed"


def _litellm_entries(body: bytes, _: Headers) -> list[Any]:
    try:
        return litellm.entries(body)
    except ValueError as error:
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}") from None


def _litellm_event(entry: Any) -> Any:
    return litellm.usage_event(entry, os.environ.get("LITELLM_ORGANIZATION") or None)


WEBHOOK = Source(
    name="cloudevents",
    path="",
    secret="WEBHOOK_SECRET",  # noqa: S106 - the variable's name
    authenticate=require_signature,
    entries=lambda body, headers: cloudevents.entries(body, headers, binary_mode=_binary_mode()),
    event=cloudevents.event,
)
LITELLM = Source(
    name=litellm.SOURCE,
    path="/litellm",
    secret="LITELLM_SECRET",  # noqa: S106 - the variable's name
    authenticate=_bearer,
    entries=_litellm_entries,
    event=_litellm_event,
    of_json=lambda decoded: [decoded] if litellm.is_entry(decoded) else (),
    skipped=litellm.skipped,
    kept=litellm.kept,
    worded=litellm.in_their_words,
    max_body_bytes=LAMBDA_BODY_BYTES,
)
OTLP = Source(
    name=otlp.SOURCE,
    path="/otlp/v1/traces",
    secret="LITELLM_SECRET",  # noqa: S106 - the variable's name; gateways and instrumented applications share it
    authenticate=_bearer,
    entries=otlp.entries,
    event=otlp.usage_event,
    of_json=otlp.of_json,
    skipped=otlp.skipped,
    kept=otlp.kept,
    worded=otlp.in_their_words,
    answer=otlp.answer,
    refusal=otlp.refusal,
)
SOURCES = (WEBHOOK, LITELLM, OTLP)


def source_at(path: str) -> Source:
    """The source that posts to a path; the webhook where no other does."""
    return next((each for each in SOURCES if each.path and path.endswith(each.path)), WEBHOOK)


def source_of(decoded: Any) -> tuple[Source, Sequence[Any]]:
    """Whose decoded JSON this is, and the entries in it; what no other source knows for its own is an event."""
    for source in SOURCES:
        if found := source.of_json(decoded):
            return source, found
    return WEBHOOK, [decoded]


def source_named(name: str) -> Source:
    """The source of this name. Raises LookupError."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise LookupError(f"there is no source {name!r}")
