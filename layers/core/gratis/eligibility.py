"""Rules 1 to 6 of SPEC section 2: may this request be free at all, and from which group's quota? Pure.

The first rule that applies decides, and within a rule its reasons are tried as listed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gratis.account import Account, Profile, Settings, in_force
from gratis.offer import EVALS, Offer, Version
from gratis.request import Request

_O_SERIES = re.compile(r"o\d")
_UNKNOWN_PROFILE = Profile(effective_at=datetime.min.replace(tzinfo=UTC))
_NOTHING_SHARED = Settings(effective_at=datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Terms:
    """What was in force for the organization when the request occurred: offer, profile and sharing settings."""

    offer: Offer
    version: Version
    profile: Profile
    profile_version: int | None
    settings: Settings
    settings_version: int | None

    @property
    def offer_name(self) -> str:
        """The offer and its version, as records name them."""
        return self.offer.name_of(self.version)


def terms_at(when: datetime, offer: Offer, account: Account | None) -> Terms:
    """The latest versions with `effective_at` ≤ `when`; what an unknown organization has otherwise."""
    profile = in_force(account.profile, when) if account else None
    settings = in_force(account.sharing, when) if account else None
    return _terms(when, offer, profile, settings)


def terms_of_versions(
    request: Request, offer: Offer, account: Account | None, versions: tuple[int | None, int | None]
) -> Terms:
    """The terms that a receipt names by the numbers of profile and settings. Raises LookupError if there is no such."""
    profile, settings = versions
    known = account or Account(id=request.organization)
    return _terms(
        request.occurred_at,
        offer,
        (profile, known.profile[profile - 1]) if profile else None,
        (settings, known.sharing[settings - 1]) if settings else None,
    )


def _terms(
    when: datetime, offer: Offer, profile: tuple[int, Profile] | None, settings: tuple[int, Settings] | None
) -> Terms:
    return Terms(
        offer=offer,
        version=offer.version_at(when),
        profile=profile[1] if profile else _UNKNOWN_PROFILE,
        profile_version=profile[0] if profile else None,
        settings=settings[1] if settings else _NOTHING_SHARED,
        settings_version=settings[0] if settings else None,
    )


def terms_of(request: Request, offer: Offer, account: Account | None) -> Terms:
    """The terms at `occurred_at`: the moment that counts, never the moment of processing."""
    return terms_at(request.occurred_at, offer, account)


def outside_the_offer(request: Request, terms: Terms) -> str | None:
    """Rule 1: the offer's dates."""
    if not terms.offer.started(request.occurred_at):
        return "offer_not_started"
    return "offer_ended" if terms.offer.ended(request.occurred_at) else None


def organization_ruled_out(_: Request, terms: Terms) -> str | None:
    """Rule 2: the organization's profile."""
    return ruled_out(terms.profile)


def ruled_out(profile: Profile) -> str | None:
    """Why an organization cannot take part; None if it can."""
    if not profile.eligible:
        return "not_eligible"
    if profile.zero_data_retention:
        return "zero_data_retention"
    return "enterprise_excluded" if profile.plan == "enterprise_excluded" else None


def traffic_not_shared(request: Request, terms: Terms) -> str | None:
    """Rule 3: is the traffic of this project shared?"""
    if terms.settings.traffic.mode == "disabled":
        return "sharing_disabled"
    return None if terms.settings.traffic.covers(request.project) else "project_not_shared"


def evals_not_shared(request: Request, terms: Terms) -> str | None:
    """Rule 3 for evaluation runs, for which the members decide run by run as well."""
    if terms.settings.evals.mode == "disabled":
        return "eval_sharing_disabled"
    if not terms.settings.evals.covers(request.project):
        return "project_not_shared"
    return None if request.shared else "eval_not_shared"


def traffic_left_out(request: Request, terms: Terms) -> str | None:
    """Rule 4: traffic that the offer leaves out."""
    model = terms.version.resolve(request.model)
    if request.endpoint == "fine_tuning":
        return "fine_tuning_training"
    if model.startswith("ft:"):
        return "fine_tuned_model"
    if request.endpoint == "assistants" and _O_SERIES.match(model):
        return "o_series_on_assistants"
    return "tool_use" if hosted_tool(request, terms.version) else None


def model_not_listed(request: Request, terms: Terms) -> str | None:
    """Rule 5: a group lists the dated model id, or the offer's alias table leads to one that is listed."""
    return None if terms.version.group_of(request.model) else "model_not_listed"


def tier_not_included(request: Request, terms: Terms) -> str | None:
    """Rule 6: the offer has a quota for the organization's usage tier."""
    return "tier_not_included" if _quota(request, terms) is None else None


Rule = Callable[[Request, Terms], str | None]
TOKEN_RULES: tuple[Rule, ...] = (
    outside_the_offer,
    organization_ruled_out,
    traffic_not_shared,
    traffic_left_out,
    model_not_listed,
    tier_not_included,
)
EVAL_RULES: tuple[Rule, ...] = (outside_the_offer, organization_ruled_out, evals_not_shared)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The group and the quota from which a request may be free, if it fits (rule 7)."""

    group: str
    quota: int


def judge(request: Request, terms: Terms) -> Allowed | str:
    """The reason for which rules 1 to 6 bill the request, or the allowance that rule 7 has to look at."""
    is_eval = request.kind == "usage.eval_run"
    for rule in EVAL_RULES if is_eval else TOKEN_RULES:
        if reason := rule(request, terms):
            return reason
    if is_eval:
        return Allowed(EVALS, terms.version.evals.quota)
    group, quota = terms.version.group_of(request.model), _quota(request, terms)
    if group is None or quota is None:
        raise AssertionError("rules 5 and 6 let a request pass that has no quota")
    return Allowed(group.name, quota)


def hosted_tool(request: Request, version: Version) -> str | None:
    """The first tool of the request that the platform runs itself."""
    return next((tool for tool in request.tools if version.hosts(tool)), None)


def _quota(request: Request, terms: Terms) -> int | None:
    group, tier = terms.version.group_of(request.model), terms.profile.tier
    return group.quotas.get(tier) if group and tier is not None else None
