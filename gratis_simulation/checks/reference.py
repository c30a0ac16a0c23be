"""SPEC section 2 told a second time, as plainly as possible and without the core's help.

The core's rules are checked against this, so nothing here calls them: it reads the offer as its file states it, the
history and the prices as data. It decides one request at a time, in the order in which they were committed.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from gratis.rules.account import Account, Profile, Settings, Sharing
from gratis.rules.pricing import table as price_table
from gratis_simulation.worlds.payload import Payload, Reserving

EVER = datetime.min.replace(tzinfo=UTC)
VARIANT = re.compile(r"(_preview)?(_\d{4}_\d{2}_\d{2})?")
SHORT: dict[str, Any] = {
    "utc_day": {"calendar": "day", "zone": "UTC"},
    "utc_week": {"calendar": "week", "zone": "UTC"},
    "rolling_24h": {"rolling_hours": 24},
}
FIRST_EXCLUSIONS = (
    {"reason": "fine_tuning_training", "endpoints": ["fine_tuning"]},
    {"reason": "fine_tuned_model", "models": ["ft:*"]},
    {"reason": "o_series_on_assistants", "models": [f"o{digit}*" for digit in range(10)], "endpoints": ["assistants"]},
)
Stated = Mapping[str, Any]
"""A part of an offer file."""


@dataclass
class Span:
    """A window: its first moment, what it holds, and the quotas whose end was announced."""

    start: datetime
    used: Any = 0
    missed: bool = False
    announced: set[Any] = field(default_factory=set)
    crossed: set[Any] = field(default_factory=set)
    """The quotas of which it was announced that 80 % are used."""


@dataclass(frozen=True)
class Room:
    """What is set aside for the request `name`. `window`: the first moment of its window, None if none was open.

    `terms`: the versions of offer, profile and settings that it was judged by.
    """

    name: str
    units: Any
    made_at: datetime
    expires_at: datetime
    window: datetime | None
    project: str | None
    terms: tuple[str, int | None, int | None]

    def is_of(self, start: datetime, end: datetime) -> bool:
        """Whether its request may come in this window; events may be five minutes ahead of the clock."""
        if self.window is not None:
            return self.window == start
        return self.made_at < end and start < self.expires_at + timedelta(minutes=5)


@dataclass(frozen=True)
class Expected:
    """What a decision must say. `announces`: thresholds; `place`: where its counter is, if one decides."""

    figures: dict[str, Any]
    announces: frozenset[int] = frozenset()
    place: "Place | None" = None


@dataclass(frozen=True)
class Place:
    """A counter, and what a request asks of it.

    `start`: of its calendar window, None for a rolling one; `length`: of a rolling window; `units`: what the request
    takes; `quota`: of how many; `closes`: whether a request that does not fit closes the window.
    """

    counter: tuple[Any, ...]
    start: datetime | None
    length: timedelta
    units: Any
    quota: Any
    closes: bool

    @property
    def shelf(self) -> tuple[Any, ...]:
        """The document that holds it: of one calendar window, or of all rolling windows."""
        return (*self.counter[:4], self.start)

    def end(self, start: datetime) -> datetime:
        """When the window that begins at `start` is over."""
        if self.start is None:
            return start + self.length
        window = dict(self.counter[3])
        after = start + {"day": timedelta(hours=30), "week": timedelta(days=7, hours=6)}.get(
            window["calendar"], timedelta(days=32)
        )
        return _begins(after, window)


@dataclass(frozen=True)
class InForce:
    """What holds at a moment: offer version, profile and settings, with the numbers of their versions."""

    version: Stated
    profile: Profile
    profile_number: int | None
    settings: Settings
    settings_number: int | None


Row = tuple[str | None, str, str, bool, str]


class Reference:
    """All counters and totals, as they must be after the decisions so far."""

    def __init__(self, offer: Stated) -> None:
        self.spans: dict[tuple[Any, ...], list[Span]] = defaultdict(list)
        self.totals: dict[tuple[str, str, str], dict[Row, list[Any]]] = defaultdict(dict)
        self.rooms: dict[tuple[Any, ...], tuple[Room, ...]] = defaultdict(tuple)
        """What is set aside, by the document that it lies in."""
        self._offer = offer

    def expected(self, payload: Payload, account: Account | None, now: datetime) -> Expected:
        """What the decision on `payload` must be by a clock that says `now`. Changes nothing."""
        terms = in_force(self._offer, account, payload.occurred_at)
        figures = _stated(self._offer, terms, payload)
        run = payload.kind == "usage.eval_run"
        group = _evals(self._offer, terms.version) if run else _group(terms.version, payload.model)
        reason = _ruled_out(self._offer, terms, payload)
        if reason or group is None:
            reason = reason or ("tier_not_included" if run else "model_not_listed")
            return Expected(figures | _billed(reason, figures, "evals" if run else None, "runs" if run else None))
        quota, unit = _quota(group, terms.profile.tier), group.get("unit", "tokens")
        units = _units(payload, unit, figures["list_amount_usd"])
        if quota is None or units is None:
            reason = "tier_not_included" if quota is None else "no_price"
            return Expected(figures | _billed(reason, figures, group["name"], unit))
        place = self._place(payload, terms.version, group, units, quota)
        return self._counted(place, payload, group, figures, now)

    def take(self, payload: Payload, expected: Expected, now: datetime) -> None:
        """Count a decision that was taken as expected, by a clock that said `now`."""
        figures, place = expected.figures, expected.place
        self._count(payload, figures, figures["group"] or "-")
        if place is None:
            return
        own, _ = self._set_aside(place, payload, now)
        self.rooms[place.shelf] = tuple(each for each in self._open(place.shelf, now) if each is not own)
        if not place.units:
            return
        span = self._find(place, payload.occurred_at)
        free = figures["verdict"] == "free"
        if span is None and (free or place.start is not None):
            span = Span(place.start or payload.occurred_at)
            self.spans[place.counter].append(span)
        if span is not None:
            span.used += place.units if free else 0
            span.missed = span.missed or not free
            span.announced |= {place.quota} if 100 in expected.announces else set()
            span.crossed |= {place.quota} if 80 in expected.announces else set()

    def room(self, wanted: Reserving, account: Account | None, now: datetime) -> tuple[Place, Room] | None:
        """What must be set aside by a clock that says `now`, and where; None if the request would be billed."""
        asked = _as_if_now(wanted, now)
        expected = self.expected(asked, account, now)
        place, figures = expected.place, expected.figures
        if place is None or figures["verdict"] == "billed":
            return None
        span = self._find(place, now)
        window = place.start or (span.start if span else None)
        terms = figures["offer"], figures["profile_version"], figures["settings_version"]
        expires_at = now + timedelta(seconds=wanted.expires_in)
        return place, Room(asked.id, place.units, now, expires_at, window, asked.project, terms)

    def set_aside(self, place: Place, room: Room, now: datetime) -> None:
        """Note room that was set aside by a clock that said `now`."""
        self.rooms[place.shelf] = (*self._open(place.shelf, now), room)

    def give_back(self, shelf: tuple[Any, ...], name: str, now: datetime) -> None:
        """Note that room was given back by a clock that said `now`."""
        self.rooms[shelf] = tuple(each for each in self._open(shelf, now) if each.name != name)

    def _open(self, shelf: tuple[Any, ...], now: datetime) -> list[Room]:
        return [each for each in self.rooms[shelf] if now < each.expires_at]

    def _set_aside(self, place: Place, payload: Payload, now: datetime) -> tuple[Room | None, Any]:
        """What is set aside for a request, and for others in its window."""
        span = self._find(place, payload.occurred_at)
        start = span.start if span else place.start or payload.occurred_at
        there = [each for each in self._open(place.shelf, now) if each.is_of(start, place.end(start))]
        name = payload.reservation or payload.id
        own = next((each for each in there if (each.name, each.project) == (name, payload.project)), None)
        return own, sum(each.units for each in there if each is not own)

    def void(self, voided: Expected, now: datetime) -> Expected:
        """What the void of a decision that was taken so must be by a clock that says `now`. Changes nothing."""
        before = voided.figures
        turned = {name: -before[name] for name in ("input", "cached", "output")}
        turned |= {name: _turned(before[name]) for name in ("list_amount_usd", "amount_usd")}
        figures = before | turned | {"kind": "usage.void", "reason": "void", "reserved_before": 0}
        if before["quota"] is None:
            return Expected(figures)
        dollars = isinstance(before["quota"], str)
        span = self._named(voided)
        used = span.used if span else 0
        after = _figure(used - _taken(before), dollars=dollars)
        held = {"used_before": _figure(used, dollars=dollars), "used_after": after, "running_total": after}
        held["reserved_before"] = _figure(self._aside(voided, span, now), dollars=dollars)
        return Expected(figures | held, frozenset(), voided.place)

    def take_back(self, payload: Payload, voided: Expected) -> None:
        """Count the void of a decision that was taken so."""
        self._count(payload, voided.figures, voided.figures["group"] or "-", times=-1)
        if voided.figures["quota"] is not None and (span := self._named(voided)):
            span.used -= _taken(voided.figures)

    def _named(self, voided: Expected) -> Span | None:
        """The window that a decision says it was taken in."""
        if voided.place is None or voided.figures["window"] is None:
            return None
        window = dict(voided.place.counter[3])
        spans = self.spans[voided.place.counter]
        return next((span for span in spans if _named(span.start, window) == voided.figures["window"]), None)

    def _aside(self, voided: Expected, span: Span | None, now: datetime) -> Any:
        """What is set aside in the window of a voided decision."""
        place = voided.place
        start = span.start if span else place.start if place else None
        if place is None or start is None or voided.figures["window"] is None:
            return 0
        return sum(each.units for each in self._open(place.shelf, now) if each.is_of(start, place.end(start)))

    def used(self, counter: tuple[Any, ...]) -> dict[datetime, Any]:
        """What each window of a counter holds, by its first moment."""
        return {span.start: span.used for span in self.spans[counter]}

    def _counted(
        self, place: Place, payload: Payload, group: Stated, figures: dict[str, Any], now: datetime
    ) -> Expected:
        """Rule 7."""
        when, (own, others) = payload.occurred_at, self._set_aside(place, payload, now)
        span, units, quota = self._find(place, when), place.units, place.quota
        used = span.used if span else 0
        closed = span is not None and span.missed and place.closes
        in_force = figures["offer"], figures["profile_version"], figures["settings_version"]
        kept = own is not None and own.terms == in_force and units <= own.units
        alone = used + units <= quota
        free = units == 0 or (not closed and used + others + units <= quota) or (kept and alone)
        opens = free and units > 0 and not span
        named = span.start if span else place.start or (when if opens else None)
        dollars = isinstance(quota, Decimal)
        counted = {
            "verdict": "free" if free else "billed",
            "reason": "within_quota" if free else "over_quota",
            "amount_usd": "0" if free else figures["list_amount_usd"],
            "group": group["name"],
            "unit": group.get("unit", "tokens"),
            "window": None if named is None else _named(named, dict(place.counter[3])),
            "quota": _figure(quota, dollars=dollars),
            "used_before": _figure(used, dollars=dollars),
            "used_after": _figure(used + units if free else used, dollars=dollars),
            "running_total": _figure(used + units, dollars=dollars),
            "reserved_before": _figure(others, dollars=dollars),
            "reservation": own.name if own and kept and free else None,
        }
        open_window = span is not None or place.start is not None or opens
        only_reserved = not free and not closed and alone
        announces = _reached(used, place, span, free=free) if open_window and not only_reserved else frozenset()
        return Expected(figures | counted, announces, place)

    def _place(self, payload: Payload, version: Stated, group: Stated, units: Any, quota: Any) -> Place:
        window = _window(group, version)
        pool = (payload.project or "") if group.get("scope") == "project" else None
        run, closes = _run(self._offer, version, group), version["overflow"] == "close"
        counter = (payload.organization, group["name"], pool, tuple(window.items()), run)
        if "rolling_hours" in window:
            return Place(counter, None, timedelta(hours=window["rolling_hours"]), units, quota, closes)
        return Place(counter, _begins(payload.occurred_at, window), timedelta(0), units, quota, closes)

    def _find(self, place: Place, when: datetime) -> Span | None:
        spans = self.spans[place.counter]
        if place.start is not None:
            return next((span for span in spans if span.start == place.start), None)
        within = [span for span in spans if span.start <= when < span.start + place.length]
        after = [span for span in spans if when < span.start < when + place.length]
        return min(within or after, key=lambda span: span.start, default=None)

    def _count(self, payload: Payload, figures: dict[str, Any], group: str, times: int = 1) -> None:
        rows = self.totals[payload.organization, group, payload.day.isoformat()]
        key: Row = (payload.project, payload.model, payload.service_tier, payload.batch, figures["verdict"])
        row = rows.setdefault(key, [0, 0, 0, 0, Decimal(0), Decimal(0), 0])
        listed = figures["list_amount_usd"]
        added: list[Any] = [1, payload.input, payload.cached, payload.output, Decimal(listed or 0)]
        added += [Decimal(listed or 0) if figures["verdict"] == "billed" else Decimal(0), int(listed is None)]
        rows[key] = [before + times * more for before, more in zip(row, added, strict=True)]


def in_force(offer: Stated, account: Account | None, when: datetime) -> InForce:
    """What holds at a moment: the latest versions that took effect by then."""
    profile = _latest(account.profile if account else (), when)
    settings = _latest(account.sharing if account else (), when)
    begun = [version for version in offer["versions"] if _day(version["effective_at"]) <= when.date()]
    return InForce(
        version=begun[-1] if begun else offer["versions"][0],
        profile=profile[1] if profile else Profile(effective_at=EVER),
        profile_number=profile[0] if profile else None,
        settings=settings[1] if settings else Settings(effective_at=EVER),
        settings_number=settings[0] if settings else None,
    )


def _latest(versions: Sequence[Any], when: datetime) -> tuple[int, Any] | None:
    effective = [
        (each.effective_at, number, each) for number, each in enumerate(versions, 1) if each.effective_at <= when
    ]
    if not effective:
        return None
    _, number, version = max(effective, key=lambda each: each[:2])
    return number, version


def _day(text: str) -> date:
    return date.fromisoformat(text)


# Groups -------------------------------------------------------------------------------------------------------------


def _group(version: Stated, model: str) -> Stated | None:
    """By the exact id, else through the alias, else by the first pattern."""
    alias = version.get("aliases", {}).get(model)
    for wanted in (model, alias):
        for group in version["groups"]:
            if wanted in group["models"]:
                return group  # type: ignore[no-any-return]
    for wanted in (alias, model):
        for group in version["groups"]:
            if wanted and any("*" in each and _fits(wanted, each) for each in group["models"]):
                return group  # type: ignore[no-any-return]
    return None


def _evals(offer: Stated, version: Stated) -> Stated | None:
    first = version.get("evals")
    group = offer.get("evals") or (first and {"quotas": {"*": first["quota"]}})
    return {"name": "evals", "unit": "runs", "window": "utc_week"} | group if group else None


def _quota(group: Stated, tier: int | None) -> Any:
    quotas = {str(each): quota for each, quota in group["quotas"].items()}
    quota = quotas.get(str(tier), quotas.get("*"))
    return Decimal(quota) if quota is not None and group.get("unit") == "usd" else quota


def _units(payload: Payload, unit: str, list_amount: str | None) -> Any:
    match unit:
        case "tokens":
            return payload.input + payload.output
        case "uncached_tokens":
            return payload.input - payload.cached + payload.output
        case "usd":
            return None if list_amount is None else Decimal(list_amount)
        case _:
            return 1


def _window(group: Stated, version: Stated) -> Stated:
    window = group.get("window") or version["window"]
    return SHORT[window] if isinstance(window, str) else window  # type: ignore[no-any-return]


def _run(offer: Stated, version: Stated, group: Stated) -> str:
    """The day since which a group has counted in the same kind of window: rolling windows from before it are over."""
    same = ("name", "unit", "scope")
    since = version["effective_at"]
    for other in reversed([each for each in offer["versions"] if each["effective_at"] < since]):
        theirs = [each for each in other["groups"] if [each.get(name) for name in same] == [group.get(n) for n in same]]
        if group["name"] != "evals" and not any(_window(each, other) == _window(group, version) for each in theirs):
            break
        since = other["effective_at"]
    return str(since)


def _begins(when: datetime, window: Stated) -> datetime:
    """The first moment of a calendar window."""
    zone = ZoneInfo(window["zone"])
    day = when.astimezone(zone).date()
    if window["calendar"] == "week":
        day -= timedelta(days=day.weekday())
    if window["calendar"] == "month":
        day = day.replace(day=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _named(start: datetime, window: Stated) -> str:
    return _text(start) if "rolling_hours" in window else start.astimezone(ZoneInfo(window["zone"])).date().isoformat()


def _figure(figure: Any, *, dollars: bool) -> Any:
    if not dollars:
        return figure
    text = f"{Decimal(figure):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _taken(figures: Stated) -> Any:
    """What a decision took of its counter."""
    before, after = figures["used_before"], figures["used_after"]
    return Decimal(after) - Decimal(before) if isinstance(after, str) else after - before


def _turned(amount: str | None) -> str | None:
    """An amount with its sign turned; of nothing there is none."""
    return amount if amount in (None, "0") else f"-{amount}"


def _reached(used: Any, place: Place, span: Span | None, *, free: bool) -> frozenset[int]:
    units, quota = place.units, place.quota
    known, crossed = (span.announced, span.crossed) if span else (set(), set())
    crosses = free and units > 0 and used * 10 < quota * 8 <= (used + units) * 10 and quota not in crossed
    ended = units > 0 and (used + units == quota if free else units <= quota)
    return frozenset(({80} if crosses else set()) | ({100} if ended and quota not in known else set()))


# Rules 1 to 4 -------------------------------------------------------------------------------------------------------


def _ruled_out(offer: Stated, terms: InForce, payload: Payload) -> str | None:
    """The first of the rules before the group's own choice that bills the request."""
    run = payload.kind == "usage.eval_run"
    asked = _not_for_runs(offer, terms, payload) if run else _not_for_tokens(offer, terms, payload)
    return next((reason for reason, applies in asked if applies), None)


def _not_for_tokens(offer: Stated, terms: InForce, payload: Payload) -> list[tuple[str, bool]]:
    profile, traffic = terms.profile, terms.settings.traffic
    poor = "positive_balance" in terms.version.get("requires", ()) and not profile.positive_balance
    return [
        *_outside(offer["starts"], offer.get("ends"), payload),
        ("not_eligible", not profile.eligible),
        ("zero_data_retention", profile.zero_data_retention),
        ("enterprise_excluded", profile.plan == "enterprise_excluded"),
        ("no_balance", poor),
        ("sharing_disabled", traffic.mode == "disabled"),
        ("project_not_shared", not _covers(traffic, payload.project)),
        *((each["reason"], _excludes(each, terms.version, payload)) for each in _exclusions(terms.version)),
    ]


def _not_for_runs(offer: Stated, terms: InForce, payload: Payload) -> list[tuple[str, bool]]:
    evals, own = terms.settings.evals, offer.get("evals")
    dates = (own.get("starts") or offer["starts"], own.get("ends")) if own else (offer["starts"], offer.get("ends"))
    return [
        *_outside(*dates, payload),
        ("zero_data_retention", terms.profile.zero_data_retention),
        ("eval_sharing_disabled", evals.mode == "disabled"),
        ("project_not_shared", not _covers(evals, payload.project)),
        ("eval_not_shared", not payload.shared),
    ]


def _outside(starts: str, ends: str | None, payload: Payload) -> list[tuple[str, bool]]:
    return [
        ("offer_not_started", payload.day < _day(starts)),
        ("offer_ended", ends is not None and payload.day > _day(ends)),
    ]


def _covers(sharing: Sharing, project: str | None) -> bool:
    return sharing.mode == "enabled" or (project is not None and project in (sharing.projects or ()))


def _exclusions(version: Stated) -> Sequence[Stated]:
    if version.get("excludes") is not None:
        return version["excludes"]  # type: ignore[no-any-return]
    return (*FIRST_EXCLUSIONS, {"reason": "tool_use", "hosted_tools": version["hosted_tools"]})


def _excludes(exclusion: Stated, version: Stated, payload: Payload) -> bool:
    """All conditions that it states hold."""
    names = {payload.model, version.get("aliases", {}).get(payload.model, payload.model)}
    told = {
        "models": lambda each: any(_fits(name, each) for name in names),
        "endpoints": lambda each: _same(payload.endpoint, each),
        "service_tiers": lambda each: _same(payload.service_tier, each),
        "hosted_tools": lambda each: any(_hosts(each, tool) for tool in payload.tools),
    }
    if "batch" in exclusion and exclusion["batch"] != payload.batch:
        return False
    return all(any(map(test, exclusion[what])) for what, test in told.items() if what in exclusion)


def _fits(name: str, pattern: str) -> bool:
    """Whether a name has the parts of a pattern in order, the first at its beginning and the last at its end."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(first) or not name.endswith(rest[-1]) or len(name) < len(first) + len(rest[-1]):
        return False
    middle = name[len(first) : len(name) - len(rest[-1])]
    for part in rest[:-1]:
        if part not in middle:
            return False
        middle = middle.partition(part)[2]
    return True


def _same(one: str, other: str) -> bool:
    return one.lower().replace("-", "_") == other.lower().replace("-", "_")


def _hosts(name: str, tool: str) -> bool:
    plain = tool.lower().replace("-", "_")
    return plain.startswith(name) and VARIANT.fullmatch(plain.removeprefix(name)) is not None


# Room ---------------------------------------------------------------------------------------------------------------


def _as_if_now(wanted: Reserving, now: datetime) -> Payload:
    """The request as if it came now. If only a total is stated, no token is cached and all are of the dearer kind."""
    asked = wanted.asked._replace(occurred_at=now)
    if wanted.exact:
        return asked
    total = asked.input + asked.output
    kinds = [asked._replace(input=total, cached=0, output=0), asked._replace(input=0, cached=0, output=total)]
    return max(kinds, key=lambda each: Decimal(_priced(each)[1] or 0))


# What is stated whatever the verdict --------------------------------------------------------------------------------


def _stated(offer: Stated, terms: InForce, payload: Payload) -> dict[str, Any]:
    priced = _priced(payload)
    return {
        "organization": payload.organization,
        "day": payload.day.isoformat(),
        "request_id": payload.id,
        "kind": payload.kind,
        "project": payload.project,
        "model": payload.model,
        "endpoint": payload.endpoint,
        "service_tier": payload.service_tier,
        "batch": payload.batch,
        "shared": payload.shared,
        "input": payload.input,
        "cached": payload.cached,
        "output": payload.output,
        "tier": terms.profile.tier,
        "offer": f"{offer['id']}@{terms.version['effective_at']}",
        "profile_version": terms.profile_number,
        "settings_version": terms.settings_number,
        "occurred_at": _text(payload.occurred_at),
        "price_version": priced[0],
        "list_amount_usd": priced[1],
    }


def _billed(reason: str, figures: dict[str, Any], group: str | None, unit: str | None) -> dict[str, Any]:
    unknown = dict.fromkeys(("window", "quota", "used_before", "used_after", "running_total", "reservation"))
    amount = figures["list_amount_usd"]
    return {"verdict": "billed", "reason": reason, "amount_usd": amount, "group": group, "unit": unit, **unknown} | {
        "reserved_before": 0
    }


def _priced(payload: Payload) -> tuple[str | None, str | None]:
    """The version of the price, and the list amount in USD."""
    model = price_table().ids.get(payload.model)
    if payload.endpoint == "fine_tuning":
        return None, None
    if model is None:
        return _priced_by_prefix(payload)
    dated = [row for row in model.rows if row.effective_at and row.effective_at <= payload.day.isoformat()]
    row = dated[-1] if dated else model.rows[0]
    own_date = re.search(r"\d{4}-\d{2}-\d{2}$", payload.model)
    half = (payload.batch and model.batch) or (payload.service_tier == "flex" and model.flex)
    version = row.effective_at or (own_date.group() if own_date else "initial")
    return _at_rates(payload, row, version, half=half)


def _priced_by_prefix(payload: Payload) -> tuple[str | None, str | None]:
    """Fine-tuned models are priced by how their names begin."""
    for prefix, model in price_table().prefixes.items():
        if payload.model.startswith(prefix):
            half = payload.batch and model.batch
            return _at_rates(payload, model.rows[0], "initial", half=half)
    return None, None


def _at_rates(payload: Payload, row: Any, version: str, *, half: bool) -> tuple[str | None, str | None]:
    """The row's normal rates; a tier that costs more has rates of its own there, or no price."""
    rates = row.tiers.get("priority") if payload.service_tier == "priority" else row
    return (version, _amount(payload, rates.rates, half=half)) if rates else (None, None)


def _amount(payload: Payload, rates: Any, *, half: bool) -> str:
    cached = rates.input if rates.cached is None else rates.cached
    dollars = (payload.input - payload.cached) * rates.input + payload.cached * cached
    dollars += payload.output * (rates.output or 0)
    exact = dollars / (2_000_000 if half else 1_000_000)
    text = f"{exact:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _text(moment: datetime) -> str:
    """RFC 3339 in UTC with as many decimals as there are: none, three or six."""
    seconds = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if not moment.microsecond:
        return f"{seconds}Z"
    digits = f"{moment.microsecond:06}"
    return f"{seconds}.{digits if moment.microsecond % 1000 else digits[:3]}Z"
