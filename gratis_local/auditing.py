"""The commands that check what was decided: `prove` by itself, and `reconcile` against the platform's own word."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gratis_local.command import TakesFiles
from gratis_local.console import UNDECIDED, console, print_json, usable_input
from gratis_local.options import STACK, EndpointUrl, LedgerTable, ReportFile, StackName

if TYPE_CHECKING:
    from datetime import date

    from gratis.closing.proof import Proof
    from gratis_local.chain import ChainProof
    from gratis_local.reconcile.compare import Compared

LEDGER_TABLE = frozenset({"--stack", "--endpoint-url", "--table"})
LEDGER_ONLY = LEDGER_TABLE | {"--offer"}
CHAIN_ONLY = frozenset({"--public-key", "--head"})
INCLUSION_ALONE = LEDGER_ONLY | {"--records", "--statements", "--head"}
FETCHED_ONLY = frozenset({"--day", "--days"})

# --- prove ---------------------------------------------------------------------------------------------------------

DayOrFiles = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ORGANIZATION DAY", help="Whose day, and which (YYYY-MM-DD). With --records: further files."
    ),
]
EmittedRecords = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE...", help="Prove from emitted billing records and DayClosed events in these files, without AWS."
    ),
]
Statements = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE...",
        help="With --records: prove the chain of the statements in these files, too; no record may be outside.",
    ),
]
PublicKey = Annotated[
    Path | None,
    typer.Option(help="With --statements or --inclusion: the keys that may have signed (PEM, /v1/statement-keys)."),
]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORGANIZATION:NUMBER:HASH", help="With --statements: a statement that is known to be in the chain."
    ),
]
Inclusion = Annotated[
    Path | None,
    typer.Option(help="Prove one record: the answer of /v1/organization/requests/{id}?proof=true in this file."),
]


def prove_command(
    context: typer.Context,
    named: DayOrFiles = None,
    *,
    records: EmittedRecords = None,
    statements: Statements = None,
    public_key: PublicKey = None,
    head: Heads = None,
    inclusion: Inclusion = None,
    endpoint_url: EndpointUrl = None,
    stack: StackName = STACK,
    table: LedgerTable = None,
    offer: Annotated[str | None, typer.Option(help="The offer's file, if it is none that ships.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proofs as JSON and nothing else.")] = False,
) -> None:
    """Prove a day again from its decisions; exit 1 and the differing ids if it does not hold."""
    with usable_input():
        from gratis_local import report
        from gratis_local.arguments import refuse_given
        from gratis_local.sources import Unusable

        if inclusion:
            refuse_given(context, INCLUSION_ALONE, "a single record is proved by itself; leave out --inclusion")
            _prove_inclusion(inclusion, public_key, as_json=as_json)
            return
        proofs: Sequence[Proof | ChainProof]
        if records:
            refuse_given(context, LEDGER_ONLY, "files are proved without a ledger; leave out --records")
            if not statements:
                refuse_given(context, CHAIN_ONLY, "looks at statements; name their files with --statements")
            files = [*records, *(statements or ()), *(named or ())]
            proofs = _from_files(files, public_key, head or (), chained=bool(statements))
        elif named and len(named) == 2:
            proofs = [_from_ledger((named[0], named[1]), (endpoint_url, stack, table), offer)]
        else:
            raise Unusable("name an organization and a day, or files with --records")
    if as_json:
        print_json([proof.content() for proof in proofs])
    else:
        report.print_proofs(proofs, console())
    if not all(proof.holds for proof in proofs):
        raise typer.Exit(UNDECIDED)


def _prove_inclusion(file: Path, public_key: Path | None, *, as_json: bool) -> None:
    from gratis_local import report
    from gratis_local.chain import prove_inclusion, read_inclusion, read_keys
    from gratis_local.sources import Unusable

    if public_key is None:
        raise Unusable("--public-key: is missing; without it anybody could have made the statement")
    content = read_inclusion(file)
    found = list(prove_inclusion(content, read_keys(public_key)))
    if as_json:
        print_json({"id": content["record"]["id"], "holds": not found, "differences": found})
    else:
        report.print_inclusion(content, found, console())
    if found:
        raise typer.Exit(UNDECIDED)


def _from_files(
    files: Sequence[str], public_key: Path | None, heads: Sequence[str], *, chained: bool
) -> "Sequence[Proof | ChainProof]":
    """The proof of each day, and where the statements are `chained` of each chain."""
    from gratis_local.arguments import heads_of
    from gratis_local.chain import read_keys
    from gratis_local.prove import prove_from_records, prove_span

    if not chained:
        return prove_from_records(files)
    return prove_span(files, read_keys(public_key) if public_key else None, heads_of(heads))


def _from_ledger(named: tuple[str, str], ledger: tuple[str | None, str, str | None], offer: str | None) -> "Proof":
    """`named`: an organization and a day; `ledger`: the local engine, the stack and the table, as options name them."""
    from gratis.errors import Busy
    from gratis_local.arguments import organization_and_day
    from gratis_local.prove import ledger_at, prove_from_ledger
    from gratis_local.sources import Unusable, read_offer

    organization, day = organization_and_day(*named)
    custom = read_offer(offer) if offer else None
    held = ledger_at(*ledger)
    try:
        return prove_from_ledger(held, organization, day, custom)
    except Busy as error:
        if not str(error).startswith("ResourceNotFoundException"):
            raise
        raise Unusable(f"there is no table {held.table!r}; --table names another") from None


# --- reconcile -----------------------------------------------------------------------------------------------------

UsagePages = Annotated[
    list[str] | None, typer.Option(metavar="FILE...", help="Pages of OpenAI's Usage API (completions), as JSON.")
]
CostPages = Annotated[list[str] | None, typer.Option(metavar="FILE...", help="Pages of its Costs API, as JSON.")]
Fetch = Annotated[
    bool, typer.Option("--openai", help="Fetch both with the openai SDK; the key is in OPENAI_ADMIN_KEY.")
]
LastDay = Annotated[str | None, typer.Option(help="With --openai: the last UTC day; today if left out.")]
OurRecords = Annotated[
    list[str] | None, typer.Option(metavar="FILE...", help="Our side: emitted billing records, in place of a ledger.")
]
OurApi = Annotated[
    str | None, typer.Option(help="Our side: a deployed API (its base URL); the key is in GRATIS_API_KEY.")
]
AsOf = Annotated[
    str | None, typer.Option(metavar="TIME", help="Leave later traffic out, on both sides (2025-03-11T14:00:00Z).")
]


def reconcile_command(
    context: typer.Context,
    organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="Whose traffic.")],
    *,
    usage: UsagePages = None,
    costs: CostPages = None,
    openai: Fetch = False,
    day: LastDay = None,
    days: Annotated[int, typer.Option(min=1, max=180, help="With --openai: how many days.")] = 7,
    records: OurRecords = None,
    url: OurApi = None,
    endpoint_url: EndpointUrl = None,
    stack: StackName = STACK,
    table: LedgerTable = None,
    offer: Annotated[str, typer.Option(help="The offer whose aliases name models.")] = "data-sharing",
    as_of: AsOf = None,
    report_file: ReportFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON and nothing else.")] = False,
) -> None:
    """Compare what was decided with the platform's own word; exit 1 if they differ."""
    with usable_input():
        from gratis_local.arguments import check_report, environment_key, moment_of, organization_of, refuse_given
        from gratis_local.reconcile.run import Ours, platforms_word, reconciled
        from gratis_local.sources import read_offer

        if records or url:
            refuse_given(context, LEDGER_TABLE, "there is a ledger only without --records and --url")
        if not openai:
            refuse_given(context, FETCHED_ONLY, "only for pages that are fetched with --openai")
        check_report(report_file, [*(usage or ()), *(costs or ()), *(records or ())])
        moment, chosen = moment_of(as_of), read_offer(offer)
        span, key = _fetching(day, days) if openai else (None, None)
        word = platforms_word(usage or (), costs or (), span, key, moment)
        api_key = environment_key("GRATIS_API_KEY", "--url") if url else None
        ours = Ours(organization_of(organization), records, url, api_key, (endpoint_url, stack, table))
        _tell(reconciled(ours, word, chosen, moment), report_file, as_json=as_json)


def _fetching(day: str | None, days: int) -> "tuple[tuple[date, date], str]":
    """The first and the last UTC day that are fetched from OpenAI, and the key for it."""
    from gratis_local.arguments import environment_key, period_of

    return period_of(day, days), environment_key("OPENAI_ADMIN_KEY", "--openai")


def _tell(compared: "Compared", report_file: Path | None, *, as_json: bool) -> None:
    from gratis_local.arguments import write_report
    from gratis_local.reconcile import told

    now = datetime.now(UTC)
    if report_file:
        write_report(report_file, told.reconciled_page(compared, now))
    if as_json:
        print_json(told.content(compared, now))
    else:
        told.print_compared(compared, now, console())
    if not compared.agrees:
        raise typer.Exit(UNDECIDED)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("prove", cls=TakesFiles)(prove_command)
    app.command("reconcile", cls=TakesFiles)(reconcile_command)
