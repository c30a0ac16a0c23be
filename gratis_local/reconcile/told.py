"""What came of a comparison: as JSON, as a table, and as a section of a page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Console

from gratis.rules import pricing
from gratis_local.preview import page
from gratis_local.reconcile.causes import Cause, cause_of
from gratis_local.reconcile.compare import VERDICTS, Compared, Cost, Line
from gratis_local.tables import Sheet, print_fitting

HEADS = ("Day", "Project", "Model", "What", "Ours", "Theirs", "Difference", "Likely cause")
FIGURES = ("Ours", "Theirs", "Difference")
STACKS = (("Day", "Project"), ("Model", "What"), ("Ours", "Theirs"), ("Difference",), ("Likely cause",))


def content(compared: Compared, now: datetime) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "agrees": compared.agrees,
        "organization": compared.organization,
        "days": [_named(line) | _figures(line) for line in compared.lines],
        "costs": [
            {
                "day": each.key.day.isoformat(),
                "model": each.key.model,
                "amount_usd": {"ours": pricing.usd(each.ours), "theirs": pricing.usd(each.theirs)},
                "unpriced": each.unpriced,
                "unpriced_there": each.unpriced_there,
            }
            for each in compared.costs
        ],
        "differences": list(_differences(compared, now)),
        "notes": list(compared.notes),
    }


def print_compared(compared: Compared, now: datetime, console: Console) -> None:
    """For people: what differs, with its likely cause; what was left aside; whether both agree."""
    rows = list(_rows(compared, now))
    if rows:
        sheet = Sheet(f"What differs: {compared.organization}", HEADS, rows, FIGURES, ("Likely cause",), ("Model",))
        print_fitting(console, sheet, replace(sheet, stacks=STACKS, tight=True))
    for note in compared.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    console.print(f"[{'green' if compared.agrees else 'bold red'}]{_verdict(compared)}[/]", highlight=False)


def reconciled_page(compared: Compared, now: datetime) -> str:
    """The page: all lines, what differs and why."""
    lines = [
        [line.key.day.isoformat(), line.key.project or "-", line.key.model, *_cells(line)] for line in compared.lines
    ]
    heads = ("Day", "Project", "Model", "Free: ours", "theirs", "Billed: ours", "theirs")
    return page.document(
        f"Gratis: {compared.organization} and the platform's word",
        " ".join((_verdict(compared), *compared.notes)),
        page.section("What differs", page.table(HEADS, list(_rows(compared, now)), FIGURES)),
        page.section("All days", page.table(heads, lines, heads[3:])),
    )


def _verdict(compared: Compared) -> str:
    days = len({line.key.day for line in compared.lines})
    if compared.agrees:
        return f"Agrees: {len(compared.lines):,} lines of {days:,} days, free and billed."
    lines = sum(not line.agrees for line in compared.lines)
    costs = sum(not each.agrees for each in compared.costs)
    return (
        f"Differs: {lines:,} of {len(compared.lines):,} lines of {days:,} days, {costs:,} amounts, "
        f"{len(compared.verdicts):,} requests with another verdict."
    )


def _named(line: Line) -> dict[str, Any]:
    return {"day": line.key.day.isoformat(), "model": line.key.model, "project": line.key.project}


def _figures(line: Line) -> dict[str, Any]:
    theirs = line.theirs.tokens if line.theirs.is_told else dict.fromkeys(VERDICTS)
    figures = {each: {"ours": line.ours.tokens[each], "theirs": theirs[each]} for each in VERDICTS}
    return figures | {"cached_input": {"ours": line.ours.cached, "theirs": line.theirs.cached}}


def _cells(line: Line) -> Iterator[str]:
    for verdict in VERDICTS:
        yield f"{line.ours.tokens[verdict]:,}"
        yield f"{line.theirs.tokens[verdict]:,}" if line.theirs.is_told else "-"


def _differences(compared: Compared, now: datetime) -> Iterator[dict[str, Any]]:
    for line in compared.lines:
        if not line.agrees:
            cause = cause_of(line, compared, now)
            figures = {each: line.difference(each) for each in VERDICTS} | {"cached_input": line.cached}
            yield _named(line) | {"difference": figures, "cause": cause.said, "ids": list(cause.ids)}
    for each in compared.costs:
        if not each.agrees:
            named = {"day": each.key.day.isoformat(), "model": each.key.model, "project": None}
            difference = {"amount_usd": pricing.usd(each.ours - each.theirs)}
            yield named | {
                "difference": difference,
                "cause": _why_cost(compared, each),
                "ids": [],
            }
    for record in compared.verdicts:
        said = {"verdict": {"ours": record["verdict"], "theirs": record["platform_verdict"]}}
        named = {"day": record["occurred_at"][:10], "model": record["model"], "project": record["project"]}
        why = f"the platform says {record['platform_verdict']}; here: {record['reason']}"
        yield named | {"difference": said, "cause": why, "ids": [record["id"]]}


def _why_cost(compared: Compared, cost: Cost) -> str:
    if cost.unpriced:
        return f"{cost.unpriced:,} requests have no price here"
    if cost.unpriced_there:
        return f"{cost.unpriced_there:,} line items have no price there"
    if any(line.key.day == cost.key.day and not line.agrees for line in compared.lines):
        return "the tokens differ, see above"
    return "another price: a tier, long context or cached input that is priced otherwise"


def _rows(compared: Compared, now: datetime) -> Iterator[Sequence[str]]:
    for line in compared.lines:
        if not line.agrees:
            yield from _row_of(line, cause_of(line, compared, now))
    for each in compared.costs:
        if not each.agrees:
            cells = [pricing.usd(figure) for figure in (each.ours, each.theirs, each.ours - each.theirs)]
            why = _why_cost(compared, each)
            yield [each.key.day.isoformat(), "-", each.key.model, "USD", *cells, why]
    for record in compared.verdicts:
        verdicts = record["verdict"], record["platform_verdict"]
        place = record["occurred_at"][:10], record["project"] or "-", record["model"]
        yield [*place, "verdict", *verdicts, "-", f"{record['request_id']}: {record['reason']} here"]


def _row_of(line: Line, cause: Cause) -> Iterator[Sequence[str]]:
    place = line.key.day.isoformat(), line.key.project or "-", line.key.model
    shown = ", ".join(each.split(":", 2)[2] for each in cause.ids[:3])
    why = f"{cause.said} ({shown}{', ...' if len(cause.ids) > 3 else ''})" if shown else cause.said
    for verdict in VERDICTS:
        if difference := line.difference(verdict):
            figures = line.ours.tokens[verdict], line.theirs.tokens[verdict], difference
            yield [*place, verdict, *(f"{each:,}" for each in figures), why]
    if line.cached and not any(map(line.difference, VERDICTS)):
        yield [*place, "cached", f"{line.ours.cached:,}", f"{line.theirs.cached:,}", f"{line.cached:,}", why]
