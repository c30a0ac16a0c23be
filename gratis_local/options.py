"""Options that several commands have alike."""

from pathlib import Path
from typing import Annotated

import typer

STACK = "gratis"
"""What the stack is called unless it is said otherwise."""
StackName = Annotated[str, typer.Option("--stack", help="The deployed stack.")]
EndpointUrl = Annotated[str | None, typer.Option(help="A local engine in place of AWS (`gratis up` prints its URL).")]
LedgerTable = Annotated[str | None, typer.Option("--table", help="The ledger table, if it is not the stack's.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write a page with charts to this file (.html); it needs nothing else.")
]
