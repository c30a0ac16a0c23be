"""What a deployment is configured with. Read from the environment when it is first asked for, never at import."""

import os
from base64 import b64encode
from datetime import date
from functools import cache
from json import JSONEncoder
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.config import Config as BotoConfig
from botocore.serialize import JSONSerializer

if TYPE_CHECKING:  # who needs no offer does not import what reads one
    from mypy_boto3_dynamodb import DynamoDBClient

    from gratis.rules.offer import Offer, Version

QUICK = BotoConfig(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=25,  # a day and its neighbours are read shard by shard, side by side
    parameter_validation=False,  # halves the CPU of a transaction of 100 items; what we send is built in one place
    user_agent="gratis",  # the SDK's own is put together anew for each call, twice
)


class Config(NamedTuple):
    """`LEDGER_TABLE`; `OFFER` (shipped offers' ids or files, one taking over from the other) and `OFFER_ENDS` (a last
    day in place of the last one's own)."""

    table: str
    offer: "Offer"


@cache
def config() -> Config:
    """The configuration of this process. Raises KeyError if the table is not named."""
    return Config(
        table=os.environ["LEDGER_TABLE"],
        offer=configured_offer(os.environ.get("OFFER", "data-sharing"), os.environ.get("OFFER_ENDS", "")),
    )


def configured_offer(named: str, ends: str = "") -> "Offer":
    """The offers that a deployment names, with blanks between them, each taking over on its first day.

    `ends` replaces the last day of the last one. Raises what `succession` does, and ValueError for what is no day.
    """
    from gratis.rules.offer_file import succession  # noqa: PLC0415 - its models are a part of a cold start

    return succession(named.split(), date.fromisoformat(ends) if ends else None)


def known_offer(offer_id: str) -> "Offer":
    """The offers of this deployment, if the one that a receipt names is among them. Raises KeyError if it is not.

    So a decision that was taken under another offer than the deployment says shows as a difference in its day's proof.
    """
    if offer_id not in config().offer.ids:
        raise KeyError(f"the deployment's parameter Offer does not name {offer_id}")
    return config().offer


def known_version(named: str) -> "Version | None":
    """The version of an offer that a decision names, `data-sharing@2025-03-06`; None if nobody knows it any more."""
    try:
        return config().offer.version_named(named)
    except LookupError:
        return None


@cache
def dynamodb() -> "DynamoDBClient":
    """The client for the ledger table, one for a process."""
    return new_dynamodb()


def new_dynamodb() -> "DynamoDBClient":
    """A client for the ledger table.

    To find an endpoint the SDK looks for a table's ARN in every item of a transaction, and drops what is a name, as
    ours are: a tenth of the CPU of a full one. There is no setting for it, so the SDK's model of the call is told that
    there is nothing to look for. An SDK that reads its model elsewhere is slower and nothing else.
    """
    client: Any = boto3.client("dynamodb", config=QUICK)
    client.meta.service_model.operation_model("TransactWriteItems").operation_context_parameters = []
    if type(getattr(client, "_serializer", None)) is JSONSerializer:
        client._serializer = _AsPassed()  # noqa: SLF001 - there is no setting for it either
    return client  # type: ignore[no-any-return]


class _AsPassed(JSONSerializer):
    """What a call of DynamoDB is passed is its JSON, but for bytes, which are base64 in it.

    The SDK's own serializer looks each attribute of each item up in its model: over a third of the client's CPU of a
    full transaction. An SDK that takes another serializer, or another protocol, is slower and nothing else.
    """

    _encode = JSONEncoder(separators=(",", ":"), default=lambda value: b64encode(value).decode()).encode

    def serialize_to_request(self, parameters: Any, operation_model: Any) -> Any:
        """The request, with the parameters as its body."""
        request = super().serialize_to_request({}, operation_model)
        return request | {"body": self._encode(parameters).encode()}
