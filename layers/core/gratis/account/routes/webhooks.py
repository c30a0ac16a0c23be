"""Outgoing webhooks, which an owner registers."""

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Call, Organization, Routes, ThisCall
from gratis.http import Refused

if TYPE_CHECKING:  # the routes import what they need when they are called: no other call's start waits for it
    from gratis.outgoing.endpoints import Endpoint, Endpoints

EventType = Literal[
    "BillingRecords", "QuotaThresholdReached", "EventQuarantined", "DayClosed", "SharingChanged", "ModelNotListed"
]
"""What the bus carries."""
MAX_URL = 2048

Name = Annotated[str, Path(pattern="^wh_[0-9a-f]{20}$")]
Position = Annotated[str | None, Query(pattern=r"^[0-9TZ:.+-]{20,40}#[A-Za-z0-9_]{1,80}$", description="`next_page`.")]

routes = Routes()


class WebhookIn(BaseModel):
    """Where an organization's events are sent. `types`: all if left out."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)]
    types: Annotated[list[EventType], Field(min_length=1)] = list(get_args(EventType))


@routes.get(
    "/v1/organization/webhooks",
    summary="Where events are sent",
    responses=openapi.WEBHOOKS,
    security=openapi.only("owner"),
)
def webhooks(call: ThisCall, organization: Organization = None) -> Response[Any]:
    found = sorted(_endpoints(call).of(call.whose(organization)), key=lambda each: each.created_at)
    return answered({"object": "list", "data": [each.shown() for each in found], "has_more": False})


@routes.post(
    "/v1/organization/webhooks",
    summary="Send events to a URL; the answer shows the signing secret, once",
    responses=openapi.WEBHOOK,
    security=openapi.only("owner"),
)
def create_webhook(
    call: ThisCall, webhook: Annotated[WebhookIn, Body()], organization: Organization = None
) -> Response[Any]:
    from gratis.outgoing.targets import require_url  # noqa: PLC0415

    require_url(webhook.url, loopback=os.environ.get("WEBHOOK_TARGETS") == "loopback")
    whose, actor = call.whose(organization), call.holder.name or "owner"
    types = tuple(dict.fromkeys(webhook.types))
    made = _endpoints(call).create(whose, webhook.url, types, actor, call.now)
    return answered(made.shown() | {"secret": made.secret}, 201)


@routes.delete(
    "/v1/organization/webhooks/<webhook>",
    summary="Send nothing there any more",
    responses=openapi.NOTHING,
    security=openapi.only("owner"),
)
def delete_webhook(call: ThisCall, webhook: Name, organization: Organization = None) -> Response[Any]:
    _endpoints(call).delete(call.whose(organization), webhook)
    return Response(204, body="")


@routes.post(
    "/v1/organization/webhooks/<webhook>/test",
    summary="Send a test event; its delivery shows what came of it",
    responses=openapi.WEBHOOK_TEST,
    security=openapi.only("owner"),
)
def send_test(call: ThisCall, webhook: Name, organization: Organization = None) -> Response[Any]:
    import boto3  # noqa: PLC0415

    from gratis.config import QUICK  # noqa: PLC0415
    from gratis.outgoing.sending import Queue, trial  # noqa: PLC0415

    endpoint = _found(call, webhook, organization)
    if not endpoint.is_enabled:
        raise Refused(409, "disabled", f"webhook: {webhook} is disabled: {endpoint.notice}; enable it first", "webhook")
    delivery = trial(endpoint, call.now)
    Queue(boto3.client("sqs", config=QUICK), os.environ["DELIVERY_QUEUE"]).put(delivery)
    return answered({"object": "webhook.test", "webhook": webhook, "event_id": delivery.event_id}, 202)


@routes.post(
    "/v1/organization/webhooks/<webhook>/enable",
    summary="Send there again, after it was disabled",
    responses=openapi.WEBHOOK_ENABLED,
    security=openapi.only("owner"),
)
def enable_webhook(call: ThisCall, webhook: Name, organization: Organization = None) -> Response[Any]:
    changed = _endpoints(call).change(call.whose(organization), webhook, lambda each: each.enabled())
    if changed is None:
        raise _no_webhook(webhook)
    return answered(changed.shown())


@routes.get(
    "/v1/organization/webhooks/<webhook>/deliveries",
    summary="What was sent, newest first, and what came of it",
    responses=openapi.DELIVERIES,
    security=openapi.only("owner"),
)
def deliveries(
    call: ThisCall,
    webhook: Name,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    page: Position = None,
    organization: Organization = None,
) -> Response[Any]:
    from gratis.outgoing.deliveries import Deliveries  # noqa: PLC0415

    endpoint = _found(call, webhook, organization)
    log = Deliveries(call.ledger.client, call.ledger.table)
    found, more = log.logged(endpoint.organization, webhook, limit, page)
    data = [each.shown() for each in found]
    return answered({"object": "list", "data": data, "has_more": more is not None, "next_page": more})


def _endpoints(call: Call) -> "Endpoints":
    from gratis.outgoing.endpoints import Endpoints  # noqa: PLC0415

    return Endpoints(call.ledger.client, call.ledger.table)


def _found(call: Call, webhook: str, organization: str | None) -> "Endpoint":
    found = _endpoints(call).get(call.whose(organization), webhook)
    if found is None:
        raise _no_webhook(webhook)
    return found


def _no_webhook(name: str) -> Refused:
    return Refused(404, "not_found", f"there is no webhook {name!r} for this key", "webhook")
