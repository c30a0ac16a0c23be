"""One embedded engine for all engine tests of a worker."""

from collections.abc import Iterator

import boto3
import pytest

from gratis_local.engine import engine
from gratis_local.replay import TABLE


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """Where the engine answers."""
    with engine() as url:
        yield url


@pytest.fixture
def ledger(engine_url: str) -> Iterator[str]:
    """The URL of an engine without decisions of earlier tests."""
    yield engine_url
    client = boto3.client(
        "dynamodb",
        endpoint_url=engine_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    if TABLE in client.list_tables()["TableNames"]:
        client.delete_table(TableName=TABLE)
