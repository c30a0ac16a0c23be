"""Threads of which exactly one runs: workers that stop in the middle of a call and go on when they are told to."""

import threading
from collections.abc import Callable

PATIENCE_SECONDS = 30
"""How long a task may compute between two calls before we say that it will never come back."""


class Crash(BaseException):
    """The process dies here. Nothing in the core may catch this."""


class Stuck(Exception):
    """A task computes without end."""


class Task:
    """A piece of work in a thread of its own, run from one pause to the next. `error`: what it ended with."""

    def __init__(self, body: Callable[[], None], thread: "_Thread") -> None:
        self.body = body
        self.done = False
        self.doomed = False
        self.stuck = False
        self.error: BaseException | None = None
        self._thread = thread

    def resume(self) -> None:
        """Let it run until it pauses or ends. Called by whoever directs the run."""
        self._thread.go.release()
        if not self._thread.back.acquire(timeout=PATIENCE_SECONDS):
            self.stuck = True
            raise Stuck(f"it computed for {PATIENCE_SECONDS} seconds without a call")

    def pause(self) -> None:
        """Stop here until resumed. Called by the task itself."""
        self._thread.back.release()
        self._thread.go.acquire()
        if self.doomed:
            raise Crash


class _Thread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go = threading.Lock()
        self.back = threading.Lock()
        self.go.acquire()
        self.back.acquire()
        self.task: Task | None = None

    def run(self) -> None:
        while True:
            self.go.acquire()
            task = self.task
            if task is None:
                return
            try:
                if not task.doomed:
                    task.body()
            except BaseException as error:  # noqa: BLE001 - whoever directs the run looks at it
                task.error = error
            task.done = True
            self.back.release()


class Crew:
    """Starts tasks; threads are used again. As a context manager it ends whatever is still paused, and its threads."""

    def __init__(self) -> None:
        self._idle: list[_Thread] = []
        self._tasks: dict[Task, _Thread] = {}

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for task in [task for task in self._tasks if not task.stuck]:
            self.end(task)
        for thread in self._idle:
            thread.task = None
            thread.go.release()
            thread.join()

    def start(self, body: Callable[[], None]) -> Task:
        """A task that waits to be resumed."""
        thread = self._idle.pop() if self._idle else self._new_thread()
        task = Task(body, thread)
        thread.task = task
        self._tasks[task] = thread
        return task

    def release(self, task: Task) -> None:
        """Take back the thread of a task that is done."""
        self._idle.append(self._tasks.pop(task))

    def end(self, task: Task) -> None:
        """Kill a paused task where it stands."""
        task.doomed = True
        if not task.done:
            task.resume()
        self.release(task)

    def _new_thread(self) -> _Thread:
        thread = _Thread()
        thread.start()
        return thread
