"""`gratis offers`: the offers that ship, what an offer includes and how it changed, and what is wrong with a file."""

from typing import Annotated

import typer

from gratis_local.console import console, usable_input

offers = typer.Typer(help="Offers: those that ship, what one includes, what is wrong with a file.")


@offers.command("list")
def list_command() -> None:
    """List the offers that ship, and the examples of other allowances."""
    from gratis.rules.offer_file import examples, shipped_ids
    from gratis.rules.offer_words import summary
    from gratis_local.sources import read_offer

    shown = console()
    for named in (*shipped_ids(), *map(str, examples())):
        shown.print(f"{named}\n  {summary(read_offer(named))}", soft_wrap=True, highlight=False, markup=False)


@offers.command("show")
def show_command(
    named: Annotated[str, typer.Argument(metavar="ID|FILE", help="The id of a shipped offer, or a file.")],
    *,
    on: Annotated[str | None, typer.Option(help="As it is on a UTC day, YYYY-MM-DD; today if left out.")] = None,
) -> None:
    """Say in words what an offer includes, and what changed from version to version."""
    with usable_input():
        from datetime import UTC, datetime

        from gratis import moment
        from gratis.rules.offer_words import history, included
        from gratis_local.arguments import day_of
        from gratis_local.sources import read_offer

        offer = read_offer(named)
        when = moment.midnight(day_of(on, "--on")) if on else datetime.now(UTC)
        for line in (*included(offer.version_at(when), moment.day_of(when)), "", *history(offer)):
            console().print(line, soft_wrap=True, highlight=False, markup=False)


@offers.command("check")
def check_command(file: Annotated[str, typer.Argument(metavar="FILE", help="An offer file.")]) -> None:
    """Say OK and what a file comes to, or every mistake in it; then exit 2."""
    with usable_input():
        from gratis.rules.offer_file import OfferInvalid, offer_from
        from gratis.rules.offer_words import summary
        from gratis_local.sources import Unusable

        try:
            offer = offer_from(file)
        except OfferInvalid as error:
            raise Unusable("\n".join(f"{file}: {mistake}" for mistake in error.args)) from None
        except KeyError as error:
            raise Unusable(f"{error.args[0]}; or name a file that ends in .json") from None
        except OSError as error:
            raise Unusable(f"{file}: {error.strerror}") from None
    console().print(f"OK {summary(offer)}", soft_wrap=True, highlight=False, markup=False)
