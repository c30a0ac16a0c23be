"""What every caller of DynamoDB here shares: items, what an error asks for, and how to wait."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy, GratisError, Rejected
from gratis.rules.formats import FIRST

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]
Spread = Callable[[Callable[[Any], None], Iterable[Any]], Iterable[None]]
"""Calls a function for each of several things, one after the other (`map`) or side by side (`side_by_side`)."""
Pause = Callable[[int], None]
"""Waits before the next attempt at a call, given the number of attempts so far."""
MAX_ATTEMPTS = 8
"""Tries of one call before the work goes back to the queue."""
MAX_WRITES = 25
"""Items in one batch write."""


def format_of(item: Item) -> int:
    """The format that an item was written in."""
    return int(item["format"]["N"]) if "format" in item else FIRST


def translated(error: ClientError | BotoCoreError) -> Rejected | Busy:
    """What an AWS error asks of the caller: only a malformed request will never succeed."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    if code == "ValidationException":
        return Rejected("internal_error", f"DynamoDB does not take it: {error}")
    return Busy(f"{code}: {error}")


def side_by_side(threads: int) -> Spread:
    """In so many threads at one time. A single call is made by the caller, who would only wait for a thread's."""
    pool = ThreadPoolExecutor(threads)

    def spread(call: Callable[[Any], None], things: Iterable[Any]) -> Iterable[None]:
        each = [*things]
        return pool.map(call, each) if len(each) > 1 else map(call, each)

    return spread


def spread_out(spread: Spread, call: Callable[[Any], None], things: Iterable[Any]) -> None:
    """Make a call for each thing; once one fails, no other is begun. Raises the first failure of ours."""
    failures: list[GratisError] = []

    def unless_failed(thing: Any) -> None:
        if not failures:
            try:
                call(thing)
            except GratisError as failure:
                failures.append(failure)

    for _ in spread(unless_failed, things):
        pass
    if failures:
        raise failures[0]


def put_all(client: "DynamoDBClient", table: str, items: Sequence[Item], pause: Pause) -> None:
    """Put each item, whatever was in its place; what DynamoDB leaves unwritten is put again. Raises Busy; Rejected."""
    for start in range(0, len(items), MAX_WRITES):
        _put_page(client, table, items[start : start + MAX_WRITES], pause)


def _put_page(client: "DynamoDBClient", table: str, page: Sequence[Item], pause: Pause) -> None:
    waiting: list[Any] = [{"PutRequest": {"Item": item}} for item in page]
    for attempt in range(MAX_ATTEMPTS + 1):
        if attempt:
            pause(attempt)
        try:
            answer = client.batch_write_item(RequestItems={table: waiting})
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        waiting = answer.get("UnprocessedItems", {}).get(table, [])
        if not waiting:
            return
    raise Busy(f"DynamoDB left {len(waiting)} items unwritten")


def pause(attempt: int) -> None:
    """Wait a random moment, longer on average with each attempt: 10 ms to 0.6 s."""
    time.sleep(random.uniform(0, longest_pause(attempt)))  # noqa: S311 - jitter, not a secret


def longest_pause(attempt: int) -> float:
    """Seconds."""
    return min(0.6, 0.01 * 2.0**attempt)
