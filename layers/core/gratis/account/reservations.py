"""Checks and reservations: what the decision on a request would be, and room that is set aside for it.

SPEC section 2, "Reservations". The verdict is that of `decide`, on the counter as it stands. A reservation is committed
like a decision: only on the very document that it was judged on, and only while the account is as it was. What if this
dies on any line, or runs twice? Either nothing was written, or the reservation was, which the same call then finds.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any, NamedTuple, TypeVar

from gratis import moment
from gratis.account.asked import Asked, Wanted, request_of
from gratis.errors import Busy
from gratis.http import Refused
from gratis.rules.decision import Books, Case, binding_of, case_of, decide, likely_counter
from gratis.rules.explanation import explain
from gratis.rules.figures import written
from gratis.rules.offer import Group, Offer
from gratis.rules.receipt import Decision
from gratis.rules.reservation import MAX_LIFE, MAX_OPEN, Reservation, open_at
from gratis.rules.window import Counter, CounterId, Window
from gratis.table.account_items import StoredAccount
from gratis.table.dynamo import Pause, pause
from gratis.table.ledger import AccountMoved, CommitRefused, Document, JudgedBy, Ledger

Done = TypeVar("Done")
MAX_RACES = 40
"""How often others may commit first before the caller is asked to come again. Each time somebody gets on."""
Documents = Mapping[CounterId, Document]


class Judged(NamedTuple):
    """A request as it would be decided now. `counter`: on which, as it stands."""

    case: Case
    counter: Counter
    decision: Decision

    @property
    def window(self) -> Window | None:
        """The window that it counts in, if that is open."""
        group = self.case.ruling.group
        return group.window.window_at(self.counter, self.case.request.occurred_at, group.span) if group else None


class Reservations:
    """What an organization asks, reserves and releases at the moment `now`."""

    def __init__(self, ledger: Ledger, offer: Offer, organization: str, now: datetime, *, pause: Pause = pause) -> None:
        self.ledger = ledger
        self.offer = offer
        self.organization = organization
        self.now = now
        self.pause = pause

    def check(self, asked: Asked) -> dict[str, Any]:
        """Whether the request would be free if it came now: one read, no write. Raises Busy."""
        request = request_of(asked, self.organization, self.now)
        counter = likely_counter(request, self.offer.version_at(self.now))
        accounts, documents = self.ledger.read([self.organization], [counter])
        judged = self._judged(asked, accounts.get(self.organization), documents)
        return {"object": "allowance.check", **_said(judged)}

    def reserve(self, wanted: Wanted) -> tuple[dict[str, Any], bool]:
        """Set room aside if the request would be free now, and say whether this is no repeat.

        Raises Refused: 409 for an id that is taken, 429 where too many are open; Busy.
        """
        return self._racing(lambda: self._reserve(wanted))

    def release(self, name: str) -> None:
        """Give back the room of a reservation, if there is one of this id. Raises Busy."""
        self._racing(lambda: self._release(name))

    def listed(self) -> list[dict[str, Any]]:
        """The open reservations, the next to expire first. Raises Busy."""
        found = sorted(self._open(self._read()[1]), key=lambda each: (each[1].expires_at, each[1].id))
        return [_shown(counter, each) for counter, each in found]

    def _racing(self, attempt: Callable[[], Done]) -> Done:
        """What an attempt comes to, made again from what then stands as long as others are faster."""
        refused: Exception | None = None
        for number in range(MAX_RACES):
            if number:
                self.pause(min(number, 4))
            try:
                return attempt()
            except (AccountMoved, CommitRefused, Busy) as error:
                refused = error
        raise Busy(f"tried {MAX_RACES} times: {refused}")

    def _reserve(self, wanted: Wanted) -> tuple[dict[str, Any], bool]:
        account, documents = self._read()
        judged = self._judged(wanted, account, documents)
        case, there = judged.case, open_at(judged.counter.reservations, self.now)
        if self.ledger.decisions([case.request.key]):
            raise Refused(409, "already_decided", f"id: {wanted.id!r} was decided today already (UTC)", "id")
        if earlier := next((each for _, each in self._open(documents) if each.id == wanted.id), None):
            if earlier.body != wanted.hash():
                raise Refused(409, "conflict", f"id: {wanted.id!r} is reserved with another body", "id")
            return _reserved(wanted, judged, earlier.expires_at), False
        if judged.decision.verdict == "billed":
            return _reserved(wanted, judged, None), True
        if len(there) >= MAX_OPEN:
            raise _too_many(case.counter, min(each.expires_at for each in there) - self.now)
        reservation = self._reservation(wanted, judged)
        self._commit(documents, case.counter, (*there, reservation), JudgedBy.of(account))
        return _reserved(wanted, judged, reservation.expires_at), True

    def _release(self, name: str) -> None:
        documents = self._read()[1]
        for counter, each in self._open(documents):
            if each.id == name:
                there = open_at(documents[counter].counter.reservations, self.now)
                self._commit(documents, counter, tuple(other for other in there if other is not each))

    def _commit(
        self,
        documents: Documents,
        counter: CounterId,
        reservations: tuple[Reservation, ...],
        judged_by: JudgedBy | None = None,
    ) -> None:
        """The totals stay as they are. Pages that the first release left out of the document are put into it again."""
        read = self.ledger.with_pages(counter, documents.get(counter, Document()), ())
        books = Books(read.counter._replace(reservations=reservations), {})
        self.ledger.commit({counter: read} if read.version else {}, counter, books, [], judged_by=judged_by)

    def _judged(self, asked: Asked, account: StoredAccount | None, documents: Documents) -> Judged:
        """By the rules of a decision, on the counter as it stands; the decision itself is not written."""
        case = case_of(request_of(asked, self.organization, self.now), self.offer, account)
        counter = documents.get(case.counter, Document()).counter
        return Judged(case, counter, decide(counter, case, self.now)[1])

    def _reservation(self, wanted: Wanted, judged: Judged) -> Reservation:
        return Reservation(
            id=wanted.id,
            units=judged.case.ruling.units,
            made_at=self.now,
            expires_at=self.now + timedelta(seconds=wanted.expires_in),
            window=judged.window.start if judged.window else None,
            project=wanted.project,
            binding=binding_of(judged.case.terms),
            body=wanted.hash(),
        )

    def _read(self) -> tuple[StoredAccount | None, dict[CounterId, Document]]:
        """The account, and all documents that can hold a reservation which is open now."""
        moments = (self.now, self.now - MAX_LIFE)
        groups = [(group, when) for when in moments for group in self.offer.version_at(when).all_groups()]
        shared = {self._counter(group, when) for group, when in groups if group.scope == "organization"}
        by_project = {self._counter(group, when) for group, when in groups if group.scope == "project"}
        accounts, documents = self.ledger.read([self.organization], shared)
        for counter in by_project:
            documents |= self.ledger.pools(counter)
        return accounts.get(self.organization), documents

    def _counter(self, group: Group, when: datetime) -> CounterId:
        return CounterId(self.organization, group.name, group.window.slot(when))

    def _open(self, documents: Documents) -> Iterator[tuple[CounterId, Reservation]]:
        for counter, document in documents.items():
            for each in open_at(document.counter.reservations, self.now):
                yield counter, each


def _said(judged: Judged) -> dict[str, Any]:
    """What a check and a reservation say. Shape: SPEC section 5."""
    decision, group, window = judged.decision, judged.case.ruling.group, judged.window
    quota, used, reserved = (decision.figure(name) for name in ("quota", "used_before", "reserved_before"))
    counted = quota is not None
    left = max((quota or 0) - (used or 0) - (reserved or 0), type(quota or 0)(0))
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "explanation": explain(decision, judged.case.terms.version),
        "group": decision.group,
        "unit": decision.unit,
        "quota": decision.quota,
        "used": decision.used_before,
        "reserved": decision.reserved,
        "remaining": written(left) if counted else None,
        "resets_at": moment.text(group.resets_at(window)) if counted and group and window else None,
    }


def _reserved(wanted: Wanted, judged: Judged, expires_at: datetime | None) -> dict[str, Any]:
    ends = moment.text(expires_at) if expires_at else None
    return {**_said(judged), "object": "reservation", "id": wanted.id, "tokens": wanted.total, "expires_at": ends}


def _shown(counter: CounterId, reservation: Reservation) -> dict[str, Any]:
    return {
        "object": "reservation",
        "id": reservation.id,
        "group": counter.group,
        "project": reservation.project,
        "units": written(reservation.units),
        "created_at": moment.text(reservation.made_at),
        "expires_at": moment.text(reservation.expires_at),
    }


def _too_many(counter: CounterId, wait: timedelta) -> Refused:
    said = f"{MAX_OPEN} reservations are open in group {counter.group}; use, release or let expire some of them first"
    return Refused(429, "too_many_reservations", said, retry_after=max(1, ceil(wait.total_seconds())))
