"""What it takes to ask whether a request would be free: cold and warm, in CPU time, calls and read units."""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import urllib3

from benchmarks.bench import TABLE, Bench
from benchmarks.cold_start import SECRET, artefacts, cpu_until
from benchmarks.meter import Meter, took
from benchmarks.traffic import account
from gratis.table.api_keys import Holder, Keys
from gratis_local.functions import Context, handler_of
from gratis_local.runtime import ENVIRONMENT, Lambda

ORGANIZATION = "org_asking"
ROUNDS, STARTS = 300, 11
CHECK = ("POST", "/v1/organization/allowance/check")
ALLOWANCE = ("GET", "/v1/organization/allowance")


@dataclass(frozen=True)
class Asking:
    """One figure a round. `bare`: CPU seconds of a start that only creates a DynamoDB client, just before."""

    bare: Sequence[float]
    cold_check: Sequence[float]
    """CPU seconds from the start of the process until the check was answered."""
    cold_allowance: Sequence[float]
    """The same of a read that the function has long had."""
    warm_check: Sequence[float]
    """CPU seconds of an answer."""
    warm_allowance: Sequence[float]
    calls: int
    """To DynamoDB for a check, the key's included."""
    read_units: float

    def table(self) -> list[list[str]]:
        """Rows: what, the check's figure, the allowance's. Medians in ms, of a start also times a bare one."""
        return [
            ["cold, until it was answered", *(self._cold(each) for each in (self.cold_check, self.cold_allowance))],
            ["warm, an answer", *(f"{_ms(each):.1f} ms" for each in (self.warm_check, self.warm_allowance))],
        ]

    def _cold(self, found: Sequence[float]) -> str:
        ratios = [each / bare for each, bare in zip(found, self.bare, strict=True)]
        return f"{statistics.median(ratios):.2f} × ({_ms(found):.0f} ms)"


def _ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1000


@dataclass
class _OfEngine(Lambda):
    """Lambda as it is played, but AWS is the engine's, under the name that the table has there."""

    engine: str = ""
    http: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)

    def of_aws(self, target: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(asked).replace(f'"{ENVIRONMENT["LEDGER_TABLE"]}"', f'"{TABLE}"')
        headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.0"}
        answer = self.http.request("POST", self.engine, body=body, headers=headers)
        if answer.status != 200:
            raise AssertionError(f"{target}: {answer.data[:500]!r}")
        told = answer.data.decode().replace(f'"{TABLE}"', f'"{ENVIRONMENT["LEDGER_TABLE"]}"')
        return dict(json.loads(told))


def asking(bench: Bench) -> Asking:
    """Ask for one organization of the bench whose day has not begun."""
    key = key_of(bench)
    checks, reads, meter = warm(bench, key, ROUNDS)
    return Asking(*_cold(key, STARTS), checks, reads, meter.calls, meter.read_units)


def key_of(bench: Bench) -> str:
    """A key of an organization, which was used before: the first use of a day is noted."""
    client, now = bench.designs["gratis"].client, datetime.now(UTC)
    bench.accounts.put(account(ORGANIZATION))
    keys = Keys(client, TABLE)
    key = keys.create(Holder("gateway", ORGANIZATION, "benchmark"), now)
    keys.find(key, now)
    return key


def warm(bench: Bench, key: str, rounds: int) -> tuple[Sequence[float], Sequence[float], Meter]:
    """CPU seconds of checks and of reads of the allowance, in turns, and what one check asked of DynamoDB."""
    handler, meter = handler_of("account_api"), Meter()
    with meter.attached(bench.designs["gratis"].client):
        _answered(handler(_event(CHECK, key), Context("account_api")))
    turns = [[_warm(handler, route, key) for route in (CHECK, ALLOWANCE)] for _ in range(rounds)]
    checks, reads = zip(*turns, strict=True)
    return checks, reads, meter


def _cold(key: str, starts: int) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    engine = os.environ["AWS_ENDPOINT_URL"]
    with artefacts("account_api") as (bare, path, (function,)):
        rounds = [
            [
                cpu_until(bare, path, Lambda([], SECRET)),
                *(
                    cpu_until(function, path, _OfEngine([_event(route, key)], engine=engine))
                    for route in (CHECK, ALLOWANCE)
                ),
            ]
            for _ in range(starts)
        ]
    bare_starts, checks, reads = zip(*rounds, strict=True)
    return bare_starts, checks, reads


def _warm(handler: Any, route: tuple[str, str], key: str) -> float:
    event = _event(route, key)
    return took(lambda: _answered(handler(event, Context("account_api")))).cpu


def _answered(answer: Mapping[str, Any]) -> None:
    if answer["statusCode"] != 200:
        raise AssertionError(f"{json.dumps(answer)[:500]}")


def _event(route: tuple[str, str], key: str) -> dict[str, Any]:
    method, path = route
    asked = json.dumps({"model": "gpt-4o-mini-2024-07-18", "tokens": 1200}) if method == "POST" else None
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"authorization": f"Bearer {key}", "content-type": "application/json"},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default", "requestId": "r"},
        "isBase64Encoded": False,
    } | ({"body": asked} if asked else {})
