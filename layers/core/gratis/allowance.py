"""What is left of an organization's allowance, now. SPEC section 4; the words are those of the published terms."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from gratis import moment
from gratis.decision import CounterId
from gratis.eligibility import Terms, ruled_out, terms_at
from gratis.ledger import Document, Ledger
from gratis.offer import EVALS, Group, Offer
from gratis.window import (
    Counter,
    Window,
    calendar_window,
    ends_at,
    name,
    rolling_window,
    start_of_day,
    start_of_week,
)


def allowance(ledger: Ledger, offer: Offer, organization: str, now: datetime, platform: str) -> dict[str, Any]:
    """One read of account and counters. Shape: SPEC section 5. `platform`: whose traffic it is, for the messages."""
    version = offer.version_at(now)
    counters = {group.name: _counter(organization, group.name, version.window, now) for group in version.groups}
    evals = CounterId(organization, EVALS, f"WEEK#{start_of_week(now).date()}")
    accounts, documents = ledger.read([organization], [*counters.values(), evals])
    terms = terms_at(now, offer, accounts.get(organization))
    status = _status(terms, now)
    groups = _groups(terms, counters, documents, now) if status in ("eligible", "enrolled") else ()
    return {
        "object": "allowance",
        "organization": organization,
        "status": status,
        "message": _message(status, terms, platform),
        "groups": list(groups),
        "eval_runs": _eval_runs(terms, documents.get(evals, Document()), now),
    }


def sum_of_quotas(terms: Terms) -> int:
    """Free tokens a window that all groups together give to the organization's tier; 0 without one."""
    tier = terms.profile.tier
    return sum(group.quotas.get(tier, 0) for group in terms.version.groups) if tier is not None else 0


def _status(terms: Terms, now: datetime) -> str:
    if terms.offer.ended(now):
        return "ended"
    if ruled_out(terms.profile) or not terms.offer.started(now) or not sum_of_quotas(terms):
        return "ineligible"
    traffic = terms.settings.traffic
    shared = traffic.mode == "enabled" or (traffic.mode == "selected" and bool(traffic.projects))
    return "enrolled" if shared else "eligible"


def _message(status: str, terms: Terms, platform: str) -> str:
    millions = f"{sum_of_quotas(terms) / 1_000_000:g}"
    ends = terms.offer.ends
    return {
        "ineligible": "You are not eligible for the complimentary tokens at this time",
        "eligible": f"You're eligible for free daily usage on traffic shared with {platform}",
        "enrolled": f"You're enrolled for up to {millions} million complimentary tokens per day",
        "ended": f"The offer was valid until {ends:%B} {ends.day}, {ends.year}" if ends else "The offer has ended",
    }[status]


def _counter(organization: str, group: str, kind: str, now: datetime) -> CounterId:
    return CounterId(organization, group, "ROLLING" if kind == "rolling_24h" else moment.day_of(now).isoformat())


def _groups(
    terms: Terms, counters: Mapping[str, CounterId], documents: Mapping[CounterId, Document], now: datetime
) -> Iterator[dict[str, Any]]:
    for group in terms.version.groups:
        quota = _quota(group, terms)
        if quota is None:
            continue
        window = _open_window(documents.get(counters[group.name], Document()).counter, terms, now)
        used = window.used if window else 0
        yield {
            "group": group.name,
            "quota": quota,
            "used": used,
            "remaining": max(quota - used, 0),
            "window": name(terms.version.window, window.start) if window else None,
            "resets_at": _resets_at(terms, window) if window else None,
        }


def _quota(group: Group, terms: Terms) -> int | None:
    return group.quotas.get(terms.profile.tier) if terms.profile.tier is not None else None


def _open_window(counter: Counter, terms: Terms, now: datetime) -> Window | None:
    if terms.version.window == "rolling_24h":
        return rolling_window(counter.windows, now)
    return calendar_window(counter, start_of_day(now))


def _resets_at(terms: Terms, window: Window) -> str:
    end = ends_at(window)
    change = terms.offer.end_of(terms.version)
    return moment.text(min(end, change) if change else end)


def _eval_runs(terms: Terms, document: Document, now: datetime) -> dict[str, Any]:
    in_force = terms.offer.started(now) and not terms.offer.ended(now) and not ruled_out(terms.profile)
    quota, start = terms.version.evals.quota if in_force else 0, start_of_week(now)
    used = calendar_window(document.counter, start).used
    resets = moment.text(start + timedelta(days=7))
    return {"quota": quota, "used": used, "remaining": max(quota - used, 0), "resets_at": resets}
