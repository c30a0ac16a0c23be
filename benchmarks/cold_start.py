"""How long each function takes to start, beside a function that does nothing but create a DynamoDB client.

Both run under Lambda's own runtime client: the layer's locked packages and those of the runtime with bytecode, compiled
as layers/core/Makefile does it but for the Python that runs this, and the function's own code without, as deployed.
What counts is the process's CPU time: a start is nearly all import, and a busy machine then disturbs less.
"""

import base64
import json
import random
import resource
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from benchmarks.traffic import Sender
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
    """CPU seconds of one function: until it asks for its first event, and until that is answered."""

    init: Sequence[float]
    answered: Sequence[float]


def cold_starts(repeats: int = REPEATS) -> dict[str, Start]:
    """Each function and `bare`, in turns, so that what slows the machine down slows all of them."""
    with tempfile.TemporaryDirectory(prefix="gratis-artefact-") as place:
        path = [built(Path(place) / "layer", layer_modules()), built(Path(place) / "runtime", runtime_modules())]
        folders = {name: Path(place) / "functions" / name for name in ("bare", *FUNCTIONS)}
        folders["bare"].mkdir(parents=True)
        (folders["bare"] / "app.py").write_text(BARE)
        for function in FUNCTIONS:
            shutil.copytree(
                ROOT / "functions" / function, folders[function], ignore=shutil.ignore_patterns("__pycache__")
            )
        init: dict[str, list[float]] = {name: [] for name in folders}
        answered: dict[str, list[float]] = {name: [] for name in folders}
        for _ in range(repeats):
            for name, folder in folders.items():
                init[name].append(_cpu_until(folder, path, []))
                answered[name].append(_cpu_until(folder, path, [first_event(name)]))
    return {name: Start(init[name], answered[name]) for name in folders}


def ratios(starts: Mapping[str, Start]) -> dict[str, list[float]]:
    """How many times the bare function's init each function's takes, round by round."""
    bare = starts["bare"].init
    return {name: [ours / theirs for ours, theirs in zip(starts[name].init, bare, strict=True)] for name in FUNCTIONS}


def _cpu_until(folder: Path, path: Sequence[Path], events: Sequence[Any]) -> float:
    """CPU seconds of a process until it waits for an event that does not come."""
    before = _of_children()
    played = Lambda(list(events), SECRET)
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
