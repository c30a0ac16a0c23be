"""What happened in a run, beside what the table, the queue and the bus say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gratis.classify import Outcome
from gratis.errors import Busy
from gratis.intake.receive import Received
from gratis.outbox import Emitted
from gratis.rules.account import Account
from gratis_simulation.machines.crew import Task
from gratis_simulation.machines.queue import Sent
from gratis_simulation.machines.release import Release
from gratis_simulation.worlds.world import Change, GiveBack, Post, Reserve


@dataclass(eq=False)
class Work:
    """One invocation. `log_start`: how many writes there were when it began; `skew`: of its machine's clock."""

    name: str
    kind: str
    release: Release
    started_at: datetime
    log_start: int
    skew: timedelta
    on_crash: Callable[[], None]
    task: Task | None = None
    calls: int = 0


class Actor(NamedTuple):
    """Who wrote something, and when."""

    work: Work
    at: datetime


@dataclass
class Posted:
    """The webhook was called. `received`: what it answered with 2xx; None if that never came about."""

    step: Post
    received_at: datetime
    received: Received | None = None


@dataclass(frozen=True)
class Classified:
    """A batch that the classifier came back from."""

    work: Work
    messages: Sequence[Sent]
    outcome: Outcome


@dataclass(frozen=True)
class Changed:
    """A change of an account that was answered with success."""

    step: Change
    account: Account


@dataclass
class Asking:
    """A call of the API for room, or to give it back, at the moment `now` of its machine.

    `answer`: None if that never came about; `log_end`: how many writes there were by then.
    """

    step: Reserve | GiveBack
    work: Work
    now: datetime
    answer: dict[str, Any] | None = None
    log_end: int | None = None


@dataclass
class Seen:
    """`handed_out`: by classifier, the places of the messages that it was given; `gave_up`: who could not go on."""

    posted: list[Posted] = field(default_factory=list)
    classified: list[Classified] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    asking: list[Asking] = field(default_factory=list)
    emitted: list[tuple[Sequence[Any], Emitted]] = field(default_factory=list)
    handed_out: dict[str, list[int]] = field(default_factory=dict)
    gave_up: list[tuple[Work, Busy]] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
