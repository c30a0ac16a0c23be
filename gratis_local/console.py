"""What all commands print with: tables, JSON, a progress bar, and the one line of an error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

UNDECIDED, UNUSABLE = 1, 2
"""Exit codes: something is in quarantine or does not hold; the command cannot do what it was asked."""
PIPE_COLUMNS = 150
"""Of a table that does not go to a terminal."""


def console() -> Console:
    """Standard output."""
    made = Console()
    return made if made.is_terminal else Console(width=PIPE_COLUMNS)


def errors() -> Console:
    """Standard error."""
    return Console(stderr=True)


def print_json(content: Any) -> None:
    """What `--json` prints."""
    sys.stdout.write(json.dumps(content, indent=1) + "\n")


@contextmanager
def usable_input() -> Iterator[None]:
    """What cannot be done ends with exit code 2 and one sentence."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        _say(error)
        raise typer.Exit(UNUSABLE) from None


def _expected() -> tuple[type[Exception], ...]:
    """The errors that say what the caller can do about them."""
    from botocore.exceptions import BotoCoreError, ClientError

    from gratis.errors import Busy
    from gratis_local.engine import EngineFailed
    from gratis_local.places import NoRepository
    from gratis_local.sender import NotTaken
    from gratis_local.sources import Unusable
    from gratis_local.stack import NoStack

    return (Unusable, NoRepository, EngineFailed, Busy, NoStack, NotTaken, ClientError, BotoCoreError)


def _say(error: Exception) -> None:
    from gratis_local.report import plain

    said = "\n".join(map(plain, str(error).split("\n")))
    errors().print(f"[bold red]gratis:[/] {said}", soft_wrap=True)


@contextmanager
def progress(doing: str, events: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; silent elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = errors()
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(doing, total=events)
        yield lambda done: bar.advance(task, done)
