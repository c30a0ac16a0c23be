"""The events that take usage back: one for each request id of an organization's UTC day. SPEC section 2, "Voids"."""

import csv
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import date, datetime
from typing import Any

from gratis import moment
from gratis.intake.event_models import MAX_WHY
from gratis.intake.events import HORIZON
from gratis.rules.request import REQUEST_ID
from gratis_local.sources import Unusable

ID, OCCURRED = "request_id", "occurred_at"
"""Columns of the requests list as CSV."""


def void_events(organization: str, day: date, ids: Iterable[str], now: datetime, why: str | None) -> list[Any]:
    """A void of each request, under an id that follows from it: the same call again sends the same voids.

    Raises Unusable if none of them can be decided any more, or yet.
    """
    if not moment.day_of(now - HORIZON) <= day <= moment.day_of(now):
        raise Unusable(f"DAY: must be one of the last {HORIZON.days} days, up to {moment.day_of(now)}, not {day}")
    if why is not None and len(why) > MAX_WHY:
        raise Unusable(f"--why: must be at most {MAX_WHY} characters, not {len(why)}")
    data = {"day": day.isoformat()} | ({} if why is None else {"why": why})
    return [
        {
            "specversion": "1.0",
            "type": "usage.void",
            "source": "gratis void",
            "id": f"void_{hashlib.sha256(f'{day} {each}'.encode()).hexdigest()[:32]}",
            "time": moment.text(now),
            "subject": organization,
            "data": {"request_id": each, **data},
        }
        for each in dict.fromkeys(ids)
    ]


def request_ids(named: Sequence[str], file: str | None, day: date) -> list[str]:
    """The ids that are named, and those of the file. Raises Unusable, naming the first that is no request id."""
    found = [("ID", each) for each in named]
    if file is not None:
        found += _of_file(file, day)
    if not found:
        raise Unusable("ID: name the requests, or a CSV of them with --file")
    for where, each in found:
        if not re.fullmatch(REQUEST_ID, each):
            raise Unusable(f"{where}: must be a request id, 1 to 256 letters, digits or . _ - : /, not {each!r}")
    return [each for _, each in found]


def _of_file(file: str, day: date) -> list[tuple[str, str]]:
    try:
        with nullcontext(sys.stdin) if file == "-" else open(file, encoding="utf-8-sig", newline="") as lines:
            return list(_of_rows(csv.reader(lines), file, day))
    except OSError as error:
        raise Unusable(f"--file: {file}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"--file: {file} is no CSV in UTF-8: {error}") from None


def _of_rows(rows: Iterable[Sequence[str]], file: str, day: date) -> Iterator[tuple[str, str]]:
    """From the column `request_id` where the first line names it, else from the first column."""
    column, occurred = 0, None
    for number, row in enumerate(rows, start=1):
        if number == 1 and ID in row:
            column, occurred = row.index(ID), row.index(OCCURRED) if OCCURRED in row else None
        elif row:
            where = f"--file: {file}, line {number}"
            if len(row) <= max(column, occurred or 0):
                raise Unusable(f"{where}: has no column {max(column, occurred or 0) + 1}")
            if occurred is not None and not row[occurred].startswith(day.isoformat()):
                raise Unusable(f"{where}: {row[column]} occurred at {row[occurred]}, not on {day}")
            yield where, row[column]
