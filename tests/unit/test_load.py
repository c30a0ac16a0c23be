"""The load script compares what it counts with what docs/scaling.md assumes."""

import re
from datetime import UTC, datetime, timedelta

from benchmarks.load import ASSUMED, Load, ratios
from gratis_local.places import ROOT


def test_what_it_compares_with_is_what_the_document_assumes() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|", (ROOT / "docs/scaling.md").read_text(), re.MULTILINE)
    said = {name: (packed, single) for name, packed, single in rows}
    calls, units = said["calls to the webhook, messages in the queue"], said["write units; read units"]
    (writes, reads), (single_writes, single_reads) = (each.split("; ") for each in units)
    assert {
        "calls to the webhook": calls,
        "messages in the queue": calls,
        "write units": (writes, single_writes),
        "read units": (reads, single_reads),
        "ms of classify_usage": tuple(each.removesuffix(" ms") for each in said["concurrency of `classify_usage`"]),
        "bus entries": tuple(each.partition(" ")[0] for each in said["bus entries"]),
    } == ASSUMED


def test_a_ratio_is_what_was_counted_by_event_and_nothing_where_nobody_counted() -> None:
    now = datetime.now(UTC)
    found = ratios(Load(1000, 10, now, now + timedelta(minutes=1)), {"write units": 2040.0})
    assert (found["calls to the webhook"], found["write units"], found["bus entries"]) == (0.01, 2.04, None)
