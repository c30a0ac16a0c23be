"""The offer: the rules in force, resolved for looking up. SPEC sections 1 and 2; `offer_file` reads the files. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, Self

from gratis import moment
from gratis.rules.figures import Figure
from gratis.rules.request import Request, Tokens
from gratis.rules.spelling import normal, normal_tool
from gratis.rules.window import ALWAYS, Kind, Span, Window

EVALS = "evals"
"""The group of evaluation runs, as every offer names it."""
NO_GROUP = "-"
"""Where traffic is totalled that no group's quota is asked for."""
Unit = Literal["tokens", "uncached_tokens", "requests", "usd", "runs"]
Scope = Literal["organization", "project"]
Overflow = Literal["skip", "close"]

UNITS: dict[Unit, Callable[[Tokens, Decimal | None], Figure | None]] = {
    "tokens": lambda tokens, _: tokens.total,
    "uncached_tokens": lambda tokens, _: tokens.total - tokens.cached,
    "requests": lambda *_: 1,
    "runs": lambda *_: 1,
    "usd": lambda _, amount: amount,
}
"""What a request takes of a quota, by its tokens and its list amount; None where that is not known and has to be."""


class Dates(NamedTuple):
    """First and last day, inclusive; no last day: without an end."""

    starts: date
    ends: date | None = None

    def outside(self, when: datetime) -> str | None:
        """The reason for which a moment does not lie within; None if it does."""
        day = moment.day_of(when)
        if day < self.starts:
            return "offer_not_started"
        return "offer_ended" if self.ends is not None and day > self.ends else None


class Group(NamedTuple):
    """Models that share one quota.

    `quotas`: free units a window by usage tier; `*` is any tier and none. `dates`: its own, where they are not the
    offer's. `span`: for how long the group counts in windows of this kind.
    """

    name: str
    models: tuple[str, ...]
    quotas: Mapping[str, Figure]
    unit: Unit
    scope: Scope
    window: Kind
    dates: Dates | None = None
    span: Span = ALWAYS

    def quota(self, tier: int | None) -> Figure | None:
        """Free units a window; None where the tier has none."""
        return self.quotas.get(str(tier), self.quotas.get("*"))

    def units(self, request: Request, list_amount: Decimal | None) -> Figure | None:
        """What a request takes of the quota; None if that takes a price, and it has none."""
        return UNITS[self.unit](request.tokens, list_amount)

    def pool(self, project: str | None) -> str | None:
        """Whose counter of the group a request counts in: None is the organization's, "" that of no project."""
        return (project or "") if self.scope == "project" else None

    def resets_at(self, window: Window) -> datetime:
        """When the quota is fresh again: at the window's end, or when the offer changes to another kind of window."""
        end = self.window.end(window.start)
        return min(end, self.span.until) if self.span.until else end

    def goes_on_as(self, other: "Group") -> bool:
        """Whether `other`, of the next version, counts on in the windows that are open here."""
        ours, theirs = ((each.name, each.unit, each.scope, each.window) for each in (self, other))
        return ours == theirs


class Traffic(NamedTuple):
    """What exclusions look at in a request."""

    model: str
    endpoint: str
    service_tier: str
    batch: bool
    tools: tuple[str, ...]

    @classmethod
    def of(cls, request: Request) -> Self:
        """That of a request."""
        return cls(request.model, request.endpoint, request.service_tier, request.batch, request.tools)


@dataclass(frozen=True)
class Exclusion:
    """Traffic that the offer leaves out: all conditions that are stated hold, each in any of its values."""

    reason: str
    sentence: str
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    hosted_tools: tuple[str, ...] | None = None
    batch: bool | None = None
    service_tiers: tuple[str, ...] | None = None

    def applies(self, request: Traffic, names: Iterable[str]) -> bool:
        """Whether it leaves out such requests, whose model has these names."""
        return (
            (self.batch is None or request.batch == self.batch)
            and (self._endpoints is None or normal(request.endpoint) in self._endpoints)
            and (self._tiers is None or normal(request.service_tier) in self._tiers)
            and (self.tools is None or any(normal_tool(tool) in self.tools for tool in request.tools))
            and (self._models is None or any(self._models(name) for name in names))
        )

    @property
    def conditions(self) -> dict[str, Any]:
        """Those that are stated, by name, as the offer file states them."""
        return {name: value for name in CONDITIONS if (value := getattr(self, name)) is not None}

    @cached_property
    def tools(self) -> frozenset[str] | None:
        """The hosted tools that it names, in their normal form."""
        return _normal(self.hosted_tools, normal_tool)

    @cached_property
    def _endpoints(self) -> frozenset[str] | None:
        return _normal(self.endpoints, normal)

    @cached_property
    def _tiers(self) -> frozenset[str] | None:
        return _normal(self.service_tiers, normal)

    @cached_property
    def _models(self) -> Callable[[str], object] | None:
        return None if self.models is None else re.compile("|".join(map(_regex, self.models)) or "(?!)").fullmatch


CONDITIONS = tuple(each.name for each in fields(Exclusion))[2:]


@dataclass(frozen=True, eq=False)
class Version:
    """One state of an offer, in force from 00:00 UTC of `since` until the next version.

    `offer`, `dates`: the offer's id, first and last day. `since`: `effective_at`, unless the offer took over from
    another one later than that. `evals`: the group of evaluation runs; None if the offer gives none. `seen`: the day by
    which `source` said so.
    """

    offer: str
    dates: Dates
    effective_at: date
    since: date
    overflow: Overflow
    groups: tuple[Group, ...]
    excludes: tuple[Exclusion, ...]
    aliases: Mapping[str, str]
    requires: tuple[str, ...] = ()
    evals: Group | None = None
    source: str | None = None
    seen: date | None = None

    @cached_property
    def name(self) -> str:
        """How a decision names the rules it was taken under: `data-sharing-2025@2025-03-06`."""
        return f"{self.offer}@{self.effective_at.isoformat()}"

    def all_groups(self) -> tuple[Group, ...]:
        """The groups of models, and that of evaluation runs where there is one."""
        return (*self.groups, self.evals) if self.evals else self.groups

    def group_of(self, model: str) -> Group | None:
        """The group that lists a model: by its exact id, else through an alias, else by the first pattern."""
        return self._find(model)

    def resolve(self, model: str) -> str:
        """The dated id that an undated alias stands for; any other id as it is."""
        return model if model in self._exact else self.aliases.get(model, model)

    def exclusion_of(self, request: Request) -> Exclusion | None:
        """The first of the exclusions that leaves the request out."""
        return self._excluded(Traffic.of(request))

    def hosted(self, tools: Iterable[str]) -> tuple[str, ...]:
        """Those of the tools that an exclusion names, in their normal form, each once."""
        return tuple(dict.fromkeys([name for tool in tools if (name := normal_tool(tool)) in self._hosted]))

    @cached_property
    def _hosted(self) -> frozenset[str]:
        return frozenset(tool for each in self.excludes for tool in each.tools or ())

    @cached_property
    def _exact(self) -> dict[str, Group]:
        return {model: group for group in self.groups for model in group.models if "*" not in model}

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Group]]:
        patterns = [(model, group) for group in self.groups for model in group.models if "*" in model]
        return [(re.compile(_regex(model)), group) for model, group in patterns]

    @cached_property
    def _excluded(self) -> Callable[[Traffic], Exclusion | None]:
        return lru_cache(maxsize=256)(self._first_that_applies)  # what one holds may have 80 KB of tools

    def _first_that_applies(self, traffic: Traffic) -> Exclusion | None:
        names = {traffic.model, self.resolve(traffic.model)}
        return next((each for each in self.excludes if each.applies(traffic, names)), None)

    @cached_property
    def _find(self) -> Callable[[str], Group | None]:
        return lru_cache(maxsize=4096)(self._looked_up)

    def _looked_up(self, model: str) -> Group | None:
        names = [self.aliases[model], model] if model in self.aliases else [model]
        exact = next((self._exact[name] for name in (model, *names) if name in self._exact), None)
        return exact or next(filter(None, map(self._by_pattern, names)), None)

    def _by_pattern(self, model: str) -> Group | None:
        return next((group for pattern, group in self._patterns if pattern.fullmatch(model)), None)


@dataclass(frozen=True, eq=False)
class Offer:
    """A whole offer, or several that took over from each other: all versions in order of `since`.

    Versions are append-only: an edit would decide the past anew.
    """

    versions: tuple[Version, ...]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the offers whose versions these are."""
        return frozenset(version.offer for version in self.versions)

    def version_at(self, when: datetime) -> Version:
        """The version in force; before the first one, the first (the offer has not started then)."""
        return self._on(moment.day_of(when))

    def version_named(self, name: str) -> Version:
        """The version that decisions name so. Raises LookupError if there is none."""
        for version in self.versions:
            if version.name == name:
                return version
        raise LookupError(f"there is no version {name}")

    def groups(self) -> Sequence[str]:
        """The name of every group that the offer has had, that of evaluation runs included."""
        return sorted({group.name for version in self.versions for group in version.groups} | {EVALS})

    @cached_property
    def _on(self) -> Callable[[date], Version]:
        return lru_cache(maxsize=256)(self._in_force)

    def _in_force(self, day: date) -> Version:
        begun = [version for version in self.versions if version.since <= day]
        return begun[-1] if begun else self.versions[0]


def _normal(names: Iterable[str] | None, form: Callable[[str], str]) -> frozenset[str] | None:
    return None if names is None else frozenset(map(form, names))


def fits(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern, or another name, stands for."""
    return re.fullmatch(_regex(pattern), name) is not None


def _regex(pattern: str) -> str:
    """A pattern as a regular expression: `*` is any text."""
    return ".*".join(map(re.escape, pattern.split("*")))
