"""Closes a day: proves it, and writes its statement.

What if this dies on any line, runs twice, or two of it run at once? It only reads, until it writes one statement under
a condition. The same proof again writes nothing; a late decision changes the hash, and that is a new revision. What a
large day's proof has read so far is kept now and then, and whoever comes next goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from gratis.closing.proof import Proof
from gratis.closing.proving import BLOCK, NoLongerKept, Proving
from gratis.closing.statements import Statements
from gratis.closing.windows import OfferOf
from gratis.errors import Busy
from gratis.table.ledger import Ledger


class Closed(NamedTuple):
    """The day was proved. `statement`: the new revision; None if the latest one says the same."""

    proof: Proof
    statement: dict[str, Any] | None


@dataclass(frozen=True)
class PutDown:
    """Time ran out. What was read is kept, and the next call goes on from there."""


@dataclass(frozen=True)
class Unchanged:
    """No document of the day changed since its last statement, and that one held.

    Usual when two late decisions queue the same day twice.
    """


def close(
    ledger: Ledger,
    statements: Statements,
    organization: str,
    day: date,
    *,
    offer_of: OfferOf,
    now: Callable[[], datetime],
    hurry: Callable[[], bool],
    block: int = BLOCK,
) -> Closed | PutDown | Unchanged | NoLongerKept:
    """Prove a day and write its statement. Raises Busy.

    `hurry`: whether time runs out; asked after each `block` of decisions.
    """
    kept = statements.kept(organization, day)
    proving = Proving(ledger, organization, day, offer_of, kept)
    if kept is None and statements.holds_on(organization, day, proving.versions):
        return Unchanged()
    is_kept = kept is not None
    while not proving.go_on(block):
        statements.keep(organization, day, proving.content(), now())
        is_kept = True
        if hurry():
            return PutDown()
    try:
        proof = proving.proof(now())
    except Busy:
        statements.forget(organization, day)  # the day, or a window of it, was written to: the next call begins anew
        raise
    closed = (
        Closed(proof, statements.write(proof, proving.sums.tree, now(), proving.versions))
        if isinstance(proof, Proof)
        else proof
    )
    if is_kept:
        statements.forget(organization, day)
    return closed
