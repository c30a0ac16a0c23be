"""The command `gratis`."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from gratis.errors import Busy
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from local.engine import EngineFailed, engine
from local.functions import ROOT
from local.replay import Replayed, replay
from local.report import print_replayed
from local.sources import Unusable, read_events, read_offer, read_organizations

UNDECIDED, UNUSABLE = 1, 2
WIDE = 150
"""Columns of a table that does not go to a terminal."""

app = typer.Typer(
    help="Free or billed? Decides every LLM request against a daily allowance, exactly, and proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)


@app.callback()
def main_options() -> None:
    """Keeps `gratis replay` a subcommand."""


@app.command("replay")
def replay_command(
    files: Annotated[list[str], typer.Argument(help="JSON, JSON lines (.jsonl), or - for standard input.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    organizations: Annotated[Path, typer.Option(help="Who the organizations are and what they share.")] = (
        ROOT / "events/organizations.json"
    ),
    offer: Annotated[str, typer.Option(help="The rules: a file, or the id of a shipped offer.")] = "data-sharing-2025",
    endpoint_url: Annotated[str | None, typer.Option(help="A DynamoDB to use in place of the embedded engine.")] = None,
) -> None:
    """Run sample events through the real function and show what each one costs, and why."""
    with _usable_input():
        read_offer(offer)
        accounts = read_organizations(organizations)
        events = read_events(files)
        with _engine_at(endpoint_url) as url, _progress(len(events)) as progress:
            replayed = replay(events, accounts, offer, url, progress)
    _show(replayed, as_json=as_json)
    if replayed.quarantined:
        raise typer.Exit(UNDECIDED)


def _show(replayed: Replayed, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(replayed.as_json(), indent=1) + "\n")
    else:
        console = Console()
        print_replayed(replayed, console if console.is_terminal else Console(width=WIDE))


@contextmanager
def _usable_input() -> Iterator[None]:
    try:
        yield
    except (Unusable, EngineFailed, Busy) as error:
        errors.print(f"[bold red]gratis:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(UNUSABLE) from None


@contextmanager
def _engine_at(endpoint_url: str | None) -> Iterator[str]:
    if endpoint_url:
        yield endpoint_url
    else:
        with engine() as url:
            yield url


@contextmanager
def _progress(events: int) -> Iterator[Any]:
    """A progress bar on a terminal; silent elsewhere."""
    columns = (TextColumn("Deciding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("events", total=events)
        yield lambda done: bar.advance(task, done)


def main() -> None:
    """Entry point of the command. SIGTERM ends it as Ctrl-C does: what was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()
