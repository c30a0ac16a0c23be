"""An AWS account that moto plays, and clients that fail as told."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from gratis.config import QUICK
from gratis.table import dynamo
from gratis_local.engine import create_table
from gratis_simulation.machines.table import key_in

TABLE = "gratis-test"
FIFO = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def aws() -> Iterator[dict[str, Any]]:
    """The clients of an AWS account that moto plays, which the environment names. Nobody waits between two attempts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ACCOUNT.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setattr(dynamo, "longest_pause", lambda _: 0.0)
        with mock_aws():
            yield {name: boto3.client(name, config=QUICK) for name in ("dynamodb", "sqs", "secretsmanager")}


@contextmanager
def moto_table() -> Iterator[Any]:
    """A DynamoDB client of that account, which has an empty ledger table."""
    with aws() as clients:
        create_table(clients["dynamodb"], TABLE)
        yield clients["dynamodb"]


def http(method: str, path: str, query: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Lambda's HTTP API event, payload version 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", **headers},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default", "requestId": "a-request"},
        "isBase64Encoded": False,
    }


# --- clients that fail as told -------------------------------------------------------------------------------------

Call = Callable[..., Any]
Fault = Callable[[Call, dict[str, Any]], Any]
ALWAYS = 10**6


class Crash(BaseException):
    """The process dies here."""


@dataclass
class _Plan:
    operation: str
    fault: Fault
    times: int
    only: Callable[[dict[str, Any]], bool]


@dataclass
class Faulty:
    """An AWS client that fails as planned; every other call goes through. `calls`: what was asked of it."""

    client: Any
    plans: list[_Plan] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def on(
        self,
        operation: str,
        fault: Fault,
        times: int = 1,
        only: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> "Faulty":
        """Let the next `times` calls of `operation` (`only`: whose arguments it holds for) meet `fault`."""
        self.plans.append(_Plan(operation, fault, times, only))
        return self

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The arguments of each call of one operation."""
        return [arguments for name, arguments in self.calls if name == operation]

    @property
    def transactions(self) -> list[list[dict[str, Any]]]:
        """The items of each transaction that was asked for."""
        return [arguments["TransactItems"] for arguments in self.asked("transact_write_items")]

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if name.startswith(("_", "get_paginator")) or not callable(real):
            return real

        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            for plan in self.plans:
                if plan.operation == name and plan.times and plan.only(arguments):
                    plan.times -= 1
                    return plan.fault(real, arguments)
            return real(**arguments)

        return call


def aws_error(code: str, operation: str = "TransactWriteItems", **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"injected {code}"}, **more}, operation)


def fails(error: BaseException) -> Fault:
    """The call never reaches the service."""

    def fault(_real: Call, _arguments: dict[str, Any]) -> Any:
        raise error

    return fault


def cancelled(client: Any, *codes: str) -> Fault:
    """The transaction is cancelled for these reasons, one an item, and nothing is recorded."""
    reasons = [{"Code": code} for code in codes]
    response = aws_error("TransactionCanceledException", CancellationReasons=reasons).response
    return fails(client.exceptions.TransactionCanceledException(response, "TransactWriteItems"))


def loses_response(real: Call, arguments: dict[str, Any]) -> Any:
    """The call takes effect, but its answer never comes."""
    real(**arguments)
    raise ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def dies_after(real: Call, arguments: dict[str, Any]) -> Any:
    """The call takes effect, and the process dies."""
    real(**arguments)
    raise Crash


def first(action: Callable[[], object]) -> Fault:
    """Something else happens just before the call."""

    def fault(real: Call, arguments: dict[str, Any]) -> Any:
        action()
        return real(**arguments)

    return fault


def leaves(*places: int) -> Fault:
    """SQS takes the messages of one call except those at these places."""

    def fault(real: Call, arguments: dict[str, Any]) -> Any:
        entries = arguments["Entries"]
        taken = [entry for place, entry in enumerate(entries) if place not in places]
        refused = [
            {"Id": entries[place]["Id"], "SenderFault": False, "Code": "InternalError"}
            for place in places
            if place < len(entries)
        ]
        answer = real(**arguments | {"Entries": taken}) if taken else {}
        return {**answer, "Failed": refused}

    return fault


def holding(*request_ids: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a transaction holds the decision of one of these requests."""
    keys = {f"REQ#{request_id}" for request_id in request_ids}
    return lambda arguments: any(key_in(each)[1] in keys for each in arguments["TransactItems"])


def of_organization(organization: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a transaction is one of this organization's."""
    prefix = f"COUNTER#{organization}#"
    return lambda arguments: arguments["TransactItems"][0]["Put"]["Item"]["pk"]["S"].startswith(prefix)
