"""Prints what commands found, for people: tables, totals, and what to call next."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gratis.closing.proof import Proof
from gratis.intake.receive import Received
from gratis.rules import pricing
from gratis.rules.explanation import amount as units_text
from gratis.rules.receipt import Decision
from gratis.table.api_keys import Listed
from gratis.table.quarantine import Entry
from gratis_local.chain import ChainProof
from gratis_local.prove import RecordsProof
from gratis_local.redrive import Redriven
from gratis_local.replay import Replayed
from gratis_local.tables import Sheet, print_fitting, written_out
from gratis_local.up import Running
from gratis_local.what_if import Bill, Compared

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
DECISION_COLUMNS = (
    "Time (UTC)",
    "Organization",
    "Model",
    "Tokens",
    "Running total",
    "Verdict",
    "Reason",
    "Amount",
    "Id",
)
FIGURES = ("Tokens", "Running total", "Amount")
DECISION_STACKS = (
    ("Day", "Time"),
    ("Organization", "Id"),
    ("Model", "Reason"),
    ("Tokens", "Total"),
    ("Verdict", "Amount"),
)
SUMMARY_COLUMNS = (
    "Organization",
    "Free",
    "Billed",
    "Free tokens",
    "Billed tokens",
    "At the normal rate",
    "Billed amount",
)
SUMMARY_STACKS = (
    ("Organization",),
    ("Free", "Billed"),
    ("Free tokens", "Billed tokens"),
    ("At the normal rate", "Billed amount"),
)
BILL_COLUMNS = ("Organization", "Amount A", "Amount B", "B - A", "Free A", "Free B", "Stranded A", "Stranded B")
BILL_FIGURES = BILL_COLUMNS[1:]
BILL_STACKS = (
    ("Organization",),
    ("Amount A", "Amount B"),
    ("B - A",),
    ("Free A", "Free B"),
    ("Stranded A", "Stranded B"),
)
CHANGE_COLUMNS = ("Time (UTC)", "Organization", "Id", "Model", "Tokens", "Under A", "Under B")
CHANGE_FIGURES = ("Tokens",)
CHANGE_STACKS = (("Time (UTC)", "Tokens"), ("Organization", "Id"), ("Model",), ("Under A", "Under B"))
NAMES = ("Organization", "Id", "Model")
MAX_TERMINAL_ROWS = 200
"""Of a table on a terminal; of a longer one it shows the first `FIRST_ROWS`, and decisions are summed up instead."""
FIRST_ROWS = 20
MAX_NAMED = 5
"""Organizations that are named in a row of totals."""
REFUSED = "Quarantined: not decided, nothing lost"
REFUSED_COLUMNS = ("#", "Id", "Code", "Why")


def print_replayed(replayed: Replayed, console: Console) -> None:
    """A table of decisions as in the seed text, then quarantine, then totals.

    On a terminal, more than `MAX_TERMINAL_ROWS` decisions become a row an organization, then the changes of verdict.
    """
    if console.is_terminal and len(replayed.decisions) > MAX_TERMINAL_ROWS:
        _print_summary(replayed.decisions, console)
    elif replayed.decisions:
        print_fitting(console, *_decisions(replayed.decisions))
    if replayed.quarantined:
        _print_refused(replayed.quarantined, console)
    console.print(_totals(replayed))


def amount(usd: str | None) -> str:
    """An exact amount for people."""
    return "unknown" if usd is None else f"${usd}"


def plain(text: str | None) -> str:
    """Untrusted text, with control characters and rich's markup escaped."""
    return "-" if text is None else escape(written_out(text))


def _decisions(decisions: Sequence[Decision], title: str = "Decisions") -> list[Sheet]:
    """The seed's table, then narrower forms: with the organization and day in the title, if all share them; stacked."""
    rows = [decision_cells(decision) for decision in decisions]
    sheets = [Sheet(title, DECISION_COLUMNS, rows, FIGURES)]
    shared = {(decision.organization, decision.day) for decision in decisions}
    if len(shared) == 1:
        [(organization, day)] = shared
        above = f"{title} of {organization} on {day} (UTC)"
        cells = [(when.partition(" ")[2], *rest) for when, _, *rest in rows]
        sheets.append(Sheet(above, ("Time", *DECISION_COLUMNS[2:]), cells, FIGURES, tight=True))
    heads = [head for stack in DECISION_STACKS for head in stack]
    stacked = [
        (*when.split(" "), organization, request_id, model, reason, tokens, total, verdict, usd)
        for when, organization, model, tokens, total, verdict, reason, usd, request_id in rows
    ]
    return [*sheets, Sheet(title, heads, stacked, ("Tokens", "Total"), names=NAMES, stacks=DECISION_STACKS, tight=True)]


def _print_summary(decisions: Sequence[Decision], console: Console) -> None:
    rows = summary_rows(decisions)
    sheet = Sheet(f"{len(decisions):,} decisions", SUMMARY_COLUMNS, rows[:MAX_TERMINAL_ROWS], SUMMARY_COLUMNS[1:])
    print_fitting(console, sheet, replace(sheet, stacks=SUMMARY_STACKS, tight=True))
    _print_rest(len(rows) - MAX_TERMINAL_ROWS, "organizations", console)
    changes = verdict_changes(decisions)
    if changes:
        print_fitting(console, *_decisions(changes[:FIRST_ROWS], "Where the verdict changes"))
    _print_rest(len(changes) - FIRST_ROWS, "changes of the verdict", console)


def summary_rows(decisions: Iterable[Decision]) -> list[list[str]]:
    """What stands under `SUMMARY_COLUMNS`: a row for each organization, the one that pays most first."""
    by_organization: defaultdict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_organization[decision.organization].append(decision)
    figures = [(name, Replayed(len(theirs), theirs).totals()) for name, theirs in by_organization.items()]
    figures.sort(key=lambda each: (-Decimal(each[1]["amount_usd"]), each[0]))
    counts = ("free", "billed", "free_tokens", "billed_tokens")
    return [
        [
            name,
            *(f"{totals[each]:,}" for each in counts),
            amount(totals["list_amount_usd"]),
            amount(totals["amount_usd"]),
        ]
        for name, totals in figures
    ]


def verdict_changes(decisions: Iterable[Decision]) -> list[Decision]:
    """The decisions whose verdict differs from the one before of the same organization and model.

    A void has no verdict of its own.
    """
    before: dict[tuple[str, str], str] = {}
    found: list[Decision] = []
    for each in decisions:
        if each.is_void:
            continue
        if before.get((each.organization, each.model), each.verdict) != each.verdict:
            found.append(each)
        before[each.organization, each.model] = each.verdict
    return found


def _print_rest(count: int, what: str, console: Console) -> None:
    """How many more there are than were shown."""
    if count > 0:
        console.print(f"{count:,} more {what}: --json or a pipe has them all.\n", highlight=False)


def decision_cells(decision: Decision) -> tuple[str, ...]:
    """A decision for people, as the seed's table shows it: what stands under `DECISION_COLUMNS`."""
    return (
        decision.occurred_at.replace("T", " ").removesuffix("Z").removesuffix(":00"),
        decision.organization,
        decision.model,
        f"{decision.input + decision.output:,}",
        _running_total(decision),
        decision.verdict,
        decision.reason,
        amount(decision.amount_usd),
        decision.request_id,
    )


def _running_total(decision: Decision) -> str:
    """The running total, with its unit where that is not tokens."""
    total = decision.figure("running_total")
    if total is None:
        return "-"
    return f"{total:,}" if decision.unit == "tokens" else units_text(decision.unit, total)


def print_compared(compared: Compared, console: Console) -> None:
    """Bills under two offers, then the requests whose verdict differs."""
    console.print(f"A: {escape(compared.offers[0])}   B: {escape(compared.offers[1])}\n", highlight=False)
    bills = Sheet("Who pays what", BILL_COLUMNS, bill_rows(compared), BILL_FIGURES)
    print_fitting(console, bills, replace(bills, stacks=BILL_STACKS, tight=True))
    changes = [change_cells(*pair) for pair in compared.changes()]
    shown = _first(changes, console)
    if changes:
        sheet = Sheet("Verdicts that differ", CHANGE_COLUMNS, shown, CHANGE_FIGURES, names=NAMES)
        print_fitting(console, sheet, replace(sheet, stacks=CHANGE_STACKS, tight=True))
    _print_rest(len(changes) - len(shown), "verdicts that differ", console)
    first, second = (len(each.quarantined) for each in compared.replays)
    console.print(f"Verdicts that differ: {len(changes):,}   Quarantined: {first:,} (A), {second:,} (B)")


def _first(rows: Sequence[Sequence[str]], console: Console) -> Sequence[Sequence[str]]:
    """All rows, or the first where they are too many for a terminal."""
    return rows[:FIRST_ROWS] if console.is_terminal and len(rows) > MAX_TERMINAL_ROWS else rows


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


def print_sent(sent: Received, console: Console) -> None:
    """What a webhook took and what it refused."""
    if sent.quarantined:
        _print_refused(sent.quarantined, console)
    console.print(f"Accepted: {sent.accepted:,}   Quarantined: {len(sent.quarantined):,}")


def print_quarantine(entries: Sequence[Entry], console: Console) -> None:
    """Entries of the quarantine."""
    heads = ("Received (UTC)", "Organization", "Id", "Code", "Why", "Refused by")
    rows = [
        (
            entry.received_at.replace("T", " ")[:19],
            entry.organization or "-",
            entry.id or "-",
            entry.code,
            entry.message,
            entry.whence,
        )
        for entry in entries
    ]
    sheet = Sheet("Quarantine", heads, rows, prose=("Id", "Why"), names=NAMES)
    stacks = (("Received (UTC)", "Refused by"), ("Organization", "Id"), ("Code", "Why"))
    print_fitting(console, sheet, replace(sheet, stacks=stacks, tight=True))


def print_keys(keys: Sequence[Listed], console: Console) -> None:
    """API keys, without the keys themselves."""
    heads = ("Id", "Organization", "Role", "Name", "Ends in", "Created (UTC)", "Last used", "Expires (UTC)")
    rows = [
        (
            key.id,
            key.holder.organization or "-",
            key.holder.role,
            key.holder.name or "-",
            key.last_four or "-",
            (key.created or "-").replace("T", " ")[:16],
            key.last_used or "-",
            (key.expires or "-").replace("T", " ")[:16],
        )
        for key in keys
    ]
    sheet = Sheet("Keys", heads, rows, prose=("Name",), names=NAMES)
    stacks = (("Id", "Ends in"), ("Organization", "Name"), ("Created (UTC)", "Last used", "Expires (UTC)"))
    print_fitting(console, sheet, replace(sheet, stacks=stacks, tight=True))


def print_nothing(first: date, last: date, asked: Mapping[str, str | None], console: Console) -> None:
    """Say that no entry of these UTC days matches `asked`: the value of each option, None if it is not given."""
    named = " and ".join(f"{option} {plain(value)}" for option, value in asked.items() if value is not None)
    of = f" with {named}" if named else ""
    console.print(f"Quarantine holds nothing{of} received from {first} to {last} (UTC).", soft_wrap=True)


def print_redriven(redriven: Sequence[Redriven], dead_letters: int, console: Console) -> None:
    """What became of entries that were sent through again."""
    if redriven:
        heads = ("Organization", "Id", "State", "Why")
        rows = [(each.entry.organization or "-", each.entry.id or "-", each.state, each.why) for each in redriven]
        sheet = Sheet("Redriven", heads, rows, prose=("Id", "Why"), names=NAMES)
        print_fitting(console, sheet, replace(sheet, stacks=(("Organization", "Id"), ("State", "Why")), tight=True))
    decided = sum(each.state == "decided" for each in redriven)
    console.print(f"Quarantined: {len(redriven):,} sent through again, {decided:,} of them decided now")
    console.print(f"Dead letters: {dead_letters:,} queued again")


def print_letters(emitted: int, left: Sequence[str], console: Console) -> None:
    """What became of the stream's dead letters."""
    console.print(f"Stream dead letters: {emitted:,} put on the bus, {len(left):,} wait on")
    for why in left:
        console.print(f"  {plain(why)}", soft_wrap=True)


def as_dict(entry: Entry) -> dict[str, Any]:
    """An entry with its raw event."""
    return entry._asdict() | {"raw": json.loads(entry.raw), "decided": json.loads(entry.decided or "null")}


def print_inclusion(inclusion: Mapping[str, Any], found: Sequence[str], console: Console) -> None:
    """What the proof of a single record comes to."""
    record, stated = inclusion["record"], inclusion["statement"]
    for why in found:
        console.print(f"[bold red]inclusion:[/] {plain(why)}", soft_wrap=True)
    if not found:
        place = f"is number {inclusion['index'] + 1:,} of the {inclusion['size']:,} records of statement"
        signed = f"{plain(record['id'])} {place} {plain(stated['id'])}, which the key signed."
        console.print(f"[green]Proved: {signed}[/]", soft_wrap=True, highlight=False)


def print_proofs(proofs: Sequence[Proof | ChainProof], console: Console) -> None:
    """Statements of days, chains of them, and what does not hold."""
    for proof in proofs:
        stated = proof.statement if isinstance(proof, Proof) else _chain(proof)
        title = f"{stated['organization']} {stated.get('day', 'statements')}"
        table = Table(title=plain(title), title_justify="left", title_style="bold")
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


def _chain(proof: ChainProof) -> dict[str, Any]:
    """What there is to say of a chain of statements."""
    return {
        "organization": proof.organization,
        "first number": proof.first,
        "last number": proof.last.number,
        "head": f"{proof.organization}:{proof.last.number}:{proof.last.hash}",
        "signatures": "checked" if proof.signed else "not looked at: no --public-key",
    }


def _proved(proof: Proof | ChainProof) -> str:
    """What it means that a proof holds."""
    if isinstance(proof, ChainProof):
        return f"Proved: the statements are a chain without a gap, whole up to number {proof.last.number}."
    if not isinstance(proof, RecordsProof):
        return "Proved: the decisions add up, tile their counters, and each is right."
    if proof.revision is None:
        return "Nothing contradicts. Whether these are all records of the day, only its DayClosed event can tell."
    return f"Proved: the records agree with each other, and with revision {proof.revision} of the statement."


def print_running(up: Running, console: Console, *, kept: bool = False) -> None:
    """Where the running system is, and a first call to try. `kept`: the next start goes on with its data and keys."""
    end = "keeps data, keys and secrets for the next start" if kept else "leaves nothing behind"
    console.print(f"[bold]Gratis is up.[/] Ctrl-C stops it and {end}.\n")
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


def _print_refused(entries: Sequence[dict[str, Any]], console: Console) -> None:
    rows = [refused_cells(entry) for entry in entries]
    shown = _first(rows, console)
    sheet = Sheet(REFUSED, REFUSED_COLUMNS, shown, ("#",), prose=("Id", "Why"), names=NAMES, title_style="bold red")
    print_fitting(console, sheet, replace(sheet, stacks=(("#",), ("Id", "Code"), ("Why",)), tight=True))
    _print_rest(len(rows) - len(shown), "in quarantine", console)


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
    if totals["skipped"]:
        by_reason = ", ".join(f"{count:,} {reason}" for reason, count in totals["skipped"].items())
        rows["Skipped"] = f"{sum(totals['skipped'].values()):,} ({by_reason})"
    if unknown := unknown_organizations(replayed.decisions):
        more = f" and {len(unknown) - MAX_NAMED:,} more" if len(unknown) > MAX_NAMED else ""
        rows["Unknown"] = f"{', '.join(unknown[:MAX_NAMED])}{more}: no account, so nothing is shared"
    for name, field in (("At the normal rate", "list_amount_usd"), ("Billed amount", "amount_usd")):
        unpriced = sum(each.counts for each in replayed.decisions if getattr(each, field) is None)
        rows[name] = amount(totals[field]) + (f" and {unpriced:,} of unknown price" if unpriced else "")
    return rows


def unknown_organizations(decisions: Iterable[Decision]) -> list[str]:
    """The organizations that had neither a profile nor settings in force at any of their requests."""
    found: defaultdict[bool, set[str]] = defaultdict(set)
    for each in decisions:
        found[(each.profile_version, each.settings_version) == (None, None)].add(each.organization)
    return sorted(found[True] - found[False])
