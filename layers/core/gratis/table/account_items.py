"""An account as the ledger table holds it: the newest versions in its item; beside it older ones, and long lists.

| attribute | what                                                                                                     |
|-----------|----------------------------------------------------------------------------------------------------------|
| `account` | the whole history, as the releases before wrote it: as long as it is short, and with short lists only    |
| `recent`  | else the newest versions, the latest of each kind at least                                               |
| `moved`   | ... and how many older ones lie beside, and until when the last of these took effect                     |

What lies beside never changes and is there before the item speaks of it. A version is found by when it took effect, so
there may be any number; a list of projects by its hash, so versions that share it share its items.
"""

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.rules.account import Account, InForce, Profile, Settings, Sharing
from gratis.rules.formats import FORMAT
from gratis.table import keys
from gratis.table.account_rows import PARTS, Row, content_of, effective_at
from gratis.table.dynamo import format_of, translated
from gratis.table.keys import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ITEM_BYTES = 32_000
"""Of the versions in an account's item. It is read with every batch."""
MAX_LIST_BYTES = 4_000
"""Of a list of projects in a version. A longer one lies beside."""
MAX_PART_BYTES = 350_000
"""Of a compressed list in one item: DynamoDB's limit is 400 KB."""
MAX_VERSIONS_HELD = 50
"""Of one history, ready to be judged by."""
MAX_LISTS_HELD = 8
"""Lists of projects that a reader keeps in memory."""
EVER = datetime.min.replace(tzinfo=UTC)
Version = TypeVar("Version", Profile, Settings)


class Place(NamedTuple):
    """Where a version stands in its history."""

    effective_at: datetime
    number: int


class Beside:
    """Reads what lies beside the items of accounts."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table
        self.selected = lru_cache(maxsize=MAX_LISTS_HELD)(self._selected)

    def versions(
        self, organization: str, kind: str, until: Place, page: int, *, latest_first: bool = True
    ) -> Iterator[tuple[int, Row]]:
        """The versions up to a place, in the order in which they took effect, in pages of so many. Raises Busy."""
        first, last = keys.versions_until(kind, *until)
        values = {":pk": _partition(organization), ":first": {"S": first}, ":last": {"S": last}}
        between = {"KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last"}
        for item in self._items(between, values, ScanIndexForward=not latest_first, Limit=page):
            yield int(item["number"]["N"]), json.loads(item["content"]["S"])

    def _selected(self, organization: str, digest: str) -> Sharing:
        """The setting with this list of projects. Raises Busy."""
        values = {":pk": _partition(organization), ":list": {"S": keys.projects_of(digest)}}
        parts = self._items({"KeyConditionExpression": "pk = :pk AND begins_with(sk, :list)"}, values)
        names = json.loads(zlib.decompress(b"".join(part["part"]["B"] for part in parts)))
        return Sharing.model_construct(mode="selected", projects=tuple(names))

    def _items(self, condition: Mapping[str, Any], values: Item, **more: Any) -> Iterator[Item]:
        asked: Any = {"TableName": self.table, "ExpressionAttributeValues": values, "ConsistentRead": True}
        try:
            for page in self.client.get_paginator("query").paginate(**asked, **condition, **more):
                yield from page["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


@dataclass(frozen=True)
class Versions(Generic[Version]):
    """One of an account's two histories. `rows`: the newest versions; `moved`: how many older ones lie beside.

    `until`: when the last of those took effect, wherever it stands among them. `held`: by number, versions that were
    asked for: many events are judged by one.
    """

    organization: str
    kind: str
    rows: tuple[Row, ...]
    moved: int
    until: datetime
    beside: Beside
    model: Callable[[Row], Version]
    held: dict[int, Version] = field(default_factory=dict, compare=False)

    @property
    def count(self) -> int:
        """Of all versions."""
        return self.moved + len(self.rows)

    def at(self, when: datetime) -> tuple[int, Version] | None:
        """The version with the latest `effective_at` ≤ `when`; ties: the later one. Raises Busy."""
        kept = (each for each in self._places if each[0].effective_at <= when)
        found = max(kept, key=lambda each: each[0], default=None)
        if self.moved and (found is None or found[0].effective_at < self.until):
            for number, row in self._moved(last_of(when), 1):
                place = Place(effective_at(row), number)
                found = (place, row) if found is None or place > found[0] else found
                break
        return (found[0].number, self._version(found[0].number, found[1])) if found else None

    def named(self, number: int, when: datetime) -> tuple[int, Version]:
        """The version of this number, which took effect by `when`. Raises LookupError; Busy."""
        if number in self.held:
            return number, self.held[number]
        if number > self.moved:
            return number, self._version(number, self.rows[number - self.moved - 1])
        for each, row in self._moved(last_of(when), 20):
            if each == number:
                return number, self._version(number, row)
        raise LookupError(f"{self.organization} has no {self.kind}{number} by {moment.text(when)}")

    def newest_first(self, after: Place | None = None) -> Iterator[tuple[int, Row]]:
        """The versions, the latest first: all, or those before a place. Raises Busy."""
        for number, row in reversed(self._kept()):
            if after is None or number < after.number:
                yield number, row
        if self.moved:
            for number, row in self._moved(after or last_of(self.until), 100):
                if after is None or number != after.number:
                    yield number, row

    def latest(self) -> Version | None:
        """The version with the highest number."""
        return self.model(self.rows[-1]) if self.rows else None

    def first(self) -> Version | None:
        """The version with the number 1. Raises Busy."""
        if not self.moved:
            return self.model(self.rows[0]) if self.rows else None
        until = Place(self.until, self.moved)
        rows = self.beside.versions(self.organization, self.kind, until, 20, latest_first=False)
        return next((self.model(row) for number, row in rows if number == 1), None)

    def _moved(self, until: Place, page: int) -> Iterator[tuple[int, Row]]:
        """What lay beside when the item was read, up to a place, the latest first. Others may move more meanwhile."""
        return self.beside.versions(self.organization, self.kind, min(until, Place(self.until, self.moved)), page)

    def _kept(self) -> list[tuple[int, Row]]:
        return list(enumerate(self.rows, start=self.moved + 1))

    @cached_property
    def _places(self) -> list[tuple[Place, Row]]:
        return [(Place(effective_at(row), number), row) for number, row in self._kept()]

    def _version(self, number: int, row: Row) -> Version:
        if number not in self.held:
            if len(self.held) >= MAX_VERSIONS_HELD:
                self.held.clear()
            self.held[number] = self.model(row)
        return self.held[number]


@dataclass(frozen=True)
class StoredAccount:
    """An account as its item was read. What lies beside is read when it is asked for.

    `version`: of the item, one more with each change; 0 if there is none. `item`: with what a later release added.
    """

    id: str
    version: int
    profile: Versions[Profile]
    sharing: Versions[Settings]
    item: Item = field(default_factory=dict)

    def at(self, when: datetime) -> InForce:
        """What is in force at a moment. Raises Busy."""
        return InForce(self.profile.at(when), self.sharing.at(when))

    def named(self, profile: int | None, settings: int | None, when: datetime) -> InForce:
        """The versions of these numbers, by which an event of `when` was decided. Raises LookupError; Busy."""
        return InForce(
            self.profile.named(profile, when) if profile else None,
            self.sharing.named(settings, when) if settings else None,
        )

    def to_change(self) -> Account:
        """As much of the history as a change goes by: the profiles in the item and the first one, the latest settings.

        Raises Busy.
        """
        profiles = [self.profile.model(row) for row in self.profile.rows]
        if self.profile.moved and (first := self.profile.first()):
            profiles.insert(0, first)
        settings = self.sharing.latest()
        return Account(id=self.id, profile=tuple(profiles), sharing=(settings,) if settings else ())


def stored_account(organization: str, item: Item | None, beside: Beside) -> StoredAccount:
    """The account that an item holds; an empty one where there is none."""
    item = item or {}
    content = content_of(item)
    moved = json.loads(item["moved"]["S"]) if "moved" in item else {}

    def versions(kind: str, name: str, model: Callable[[Row], Any]) -> Versions[Any]:
        count, until = moved.get(name, [0, None])
        until = moment.parse(until) if until else EVER
        return Versions(organization, kind, tuple(content.get(name, ())), count, until, beside, model)

    return StoredAccount(
        organization,
        int(item["version"]["N"]) if item else 0,
        versions(keys.PROFILE, "profile", _profile),
        versions(keys.SETTINGS, "sharing", lambda row: _settings(row, organization, beside)),
        item,
    )


def of_item(item: Item, beside: Beside) -> StoredAccount:
    """The account that an item of the table holds."""
    return stored_account(keys.organization_of_account(item), item, beside)


def last_of(when: datetime) -> Place:
    """Behind all versions that took effect by a moment."""
    return Place(when, 10**12 - 1)


def _profile(row: Row) -> Profile:
    return Profile.model_validate(row, extra="allow")


def _settings(row: Row, organization: str, beside: Beside) -> Settings:
    lists = {
        part: beside.selected(organization, row[part]["list"]["sha256"])
        for part in PARTS
        if "list" in row.get(part, ())
    }
    return Settings.model_validate(row | lists, extra="allow")


# What is written ----------------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """An account's new item, and the items that have to lie beside it first."""

    item: Item
    beside: list[Item]


def with_versions(
    stored: StoredAccount, profile: Sequence[Profile], sharing: Sequence[Settings], max_bytes: int = MAX_ITEM_BYTES
) -> Written:
    """The account with these versions more. `max_bytes`: of the versions in the item; half of it once it is full."""
    beside: list[Item] = []
    known = {digest for row in stored.sharing.rows[-1:] for digest in _digests(row)}
    settings = [_with_lists_beside(stored.id, _row(each), known, beside) for each in sharing]
    rows = {"profile": [*stored.profile.rows, *map(_row, profile)], "sharing": [*stored.sharing.rows, *settings]}
    histories: dict[str, Versions[Any]] = {"profile": stored.profile, "sharing": stored.sharing}
    moved: dict[str, list[Any]] = {name: [each.moved, each.until] for name, each in histories.items()}
    for name in _to_move(rows, max_bytes):
        row = rows[name].pop(0)
        moved[name] = [moved[name][0] + 1, max(moved[name][1], effective_at(row))]
        beside.append(_version_item(histories[name], moved[name][0], row))
    return Written(_account_item(stored, rows, moved), beside)


def _to_move(rows: Mapping[str, Sequence[Row]], max_bytes: int) -> list[str]:
    """The kinds whose oldest version leaves the item, one after the other. The latest of each kind stays."""
    sizes = {name: [_size(row) for row in each] for name, each in rows.items()}
    total, found = sum(map(sum, sizes.values())), []
    limit = max_bytes if total <= max_bytes else max_bytes // 2
    left = {name: deque(range(len(each) - 1)) for name, each in rows.items()}
    while total > limit and (movable := [name for name, each in left.items() if each]):
        name = min(movable, key=lambda name: effective_at(rows[name][left[name][0]]))
        total -= sizes[name][left[name].popleft()]
        found.append(name)
    return found


def _account_item(stored: StoredAccount, rows: Mapping[str, Sequence[Row]], moved: Mapping[str, Sequence[Any]]) -> Item:
    """In the form of the releases before where that can be; what a later release put beside ours stays."""
    unknown = {name: value for name, value in stored.item.items() if name not in {"account", "recent", "moved"}}
    later = {name: value for name, value in content_of(stored.item).items() if name not in rows}
    text = json.dumps(later | {"id": stored.id} | dict(rows), separators=(",", ":"), ensure_ascii=False)
    form = format_of(stored.item) if stored.item else FORMAT
    fields: Item = {"version": {"N": str(stored.version + 1)}, "format": {"N": str(max(form, FORMAT))}}
    if any(count for count, _ in moved.values()) or any(map(_digests, rows["sharing"])):
        counts = {name: [count, moment.text(until)] for name, (count, until) in moved.items() if count}
        fields |= {"recent": {"S": text}, "moved": {"S": json.dumps(counts)}}
    else:
        fields |= {"account": {"S": text}}
    return unknown | keys.account_key(stored.id) | fields


def _row(version: Profile | Settings) -> Row:
    return version.model_dump(mode="json", exclude_defaults=True)


def _size(row: Row) -> int:
    return len(json.dumps(row, ensure_ascii=False).encode())


def _digests(row: Row) -> list[str]:
    return [row[part]["list"]["sha256"] for part in PARTS if "list" in row.get(part, ())]


def _with_lists_beside(organization: str, row: Row, known: set[str], beside: list[Item]) -> Row:
    """The settings with the hashes of their long lists; the items of those that are not `known` go to `beside`."""
    for part in PARTS:
        projects = row.get(part, {}).get("projects") or ()
        text = json.dumps(projects, separators=(",", ":")).encode()
        if len(text) <= MAX_LIST_BYTES:
            continue
        digest = hashlib.sha256(text).hexdigest()
        row |= {part: {"mode": "selected", "list": {"sha256": digest, "names": len(projects)}}}
        if digest not in known:
            known.add(digest)
            beside += _list_items(organization, digest, zlib.compress(text))
    return row


def _list_items(organization: str, digest: str, packed: bytes) -> Iterator[Item]:
    for number, start in enumerate(range(0, len(packed), MAX_PART_BYTES)):
        yield keys.projects_key(organization, digest, number) | {"part": {"B": packed[start : start + MAX_PART_BYTES]}}


def _version_item(history: Versions[Any], number: int, row: Row) -> Item:
    key = keys.version_key(history.organization, history.kind, effective_at(row), number)
    content = json.dumps(row, separators=(",", ":"), ensure_ascii=False)
    return key | {"number": {"N": str(number)}, "content": {"S": content}}


def _partition(organization: str) -> Item:
    return keys.account_key(organization)["pk"]  # type: ignore[no-any-return]
