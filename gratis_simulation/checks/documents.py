"""Counters and totals hold what the decisions so far add up to: not even for a second do they disagree."""

from typing import Any

from gratis.rules.window import CounterId, Window
from gratis.table.ledger import Document
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.told import Sum, rooms_in


def check(ended: Ended) -> None:
    """After each commit every document that it touched agrees with all decisions up to then."""
    for commit in ended.told.commits:
        for identity, (document, decided) in commit.documents.items():
            _counter_agrees(identity, document, decided)
            _totals_agree(identity, document, decided)
            if rooms_in(document) != decided.rooms:
                message = f"{identity} holds {rooms_in(document)}, must hold {decided.rooms}"
                raise Broken("reservations right", message)


def _counter_agrees(identity: CounterId, document: Document, decided: Sum) -> None:
    windows = document.counter.windows
    held = {window.start: (window.used, window.overflowed, _announced(window, decided)) for window in windows}
    if held != decided.windows:
        raise Broken("windows right", f"{identity} holds {held}, its decisions make {decided.windows}")


def _announced(window: Window, decided: Sum) -> frozenset[Any]:
    """The first release noted only that something was announced; that may have been any quota."""
    _, _, announced = decided.windows.get(window.start, (0, False, window.announced))
    return announced if None in window.announced and announced else window.announced


def _totals_agree(identity: CounterId, document: Document, decided: Sum) -> None:
    held: dict[Any, list[Any]] = {tuple(key): list(row.figures) for key, row in document.totals.rows.items()}
    if document.is_damaged:
        raise Broken("totals are sums of decisions", f"{identity} names other pages than there are: {document}")
    if held != decided.rows:
        raise Broken("totals are sums of decisions", f"{identity} holds {held}, its decisions make {decided.rows}")
    if list(document.recent) != decided.recent:
        raise Broken("explained", f"{identity} remembers {document.recent}, decided were {decided.recent}")
