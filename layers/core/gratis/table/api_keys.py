"""API keys: only their hash is stored. A key belongs to one organization, or to the platform, and has a role.

| item         | pk             | sk                      | what                                                   |
|--------------|----------------|-------------------------|--------------------------------------------------------|
| a key        | `KEY#<sha256>` | `KEY`                   | whose it is, and all that a list shows of it           |
| its listing  | `KEYS`         | `<organization>#<hash>` | nothing: it says where a key is, so that it is listed  |

What if this dies on any line, or two of it run at once? A key is there before its listing and goes before it, so a
listing without a key is passed over. A key of the first release has no listing before it is used.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy
from gratis.table.dynamo import Item, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Role = Literal["owner", "gateway", "reader", "platform"]
ROLES = get_args(Role)
PREFIX = "gk_"
LISTING = "KEYS"
ID_LENGTH = 16
"""Of a key's id: so many characters of its hash."""
PAGE = 100
"""Keys in one batch read."""


class Holder(NamedTuple):
    """Whom a key speaks for. `organization` is None for the platform."""

    role: Role
    organization: str | None
    name: str


class Listed(NamedTuple):
    """What can be told of a key without knowing it. None, or empty: the first release did not note it.

    `created`, `expires`: moments, RFC 3339; `last_used`: a UTC day, None for a key that was never used.
    """

    id: str
    holder: Holder
    last_four: str
    created: str | None
    last_used: str | None
    expires: str | None


class ListedPage(NamedTuple):
    """Keys of a list. `following`: after which the next page begins, if there is one."""

    found: list[Listed]
    following: str | None


class Keys:
    """Stores and looks up keys in the ledger table."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def create(self, holder: Holder, now: datetime, expires: datetime | None = None) -> str:
        """A new key, 256 random bits, shown once: only its hash is kept. Not taken from `expires` on. Raises Busy."""
        key = PREFIX + secrets.token_urlsafe(32)
        fields = {
            "role": holder.role,
            "organization": holder.organization,
            "name": holder.name,
            "last_four": key[-4:],
            "created": moment.text(now),
            "expires_at": moment.text(expires) if expires else None,
        }
        texts = {name: {"S": value} for name, value in fields.items() if value is not None}
        digest = _digest(key)
        self._call(self.client.put_item, Item=_key_of(digest) | texts)
        self._call(self.client.put_item, Item=_listing_of(holder, digest))
        return key

    def find(self, key: str, now: datetime) -> Holder | None:
        """Whose key this is, read consistently; None for no key of ours, or an expired one. Raises Busy.

        The first use of each UTC day is noted.
        """
        digest = _digest(key)
        texts = self._texts(digest)
        found = _holder(texts) if texts else None
        if texts is None or found is None or _has_expired(texts, now):
            return None
        if texts.get("last_used") != now.astimezone(UTC).date().isoformat():
            self._note_use(key, digest, found, now, is_listed="last_four" in texts)
        return found

    def listed(self, organization: str | None = None) -> Iterator[Listed]:
        """The keys that there are: those of an organization, or all, by organization. Raises Busy."""
        for digests in self._digests(f"{organization}#" if organization else ""):
            for start in range(0, len(digests), PAGE):
                yield from self._read(digests[start : start + PAGE])

    def listed_page(self, organization: str | None, limit: int, after: str = "") -> ListedPage:
        """At most `limit` (1 to 100) of what `listed` gives, after the place where a page ended. Raises Busy.

        A listing whose key is gone counts too, so a page may be shorter.
        """
        first, last = (f"{organization}#", f"{organization}#~") if organization else ("#", "~")
        page = self._call(
            self.client.query,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": LISTING},
                ":first": {"S": f"{after}~" if after else first},  # past the hash that begins with the id
                ":last": {"S": last},
            },
            ConsistentRead=True,
            Limit=limit,
        )
        whose, digest = _listing_parts(page["LastEvaluatedKey"]) if "LastEvaluatedKey" in page else ("", "")
        found = list(self._read([_listing_parts(item)[1] for item in page["Items"]]))
        return ListedPage(found, f"{whose}#{digest[:ID_LENGTH]}" if digest else None)

    def revoke(self, key: str) -> Holder | None:
        """Take a key back: the next request that brings it is refused. Says whose it was. Raises Busy."""
        return self._revoke(_digest(key))

    def revoke_listed(self, key_id: str) -> Holder | None:
        """Take back the key with this id in the list. Says whose it was; None if there is no such. Raises Busy."""
        found = (digest for digests in self._digests() for digest in digests if digest[:ID_LENGTH] == key_id)
        digest = next(found, None)
        return self._revoke(digest) if digest else None

    def _revoke(self, digest: str) -> Holder | None:
        texts = self._texts(digest)
        found = _holder(texts) if texts else None
        self._call(self.client.delete_item, Key=_key_of(digest))
        if found:
            self._call(self.client.delete_item, Key=_listing_of(found, digest))
        return found

    def _texts(self, digest: str) -> dict[str, str] | None:
        item = self._call(self.client.get_item, Key=_key_of(digest), ConsistentRead=True).get("Item")
        return _texts_of(item) if item else None

    def _digests(self, beginning: str = "") -> Iterator[list[str]]:
        """The hashes of the keys whose listings begin so, page by page."""
        asked: Any = {"TableName": self.table, "ConsistentRead": True}
        asked |= {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": LISTING}}}
        if beginning:
            asked["KeyConditionExpression"] += " AND begins_with(sk, :beginning)"
            asked["ExpressionAttributeValues"][":beginning"] = {"S": beginning}
        try:
            for page in self.client.get_paginator("query").paginate(**asked):
                yield [_listing_parts(item)[1] for item in page["Items"]]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def _read(self, digests: Sequence[str]) -> Iterator[Listed]:
        if not digests:
            return
        wanted: Any = {self.table: {"Keys": [_key_of(digest) for digest in digests], "ConsistentRead": True}}
        try:
            answer = self.client.batch_get_item(RequestItems=wanted)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        if answer.get("UnprocessedKeys"):
            raise Busy("DynamoDB left keys unread")
        items = {item["pk"]["S"].removeprefix("KEY#"): item for item in answer["Responses"].get(self.table, [])}
        for digest in digests:
            if digest in items and (found := _holder(texts := _texts_of(items[digest]))):
                times = texts.get("created"), texts.get("last_used"), texts.get("expires_at")
                yield Listed(digest[:ID_LENGTH], found, texts.get("last_four", ""), *times)

    def _note_use(self, key: str, digest: str, holder: Holder, now: datetime, *, is_listed: bool) -> None:
        """That the key was used today. If it cannot be noted, the request is answered all the same."""
        day, four = {"S": now.astimezone(UTC).date().isoformat()}, {"S": key[-4:]}
        note: Any = {
            "UpdateExpression": "SET last_used = :day, last_four = :four",
            "ConditionExpression": "attribute_exists(pk)",  # a key that was revoked meanwhile does not come back
            "ExpressionAttributeValues": {":day": day, ":four": four},
        }
        try:
            if not is_listed:
                listed: Any = {"UpdateExpression": "SET noted = :day", "ExpressionAttributeValues": {":day": day}}
                self.client.update_item(TableName=self.table, Key=_listing_of(holder, digest), **listed)
            self.client.update_item(TableName=self.table, Key=_key_of(digest), **note)
        except (ClientError, BotoCoreError):
            return

    def _call(self, operation: Any, **arguments: Any) -> Any:
        try:
            return operation(TableName=self.table, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def _holder(texts: dict[str, str]) -> Holder | None:
    """Whose key; None if role and organization do not go together."""
    found = Holder(cast("Role", texts["role"]), texts.get("organization"), texts.get("name", ""))
    return found if (found.role == "platform") == (found.organization is None) else None


def _has_expired(texts: dict[str, str], now: datetime) -> bool:
    return "expires_at" in texts and moment.parse(texts["expires_at"]) <= now


def _texts_of(item: Item) -> dict[str, str]:
    return {name: value["S"] for name, value in item.items() if "S" in value}


def _digest(key: str) -> str:
    """A key is found by its hash, so no stored text is ever compared with what a caller sent."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _key_of(digest: str) -> Item:
    return {"pk": {"S": f"KEY#{digest}"}, "sk": {"S": "KEY"}}


def _listing_of(holder: Holder, digest: str) -> Item:
    return {"pk": {"S": LISTING}, "sk": {"S": f"{holder.organization or ''}#{digest}"}}


def _listing_parts(item: Item) -> tuple[str, str]:
    """Organization (empty: the platform) and hash that `_listing_of` named."""
    whose, _, digest = item["sk"]["S"].rpartition("#")
    return whose, digest
