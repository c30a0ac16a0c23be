"""How long each function takes to start, beside a function that does nothing but create a DynamoDB client.

Both run under Lambda's own runtime client from a built artefact: the locked packages of the layer and those of the
runtime, with bytecode as layers/core/Makefile compiles it, for the Python that runs this. What counts is the process's
CPU time: a start is nearly all import, and a busy machine then disturbs less.
"""

import resource
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.functions import ROOT
from local.runtime import SECONDS, Lambda, built, layer_modules, runtime_modules, started

FUNCTIONS = ("receive_usage", "classify_usage", "emit_billing", "close_day", "account_api")
BARE = """
import boto3

client = boto3.client("dynamodb")


def handler(event, context):
    return {}
"""
REPEATS = 9
PAGE = {
    "version": "2.0",
    "rawPath": "/",
    "requestContext": {"http": {"method": "GET", "path": "/"}, "requestId": "r", "stage": "$default"},
    "headers": {},
    "isBase64Encoded": False,
}
UNSIGNED = PAGE | {"rawPath": "/v1/usage-events", "body": "[]"}
FIRST_EVENTS: Mapping[str, Any] = {"receive_usage": UNSIGNED, "account_api": PAGE}
"""What a function is asked first; the others are given an empty batch. None of these reaches DynamoDB."""


@dataclass(frozen=True)
class Start:
    """CPU seconds of one function: until it asks for its first event, and until that is answered."""

    init: Sequence[float]
    answered: Sequence[float]


def cold_starts(repeats: int = REPEATS) -> dict[str, Start]:
    """Each function and `bare`, in turns, so that what slows the machine down slows all of them."""
    with tempfile.TemporaryDirectory(prefix="gratis-artefact-") as place:
        path = [built(Path(place) / "layer", layer_modules()), built(Path(place) / "runtime", runtime_modules())]
        bare = Path(place) / "bare"
        bare.mkdir()
        (bare / "app.py").write_text(BARE)
        folders = {"bare": bare} | {function: ROOT / "functions" / function for function in FUNCTIONS}
        init: dict[str, list[float]] = {name: [] for name in folders}
        answered: dict[str, list[float]] = {name: [] for name in folders}
        for _ in range(repeats):
            for name, folder in folders.items():
                init[name].append(_cpu_until(folder, path, []))
                answered[name].append(_cpu_until(folder, path, [FIRST_EVENTS.get(name, {"Records": []})]))
    return {name: Start(init[name], answered[name]) for name in folders}


def ratios(starts: Mapping[str, Start]) -> dict[str, float]:
    """How many times the bare function's init each function's takes."""
    bare = statistics.median(starts["bare"].init)
    return {name: round(statistics.median(starts[name].init) / bare, 2) for name in FUNCTIONS}


def _cpu_until(folder: Path, path: Sequence[Path], events: Sequence[Any]) -> float:
    """CPU seconds of a process until it waits for an event that does not come."""
    before = _of_children()
    played = Lambda(list(events))
    with started(played, folder, path):
        for _ in events:
            kind, answer = played.told.get(timeout=SECONDS)
            if kind != "response":
                raise AssertionError(f"{folder.name} did not start: {answer}")
        if not events and not played.ready.wait(SECONDS):
            raise AssertionError(f"{folder.name} did not start within {SECONDS} s")
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
