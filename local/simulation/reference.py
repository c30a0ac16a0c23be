"""SPEC section 2 told a second time, as plainly as possible and without the core's help.

The core's rules are checked against this, so nothing here calls them: it reads the offer, the history and the prices
as data. It decides one request at a time, in the order in which they were committed.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gratis.account import Account, Profile, Settings, Sharing
from gratis.offer import Group, Offer, Version
from gratis.pricing import table as price_table
from local.simulation.payload import Payload

DAY = timedelta(hours=24)
EVER = datetime.min.replace(tzinfo=UTC)
VARIANT = re.compile(r"(_preview)?(_\d{4}_\d{2}_\d{2})?")


@dataclass
class Span:
    """A window: its first moment, what it holds, and which thresholds were announced."""

    start: datetime
    used: int = 0
    missed: bool = False
    announced: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Expected:
    """What a decision must say. `announces`: thresholds that it has to; `may_announce`: that it may, once more."""

    figures: dict[str, Any]
    announces: frozenset[int] = frozenset()
    may_announce: frozenset[int] = frozenset()


@dataclass(frozen=True)
class InForce:
    """What holds at a moment: offer version, profile and settings, with the numbers of their versions."""

    version: Version
    profile: Profile
    profile_number: int | None
    settings: Settings
    settings_number: int | None


Row = tuple[str | None, str, str, bool, str]


class Reference:
    """All counters and totals, as they must be after the decisions so far."""

    def __init__(self, offer: Offer, most_rows: int) -> None:
        self.spans: dict[tuple[str, str, str], list[Span]] = defaultdict(list)
        self.totals: dict[tuple[str, str, str], dict[Row, list[Any]]] = defaultdict(dict)
        self._offer = offer
        self._most_rows = most_rows

    def expected(self, payload: Payload, account: Account | None) -> Expected:
        """What the decision on `payload` must be now. Changes nothing."""
        terms = in_force(self._offer, account, payload.occurred_at)
        group = _group(terms.version, payload.model)
        reason = _ruled_out(self._offer, terms, payload, group)
        figures = _stated(self._offer, terms, payload)
        if reason:
            named = "evals" if payload.kind == "usage.eval_run" else None
            return Expected(figures | _billed(reason, figures, named))
        if payload.kind == "usage.eval_run":
            return self._counted(payload, terms, figures, "evals", terms.version.evals.quota)
        if group is None:
            raise AssertionError("rule 5 lets nothing pass that no group lists")
        return self._counted(payload, terms, figures, group.name, group.quotas[terms.profile.tier or 0])

    def take(self, payload: Payload, expected: Expected, announced: Sequence[int]) -> None:
        """Count a decision that was taken as expected."""
        figures = expected.figures
        group = figures["group"] or "-"
        self._count(payload, figures, group)
        if figures["reason"] not in ("within_quota", "over_quota") or not payload.units:
            return
        where, start = self._place(payload, group)
        span = self._find(where, payload.occurred_at, start)
        free = figures["verdict"] == "free"
        if span is None and (free or start is not None):
            span = Span(start or payload.occurred_at)
            self.spans[where].append(span)
        if span is not None:
            span.used += payload.units if free else 0
            span.missed = span.missed or not free
            span.announced.update(announced)

    def _counted(self, payload: Payload, terms: InForce, figures: dict[str, Any], group: str, quota: int) -> Expected:
        """Rule 7."""
        where, start = self._place(payload, group)
        span = self._find(where, payload.occurred_at, start)
        used, units = span.used if span else 0, payload.units
        closed = span is not None and span.missed and terms.version.overflow == "close"
        free = units == 0 or (not closed and used + units <= quota)
        opens = free and units > 0 and not span
        named = span.start if span else start or (payload.occurred_at if opens else None)
        counted = {
            "verdict": "free" if free else "billed",
            "reason": "within_quota" if free else "over_quota",
            "amount_usd": "0" if free else figures["list_amount_usd"],
            "group": group,
            "window": None if named is None else _text(named) if start is None else named.date().isoformat(),
            "quota": quota,
            "used_before": used,
            "used_after": used + units if free else used,
            "running_total": used + units,
        }
        reached = _reached(used, units, quota, free=free, open_window=span is not None or start is not None)
        known = span.announced if span else set()
        if not free and span is not None and span.missed:
            reached = set()
        return Expected(figures | counted, frozenset(reached - known), frozenset(reached & known))

    def _place(self, payload: Payload, group: str) -> tuple[tuple[str, str, str], datetime | None]:
        """Where the windows of a counter are kept, and when a calendar window begins; a rolling one begins anywhere."""
        midnight = payload.occurred_at.replace(hour=0, minute=0, second=0, microsecond=0)
        if group == "evals":
            return (payload.organization, group, "week"), midnight - timedelta(days=payload.occurred_at.weekday())
        if group != "-" and _version(self._offer, payload.occurred_at).window == "rolling_24h":
            return (payload.organization, group, "rolling"), None
        return (payload.organization, group, "day"), midnight

    def _find(self, where: tuple[str, str, str], when: datetime, start: datetime | None) -> Span | None:
        spans = self.spans[where]
        if start is not None:
            return next((span for span in spans if span.start == start), None)
        within = [span for span in spans if span.start <= when < span.start + DAY]
        after = [span for span in spans if when < span.start < when + DAY]
        return min(within or after, key=lambda span: span.start, default=None)

    def _count(self, payload: Payload, figures: dict[str, Any], group: str) -> None:
        rows = self.totals[payload.organization, group, payload.day.isoformat()]
        key: Row = (payload.project, payload.model, payload.service_tier, payload.batch, figures["verdict"])
        if key not in rows and len(rows) >= self._most_rows:
            key = ("(other)", "(other)", "(other)", payload.batch, figures["verdict"])
        row = rows.setdefault(key, [0, 0, 0, 0, Decimal(0), Decimal(0), 0])
        listed = figures["list_amount_usd"]
        added = [1, payload.input, payload.cached, payload.output, Decimal(listed or 0)]
        added += [Decimal(listed or 0) if figures["verdict"] == "billed" else Decimal(0), int(listed is None)]
        rows[key] = [before + more for before, more in zip(row, added, strict=True)]


def in_force(offer: Offer, account: Account | None, when: datetime) -> InForce:
    """What holds at a moment: the latest versions that took effect by then."""
    profile = _latest(account.profile if account else (), when)
    settings = _latest(account.sharing if account else (), when)
    return InForce(
        version=_version(offer, when),
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


def _version(offer: Offer, when: datetime) -> Version:
    begun = [version for version in offer.versions if version.effective_at <= when.date()]
    return begun[-1] if begun else offer.versions[0]


def _group(version: Version, model: str) -> Group | None:
    dated = version.aliases.get(model, model)
    return next((group for group in version.groups if dated in group.models), None)


def _ruled_out(offer: Offer, terms: InForce, payload: Payload, group: Group | None) -> str | None:
    """The first of rules 1 to 6 that bills the request."""
    profile = terms.profile
    run = payload.kind == "usage.eval_run"
    asked: tuple[tuple[str, bool], ...] = (
        ("offer_not_started", payload.day < offer.starts),
        ("offer_ended", offer.ends is not None and payload.day > offer.ends),
        ("not_eligible", not profile.eligible),
        ("zero_data_retention", profile.zero_data_retention),
        ("enterprise_excluded", profile.plan == "enterprise_excluded"),
    )
    asked += _not_shared_run(terms, payload) if run else _not_shared(terms, payload)
    if not run:
        asked += _left_out(terms.version, payload)
        asked += (("model_not_listed", group is None),)
        asked += (("tier_not_included", group is not None and profile.tier not in group.quotas),)
    return next((reason for reason, applies in asked if applies), None)


def _not_shared(terms: InForce, payload: Payload) -> tuple[tuple[str, bool], ...]:
    traffic = terms.settings.traffic
    off, other = traffic.mode == "disabled", not _covers(traffic, payload.project)
    return (("sharing_disabled", off), ("project_not_shared", other))


def _not_shared_run(terms: InForce, payload: Payload) -> tuple[tuple[str, bool], ...]:
    evals = terms.settings.evals
    off, other = evals.mode == "disabled", not _covers(evals, payload.project)
    return (("eval_sharing_disabled", off), ("project_not_shared", other), ("eval_not_shared", not payload.shared))


def _covers(sharing: Sharing, project: str | None) -> bool:
    return sharing.mode == "enabled" or (project is not None and project in (sharing.projects or ()))


def _left_out(version: Version, payload: Payload) -> tuple[tuple[str, bool], ...]:
    model = version.aliases.get(payload.model, payload.model)
    hosted = any(
        tool.startswith(name) and VARIANT.fullmatch(tool.removeprefix(name))
        for tool in payload.tools
        for name in version.hosted_tools
    )
    o_series = model[:1] == "o" and model[1:2].isdigit()
    return (
        ("fine_tuning_training", payload.endpoint == "fine_tuning"),
        ("fine_tuned_model", model.startswith("ft:")),
        ("o_series_on_assistants", payload.endpoint == "assistants" and o_series),
        ("tool_use", hosted),
    )


def _stated(offer: Offer, terms: InForce, payload: Payload) -> dict[str, Any]:
    """What the decision states whatever the verdict."""
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
        "offer": f"{offer.id}@{terms.version.effective_at.isoformat()}",
        "profile_version": terms.profile_number,
        "settings_version": terms.settings_number,
        "occurred_at": _text(payload.occurred_at),
        "price_version": priced[0],
        "list_amount_usd": priced[1],
    }


def _billed(reason: str, figures: dict[str, Any], group: str | None) -> dict[str, Any]:
    unknown = dict.fromkeys(("window", "quota", "used_before", "used_after", "running_total"))
    amount = figures["list_amount_usd"]
    return {"verdict": "billed", "reason": reason, "amount_usd": amount, "group": group, **unknown}


def _reached(used: int, units: int, quota: int, *, free: bool, open_window: bool) -> set[int]:
    if not free:
        return {100} if open_window else set()
    crosses = units > 0 and used * 10 < quota * 8 <= (used + units) * 10
    fills = units > 0 and used + units == quota
    return ({80} if crosses else set()) | ({100} if fills else set())


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
    return version, _amount(payload, row.rates, half=half)


def _priced_by_prefix(payload: Payload) -> tuple[str | None, str | None]:
    """Fine-tuned models are priced by how their names begin."""
    for prefix, model in price_table().prefixes.items():
        if payload.model.startswith(prefix):
            half = payload.batch and model.batch
            return "initial", _amount(payload, model.rows[0].rates, half=half)
    return None, None


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
