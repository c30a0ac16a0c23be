"""Prints what was replayed: the seed's table, what was refused, and the totals."""

from gratis.decision import Decision
from rich import box
from rich.console import Console
from rich.table import Table

from local.replay import Replayed

VERDICT_STYLE = {"free": "green", "billed": "yellow"}


def print_replayed(replayed: Replayed, console: Console) -> None:
    """A table of decisions as in the seed text, then quarantine, then totals."""
    if replayed.decisions:
        console.print(_decisions(replayed.decisions))
    if replayed.quarantined:
        console.print(_quarantined(replayed))
    console.print(_totals(replayed))


def amount(usd: str | None) -> str:
    """An exact amount for people."""
    return "unknown" if usd is None else f"${usd}"


def _decisions(decisions: list[Decision]) -> Table:
    table = Table(title="Decisions", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("Time (UTC)", min_width=10)
    table.add_column("Organization", overflow="fold")
    table.add_column("Model", overflow="fold")
    for name in ("Tokens", "Running total"):
        table.add_column(name, justify="right", min_width=9)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Reason", min_width=12)
    table.add_column("Amount", justify="right", no_wrap=True)
    for decision in decisions:
        table.add_row(
            decision.occurred_at.replace("T", " ").removesuffix("Z").removesuffix(":00"),
            decision.organization,
            decision.model,
            f"{decision.input + decision.output:,}",
            "-" if decision.running_total is None else f"{decision.running_total:,}",
            f"[{VERDICT_STYLE[decision.verdict]}]{decision.verdict}[/]",
            decision.reason,
            amount(decision.amount_usd),
        )
    return table


def _quarantined(replayed: Replayed) -> Table:
    table = Table(
        title="Quarantined: not decided, nothing lost",
        title_justify="left",
        title_style="bold red",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("#", justify="right")
    table.add_column("Id")
    table.add_column("Code")
    table.add_column("Why")
    for entry in replayed.quarantined:
        table.add_row(str(entry["index"]), str(entry["id"]), entry["error"]["code"], entry["error"]["message"])
    return table


def _totals(replayed: Replayed) -> Table:
    totals = replayed.totals()
    table = Table(title="Totals", title_justify="left", title_style="bold", box=box.SIMPLE, show_header=False)
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_row("Events", f"{totals['events']:,}")
    table.add_row("Free", f"{totals['free']:,} ({totals['free_tokens']:,} tokens)")
    table.add_row("Billed", f"{totals['billed']:,} ({totals['billed_tokens']:,} tokens)")
    table.add_row("Repeats", f"{totals['repeats']:,}")
    table.add_row("Quarantined", f"{totals['quarantined']:,}")
    table.add_row("At the normal rate", amount(totals["list_amount_usd"]))
    table.add_row("Billed amount", amount(totals["amount_usd"]))
    return table
