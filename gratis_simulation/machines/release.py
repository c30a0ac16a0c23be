"""What a worker runs: the core, and what stands between it and the services.

A world in which releases change has several; a deliberate fault is a release that lies or forgets in one place.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from gratis.account.reservations import Reservations
from gratis.classify import Classifier
from gratis.closing.statements import Statements
from gratis.intake.queue import UsageQueue
from gratis.intake.receive import Received, receive
from gratis.intake.stream import UsageStream
from gratis.outbox import Emitted, emit
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine


def as_it_is(client: Any) -> Any:
    """Nothing stands between."""
    return client


def all_ways(_: Collection[str]) -> Collection[str]:
    """The queue is read whatever the intake is, the stream until nothing is put into it any more and it is empty."""
    return ("queue", "stream")


@dataclass(frozen=True)
class Release:
    """`table`, `queue` and `bus` wrap the clients of the services; the rest is what the functions wire.

    `reads`: from where events are taken, by where they are put.
    """

    name: str
    table: Callable[[Any], Any] = as_it_is
    queue: Callable[[Any], Any] = as_it_is
    bus: Callable[[Any], Any] = as_it_is
    ledger: Callable[..., Ledger] = Ledger
    quarantine: Callable[..., Quarantine] = Quarantine
    accounts: Callable[..., Accounts] = Accounts
    usage_queue: Callable[..., UsageQueue] = UsageQueue
    usage_stream: Callable[..., UsageStream] = UsageStream
    reads: Callable[[Collection[str]], Collection[str]] = all_ways
    classifier: Callable[..., Classifier] = Classifier
    receive: Callable[..., Received] = receive
    reservations: Callable[..., Reservations] = Reservations
    emit: Callable[..., Emitted] = emit
    statements: Callable[..., Statements] = Statements


THIS = Release("this")
