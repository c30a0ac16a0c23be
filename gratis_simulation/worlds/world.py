"""A small random world, all of it from its seed: who there is, what happens when, and how unkind the machines are."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from gratis.closing.proving import BLOCK
from gratis.intake.messages import MAX_MESSAGE_EVENTS
from gratis.moment import midnight
from gratis.outbox import MAX_RECORDS
from gratis.rules.account import Account
from gratis.rules.offer import Offer
from gratis.rules.pages import MAX_PAGE_ROWS
from gratis.table.account_items import MAX_ITEM_BYTES
from gratis.table.ledger import MAX_ITEMS
from gratis.table.quarantine import MAX_RAW_BYTES
from gratis_simulation.machines.faults import KINDS, SOMEWHERE
from gratis_simulation.worlds import rules
from gratis_simulation.worlds.payload import Event, Reserving
from gratis_simulation.worlds.traffic import Traffic

BASES = (date(2025, 3, 6), date(2025, 3, 9), date(2025, 3, 10), date(2025, 3, 11), date(2025, 6, 9))
"""Days around which worlds are built: Sundays and Mondays, and the day before o3 became cheaper."""
ORGANIZATIONS = ("org_a", "org_a.b", "org_c")
"""One name is a prefix of another: what is asked of one organization must not be answered for the other."""


@dataclass(frozen=True)
class Post:
    """A sender posts these events in one body."""

    at: datetime
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Change:
    """The platform sets a profile, or an owner what is shared. `actor`: unique; `since`: how far it is back-dated."""

    at: datetime
    organization: str
    actor: str
    profile: dict[str, Any] | None = None
    sharing: dict[str, Any] | None = None
    since: timedelta = timedelta(0)


@dataclass(frozen=True)
class Stray:
    """A message that the webhook did not pack, or packed long ago. `received_at`: as it says; None if it does not."""

    at: datetime
    group: str
    body: str
    event: Event
    received_at: datetime | None = None


@dataclass(frozen=True)
class Close:
    """A day of an organization is closed."""

    at: datetime
    organization: str
    day: date


@dataclass(frozen=True)
class Deploy:
    """From now on each invocation runs one of these releases; the first of them, if chance does not want otherwise."""

    at: datetime
    releases: tuple[str, ...]


@dataclass(frozen=True)
class Reserve:
    """A client asks for room for a request that is still to come."""

    at: datetime
    wanted: Reserving


@dataclass(frozen=True)
class GiveBack:
    """A client gives the room of the reservation `name` back."""

    at: datetime
    organization: str
    name: str


@dataclass(frozen=True)
class Reshard:
    """The usage stream's shards are split, or merged."""

    at: datetime


@dataclass(frozen=True)
class Redirect:
    """From now on each call of the webhook takes one of these ways: the first, unless the dice choose another."""

    at: datetime
    ways: tuple[str, ...]


Step = Post | Change | Stray | Close | Deploy | Reserve | GiveBack | Reshard | Redirect


@dataclass(frozen=True)
class Limits:
    """The core's own limits, or smaller ones, so that few events reach them."""

    transaction: int = MAX_ITEMS
    message: int = MAX_MESSAGE_EVENTS
    records: int = MAX_RECORDS
    quarantined_bytes: int = MAX_RAW_BYTES
    page_rows: int = MAX_PAGE_ROWS
    block: int = BLOCK
    account_bytes: int = MAX_ITEM_BYTES


@dataclass(frozen=True)
class Knobs:
    """How the machines behave. Chances are per call or per turn."""

    fifo: bool = True
    """One batch of a message group at a time, as the queue promises; else any number."""
    keys: int = 1
    """Partition keys of an organization in the usage stream."""
    parallel: int = 1
    """Batches of one shard of it that are decided at a time."""
    workers: int = 1
    senders: int = 1
    shards: int = 1
    messages: int = 10
    """Most messages in a batch."""
    records: int = 100
    """Most stream records in a batch."""
    switching: float = 0.0
    """That another worker goes on at a call."""
    faults: float = 0.0
    """That something happens to a call."""
    kinds: tuple[str, ...] = ()
    """What may happen to a call."""
    max_faults: int = 25
    again: float = 0.0
    """That what succeeded is delivered once more."""
    skews: tuple[float, ...] = (0.0,)
    """How far the clocks of the machines are off, in seconds."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class World:
    """Everything that a run starts from."""

    seed: int
    offer: Offer
    stated: dict[str, Any]
    """The offer as its file says it."""
    accounts: tuple[Account, ...]
    start: datetime
    releases: tuple[str, ...]
    """What runs before anything is deployed."""
    way: str
    """Where events are put in the beginning: `queue` or `stream`."""
    plan: tuple[Step, ...]
    knobs: Knobs

    @property
    def intake(self) -> str:
        """One of INTAKES."""
        return "change" if any(isinstance(step, Redirect) for step in self.plan) else self.way

    @property
    def keeps_order(self) -> bool:
        """Whether all events of an organization are decided in the order of their arrival."""
        return self.knobs.fifo and self.knobs.keys == 1 and self.intake != "change"

    def runs(self, release: str) -> bool:
        """Whether a release runs at some time."""
        later = (step.releases for step in self.plan if isinstance(step, Deploy))
        return any(release in running for running in (self.releases, *later))


def build(seed: int) -> World:
    """The world of a seed."""
    dice = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    roomy = dice.random() < 0.02
    rollout = dice.choice(ROLLOUTS) if dice.random() < 0.2 else None
    after_the_first = rollout is not None and any("last" in running for running in rollout)
    base = dice.choice(BASES)
    chosen = rules.first_rules(dice, base) if after_the_first else rules.rules(dice, base, roomy=roomy)
    organizations = ORGANIZATIONS[: dice.choice((1, 1, 2, 3))]
    accounts = rules.histories(dice, base, organizations)
    if after_the_first:  # the first release recorded another group for who has no tier
        accounts += rules.beginners(base, set(organizations) - {each.id for each in accounts})
    start = midnight(base) + timedelta(hours=dice.choice((0, 12, 23, 23)), seconds=dice.choice((0, 3595, 3599)))
    traffic = Traffic(dice, chosen, accounts, organizations, base, first=after_the_first)
    plan = _roomy(dice, start, traffic) if roomy else _plan(dice, start, traffic)
    moving = random.Random(f"moving {seed}")  # noqa: S311 - of its own, so that other worlds stay as they were
    moves = not roomy and not after_the_first and moving.random() < 0.15
    if moves:
        accounts = [_beginner(moving, each) for each in accounts]
        plan = _moving(moving, start, Traffic(moving, chosen, accounts, organizations[:1], base))
    if rollout:
        plan = _between(dice, plan, Deploy, rollout[1:])
    running = rollout[0] if rollout else ("this",)
    knobs = _knobs(dice, roomy=roomy)
    if moves:
        knobs = replace(knobs, fifo=False, workers=3, switching=0.6, messages=moving.choice((1, 2)))
    streaming = random.Random(f"stream {seed}")  # noqa: S311 - of its own, too
    way = "queue"
    if not roomy and not moves and not after_the_first and streaming.random() < STREAMING:
        plan, knobs = _resharded(streaming, plan), _streaming(streaming, knobs)
        way, *changes = streaming.choice(WAYS)
        plan = _between(streaming, plan, Redirect, changes)
    return World(seed, chosen.offer, chosen.stated, tuple(accounts), start, running, way, tuple(plan), knobs)


ROLLOUTS: Sequence[Sequence[tuple[str, ...]]] = (
    (("this",), ("next", "this"), ("next",)),
    (("this",), ("next", "this"), ("this",)),
    (("this",), ("next", "this"), ("next",), ("this", "next"), ("this",)),
    (("next",), ("this", "next"), ("this",)),
    (("this",), ("beyond", "this"), ("beyond",)),
    (("this",), ("beyond", "this"), ("this",), ("beyond", "this"), ("beyond",)),
    (("last",), ("this", "last"), ("this",)),
    (("this",), ("last", "this"), ("last",)),
    (("last",), ("this", "last"), ("this",), ("last", "this"), ("last",)),
)
"""Which releases run one after the other. What the release `beyond` has decided on nobody else may decide on any more,
so it is there in the end."""


STREAMING = 0.35
"""The chance that a world takes its events from the stream, where it may: the last release knows none."""
INTAKES = ("queue", "stream", "change")
"""Of worlds: one of the two, or a change between them."""
BOTH = ("queue", "stream")
WAYS: Sequence[Any] = (
    ("stream",),
    ("stream",),
    ("stream",),
    ("queue", BOTH, ("stream",)),
    ("stream", BOTH, ("queue",)),
    ("queue", BOTH, ("stream",), BOTH, ("queue",)),
)
"""Where a world begins to put events, and where then: while an intake is changed, functions of both settings run."""


def _streaming(dice: random.Random, knobs: Knobs) -> Knobs:
    """Events come through the stream; in half of these worlds the only faults are calls that are done in part."""
    keys, parallel = dice.choice((1, 1, 2, 3)), dice.choice((1, 1, 2, 3))
    streaming = replace(knobs, fifo=True, keys=keys, parallel=parallel)
    if dice.random() < 0.5:
        return streaming
    limits = replace(knobs.limits, message=1)
    return replace(streaming, kinds=("partial", "outage"), faults=0.25, max_faults=25, limits=limits)


def _resharded(dice: random.Random, plan: Sequence[Step]) -> list[Step]:
    """The plan, with changes of the stream's shards put between its steps."""
    changed = [*plan]
    for _ in range(dice.choice((0, 1, 2, 3))):
        place = dice.randrange(len(changed))
        changed.insert(place, Reshard(changed[place].at))
    return changed


def _between(
    dice: random.Random,
    plan: Sequence[Step],
    step: Callable[[datetime, tuple[str, ...]], Step],
    phases: Sequence[tuple[str, ...]],
) -> list[Step]:
    """The plan, with `step` of each of these phases put between its steps."""
    places = sorted(dice.randrange(len(plan) + 1) for _ in phases)
    rolled: list[Step] = []
    for number in range(len(plan) + 1):
        at = plan[min(number, len(plan) - 1)].at
        rolled += [step(at, phase) for place, phase in zip(places, phases, strict=True) if place == number]
        rolled += plan[number : number + 1]
    return rolled


def _roomy(dice: random.Random, start: datetime, traffic: Traffic) -> list[Step]:
    """More of one counter, or of what nobody can decide, than a transaction, a message or another call holds."""
    events = traffic.many(start, dice.randrange(100, 130))
    bad = [traffic.undecidable(start) for _ in range(dice.choice((0, 30)))]
    return [Post(start, (*events, *bad)), Post(start, tuple(dice.sample(events, 5)))]


def _beginner(dice: random.Random, account: Account) -> Account:
    """The account, perhaps of an organization that the platform has told nothing of yet."""
    return account.model_copy(update={"profile": ()}) if dice.random() < 0.7 else account


def _moving(dice: random.Random, start: datetime, traffic: Traffic) -> list[Step]:
    """An account is changed while events are decided that, by their senders' clocks, occurred after the change."""
    steps: list[Step] = []
    at = start
    for number in range(10):
        before_a_profile = number < 3  # which may hold for a day that is over
        seconds = (60, -86_400, -86_400, -86_400) if before_a_profile else (2, 60, 60, 90, -86_400)
        count = 4 if before_a_profile else dice.choice((1, 2, 3))
        ahead = [timedelta(seconds=dice.choice(seconds)) for _ in range(count)]
        steps += [Post(at, (traffic.event(at + each),)) for each in ahead]
        if number == 1:
            long_ago = timedelta(hours=dice.choice((0, 60, 60, 60)))
            profile = rules.new_profile(dice)
            steps.append(Change(at, traffic.organizations[0], "the platform", profile=profile, since=long_ago))
        if number > 1:
            steps += _changes(dice, at, number, traffic.organizations)
        at += timedelta(seconds=dice.choice((0, 0, 0, 0.1, 1)))
    return steps


def _plan(dice: random.Random, start: datetime, traffic: Traffic) -> list[Step]:
    steps: list[Step] = []
    at, gaps = start, dice.choice(_GAPS)
    changing = dice.choice((0.0, 0.1, 0.3))
    delayed = dice.choice((0.0, 0.0, 0.0, 0.3))
    closing = dice.choice((0.0, 0.0, 0.1))
    for number in range(dice.choice((2, 4, 6, 8, 12))):
        if dice.random() < changing:
            steps += _changes(dice, at, number, traffic.organizations)
        if dice.random() < closing:
            steps.append(
                Close(at, dice.choice(traffic.organizations), at.date() - timedelta(days=dice.choice((0, 1, 1))))
            )
        if dice.random() < 0.05:
            steps.append(_stray(dice, at, traffic))
        if dice.random() < traffic.reserving:
            steps += [Reserve(at, traffic.room(at)) for _ in range(dice.choice((1, 1, 2, 4)))]
            if dice.random() < 0.2:
                steps.append(GiveBack(at, *traffic.given_back()))
        if dice.random() < delayed:
            steps.append(_delayed(dice, at, traffic))
        events = tuple(traffic.event(at) for _ in range(dice.choice((1, 1, 2, 3, 5, 8))))
        steps.append(Post(at, events))
        at += timedelta(seconds=dice.choice(gaps))
    return steps


_GAPS: Sequence[Sequence[float]] = (
    (0, 0.1, 1),
    (0, 0.1, 1),
    (0, 5, 60, 1800),
    (60, 3600, 6 * 3600),
    (3600, 10 * 3600, 14 * 3600, 24 * 3600),
    (0, 60, 3600, 2 * 86400),
)


def _changes(dice: random.Random, at: datetime, number: int, organizations: Sequence[str]) -> Iterator[Change]:
    """A change of an account, or two that know nothing of each other."""
    organization = dice.choice(organizations)
    for each in range(dice.choice((1, 1, 2))):
        actor = f"actor-{number}-{each}"
        if dice.random() < 0.5:
            since = timedelta(hours=dice.choice((0, 0, 0, 1, 48, -1)))
            yield Change(at, organization, actor, profile=rules.new_profile(dice), since=since)
        else:
            yield Change(at, organization, actor, sharing=rules.new_sharing(dice))


def _stray(dice: random.Random, at: datetime, traffic: Traffic) -> Stray:
    """What is no JSON, or holds an event that the webhook would have refused."""
    group = dice.choice(traffic.organizations)
    if dice.random() < 0.5:
        body = dice.choice(("", "{", "[NaN]"))
        return Stray(at, group, body, Event(body, None, "invalid_event"))
    event = traffic.undecidable(at)
    return Stray(at, group, json.dumps([event.raw]), event)


def _delayed(dice: random.Random, at: datetime, traffic: Traffic) -> Stray:
    """What comes from the queue only now, perhaps too late to be decided."""
    event, received_at = traffic.delayed(at)
    body = json.dumps(event.raw if dice.random() < 0.5 else [event.raw])
    return Stray(at, event.raw["subject"], body, event, received_at if received_at < at else None)


def _knobs(dice: random.Random, *, roomy: bool) -> Knobs:
    kinds = tuple(kind for kind in KINDS if dice.random() < 0.6) or KINDS
    rare, fifo = dice.random() < 0.4, dice.random() < 0.5
    return Knobs(
        fifo=fifo,
        workers=dice.choice((1, 2, 2, 3, 4) if fifo else (2, 2, 3, 4)),
        senders=dice.choice((1, 2, 3)),
        shards=dice.choice((1, 2)),
        messages=dice.choice((1, 2, 4, 10, 10)),
        records=dice.choice((1, 5, 100)) if not roomy else 100,
        switching=dice.choice((0.0, 0.1, 0.3, 0.6) if fifo else (0.1, 0.3, 0.6)),
        faults=dice.choice((0.0, 0.03, 0.1, 0.25)) if not rare else 0.25,
        kinds=kinds if not rare else tuple(dice.sample(tuple(SOMEWHERE), dice.choice((1, 2)))),
        max_faults=dice.choice((1, 5, 25)),
        again=dice.choice((0.0, 0.05, 0.3)),
        skews=tuple(dice.choice(((0.0,), (0.0, -0.4, 1.5), (-45.0, 30.0)))),
        limits=_limits(dice)
        if not roomy and dice.random() < 0.8
        else Limits(message=dice.choice((MAX_MESSAGE_EVENTS, 5))),
    )


def _limits(dice: random.Random) -> Limits:
    return Limits(
        transaction=dice.choice((8, 9, 11, 14)),
        message=dice.choice((1, 2, 4)),
        records=dice.choice((1, 2, 5)),
        quarantined_bytes=dice.choice((MAX_RAW_BYTES, MAX_RAW_BYTES, MAX_RAW_BYTES, 120)),
        page_rows=dice.choice((MAX_PAGE_ROWS, 1, 2, 3)),
        block=dice.choice((1, 3)),
        account_bytes=dice.choice((MAX_ITEM_BYTES, 100, 500)),
    )
