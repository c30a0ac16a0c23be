"""The ledger table: its keys, its conditions, its error codes. SPEC section 3 rests on `Ledger.commit`.

| item             | pk                             | sk                                        |
|------------------|--------------------------------|-------------------------------------------|
| counter document | COUNTER#<org>#<group>          | <day>, WEEK#<Monday> or ROLLING           |
| decision         | DAY#<org>#<day>#<shard>        | REQ#<request id>                          |
| organization     | ORG#<org>                      | ACCOUNT                                   |
| day marker       | DAY#<day>#<shard>              | ORG#<org>#<group>                         |
| quarantine       | QUARANTINE#<day>               | <org>#<id>#<hash>                         |
| statement        | ORG#<org>                      | STATEMENT#<day>#<revision>                |
| unfinished proof | ORG#<org>                      | PROGRESS#<day>                            |
| key              | KEY#<sha256>                   | KEY                                       |

A counter document holds a counter, or a day's totals, or both: they are one item wherever the window is the UTC day.
"""

import heapq
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pydantic_core
from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.account import Account
from gratis.decision import Books, CounterId, Decision
from gratis.dynamo import MOST_ATTEMPTS, Item, Pause, pause, translated
from gratis.errors import Busy, Rejected
from gratis.request import RequestKey
from gratis.totals import Totals
from gratis.window import Counter, Window

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NEW = "attribute_not_exists(pk)"
UNCHANGED = "version = :version_read"

SHARDS = 8
"""Partitions that an organization's day of decisions is spread over. Part of the keys: it never changes."""
MARKER_SHARDS = 16
"""Partitions that the markers of a day are spread over: at midnight every organization writes one. It never changes."""
MOST_ITEMS = 100
"""Items in one DynamoDB transaction, and keys in one batch read."""
KEEP_DECISIONS = timedelta(days=45)
"""From `occurred_at`: the dedupe horizon (35 days), twice the queue's retention (4 days: before the decision, and after
it for a repeat), and two days to spare."""
RECENT = 5
"""Request ids that a day's document remembers, for the page."""
LATEST_DECISION = timedelta(days=39)
"""How old an event may be when it is decided; its decision would still be there to recognize a repeat."""
KEEP_DOCUMENTS = timedelta(days=400)
"""From a document's day: usage and costs can be asked for that long."""


@dataclass(frozen=True)
class Document:
    """A counter document as it was read. Version 0: it is not there yet. `recent`: a day's latest request ids."""

    version: int = 0
    counter: Counter = field(default_factory=Counter)
    totals: Totals = field(default_factory=Totals)
    recent: tuple[str, ...] = ()


class CommitRefused(Exception):
    """Nothing of the transaction was recorded. What came back: fresh documents, and decisions taken earlier."""

    def __init__(self, documents: Mapping[CounterId, Document], decided: Sequence[Decision]) -> None:
        super().__init__(f"{len(documents)} documents changed, {len(decided)} requests were decided before")
        self.documents = documents
        self.decided = decided


class Ledger:
    """Reads and writes the table. `expire`: items carry a time to live (not so in replay).

    `readers`: reads the pages of a day side by side; by default threads of its own, started by the first such read.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        expire: bool = True,
        pause: Pause = pause,
        readers: Executor | None = None,
    ) -> None:
        self.client = client
        self.table = table
        self.expire = expire
        self.pause = pause
        self.readers = readers

    def read(
        self, organizations: Iterable[str], documents: Iterable[CounterId]
    ) -> tuple[dict[str, Account], dict[CounterId, Document]]:
        """Accounts and counter documents, consistently. What is not there is missing from the answer."""
        keys = [account_key(organization) for organization in organizations]
        items = self._get([*keys, *map(document_key, documents)])
        accounts = [account_of(item) for item in items if item["sk"]["S"] == "ACCOUNT"]
        stored = dict(_document(item) for item in items if item["sk"]["S"] != "ACCOUNT")
        return {account.id: account for account in accounts}, stored

    def decisions(self, keys: Iterable[RequestKey]) -> dict[RequestKey, Decision]:
        """The decisions of these requests, consistently; an undecided one is missing from the answer."""
        found = map(decision_of, self._get([decision_key(key) for key in keys]))
        return {decision.key: decision for decision in found}

    def days(self, organization: str, groups: Iterable[str], first: date, last: date) -> dict[CounterId, Document]:
        """The day documents of these groups from `first` to `last`, consistently: one query a group."""
        found: dict[CounterId, Document] = {}
        for group in groups:
            pk = document_key(CounterId(organization, group, ""))["pk"]
            between = {":pk": pk, ":first": {"S": first.isoformat()}, ":last": {"S": last.isoformat()}}
            found |= dict(map(_document, self._query("pk = :pk AND sk BETWEEN :first AND :last", between)))
        return found

    def decisions_of_day(self, organization: str, day: date, after: str = "") -> Iterator[Decision]:
        """The decisions of an organization's UTC day by request id, consistently: those past `after`, or all of them.

        The shards are read side by side, each a page ahead, so any number of decisions takes little memory.
        """
        condition, values = "pk = :pk AND sk > :after", {":after": {"S": f"REQ#{after}"}}
        partitions = (f"DAY#{organization}#{day.isoformat()}#{shard}" for shard in range(SHARDS))
        shards = [self._read_ahead(self._pages(condition, values | {":pk": {"S": pk}})) for pk in partitions]
        return heapq.merge(*shards, key=lambda decision: decision.request_id)

    def _read_ahead(self, pages: Iterator[Any]) -> Iterator[Decision]:
        def next_page() -> Any:
            return self._call(lambda: next(pages, None))

        def decisions(coming: Future[Any]) -> Iterator[Decision]:
            while (page := coming.result()) is not None:
                coming = self._page_readers.submit(next_page)
                yield from map(decision_of, page["Items"])

        return decisions(self._page_readers.submit(next_page))

    @cached_property
    def _page_readers(self) -> Executor:
        """Threads that wait for pages: for a day and its neighbours, shard by shard."""
        return self.readers or ThreadPoolExecutor(3 * SHARDS)

    def marked(self, day: date, organization: str = "") -> Iterator[tuple[str, str]]:
        """Organization and group of each document that a UTC day has, of one organization or of all."""
        beginning = {":org": {"S": f"ORG#{organization}{'#' * bool(organization)}"}}
        shards = [_marker_shard(organization)] if organization else range(MARKER_SHARDS)
        for shard in shards:
            values = beginning | {":pk": {"S": f"DAY#{day.isoformat()}#{shard}"}}
            for item in self._query("pk = :pk AND begins_with(sk, :org)", values):
                _, marked_organization, group = item["sk"]["S"].split("#")
                yield marked_organization, group

    def _query(self, condition: str, values: Item) -> list[Item]:
        pages = self._pages(condition, values)
        return self._call(lambda: [item for page in pages for item in page["Items"]])  # type: ignore[no-any-return]

    def _pages(self, condition: str, values: Item) -> Iterator[Any]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        )
        return iter(pages)

    def _get(self, keys: Sequence[Item]) -> list[Item]:
        """Consistent batch read in pages; what DynamoDB leaves unprocessed is asked for again."""
        items: list[Item] = []
        waiting, attempts = list(keys), 0
        while waiting:
            page, waiting = waiting[:MOST_ITEMS], waiting[MOST_ITEMS:]
            request = {self.table: {"Keys": page, "ConsistentRead": True}}
            answer = self._call(self.client.batch_get_item, RequestItems=request)
            items += answer["Responses"].get(self.table, [])
            unprocessed = answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])
            waiting += unprocessed
            if unprocessed:
                attempts = 1 if len(unprocessed) < len(page) else attempts + 1
                if attempts > MOST_ATTEMPTS:
                    raise Busy(f"DynamoDB left {len(waiting)} keys unread")
                self.pause(attempts)
        return items

    def commit(
        self,
        read: Mapping[CounterId, Document],
        counter: CounterId,
        books: Books,
        decisions: Sequence[Decision],
    ) -> dict[CounterId, Document]:
        """Write new books and the decisions that led to them, all or nothing, and return the new documents.

        It happens only on the very documents that the decisions were taken on (`read`), and only if none of the
        requests was decided before. Raises CommitRefused with what stands in the way, Busy if it may work later (or
        even has worked: a lost response), Rejected if DynamoDB will never take it.
        """
        documents = merge(read, counter, books, decisions)
        puts = [self._document_put(identity, document) for identity, document in documents.items()]
        first = [identity for identity, document in documents.items() if document.version == 1 and is_day(identity)]
        markers = [self._marker_put(identity) for identity in first]
        items = puts + [self._decision_put(decision) for decision in decisions] + markers
        try:
            self.client.transact_write_items(TransactItems=items)
        except self.client.exceptions.TransactionCanceledException as cancelled:
            raise self._refusal(cancelled.response.get("CancellationReasons", [])) from cancelled
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return documents

    def _refusal(self, reasons: Sequence[Any]) -> Exception:
        """What a cancelled transaction says, item by item."""
        codes = {reason.get("Code", "None") for reason in reasons} - {"None"}
        if "ValidationError" in codes or "ItemCollectionSizeLimitExceeded" in codes:
            messages = [reason.get("Message", "") for reason in reasons if reason.get("Code") == "ValidationError"]
            return Rejected("internal_error", f"DynamoDB does not take the transaction: {messages}")
        found = [reason["Item"] for reason in reasons if reason.get("Item")]
        if found:
            documents = dict(_document(item) for item in found if item["pk"]["S"].startswith("COUNTER#"))
            return CommitRefused(documents, [decision_of(item) for item in found if item["sk"]["S"].startswith("REQ#")])
        return Busy(f"the transaction was cancelled: {sorted(codes)}")

    def _call(self, operation: Any, **arguments: Any) -> Any:
        try:
            return operation(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def _document_put(self, identity: CounterId, document: Document) -> Any:
        item = document_key(identity) | {
            "version": {"N": str(document.version)},
            "windows": {"S": _windows_text(document.counter)},
            "totals": {"B": zlib.compress(document.totals.to_json().encode())},
        }
        if document.recent:
            item["recent"] = {"S": json.dumps(document.recent, separators=(",", ":"))}
        if self.expire and identity.window != "ROLLING":
            item |= _expiry(date.fromisoformat(identity.window.removeprefix("WEEK#")), KEEP_DOCUMENTS)
        put = {"TableName": self.table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if document.version == 1:
            return {"Put": put | {"ConditionExpression": NEW}}
        version_read = {":version_read": {"N": str(document.version - 1)}}
        return {"Put": put | {"ConditionExpression": UNCHANGED, "ExpressionAttributeValues": version_read}}

    def _decision_put(self, decision: Decision) -> Any:
        key = decision.key
        item = decision_key(key) | {"receipt": {"S": _receipt(decision)}}
        if self.expire:
            item |= _expiry(key.day, KEEP_DECISIONS)
        put = {"TableName": self.table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put | {"ConditionExpression": NEW}}

    def _marker_put(self, identity: CounterId) -> Any:
        item = marker_key(identity)
        if self.expire:
            item |= _expiry(date.fromisoformat(identity.window), KEEP_DOCUMENTS)
        return {"Put": {"TableName": self.table, "Item": item}}


def merge(
    read: Mapping[CounterId, Document], counter: CounterId, books: Books, decisions: Sequence[Decision] = ()
) -> dict[CounterId, Document]:
    """The documents that hold `books`, each one version on from what was read."""
    changed = {counter} | {totals_of(counter, day) for day in books.totals}
    merged = {}
    for identity in changed:
        before = read.get(identity, Document())
        decided = [decision.request_id for decision in decisions if decision.day == identity.window]
        merged[identity] = Document(
            version=before.version + 1,
            counter=books.counter if identity == counter else before.counter,
            totals=next((each for day, each in books.totals.items() if totals_of(counter, day) == identity), Totals()),
            recent=(*reversed(decided), *before.recent)[:RECENT],
        )
    return merged


def books_of(read: Mapping[CounterId, Document], counter: CounterId, days: Iterable[date]) -> Books:
    """What `read` holds of one counter and of the totals of these days."""
    totals = {day: read.get(totals_of(counter, day), Document()).totals for day in days}
    return Books(read.get(counter, Document()).counter, totals)


def totals_of(counter: CounterId, day: date) -> CounterId:
    """The document that holds a day's totals of the counter's group."""
    return CounterId(counter.organization, counter.group, day.isoformat())


def is_day(identity: CounterId) -> bool:
    """Whether this is the document of a day; its first commit marks the day."""
    return _day_of(identity) is not None


def document_key(identity: CounterId) -> Item:
    return {"pk": {"S": f"COUNTER#{identity.organization}#{identity.group}"}, "sk": {"S": identity.window}}


def decision_key(key: RequestKey) -> Item:
    shard = zlib.crc32(key.request_id.encode()) % SHARDS
    return {
        "pk": {"S": f"DAY#{key.organization}#{key.day.isoformat()}#{shard}"},
        "sk": {"S": f"REQ#{key.request_id}"},
    }


def account_key(organization: str) -> Item:
    return {"pk": {"S": f"ORG#{organization}"}, "sk": {"S": "ACCOUNT"}}


def marker_key(identity: CounterId) -> Item:
    return {
        "pk": {"S": f"DAY#{identity.window}#{_marker_shard(identity.organization)}"},
        "sk": {"S": f"ORG#{identity.organization}#{identity.group}"},
    }


def _marker_shard(organization: str) -> int:
    return zlib.crc32(organization.encode()) % MARKER_SHARDS


def _day_of(identity: CounterId) -> date | None:
    """The UTC day of a day's document; None for a document of weekly or rolling windows."""
    return date.fromisoformat(identity.window) if identity.window[0].isdigit() else None


@lru_cache(maxsize=64)
def _expiry(day: date, keep: timedelta) -> Item:
    return {"expires": {"N": str(int((moment.midnight(day) + moment.DAY + keep).timestamp()))}}


def _windows_text(counter: Counter) -> str:
    windows = [[moment.text(each.start), each.used, each.overflowed, each.announced] for each in counter.windows]
    return json.dumps(windows, separators=(",", ":"))


def _document(item: Item) -> tuple[CounterId, Document]:
    _, organization, group = item["pk"]["S"].split("#")
    windows = [Window(moment.parse(start), *rest) for start, *rest in json.loads(item["windows"]["S"])]
    totals = Totals.from_json(zlib.decompress(item["totals"]["B"]))
    recent = tuple(json.loads(item["recent"]["S"])) if "recent" in item else ()
    document = Document(int(item["version"]["N"]), Counter(tuple(windows)), totals, recent)
    return CounterId(organization, group, item["sk"]["S"]), document


def _receipt(decision: Decision) -> str:
    """The decision without what its key says, as a JSON array in the order of its fields."""
    return pydantic_core.to_json(decision[3:]).decode()


def decision_of(item: Item) -> Decision:
    """The decision that an item holds; the stream carries the same items."""
    _, organization, day, _ = item["pk"]["S"].split("#")
    request_id = item["sk"]["S"].removeprefix("REQ#")
    return Decision(organization, day, request_id, *json.loads(item["receipt"]["S"]))


def account_of(item: Item) -> Account:
    """The account that an item holds."""
    return Account.model_validate_json(item["account"]["S"], extra="ignore")  # a newer release may have added fields
