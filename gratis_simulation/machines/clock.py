"""The world's clock, and what the core waits with: nobody really sleeps, and nothing really runs side by side."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from typing import Any

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


class Serially(Executor):
    """Stands in for a pool of threads where the core reads side by side: only one worker may run at a time."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Runs the task at once; its result is there."""
        done: Future[Any] = Future()
        done.set_result(task(*args, **named))
        return done
