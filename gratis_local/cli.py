"""The command `gratis`. A command imports what it needs when it runs: help and version are there at once."""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gratis import __version__
from gratis_local import auditing, operating
from gratis_local.console import UNDECIDED, console, errors, print_json, progress, usable_input
from gratis_local.offers import offers
from gratis_local.options import STACK, EndpointUrl, ReportFile, StackName

if TYPE_CHECKING:
    from gratis.rules.account import Account
    from gratis.rules.offer import Offer
    from gratis_local.sources import Events

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HORIZON_DAYS = 36
REPLAYED_ONLY = frozenset({"--organizations", "--offer", "--report", "--endpoint-url"})
SENT_ONLY = frozenset({"--secret", "--move-to"})

app = typer.Typer(
    help="Free or billed? Decides every LLM request against a daily allowance, exactly, and proves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
quarantine = typer.Typer(help="Events that could not be decided: what, why, and send them through again.")
keys = typer.Typer(help="Keys of the account API.")
app.add_typer(quarantine, name="quarantine", no_args_is_help=True)
app.add_typer(keys, name="keys", no_args_is_help=True)
app.add_typer(offers, name="offers", no_args_is_help=True)

Files = Annotated[
    list[str],
    typer.Argument(help="JSON, JSON lines (.jsonl), - for standard input, or a sample that ships, such as seed-day."),
]
Organizations = Annotated[
    Path | None,
    typer.Option(help="Who the organizations are and what they share.", show_default="those of the samples"),
]
Day = Annotated[str | None, typer.Option(help="A UTC day, YYYY-MM-DD; today if left out.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gratis {__version__}")
        raise typer.Exit


@app.callback()
def gratis(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Free or billed? Decides every LLM request against a daily allowance, exactly, and proves it."""


@app.command("replay")
def replay_command(
    context: typer.Context,
    files: Files,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    organizations: Organizations = None,
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
            help="With --to: move all events by whole days, the last to this UTC day (YYYY-MM-DD, today or yesterday)."
        ),
    ] = None,
) -> None:
    """Run sample events through the code that is deployed and show what each one costs, and why."""
    with usable_input():
        from gratis_local.arguments import check_report, event_files, refuse_given
        from gratis_local.sources import read_events, read_offer, read_organizations

        if to:
            refuse_given(context, REPLAYED_ONLY, "a webhook decides by its own rules, unseen here; leave out --to")
        else:
            refuse_given(context, SENT_ONLY, "only for events that are posted with --to")
        named = event_files(files)
        check_report(report_file, named)
        events = read_events(named)
        if to:
            _send(events, to, secret, move_to, as_json=as_json)
            return
        chosen, accounts = read_offer(offer), read_organizations(_organizations(organizations))
        _replay(events, accounts, chosen, endpoint_url, report_file, as_json=as_json)


def _organizations(file: Path | None) -> Path:
    from gratis_local.places import shipped

    return file or shipped("events") / "organizations.json"


def _replay(
    events: "Events",
    accounts: "Sequence[Account]",
    offer: "Offer",
    endpoint_url: str | None,
    report_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from gratis_local import report
    from gratis_local.arguments import write_report
    from gratis_local.engine import engine_at
    from gratis_local.replay import replay

    with engine_at(endpoint_url) as url, progress("Deciding", len(events)) as advance:
        replayed = replay(events, accounts, offer, url, advance, skipped=events.skipped)
    if report_file:
        from gratis_local.preview.replayed import replay_page

        write_report(report_file, replay_page(replayed, offer.versions[-1].offer))
    if as_json:
        print_json(replayed.as_json())
    else:
        report.print_replayed(replayed, console())
    if replayed.quarantined:
        raise typer.Exit(UNDECIDED)


def _send(events: "Sequence[Any]", to: str, secret: str | None, move_to: str | None, *, as_json: bool) -> None:
    from gratis_local import report
    from gratis_local.arguments import day_of
    from gratis_local.sender import moved, send
    from gratis_local.sources import Unusable

    if not secret:
        raise Unusable("--to needs the webhook's secret: --secret or GRATIS_WEBHOOK_SECRET")
    url = to if to.rstrip("/").endswith("usage-events") else f"{to.rstrip('/')}/usage-events"
    chosen = moved(events, day_of(move_to, "--move-to")) if move_to else events
    with progress("Sending", len(events)) as advance:
        sent = send(chosen, url, secret, advance)
    if as_json:
        print_json(sent.content())
    else:
        report.print_sent(sent, console())
    if sent.quarantined:
        raise typer.Exit(UNDECIDED)


@app.command("void")
def void_command(
    organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="Whose requests.")],
    day: Annotated[str, typer.Argument(metavar="DAY", help="The UTC day on which they occurred, YYYY-MM-DD.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The requests' ids.")] = None,
    *,
    to: Annotated[str, typer.Option(help="The deployed webhook that the voids are posted to.")],
    file: Annotated[
        str | None,
        typer.Option(
            help="A CSV of ids, - for standard input: the column request_id where there is one, else the first."
        ),
    ] = None,
    why: Annotated[str | None, typer.Option(help="For people: why they are taken back.")] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="GRATIS_WEBHOOK_SECRET", help="The webhook's secret (whsec_...).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was taken as JSON and nothing else.")] = False,
) -> None:
    """Take back usage that was sent by mistake: each request once, however often this is run."""
    with usable_input():
        from gratis_local.arguments import organization_and_day, organization_of
        from gratis_local.voiding import request_ids, void_events

        whose, of_day = organization_and_day(organization, day)
        chosen = request_ids(ids or (), file, of_day)
        events = void_events(organization_of(whose), of_day, chosen, datetime.now(UTC), why)
        _send(events, to, secret, None, as_json=as_json)
    if not as_json:
        said = "Voids of requests that have no decision go into quarantine (unknown_request): gratis quarantine list"
        console().print(said, highlight=False, soft_wrap=True)


@app.command("what-if")
def what_if_command(
    files: Files,
    *,
    offer: Annotated[
        list[str], typer.Option(help="Twice: offer A, then offer B; a file, or the id of a shipped offer.")
    ],
    organizations: Organizations = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    report_file: ReportFile = None,
) -> None:
    """Decide the same events under two offers and show who pays what.

    Stranded are tokens that would have been free if a request could be split: of each window in which requests were
    billed over_quota, what the quota has left in the end, but no more than those requests' tokens.
    """
    with usable_input():
        from gratis_local import report
        from gratis_local.arguments import check_report, event_files, write_report
        from gratis_local.sources import Unusable, read_events, read_offer, read_organizations
        from gratis_local.what_if import what_if

        if len(offer) != 2:
            raise Unusable(f"--offer: name two offers, A and B ({len(offer)} given)")
        named = event_files(files)
        check_report(report_file, named)
        events, accounts = read_events(named), read_organizations(_organizations(organizations))
        for each in offer:
            read_offer(each)
        with progress("Deciding", 2 * len(events)) as advance:
            compared = what_if(events, accounts, (offer[0], offer[1]), advance)
        if report_file:
            from gratis_local.preview.compared import compared_page

            write_report(report_file, compared_page(compared))
    if as_json:
        print_json(compared.content())
    else:
        report.print_compared(compared, console())
    if any(each.quarantined for each in compared.replays):
        raise typer.Exit(UNDECIDED)


@app.command("up")
def up_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the engine; 0 for a free one.")] = 0,
    *,
    intake: Annotated[
        Literal["queue", "stream"], typer.Option(help="Where events wait for their decision: SQS FIFO or Kinesis.")
    ] = "queue",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep data, keys and secrets in .gratis/kept.json for the next start.")
    ] = False,
) -> None:
    """Deploy the whole system on the local engine and run it until Ctrl-C."""
    with usable_input():
        from gratis_local.places import needs_repository

        needs_repository("gratis up")
        from gratis_local import report
        from gratis_local.up import STATE, running

        if keep and intake == "stream":
            raise typer.BadParameter("--keep: the local engine does not say when its stream is empty; leave one out")
        kept = STATE.with_name("kept.json") if keep else None
        for number in STOPPING:
            signal.signal(number, _stop_once)
        with running(port, kept=kept, intake=intake) as (_, up), suppress(SystemExit):
            report.print_running(up, console(), kept=keep)
            signal.pause()


def _stop_once(number: int, _: object) -> None:
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not end the clean-up
    sys.exit(128 + number)


@app.command("simulate")
def simulate_command(
    *,
    worlds: Annotated[int, typer.Option(min=1, help="How many worlds, one a seed.")] = 1000,
    seed: Annotated[int, typer.Option(help="The first world's seed; --worlds 1 plays just that one.")] = 1,
    intake: Annotated[
        Literal["queue", "stream", "change"] | None,
        typer.Option(help="Only worlds of this intake, or that change it; the seeds of others are passed over."),
    ] = None,
) -> None:
    """Play the core in worlds full of faults; exit 1 and the failing seed if a promise breaks."""
    from gratis_simulation import simulate

    with progress("Playing", worlds) as advance:
        result = simulate(worlds, seed, advance, intake=intake)
    if result.failure:
        console().print(result.failure.text(), soft_wrap=True, markup=False, highlight=False)
        raise typer.Exit(UNDECIDED)
    of_intake = f" of intake {intake}" if intake else ""
    played = f"The world of seed {seed}"
    if result.worlds > 1 or intake:
        played = f"{result.worlds:,} worlds{of_intake} from seed {seed} on"
    console().print(f"{played}: every promise held.", highlight=False)


@quarantine.command("list")
def quarantine_list(
    *,
    days: Annotated[int, typer.Option(min=1, help="How many UTC days back from --day.")] = HORIZON_DAYS,
    day: Day = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON, raw events included.")] = False,
) -> None:
    """Show what could not be decided, and why, in the order in which it was received."""
    with usable_input():
        from gratis_local import report
        from gratis_local.arguments import period_of
        from gratis_local.redrive import Desk
        from gratis_local.stack import stack_of

        period = period_of(day, days)
        entries = Desk(stack_of(endpoint_url, stack)).entries(*period)
    if as_json:
        print_json([report.as_dict(entry) for entry in entries])
    elif not entries:
        report.print_nothing(*period, {}, console())
    else:
        report.print_quarantine(entries, console())


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
    """Send quarantined events and all dead letters through again; exit 1 if something stays behind."""
    with usable_input():
        from gratis_local import report
        from gratis_local.arguments import period_of
        from gratis_local.recovery import StreamLetters
        from gratis_local.redrive import Desk
        from gratis_local.stack import stack_of

        period = period_of(day, days)
        deployed = stack_of(endpoint_url, stack)
        desk = Desk(deployed)
        dead_letters = desk.redrive_dead_letters() + desk.redrive_failed()
        emitted, left = StreamLetters(deployed).redrive()
        entries = [
            entry for entry in desk.entries(*period) if request_id in (None, entry.id) and code in (None, entry.code)
        ]
        redriven = list(desk.redrive(entries))
    if not entries:
        report.print_nothing(*period, {"--id": request_id, "--code": code}, console())
    report.print_redriven(redriven, dead_letters, console())
    report.print_letters(emitted, left, console())
    if left or any(each.state != "decided" for each in redriven):
        raise typer.Exit(UNDECIDED)


@keys.command("create")
def keys_create(
    *,
    role: Annotated[str, typer.Option(help="One of owner, gateway, reader, platform.")],
    organization: Annotated[str | None, typer.Option(help="Whose key it is; none for a platform key.")] = None,
    name: Annotated[str, typer.Option(help="What it is for, to tell keys apart.")] = "",
    expires: Annotated[str | None, typer.Option(help="When it ends, like 2026-01-31T00:00:00Z; else never.")] = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Create an API key and print it: this is the only time that it can be seen."""
    with usable_input():
        from gratis.table.accounts import Accounts
        from gratis.table.api_keys import Keys
        from gratis_local.arguments import expiry_of, holder_of
        from gratis_local.stack import stack_of

        holder, now = holder_of(role, organization, name), datetime.now(UTC)
        until = expiry_of(expires, now)
        deployed = stack_of(endpoint_url, stack)
        client, table = deployed.client("dynamodb"), deployed.outputs["LedgerTableName"]
        if organization and Accounts(client, table).get(organization) is None:
            errors().print(f"note: {organization} has no account yet; its first profile or setting makes one")
        key = Keys(client, table).create(holder, now, until)
    sys.stdout.write(key + "\n")


@keys.command("list")
def keys_list(
    *,
    organization: Annotated[str | None, typer.Option(help="Its keys only.")] = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the API keys: whose, how they end, when created, on which day last used, when they expire."""
    with usable_input():
        from gratis.table.api_keys import Keys
        from gratis_local import report
        from gratis_local.arguments import organization_of
        from gratis_local.recovery import is_known, ledger_of, unknown
        from gratis_local.stack import stack_of

        whose = organization_of(organization) if organization else None
        ledger = ledger_of(stack_of(endpoint_url, stack))
        if whose and not is_known(ledger, whose):
            errors().print(f"note: {unknown(whose)}", highlight=False, markup=False, soft_wrap=True)
        found = list(Keys(ledger.client, ledger.table).listed(whose))
    report.print_keys(found, console())


@keys.command("revoke")
def keys_revoke(
    *,
    key_id: Annotated[str | None, typer.Option("--id", help="Of a key in `gratis keys list`.")] = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Take back a key, by its id, or the key that is asked for or on standard input: it is accepted no more."""
    with usable_input():
        from gratis.table.api_keys import Keys
        from gratis_local.sources import Unusable
        from gratis_local.stack import stack_of

        if key_id is None:
            key = typer.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
        deployed = stack_of(endpoint_url, stack)
        stored = Keys(deployed.client("dynamodb"), deployed.outputs["LedgerTableName"])
        holder = stored.revoke(key.strip()) if key_id is None else stored.revoke_listed(key_id)
        if holder is None:
            raise Unusable("there is no such key")
    named = f" ({holder.name})" if holder.name else ""
    sys.stdout.write(f"revoked: {holder.role} of {holder.organization or 'the platform'}{named}\n")


auditing.add_to(app)
operating.add_to(app)


def main() -> None:
    """Entry point of the command. SIGTERM ends it as Ctrl-C does: what was started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    app()


if __name__ == "__main__":
    main()
