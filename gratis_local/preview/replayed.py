"""The report of a replay: the dashboards as CloudWatch would draw them, the decisions, and what was refused."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gratis.classify import Outcome
from gratis.table.quarantine import Entry
from gratis.telemetry import NAMESPACE, QUOTA_REACHED, batch_metrics, quotas_reached, stack_dimension
from gratis_local import report
from gratis_local.preview import page
from gratis_local.preview.dashboard import dashboards
from gratis_local.preview.periods import period_of, start_of
from gratis_local.preview.samples import Sample
from gratis_local.preview.widgets import Reported, drawn
from gratis_local.replay import Fate, Replayed

SERVICE = "classify_usage"
NOT_IN_A_REPLAY = {"DecisionLatency", "ContendedCommits", "UnfinishedMessages"}
"""Metrics that only a deployment has: a replay's clock follows the events, nothing takes time, and it writes alone."""


def replay_page(replayed: Replayed, offer: str) -> str:
    """The page. `offer`: its id."""
    reported = reported_of(replayed.fates)
    refused = [report.refused_cells(entry) for entry in replayed.quarantined]
    rows = [report.decision_cells(decision) for decision in replayed.decisions]
    return page.document(
        "Gratis: a replay",
        f"{replayed.events:,} events under {offer}, decided on an embedded engine by the code that is deployed. "
        "Its metrics are shown as CloudWatch would show them, at the time of the events; a batch is all of a period.",
        page.tiles(report.totals_of(replayed)),
        page.section(report.REFUSED, page.table(report.REFUSED_COLUMNS, refused, ["#"])),
        *(drawn(dashboard, reported) for dashboard in reversed(dashboards())),
        page.section("Decisions", page.table(report.DECISION_COLUMNS, rows, report.FIGURES)),
    )


def reported_of(fates: Iterable[Fate]) -> Reported:
    """What classify_usage would report if the events of a period were a batch."""
    found = list(fates)
    period = period_of([fate.received_at for fate in found])
    batches: defaultdict[int, list[Fate]] = defaultdict(list)
    for fate in found:
        batches[start_of(fate.received_at, period)].append(fate)
    outcomes = {start: outcome_of(batch) for start, batch in sorted(batches.items())}
    return Reported(
        [each for start, outcome in outcomes.items() for each in samples(outcome, datetime.fromtimestamp(start, UTC))],
        [line for outcome in outcomes.values() for line in lines(outcome)],
        period,
    )


def outcome_of(batch: Iterable[Fate]) -> Outcome:
    """What the classifier would say if these events had been a batch of their own."""
    outcome = Outcome()
    for fate in batch:
        outcome.events += 1
        if fate.became is None:
            outcome.repeats += 1
        elif isinstance(fate.became, Entry):
            outcome.quarantined.append(fate.became)
        else:
            outcome.decisions.append(fate.became)
    return outcome


def samples(outcome: Outcome, when: datetime) -> Iterator[Sample]:
    """The metrics of a batch that is decided at this moment."""
    for name, _, value, reason in batch_metrics(outcome):
        if name not in NOT_IN_A_REPLAY:
            dimension = ("service", SERVICE) if reason is None else ("Reason", reason)
            yield Sample(NAMESPACE, name, frozenset({dimension, *stack_dimension().items()}), when, (value,))


def lines(outcome: Outcome) -> Iterator[Mapping[str, Any]]:
    """The log lines of a batch, as far as a widget shows them."""
    return ({"message": QUOTA_REACHED} | reached for reached in quotas_reached(outcome.decisions))
