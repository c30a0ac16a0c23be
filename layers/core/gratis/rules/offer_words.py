"""An offer in words: what a version includes, what is left out, and what changed from one version to the next. Pure."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from itertools import pairwise

from gratis.rules.explanation import stated
from gratis.rules.figures import Figure
from gratis.rules.offer import Dates, Exclusion, Group, Offer, Version

REQUIRED = {"positive_balance": "a positive balance"}
OVERFLOW = {
    "skip": "a request that does not fit is billed whole; a later, smaller one may still be free",
    "close": "a request that does not fit is billed whole and closes the window",
}


def summary(offer: Offer) -> str:
    """An offer in one line: dates, versions, and the quotas of the last one."""
    last = offer.versions[-1]
    count = len(offer.versions)
    given = "; ".join(_given(group) for group in last.all_groups()) or "gives nothing"
    return f"{last.offer}: {_dates(last.dates)}, {count} version{'s' if count > 1 else ''}; {given}"


def included(version: Version, day: date) -> Iterator[str]:
    """All that a version says. `day`: on which it is asked for."""
    yield f"{version.name}: {_dates(version.dates)}{_state(version, day)}"
    if read := _read_in(version):
        yield f" {read}"
    for requirement in version.requires:
        yield f"  required: {REQUIRED[requirement]}"
    for group in version.groups:
        yield f"  {_given(group)}"
        yield f"    models: {', '.join(group.models)}"
    if version.evals:
        yield f"  {_given(version.evals)}{_own_dates(version.evals)}"
    for exclusion in version.excludes:
        yield f"  left out: {_left_out(exclusion)}"
    for name, model in version.aliases.items():
        yield f"  undated: {name} is {model}"
    yield f"  {OVERFLOW[version.overflow]}"


def history(offer: Offer) -> Iterator[str]:
    """What changed from version to version, oldest first, and where each was read."""
    yield f"{offer.versions[0].name}: the first version{_read_in(offer.versions[0])}"
    for before, after in pairwise(offer.versions):
        found = [*changes(before, after)]
        yield f"{after.name}:{'' if found else ' nothing changed'}{_read_in(after)}"
        yield from (f"  {change}" for change in found)


def changes(before: Version, after: Version) -> Iterator[str]:
    """What a version says otherwise than the one before."""
    yield from _group_changes(_by_name(before.all_groups()), _by_name(after.all_groups()))
    was, now = ({REQUIRED[each] for each in version.requires} for version in (before, after))
    yield from _came_and_went("required", was, now)
    excluded, excludes = ({_left_out(each) for each in version.excludes} for version in (before, after))
    yield from _came_and_went("left out", excluded, excludes)
    aliased, aliases = ({f"{name} is {model}" for name, model in each.aliases.items()} for each in (before, after))
    yield from _came_and_went("undated", aliased, aliases)
    if before.overflow != after.overflow:
        yield OVERFLOW[after.overflow]


def _group_changes(before: Mapping[str, Group], after: Mapping[str, Group]) -> Iterator[str]:
    yield from (f"no more: {_given(group)}" for name, group in before.items() if name not in after)
    yield from (
        f"new: {_given(group)}: {', '.join(group.models)}" for name, group in after.items() if name not in before
    )
    for name in (name for name in before if name in after):
        was, now = before[name], after[name]
        if _given(was) != _given(now):
            yield f"{_given(now)} (before: {_given(was).removeprefix(f'{name}: ')})"
        yield from _came_and_went(name, set(was.models), set(now.models))


def _came_and_went(what: str, before: Collection[str], after: Collection[str]) -> Iterator[str]:
    came, went = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    if came:
        yield f"{what}, new: {'; '.join(came)}"
    if went:
        yield f"{what}, no more: {'; '.join(went)}"


def _read_in(version: Version) -> str:
    """` read in: the help article (seen by 2025-04-30)`; empty where the version does not say."""
    seen = f" (seen by {version.seen})" if version.seen else ""
    return f" read in: {version.source}{seen}" if version.source else seen


def _by_name(groups: Collection[Group]) -> dict[str, Group]:
    return {group.name: group for group in groups}


def _given(group: Group) -> str:
    """`1m: 1,000,000 tokens a day for tiers 3, 4, 5; 250,000 tokens a day for tiers 1, 2`."""
    tiers: dict[Figure, list[str]] = {}
    for tier, quota in group.quotas.items():
        tiers.setdefault(quota, []).append(tier)
    given = [f"{stated(group, quota)}{_for(tiers[quota], group)}" for quota in sorted(tiers, reverse=True)]
    return f"{group.name}: {'; '.join(given) or 'nothing'}"


def _for(tiers: list[str], group: Group) -> str:
    named = [tier for tier in tiers if tier != "*"]
    words = [f"tier{'s' if len(named) > 1 else ''} {', '.join(named)}"] if named else []
    if "*" in tiers and len(group.quotas) > 1:
        words.append("any other tier")
    return f" for {' and '.join(words)}" if words else ""


def _dates(dates: Dates) -> str:
    return f"{dates.starts} to {dates.ends}" if dates.ends else f"from {dates.starts} on"


def _own_dates(group: Group) -> str:
    return f", {_dates(group.dates)}" if group.dates else ""


def _state(version: Version, day: date) -> str:
    if version.dates.ends and day > version.dates.ends:
        return " (ended)"
    return " (not started)" if day < version.dates.starts else ""


def _left_out(exclusion: Exclusion) -> str:
    """`tool_use: requests that use ... (hosted tools: web_search, file_search)`."""
    lists = {name.replace("_", " "): value for name, value in exclusion.conditions.items() if name != "batch"}
    words = [f"{name}: {', '.join(values)}" for name, values in lists.items()]
    if exclusion.batch is not None:
        words.append("in batches" if exclusion.batch else "not in batches")
    return f"{exclusion.reason}: {exclusion.sentence} ({'; '.join(words)})"
