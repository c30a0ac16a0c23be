"""A decision in one sentence that a support person could send."""

from decimal import Decimal

from gratis.rules.figures import Figure
from gratis.rules.offer import Exclusion, Group, Version
from gratis.rules.receipt import Decision, request_of
from gratis.rules.spelling import same_but_for_its_date
from gratis.rules.window import Calendar, Kind, Rolling

SENTENCES = {
    "offer_not_started": "the offer had not started on {day} (UTC).",
    "offer_ended": "the offer had ended before {day} (UTC).",
    "not_eligible": "the organization does not qualify for the offer.",
    "zero_data_retention": "organizations with Zero Data Retention are not included in the offer.",
    "enterprise_excluded": "organizations on this Enterprise plan are not included in the offer.",
    "no_balance": "the offer requires a positive balance, which the organization did not have at {occurred_at}.",
    "sharing_disabled": "the organization did not share its traffic at {occurred_at}.",
    "project_not_shared": "{project} was not among the projects whose traffic was shared at {occurred_at}.",
    "eval_sharing_disabled": "the organization did not share its evaluations at {occurred_at}.",
    "eval_not_shared": "this evaluation run was not shared.",
    "model_not_listed": "the offer does not list the model {model}.",
    "tier_not_included": "the offer has no allowance for usage {tier}.",
    "no_price": "the allowance counts dollars, and the model {model} has no price.",
}
"""Of the reasons that are rules of every offer; an exclusion's sentence stands beside it in the offer."""
NOUNS = {
    "tokens": ("token", "tokens"),
    "uncached_tokens": ("token that was not cached", "tokens that were not cached"),
    "requests": ("request", "requests"),
    "runs": ("run", "runs"),
}
"""What one of a unit is called, and what several are; dollars are figures alone."""


def explain(decision: Decision, version: Version | None) -> str:
    """Why the request was free or billed, with the figures it was decided on.

    `version`: of the offer, as the decision names it; None if nobody knows it any more.
    """
    if decision.is_void:
        return f"Void: {_taken_back(decision)}"
    start = "Free" if decision.verdict == "free" else "Billed"
    return f"{start}: {_because(decision, version)}"


def _taken_back(void: Decision) -> str:
    """What a void gave back."""
    before, after = void.figure("used_before"), void.figure("used_after")
    said = f"request {void.request_id} of {void.day} (UTC), which was {void.verdict}, is taken back"
    if before is None or after is None or before == after:
        return f"{said}; it had used nothing of an allowance."
    return f"{said}; {amount(void.unit, before - after)} of group {void.group} went back."


def _because(decision: Decision, version: Version | None) -> str:
    if decision.reason in ("within_quota", "over_quota"):
        return _quota_sentence(decision, version)
    if decision.reason not in SENTENCES:
        return _left_out(decision, version)
    project = f"the project {decision.project}" if decision.project else "traffic of no project"
    tier = "without a usage tier" if decision.tier is None else f"tier {decision.tier}"
    said = SENTENCES[decision.reason].format(**decision._asdict() | {"project": project, "tier": tier})
    return f"{said}{_meant(decision, version)}"


def _meant(decision: Decision, version: Version | None) -> str:
    """The listed model that a model which no group lists may have been meant to be."""
    if decision.reason != "model_not_listed" or version is None:
        return ""
    meant = same_but_for_its_date(decision.model, (model for group in version.groups for model in group.models))
    return f" Did you mean {meant}?" if meant else ""


def _left_out(decision: Decision, version: Version | None) -> str:
    """The exclusion's own sentence, and what of the request it names."""
    excludes = [each for each in version.excludes if each.reason == decision.reason] if version else []
    applied = version.exclusion_of(request_of(decision)) if version else None
    exclusion = applied if applied in excludes else next(iter(excludes), None)
    if exclusion is None:
        return f"the offer {decision.offer} left such requests out ({decision.reason})."
    named = _named(decision, exclusion)
    return f"{exclusion.sentence}{f' ({named})' if named else ''}."


def _named(decision: Decision, exclusion: Exclusion) -> str:
    parts = [
        (exclusion.models, decision.model),
        (exclusion.hosted_tools, decision.hosted_tool),
        (exclusion.service_tiers, decision.service_tier),
    ]
    return ", ".join(value for stated, value in parts if stated is not None and value)


def _quota_sentence(decision: Decision, version: Version | None) -> str:
    quota, used, total = (decision.figure(each) or 0 for each in ("quota", "used_before", "running_total"))
    aside = decision.figure("reserved_before") or 0
    units, left = total - used, max(quota - used - aside, 0)
    kind = _kind(decision, version)
    span, where = _span(decision, kind), _pool(decision)
    if decision.reservation is not None and units:
        said = f"{amount(decision.unit, units)} {'were' if units > 1 and decision.unit != 'usd' else 'was'} reserved"
        return f"{said} for it in the allowance of {where} {span}."
    if decision.verdict == "billed" and units <= left:
        return f"an earlier request that did not fit had closed the allowance of {where} {span}."
    if decision.unit == "runs":
        run = f"run {used + 1} of {quota} shared evaluation runs {span}."
        taken = f"used, or reserved by others ({aside})" if aside else "used"
        return run if decision.verdict == "free" else f"all {quota} shared evaluation runs {span} were {taken}."
    asked = amount(decision.unit, units)
    if units == 0:
        return f"a request of {asked} takes nothing from the allowance of {where}."
    fit = "fit" if decision.verdict == "free" else "did not fit"
    others = f" beside {figure(decision.unit, aside)} reserved by others" if aside else ""
    room = f"{figure(decision.unit, left)} left of {figure(decision.unit, quota)}{others}"
    return f"{asked} {fit} in the {room} for {where} {span}."


def amount(unit: str | None, units: Figure) -> str:
    """So many units, in words: `30,000 tokens`, `1 request`, `$0.13`."""
    if unit == "usd":
        return figure(unit, units)
    one, several = NOUNS[unit or "tokens"]
    return f"{units:,} {one if units == 1 else several}"


def figure(unit: str | None, units: Figure) -> str:
    """A figure as people write it: `30,000`, `$0.13`, `$0.00000015`."""
    return f"${Decimal(units).normalize():,f}" if unit == "usd" else f"{units:,}"


def stated(group: Group, quota: Figure) -> str:
    """A quota in words: `1,500 requests a day (America/Los_Angeles) and project`."""
    pool = " and project" if group.scope == "project" else ""
    return f"{amount(group.unit, quota)} {group.window.each()}{pool}"


def _pool(decision: Decision) -> str:
    """Whose quota it is: `group 1m`, `group 1m of the project proj_web`."""
    if decision.pool is None:
        return f"group {decision.group}"
    return f"group {decision.group} of {f'the project {decision.pool}' if decision.pool else 'traffic of no project'}"


def _kind(decision: Decision, version: Version | None) -> Kind | None:
    groups = version.all_groups() if version else ()
    return next((group.window for group in groups if group.name == decision.group), None)


def _span(decision: Decision, kind: Kind | None) -> str:
    """When: `on 2025-03-11 (UTC)`, `in the month of 2026-11-01 (America/Los_Angeles)`."""
    if isinstance(kind, Rolling):
        opened = f"from {decision.window}" if decision.window else ""
        return f"in the {kind.hours} hours {opened}" if opened else f"in a new window of {kind.hours} hours"
    if not isinstance(kind, Calendar):
        return f"in the window {decision.window}"
    at = f"{decision.window} ({kind.zone})"
    return f"on {at}" if kind.period == "day" else f"in the {kind.period} of {at}"
