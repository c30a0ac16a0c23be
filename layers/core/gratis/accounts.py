"""Organizations in the ledger table: one item holds an account's whole history of versions."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from gratis.account import Account
from gratis.dynamo import translated
from gratis.ledger import account_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Accounts:
    """Writes accounts; `Ledger.read` reads them together with the counters."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def put(self, account: Account) -> None:
        """Store a history as it is, in place of what is there. Raises Busy."""
        item = account_key(account.id) | {"account": {"S": account.model_dump_json(exclude_defaults=True)}}
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
