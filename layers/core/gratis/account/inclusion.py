"""The proof that one decision is in its day's statement, made without reading the others of a large day."""

from datetime import date
from itertools import islice
from typing import Any

from gratis.closing.chain import canonical
from gratis.closing.merkle import leaf, root_from
from gratis.closing.statements import statements_beside
from gratis.http import Refused
from gratis.rules.receipt import Decision
from gratis.table.ledger import Ledger

MAX_LEAVES = 16_384
"""Decisions that are read for one answer: enough for a day of four million."""


def inclusion_of(decision: Decision, ledger: Ledger) -> dict[str, Any] | None:
    """Record, path (RFC 6962, from the leaf up, in hex) and statement; None while no statement has the decision.

    Raises Busy, and Refused for a day too large to be read here.
    """
    day, statements = date.fromisoformat(decision.day), statements_beside(ledger)
    stated, tree = statements.latest(decision.organization, day), statements.tree(decision.organization, day)
    if stated is None or tree is None or stated.get("root") != tree.root().hex():
        return None
    if tree.block > MAX_LEAVES:
        said = f"{stated['decisions']} decisions on {day} are too many to be read here"
        raise Refused(400, "too_large", f"{said}; the day's records and its statement prove it", "proof")
    name = decision.record_id.removeprefix(f"{decision.organization}:{day}:")
    number, after = tree.block_of(name)
    of_block = islice(ledger.decisions_of_day(decision.organization, day, after), tree.block)
    records = [each.record() for each in of_block]
    index = next((at for at, each in enumerate(records) if each["id"] == decision.record_id), None)
    if index is None:
        return None
    leaves = [leaf(canonical(each)) for each in records]
    inclusion = tree.path_of(number, leaves, index)
    if root_from(leaves[index], inclusion) != tree.root():
        return None  # a decision came after the statement: the day is about to be closed again
    return {
        "record": records[index],
        "index": inclusion.place,
        "size": inclusion.size,
        "path": [each.hex() for each in inclusion.path],
        "statement": stated,
    }
