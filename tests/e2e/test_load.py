"""The load script against a deployed stack: it counts what went through."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.load import ASSUMED
from gratis_local.places import ROOT
from gratis_local.up import Running, running


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
