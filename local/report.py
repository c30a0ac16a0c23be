"""Prints what was replayed: the seed's table, what was refused, and the totals."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gratis import pricing
from gratis.closing.proof import Proof
from gratis.decision import Decision
from gratis.offer import EVALS
from gratis.quarantine import Entry
from gratis.receive import Received
from local.prove import RecordsProof
from local.redrive import Redriven
from local.replay import Replayed
from local.up import Running
from local.what_if import Bill, Compared

FIRST_ENTRY = json.dumps(
    {
        "litellm_call_id": "call_1",
        "startTime": int(time.time()),
        "model": "gpt-4o-2024-08-06",
        "metadata": {
            "user_api_key_org_id": "org_demo",
            "usage_object": {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000},
        },
    }
)
DECISION_COLUMNS = ("Time (UTC)", "Organization", "Model", "Tokens", "Running total", "Verdict", "Reason", "Amount")
FIGURES = ("Tokens", "Running total", "Amount")
BILL_COLUMNS = ("Organization", "Amount A", "Amount B", "B - A", "Free A", "Free B", "Stranded A", "Stranded B")
BILL_FIGURES = BILL_COLUMNS[1:]
CHANGE_COLUMNS = ("Time (UTC)", "Organization", "Id", "Model", "Tokens", "Under A", "Under B")
CHANGE_FIGURES = ("Tokens",)
MOST_CHANGES = 50
REFUSED = "Quarantined: not decided, nothing lost"
REFUSED_COLUMNS = ("#", "Id", "Code", "Why")
VERDICT_STYLE = {"free": "green", "billed": "yellow"}


def print_replayed(replayed: Replayed, console: Console) -> None:
    """A table of decisions as in the seed text, then quarantine, then totals."""
    if replayed.decisions:
        _whole(_decisions(replayed.decisions, console), console)
    if replayed.quarantined:
        console.print(_refused(replayed.quarantined))
    console.print(_totals(replayed))


def amount(usd: str | None) -> str:
    """An exact amount for people."""
    return "unknown" if usd is None else f"${usd}"


def written_out(text: str) -> str:
    """With what a terminal would obey, or not show, written out: `\\x1b`."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def plain(text: str | None) -> str:
    """A stranger's text for a terminal: neither it nor its markup does anything."""
    return "-" if text is None else escape(written_out(text))


def _whole(table: Table, console: Console) -> None:
    """Print every figure whole: where a table is wider than the terminal, its rows go on in the next line."""
    width = max(console.width, _width_of(table, console))
    Console(width=width, file=console.file, force_terminal=console.is_terminal).print(table)


def _width_of(table: Table, console: Console) -> int:
    """Columns that the table takes if nothing is folded or cut."""
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def _decisions(decisions: list[Decision], console: Console) -> Table:
    """The seed's table; on a narrow terminal what all rows share stands above it."""
    table = _decision_table("Decisions", DECISION_COLUMNS, map(decision_cells, decisions))
    shared = {(decision.organization, decision.day) for decision in decisions}
    if _width_of(table, console) <= console.width or len(shared) > 1:
        return table
    [(organization, day)] = shared
    cells = ((when.partition(" ")[2], *rest) for when, _, *rest in map(decision_cells, decisions))
    return _decision_table(f"Decisions of {organization} on {day} (UTC)", ("Time", *DECISION_COLUMNS[2:]), cells)


def _decision_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in heads:
        table.add_column(
            name.replace(" total", "\ntotal"), no_wrap=True, justify="right" if name in FIGURES else "left"
        )
    for *before, verdict, reason, billed in rows:
        table.add_row(*before, f"[{VERDICT_STYLE[verdict]}]{verdict}[/]", reason, billed)
    return table


def decision_cells(decision: Decision) -> tuple[str, ...]:
    """A decision for people, as the seed's table shows it: what stands under `DECISION_COLUMNS`."""
    unit = "" if decision.group != EVALS else " run" if decision.running_total == 1 else " runs"
    return (
        decision.occurred_at.replace("T", " ").removesuffix("Z").removesuffix(":00"),
        decision.organization,
        decision.model,
        f"{decision.input + decision.output:,}",
        "-" if decision.running_total is None else f"{decision.running_total:,}{unit}",
        decision.verdict,
        decision.reason,
        amount(decision.amount_usd),
    )


def print_compared(compared: Compared, console: Console) -> None:
    """Bills under two offers, then the requests whose verdict differs."""
    console.print(f"A: {escape(compared.offers[0])}   B: {escape(compared.offers[1])}\n", highlight=False)
    _whole(_plain_table("Who pays what", BILL_COLUMNS, bill_rows(compared), BILL_FIGURES), console)
    changes = [change_cells(*pair) for pair in compared.changes()]
    if changes:
        table = _plain_table("Verdicts that differ", CHANGE_COLUMNS, changes[:MOST_CHANGES], CHANGE_FIGURES)
        _whole(table, console)
    if len(changes) > MOST_CHANGES:
        console.print(f"{len(changes) - MOST_CHANGES:,} more: --json prints them all.")
    first, second = (len(each.quarantined) for each in compared.replays)
    console.print(f"Verdicts that differ: {len(changes):,}   Quarantined: {first:,} (A), {second:,} (B)")


def bill_rows(compared: Compared) -> list[list[str]]:
    """What stands under `BILL_COLUMNS`: a row for each organization, and one for all."""
    rows = [*compared.organizations().items(), ("all together", compared.totals)]
    return [
        [
            name,
            _billed(first),
            _billed(second),
            difference_of(first, second),
            f"{first.free_tokens:,}",
            f"{second.free_tokens:,}",
            f"{first.stranded_tokens:,}",
            f"{second.stranded_tokens:,}",
        ]
        for name, (first, second) in rows
    ]


def change_cells(first: Decision, second: Decision) -> list[str]:
    """What stands under `CHANGE_COLUMNS`."""
    when, organization, model, tokens, *_ = decision_cells(first)
    verdicts = (f"{each.verdict}, {each.reason}" for each in (first, second))
    return [when, organization, first.request_id, model, tokens, *verdicts]


def amount_of(usd: Decimal) -> str:
    """An exact amount for people."""
    return amount(pricing.usd(usd))


def difference_of(first: Bill, second: Bill) -> str:
    """How much more is paid under the second, with its sign."""
    difference = second.amount - first.amount
    sign = "-" if difference < 0 else "+" if difference else ""
    return sign + amount_of(abs(difference))


def _billed(bill: Bill) -> str:
    return amount_of(bill.amount) + (f" and {bill.unpriced:,} of unknown price" if bill.unpriced else "")


def _plain_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="right" if head in figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def print_sent(sent: Received, console: Console) -> None:
    """What a webhook took and what it refused."""
    if sent.quarantined:
        console.print(_refused(sent.quarantined))
    console.print(f"Accepted: {sent.accepted:,}   Quarantined: {len(sent.quarantined):,}")


def print_quarantine(entries: Sequence[Entry], console: Console) -> None:
    """Entries of the quarantine."""
    table = Table(title="Quarantine", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("Received (UTC)", "Organization", "Id", "Code", "Why", "Refused by"):
        table.add_column(name, overflow="fold", no_wrap=name in ("Code", "Refused by"))
    for entry in entries:
        when = entry.received_at.replace("T", " ")[:19]
        table.add_row(when, plain(entry.organization), plain(entry.id), entry.code, plain(entry.message), entry.whence)
    console.print(table)


def print_nothing(first: date, last: date, asked: Mapping[str, str | None], console: Console) -> None:
    """That no entry of these UTC days is of what was asked for: the value of each option, None if it is not given."""
    named = " and ".join(f"{option} {plain(value)}" for option, value in asked.items() if value is not None)
    of = f" with {named}" if named else ""
    console.print(f"Quarantine holds nothing{of} received from {first} to {last} (UTC).", soft_wrap=True)


def print_redriven(redriven: Sequence[Redriven], dead_letters: int, console: Console) -> None:
    """What became of entries that were sent through again."""
    if redriven:
        table = Table(title="Redriven", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for name in ("Organization", "Id", "State", "Why"):
            table.add_column(name, overflow="fold")
        for each in redriven:
            table.add_row(plain(each.entry.organization), plain(each.entry.id), each.state, plain(each.why))
        console.print(table)
    decided = sum(each.state == "decided" for each in redriven)
    console.print(f"Quarantined: {len(redriven):,} sent through again, {decided:,} of them decided now")
    console.print(f"Dead letters: {dead_letters:,} queued again")


def as_dict(entry: Entry) -> dict[str, Any]:
    """An entry with its raw event."""
    return asdict(entry) | {"raw": json.loads(entry.raw), "decided": json.loads(entry.decided or "null")}


def print_proofs(proofs: Sequence[Proof], console: Console) -> None:
    """Statements of days, and what does not hold."""
    for proof in proofs:
        stated = proof.statement
        table = Table(
            title=plain(f"{stated['organization']} {stated['day']}"), title_justify="left", title_style="bold"
        )
        table.box, table.show_header = box.SIMPLE, False
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in stated.items():
            table.add_row(name, f"{value:,}" if isinstance(value, int) else plain(str(value)))
        console.print(table)
        if proof.holds:
            console.print(f"[green]{_proved(proof)}[/]\n", soft_wrap=True, highlight=False)
        for each in proof.differences:
            console.print(f"[bold red]{each.kind}:[/] {plain(each.message)}", soft_wrap=True)
            console.print("".join(f"  {plain(one)}\n" for one in each.ids), soft_wrap=True, highlight=False)


def _proved(proof: Proof) -> str:
    """What it means that a proof holds."""
    if not isinstance(proof, RecordsProof):
        return "Proved: the decisions add up, tile their counters, and each is right."
    if proof.revision is None:
        return "Nothing contradicts. Whether these are all records of the day, only its DayClosed event can tell."
    return f"Proved: the records agree with each other, and with revision {proof.revision} of the statement."


def print_running(up: Running, console: Console) -> None:
    """Where the running system is, and a first call to try."""
    console.print("[bold]Gratis is up.[/] Ctrl-C stops it and leaves nothing behind.\n")
    for name, value in asdict(up).items():
        console.print(f"  {name:<15} {value}", soft_wrap=True, markup=False, highlight=False)
    bearer = f"-H 'Authorization: Bearer {up.litellm_secret}'"
    call = (
        f"curl -s {bearer} -H 'Content-Type: application/json' -d '{FIRST_ENTRY}' '{up.base_url}/usage-events/litellm'"
    )
    console.print("\nSend an event as LiteLLM would:\n")
    console.print(call, soft_wrap=True, markup=False, highlight=False)
    console.print("\nSee what is left:\n")
    allowance = f"curl -s -H 'Authorization: Bearer {up.owner_key}' '{up.base_url}/organization/allowance'"
    console.print(allowance, soft_wrap=True, markup=False, highlight=False)
    console.print("\nOr the seed's day, signed:\n")
    target = f"--to '{up.base_url}' --secret '{up.webhook_secret}'"
    send = f".venv/bin/gratis replay events/seed-day.json {target} --move-to yesterday"
    console.print(send, soft_wrap=True, markup=False, highlight=False)


def _refused(entries: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title=REFUSED,
        title_justify="left",
        title_style="bold red",
        box=box.SIMPLE_HEAD,
    )
    for name in REFUSED_COLUMNS:
        table.add_column(
            name, justify="right" if name == "#" else "left", overflow="fold", no_wrap=name in ("#", "Code")
        )
    for entry in entries:
        table.add_row(*map(plain, refused_cells(entry)))
    return table


def refused_cells(entry: dict[str, Any]) -> list[str]:
    """What stands under `REFUSED_COLUMNS`."""
    return [str(entry["index"]), str(entry["id"] or "-"), entry["error"]["code"], entry["error"]["message"]]


def _totals(replayed: Replayed) -> Table:
    table = Table(title="Totals", title_justify="left", title_style="bold", box=box.SIMPLE, show_header=False)
    table.add_column("what")
    table.add_column("figure")
    for name, figure in totals_of(replayed).items():
        table.add_row(name, figure)
    return table


def totals_of(replayed: Replayed) -> dict[str, str]:
    """The totals for people."""
    totals = replayed.totals()
    rows = {
        "Events": f"{totals['events']:,}",
        "Free": f"{totals['free']:,} ({totals['free_tokens']:,} tokens)",
        "Billed": f"{totals['billed']:,} ({totals['billed_tokens']:,} tokens)",
        "Repeats": f"{totals['repeats']:,}",
        "Quarantined": f"{totals['quarantined']:,}",
    }
    for name, field in (("At the normal rate", "list_amount_usd"), ("Billed amount", "amount_usd")):
        unknown = sum(getattr(decision, field) is None for decision in replayed.decisions)
        rows[name] = amount(totals[field]) + (f" and {unknown:,} of unknown price" if unknown else "")
    return rows
