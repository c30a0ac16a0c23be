"""Our side of the comparison: from emitted records, the ledger, or a deployed API."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import urllib3

from gratis import moment
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.ledger import Ledger
from gratis_local.prove import read_records
from gratis_local.reconcile.pages import Row, usage_of
from gratis_local.sources import Unusable

MAX_BUCKETS = {"1d": 31, "1h": 168}
TIMEOUT_S = 60


def from_records(files: Sequence[str], organization: str) -> list[Row]:
    """The records of an organization in these files, each once. Raises Unusable."""
    known: dict[str, Mapping[str, Any]] = {}
    for record in read_records(files):
        if record["organization"] == organization and known.setdefault(record["id"], record) != record:
            raise Unusable(f"{', '.join(files)}: {record['id']} is there twice, with another content")
    return [_row(record) for record in known.values()]


def from_ledger(
    ledger: Ledger, organization: str, days: Iterable[date], now: datetime, advance: Callable[[int], None]
) -> Iterator[Row]:
    """The decisions of these days. Raises Unusable for a day whose decisions are no longer kept; Busy."""
    for day in days:
        if ledger.expire and day < moment.day_of(now - KEEP_DECISIONS):
            kept = f"decisions are kept for {KEEP_DECISIONS.days} days"
            raise Unusable(f"{kept}: those of {day} are no longer all there; name the emitted records with --records")
        yield from (_row(decision.record()) for decision in ledger.decisions_of_day(organization, day))
        advance(1)


def from_api(url: str, key: str, organization: str, days: Sequence[date], as_of: datetime | None) -> list[Row]:
    """What a deployed account API says; by the hour where traffic after `as_of` has to be left out. Raises Unusable."""
    width = "1d" if as_of is None else "1h"
    asked: dict[str, Any] = {
        "start_time": int(moment.midnight(min(days)).timestamp()),
        "end_time": int((moment.midnight(max(days)) + timedelta(days=1)).timestamp()),
        "bucket_width": width,
        "limit": MAX_BUCKETS[width],
        "group_by": ["model", "service_tier", "project_id"],
        "organization": organization,
    }
    pages: list[tuple[str, Any]] = []
    page = None
    while True:
        answer = _got(f"{url.rstrip('/')}/organization/usage/completions", key, asked)
        pages.append((f"{url}: page {len(pages) + 1}", answer))
        page = answer.get("next_page") if isinstance(answer, dict) and answer.get("has_more") else None
        asked |= {"page": page}
        if page is None:
            return [row for row in usage_of(pages, as_of).rows if row.day in days]


def is_known_there(url: str, key: str, organization: str) -> bool:
    """Whether an organization has an account, as a deployed account API says. Raises Unusable."""
    answer = _got(f"{url.rstrip('/')}/organization/allowance", key, {"organization": organization})
    return not isinstance(answer, dict) or answer.get("is_known") is not False


def _got(url: str, key: str, asked: Mapping[str, Any]) -> Any:
    lists = ((name, value if isinstance(value, list) else [value]) for name, value in asked.items())
    fields = [(name, str(each)) for name, values in lists for each in values]
    try:
        answer = urllib3.request(
            "GET", url, fields=fields, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, retries=3
        )
    except (urllib3.exceptions.HTTPError, urllib3.exceptions.LocationParseError) as error:
        raise Unusable(f"--url: {url} does not answer: {error}") from None
    if answer.status != 200:
        raise Unusable(f"--url: {url} answers {answer.status}: {_message(answer.data)}")
    try:
        return answer.json()
    except ValueError:
        raise Unusable(f"--url: {url} answers no JSON: is it the base URL of the API, which ends in /v1?") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return repr(body[:100])


def _row(record: Mapping[str, Any]) -> Row:
    tokens = record["tokens"]
    amount = record["amount_usd"]
    return Row(
        day=date.fromisoformat(record["occurred_at"][:10]),
        model=record["model"],
        project=record["project"],
        verdict=record["verdict"],
        tokens=tokens["total"],
        cached=tokens.get("cached_input", 0),
        amount=None if amount is None else Decimal(amount),
        record=record,
    )
