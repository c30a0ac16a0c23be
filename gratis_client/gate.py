"""A gate before a platform: what would be billed does not pass.

A gateway tries a call as often as its retries and fallbacks say. Each attempt has a reservation of its own, so that an
earlier one, whose usage is still to be reported, never shares its room with a later one. A refusal ends the call: no
later attempt of it passes. What if this process dies on any line? Then reservations that it made expire.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from gratis_client.client import CONNECTIONS, Answer, Gratis, NoAnswer, new_id

logger = logging.getLogger(__name__)
Done = TypeVar("Done")


class Refused(Exception):
    """The attempt may not pass. `answer`: of Gratis, None where it gave none; `retry_after`: seconds."""

    def __init__(self, message: str, answer: Answer | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.answer = answer
        self.retry_after = retry_after


@dataclass(frozen=True)
class Attempt:
    """What a call may use at most, if it goes to the platform. `data`: fields of its usage event."""

    organization: str | None
    model: str
    tokens: int
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Call:
    """`began`: by the monotonic clock. `room`: the id of what is reserved, and for what, until an attempt takes it."""

    began: float
    room: tuple[str, Attempt] | None = None
    refused: Refused | None = None


@dataclass
class Gate:
    """`clients`: one for each organization; `""`: for calls that name none, the organization to which Gratis counts
    them. Calls without a client pass.

    `expires_in`: seconds for which room is kept, from the attempt to the decision on its usage event. `closed`: what is
    refused when Gratis does not answer; else it passes, and may be billed. `let_through`: reasons for which what would
    be billed passes all the same, such as `model_not_listed`.
    """

    clients: Mapping[str, Gratis]
    expires_in: int = 900
    closed: bool = False
    let_through: frozenset[str] = frozenset()
    _calls: dict[str, _Call] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CONNECTIONS))
    """Its own: where Gratis is slow, the gateway's other work still has threads."""

    async def enter(self, first: Attempt | None) -> str:
        """An id for a call, with room for its first attempt if that goes to the platform. Raises Refused."""
        self._forget()
        room = (await self._reserve(first), first) if first else None
        call_id = new_id()
        self._calls[call_id] = _Call(time.monotonic(), room)
        return call_id

    def may_go_on(self, call_id: str) -> None:
        """Raises Refused if an attempt of this call was refused, wherever its next attempt goes."""
        call = self._calls.get(call_id)
        if call and call.refused:
            raise call.refused

    async def attempt(self, call_id: str, attempt: Attempt) -> str:
        """The id of an attempt's room, the first one's that of what was reserved as the call began. Raises Refused."""
        self.may_go_on(call_id)
        call = self._calls.setdefault(call_id, _Call(time.monotonic()))
        room, call.room = call.room, None
        if room and room[1] == attempt:
            return room[0]
        if room:
            await self.release(attempt.organization, room[0])
        try:
            return await self._reserve(attempt)
        except Refused as refused:
            call.refused = refused
            raise

    async def leave(self, call_id: str) -> Refused | None:
        """The call failed: room that no attempt took goes back. The refusal, if it was for that."""
        call = self._calls.pop(call_id, None)
        if call and call.room:
            name, attempt = call.room
            await self.release(attempt.organization, name)
        return call.refused if call else None

    async def release(self, organization: str | None, name: str) -> None:
        """Give back the room of an attempt that used nothing. Where that fails it expires."""
        client = self._client(organization)
        if client:
            try:
                await self._asked(lambda: client.release(name))
            except NoAnswer as unknown:
                logger.warning("the reservation %s was not released and expires: %s", name, unknown)

    async def _reserve(self, attempt: Attempt) -> str:
        """The id of the room. It has one, too, where nothing is known to be reserved."""
        name, client = new_id(), self._client(attempt.organization)
        if client is None:
            return name
        try:
            answer = await self._asked(
                lambda: client.reserve(name, attempt.model, attempt.tokens, expires_in=self.expires_in, **attempt.data)
            )
        except NoAnswer as unknown:
            logger.warning("Gratis did not say whether %s would be free: %s", attempt.model, unknown)
            if self.closed:
                raise Refused(f"Gratis does not answer: {unknown}", None, unknown.retry_after) from unknown
            return name
        if not answer.is_free and answer.reason not in self.let_through:
            raise Refused(answer.explanation, answer)
        return name

    async def _asked(self, call: Callable[[], Done]) -> Done:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _client(self, organization: str | None) -> Gratis | None:
        return self.clients.get(organization or "")

    def _forget(self) -> None:
        """Drop calls whose end nobody reported, the oldest first; the room of their first attempt has expired."""
        oldest = time.monotonic() - self.expires_in
        for call_id in [each for each, call in islice(self._calls.items(), 2) if call.began < oldest]:
            del self._calls[call_id]
