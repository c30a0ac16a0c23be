"""The world's clock, and the core made to keep to it: nobody sleeps, and few events reach every limit."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

from gratis import classify, dynamo, ledger, messages, outbox, quarantine, totals
from local.simulation.world import Limits

TICK = timedelta(milliseconds=3)


class Clock:
    """What time it is. Every call takes a moment; the plan and long waits move it further."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def tick(self) -> None:
        self.now += TICK

    def at_least(self, moment: datetime) -> None:
        """Wait until then, if it is not past."""
        self.now = max(self.now, moment)


class _Time:
    """Stands in for the module `time` where the core waits."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self.sleep = sleep


class _Random:
    """Stands in for the module `random` where the core waits."""

    @staticmethod
    def uniform(least: float, most: float) -> float:
        return (least + most) / 2


class _Serially:
    """Stands in for a pool of threads where the core reads side by side: only one worker may run at a time."""

    def __init__(self, *_: Any) -> None:
        pass

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """What it comes to, at once."""
        done: Future[Any] = Future()
        done.set_result(task())
        return done


@contextmanager
def simulated(limits: Limits, sleep: Callable[[float], None]) -> Iterator[None]:
    """The core with the world's limits and the world's time."""
    with ExitStack() as stack:
        for module, name, value in (
            (dynamo, "time", _Time(sleep)),
            (dynamo, "random", _Random),
            (ledger, "ThreadPoolExecutor", _Serially),
            (classify, "MOST_ITEMS", limits.transaction),
            (messages, "MOST_EVENTS", limits.message),
            (outbox, "MOST_RECORDS", limits.records),
            (quarantine, "MOST_BYTES", limits.quarantined_bytes),
            (totals, "MOST_ROWS", limits.rows),
        ):
            if value is not None:
                stack.enter_context(_replaced(module, name, value))
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
