"""How long each function takes to start, beside a function that does nothing but create a DynamoDB client.

Both run under Lambda's own runtime client, with the layer's locked packages and those of the runtime, and bytecode of
all of it, as `make build` leaves it but for the Python that runs this. What counts is the process's CPU time: a start
is nearly all import, and a busy machine then disturbs less.
"""

import base64
import json
import random
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from benchmarks.traffic import Sender
from gratis_local.places import ROOT
from gratis_local.runtime import SECONDS, Lambda, built, layer_modules, runtime_modules, started

FUNCTIONS = ("receive_usage", "classify_usage", "emit_billing", "close_day", "account_api")
BARE = """
import boto3

client = boto3.client("dynamodb")


def handler(event, context):
    return {}
"""
REPEATS = 11
SECRET = f"whsec_{base64.b64encode(b'0123456789abcdef0123456789abcdef').decode()}"


def first_event(function: str) -> dict[str, Any]:
    """What a function is asked first: something that it needs its clients for, of an AWS that holds nothing."""
    if function == "receive_usage":
        body = json.dumps([Sender("org_first").event(0, random.Random(8))])
        now = datetime.now(UTC)
        signature = Webhook(SECRET).sign("msg_1", now, body)
        names = {"id": "msg_1", "timestamp": str(int(now.timestamp())), "signature": signature}
        headers = {f"webhook-{name}": value for name, value in names.items()}
        return _http("POST", "/v1/usage-events") | {"headers": headers, "body": body}
    if function == "account_api":
        return _http("GET", "/v1/organization/allowance") | {"headers": {"authorization": "Bearer gk_nobody"}}
    return {} if function == "close_day" else {"Records": []}


def _http(method: str, path: str) -> dict[str, Any]:
    context = {"http": {"method": method, "path": path}, "requestId": "r", "stage": "$default"}
    return {"version": "2.0", "rawPath": path, "requestContext": context, "isBase64Encoded": False}


@dataclass(frozen=True)
class Start:
    """CPU seconds of one function, round by round."""

    bare: Sequence[float]
    """Of the bare function's init, just before."""
    init: Sequence[float]
    """Until it asks for its first event."""
    answered: Sequence[float]
    """Until that is answered."""

    @property
    def ratios(self) -> list[float]:
        """How many times the bare function's init this one's takes."""
        return [ours / theirs for ours, theirs in zip(self.init, self.bare, strict=True)]


def cold_starts(repeats: int = REPEATS) -> dict[str, Start]:
    """Each function beside a bare start, so that what slows the machine down slows both."""
    with artefacts(*FUNCTIONS) as (bare, path, folders):
        starts = {}
        for function, folder in zip(FUNCTIONS, folders, strict=True):
            rounds = [
                (
                    cpu_until(bare, path, Lambda([], SECRET)),
                    cpu_until(folder, path, Lambda([], SECRET)),
                    cpu_until(folder, path, Lambda([first_event(function)], SECRET)),
                )
                for _ in range(repeats)
            ]
            starts[function] = Start(*zip(*rounds, strict=True))
    return starts


@contextmanager
def artefacts(*functions: str) -> Iterator[tuple[Path, list[Path], list[Path]]]:
    """The folders of a bare function, of what lies on the module path of all, and of these functions, as built."""
    with tempfile.TemporaryDirectory(prefix="gratis-artefact-") as place:
        path = [built(Path(place) / "layer", layer_modules()), built(Path(place) / "runtime", runtime_modules())]
        bare = Path(place) / "bare"
        bare.mkdir()
        (bare / "app.py").write_text(BARE)
        yield bare, path, [built(Path(place) / function, _modules(function)) for function in functions]


def _modules(function: str) -> list[Path]:
    return [each for each in (ROOT / "functions" / function).iterdir() if each.name != "__pycache__"]


def cpu_until(folder: Path, path: Sequence[Path], played: Lambda) -> float:
    """CPU seconds of a process until it waits for an event that does not come."""
    before, events = _of_children(), list(played.invocations)
    with started(played, folder, path, ["-B"]):
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
