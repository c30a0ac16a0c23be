"""Hostile input: every case of the corpus on every run, and mutations of it for as long as there is time.

`make fuzz` goes on for FUZZ_SECONDS with each target. What it finds is shrunk and left in .hypothesis/found: fix it,
and move the file to tests/fuzz/corpus/<target>/ under a name that says what is hostile about it.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings

from gratis_local.functions import ROOT
from tests.fuzz.inputs import CORPUS, hostile, kept
from tests.fuzz.targets import TARGETS, Check

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 100
"""Of one round; there is one round at least."""
FOUND = ROOT / ".hypothesis" / "found"
SAMPLES = {
    "webhook": ("seed-day.json", "exclusions.json", "eval-runs.json", "invalid.json", "duplicates-and-conflicts.json"),
    "litellm": ("litellm-generic-api.json",),
    "queue": ("seed-day.json", "duplicates-and-conflicts.json"),
    "organizations": ("organizations.json",),
    "replay": (
        "chat-completions.jsonl",
        "lambda-http-api-usage-events.json",
        "lambda-sqs-classify-usage.json",
        "litellm-generic-api.json",
    ),
    "stream": ("lambda-dynamodb-stream-emit-billing.json",),
}
"""The files in events/ that are mutated too."""
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",  # Powertools leaves the files of /docs open
    "ignore:No application metrics",  # a function that failed: the failure is what counts
)


@dataclass(frozen=True)
class Target:
    name: str
    check: Check

    def seeds(self) -> list[bytes]:
        samples = [(ROOT / "events" / name).read_bytes() for name in SAMPLES.get(self.name, ())]
        return [*kept(self.name).values(), *samples]


CASES = [(name, case) for name in TARGETS for case in kept(name)]


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with TARGETS[request.param]() as check:
        yield Target(request.param, check)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize(("target", "case"), CASES, indirect=["target"], scope="module")
def test_what_is_kept_does_no_harm(target: Target, case: str) -> None:
    target.check(kept(target.name)[case])


@pytest.mark.parametrize("target", TARGETS, indirect=True, scope="module")
def test_no_mutation_does_harm(target: Target) -> None:
    last = b""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(data=hostile(target.seeds()))
    def one_round(data: bytes) -> None:
        nonlocal last
        last = data
        target.check(data)

    until = time.monotonic() + SECONDS
    try:
        one_round()
        while time.monotonic() < until:
            one_round()
    except BaseException as error:
        FOUND.mkdir(parents=True, exist_ok=True)
        found = FOUND / target.name
        found.write_bytes(last)
        error.add_note(f"left in {found}; once it is mended, keep it in {CORPUS.relative_to(ROOT)}/{target.name}/")
        raise
