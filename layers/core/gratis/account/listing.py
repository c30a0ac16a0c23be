"""Decisions of a day in pages, filtered, as JSON or as a table. SPEC section 5."""

import base64
import binascii
import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from gratis import moment
from gratis.http import Refused
from gratis.rules.receipt import RECORD, Decision, Verdict
from gratis.rules.request import AHEAD, RequestKey
from gratis.table.day_list import MAX_ITEMS, DayList, Place, Row
from gratis.table.ledger import Ledger

LATEST_DAYS = 7
"""UTC days of which the latest decisions are taken, where a call names none."""
FIGURES = {"format", "quota", "used_before", "reserved_before", "used_after", "running_total", "tier"} | {
    *("list_amount_usd", "amount_usd", "profile_version", "settings_version")
}
"""Fields of a record that are numbers, some of them written as text."""
_FORMULA = re.compile(r"'*[=+\-@]")


class Asked(NamedTuple):
    """What a call asks for. Without a day: the latest decisions. None: no matter which."""

    day: date | None
    projects: Sequence[str] | None
    models: Sequence[str] | None
    verdict: Verdict | None
    reason: str | None
    limit: int
    page: str | None

    def wants(self, row: Row) -> bool:
        """Whether a row of a list is asked for."""
        return (
            (self.projects is None or row.project in self.projects)
            and (self.models is None or row.model in self.models)
            and self.verdict in (None, row.verdict)
            and self.reason in (None, row.reason)
        )

    def query(self, page: str | None, organization: str | None) -> str:
        """The query string that asks for another page of the same."""
        parameters = {
            "day": self.day,
            "project_ids": self.projects,
            "models": self.models,
            "verdict": self.verdict,
            "reason": self.reason,
            "limit": self.limit,
            "page": page,
            "organization": organization,
        }
        return urlencode({name: each for name, each in parameters.items() if each is not None}, doseq=True)


class Found(NamedTuple):
    """A page of decisions, newest decided first, and the cursor of the next."""

    decisions: list[Decision]
    next_page: str | None


def found(asked: Asked, ledger: Ledger, organization: str, now: datetime) -> Found:
    """The page that is asked for. Raises Refused: 400 if its cursor is none of this query; Busy.

    It is read from one query of a day's list (several, where no day is named) and one batch of decisions, so it may be
    short while there are more.
    """
    lists = DayList(ledger.client, ledger.table)
    days, after = _days(asked, now)
    names: list[RequestKey] = []
    next_page, read = None, 0
    for number, day in enumerate(days):
        page = lists.page(organization, day, asked.limit - len(names), asked.wants, after)
        names += [RequestKey(organization, day, row.name) for row in page.rows]
        read, after = read + page.read, None
        if page.following is not None:
            next_page = _cursor(day, page.following)
            break
        if (len(names) == asked.limit or read >= MAX_ITEMS) and day != days[-1]:
            next_page = _cursor(days[number + 1], None)
            break
    decided = ledger.decisions(names)
    return Found([decided[name] for name in names if name in decided], next_page)


def csv_of(decisions: Sequence[Decision]) -> str:
    """A line for each decision and one with the names of its record's fields. Nothing in it is a formula."""
    written = io.StringIO()
    lines = csv.writer(written)
    records = [_flat(decision.record()) for decision in decisions]
    names = list(dict.fromkeys([*_COLUMNS, *(name for record in records for name in record)]))
    lines.writerow(names)
    lines.writerows([_cell(name, record.get(name)) for name in names] for record in records)
    return written.getvalue()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record with `tokens_input` and the like in place of its token counts."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= {f"{name}_{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


_TOKENS = [f"tokens_{name}" for name in ("input", "cached_input", "cache_write", "output", "total")]
_COLUMNS = [name for field in RECORD for name in (_TOKENS if field.name == "tokens" else [field.name])]


def _cell(name: str, value: Any) -> Any:
    """A text that a spreadsheet would reckon gets an apostrophe, which whatever reads it takes off again."""
    if value is None or name in FIGURES or not isinstance(value, str):
        return value
    return f"'{value}" if _FORMULA.match(value) else value


def _days(asked: Asked, now: datetime) -> tuple[list[date], Place | None]:
    """The days that a page is taken from, newest first, and where it begins in the first."""
    latest = moment.day_of(now + AHEAD)
    days = [latest - timedelta(days=back) for back in range(LATEST_DAYS + 1)] if asked.day is None else [asked.day]
    if asked.page is None:
        return days, None
    first, after = _place(asked.page)
    if first not in days:
        raise _no_page(asked.page)
    return days[days.index(first) :], after


def _cursor(day: date, place: Place | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([day.isoformat(), *(place or ())]).encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[date, Place | None]:
    try:
        day, *place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        if not all(isinstance(part, str) for part in (day, *place)) or len(place) not in (0, len(Place._fields)):
            raise _no_page(cursor)
        return date.fromisoformat(day), Place(*place) if place else None
    except (ValueError, TypeError, binascii.Error):
        raise _no_page(cursor) from None


def _no_page(cursor: str) -> Refused:
    return Refused(400, "invalid_value", f"page: {cursor[:100]!r} is no page of this query", "page")
