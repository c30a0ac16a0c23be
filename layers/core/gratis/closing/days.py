"""The queue of days to close: an organization and a UTC day in each message."""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10


def send_days(client: "SQSClient", url: str, days: Collection[tuple[str, str]], delay: int = 0) -> None:
    """Queue (organization, day) to be closed in `delay` seconds; twice does no harm. Raises Busy unless all are in."""
    for page in _pages(sorted(days)):
        entries = [
            {
                "Id": str(index),
                "MessageBody": json.dumps({"organization": organization, "day": day}),
                "DelaySeconds": delay,
            }
            for index, (organization, day) in enumerate(page)
        ]
        try:
            failed = client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])  # type: ignore[arg-type]
        except (ClientError, BotoCoreError) as error:
            raise Busy(f"the queue of days does not answer: {error}") from error
        if failed:
            raise Busy(f"the queue of days did not take {len(failed)} of {len(entries)} messages")


def day_of_message(record: Mapping[str, Any]) -> tuple[str, date]:
    """Organization and day of a message."""
    content = json.loads(record["body"])
    return content["organization"], date.fromisoformat(content["day"])


def _pages(days: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    rest = iter(days)
    while page := list(islice(rest, MAX_ENTRIES)):
        yield page
