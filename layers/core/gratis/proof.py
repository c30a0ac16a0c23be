"""The proof of a closed day. SPEC section 3, promise 6. Pure.

`statement_of` needs nothing but the emitted billing records, so whoever holds them can check counts, sums and hash.
`differences` looks further: at the counters, the totals, the neighbouring days, and each decision's own receipt.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

from gratis import moment, pricing
from gratis.account import Account
from gratis.decision import Decision, case_under
from gratis.eligibility import Allowed, Terms, terms_of_versions
from gratis.offer import EVALS, Offer
from gratis.request import Request, Tokens
from gratis.totals import OTHER, RowKey, Sums, Totals

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """Something that does not hold. `ids`: of the billing records that show it."""

    kind: str
    message: str
    ids: Sequence[str] = ()


@dataclass
class _Sums:
    counts: dict[str, int] = field(default_factory=lambda: {"free": 0, "billed": 0})
    tokens: dict[str, int] = field(default_factory=lambda: {"free": 0, "billed": 0})
    listed: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    unpriced: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        verdict = record["verdict"]
        self.counts[verdict] += 1
        self.tokens[verdict] += record["tokens"]["total"]
        self.listed += Decimal(record["list_amount_usd"] or 0)
        self.billed += Decimal(record["amount_usd"] or 0)
        if record["list_amount_usd"] is None:
            self.unpriced.append(record["id"])


def statement_of(organization: str, day: date, records: Iterable[Record]) -> dict[str, Any]:
    """Counts, sums and hash of a day's billing records, which come sorted by id.

    The hash is SHA-256 over the records, each as JSON with sorted keys and without spaces, a newline after each.
    """
    digest, sums = hashlib.sha256(), _Sums()
    for record in records:
        sums.add(record)
        digest.update(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return {
        "organization": organization,
        "day": day.isoformat(),
        "decisions": sum(sums.counts.values()),
        "free": sums.counts["free"],
        "billed": sums.counts["billed"],
        "free_tokens": sums.tokens["free"],
        "billed_tokens": sums.tokens["billed"],
        "list_amount_usd": pricing.usd(sums.listed),
        "amount_usd": pricing.usd(sums.billed),
        "unpriced": sums.unpriced,
        "hash": digest.hexdigest(),
    }


def by_id(records: Iterable[Record]) -> tuple[list[Record], list[Difference]]:
    """Records sorted by id, repeats dropped; the same id with another content is a difference."""
    kept: dict[str, Record] = {}
    torn = [record["id"] for record in records if kept.setdefault(record["id"], record) != record]
    found = [Difference("repeat", "emitted twice with another content", sorted(set(torn)))] if torn else []
    return sorted(kept.values(), key=lambda record: record["id"]), found


def tiling(records: Iterable[Record], used: Mapping[tuple[str, str], int] | None = None) -> Iterator[Difference]:
    """Free decisions of a counter, sorted by `used_before`, tile [0, used] without gap or overlap.

    `used`: what the counters hold, by group and window. Without it only the records are held against each other, and
    a window that reaches into other days may begin or end anywhere.
    """
    counters: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record["verdict"] == "free" and record["used_after"] != record["used_before"]:
            counters[record["group"], record["window"]].append(record)
    for counter in sorted(counters.keys() | (used or {}).keys()):
        free = sorted(counters[counter], key=lambda record: record["used_before"])
        where = f"counter {counter[0]} {counter[1]}"
        over = [record["id"] for record in free if record["used_after"] > record["quota"]]
        if over:
            yield Difference("over_granted", f"{where}: more was free than the quota", over)
        for before, after in pairwise(free):
            if after["used_before"] < before["used_after"]:
                yield Difference("overlap", f"{where}: two decisions on the same tokens", [before["id"], after["id"]])
        if used is not None:
            yield from _gaps(where, free, used.get(counter, 0))


def _gaps(where: str, free: Sequence[Record], used: int) -> Iterator[Difference]:
    reached = 0
    for record in free:
        if record["used_before"] > reached:
            message = f"{where}: no decision on {reached} to {record['used_before']}"
            yield Difference("gap", message, [record["id"]])
        reached = max(reached, record["used_after"])
    if reached != used:
        last = [free[-1]["id"]] if free else []
        yield Difference("gap", f"{where}: the decisions reach {reached}, the counter holds {used}", last)


def totals_differ(decisions: Iterable[Decision], stored: Mapping[str, Totals]) -> Iterator[Difference]:
    """The day's totals by group are the sums over its decisions. `stored`: by group."""
    counted: dict[str, Totals] = defaultdict(Totals)
    for decision in decisions:
        listed = Decimal(decision.list_amount_usd) if decision.list_amount_usd is not None else None
        counted[decision.group or "-"].add(request_of(decision), decision.verdict, listed)
    for group in sorted(counted.keys() | stored.keys()):
        ours, theirs = counted[group].rows, stored.get(group, Totals()).rows
        if _folded(ours, theirs) != theirs:
            yield Difference("totals", f"group {group}: the totals are not the sums over the decisions")


def _folded(counted: Mapping[RowKey, Sums], stored: Mapping[RowKey, Sums]) -> dict[RowKey, Sums]:
    """`counted` with the rows that `stored` does not list summed into `(other)`, if it has such rows."""
    if not any(key.model == OTHER for key in stored):
        return dict(counted)
    folded: dict[RowKey, Sums] = {}
    for key, sums in counted.items():
        into = key if key in stored else key._replace(project=OTHER, model=OTHER, service_tier=OTHER)
        total = folded.setdefault(into, Sums())
        for name in Sums.__slots__:
            setattr(total, name, getattr(total, name) + getattr(sums, name))
    return folded


def decided_differently(
    decision: Decision, account: Account | None, offer: Offer, closed: Collection[str]
) -> str | None:
    """Why the decision, taken again from its receipt, would be another one; None if it is the same.

    `closed`: windows that an earlier request closed, where the offer's overflow policy is `close`.
    """
    request = request_of(decision)
    terms = terms_of_versions(request, _offer_then(offer, decision), account, _versions(decision))
    case = case_under(request, terms)
    listed = None if case.list_amount is None else pricing.usd(case.list_amount)
    if listed != decision.list_amount_usd:
        return f"list_amount_usd is {decision.list_amount_usd}, the prices say {listed}"
    if decision.amount_usd != ("0" if decision.verdict == "free" else listed):
        return f"amount_usd is {decision.amount_usd}, {decision.verdict} at {listed}"
    outcome = case.outcome
    again = ("billed", outcome) if isinstance(outcome, str) else _fits(decision, outcome, terms, closed)
    if again != (decision.verdict, decision.reason):
        return f"is {decision.verdict} ({decision.reason}); from its receipt it would be {again[0]} ({again[1]})"
    return None


def _fits(decision: Decision, allowed: Allowed, terms: Terms, closed: Collection[str]) -> tuple[str, str]:
    """Rule 7 from the receipt's own figures."""
    units = 1 if decision.group == EVALS else decision.input + decision.output
    before = decision.used_before or 0
    figures = (decision.quota, decision.running_total, decision.group)
    if figures != (allowed.quota, before + units, allowed.group):
        return (
            "undecidable",
            f"quota, running total and group would be {allowed.quota}, {before + units}, {allowed.group}",
        )
    is_closed = terms.version.overflow == "close" and decision.window in closed and decision.verdict == "billed"
    fits = units == 0 or (before + units <= allowed.quota and not is_closed)
    return ("free", "within_quota") if fits else ("billed", "over_quota")


def request_of(decision: Decision) -> Request:
    """The request, as far as it mattered to its decision."""
    return Request(
        kind=decision.kind,
        organization=decision.organization,
        id=decision.request_id,
        project=decision.project,
        model=decision.model,
        endpoint=decision.endpoint,
        service_tier=decision.service_tier,
        batch=decision.batch,
        tools=(decision.hosted_tool,) if decision.hosted_tool else (),
        shared=decision.shared,
        tokens=Tokens(decision.input, decision.cached, decision.output),
        occurred_at=moment.parse(decision.occurred_at),
        received_at=moment.parse(decision.received_at),
        payload_hash=decision.payload_hash,
    )


def _versions(decision: Decision) -> tuple[int | None, int | None]:
    return decision.profile_version, decision.settings_version


def _offer_then(offer: Offer, decision: Decision) -> Offer:
    """The offer with the last day that it had when the decision was taken."""
    ends = date.fromisoformat(decision.offer_ends) if decision.offer_ends else None
    return offer.model_copy(update={"ends": ends})
