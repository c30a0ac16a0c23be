"""What is left of an organization's allowance, now. SPEC section 4; the words are those of the published terms."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gratis import moment
from gratis.rules.eligibility import Terms, ruled_out, terms_at
from gratis.rules.explanation import stated
from gratis.rules.figures import Figure, written
from gratis.rules.offer import Group, Offer
from gratis.rules.pricing import usd
from gratis.rules.reservation import open_at, reserved
from gratis.rules.window import CounterId, Window
from gratis.table.ledger import Document, Ledger

Documents = Mapping[CounterId, Document]
ENDED = "offer_ended"


def allowance(ledger: Ledger, offer: Offer, organization: str, now: datetime, platform: str) -> dict[str, Any]:
    """One read of account and counters, and a query for each group of what the month has saved. Shape: SPEC section 5.

    `platform`: whose traffic it is, for the messages.
    """
    version = offer.version_at(now)
    groups = version.all_groups()
    shared = [counter_of(organization, group, now) for group in groups if group.scope == "organization"]
    accounts, documents = ledger.read([organization], shared)
    for group in groups:
        if group.scope == "project":
            documents |= ledger.pools(counter_of(organization, group, now))
    terms = terms_at(now, offer, accounts.get(organization))
    status, ends = status_of(terms, now), terms.version.dates.ends
    rows = _groups(terms, organization, documents, now) if status in ("eligible", "enrolled") else ()
    return {
        "object": "allowance",
        "organization": organization,
        "is_known": organization in accounts,
        "status": status,
        "message": _message(status, terms, platform),
        "why": _why(terms, now) if status == "ineligible" else None,
        "ends": ends.isoformat() if ends else None,
        "as_of": moment.text(now),
        "groups": list(rows),
        "eval_runs": _eval_runs(terms, organization, documents, now),
        "saved_usd": _saved(ledger, offer, organization, now),
    }


def _saved(ledger: Ledger, offer: Offer, organization: str, now: datetime) -> dict[str, str]:
    """What the free requests of the UTC day and of the month would have cost, as far as they have a price."""
    today = moment.day_of(now)
    days = {
        identity: sum(
            (sums.list_amount for key, sums in document.totals.rows.items() if key.verdict == "free"), Decimal()
        )
        for identity, document in ledger.each_day(organization, offer.groups(), today.replace(day=1), today)
    }
    of_today = (saved for identity, saved in days.items() if identity.slot == today.isoformat())
    return {"today": usd(sum(of_today, Decimal())), "month": usd(sum(days.values(), Decimal()))}


def quotas(terms: Terms) -> list[tuple[Group, Figure]]:
    """The groups that the organization's tier has a quota of, with it."""
    found = ((group, group.quota(terms.profile.tier)) for group in terms.version.groups)
    return [(group, quota) for group, quota in found if quota is not None]


def status_of(terms: Terms, now: datetime) -> str:
    """Of an organization under these terms: `ended`, `ineligible`, `enrolled` or `eligible`."""
    if terms.version.dates.outside(now) == ENDED:
        return "ended"
    if _why(terms, now):
        return "ineligible"
    return "enrolled" if terms.settings.traffic.is_on else "eligible"


def _why(terms: Terms, now: datetime) -> str | None:
    """The reason for which an organization has no free tokens, whatever it shares; None if it can have some."""
    nothing = None if any(quota for _, quota in quotas(terms)) else "tier_not_included"
    return terms.version.dates.outside(now) or ruled_out(terms.profile, terms.version) or nothing


def _message(status: str, terms: Terms, platform: str) -> str:
    ends = terms.version.dates.ends
    return {
        "ineligible": "You are not eligible for the complimentary tokens at this time",
        "eligible": f"You're eligible for free daily usage on traffic shared with {platform}",
        "enrolled": f"You're enrolled for up to {_in_words(quotas(terms))}",
        "ended": f"The offer was valid until {ends:%B} {ends.day}, {ends.year}" if ends else "The offer has ended",
    }[status]


def _in_words(given: Sequence[tuple[Group, Figure]]) -> str:
    """The published sentence where all groups count tokens a day; each quota of any other offer is listed."""
    if all((group.unit, group.scope, group.window.is_daily) == ("tokens", "organization", True) for group, _ in given):
        return f"{sum(int(quota) for _, quota in given) / 1_000_000:g} million complimentary tokens per day"
    return "; ".join(f"{stated(group, quota)} for group {group.name}" for group, quota in given)


def counter_of(organization: str, group: Group, now: datetime, pool: str | None = None) -> CounterId:
    """The counter of a group's window that holds a moment."""
    return CounterId(organization, group.name, group.window.slot(now), pool)


def _groups(terms: Terms, organization: str, documents: Documents, now: datetime) -> Iterator[dict[str, Any]]:
    """A row for each group, of a group that counts by project one for each project that used it."""
    for group, quota in quotas(terms):
        counter = counter_of(organization, group, now)
        if group.scope == "organization":
            yield group_row(group, quota, documents.get(counter, Document()), now)
            continue
        pools = sorted({each.pool or "" for each in documents if each.pool is not None and each[:3] == counter[:3]})
        for pool in pools:
            row = group_row(group, quota, documents[counter._replace(pool=pool)], now)
            yield row | {"project": pool or None}


def group_row(group: Group, quota: Figure, document: Document, now: datetime) -> dict[str, Any]:
    """What is left of a group's quota. Shape: SPEC section 5."""
    window = group.window.window_at(document.counter, now, group.span)
    used = type(quota)(window.used if window else 0)
    start = window.start if window else now
    open_now = open_at(document.counter.reservations, now)
    aside = type(quota)(reserved(open_now, start, group.window.end(start)))
    return {
        "group": group.name,
        "unit": group.unit,
        "quota": written(quota),
        "used": written(used),
        "reserved": written(aside),
        "remaining": written(max(quota - used - aside, type(quota)(0))),
        "window": group.window.name(window.start) if window else None,
        "resets_at": moment.text(group.resets_at(window)) if window else None,
        "used_up_at": _used_up_at(group, window, quota, now),
    }


def _used_up_at(group: Group, window: Window | None, quota: Figure, now: datetime) -> str | None:
    """When nothing will be left at the pace of the window so far; None if some will be at its end, or none is now."""
    if window is None or not 0 < window.used < quota or now <= window.start:
        return None
    pace = Decimal(quota) / Decimal(window.used)
    reached = window.start + timedelta(seconds=int(Decimal((now - window.start).total_seconds()) * pace))
    return moment.text(reached) if reached < group.resets_at(window) else None


def _eval_runs(terms: Terms, organization: str, documents: Documents, now: datetime) -> dict[str, Any] | None:
    """Runs left in the window: none for who shares none, nothing to say where there is no such group any more."""
    group = terms.version.evals
    if group is None or terms.evals_dates.outside(now) == ENDED:
        return None
    shared = terms.settings.evals.is_on and not terms.profile.zero_data_retention
    given = shared and not terms.evals_dates.outside(now)
    quota = (group.quota(terms.profile.tier) or 0) if given else 0
    row = group_row(group, quota, documents.get(counter_of(organization, group, now), Document()), now)
    return {name: row[name] for name in ("quota", "used", "remaining", "resets_at")}
