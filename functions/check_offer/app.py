"""check_offer: a deployment asks it whether its offers are right, before anything is switched over.

A custom resource of template.yaml that the other functions depend on: what it refuses, CloudFormation rolls back.
"""

import json
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.deployment import check
from gratis.moment import day_of
from gratis.rules.offer_file import OfferInvalid

logger = Logger(service="check_offer")
SECONDS = 10
"""For CloudFormation to take the answer."""


@logger.inject_lambda_context(log_event=False)
def handler(event: dict[str, Any], _: LambdaContext) -> None:
    """A request of CloudFormation in; the answer goes to the address that it names."""
    mistake = _mistake(event) if event["RequestType"] != "Delete" else None
    if mistake:
        logger.error("refused", extra={"cause": mistake})
    _answer(event, mistake)


def _mistake(event: Mapping[str, Any]) -> str | None:
    asked, before = event["ResourceProperties"], event.get("OldResourceProperties")
    try:
        check(asked["Offer"], asked["OfferEnds"], before["Offer"] if before else None, day_of(datetime.now(UTC)))
    except OfferInvalid as error:
        return str(error)
    return None


def _answer(event: Mapping[str, Any], mistake: str | None) -> None:
    content = {
        "Status": "FAILED" if mistake else "SUCCESS",
        "Reason": mistake or "",
        "PhysicalResourceId": "offer",
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    address = event["ResponseURL"]
    if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):  # the last two: a local engine
        raise ValueError("CloudFormation is answered at an https address")
    request = urllib.request.Request(address, json.dumps(content).encode(), {"content-type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310 - checked above
        pass
