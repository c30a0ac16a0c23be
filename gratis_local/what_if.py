"""The same events under two offers: who pays what, what is free, and what all-or-nothing leaves stranded."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gratis.rules import pricing
from gratis.rules.account import Account
from gratis.rules.receipt import Decision
from gratis_local.engine import engine
from gratis_local.replay import Replayed, replay
from gratis_local.sources import read_offer

SIDES = ("a", "b")


@dataclass(frozen=True)
class Bill:
    """What one organization, or all, gets and pays under one offer. `unpriced`: billed requests of unknown amount."""

    amount: Decimal
    free_tokens: int
    stranded_tokens: int
    unpriced: int

    def content(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "amount_usd": pricing.usd(self.amount),
            "free_tokens": self.free_tokens,
            "stranded_tokens": self.stranded_tokens,
            "unpriced": self.unpriced,
        }


@dataclass(frozen=True)
class Compared:
    """Two replays of the same events. `offers`: as they were named."""

    offers: tuple[str, str]
    replays: tuple[Replayed, Replayed]

    @property
    def totals(self) -> tuple[Bill, Bill]:
        """All organizations together."""
        first, second = self.replays
        return bill_of(first.decisions), bill_of(second.decisions)

    def organizations(self) -> dict[str, tuple[Bill, Bill]]:
        """Each organization's bills, by name."""
        first, second = (_by_organization(each.decisions) for each in self.replays)
        return {name: (bill_of(first[name]), bill_of(second[name])) for name in sorted({*first, *second})}

    def changes(self) -> list[tuple[Decision, Decision]]:
        """The requests whose verdict the offers differ in, in file order."""
        first, second = self.replays
        theirs = {decision.key: decision for decision in second.decisions}
        pairs = [(ours, theirs[ours.key]) for ours in first.decisions if ours.key in theirs]
        return [(ours, other) for ours, other in pairs if ours.verdict != other.verdict]

    def content(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "offers": dict(zip(SIDES, self.offers, strict=True)),
            "totals": _bills(self.totals),
            "organizations": [{"organization": name} | _bills(bills) for name, bills in self.organizations().items()],
            "changes": [
                {"id": pair[0].record()["id"]} | dict(zip(SIDES, map(_verdict, pair), strict=True))
                for pair in self.changes()
            ],
            "quarantined": dict(zip(SIDES, (each.quarantined for each in self.replays), strict=True)),
        }


def what_if(
    events: Sequence[Any],
    accounts: Sequence[Account],
    offers: tuple[str, str],
    progress: Callable[[int], None] = lambda _: None,
) -> Compared:
    """Replay `events` under each offer, on an engine of its own.

    `offers`: ids of shipped offers, or files. Raises what `read_offer`, `engine` and `replay` raise.
    """
    first, second = (_replayed(events, accounts, offer, progress) for offer in offers)
    return Compared(offers, (first, second))


def bill_of(decisions: Sequence[Decision]) -> Bill:
    """The bill for these decisions. An amount that is not known counts as nothing."""
    amounts = [decision.amount_usd for decision in decisions]
    return Bill(
        amount=sum((Decimal(amount) for amount in amounts if amount is not None), Decimal(0)),
        free_tokens=sum(_tokens(decision) for decision in decisions if decision.verdict == "free"),
        stranded_tokens=stranded_tokens(decisions),
        unpriced=sum(decision.counts for decision in decisions if decision.amount_usd is None),
    )


def stranded_tokens(decisions: Iterable[Decision]) -> int:
    """Tokens that would have been free if a request could be split: docs/decisions/009-stranded-tokens.md.

    Of each window in which requests were billed `over_quota`: what its quota has left after its last decision, but no
    more than those requests' tokens.
    """
    left: dict[tuple[str | None, ...], int] = {}
    missed: dict[tuple[str | None, ...], int] = defaultdict(int)
    for each in decisions:
        quota, after = each.figure("quota"), each.figure("used_after")
        if each.window is None or quota is None or after is None or each.unit != "tokens":
            continue
        window = (each.organization, each.group, each.pool, each.window)
        left[window] = max(0, int(quota - after))
        missed[window] += _tokens(each) if each.verdict == "billed" else 0  # for over_quota, or the void of such
    return sum(min(left[window], tokens) for window, tokens in missed.items())


def _replayed(
    events: Sequence[Any], accounts: Sequence[Account], offer: str, progress: Callable[[int], None]
) -> Replayed:
    with engine() as url:
        return replay(events, accounts, read_offer(offer), url, progress)


def _tokens(decision: Decision) -> int:
    return decision.input + decision.output


def _by_organization(decisions: Iterable[Decision]) -> defaultdict[str, list[Decision]]:
    found: defaultdict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        found[decision.organization].append(decision)
    return found


def _bills(bills: tuple[Bill, Bill]) -> dict[str, Any]:
    first, second = bills
    sides = dict(zip(SIDES, (first.content(), second.content()), strict=True))
    return sides | {"difference_usd": pricing.usd(second.amount - first.amount)}


def _verdict(decision: Decision) -> dict[str, Any]:
    return {"verdict": decision.verdict, "reason": decision.reason, "amount_usd": decision.amount_usd}
