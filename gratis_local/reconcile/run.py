"""Puts a comparison together from what the command names."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from gratis.rules.offer import Offer
from gratis_local.console import progress
from gratis_local.prove import ledger_at
from gratis_local.reconcile.compare import Compared, Word, compare
from gratis_local.reconcile.decided import from_api, from_ledger, from_records, is_known_there
from gratis_local.reconcile.fetched import fetched
from gratis_local.reconcile.pages import Row, costs_of, read_pages, usage_of
from gratis_local.recovery import is_known, unknown
from gratis_local.sources import Unusable


class Ours(NamedTuple):
    """Where our side is read: records in files, a deployed API, or the ledger of a stack (endpoint, name, table)."""

    organization: str
    records: Sequence[str] | None
    url: str | None
    api_key: str | None
    ledger: tuple[str | None, str, str | None]


def platforms_word(
    usage: Sequence[str],
    costs: Sequence[str],
    span: tuple[date, date] | None,
    key: str | None,
    as_of: datetime | None,
) -> Word:
    """The platform's pages: from files, or fetched with `key` for the days of `span`. Raises Unusable."""
    if key is not None and span is not None:
        if usage or costs:
            raise Unusable("--openai: fetches the pages itself; leave out --usage and --costs")
        days = _days(*span)
        with progress("Fetching", len(days)) as advance:
            used, cost = fetched(days, key, advance)
    else:
        used, cost = read_pages(usage), read_pages(costs)
    if not used and not cost:
        raise Unusable("name the platform's pages: --usage FILE..., --costs FILE..., or --openai")
    return Word(usage_of(used, as_of) if used else None, costs_of(cost, as_of) if cost else None)


def reconciled(ours: Ours, word: Word, offer: Offer, as_of: datetime | None) -> Compared:
    """Our rows beside the platform's word, and whether our side knows the organization. Raises Unusable; Busy."""
    compared = compare(ours.organization, _rows(ours, sorted(word.days), as_of), word, offer, as_of)
    if _is_known(ours):
        return compared
    return replace(compared, notes=[unknown(ours.organization), *compared.notes])


def _rows(ours: Ours, days: Sequence[date], as_of: datetime | None) -> list[Row]:
    if ours.records:
        return from_records(ours.records, ours.organization)
    if not days:
        return []
    if ours.url and ours.api_key:
        return from_api(ours.url, ours.api_key, ours.organization, days, as_of)
    with progress("Reading", len(days)) as advance:
        return list(from_ledger(ledger_at(*ours.ledger), ours.organization, days, datetime.now(UTC), advance))


def _is_known(ours: Ours) -> bool:
    """Whether the organization has an account. Records do not tell."""
    if ours.records:
        return True
    if ours.url and ours.api_key:
        return is_known_there(ours.url, ours.api_key, ours.organization)
    return is_known(ledger_at(*ours.ledger), ours.organization)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
