"""The load script against a deployed stack: it counts what went through, and compares with what the document says."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.load import ASSUMED, Load, ratios
from gratis_local.places import ROOT
from gratis_local.up import Running, running


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


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(state=tmp_path_factory.mktemp("gratis") / "up.json") as (_, started):
        yield started


@pytest.mark.parametrize(("batch", "calls"), [(25, "0.04"), (1, "1")])
def test_on_a_local_engine_everything_is_decided_and_the_calls_are_counted(up: Running, batch: int, calls: str) -> None:
    arguments = ["--endpoint-url", up.endpoint_url, "--events", "100", "--organizations", "2", "--batch", str(batch)]
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"100 events in {100 // batch} calls, all decided" in done.stdout
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    shown = {row[0]: row[1] for row in rows if row[0] in ASSUMED}
    assert (shown["calls to the webhook"], shown["write units"]) == (calls, "not counted")
