"""The commands that operate a deployed stack: `emit`, `close`, `take-over`, `smoke` and `grafana`."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from gratis_local.console import UNDECIDED, console, errors, progress, usable_input
from gratis_local.options import STACK, EndpointUrl, StackName

DayArgument = Annotated[str, typer.Argument(metavar="DAY", help="A UTC day, YYYY-MM-DD, 'today' or 'yesterday'.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("emit")(emit_command)
    app.command("close")(close_command)
    app.command("take-over")(take_over_command)
    app.command("smoke")(smoke_command)
    app.command("grafana")(grafana_command)


def emit_command(
    organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", help="Whose records.")],
    day: DayArgument,
    *,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Put a day's billing records on the bus again, under the same ids."""
    with usable_input():
        from gratis_local.arguments import organization_and_day
        from gratis_local.recovery import emit_again, if_unknown, ledger_of, require_kept
        from gratis_local.stack import stack_of

        whose, of_day = organization_and_day(organization, day)
        require_kept(of_day, datetime.now(UTC))
        deployed = stack_of(endpoint_url, stack)
        with progress("Emitting", 0) as advance:
            emitted = emit_again(deployed, whose, of_day, advance)
        said = f"{emitted:,} records of {whose} on {of_day} are on the bus"
        said += "" if emitted else if_unknown(ledger_of(deployed), whose)
    console().print(said, highlight=False, markup=False)


def close_command(
    day: DayArgument,
    *,
    organization: Annotated[str | None, typer.Option(help="Only this organization's day; else everybody's.")] = None,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Queue a day to be closed again: of every organization that had decisions on it, or of one."""
    with usable_input():
        from gratis_local.arguments import day_of
        from gratis_local.recovery import close_again, if_unknown, ledger_of, require_kept
        from gratis_local.sources import Unusable
        from gratis_local.stack import stack_of

        of_day = day_of(day, "DAY")
        require_kept(of_day, datetime.now(UTC))
        deployed = stack_of(endpoint_url, stack)
        queued = close_again(deployed, of_day, organization)
        if organization and not queued:
            raise Unusable(
                f"--organization: {organization!r} had no decisions on {of_day}"
                + if_unknown(ledger_of(deployed), organization)
            )
    console().print(f"{of_day} is queued to be closed for {len(queued):,} organizations", highlight=False)


def take_over_command(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A ledger table that was restored from a backup.")],
    *,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Give a restored table its stream, lifetimes, backups and protection, and print what to deploy with."""
    with usable_input():
        from gratis_local.recovery import take_over

        arn = take_over(endpoint_url, table)
    typer.echo(f"RestoredStream={arn}")


def smoke_command(
    *,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds that an event may take to each place.")] = 60,
) -> None:
    """Send a good and a bad event, a repeat and a void through a stack and look for each; exit 1 if one is missing."""
    with usable_input():
        from gratis_local.smoke import smoke
        from gratis_local.stack import stack_of

        checks = []
        for check in smoke(stack_of(endpoint_url, stack), stack, patience):
            checks.append(check)
            console().print(f"{'wrong' if check.wrong else 'ok':6} {check.place}", highlight=False, markup=False)
            if check.wrong:
                errors().print(f"       {check.wrong}", highlight=False, markup=False, soft_wrap=True)
    if any(check.wrong for check in checks):
        raise typer.Exit(UNDECIDED)


def grafana_command(
    which: Annotated[Literal["operators", "business"], typer.Argument(metavar="NAME", help="operators or business.")],
    *,
    stack: StackName = STACK,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print one of the stack's dashboards for Grafana to import: the same charts, by its CloudWatch data source."""
    with usable_input():
        from gratis_local.arguments import needs_package
        from gratis_local.stack import stack_of

        needs_package("grafana_foundation_sdk", "gratis grafana: writes Grafana's schema with grafana-foundation-sdk")
        from gratis_local.preview.dashboard import deployed
        from gratis_local.preview.grafana import grafana_json

        typer.echo(grafana_json(deployed(stack_of(endpoint_url, stack), stack, which)))
