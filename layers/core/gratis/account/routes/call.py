"""What all routes share: the list that they go on, and what each is given beside its own parameters."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple

from aws_lambda_powertools.event_handler import Depends, Request
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.router import APIGatewayHttpRouter

from gratis.http import Refused
from gratis.rules.names import IDENTIFIER
from gratis.rules.offer import Offer
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder
from gratis.table.ledger import Ledger

Organization = Annotated[
    str | None, Query(pattern=IDENTIFIER, description="With a platform key: whose data; else the key's own.")
]
HistoryPage = Annotated[str | None, Query(description="`next_page` of the page before: older versions.")]

Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$", description="A UTC day, YYYY-MM-DD.")]


class Routes(APIGatewayHttpRouter):
    """The routes of one subject."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


class Call(NamedTuple):
    """Who asks, when, and where the answer is read. An argument of every route: none sees another call's holder."""

    holder: Holder
    now: datetime
    ledger: Ledger
    accounts: Accounts
    offer: Offer
    platform: str
    """Whose traffic the offer is about, for the messages that organizations see."""

    def whose(self, organization: str | None) -> str:
        """The organization asked about: the key's own; a platform key names one. Raises Refused: 400, 404."""
        own = self.holder.organization
        if own is None:
            if organization is None:
                said = "a platform key names the organization it asks about"
                raise Refused(400, "missing_parameter", said, "organization")
            return organization
        if organization not in (None, own):
            raise no_organization(organization)
        return own


def day_of(written: str) -> date:
    """The day that a parameter names. Raises Refused: 400."""
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise Refused(400, "invalid_value", f"day: {written!r} is no day", "day") from None


def no_organization(name: str | None) -> Refused:
    """404 for an organization that is not the key's, whether there is one of that name or not."""
    return Refused(404, "not_found", f"there is no organization {name!r} for this key", "organization")


def with_call(event: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """The event with the call in it, as the router resolves it."""
    return {**event, "call": call}


def call_of(request: Request) -> Call:
    """The call in the event being resolved. Raises KeyError if there is none: nobody was let in."""
    call: Call = request.resolved_event["call"]
    return call


ThisCall = Annotated[Call, Depends(call_of)]
"""The type of a route's parameter that gets the call."""
