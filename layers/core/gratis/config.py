"""What a deployment is configured with. Read from the environment when it is first asked for, never at import."""

import os
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config as BotoConfig

from gratis.offer import Offer, Version
from gratis.offer_file import offer_from, shipped

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

QUICK = BotoConfig(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=25,  # a day and its neighbours are read shard by shard, side by side
    parameter_validation=False,  # halves the CPU of a transaction of 100 items; what we send is built in one place
    user_agent="gratis",  # the SDK's own is put together anew for each call, twice
)


@dataclass(frozen=True)
class Config:
    """`LEDGER_TABLE`; `OFFER` (a shipped offer's id or a file) and `OFFER_ENDS` (a last day in place of its own);
    `KEEP=forever` for items without a time to live, `CLOCK=events` for a clock that follows the events: both are
    replay's."""

    table: str
    offer: Offer
    expire: bool
    clock_follows_events: bool


@cache
def config() -> Config:
    """The configuration of this process. Raises KeyError if the table is not named."""
    return Config(
        table=os.environ["LEDGER_TABLE"],
        offer=configured_offer(os.environ.get("OFFER", "data-sharing"), os.environ.get("OFFER_ENDS", "")),
        expire=os.environ.get("KEEP") != "forever",
        clock_follows_events=os.environ.get("CLOCK") == "events",
    )


def configured_offer(named: str, ends: str = "") -> Offer:
    """A shipped offer by its id, or one from a file (`*.json`); `ends` replaces its last day."""
    last = date.fromisoformat(ends) if ends else None
    return offer_from(Path(named), last) if named.endswith(".json") else shipped(named, last)


def known_offer(offer_id: str) -> Offer:
    """The offer that a receipt names: the one in force here, or another one that ships. Raises KeyError."""
    return config().offer if config().offer.id == offer_id else shipped(offer_id)


def known_version(named: str) -> Version | None:
    """The version of an offer that a decision names, `data-sharing@2025-03-06`; None if nobody knows it any more."""
    offer_id, _, effective_at = named.partition("@")
    try:
        return known_offer(offer_id).version_of(effective_at)
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
    client = boto3.client("dynamodb", config=QUICK)
    client.meta.service_model.operation_model("TransactWriteItems").operation_context_parameters = []
    return client
