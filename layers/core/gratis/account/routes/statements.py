"""The public keys that statements are signed with, for whoever asks."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis.account import openapi
from gratis.account.routes.call import Routes
from gratis.closing.statements import Statements

KEYS_PATH = "/v1/statement-keys"


def statement_keys(statements: Callable[[], Statements]) -> Routes:
    """The route to the keys that have signed statements of this table. It takes no API key."""
    routes = Routes()

    @routes.get(
        KEYS_PATH,
        summary="The public keys that statements are signed with (PEM)",
        security=[],
        responses=openapi.STATEMENT_KEYS,
    )
    def public_keys() -> Response[Any]:
        return Response(200, "application/x-pem-file", "".join(statements().public_keys()))

    return routes
