"""A decision in one sentence that a support person could send."""

from gratis.decision import Decision
from gratis.offer import EVALS

SENTENCES = {
    "offer_not_started": "the offer had not started on {day} (UTC).",
    "offer_ended": "the offer had ended before {day} (UTC).",
    "not_eligible": "the organization does not qualify for the offer.",
    "zero_data_retention": "organizations with Zero Data Retention are not included in the offer.",
    "enterprise_excluded": "organizations on this Enterprise plan are not included in the offer.",
    "sharing_disabled": "the organization did not share its traffic at {occurred_at}.",
    "project_not_shared": "{project} was not among the projects whose traffic was shared at {occurred_at}.",
    "eval_sharing_disabled": "the organization did not share its evaluations at {occurred_at}.",
    "eval_not_shared": "this evaluation run was not shared.",
    "fine_tuning_training": "fine-tuning training is not included in the offer.",
    "fine_tuned_model": "fine-tuned models are not included in the offer ({model}).",
    "o_series_on_assistants": "o-series models on the Assistants API are not included in the offer ({model}).",
    "tool_use": "requests that use a tool hosted by the platform are not included in the offer ({hosted_tool}).",
    "model_not_listed": "the offer does not list the model {model}.",
    "tier_not_included": "the offer has no allowance for usage {tier}.",
}


def explain(decision: Decision) -> str:
    """Why the request was free or billed, with the figures it was decided on."""
    start = "Free" if decision.verdict == "free" else "Billed"
    if decision.reason in ("within_quota", "over_quota"):
        return f"{start}: {_quota_sentence(decision)}"
    project = f"the project {decision.project}" if decision.project else "traffic of no project"
    tier = "without a usage tier" if decision.tier is None else f"tier {decision.tier}"
    fields = decision._asdict() | {"project": project, "tier": tier}
    return f"{start}: {SENTENCES[decision.reason].format(**fields)}"


def _quota_sentence(decision: Decision) -> str:
    quota, used = decision.quota or 0, decision.used_before or 0
    tokens, left = decision.input + decision.output, max(quota - used, 0)
    where = f"of group {decision.group}" if decision.group != EVALS else "of evaluation runs"
    if decision.group == EVALS:
        run = f"run {used + 1} of {quota} shared evaluation runs in the week of {decision.window} (UTC)."
        over = f"all {quota} shared evaluation runs of the week of {decision.window} (UTC) were used."
        return run if decision.verdict == "free" else over
    if tokens == 0:
        return f"a request without tokens takes nothing from the allowance {where}."
    span = _span(decision)
    if decision.verdict == "free":
        return f"{tokens:,} tokens fit in the {left:,} left of {quota:,} for group {decision.group} {span}."
    if tokens <= left:
        return f"an earlier request that did not fit had closed the allowance {where} {span}."
    return f"{tokens:,} tokens did not fit in the {left:,} left of {quota:,} for group {decision.group} {span}."


def _span(decision: Decision) -> str:
    if decision.window is None:
        return "in a new 24-hour window"
    if "T" in decision.window:
        return f"in the 24 hours from {decision.window}"
    return f"on {decision.window} (UTC)"
