"""API keys: only their hash is stored. A key belongs to one organization, or to the platform, and has a role."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from botocore.exceptions import BotoCoreError, ClientError

from gratis.table.dynamo import Item, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Role = Literal["owner", "gateway", "reader", "platform"]
ROLES = get_args(Role)
PREFIX = "gk_"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a key speaks for. `organization` is None for the platform."""

    role: Role
    organization: str | None
    name: str


class Keys:
    """Stores and looks up keys in the ledger table."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def create(self, holder: Holder) -> str:
        """A new key, 256 random bits, shown once: only its hash is kept. Raises Busy."""
        key = PREFIX + secrets.token_urlsafe(32)
        fields = {"role": holder.role, "organization": holder.organization, "name": holder.name}
        item = _key_of(key) | {name: {"S": value} for name, value in fields.items() if value is not None}
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return key

    def find(self, key: str) -> Holder | None:
        """Whose key this is, read consistently; None for no key of ours. Raises Busy."""
        try:
            item = self.client.get_item(TableName=self.table, Key=_key_of(key), ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        if item is None:
            return None
        text = {name: value["S"] for name, value in item.items() if "S" in value}
        found = Holder(cast("Role", text["role"]), text.get("organization"), text.get("name", ""))
        return found if (found.role == "platform") == (found.organization is None) else None

    def revoke(self, key: str) -> Holder | None:
        """Take a key back: the next request that brings it is refused. Says whose it was. Raises Busy."""
        found = self.find(key)
        try:
            self.client.delete_item(TableName=self.table, Key=_key_of(key))
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return found


def _key_of(key: str) -> Item:
    """Where a key is stored. It is found by its hash, so no stored text is ever compared with what a caller sent."""
    return {"pk": {"S": f"KEY#{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"}, "sk": {"S": "KEY"}}
