"""A worker's connection to a service: every call is a turn of the run."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from gratis_simulation.machines.seen import Work


class Calls(Protocol):
    """Where calls are made: a run."""

    def call(self, work: Work, effect: Callable[..., Any], operation: str, /, **arguments: Any) -> Any:
        """Carry out an operation of a service, unless something happens to it."""
        ...


class Line:
    """Looks like the service."""

    def __init__(self, run: Calls, work: Work, service: Any) -> None:
        self.exceptions = getattr(service, "exceptions", None)
        self._run = run
        self._work = work
        self._service = service

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation == "get_paginator":
            return self._paginator
        return partial(self._run.call, self._work, getattr(self._service, operation), operation)

    def _paginator(self, operation: str) -> "_LinePaginator":
        paginate = self._service.get_paginator(operation).paginate
        return _LinePaginator(partial(self._run.call, self._work, lambda **asked: list(paginate(**asked)), operation))


class _LinePaginator:
    """Asks for all pages in one call, when the first is wanted: what fails, fails there."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def paginate(self, **request: Any) -> Iterator[Any]:
        yield from self._ask(**request)
