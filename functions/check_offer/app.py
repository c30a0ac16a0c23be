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
ACCEPTED = "offer "
"""What the resource's physical id begins with; the parameter Offer that was accepted last follows. A roll-back goes
back to it: CloudFormation then names the offer that was refused as the one before."""


@logger.inject_lambda_context(log_event=False)
def handler(event: dict[str, Any], _: LambdaContext) -> None:
    """A request of CloudFormation in; the answer goes to the address that it names."""
    mistake = _mistake(event) if event["RequestType"] != "Delete" else None
    if mistake:
        logger.error("refused", extra={"cause": mistake})
    _answer(event, mistake)


def _mistake(event: Mapping[str, Any]) -> str | None:
    asked = event["ResourceProperties"]
    try:
        check(asked["Offer"], asked["OfferEnds"], _accepted(event), day_of(datetime.now(UTC)))
    except OfferInvalid as error:
        return str(error)
    return None


def _accepted(event: Mapping[str, Any]) -> str | None:
    known: str = event.get("PhysicalResourceId", "")
    if known.startswith(ACCEPTED):
        return known.removeprefix(ACCEPTED)
    before = event.get("OldResourceProperties")  # a stack of the release before
    return before["Offer"] if before else None


def _physical_id(event: Mapping[str, Any], mistake: str | None) -> str:
    if mistake or event["RequestType"] == "Delete":
        return str(event.get("PhysicalResourceId", "refused"))
    return f"{ACCEPTED}{event['ResourceProperties']['Offer']}"


def _answer(event: Mapping[str, Any], mistake: str | None) -> None:
    content = {
        "Status": "FAILED" if mistake else "SUCCESS",
        "Reason": mistake or "",
        "PhysicalResourceId": _physical_id(event, mistake),
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    address = event["ResponseURL"]
    if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):  # the last two: a local engine
        raise ValueError("CloudFormation is answered at an https address")
    request = urllib.request.Request(address, json.dumps(content).encode(), {"content-type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310 - checked above
        pass
