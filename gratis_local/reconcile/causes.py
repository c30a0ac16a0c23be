"""Why the two sides may differ, found from the data: the likely cause of a difference, in words. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gratis import moment
from gratis_local.reconcile.compare import Compared, Line
from gratis_local.reconcile.pages import Row, Verdict

LAG = timedelta(minutes=15)
"""After which the platform's usage shows a request, at the latest as a rule. Source: FACTS of the programme."""
EDGE = timedelta(minutes=15)
"""How far from midnight a request is that two clocks may put on different days."""
MAX_IDS = 20


class Cause(NamedTuple):
    """`ids`: records that show it, at most twenty."""

    said: str
    ids: Sequence[str] = ()


BILLED_HERE = {
    "model_not_listed": "an alias that we bill: the offer lists no model of this name, the platform gave it away",
    "tool_use": "hosted tools: we bill requests that called one, the platform gave these away",
    "project_not_shared": "a project that is not shared here, and is with the platform",
    "sharing_disabled": "sharing is off here, and on with the platform",
    "over_quota": "a window's edge, or traffic of which only one side knows: for us the quota was used up",
    "no_balance": "the profile here says that there is no balance",
    "not_eligible": "the profile here says that the organization is not eligible",
    "tier_not_included": "the usage tier here has no quota for it",
}
"""What a request was billed for here, where the platform gave it away."""


def cause_of(line: Line, compared: Compared, now: datetime) -> Cause:
    """The likely cause of what differs in a line."""
    causes = (_void_alone, _taken_back, _cached, _other_verdict, _elsewhere, _twice, _edge, _lagging, _only_one_side)
    found: Iterator[Cause | None] = (cause(line, compared, now) for cause in causes)
    return next(filter(None, found), Cause("unknown: no single request, project or day accounts for it"))


def _records(rows: Sequence[Row]) -> list[Any]:
    return [row.record for row in rows if row.record is not None]


def _ids(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(record["id"]) for record in records[:MAX_IDS]]


def _void_alone(line: Line, _: Compared, __: datetime) -> Cause | None:
    """A void counts off a request that is not among our records."""
    voids = [record for record in _records(line.ours.rows) if record.get("voids") is not None]
    if not voids:
        return None
    return Cause("a void of a request that is not among our records: name the files that hold it too", _ids(voids))


def _taken_back(line: Line, compared: Compared, _: datetime) -> Cause | None:
    """The platform counts what a void took back here."""
    more = line.theirs.total - line.ours.total
    voided = compared.taken_back.get(line.key, ())
    single = [record for record in voided if record["tokens"]["total"] == more]
    found = single[:1] or (voided if sum(record["tokens"]["total"] for record in voided) == more else ())
    if more <= 0 or not found or not line.theirs.is_told:
        return None
    return Cause("taken back here by a void, and the platform counts it", _ids(found))


def _cached(line: Line, _: Compared, __: datetime) -> Cause | None:
    if line.difference("free") or line.difference("billed"):
        return None
    return Cause("cached input is counted otherwise; the sums of tokens agree")


def _other_verdict(line: Line, _: Compared, __: datetime) -> Cause | None:
    """The same traffic, free on one side and billed on the other."""
    moved = line.difference("billed")
    if not moved or line.difference("free") != -moved:
        return None
    records = [each for each in _records(line.ours.rows) if each["verdict"] == ("billed" if moved > 0 else "free")]
    of_reasons: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        of_reasons[record["reason"]].append(record)
    reason, shown = _adding_up(of_reasons, abs(moved))
    if moved > 0:
        return Cause(
            BILLED_HERE.get(reason or "", f"billed here for {reason or 'some reason'}, free there"), _ids(shown)
        )
    said = "free here and billed there: the platform may know of a hosted tool, a setting or traffic that we do not"
    return Cause(said, _ids(shown))


def _adding_up(of_reasons: dict[str, list[Any]], tokens: int) -> tuple[str | None, list[Any]]:
    """The reason, with requests, of which all requests or one have just these tokens; else the one with most tokens."""
    for reason, records in of_reasons.items():
        if sum(record["tokens"]["total"] for record in records) == tokens:
            return reason, records
    for reason, records in of_reasons.items():
        if single := [record for record in records if record["tokens"]["total"] == tokens]:
            return reason, single[:1]
    largest = max(of_reasons, key=lambda each: sum(one["tokens"]["total"] for one in of_reasons[each]), default=None)
    return largest, of_reasons[largest] if largest else []


def _elsewhere(line: Line, compared: Compared, _: datetime) -> Cause | None:
    """What is too much here is missing under another project, model or day."""
    for other in compared.lines:
        if other is line or any(line.difference(each) != -other.difference(each) for each in ("free", "billed")):
            continue
        for name, said in (("project", "project"), ("model", "model"), ("day", "day")):
            mine, its = line.key._asdict(), other.key._asdict()
            if {each: mine[each] for each in mine if each != name} == {each: its[each] for each in its if each != name}:
                if name == "day" and abs(line.key.day - other.key.day) > moment.DAY:
                    continue
                edge = "a window's edge: " if name == "day" else ""
                return Cause(f"{edge}the other side counts it under the {said} {its[name]}")
    return None


def _twice(line: Line, _: Compared, __: datetime) -> Cause | None:
    """A batch that is counted twice here."""
    more = line.ours.total - line.theirs.total
    batches: dict[Any, list[Any]] = defaultdict(list)
    for record in _records(line.ours.rows):
        tokens = record["tokens"]
        batches[tokens["input"], tokens["output"], record["verdict"]].append(record)
    for same in batches.values():
        total = same[0]["tokens"]["total"]
        if len(same) > 1 and total and more > 0 and more % total == 0 and more // total < len(same):
            return Cause(
                "counted twice: requests with just the same tokens, such as a batch that was read back", _ids(same)
            )
    return None


def _edge(line: Line, _: Compared, __: datetime) -> Cause | None:
    """Requests of the minutes around midnight that the other side has on another day."""
    for verdict in ("free", "billed"):
        if line.difference(_verdict(verdict)) > 0 and (
            found := _near_midnight(line, line.difference(_verdict(verdict)))
        ):
            return Cause(
                "a window's edge: these came around midnight UTC, the other side may count them on another day",
                _ids(found),
            )
    return None


def _verdict(name: str) -> Verdict:
    return "free" if name == "free" else "billed"


def _near_midnight(line: Line, tokens: int) -> list[Any]:
    def is_near(record: Any) -> bool:
        when = moment.parse(record["occurred_at"])
        start = moment.midnight(moment.day_of(when))
        return when - start < EDGE or start + moment.DAY - when < EDGE

    near = [record for record in _records(line.ours.rows) if is_near(record)]
    return near if near and sum(record["tokens"]["total"] for record in near) == tokens else []


def _lagging(line: Line, _: Compared, now: datetime) -> Cause | None:
    """The platform's usage does not show the last minutes yet."""
    more = line.ours.total - line.theirs.total
    late = [each for each in _records(line.ours.rows) if now - moment.parse(each["occurred_at"]) < LAG]
    if more > 0 and sum(record["tokens"]["total"] for record in late) >= more:
        return Cause("the platform's usage lags 5 to 15 minutes; leave the newest traffic out with --as-of", _ids(late))
    return None


def _only_one_side(line: Line, _: Compared, __: datetime) -> Cause | None:
    more = line.ours.total - line.theirs.total
    if more < 0:
        said = "traffic that never reached us: not sent, refused (see the quarantine), or under another organization"
        return Cause(said if line.ours.total else f"{said}; we know of no request for this model")
    if more > 0:
        records = _records(line.ours.rows)
        counted = Counter(record["tokens"]["total"] for record in records)
        shown = [record for record in records if record["tokens"]["total"] == more and counted[more] == 1]
        return Cause(
            "traffic of which the platform does not know: another key or organization, or counted twice", _ids(shown)
        )
    return None
