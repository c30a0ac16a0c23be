"""One log line and one set of metrics a batch, never an event: a metric costs more CPU than a decision."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from gratis import moment

if TYPE_CHECKING:  # each function imports only what it needs
    from datetime import date, datetime

    from gratis.classify import Outcome
    from gratis.closing.proof import Proof
    from gratis.http import Refused
    from gratis.intake.receive import Received
    from gratis.outbox import Emitted
    from gratis.outgoing.sending import Sent
    from gratis.rules.receipt import Decision

NAMESPACE = "Gratis"
_USUAL_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
MAX_VALUES = 10
"""Of one metric a batch: each value costs 11 µs, and CloudWatch takes percentiles over all batches."""
STACK = "Stack"
"""A dimension of every metric: it keeps the stacks of an account apart."""
QUOTA_REACHED = "quota threshold reached"
"""The log line that a Contributor Insights rule of the template looks for."""
for _library in ("botocore", "aws_lambda_powertools"):
    logging.getLogger(_library).setLevel(logging.INFO)  # at DEBUG they log whole calls and answers, secrets included


def stack_dimension() -> dict[str, str]:
    """The stack that this function belongs to; off AWS one is assumed."""
    return {STACK: os.environ.get("STACK", "gratis")}


def metrics_of(service: str) -> Metrics:
    """A function's metrics."""
    metrics = Metrics(namespace=NAMESPACE, service=service)
    metrics.set_default_dimensions(**stack_dimension())
    return metrics


class MetricValue(NamedTuple):
    """A value of a metric. `reason`: the metric's dimension in place of the function's own, `service`."""

    name: str
    unit: MetricUnit
    value: float
    reason: str | None = None


def report_batch(outcome: "Outcome", logger: Logger, metrics: Metrics) -> None:
    """What a batch of `classify_usage` did. No identifiers of requests, no payloads."""
    values = list(batch_metrics(outcome))
    for name, unit, value, reason in values:
        if reason is None:
            metrics.add_metric(name=name, unit=unit, value=value)
            continue
        reason_of = stack_dimension() | {"Reason": reason}
        with single_metric(name, unit, value, namespace=NAMESPACE, default_dimensions=reason_of):
            pass
    reasons = {each.reason: each.value for each in values if each.reason is not None}
    counts = {each.name: each.value for each in values if each.unit is MetricUnit.Count and each.reason is None}
    log = logger.warning if outcome.quarantined or outcome.unfinished else logger.info
    log("batch decided", extra={"counts": counts, "reasons": reasons, "causes": outcome.causes[:10]})
    unpriced = sorted({_shown(decision.model) for decision in outcome.decisions if decision.list_amount_usd is None})
    if unpriced:
        logger.warning("models without a price", extra={"models": unpriced[:20]})
    for reached in quotas_reached(outcome.decisions):
        logger.info(QUOTA_REACHED, extra=reached)


def _shown(model: str) -> str:
    """A model's name as a log may hold it: what is no usual name may be anything that a caller wrote."""
    return model if _USUAL_MODEL.fullmatch(model) else "(another name)"


def batch_metrics(outcome: "Outcome") -> Iterator[MetricValue]:
    """What CloudWatch is told of a batch of `classify_usage`."""
    decided = outcome.decisions
    for name, count in _counts(outcome).items():
        yield MetricValue(name, MetricUnit.Count, count)
    for name, amounts in {
        "ListAmountUsd": [decision.list_amount_usd for decision in decided],
        "BilledAmountUsd": [decision.amount_usd for decision in decided],
    }.items():
        yield MetricValue(name, MetricUnit.NoUnit, sum(map(float, filter(None, amounts))))
    for use in picked(quota_uses(decided)):
        yield MetricValue("QuotaUse", MetricUnit.Percent, use)
    for wait in waits((decision.received_at, decision.decided_at) for decision in decided):
        yield MetricValue("DecisionLatency", MetricUnit.Milliseconds, wait)
    for reason, count in Counter(decision.reason for decision in decided).items():
        yield MetricValue("Decisions", MetricUnit.Count, count, reason)


def quotas_reached(decided: Iterable["Decision"]) -> Iterator[dict[str, str | None]]:
    """The fields of a log line for each threshold of a quota that one of these decisions reached."""
    for each in decided:
        for threshold in each.thresholds:
            named = {"organization": each.organization, "group": each.group, "window": each.window}
            yield named | {"reached": f"{threshold} %"}


def _counts(outcome: "Outcome") -> dict[str, int]:
    """Requests and tokens are counted off by their voids; what somebody should look into is counted once."""
    decided = outcome.decisions
    requests = [decision for decision in decided if not decision.is_void]
    return {
        "EventsReceived": outcome.events,
        "FreeRequests": sum(decision.counts for decision in decided if decision.verdict == "free"),
        "BilledRequests": sum(decision.counts for decision in decided if decision.verdict == "billed"),
        "FreeTokens": sum(decision.input + decision.output for decision in decided if decision.verdict == "free"),
        "BilledTokens": sum(decision.input + decision.output for decision in decided if decision.verdict == "billed"),
        "Repeats": outcome.repeats,
        "Conflicts": sum(entry.code == "conflict" for entry in outcome.quarantined),
        "Quarantined": len(outcome.quarantined),
        "Unpriced": sum(decision.list_amount_usd is None for decision in requests),
        "PlatformVerdictsDiffer": sum(each.platform_verdict not in (None, each.verdict) for each in requests),
        "ContendedCommits": outcome.contended,
        "UnfinishedMessages": len(outcome.unfinished),
        "QuotasNearlyUsed": sum(80 in decision.thresholds for decision in decided),
        "QuotasUsedUp": sum(100 in decision.thresholds for decision in decided),
    }


def quota_uses(decided: Iterable["Decision"]) -> list[float]:
    """Per cent of its quota that each counter has used after the last of these decisions."""
    latest = {(each.organization, each.group, each.pool, each.window): each for each in decided if each.quota}
    figures = ((each.figure("used_after") or 0, each.figure("quota")) for each in latest.values())
    return [float(100 * used / quota) for used, quota in figures if quota]


def waits(spans: Iterable[tuple[str, str]]) -> list[float]:
    """Milliseconds from the first to the second moment of each span, the same span once. Never below 0, for which
    CloudWatch has no percentiles: two machines' clocks may differ."""
    lasted = (moment.parse(until) - moment.parse(since) for since, until in set(spans))
    return picked(max(0.0, each / timedelta(milliseconds=1)) for each in lasted)


def picked(values: Iterable[float]) -> list[float]:
    """At most `MAX_VALUES` of them, evenly from the least to the greatest, which is always among them."""
    ordered = sorted(values)
    count = min(len(ordered), MAX_VALUES)
    return [ordered[(number + 1) * len(ordered) // count - 1] for number in range(count)]


def report_received(received: "Received", logger: Logger, metrics: Metrics) -> None:
    """What a call of `receive_usage` stored. The metrics say it all, unless something went to quarantine."""
    quarantined = len(received.quarantined)
    metrics.add_metric(name="EventsAccepted", unit=MetricUnit.Count, value=received.accepted)
    metrics.add_metric(name="Quarantined", unit=MetricUnit.Count, value=quarantined)
    for reason, count in received.skipped.items():
        reason_of = stack_dimension() | {"Reason": reason}
        with single_metric("Skipped", MetricUnit.Count, count, namespace=NAMESPACE, default_dimensions=reason_of):
            pass
    codes = Counter(entry["error"]["code"] for entry in received.quarantined)
    log = logger.warning if quarantined else logger.debug
    said = {"accepted": received.accepted, "skipped": dict(received.skipped), "quarantined": dict(codes)}
    log("events stored", extra=said)


def report_refused(refused: "Refused", cause: str, logger: Logger, metrics: Metrics) -> None:
    """A call of `receive_usage` that stored nothing. The log says why, not what was in the request."""
    said = {"status": refused.status, "code": refused.code, "cause": cause, "known_sender": refused.known_sender}
    logger.warning("refused", extra=said)
    metrics.add_metric(name="RequestsRefused", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="KnownSendersRefused", unit=MetricUnit.Count, value=int(refused.known_sender))


def report_sent(sent: "Sent", logger: Logger, metrics: Metrics) -> None:
    """What became of a call's outgoing webhooks. Nothing of their content, and no URL."""
    counts = {
        "WebhooksDelivered": sent.delivered,
        "WebhooksFailed": sent.failed,
        "WebhooksGivenUp": sent.given_up,
        "WebhooksDisabled": len(sent.disabled),
    }
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    log = logger.warning if sent.disabled or sent.given_up else logger.info
    log("webhooks sent", extra={"counts": counts, "put_off": sent.put_off, "disabled": sent.disabled})


def report_emitted(emitted: "Emitted", now: "datetime", logger: Logger, metrics: Metrics) -> None:
    """What a batch of `emit_billing` put on the bus."""
    metrics.add_metric(name="RecordsEmitted", unit=MetricUnit.Count, value=emitted.records)
    metrics.add_metric(name="BusEntries", unit=MetricUnit.Count, value=emitted.sent)
    metrics.add_metric(name="BusEntriesFailed", unit=MetricUnit.Count, value=emitted.failed)
    metrics.add_metric(name="RecordsUnreadable", unit=MetricUnit.Count, value=len(emitted.unreadable))
    for wait in waits((decided_at, moment.text(now)) for decided_at in emitted.decided_at):
        metrics.add_metric(name="BusLatency", unit=MetricUnit.Milliseconds, value=wait)
    unreadable = Counter(each.error.partition(":")[0] for each in emitted.unreadable)  # the rest may hold what was sent
    causes = [*emitted.causes, *(f"{count} unreadable: {error}" for error, count in unreadable.items())]
    log = logger.warning if causes else logger.info
    log("emitted", extra={"records": emitted.records, "entries": emitted.sent, "causes": causes[:10]})


def report_answered(status: int, logger: Logger, metrics: Metrics) -> None:
    """An answer of `account_api`."""
    logger.debug("answered", extra={"status": status})
    metrics.add_metric(name="ApiAnswers", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="ApiErrors", unit=MetricUnit.Count, value=int(status >= 500))


def report_closed(proof: "Proof", stated: dict[str, Any] | None, logger: Logger, metrics: Metrics) -> None:
    """What a closed day's proof found. A difference is an alarm, and the log names the request ids."""
    metrics.add_metric(name="DaysProved", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="StatementsWritten", unit=MetricUnit.Count, value=int(stated is not None))
    metrics.add_metric(name="ProofDifferences", unit=MetricUnit.Count, value=proof.difference_count)
    content = proof.content()
    log = logger.info if proof.holds else logger.error
    named = {name: content[name] for name in ("organization", "day", "decisions", "hash", "differences")}
    log("day proved", extra=named | {"revision": stated["revision"] if stated else None})


def report_queued(organizations: int, day: "date", logger: Logger, metrics: Metrics) -> None:
    """The schedule ran: the day of so many organizations waits to be closed."""
    metrics.add_metric(name="DaysQueued", unit=MetricUnit.Count, value=organizations)
    logger.info("days queued", extra={"organizations": organizations, "day": str(day)})


def report_put_down(organization: str, day: "date", logger: Logger, metrics: Metrics) -> None:
    """A day whose proof takes longer than one call; the next one goes on."""
    metrics.add_metric(name="DaysPutDown", unit=MetricUnit.Count, value=1)
    logger.info("goes on in another call", extra={"organization": organization, "day": str(day)})


def report_unchanged(organization: str, day: "date", logger: Logger, metrics: Metrics) -> None:
    """A day that nothing was written to since it was proved."""
    metrics.add_metric(name="DaysUnchanged", unit=MetricUnit.Count, value=1)
    logger.info("unchanged", extra={"organization": organization, "day": str(day)})


def report_no_longer_kept(organization: str, day: "date", logger: Logger, metrics: Metrics) -> None:
    """A day whose decisions are gone. Its last statement, if there is one, stays as it is."""
    metrics.add_metric(name="DaysUnchanged", unit=MetricUnit.Count, value=1)
    logger.warning("decisions no longer kept", extra={"organization": organization, "day": str(day)})


def report_not_closed(organization: str, day: "date", busy: Exception, logger: Logger, metrics: Metrics) -> None:
    """A day that could not be closed now; its message comes again."""
    metrics.add_metric(name="DaysNotClosed", unit=MetricUnit.Count, value=1)
    logger.warning("not closed yet", extra={"organization": organization, "day": str(day), "cause": str(busy)})
