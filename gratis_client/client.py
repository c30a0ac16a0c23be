"""The routes of Gratis that are asked before a request is sent. SPEC sections 2 (reservations) and 5."""

import json
import secrets
from dataclasses import dataclass, fields
from typing import Any, Literal
from urllib.parse import quote

import urllib3

AGAIN = urllib3.Retry(
    total=2, status_forcelist=(500, 502, 503, 504), allowed_methods=None, backoff_factor=0.2, raise_on_status=False
)
"""A repeated reservation changes nothing, and neither does a repeated release, so both are sent again."""
CONNECTIONS = 8
"""At most at a time: reservations of one counter are made one after the other, and more at once only race."""


class NoAnswer(Exception):
    """Gratis was not reached, or did not do what it was asked. Nothing is known about the request.

    `status`: of HTTP, 0 where none came. `retry_after`: seconds, where it said so. What was to be reserved may be: it
    is under the id that was named, until it is released or expires.
    """

    def __init__(self, message: str, status: int = 0, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Answer:
    """What the decision would be. Figures are in the group's unit; None where no group was reached.

    `id`, `tokens`, `expires_at` (UTC, RFC 3339): of a reservation; `expires_at` is None where nothing is reserved.
    """

    verdict: Literal["free", "billed"]
    reason: str
    explanation: str
    group: str | None
    unit: str | None
    quota: int | str | None
    used: int | str | None
    reserved: int | str | None
    remaining: int | str | None
    resets_at: str | None
    id: str | None = None
    tokens: int | None = None
    expires_at: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether it is free."""
        return self.verdict == "free"


def new_id() -> str:
    """An id for a reservation that nobody guesses: who knows the id of one can use it up."""
    return f"gate-{secrets.token_hex(16)}"


class Gratis:
    """Asks with a key of an organization. Threads may share one.

    `url`: ends in `/v1`. `key`: of any role to check, of `gateway` or `owner` to reserve. `timeout`: seconds
    an attempt.
    """

    def __init__(self, url: str, key: str, *, timeout: float = 5.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._http = urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout, retries=AGAIN)

    def check(self, model: str, tokens: int, **data: Any) -> Answer:
        """Whether a request would be free if it came now. `data`: other fields of a usage event's. Raises NoAnswer."""
        return self._asked("allowance/check", {"model": model, "tokens": tokens, **data})

    def reserve(self, name: str, model: str, tokens: int, *, expires_in: int = 600, **data: Any) -> Answer:
        """Set room aside under an id for `expires_in` seconds (1 to 3,600), if it is free. Raises NoAnswer."""
        wanted = {"id": name, "model": model, "tokens": tokens, "expires_in": expires_in, **data}
        return self._asked("reservations", wanted)

    def release(self, name: str) -> None:
        """Give the room back, if there is any. Raises NoAnswer."""
        self._call("DELETE", f"reservations/{quote(name, safe='')}")

    def _asked(self, route: str, body: dict[str, Any]) -> Answer:
        content = self._call("POST", route, body)
        try:
            told = json.loads(content)
            return Answer(**{each.name: told[each.name] for each in fields(Answer) if each.name in told})
        except (ValueError, TypeError) as error:
            raise NoAnswer(f"this is no answer of Gratis: {content[:200]!r}") from error

    def _call(self, method: str, route: str, body: dict[str, Any] | None = None) -> bytes:
        sent = None if body is None else json.dumps(body).encode()
        try:
            answer = self._http.request(method, f"{self._url}/organization/{route}", body=sent, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswer(str(error)) from error
        if answer.status >= 300:
            wait = answer.headers.get("retry-after", "")
            said = answer.data[:500].decode(errors="replace")
            raise NoAnswer(f"{answer.status}: {said}", answer.status, int(wait) if wait.isdigit() else None)
        return answer.data
