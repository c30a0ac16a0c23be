"""The decision: a verdict with the figures it was taken on, its billing record, and how it is stored. Pure.

`RECORD` is the one list of a billing record's fields; the Glue table, the docs and the proof are held against it.
A field that is new in a format goes into the list with that format, and a decision's record has the fields of *its*
format, so what went out once looks the same for ever, whichever release makes it again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

from gratis import moment
from gratis.rules.figures import Figure, parsed
from gratis.rules.formats import FIRST, FORMAT
from gratis.rules.offer import EVALS
from gratis.rules.request import VOID, Kind, Request, RequestKey, Tokens, Void, void_of

Verdict = Literal["free", "billed"]
Written = int | str | None
"""A figure: a number, for dollars a decimal as text, None where it does not apply."""


class Decision(NamedTuple):
    """A verdict, its reason and the figures it was taken on; immutable. Plain JSON values.

    Most of it is the billing record of SPEC section 5; the rest lets the decision be taken again from its receipt.
    Fields of later formats stand last and have a default, so that older decisions can still be read.
    """

    organization: str
    day: str
    request_id: str
    project: str | None
    model: str
    group: str | None
    window: str | None
    verdict: Verdict
    reason: str
    input: int
    cached: int
    output: int
    quota: Written
    used_before: Written
    used_after: Written
    running_total: Written
    list_amount_usd: str | None
    amount_usd: str | None
    tier: int | None
    offer: str
    profile_version: int | None
    settings_version: int | None
    price_version: str | None
    payload_hash: str
    occurred_at: str
    received_at: str
    decided_at: str
    kind: Kind = "usage.request"
    endpoint: str = "responses"
    service_tier: str = "default"
    batch: bool = False
    hosted_tool: str | None = None
    """The tools of the request that an exclusion names, with a comma between them."""
    shared: bool = True
    thresholds: Sequence[int] = ()
    """Per cent of the quota that this decision was the first to reach: 80, 100."""
    offer_ends: str | None = None
    """The offer's last day when the decision was taken."""
    format: int = FIRST
    unit: str | None = None
    """What the group's quota counts; None without a group."""
    cache_write: int = 0
    audio: int = 0
    reserved_before: Written = 0
    """What others had reserved of the quota."""
    reservation: str | None = None
    """The reservation that this decision settled and that was kept."""
    platform_verdict: Verdict | None = None
    pool: str | None = None
    """The project whose own counter decided, "" for requests of none; None: the organization's counter did."""
    later: Mapping[str, Any] = {}
    """Fields of the record that a later format added, as they were stored."""

    @property
    def key(self) -> RequestKey:
        """What this is the one decision of: a request, or the void of one."""
        key = RequestKey(self.organization, date.fromisoformat(self.day), self.request_id)
        return void_of(key) if self.is_void else key

    @property
    def record_id(self) -> str:
        """The id of the billing record: derived, so a consumer can drop repeats."""
        return f"{self.organization}:{self.day}:{self.request_id}{VOID if self.is_void else ''}"

    @property
    def is_void(self) -> bool:
        """Whether this takes an earlier decision back."""
        return self.kind == "usage.void"

    @property
    def voids(self) -> str | None:
        """The id of the record that this takes back."""
        return self.record_id.removesuffix(VOID) if self.is_void else None

    @property
    def counts(self) -> int:
        """How many requests it adds to totals: a void counts one off."""
        return -1 if self.is_void else 1

    @property
    def tokens(self) -> dict[str, int]:
        """Token counts as a record states them; cache writes from the second format on."""
        counts = {"input": self.input, "cached_input": self.cached}
        if self.format > FIRST:
            counts["cache_write"] = self.cache_write
        return counts | {"output": self.output, "total": self.input + self.output}

    @property
    def reserved(self) -> Written:
        """`reserved_before`, where there are figures that it stands beside."""
        return None if self.used_before is None else self.reserved_before

    def figure(self, name: str) -> Figure | None:
        """A figure to reckon with: `quota`, `used_before`, ...; None where it does not apply."""
        stated: Written = getattr(self, name)
        return None if stated is None else parsed(stated)

    def record(self) -> dict[str, Any]:
        """The billing record, in the form of the decision's own format. Shape: SPEC section 5."""
        fields = _FORMS.get(self.format, RECORD)
        return {field.name: field.read(self) for field in fields} | dict(self.later)

    # Stored -----------------------------------------------------------------------------------------------------------

    def stored(self) -> tuple[str, str]:
        """Two JSON texts: the fields of the first format in their order, and by name what later formats added to it.

        What the key says is in neither. A field that holds its default is left out of the second, but not those of a
        later release: it wrote them all, so that a release that does not know them still makes the whole record.
        """
        stated = zip(_ADDED, self[_FIRST_FIELDS + 1 : -1], (usual_unit(self.group), *_USUAL), strict=True)
        added = {name: value for name, value, usual in stated if value != usual} | dict(self.later)
        from pydantic_core import to_json  # noqa: PLC0415 - who only reads decisions starts without it

        array = self[len(RequestKey._fields) : _FIRST_FIELDS]
        return to_json(array).decode(), json.dumps(added) if added else ""

    @classmethod
    def of_stored(cls, key: Sequence[str], form: int, receipt: str, added: str) -> Self:
        """What `stored` gave, with the key's organization, day and request id."""
        named: dict[str, Any] = dict(zip(cls._fields, (*key, *json.loads(receipt)), strict=False))
        more = {"unit": usual_unit(named.get("group"))} | (json.loads(added) if added else {})
        known = {name: more.pop(name) for name in _ADDED if name in more}
        return cls(**named | known, format=form, later=more)


def request_of(decision: Decision) -> Request:
    """The request, as far as it mattered to its decision; of a void with the tokens that it counts off."""
    return Request(
        kind=decision.kind,
        organization=decision.organization,
        id=decision.request_id,
        project=decision.project,
        model=decision.model,
        endpoint=decision.endpoint,
        service_tier=decision.service_tier,
        batch=decision.batch,
        tools=tuple(filter(None, (decision.hosted_tool or "").split(", "))),
        shared=decision.shared,
        tokens=Tokens(decision.input, decision.cached, decision.output, decision.cache_write, decision.audio),
        occurred_at=moment.parse(decision.occurred_at),
        received_at=moment.parse(decision.received_at),
        payload_hash=decision.payload_hash,
    )


def usual_unit(group: str | None) -> str | None:
    """What a group's quota counts unless its decision says otherwise: all that the first format knew."""
    return None if group is None else "runs" if group == EVALS else "tokens"


_FIRST_FIELDS = Decision._fields.index("format")
_ADDED = Decision._fields[_FIRST_FIELDS + 1 : -1]
_USUAL = tuple(Decision._field_defaults[name] for name in _ADDED[1:])
"""Of all but the first, `unit`, which depends on the group."""


class RecordField(NamedTuple):
    """A field of the billing record: its name, its type for Glue, the format that added it, where it comes from."""

    name: str
    glue: str
    read: Callable[[Decision], Any]
    since: int = FIRST


def _field(name: str, glue: str = "string", since: int = FIRST, of: str | None = None) -> RecordField:
    return RecordField(name, glue, attrgetter(of or name), since)


RECORD: tuple[RecordField, ...] = (
    _field("format", "int", since=2),
    _field("kind", since=2),
    _field("id", of="record_id"),
    _field("organization"),
    _field("project"),
    _field("request_id"),
    _field("model"),
    _field("group"),
    _field("window"),
    _field("verdict"),
    _field("reason"),
    _field("tokens", "struct<input:bigint,cached_input:bigint,cache_write:bigint,output:bigint,total:bigint>"),
    _field("unit", since=2),
    _field("quota"),
    _field("used_before"),
    _field("reserved_before", since=2, of="reserved"),
    _field("used_after"),
    _field("running_total"),
    _field("voids", since=2),
    _field("reservation", since=2),
    _field("platform_verdict", since=2),
    _field("list_amount_usd"),
    _field("amount_usd"),
    _field("tier", "int"),
    _field("offer"),
    _field("profile_version", "int"),
    _field("settings_version", "int"),
    _field("price_version"),
    _field("payload_hash"),
    _field("occurred_at"),
    _field("received_at"),
    _field("decided_at"),
)
"""In the order in which a record states them."""
_FORMS = {form: [field for field in RECORD if field.since <= form] for form in range(FIRST, FORMAT + 1)}


def is_repeat(request: Request | Void, decision: Decision) -> bool:
    """Whether what is decided is this very event: there is one void of a request, whoever asks for it."""
    return isinstance(request, Void) or request.payload_hash == decision.payload_hash
