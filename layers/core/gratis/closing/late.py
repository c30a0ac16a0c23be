"""Days that got a decision after they were over: closed again once a quarter of an hour, however many decisions come.

What if this dies on any line, or two of it run at once? A day is queued first and marked then, so at worst it is queued
twice, and closing a day twice does no harm. A decision that finds the mark is in the table before the closing reads it.
"""

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.closing.days import send_days
from gratis.table import keys
from gratis.table.dynamo import translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

DELAY = timedelta(minutes=15)
"""From the first late decision to the closing: the longest delay that SQS takes."""
SKEW = timedelta(minutes=1)
"""How far two machines' clocks may differ: a decision this close to the closing queues the day once more."""
KEEP = timedelta(days=1)
MAX_KEYS_READ = 100


class LateDays:
    """The queue of days to close, and in the table a mark for each late day that waits in it."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, sqs: "SQSClient", queue: str) -> None:
        self.dynamodb = dynamodb
        self.table = table
        self.sqs = sqs
        self.queue = queue

    def close_again(self, days: Set[tuple[str, str]], now: datetime) -> None:
        """Queue each (organization, day) that does not wait already. Raises Busy unless all are in."""
        if fresh := days - self._waiting(sorted(days), now):
            send_days(self.sqs, self.queue, fresh, int(DELAY.total_seconds()))
            self._mark(fresh, now)

    def _waiting(self, days: Sequence[tuple[str, str]], now: datetime) -> set[tuple[str, str]]:
        """Of these days those whose closing will see what is in the table now."""
        pages = [days[start : start + MAX_KEYS_READ] for start in range(0, len(days), MAX_KEYS_READ)]
        found = [mark for page in pages for mark in self._marks(page)]
        return {keys.late_of_key(mark) for mark in found if int(mark["until"]["N"]) > now.timestamp()}

    def _marks(self, days: Sequence[tuple[str, str]]) -> list[Any]:
        """The marks of at most MAX_KEYS_READ days. One that DynamoDB leaves unread counts as missing."""
        wanted: Any = {"Keys": [keys.late_key(*each) for each in days], "ConsistentRead": True}
        try:
            answer = self.dynamodb.batch_get_item(RequestItems={self.table: wanted})
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return answer["Responses"].get(self.table, [])

    def _mark(self, days: Set[tuple[str, str]], now: datetime) -> None:
        until, expires = int((now + DELAY - SKEW).timestamp()), int((now + KEEP).timestamp())
        values = {"until": {"N": str(until)}, "expires": {"N": str(expires)}}
        try:
            for each in sorted(days):
                self.dynamodb.put_item(TableName=self.table, Item=keys.late_key(*each) | values)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
