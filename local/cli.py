"""The command `gratis`."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gratis.account import IDENTIFIER, Account
from gratis.accounts import Accounts
from gratis.closing.proof import Proof
from gratis.errors import Busy
from gratis.events import FIRST_YEAR, LAST_YEAR
from gratis.keys import ROLES, Holder, Keys, Role
from gratis.ledger import Ledger
from gratis.offer import Offer
from local import report
from local.engine import EngineFailed, engine
from local.functions import ROOT
from local.prove import ledger_at, prove_from_ledger, prove_from_records
from local.redrive import Desk
from local.replay import replay
from local.sender import NotTaken, moved, send
from local.simulation import simulate
from local.sources import Unusable, read_events, read_offer, read_organizations
from local.stack import STACK, NoStack, stack_of
from local.up import running
from local.what_if import what_if

UNDECIDED, UNUSABLE = 1, 2
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WIDE = 150
"""Columns of a table that does not go to a terminal."""
HORIZON_DAYS = 36
FIRST_DAY, LAST_DAY = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
"""No event may occur beyond these."""
WRITTEN_DAY = r"\d{4}-\d{2}-\d{2}"
REPLAYED_ONLY = frozenset({"--organizations", "--offer", "--report", "--endpoint-url"})
SENT_ONLY = frozenset({"--secret", "--move-to"})
LEDGER_ONLY = frozenset({"--stack", "--endpoint-url", "--table", "--offer"})

app = typer.Typer(
    help="Free or billed? Decides every LLM request against a daily allowance, exactly, and proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
quarantine = typer.Typer(help="Events that could not be decided: what, why, and send them through again.")
keys = typer.Typer(help="Keys of the account API.")
app.add_typer(quarantine, name="quarantine", no_args_is_help=True)
app.add_typer(keys, name="keys", no_args_is_help=True)
errors = Console(stderr=True)

StackName = Annotated[str, typer.Option("--stack", help="The deployed stack.")]
EndpointUrl = Annotated[str | None, typer.Option(help="A local engine in place of AWS (`gratis up` prints its URL).")]
Files = Annotated[list[str], typer.Argument(help="JSON, JSON lines (.jsonl), or - for standard input.")]
Organizations = Annotated[Path, typer.Option(help="Who the organizations are and what they share.")]
ORGANIZATIONS = ROOT / "events/organizations.json"
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write a page with charts to this file (.html); it needs nothing else.")
]
Day = Annotated[str | None, typer.Option(help="A UTC day, YYYY-MM-DD; today if left out.")]


@app.command("replay")
def replay_command(
    context: typer.Context,
    files: Files,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    organizations: Organizations = ORGANIZATIONS,
    offer: Annotated[str, typer.Option(help="The rules: a file, or the id of a shipped offer.")] = "data-sharing-2025",
    report_file: ReportFile = None,
    endpoint_url: Annotated[str | None, typer.Option(help="A DynamoDB to use in place of the embedded engine.")] = None,
    to: Annotated[str | None, typer.Option(help="Post the events, signed, to this deployed webhook instead.")] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="GRATIS_WEBHOOK_SECRET", help="With --to: the webhook's secret (whsec_...).")
    ] = None,
    move_to: Annotated[
        str | None,
        typer.Option(
            help="With --to: move all events by whole days, the first to this UTC day (YYYY-MM-DD, today or yesterday)."
        ),
    ] = None,
) -> None:
    """Run sample events through the real function and show what each one costs, and why."""
    with _usable_input():
        if to:
            _refuse(context, REPLAYED_ONLY, "a webhook decides by its own rules, unseen here; leave out --to")
        else:
            _refuse(context, SENT_ONLY, "only for events that are posted with --to")
        events = read_events(files)
        if to:
            _send(events, to, secret, move_to, as_json=as_json)
            return
        read_offer(offer)
        accounts = read_organizations(organizations)
        _writable(report_file)
        _replay(events, accounts, offer, endpoint_url, report_file, as_json=as_json)


@app.command("what-if")
def what_if_command(
    files: Files,
    *,
    offer: Annotated[
        list[str], typer.Option(help="Twice: offer A, then offer B; a file, or the id of a shipped offer.")
    ],
    organizations: Organizations = ORGANIZATIONS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    report_file: ReportFile = None,
) -> None:
    """Decide the same events under two offers and show who pays what.

    Stranded are tokens that would have been free if a request could be split: of each window in which requests were
    billed over_quota, what the quota has left in the end, but no more than those requests' tokens.
    """
    with _usable_input():
        if len(offer) != 2:
            raise Unusable(f"--offer: name two offers, A and B ({len(offer)} given)")
        events, accounts = read_events(files), read_organizations(organizations)
        for named in offer:
            read_offer(named)
        _writable(report_file)
        with _progress("Deciding", 2 * len(events)) as progress:
            compared = what_if(events, accounts, (offer[0], offer[1]), progress)
        if report_file:
            from local.preview.compared import compared_page  # noqa: PLC0415 - as above

            _write(report_file, compared_page(compared))
    if as_json:
        _print_json(compared.content())
    else:
        report.print_compared(compared, _console())
    if any(each.quarantined for each in compared.replays):
        raise typer.Exit(UNDECIDED)


@app.command("up")
def up_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the engine; 0 for a free one.")] = 0,
) -> None:
    """Deploy the whole system on the local engine and run it until Ctrl-C."""
    for number in STOPPING:
        signal.signal(number, _stop_once)
    with _usable_input(), running(port) as (_, up), suppress(SystemExit):
        report.print_running(up, Console())
        signal.pause()


@app.command("prove")
def prove_command(
    context: typer.Context,
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ORGANIZATION DAY", help="Whose day, and which (YYYY-MM-DD). With --records: further files."
        ),
    ] = None,
    *,
    records: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Prove from emitted billing records and DayClosed events in these files, without AWS.",
        ),
    ] = None,
    endpoint_url: EndpointUrl = None,
    stack: StackName = STACK,
    table: Annotated[str | None, typer.Option(help="The ledger table, if it is not the stack's.")] = None,
    offer: Annotated[str | None, typer.Option(help="The offer's file, if it is none that ships.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proofs as JSON and nothing else.")] = False,
) -> None:
    """Prove a day again from its decisions; exit 1 and the differing ids if it does not hold."""
    with _usable_input():
        proofs: Sequence[Proof]
        if records:
            _refuse(context, LEDGER_ONLY, "files are proved without a ledger; leave out --records")
            proofs = prove_from_records([*records, *(named or ())])
        elif named and len(named) == 2:
            organization, day = _organization_and_day(*named)
            custom = read_offer(offer) if offer else None
            proofs = [_proof(ledger_at(endpoint_url, stack, table), organization, day, custom)]
        else:
            raise Unusable("name an organization and a day, or files with --records")
    if as_json:
        _print_json([proof.content() for proof in proofs])
    else:
        report.print_proofs(proofs, _console())
    if not all(proof.holds for proof in proofs):
        raise typer.Exit(UNDECIDED)


@app.command("simulate")
def simulate_command(
    *,
    worlds: Annotated[int, typer.Option(min=1, help="How many worlds, one a seed.")] = 1000,
    seed: Annotated[int, typer.Option(help="The first world's seed; --worlds 1 plays just that one.")] = 1,
) -> None:
    """Play the core in worlds full of faults; exit 1 and the failing seed if a promise breaks."""
    with _progress("Playing", worlds) as progress:
        result = simulate(worlds, seed, progress)
    if result.failure:
        Console().print(result.failure.text(), soft_wrap=True, markup=False, highlight=False)
        raise typer.Exit(UNDECIDED)
    played = f"{result.worlds:,} worlds from seed {seed} on" if result.worlds > 1 else f"The world of seed {seed}"
    Console().print(f"{played}: every promise held.", highlight=False)


@quarantine.command("list")
def quarantine_list(
    *,
    days: Annotated[int, typer.Option(min=1, help="How many UTC days back from --day.")] = HORIZON_DAYS,
    day: Day = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON, raw events included.")] = False,
) -> None:
    """Show what could not be decided, and why."""
    with _usable_input():
        period = _period(day, days)
        entries = Desk(stack_of(endpoint_url, stack)).entries(*period)
    if as_json:
        _print_json([report.as_dict(entry) for entry in entries])
    elif not entries:
        report.print_nothing(*period, {}, _console())
    else:
        report.print_quarantine(entries, _console())


@quarantine.command("redrive")
def quarantine_redrive(
    *,
    request_id: Annotated[str | None, typer.Option("--id", help="Only the entries of this request id.")] = None,
    code: Annotated[str | None, typer.Option(help="Only the entries with this error code.")] = None,
    days: Annotated[int, typer.Option(min=1, help="How many UTC days back from --day.")] = HORIZON_DAYS,
    day: Day = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Send quarantined events and the dead-letter queue through again; exit 1 if something stays behind."""
    with _usable_input():
        period = _period(day, days)
        desk = Desk(stack_of(endpoint_url, stack))
        dead_letters = desk.redrive_dead_letters()
        entries = [
            entry for entry in desk.entries(*period) if request_id in (None, entry.id) and code in (None, entry.code)
        ]
        redriven = list(desk.redrive(entries))
    if not entries:
        report.print_nothing(*period, {"--id": request_id, "--code": code}, _console())
    report.print_redriven(redriven, dead_letters, _console())
    if any(each.state != "decided" for each in redriven):
        raise typer.Exit(UNDECIDED)


@keys.command("create")
def keys_create(
    *,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    organization: Annotated[str | None, typer.Option(help="Whose key it is; none for a platform key.")] = None,
    name: Annotated[str, typer.Option(help="What it is for, to tell keys apart.")] = "",
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Create an API key and print it: this is the only time that it can be seen."""
    with _usable_input():
        holder = _holder(role, organization, name)
        deployed = stack_of(endpoint_url, stack)
        client, table = deployed.client("dynamodb"), deployed.outputs["LedgerTableName"]
        if organization and Accounts(client, table).get(organization) is None:
            errors.print(f"note: {organization} has no account yet; its first profile or setting makes one")
        key = Keys(client, table).create(holder)
    sys.stdout.write(key + "\n")


@keys.command("revoke")
def keys_revoke(*, stack: StackName = STACK, endpoint_url: EndpointUrl = None) -> None:
    """Take back the key that is asked for, or that standard input holds: it is accepted no more from now on."""
    with _usable_input():
        key = typer.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
        deployed = stack_of(endpoint_url, stack)
        holder = Keys(deployed.client("dynamodb"), deployed.outputs["LedgerTableName"]).revoke(key.strip())
        if holder is None:
            raise Unusable("there is no such key")
    named = f" ({holder.name})" if holder.name else ""
    sys.stdout.write(f"revoked: {holder.role} of {holder.organization or 'the platform'}{named}\n")


def main() -> None:
    """Entry point of the command. SIGTERM ends it as Ctrl-C does: what was started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    app()


def _stop_once(number: int, _: object) -> None:
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not end the clean-up
    sys.exit(128 + number)


def _replay(
    events: list[Any],
    accounts: list[Account],
    offer: str,
    endpoint_url: str | None,
    report_file: Path | None,
    *,
    as_json: bool,
) -> None:
    with _engine_at(endpoint_url) as url, _progress("Deciding", len(events)) as progress:
        replayed = replay(events, accounts, offer, url, progress, metrics=report_file is not None)
    if report_file:
        from local.preview.replayed import replay_page  # noqa: PLC0415 - it takes a second that only a report needs

        _write(report_file, replay_page(replayed, offer))
    if as_json:
        _print_json(replayed.as_json())
    else:
        report.print_replayed(replayed, _console())
    if replayed.quarantined:
        raise typer.Exit(UNDECIDED)


def _send(events: list[Any], to: str, secret: str | None, move_to: str | None, *, as_json: bool) -> None:
    if not secret:
        raise Unusable("--to needs the webhook's secret: --secret or GRATIS_WEBHOOK_SECRET")
    url = to if to.rstrip("/").endswith("usage-events") else f"{to.rstrip('/')}/usage-events"
    chosen = moved(events, _day(move_to, "--move-to")) if move_to else events
    with _progress("Sending", len(events)) as progress:
        sent = send(chosen, url, secret, progress)
    if as_json:
        _print_json(sent.content())
    else:
        report.print_sent(sent, _console())
    if sent.quarantined:
        raise typer.Exit(UNDECIDED)


def _holder(role: str, organization: str | None, name: str) -> Holder:
    if role not in ROLES:
        raise Unusable(f"--role: {role!r} is none of {', '.join(ROLES)}")
    if role == "platform" and organization is not None:
        raise Unusable(f"--organization: a platform key has none, not {organization!r}; leave it out")
    if role != "platform" and organization is None:
        raise Unusable(f"--organization: is missing; a key of the role {role} belongs to one organization")
    if organization is not None and not re.fullmatch(IDENTIFIER, organization):
        raise Unusable(f"--organization: must match {IDENTIFIER}: {organization!r}")
    return Holder(cast("Role", role), organization, name)


def _refuse(context: typer.Context, options: Set[str], why: str) -> None:
    """Options that were given on the command line, but would do nothing."""
    given = (each for each in context.command.params if _is_given(context, each.name or ""))
    if unused := sorted(each.opts[0] for each in given if each.opts[0] in options):
        raise Unusable(f"{', '.join(unused)}: {why}")


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _day(text: str, named: str) -> date:
    """`named`: the option or argument that holds it."""
    today = datetime.now(UTC).date()
    try:
        day = {"today": today, "yesterday": today - timedelta(days=1)}.get(text) or date.fromisoformat(text)
    except ValueError:
        raise Unusable(f"{named}: must be a day as YYYY-MM-DD (or 'today', 'yesterday'), not {text!r}") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise Unusable(f"{named}: must be a day from {FIRST_DAY} to {LAST_DAY}, not {day}")
    return day


def _period(day: str | None, days: int) -> tuple[date, date]:
    """The first and the last of `days` UTC days up to `day`."""
    last = _day("today" if day is None else day, "--day")
    if days - 1 > (last - FIRST_DAY).days:
        raise Unusable(f"--days: {days} days up to {last} begin before {FIRST_DAY}")
    return last - timedelta(days=days - 1), last


def _organization_and_day(organization: str, day: str) -> tuple[str, date]:
    if re.fullmatch(WRITTEN_DAY, organization) and not re.fullmatch(WRITTEN_DAY, day):
        raise Unusable(f"the organization comes first, then the day: gratis prove {day} {organization}")
    return organization, _day(day, "DAY")


def _proof(ledger: Ledger, organization: str, day: date, offer: Offer | None) -> Proof:
    try:
        return prove_from_ledger(ledger, organization, day, offer)
    except Busy as error:
        if not str(error).startswith("ResourceNotFoundException"):
            raise
        raise Unusable(f"there is no table {ledger.table!r}; --table names another") from None


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _writable(file: Path | None) -> None:
    """Fail before the work if its report could not be written after it."""
    if file:
        _write(file, "", "a")


def _write(file: Path, content: str, mode: Literal["a", "w"] = "w") -> None:
    try:
        with file.open(mode, encoding="utf-8") as report_file:
            report_file.write(content)
    except OSError as error:
        raise Unusable(f"--report: {file}: {error.strerror}") from None


@contextmanager
def _usable_input() -> Iterator[None]:
    """What cannot be done ends with exit code 2 and one sentence."""
    try:
        yield
    except (Unusable, EngineFailed, Busy, NoStack, NotTaken, ClientError, BotoCoreError) as error:
        said = "\n".join(map(report.plain, str(error).split("\n")))
        errors.print(f"[bold red]gratis:[/] {said}", soft_wrap=True)
        raise typer.Exit(UNUSABLE) from None


@contextmanager
def _engine_at(endpoint_url: str | None) -> Iterator[str]:
    if endpoint_url:
        yield endpoint_url
    else:
        with engine() as url:
            yield url


@contextmanager
def _progress(doing: str, events: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; silent elsewhere."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(doing, total=events)
        yield lambda done: bar.advance(task, done)
