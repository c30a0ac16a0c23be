"""The public keys that statements are signed with, for whoever asks."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis.account import openapi
from gratis.account.routes.call import Routes
from gratis.table.ledger import Ledger

KEYS_PATH = "/v1/statement-keys"


def statement_keys(ledger: Callable[[], Ledger]) -> Routes:
    """The route to the keys that have signed statements of this table. It takes no API key."""
    routes = Routes()

    @routes.get(
        KEYS_PATH,
        summary="The public keys that statements are signed with (PEM)",
        security=[],
        responses=openapi.STATEMENT_KEYS,
    )
    def public_keys() -> Response[Any]:
        from gratis.closing.statements import statements_beside  # noqa: PLC0415 - no other route needs it at a start

        return Response(200, "application/x-pem-file", "".join(statements_beside(ledger()).public_keys()))

    return routes
