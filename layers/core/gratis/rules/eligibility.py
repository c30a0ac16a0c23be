"""Rules 1 to 6 of SPEC section 2: may this request be free at all, and from which group's quota? Pure.

The first rule that applies decides, and within a rule its reasons are tried as listed.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from gratis.rules.account import InForce, Profile, Settings, Standing
from gratis.rules.figures import Figure
from gratis.rules.formats import FIRST, FORMAT
from gratis.rules.offer import Dates, Group, Offer, Version
from gratis.rules.request import Request

_UNKNOWN_PROFILE = Profile.model_construct(effective_at=datetime.min.replace(tzinfo=UTC))
_NOTHING_SHARED = Settings.model_construct(effective_at=datetime.min.replace(tzinfo=UTC))


class Terms(NamedTuple):
    """What was in force for the organization when the request occurred: offer, profile and sharing settings."""

    version: Version
    profile: Profile
    profile_version: int | None
    settings: Settings
    settings_version: int | None

    @property
    def evals_dates(self) -> Dates:
        """First and last day of the evaluation runs that the offer gives: their own, else the offer's."""
        evals = self.version.evals
        return (evals and evals.dates) or self.version.dates


def terms_at(when: datetime, offer: Offer, account: Standing | None) -> Terms:
    """The latest versions with `effective_at` ≤ `when`; what an unknown organization has otherwise."""
    return terms_under(offer.version_at(when), account.at(when) if account else InForce())


def terms_under(version: Version, held: InForce) -> Terms:
    """The terms of these versions of offer, profile and settings."""
    profile, settings = held
    return Terms(
        version=version,
        profile=profile[1] if profile else _UNKNOWN_PROFILE,
        profile_version=profile[0] if profile else None,
        settings=settings[1] if settings else _NOTHING_SHARED,
        settings_version=settings[0] if settings else None,
    )


def terms_of(request: Request, offer: Offer, account: Standing | None) -> Terms:
    """The terms at `occurred_at`: the moment that counts, never the moment of processing."""
    return terms_at(request.occurred_at, offer, account)


def outside_the_offer(request: Request, terms: Terms) -> str | None:
    """Rule 1: the offer's dates."""
    return terms.version.dates.outside(request.occurred_at)


def organization_ruled_out(_: Request, terms: Terms) -> str | None:
    """Rule 2: the organization's profile."""
    return ruled_out(terms.profile, terms.version)


def ruled_out(profile: Profile, version: Version) -> str | None:
    """Why an organization cannot have free tokens; None if it can."""
    if not profile.eligible:
        return "not_eligible"
    if profile.zero_data_retention:
        return "zero_data_retention"
    if profile.plan == "enterprise_excluded":
        return "enterprise_excluded"
    return "no_balance" if "positive_balance" in version.requires and not profile.positive_balance else None


def traffic_not_shared(request: Request, terms: Terms) -> str | None:
    """Rule 3: is the traffic of this project shared?"""
    if terms.settings.traffic.mode == "disabled":
        return "sharing_disabled"
    return None if terms.settings.traffic.covers(request.project) else "project_not_shared"


def traffic_left_out(request: Request, terms: Terms) -> str | None:
    """Rule 4: the first of the offer's exclusions that applies."""
    exclusion = terms.version.exclusion_of(request)
    return exclusion.reason if exclusion else None


def evals_outside_their_dates(request: Request, terms: Terms) -> str | None:
    """Evaluation runs have dates of their own; those of the tokens do not matter."""
    return terms.evals_dates.outside(request.occurred_at)


def evals_not_retained(_: Request, terms: Terms) -> str | None:
    """What is not retained cannot be shared; nothing else in the profile matters to evaluation runs."""
    return "zero_data_retention" if terms.profile.zero_data_retention else None


def evals_not_shared(request: Request, terms: Terms) -> str | None:
    """Rule 3 for evaluation runs, for which the members decide run by run as well."""
    if terms.settings.evals.mode == "disabled":
        return "eval_sharing_disabled"
    if not terms.settings.evals.covers(request.project):
        return "project_not_shared"
    return None if request.shared else "eval_not_shared"


Rule = Callable[[Request, Terms], str | None]
TOKEN_RULES: tuple[Rule, ...] = (outside_the_offer, organization_ruled_out, traffic_not_shared, traffic_left_out)
EVAL_RULES: tuple[Rule, ...] = (evals_outside_their_dates, evals_not_retained, evals_not_shared)
FIRST_EVAL_RULES: tuple[Rule, ...] = (outside_the_offer, organization_ruled_out, evals_not_shared)
"""As decisions of the first format were taken."""


class Ruling(NamedTuple):
    """What comes of rules 1 to 6: the `reason` for which they bill a request, or the `quota` that rule 7 looks at.

    `group`: whose quota is asked for, None where a rule before that choice decides; `units`: what the request takes.
    """

    reason: str | None
    group: Group | None = None
    quota: Figure | None = None
    units: Figure = 0


def judge(request: Request, terms: Terms, list_amount: Decimal | None, form: int = FORMAT) -> Ruling:
    """Rules 1 to 6, as decisions of a format are taken."""
    for rule in _rules(request, form):
        if reason := rule(request, terms):
            return Ruling(reason)
    group = group_of(request, terms.version)
    if group is None:
        return Ruling("tier_not_included" if request.is_run else "model_not_listed")
    quota, units = group.quota(terms.profile.tier), group.units(request, list_amount)
    if quota is None:
        return Ruling("tier_not_included", group if form != FIRST else None)
    return Ruling("no_price", group) if units is None else Ruling(None, group, quota, units)


def group_of(request: Request, version: Version) -> Group | None:
    """The group whose quota a request asks for: evaluation runs have their own, others the one of their model."""
    return version.evals if request.is_run else version.group_of(request.model)


def _rules(request: Request, form: int) -> tuple[Rule, ...]:
    if request.is_run:
        return EVAL_RULES if form != FIRST else FIRST_EVAL_RULES
    return TOKEN_RULES
