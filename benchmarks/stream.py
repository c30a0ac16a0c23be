"""What the stream saves and costs, computed: write units by how full an invocation is, its own price, the break-even.

A commit takes 2 write units for its document and 2 for each of at most 98 decisions, and reads 2 units. So what counts
is how many commits the records of one invocation need: one for each group of an organization that is among them.
"""

import json
from functools import cache
from typing import Any

from benchmarks.prices import PRICES
from benchmarks.traffic import QUEUE_BATCH, STREAM
from benchmarks.workloads import EXPONENT, GROUPS, ORGANIZATIONS, hot_single
from gratis.table.ledger import MAX_ITEMS

FULL_SHARD = 1_000
"""Records a second that a shard takes, of one key or of many."""
USED_SHARD = 700
"""Of which a shard that is to take peaks as well is given so many on average: assumed."""
WINDOW_SECONDS = 5
"""As the template has it, unless its parameter says otherwise."""
MAX_INVOCATION_BYTES = 6_000_000
"""Of Lambda's event, base64 and what lies beside each record included."""
RECORDS = (10, 100, 1_000, 5_000, 10_000)
SKEWS = ((100, 1.2), (1_000, 1.2), (10_000, 0.9), (10_000, 1.0), (10_000, 1.1), (10_000, 1.2), (100_000, 1.2))
"""Organizations, and the exponent of Zipf's law."""
RATES = (1, 10, 100, 1_000, 10_000)
QUEUE_REQUESTS = 1.2
"""Requests to SQS that a single event takes: it is sent, and received and deleted with up to nine others."""


def commits(events: int, organizations: int = ORGANIZATIONS, exponent: float = EXPONENT, groups: int = 1) -> float:
    """Commits an event that one invocation with so many of them is expected to need.

    The r-th organization sends in proportion to 1/r^exponent, in `groups` alike.
    """
    weights = [1 / rank**exponent for rank in range(1, organizations + 1)]
    whole = sum(weights) * groups
    return groups * sum(_of_document(events, weight / whole) for weight in weights) / events


def _of_document(events: int, share: float) -> float:
    """Commits of a document that gets this share: one if anything of it is there, more where it gets many."""
    return max(1 - (1 - share) ** events, events * share / (MAX_ITEMS - 1))


def write_units(events: int, organizations: int = ORGANIZATIONS, exponent: float = EXPONENT) -> float:
    """Write units an event of such an invocation, with three groups an organization."""
    return 2 + 2 * commits(events, organizations, exponent, len(GROUPS))


def waiting_seconds(records: int, records_a_second: float) -> float:
    """How long a shard takes to fill an invocation: the window that it needs, and what its first record waits."""
    return records / records_a_second


def stream_usd_per_million(records_a_second: float, shards: int = 1) -> float:
    """Dollars for a million records of the stream itself: its shards, four days of keeping, a put each."""
    hours = 1_000_000 / records_a_second / 3600
    return shards * hours * (PRICES.shard_hour + PRICES.shard_hour_kept) + PRICES.put_units


def queue_usd_per_million() -> float:
    """Dollars for a million single events of the queue itself."""
    return QUEUE_REQUESTS * PRICES.queue_requests


def shards_of(records_a_second: int) -> int:
    """How many shards such a rate needs."""
    return -(-records_a_second // USED_SHARD)


def dollars_over_stream(records_a_second: int, window: float = WINDOW_SECONDS) -> float:
    """Dollars a million single events: DynamoDB and the stream, with the shards that the rate needs."""
    shards = shards_of(records_a_second)
    an_invocation = max(1, min(round(records_a_second / shards * window), fitting()))
    return _dynamodb(an_invocation, ORGANIZATIONS // shards) + stream_usd_per_million(records_a_second, shards)


def dollars_over_queue() -> float:
    """Dollars a million single events: DynamoDB and SQS, where a batch of ten messages is always full."""
    return _dynamodb(QUEUE_BATCH, ORGANIZATIONS) + queue_usd_per_million()


def _dynamodb(events: int, organizations: int) -> float:
    needed = commits(events, organizations, groups=len(GROUPS))
    return PRICES.usd_per_million(2 + 2 * needed, 2 * needed)


def break_even(window: float = WINDOW_SECONDS) -> int:
    """From how many single events a second on the stream costs less than the queue, with one shard."""
    return next(rate for rate in range(1, USED_SHARD) if dollars_over_stream(rate, window) < dollars_over_queue())


@cache
def fitting() -> int:
    """How many records of single events Lambda hands over at once at most: 6 MB of them."""
    (batch,) = hot_single("size", 1_000, STREAM).batches
    return int(MAX_INVOCATION_BYTES * 1_000 / len(json.dumps(batch, separators=(",", ":"))))


def curve() -> dict[tuple[int, float], dict[int, float]]:
    """Write units an event by organizations and skew, and by records an invocation."""
    return {(many, skew): {each: write_units(each, many, skew) for each in RECORDS} for many, skew in SKEWS}


def computed() -> dict[str, Any]:
    """All of it, as results.json holds it."""
    return {
        "stream_usd_per_million": round(stream_usd_per_million(USED_SHARD), 4),
        "queue_usd_per_million": round(queue_usd_per_million(), 4),
        "break_even_events_a_second": {str(window): break_even(window) for window in (1, WINDOW_SECONDS, 60)},
        "records_of_an_invocation": fitting(),
        "write_units": [
            {
                "organizations": many,
                "exponent": skew,
                "by_records": {str(at): round(units, 3) for at, units in by.items()},
            }
            for (many, skew), by in curve().items()
        ],
        "usd_per_million": [
            {
                "events_a_second": rate,
                "stream": round(dollars_over_stream(rate), 3),
                "queue": round(dollars_over_queue(), 3),
            }
            for rate in RATES
        ],
    }
