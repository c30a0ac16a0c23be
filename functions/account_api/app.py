"""account_api: what an organization's people and tools see of its account. Routes: SPEC section 5."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.account import openapi
from gratis.account.api_answer import ERRORS, refusal_of, refused
from gratis.account.api_request import holder_of, require_admission, spelled_alike
from gratis.account.api_router import Api
from gratis.account.routes.call import Call, with_call
from gratis.account.routes.pages import pages
from gratis.account.routes.statements import KEYS_PATH, statement_keys
from gratis.config import config, dynamodb
from gratis.errors import Busy, GratisError
from gratis.http import Refused
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Keys
from gratis.table.ledger import Ledger
from gratis.telemetry import metrics_of, report_answered

logger = Logger(service="account_api")
metrics = metrics_of("account_api")
SUBJECTS = (
    "gratis.account.routes.allowance",
    "gratis.account.routes.reservations",
    "gratis.account.routes.usage",
    "gratis.account.routes.requests",
    "gratis.account.routes.sharing",
    "gratis.account.routes.key",
    "gratis.account.routes.quarantine",
    "gratis.account.routes.organizations",
    "gratis.account.routes.webhooks",
)
"""In this order they are imported until one has the route of a call: what is asked most comes first."""
app = Api(SUBJECTS)
app.include_router(pages(Path(__file__).parent / "page"))
app.include_router(statement_keys(lambda: Ledger(dynamodb(), config().table)))


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """HTTP API request in, answer out."""
    try:
        answer = app.resolve(admitted(event), context)
    except GratisError as error:
        answer = refusal(error).answer()
    answer["headers"].setdefault("cache-control", "no-store")
    report_answered(answer["statusCode"], logger, metrics)
    return answer


def admitted(event: dict[str, Any]) -> dict[str, Any]:
    """The event as the router gets it, with its call if it may be made. All under /v1/ takes a key.

    Raises Refused; Busy.
    """
    request = APIGatewayProxyEventV2(event)
    if request.path == "/docs":
        openapi.add_docs(app)
    if not request.path.startswith("/v1/") or request.path == KEYS_PATH:
        return spelled_alike(event)
    table, offer, now = config().table, config().offer, datetime.now(UTC)
    holder = holder_of(event, Keys(dynamodb(), table), now)
    if match := app.match(request):
        require_admission(holder, match, event)
    platform = os.environ.get("PLATFORM_NAME", "OpenAI")
    ledger, accounts = Ledger(dynamodb(), table), Accounts(dynamodb(), table)
    return with_call(spelled_alike(event), Call(holder, now, ledger, accounts, offer, platform))


@app.exception_handler(ERRORS)  # type: ignore[untyped-decorator]
def answer_to(error: Exception) -> Response[Any]:
    return refused(refusal(error))


def refusal(error: Exception) -> Refused:
    """How an error is answered. Where it is ours, the log says what it was."""
    answer = refusal_of(error)
    if answer.status >= 500:
        log = logger.warning if isinstance(error, Busy) else logger.error
        log("not answered", extra={"status": answer.status, "cause": str(error)})
    return answer
