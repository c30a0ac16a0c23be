"""Offer files: what they may say, and what is wrong with one, in the file's own words. SPEC section 5, "Offer file".

The form of the first release stays readable: its `hosted_tools` and `evals` stood in each version.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gratis import moment
from gratis.errors import GratisError
from gratis.rules.explanation import SENTENCES
from gratis.rules.figures import Figure
from gratis.rules.offer import CONDITIONS, EVALS, Dates, Exclusion, Group, Offer, Overflow, Scope, Unit, Version, fits
from gratis.rules.window import UTC_WEEK, Calendar, Kind, Rolling, Span, kind_of
from gratis.strict_json import parse_json

FIRST_HOSTED_TOOLS = ("web_search", "file_search", "computer_use", "code_interpreter")
O_SERIES = tuple(f"o{digit}*" for digit in range(10))
Requirement = Literal["positive_balance"]
MAX_QUOTA = 10**15
"""What a counter can count up to: a JSON number is exact so far in every reader."""
RULES = SENTENCES.keys() | {"within_quota", "over_quota", "void"}
"""Reasons that an exclusion cannot have."""


class OfferInvalid(GratisError, ValueError):
    """An offer file says what no offer can. `args`: each mistake, with its path, its value and what was expected."""

    def __str__(self) -> str:
        return "; ".join(self.args)


def first_exclusions(hosted_tools: Sequence[str] = FIRST_HOSTED_TOOLS) -> tuple[Exclusion, ...]:
    """What the first release left out; they hold in a version that does not say what it excludes."""
    return (
        Exclusion("fine_tuning_training", "fine-tuning training is not included", endpoints=("fine_tuning",)),
        Exclusion("fine_tuned_model", "fine-tuned models are not included", models=("ft:*",)),
        Exclusion(
            "o_series_on_assistants",
            "o-series models on the Assistants API are not included",
            models=O_SERIES,
            endpoints=("assistants",),
        ),
        Exclusion(
            "tool_use",
            "requests that use a tool hosted by the platform are not included",
            hosted_tools=tuple(hosted_tools),
        ),
    )


# What a file may say ------------------------------------------------------------------------------------------------


def _kind(stated: Any) -> Kind:
    return stated if isinstance(stated, Calendar | Rolling) else kind_of(stated)


def _mistake(path: str, value: Any, expected: str) -> PydanticCustomError:
    """What is wrong with a part of what is being read: `path` leads on from there."""
    # as an argument, so that what was found is never taken for a part of a template
    return PydanticCustomError("mistake", "{expected}", {"path": path, "value": value, "expected": expected})


def _quota(stated: Any) -> Figure:
    expected = ValueError('must be a whole number of 0 or more, or for dollars a decimal as text, like "150"')
    try:
        quota = Decimal(stated) if isinstance(stated, str) or type(stated) is int else Decimal("nan")
    except InvalidOperation:
        raise expected from None
    if not quota.is_finite() or quota < 0:
        raise expected
    if quota >= MAX_QUOTA:
        raise ValueError(f"must be less than {MAX_QUOTA:,}")
    return stated if type(stated) is int else quota


def _tier(stated: Any) -> str:
    if isinstance(stated, str) and re.fullmatch(r"\*|0|[1-9][0-9]{0,8}", stated):
        return stated
    raise ValueError('must be a usage tier like "4", or "*"')


def _day(stated: Any) -> date:
    if isinstance(stated, date) and not isinstance(stated, datetime):
        return stated
    try:
        return date.fromisoformat(stated) if isinstance(stated, str) and len(stated) == 10 else date.fromisoformat("")
    except ValueError:
        raise ValueError("must be a day like 2026-01-31") from None


def _not_empty(versions: tuple[Any, ...]) -> tuple[Any, ...]:
    if not versions:
        raise ValueError("must not be empty")
    return versions


def _name(pattern: str, expected: str) -> AfterValidator:
    def checked(name: str) -> str:
        if not re.fullmatch(pattern, name):
            raise ValueError(f"must be {expected}")
        return name

    return AfterValidator(checked)


Day = Annotated[date, BeforeValidator(_day)]
WindowKind = Annotated[Any, BeforeValidator(_kind)]
Quotas = Mapping[Annotated[str, BeforeValidator(_tier)], Annotated[Any, BeforeValidator(_quota)]]
OfferId = Annotated[str, _name(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, dots, hyphens or underscores")]
Name = Annotated[str, _name(r"[A-Za-z0-9._]{1,32}", "1 to 32 letters, digits, dots or underscores")]
Reason = Annotated[str, _name(r"[a-z0-9_]{1,64}", "1 to 64 small letters, digits or underscores")]
Text = Annotated[str, Field(min_length=1)]
Texts = tuple[Text, ...]


class _Data(BaseModel):
    """Built when it is first used: not every function that knows the types reads an offer."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class GroupFile(_Data):
    """Models that share one quota."""

    name: Name
    models: Texts
    quotas: Quotas
    unit: Literal["tokens", "uncached_tokens", "requests", "usd"] = "tokens"
    scope: Scope = "organization"
    window: WindowKind = None
    """The version's, unless it has one of its own."""

    @model_validator(mode="after")
    def _counts_in_its_unit(self) -> Self:
        _counted(self.quotas, self.unit)
        return self


class EvalsFile(_Data):
    """Evaluation runs that the platform gives away, as a group with dates of its own."""

    quotas: Quotas
    window: WindowKind = UTC_WEEK
    unit: Literal["runs"] = "runs"
    starts: Day | None = None
    ends: Day | None = None

    @model_validator(mode="after")
    def _counts_in_its_unit(self) -> Self:
        _counted(self.quotas, self.unit)
        return self


class FirstEvalsFile(_Data):
    """Evaluation runs as the first release's files stated them: in each version, for as long as the offer lasts."""

    quota: Annotated[int, Field(strict=True, ge=0)]
    window: Literal["utc_week"] = "utc_week"


class ExclusionFile(_Data):
    """Traffic that is left out. All conditions hold; of a list, any."""

    reason: Reason
    sentence: Text
    models: Texts | None = None
    endpoints: Texts | None = None
    hosted_tools: Texts | None = None
    batch: Annotated[bool, Field(strict=True)] | None = None
    service_tiers: Texts | None = None

    @model_validator(mode="after")
    def _excludes_something(self) -> Self:
        if not self.model_dump(exclude={"reason", "sentence"}, exclude_none=True):
            raise ValueError(f"must state {', '.join(CONDITIONS[:-1])} or {CONDITIONS[-1]}")
        if self.reason in RULES:
            raise _mistake("reason", self.reason, "must not be the reason of a rule that every offer has")
        return self


class VersionFile(_Data):
    """One state of an offer."""

    effective_at: Day
    window: WindowKind
    overflow: Overflow = "skip"
    groups: tuple[GroupFile, ...]
    requires: tuple[Requirement, ...] = ()
    excludes: tuple[ExclusionFile, ...] | None = None
    hosted_tools: Texts | None = None
    aliases: Mapping[Text, Text] = {}
    evals: FirstEvalsFile | None = None
    source: str | None = None
    seen: Day | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names: set[str] = set()
        models: set[str] = set()
        for number, group in enumerate(self.groups):
            if group.name in names | {EVALS}:
                raise _mistake(f"groups[{number}].name", group.name, f'must be another than those before and "{EVALS}"')
            names.add(group.name)
            for place, model in enumerate(group.models):
                if model in models:
                    raise _mistake(f"groups[{number}].models[{place}]", model, "must be listed once in the version")
                models.add(model)
        if self.excludes is not None and self.hosted_tools is not None:
            raise _mistake(
                "hosted_tools", [*self.hosted_tools], "must be named in an exclusion where there are excludes"
            )
        sentences: dict[str, str] = {}
        for number, exclusion in enumerate(self.excludes or ()):
            if sentences.setdefault(exclusion.reason, exclusion.sentence) != exclusion.sentence:
                where = f"excludes[{number}].sentence"
                raise _mistake(where, exclusion.sentence, f"must be the same for the same reason {exclusion.reason}")
        return self


class OfferFile(_Data):
    """A whole offer file."""

    id: OfferId
    starts: Day
    ends: Day | None = None
    evals: EvalsFile | None = None
    versions: Annotated[tuple[VersionFile, ...], AfterValidator(_not_empty)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        first, begin = "versions[0].effective_at", self.versions[0].effective_at
        if begin > self.starts:
            raise _mistake(first, str(begin), f"must be on or before the offer's first day ({self.starts})")
        for number, (before, after) in enumerate(pairwise(self.versions), start=1):
            where, day = f"versions[{number}].effective_at", after.effective_at
            if day <= before.effective_at:
                raise _mistake(where, str(day), f"must be after that of the version before ({before.effective_at})")
        for path, part in (("ends", self), ("evals.ends", self.evals)):
            starts = (part.starts if part else None) or self.starts
            if part and part.ends is not None and part.ends < starts:
                raise _mistake(path, str(part.ends), f"must be on or after the first day ({starts})")
        for number, version in enumerate(self.versions):
            if self.evals and version.evals:
                stated = version.evals.model_dump()
                raise _mistake(f"versions[{number}].evals", stated, "must stand in the offer or in its versions")
        return self


def _counted(quotas: Mapping[str, Figure], unit: Unit) -> None:
    """Raises a mistake: all but dollars are counted in whole numbers."""
    for tier, quota in quotas.items():
        if unit != "usd" and isinstance(quota, Decimal):
            raise _mistake(f"quotas.{tier}", str(quota), f"must be a whole number of {unit}")


# Reading ------------------------------------------------------------------------------------------------------------


def read_offer(content: Any, ends: date | None = None) -> Offer:
    """The offer that decoded JSON states; `ends` replaces its last day. Raises OfferInvalid."""
    return Offer(_spanned(_versions(content, ends)))


def offer_from(named: str, ends: date | None = None) -> Offer:
    """An offer by its id, if it ships, or of a file (`*.json`).

    Raises OfferInvalid, KeyError with the ids there are, and OSError for a file that cannot be read.
    """
    return read_offer(_content(named), ends)


def succession(names: Sequence[str], ends: date | None = None) -> Offer:
    """Offers that take over from each other, named as for `offer_from`: each holds from its first day on.

    `ends` replaces the last day of the last one. Raises what `offer_from` does, and OfferInvalid for one that would
    give a second quota in the middle of a window.
    """
    versions: list[Version] = []
    for number, named in enumerate(names, start=1):
        taking_over = _versions(_content(named), ends if number == len(names) else None)
        if versions:
            taking_over = _from_its_start(taking_over)
            since = taking_over[0].since
            if since <= versions[-1].dates.starts:
                raise OfferInvalid(f"{named}: starts on {since}, not after {versions[-1].offer}, which it follows")
            versions = [version for version in versions if version.since < since]
        versions += taking_over
    return Offer(_spanned(versions))


@cache
def shipped(offer_id: str) -> Offer:
    """An offer that ships with Gratis, by its id. Raises KeyError with the ids there are."""
    return offer_from(offer_id)


@cache
def shipped_ids() -> tuple[str, ...]:
    """The ids of the offers that ship."""
    folder = files("gratis") / "data" / "offers"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")))


def examples() -> list[Path]:
    """Files of other platforms' allowances that ship: to be read, copied and changed."""
    return sorted(Path(str(files("gratis"))).joinpath("data", "offers", "examples").glob("*.json"))


def in_first_form(version: Version) -> Version:
    """A version as decisions of the first format were taken under it: what ships had no aliases or exclusions then."""
    if version.offer not in shipped_ids():
        return version
    return replace(version, aliases={}, excludes=first_exclusions())


def _content(named: str) -> Any:
    if named.endswith(".json"):
        return _decoded(Path(named).read_bytes())
    if named not in shipped_ids():
        raise KeyError(f"no offer {named!r}; there are {', '.join(shipped_ids())}")
    return _decoded((files("gratis") / "data" / "offers" / f"{named}.json").read_bytes())


def _versions(content: Any, ends: date | None) -> list[Version]:
    if ends is not None and isinstance(content, dict):
        content = content | {"ends": ends.isoformat()}
    try:
        stated = OfferFile.model_validate(content)
    except ValidationError as error:
        raise OfferInvalid(*_worded(error)) from None
    return [_version(stated, version) for version in stated.versions]


def _from_its_start(versions: Sequence[Version]) -> list[Version]:
    """The versions that hold from the offer's first day on; the first of them from then, however old it is."""
    starts = versions[0].dates.starts
    first = [version for version in versions if version.effective_at <= starts][-1]
    return [replace(first, since=starts), *(version for version in versions if version.effective_at > starts)]


def _decoded(content: bytes) -> Any:
    try:
        return parse_json(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise OfferInvalid(f"is no JSON: {error}") from None


# Resolving ----------------------------------------------------------------------------------------------------------


def _spanned(versions: Sequence[Version]) -> tuple[Version, ...]:
    """The versions, each group with the time for which it counts in windows of its kind. Raises OfferInvalid."""
    for number in range(1, len(versions)):
        if mistake := _second_quota(versions[:number], versions[number]):
            raise OfferInvalid(f"versions: {mistake}")
    groups = [tuple(_spans(versions, number)) for number in range(len(versions))]
    return tuple(replace(version, groups=spanned) for version, spanned in zip(versions, groups, strict=True))


def _version(offer: OfferFile, stated: VersionFile) -> Version:
    tools = FIRST_HOSTED_TOOLS if stated.hosted_tools is None else stated.hosted_tools
    excludes = None if stated.excludes is None else tuple(Exclusion(**each.model_dump()) for each in stated.excludes)
    return Version(
        offer=offer.id,
        dates=Dates(offer.starts, offer.ends),
        effective_at=stated.effective_at,
        since=stated.effective_at,
        overflow=stated.overflow,
        groups=tuple(_group(each, stated.window) for each in stated.groups),
        excludes=first_exclusions(tools) if excludes is None else excludes,
        aliases=stated.aliases,
        requires=stated.requires,
        evals=_evals(offer, stated),
        source=stated.source,
        seen=stated.seen,
    )


def _group(stated: GroupFile, window: Kind) -> Group:
    own: Kind = stated.window or window
    return Group(stated.name, stated.models, _quotas(stated.quotas, stated.unit), stated.unit, stated.scope, own)


def _quotas(quotas: Mapping[str, Figure], unit: Unit) -> dict[str, Figure]:
    """Dollars are decimals without an exponent, however a quota is written."""
    return {tier: Decimal(f"{Decimal(quota):f}") if unit == "usd" else quota for tier, quota in quotas.items()}


def _evals(offer: OfferFile, version: VersionFile) -> Group | None:
    if offer.evals:
        dates = Dates(offer.evals.starts or offer.starts, offer.evals.ends)
        quotas = _quotas(offer.evals.quotas, "runs")
        return Group(EVALS, (), quotas, "runs", "organization", offer.evals.window, dates)
    if version.evals:
        return Group(EVALS, (), _quotas({"*": version.evals.quota}, "runs"), "runs", "organization", UTC_WEEK)
    return None


def _spans(versions: Sequence[Version], number: int) -> Iterator[Group]:
    """The version's groups, each with the time for which it counts in windows of its kind."""
    for group in versions[number].groups:
        first = last = number
        while first and _goes_on(group, versions[first - 1]):
            first -= 1
        while last + 1 < len(versions) and _goes_on(group, versions[last + 1]):
            last += 1
        since = moment.midnight(versions[first].since) if first else None
        until = moment.midnight(versions[last + 1].since) if last + 1 < len(versions) else None
        yield group._replace(span=Span(since, until))


def _goes_on(group: Group, version: Version) -> bool:
    return any(group.goes_on_as(other) for other in version.all_groups())


def _second_quota(earlier: Sequence[Version], after: Version) -> str | None:
    """Why the version after these would give a second quota in the middle of a window; None if it does not."""
    for other in after.all_groups():
        if _goes_on(other, earlier[-1]):
            continue
        for number, before in enumerate(earlier):
            for group in before.all_groups():
                if _share_models(before, group, after, other) and _open([*earlier[number:], after], group, other):
                    return (
                        f"from {after.since} on, group {other.name} would give the models of group {group.name} a "
                        f"second quota in the middle of its window: keep its name, unit, scope and window, or change "
                        f"it on a day on which its window ends"
                    )
    return None


def _open(versions: Sequence[Version], group: Group, other: Group) -> bool:
    """Whether a window of `group`, of the first version, can be open when `other`, of the last one, opens its own.

    A rolling window that gives way to another kind ends there, as on 2025-03-06.
    """
    change = moment.midnight(versions[-1].since)
    counted = _over(versions[0], versions[1])
    kind = group.window
    if isinstance(kind, Calendar):
        begun = kind.named(kind.name(counted - datetime.resolution))
        return kind.end(begun) > change and not group.goes_on_as(other)
    gave_way = other.window != kind or any(
        _share_models(versions[0], group, between, each) and each.window != kind
        for between in versions[1:-1]
        for each in between.all_groups()
    )
    return kind.end(counted) > change and not gave_way


def _over(version: Version, following: Version) -> datetime:
    """When nothing is counted under a version any more: when the next one takes effect, or after its offer's end."""
    change, ends = moment.midnight(following.since), version.dates.ends
    return change if ends is None else min(change, moment.midnight(ends) + moment.DAY)


def _share_models(version: Version, group: Group, after: Version, other: Group) -> bool:
    """Whether a request can ask for either group's quota: the one under `version`, the other under `after`."""
    names, others = _names(version, group), _names(after, other)
    return group.name == other.name or any(_fit_one(name, each) for name in names for each in others)


def _names(version: Version, group: Group) -> list[str]:
    """The names and patterns that lead to a group."""
    return [*group.models, *(alias for alias in version.aliases if version.group_of(alias) == group)]


def _fit_one(one: str, other: str) -> bool:
    """Whether two names or patterns fit one model."""
    if "*" in one and "*" in other:
        (head, *_, tail), (first, *_, last) = one.split("*"), other.split("*")
        return head.startswith(first) | first.startswith(head) and tail.endswith(last) | last.endswith(tail)
    name, pattern = sorted((one, other), key=lambda each: "*" in each)
    return fits(pattern, name)


# What is wrong ------------------------------------------------------------------------------------------------------

_EXPECTED = {
    "missing": "is missing",
    "extra_forbidden": "is no field that an offer file has here",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number of 0 or more",
    "greater_than_equal": "must be a whole number of 0 or more",
}
_SAYS_ENOUGH = ("missing", "extra_forbidden")
MAX_NAMED = 5
"""Mistakes of one file that are named; the others are counted."""
MAX_SHOWN = 80
"""Characters of a value that is shown beside what was expected."""


def _worded(error: ValidationError) -> Iterator[str]:
    every = error.errors(include_url=False)
    problems = [each for each in every if not _follows(each, every)]
    yield from map(_problem, problems[:MAX_NAMED])
    if len(problems) > MAX_NAMED:
        yield f"and {len(problems) - MAX_NAMED} more"


def _follows(problem: Any, every: Sequence[Any]) -> bool:
    """Whether a list is called empty only because each thing in it has a mistake of its own, and was not counted."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(each["loc"][:-1][: len(place)] == place for each in every)


def _problem(problem: Any) -> str:
    """`versions[0].groups[1].quotas.4: must be a whole number of tokens, not "1.5"`."""
    context = problem.get("ctx", {})
    path, value = [_path(problem["loc"])], problem["input"]
    if problem["type"] == "mistake":
        path, value = [*path, context["path"]], context["value"]
    place, found = ".".join(filter(None, path)), json.dumps(value, default=str)
    shown = problem["type"] not in _SAYS_ENOUGH and len(found) <= MAX_SHOWN
    return f"{place}{': ' * bool(place)}{_expected(problem)}{f', not {found}' if shown else ''}"


def _expected(problem: Any) -> str:
    if problem["type"] == "literal_error":
        return f"must be {problem['ctx']['expected']}".replace("'", '"')
    message: str = problem["msg"]
    return _EXPECTED.get(problem["type"], message.removeprefix("Value error, "))


def _path(loc: Sequence[int | str]) -> str:
    """`versions[0].groups[1].quotas.4`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part != "[key]")
    return text.removeprefix(".")
