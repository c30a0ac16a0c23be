"""The events of a world: repeats, conflicts, late and undecidable ones, exact fills, moments on every boundary."""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from gratis.moment import midnight
from gratis.rules.account import Account
from gratis_simulation.worlds.payload import (
    Event,
    Payload,
    Reserving,
    Voiding,
    spoiled,
    spoiled_void,
    written,
    written_void,
)
from gratis_simulation.worlds.rules import ALIAS, LARGE, PROJECTS, SMALL, UNLISTED, Rules

HORIZON = timedelta(days=35)
AHEAD = timedelta(minutes=5)
KEPT = HORIZON + timedelta(days=4)
"""From `occurred_at`, a decision: the dedupe horizon and the queue's retention."""


HAIR = timedelta(microseconds=1)
AGES = (
    HORIZON,
    HORIZON + HAIR,
    -AHEAD,
    -AHEAD - HAIR,
    *(HORIZON - timedelta(seconds=less) for less in (30, 90, 86400)),
)
"""How old an event may be when it is received, what is a hair too much, and what is nearly so."""


class Traffic:
    """Makes one event after the other; each may refer to those before it.

    `first`: only what the first release decided and priced as this one does.
    """

    def __init__(
        self,
        dice: random.Random,
        rules: Rules,
        accounts: Sequence[Account],
        organizations: Sequence[str],
        base: date,
        *,
        first: bool = False,
    ) -> None:
        self.organizations = organizations
        self._dice = dice
        self._quota = rules.quota
        self._sent: list[Payload] = []
        self._voids: list[Voiding] = []
        self._used: dict[Any, int] = defaultdict(int)
        self._edges = _edges(rules, accounts, base)
        self._ids = 0
        self._repeats = dice.choice((0.05, 0.15, 0.4))
        self._conflicts = dice.choice((0.0, 0.05, 0.2, 0.4))
        self._late = dice.choice((0.05, 0.3, 0.6))
        self._odd = dice.choice((0.05, 0.3))
        self._runs = dice.choice((0.0, 0.1, 0.5)) if not first else 0.0
        self._other_kind = "usage.eval_run" if not first else "usage.request"
        self._other_tier = "priority" if not first else "auto"
        self._same_ids = dice.choice((0.05, 0.1, 0.3))
        self._poisonous = dice.choice((0.0, 0.0, 0.0, 0.1))
        self._taken_back = dice.choice((0.0, 0.05, 0.2, 0.4)) if not first else 0.0
        self._reserved: list[Reserving] = []
        self._coming: list[Payload] = []
        """The requests for which room was asked for, but those whose client died."""
        self.reserving = dice.choice((0.0, 0.0, 0.3, 0.8)) if not first else 0.0
        """How often room is asked for."""
        self._favourite = dice.choice((*LARGE, *SMALL))

    def event(self, at: datetime) -> Event:
        """The next event, sent at this moment."""
        if self._coming and self._dice.random() < 0.5:
            payload = self._as_reserved(at)
            self._sent.append(payload)
            return written(payload, self._dice)
        if self._dice.random() < self._taken_back:
            return self._void_event(at)
        chance = self._dice.random()
        if self._sent and chance < self._repeats:
            return written(self._dice.choice(self._sent[-12:]), self._dice)
        if self._sent and chance < self._repeats + self._conflicts:
            payload = self._conflict(self._dice.choice(self._sent[-self._dice.choice((1, 2, 6)) :]))
        else:
            payload = self._payload(at)
        event = written(payload, self._dice)
        if self._dice.random() < 0.02:
            return spoiled(event, self._dice)
        self._sent.append(payload)
        return event

    def room(self, at: datetime) -> Reserving:
        """Room that a client asks for: new, once more, or once more with another body."""
        dice = self._dice
        if self._reserved and dice.random() < 0.2:
            again = dice.choice(self._reserved[-4:])
            return again if dice.random() < 0.7 else again._replace(expires_in=7)
        self._ids += 1
        asked = self._payload(at)._replace(id=f"res{self._ids}", occurred_at=at)
        wanted = Reserving(asked, dice.random() < 0.5, dice.choice((1, 2, 5, 60, 600, 3600, 3600)))
        self._reserved.append(wanted)
        if dice.random() < 0.8:
            self._coming.append(asked)
        return wanted

    def given_back(self) -> tuple[str, str]:
        """Organization and id of room that is not needed any more, perhaps because it is used already."""
        wanted = self._dice.choice(self._reserved[-6:])
        return wanted.asked.organization, wanted.asked.id

    def _as_reserved(self, at: datetime) -> Payload:
        """A request that was asked for, under its id or naming it: smaller or larger, or another project's."""
        dice = self._dice
        payload = self._coming.pop(dice.randrange(len(self._coming)))
        payload = payload._replace(occurred_at=self._moment(at) if dice.random() < 0.2 else at)
        if dice.random() < 0.4:
            tokens = dice.choice((0, payload.input // 2, payload.input + 1, payload.input + self._quota // 10))
            payload = payload._replace(input=tokens, cached=min(payload.cached, tokens))
        if dice.random() < 0.1:
            payload = payload._replace(project="other")
        return payload._replace(id=self._id(), reservation=payload.id) if dice.random() < 0.5 else payload

    def _void_event(self, at: datetime) -> Event:
        """A void: the same event again, another one of the same request, or one of a request that is to come."""
        if self._voids and self._dice.random() < 0.2:
            return written_void(self._dice.choice(self._voids[-4:]), self._dice)
        time = at - timedelta(milliseconds=self._dice.randrange(2000))
        event = written_void(self._void(time), self._dice)
        if self._dice.random() < 0.03:
            return spoiled_void(event, self._dice)
        return event

    def _void(self, time: datetime) -> Voiding:
        dice = self._dice
        near = self._sent[-dice.choice((1, 1, 3, 12)) :]
        again = [(each.organization, each.request_id, each.day) for each in self._voids[-3:]]
        coming = (self.organizations[0], dice.choice((f"r{self._ids + 1}", f"req:{self._ids + 1}/a")), time.date())
        known = [(each.organization, each.id, each.day) for each in near]
        organization, request_id, day = dice.choice(known if known and dice.random() < 0.8 else [*again, coming])
        if dice.random() < 0.05:
            organization = dice.choice(self.organizations)
        day += timedelta(days=dice.choice((0,) * 20 + (1, -1)))
        self._ids += 1
        why = dice.choice((None, None, "sent twice"))
        void = Voiding(organization, f"void_{self._ids}", time, request_id, day, why)
        self._voids.append(void)
        return void

    def undecidable(self, at: datetime) -> Event:
        """An event that can never be decided."""
        return spoiled(written(self._payload(at), self._dice), self._dice)

    def delayed(self, at: datetime) -> tuple[Event, datetime]:
        """An event that comes from the queue only now, and when it was received: about as old as one may be."""
        overdue = [payload for payload in self._sent if at - payload.occurred_at > HORIZON]
        if overdue and self._dice.random() < self._taken_back:
            payload = self._dice.choice(overdue)
            received_at = payload.occurred_at + HORIZON
            self._ids += 1
            void = Voiding(payload.organization, f"void_{self._ids}", received_at, payload.id, payload.day)
            return written_void(void, self._dice), received_at
        if overdue and self._dice.random() < 0.5:
            payload = self._dice.choice(overdue)
            return written(payload, self._dice), payload.occurred_at + HORIZON
        received_at = at - timedelta(days=self._dice.choice((0, 2, 4, 4)))
        payload = self._payload(received_at)
        if self._dice.random() < 0.7:
            payload = payload._replace(occurred_at=received_at - self._dice.choice(AGES))
        self._sent.append(payload)
        return written(payload, self._dice), received_at

    def many(self, at: datetime, count: int) -> list[Event]:
        """Small requests of one counter, in the order in which they occurred."""
        organization = self.organizations[0]
        payloads = [
            Payload("usage.request", organization, f"m{number}", at, LARGE[0], self._dice.choice((5, 9, 10)))
            for number in range(count)
        ]
        return [written(payload, self._dice, plainly=True) for payload in payloads]

    def _payload(self, at: datetime) -> Payload:
        dice = self._dice
        kind = "usage.eval_run" if dice.random() < self._runs else "usage.request"
        organization = self.organizations[0] if dice.random() < 0.7 else dice.choice(self.organizations)
        occurred_at = self._moment(at)
        model = self._model()
        tokens = self._tokens((organization, model, occurred_at.date()))
        output = dice.choice((0, 0, tokens // 2))
        payload = Payload(
            kind=kind,
            organization=organization,
            id=self._id(),
            occurred_at=occurred_at,
            model=model,
            input=tokens - output,
            cached=dice.choice((0, 0, (tokens - output) // 2)),
            output=output,
            project=dice.choice(PROJECTS),
        )
        return self._oddly(payload) if dice.random() < self._odd else payload

    def _oddly(self, payload: Payload) -> Payload:
        """Something that rule 4 or the prices look at."""
        oddities: Sequence[dict[str, Any]] = (
            {"endpoint": "Assistants"},
            {"endpoint": "assistants", "model": LARGE[1]},
            {"endpoint": "fine_tuning"},
            {"tools": ("web_search_preview_2025_03_11",)},
            {"tools": ("my_function", "File-Search")},
            {"tools": ("my_function", "web_searcher")},
            {"service_tier": "flex"},
            {"batch": True},
            {"shared": False},
            {"model": self._dice.choice(UNLISTED)},
        )
        return payload._replace(**self._dice.choice(oddities))

    def _conflict(self, payload: Payload) -> Payload:
        """The same request id on the same day, and yet another request."""
        tokens = payload.input + self._dice.choice((1, self._quota // 10))
        changes: Sequence[dict[str, Any]] = (
            {"input": tokens},
            {"input": tokens},
            {"model": SMALL[0] if payload.model in LARGE else LARGE[0]},
            {"model": SMALL[0] if payload.model in LARGE else LARGE[0]},
            {"project": "other"},
            {"output": payload.output + 1},
            {"kind": self._other_kind if payload.kind == "usage.request" else "usage.request"},
            self._dice.choice(
                (
                    {"endpoint": "other"},
                    {"tools": (*payload.tools, "my_function")},
                    {"service_tier": self._other_tier},
                    {"batch": not payload.batch},
                    {"shared": not payload.shared},
                    {"cached": payload.input - payload.cached},
                )
            ),
            {"occurred_at": midnight(payload.day) + timedelta(seconds=self._dice.randrange(3600))},
        )
        return payload._replace(**self._dice.choice(changes))

    def _id(self) -> str:
        """Mostly new; sometimes another request's, which names a new one on another day or of another organization."""
        if self._sent and self._dice.random() < self._same_ids:
            return self._dice.choice(self._sent).id
        self._ids += 1
        if self._dice.random() < self._poisonous:
            return self._dice.choice((f"poison{self._ids}", f"poison/whole{self._ids}"))
        return self._dice.choice((f"r{self._ids}", f"req:{self._ids}/a"))

    def _model(self) -> str:
        if self._dice.random() < 0.75:
            return self._favourite
        return self._dice.choice((*LARGE, *SMALL, ALIAS, UNLISTED[0]))

    def _tokens(self, counter: Any) -> int:
        """Sizes that add up to the quota often; sometimes exactly what should be left of it."""
        unit, left = self._quota // 10, self._quota - self._used[counter]
        if left > 0 and self._dice.random() < 0.15:
            tokens = left + self._dice.choice((0, 0, 1, -1))
        else:
            tokens = self._dice.choice((0, 1, unit, unit, 2 * unit, 3 * unit, 5 * unit, 8 * unit, 10 * unit, 11 * unit))
        if tokens <= left:
            self._used[counter] += tokens
        return tokens

    def _moment(self, at: datetime) -> datetime:
        dice, chance = self._dice, self._dice.random()
        if chance > self._late:
            return at - timedelta(milliseconds=dice.randrange(2000))
        if chance < self._late * 0.4:
            return at - timedelta(seconds=dice.randrange(30 * 3600))
        if chance < self._late * 0.9:
            return self._edge(at)
        return dice.choice(
            (
                at - timedelta(days=dice.randrange(2, 34)),
                at - HORIZON + timedelta(seconds=dice.choice((-90, 90))),
                at + AHEAD + timedelta(seconds=dice.choice((-90, 90))),
            )
        )

    def _edge(self, at: datetime) -> datetime:
        """On a boundary, or a hair before or after it."""
        again = [payload.occurred_at + timedelta(days=1) for payload in self._sent[-10:]]
        before = [payload.occurred_at - timedelta(days=1) for payload in self._sent[-3:]]
        earliest, latest = at - timedelta(days=30), at + AHEAD - timedelta(seconds=90)
        edges = (*self._edges, *again, *before) if self._dice.random() < 0.6 else (*again, *before)
        known = [edge for edge in edges if earliest < edge < latest]
        hair = self._dice.choice((0, 0, 0, -1, 1, 1000))
        return self._dice.choice(known or [at]) + timedelta(microseconds=hair)


def _edges(rules: Rules, accounts: Sequence[Account], base: date) -> list[datetime]:
    """Moments at which something begins or ends."""
    offer = rules.offer
    ends = offer.versions[0].dates.ends
    days = [base + timedelta(days=number) for number in range(-2, 5)]
    days += [version.effective_at for version in offer.versions] + [offer.versions[0].dates.starts]
    days += [ends + timedelta(days=1)] if ends else []
    profiles = [version.effective_at for account in accounts for version in account.profile]
    settings = [version.effective_at for account in accounts for version in account.sharing]
    return [*map(midnight, days), *profiles, *settings]
