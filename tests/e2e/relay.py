"""A relay before a deployed Gratis, so that a test sees what is asked, and can have it not answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from tests.builders.loopback import Loopback, Quiet

PASSED_ON = ("authorization", "content-type", "content-encoding", "retry-after")


class _Handler(Quiet):
    server: "Relay"

    def do_POST(self) -> None:
        body = self.body()
        if self.server.is_down:
            self.close_connection = True
            return
        if self.command == "POST" and self.path.endswith("/reservations"):
            self.server.wanted.append(json.loads(body))
        answer = self.server.http.request(
            self.command, f"{self.server.behind}{self.path}", body=body, headers=_passed_on(self.headers)
        )
        self.answer(answer.data, answer.status, _passed_on(answer.headers))

    do_DELETE = do_POST


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in PASSED_ON if name in headers}


class Relay(Loopback):
    """Stands before what answers at the base URL `behind`.

    `is_down`: connections are closed without an answer. `wanted`: bodies of the reservations that were asked for.
    """

    def __init__(self, behind: str) -> None:
        super().__init__(_Handler)
        self.behind = behind
        self.http = urllib3.PoolManager(maxsize=64, retries=False)
        self.wanted: list[dict[str, Any]] = []
        self.is_down = False

    @contextmanager
    def down(self) -> Iterator[None]:
        """Gratis does not answer while in this context."""
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False
