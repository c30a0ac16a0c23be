"""Reads the ledger table and commits to it. SPEC section 3 rests on `Ledger.commit`.

The totals of a wide day lie on further pages beside its document (`rules/pages.py`). A page is written in the same
transaction as its document, so only a new version of the document can bring a new page: the document's condition guards
its pages too. Therefore pages are read *after* their document: a page whose version is not later than the document's is
then the one that belongs to it. The document also keeps the sum of its pages' versions, which shows whether one of them
is lost or out of date.
"""

import heapq
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, lru_cache
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy, Rejected
from gratis.rules.decision import Books
from gratis.rules.figures import parsed, written
from gratis.rules.formats import FIRST, FORMAT, RESERVING
from gratis.rules.pages import (
    MAX_PAGE_ROWS,
    UNSPLIT,
    Leaves,
    Name,
    Page,
    added_up,
    first_leaf,
    halves,
    is_split,
    leaf_of,
    number,
    packed,
    spread,
    unpacked,
    with_first,
)
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey
from gratis.rules.reservation import Binding, Reservation
from gratis.rules.totals import Totals
from gratis.rules.window import UTC_DAY, Counter, CounterId, Window, day_of_slot, last_day_of_slot
from gratis.table import keys
from gratis.table.account_items import Beside, StoredAccount, of_item
from gratis.table.decision_items import KEEP_DECISIONS, decision_of, item_of
from gratis.table.dynamo import MAX_ATTEMPTS, Pause, format_of, pause, translated
from gratis.table.keys import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ITEMS = 100
"""Items in one DynamoDB transaction, and keys in one batch read."""
BETWEEN = "pk = :pk AND sk BETWEEN :first AND :last"
RECENT = 5
"""Request ids that a day's document remembers, for the page."""
LATEST_DECISION = timedelta(days=39)
"""How old an event may be when it is decided; its decision would still be there to recognize a repeat."""
KEEP_DOCUMENTS = timedelta(days=400)
"""From a document's day: usage and costs can be asked for that long."""


@dataclass(frozen=True)
class Document:
    """A counter document as it was read. Version 0: it is not there yet. `recent`: a day's latest request ids.

    `format`: the one that a release must know to commit on it; `unknown`: attributes that a later release added.
    `leaves`: those of a day's totals, one kept in the document itself, each other on a page; `stamps`: the sum of the
    pages' versions; `pages`: those that were read, by leaf; `totals`: the rows of the document and of these pages;
    `is_damaged`: all pages were read, and they are not those that the document names.
    `account_version`: the account's latest version that is noted on the document (decisions/017); None: none is.
    """

    version: int = 0
    counter: Counter = field(default_factory=Counter)
    totals: Totals = field(default_factory=Totals)
    recent: tuple[str, ...] = ()
    format: int = FORMAT
    unknown: Item = field(default_factory=dict)
    leaves: Leaves = UNSPLIT
    stamps: int = 0
    pages: Mapping[str, Page] = field(default_factory=dict)
    is_damaged: bool = False
    account_version: int | None = None

    @property
    def may_have_pages(self) -> bool:
        """Whether further pages may lie beside it. The first release dropped `leaves` from documents it replaced."""
        return self.leaves != UNSPLIT or (self.format == FIRST and self.version > 0)

    def unread(self, names: Iterable[Name]) -> set[str]:
        """The leaves beside the document that hold these rows and were not read."""
        return {leaf_of(self.leaves, name) for name in names} - {first_leaf(self.leaves)} - self.pages.keys()


class JudgedBy(NamedTuple):
    """The account that decisions were taken on: its version (0: there is none), and whether it has a profile."""

    version: int
    has_profile: bool

    @classmethod
    def of(cls, account: StoredAccount | None) -> "JudgedBy":
        """What a commit has to know of the account that its requests were judged by."""
        return cls(account.version, account.profile.count > 0) if account else cls(0, has_profile=False)


class AccountMoved(Exception):
    """Nothing of the transaction was recorded: the account was changed since the requests were judged."""


class CommitRefused(Exception):
    """Nothing of the transaction was recorded. What came back: fresh documents, and decisions taken earlier."""

    def __init__(self, documents: Mapping[CounterId, Document], decided: Sequence[Decision]) -> None:
        super().__init__(f"{len(documents)} documents changed, {len(decided)} requests were decided before")
        self.documents = documents
        self.decided = decided


class Ledger:
    """Reads and writes the table. `expire`: items carry a time to live (not so in replay).

    `readers`: reads the decisions of a day side by side; by default threads of its own, started by the first such read.
    `max_page_rows`: a page of totals with more rows is split.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        expire: bool = True,
        pause: Pause = pause,
        readers: Executor | None = None,
        max_page_rows: int = MAX_PAGE_ROWS,
    ) -> None:
        self.client = client
        self.table = table
        self.expire = expire
        self.pause = pause
        self.readers = readers
        self.max_page_rows = max_page_rows
        self.beside = Beside(client, table)

    def read(
        self, organizations: Iterable[str], documents: Iterable[CounterId]
    ) -> tuple[dict[str, StoredAccount], dict[CounterId, Document]]:
        """Accounts and counter documents in one call, consistently. What is not there is missing from the answer.

        The totals of wide days are only those of their first page: `with_pages` reads others, `days` all of them.
        """
        items = self.items([*map(keys.account_key, organizations), *map(keys.document_key, documents)])
        accounts = [of_item(item, self.beside) for item in items if keys.is_account(item)]
        stored = dict(_document(item) for item in items if keys.is_document(item))
        return {account.id: account for account in accounts}, stored

    def accounts(self, organizations: Iterable[str]) -> dict[str, StoredAccount]:
        """The accounts alone."""
        items = self.items([*map(keys.account_key, organizations)])
        accounts = [of_item(item, self.beside) for item in items]
        return {account.id: account for account in accounts}

    def documents(self, identities: Iterable[CounterId]) -> dict[CounterId, Document]:
        """The counter documents alone."""
        return dict(map(_document, self.items([*map(keys.document_key, identities)])))

    def decisions(self, requests: Iterable[RequestKey]) -> dict[RequestKey, Decision]:
        """The decisions of these requests, consistently; an undecided one is missing from the answer."""
        found = map(decision_of, self.items([keys.decision_key(request) for request in requests]))
        return {decision.key: decision for decision in found}

    def days(self, organization: str, groups: Iterable[str], first: date, last: date) -> dict[CounterId, Document]:
        """The day documents of these groups from `first` to `last`, each with all its pages as of its version."""
        return dict(self.each_day(organization, groups, first, last))

    def each_day(
        self, organization: str, groups: Iterable[str], first: date, last: date
    ) -> Iterator[tuple[CounterId, Document]]:
        """The same, each as it is read, so that a reader who has enough can stop.

        One query a group, and another where there are pages. Raises Busy if it is written to faster than it is read.
        """
        for group in groups:
            pk = keys.documents_of(organization, group)
            items = self._query(BETWEEN, _between(pk, first.isoformat(), last.isoformat()))
            has_pages = any(map(_may_have_pages, items))
            pages = self._pages_by_day(pk, first.isoformat(), last.isoformat()) if has_pages else iter(())
            for (identity, document), of_day in _beside(map(_document, items), pages):
                yield identity, self._as_of_one_version(identity, _whole(document, of_day))

    def _as_of_one_version(self, identity: CounterId, whole: Document) -> Document:
        """The document with all its pages, read again while a page is newer than it."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if all(page.version <= whole.version for page in whole.pages.values()):
                return whole
            self.pause(attempt)
            whole = _whole(self.documents([identity])[identity], self._pages_of(identity))
        raise Busy(f"{identity}: other writers were faster {MAX_ATTEMPTS} times than its pages could be read")

    def _pages_of(self, identity: CounterId) -> Mapping[str, Page]:
        """The pages of one day, by leaf."""
        pk = keys.documents_of(identity.organization, identity.group)
        return dict(self._pages_by_day(pk, identity.slot, identity.slot)).get(identity.slot, {})

    def _pages_by_day(self, pk: str, first: str, last: str) -> Iterator[tuple[str, Mapping[str, Page]]]:
        """The pages of each day that has some, by leaf, in the order of days."""
        pages = self._pages(BETWEEN, _between(pk, *keys.pages_between(first, last)))
        items = (item for page in iter(lambda: self._call(lambda: next(pages, None)), None) for item in page["Items"])
        for day, of_day in groupby(items, keys.day_of_page):
            yield day, dict(map(_page, of_day))

    def with_pages(self, identity: CounterId, document: Document, names: Collection[Name]) -> Document:
        """The document with the pages that hold these rows of its totals. It must have been read before this.

        The first release knew no pages and dropped `leaves` from documents that it replaced: theirs are looked up.
        Raises Busy if a page is not there.
        """
        if document.format == FIRST and document.version and is_day(identity):
            return _whole(document, self._pages_of(identity))
        if not (unread := document.unread(names)):
            return document
        items = self.items([keys.page_key(identity, number(leaf)) for leaf in sorted(unread)])
        pages = dict(map(_page, items))
        if missing := unread - pages.keys():
            raise Busy(f"{identity}: of the totals the pages {sorted(missing)} are not there")
        return _reading(document, pages)

    def pools(self, counter: CounterId) -> dict[CounterId, Document]:
        """The counters of all projects in the windows of a slot, consistently."""
        values = {
            ":pk": {"S": keys.documents_of(counter.organization, counter.group)},
            ":pools": {"S": keys.pools_of(counter.slot)},
        }
        return dict(map(_document, self._query("pk = :pk AND begins_with(sk, :pools)", values)))

    def decisions_of_day(self, organization: str, day: date, after: str = "") -> Iterator[Decision]:
        """The decisions of an organization's UTC day in the order of their keys, consistently: past `after`, or all.

        The shards are read side by side, each a page ahead, so any number of decisions takes little memory.
        """
        condition, values = "pk = :pk AND sk > :after", {":after": {"S": keys.after_request(after)}}
        partitions = keys.decisions_of(organization, day)
        shards = [self._read_ahead(self._pages(condition, values | {":pk": {"S": pk}})) for pk in partitions]
        return heapq.merge(*shards, key=lambda decision: decision.key.request_id)

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
        return self.readers or ThreadPoolExecutor(3 * keys.DECISION_SHARDS)

    def marked(self, day: date, organization: str = "") -> Iterator[tuple[str, str]]:
        """Organization and group of each document that a UTC day has, of one organization or of all."""
        for pk, beginning in keys.markers_of(day, organization):
            values = {":pk": {"S": pk}, ":org": {"S": beginning}}
            yield from map(keys.marked_by, self._query("pk = :pk AND begins_with(sk, :org)", values))

    def marked_from(self, day: date, prefix: str, after: str, page: int) -> Iterator[tuple[str, str]]:
        """The same in the order of names: of the organizations that begin with `prefix`, past the one named `after`.

        Each shard is read `page` markers at a time, as they are taken.
        """
        between = keys.markers_between(day, prefix, after)
        return heapq.merge(*(self._markers(_between(pk, first, last), page) for pk, first, last in between))

    def _markers(self, values: Item, page: int) -> Iterator[tuple[str, str]]:
        pages = self._pages(BETWEEN, values, Limit=page)
        for found in iter(lambda: self._call(lambda: next(pages, None)), None):
            yield from map(keys.marked_by, found["Items"])

    def _query(self, condition: str, values: Item) -> list[Item]:
        pages = self._pages(condition, values)
        return self._call(lambda: [item for page in pages for item in page["Items"]])  # type: ignore[no-any-return]

    def _pages(self, condition: str, values: Item, **more: Any) -> Iterator[Any]:
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            **more,
        )
        return iter(pages)

    def items(self, wanted: Sequence[Item]) -> list[Item]:
        """Consistent batch read in pages; what DynamoDB leaves unprocessed is asked for again."""
        items: list[Item] = []
        waiting, attempts = list(wanted), 0
        while waiting:
            page, waiting = waiting[:MAX_ITEMS], waiting[MAX_ITEMS:]
            request = {self.table: {"Keys": page, "ConsistentRead": True}}
            answer = self._call(self.client.batch_get_item, RequestItems=request)
            items += answer["Responses"].get(self.table, [])
            unprocessed = answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])
            waiting += unprocessed
            if unprocessed:
                attempts = 1 if len(unprocessed) < len(page) else attempts + 1
                if attempts > MAX_ATTEMPTS:
                    raise Busy(f"DynamoDB left {len(waiting)} keys unread")
                self.pause(attempts)
        return items

    def commit(
        self,
        read: Mapping[CounterId, Document],
        counter: CounterId,
        books: Books,
        decisions: Sequence[Decision],
        voided: Sequence[Decision] = (),
        *,
        judged_by: JudgedBy | None = None,
    ) -> dict[CounterId, Document]:
        """Write new books and the decisions that led to them, all or nothing, and return the new documents.

        It happens only on the very documents that the decisions were taken on (`read`), only if none of the requests
        was decided before, and only while the decisions that voids take back (`voided`) are there. Raises CommitRefused
        with what stands in the way, Busy if it may work later (or even has worked: a lost response), Rejected if
        DynamoDB will never take it. Busy, too, on a document of a later format: a verdict may rest on fields that this
        release does not know. Raises AccountMoved if the account has changed, in what can matter to the requests, since
        they were judged (`judged_by`).
        """
        documents = merge(read, counter, books, decisions, self.max_page_rows)
        check = self._account_check(counter.organization, documents, judged_by)
        if judged_by:
            documents = {identity: _seen_by(document, judged_by) for identity, document in documents.items()}
        if beyond := [identity for identity, document in documents.items() if document.format > RESERVING]:
            raise Busy(f"{beyond[0]} is of a later format than {RESERVING}: a release that knows it has to decide")
        puts = [self._document_put(identity, document) for identity, document in documents.items()]
        first = [identity for identity, document in documents.items() if document.version == 1 and is_day(identity)]
        markers = [self._marker_put(identity) for identity in first]
        pages = self._page_puts(read, documents)
        checks = [self._check_of_voided(each) for each in voided]
        items = puts + pages + [self._decision_put(decision) for decision in decisions] + markers + checks + check
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
            if any(map(keys.is_account, found)):
                return AccountMoved()
            documents = dict(_document(item) for item in found if keys.is_document(item))
            return CommitRefused(documents, [decision_of(item) for item in found if keys.is_decision(item)])
        return Busy(f"the transaction was cancelled: {sorted(codes)}")

    def _account_check(
        self, organization: str, documents: Mapping[CounterId, Document], judged_by: JudgedBy | None
    ) -> list[Any]:
        """A check that the account is of the version judged by, where no document shows it. Raises AccountMoved.

        A change of an account notes its version on the day documents that exist: not on one that is created later, nor
        on the counter of a longer window, which is all that a reservation commits. And an organization's first profile
        may be back-dated. Such commits check the account's item itself.
        """
        if judged_by is None:
            return []
        seen = [document.account_version for document in documents.values()]
        if any(version is not None and version > judged_by.version for version in seen):
            raise AccountMoved
        if judged_by.has_profile and None not in seen and any(map(is_day, documents)):
            return []
        check = {"TableName": self.table, "Key": keys.account_key(organization)}
        condition = keys.unchanged(judged_by.version)
        return [{"ConditionCheck": check | condition | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}]

    def _call(self, operation: Any, **arguments: Any) -> Any:
        try:
            return operation(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def _document_put(self, identity: CounterId, document: Document) -> Any:
        item = keys.document_key(identity) | {
            "version": {"N": str(document.version)},
            "format": {"N": str(document.format)},
            "windows": {"S": _windows_text(document.counter)},
            **_totals_attributes(_first_page(document)),
            **document.unknown,
        }
        if document.account_version is not None:
            item["account_version"] = {"N": str(document.account_version)}
        if crossed := _crossed_text(document.counter):
            item["crossed"] = {"S": crossed}
        if document.recent:
            item["recent"] = {"S": json.dumps(document.recent, separators=(",", ":"))}
        if document.counter.reservations:
            item["reservations"] = {"S": _reservations_text(document.counter)}
        if document.leaves != UNSPLIT:
            item |= {"leaves": {"B": packed(document.leaves)}, "stamps": {"N": str(document.stamps)}}
        last_day = last_day_of_slot(identity.slot)
        if self.expire and last_day is not None:
            item |= _expiry(last_day, KEEP_DOCUMENTS)
        put = {"TableName": self.table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put | keys.unchanged(document.version - 1)}

    def _page_put(self, identity: CounterId, leaf: str, page: Page) -> Any:
        item = keys.page_key(identity, number(leaf)) | {
            "version": {"N": str(page.version)},
            "format": {"N": str(FORMAT)},
            "leaf": {"S": leaf},
            **_totals_attributes(page.totals),
        }
        if self.expire:
            item |= _expiry(date.fromisoformat(identity.slot), KEEP_DOCUMENTS)
        return {"Put": {"TableName": self.table, "Item": item}}

    def _page_puts(self, read: Mapping[CounterId, Document], documents: Mapping[CounterId, Document]) -> list[Any]:
        """Puts of the pages that differ from those that were read."""
        return [
            self._page_put(identity, leaf, page)
            for identity, document in documents.items()
            for leaf, page in document.pages.items()
            if identity not in read or page is not read[identity].pages.get(leaf)
        ]

    def _decision_put(self, decision: Decision) -> Any:
        item = item_of(decision)
        if self.expire:
            item |= _expiry(date.fromisoformat(decision.day), KEEP_DECISIONS)
        put = {"TableName": self.table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put | {"ConditionExpression": keys.NEW}}

    def _check_of_voided(self, voided: Decision) -> Any:
        check = {"TableName": self.table, "Key": keys.decision_key(voided.key)}
        return {"ConditionCheck": check | keys.as_read(voided.payload_hash)}

    def _marker_put(self, identity: CounterId) -> Any:
        item = keys.marker_key(identity)
        if self.expire:
            item |= _expiry(date.fromisoformat(identity.slot), KEEP_DOCUMENTS)
        return {"Put": {"TableName": self.table, "Item": item}}


def merge(
    read: Mapping[CounterId, Document],
    counter: CounterId,
    books: Books,
    decisions: Sequence[Decision] = (),
    max_page_rows: int = MAX_PAGE_ROWS,
) -> dict[CounterId, Document]:
    """The documents that hold `books`, each one version on from what was read, as are the pages that change."""
    of_day = {totals_of(counter, day): each for day, each in books.totals.items()}
    merged = {}
    for identity in {counter} | of_day.keys():
        before = read.get(identity, Document())
        latest = reversed(decisions) if is_day(identity) else ()
        decided = islice((each.key.request_id for each in latest if each.day == identity.slot), RECENT)
        held = books.counter if identity == counter else before.counter
        after = replace(
            before,
            version=before.version + 1,
            counter=held,
            totals=of_day.get(identity, before.totals),
            recent=(*decided, *before.recent)[:RECENT],
            format=_format(before, held),
        )
        merged[identity] = _paged(after, max_page_rows)
    return merged


def _seen_by(document: Document, judged_by: JudgedBy) -> Document:
    return replace(document, account_version=max(document.account_version or 0, judged_by.version))


def _format(before: Document, after: Counter) -> int:
    """The document's format: a later one than ours stays; `RESERVING` only while there are reservations."""
    needed = RESERVING if after.reservations else FORMAT
    return before.format if before.format > RESERVING else needed


def _paged(document: Document, max_rows: int) -> Document:
    """The document with the pages that its new totals change; pages past `max_rows` are split."""
    if document.leaves == UNSPLIT and len(document.totals.rows) <= max_rows:
        return document
    before, first = document.pages, first_leaf(document.leaves)
    rows = spread(document.totals.rows, document.leaves, before.keys())
    changed = {leaf: each for leaf, each in rows.items() if leaf == first or each != before[leaf].totals.rows}
    full = [leaf for leaf, each in changed.items() if is_split(leaf, each, max_rows)]
    written = {leaf: each for leaf, each in changed.items() if leaf not in full}
    for leaf in full:
        written |= halves(leaf, changed[leaf])
    pages = {leaf: Page(document.version, Totals(each)) for leaf, each in written.items() if "1" in leaf}
    replaced = [before[leaf] for leaf in changed if leaf != first]
    return replace(
        document,
        leaves=document.leaves - {*full} | written.keys(),
        stamps=document.stamps - sum(page.version for page in replaced) + len(pages) * document.version,
        pages={leaf: page for leaf, page in before.items() if leaf not in changed} | pages,
    )


def _first_page(document: Document) -> Totals:
    """The rows that are kept in the document itself."""
    if document.leaves == UNSPLIT:
        return document.totals
    return Totals(spread(document.totals.rows, document.leaves, document.pages)[first_leaf(document.leaves)])


def _may_have_pages(document: Item) -> bool:
    """`Document.may_have_pages` of a stored document."""
    return "leaves" in document or format_of(document) == FIRST


def _beside(
    documents: Iterable[tuple[CounterId, Document]], pages: Iterator[tuple[str, Mapping[str, Page]]]
) -> Iterator[tuple[tuple[CounterId, Document], Mapping[str, Page]]]:
    """Each document with the pages of its day; both are in the order of days."""
    coming = next(pages, None)
    for identity, document in documents:
        while coming and coming[0] < identity.slot:
            coming = next(pages, None)
        yield (identity, document), coming[1] if coming and coming[0] == identity.slot else {}


def _between(pk: str, first: str, last: str) -> Item:
    """The values of `BETWEEN`."""
    return {":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}}


def _whole(document: Document, pages: Mapping[str, Page]) -> Document:
    """The document with all its pages."""
    stamps = sum(page.version for page in pages.values())
    if document.format == FIRST:
        document = replace(document, leaves=with_first(pages), stamps=stamps, format=FORMAT)
    beside = document.leaves - {first_leaf(document.leaves)}
    is_damaged = beside != pages.keys() or stamps != document.stamps
    return replace(_reading(document, pages), is_damaged=is_damaged)


def _reading(document: Document, pages: Mapping[str, Page]) -> Document:
    """The document with these pages read as well."""
    totals = added_up((document.totals.rows, *(page.totals.rows for page in pages.values())))
    return replace(document, pages={**document.pages, **pages}, totals=totals)


def books_of(read: Mapping[CounterId, Document], counter: CounterId, days: Iterable[date]) -> Books:
    """What `read` holds of one counter and of the totals of these days."""
    totals = {day: read.get(totals_of(counter, day), Document()).totals for day in days}
    return Books(read.get(counter, Document()).counter, totals)


@lru_cache(maxsize=4096)
def totals_of(counter: CounterId, day: date) -> CounterId:
    """The document that holds a day's totals of the counter's group."""
    return CounterId(counter.organization, counter.group, UTC_DAY.slot(moment.midnight(day)))


def is_day(identity: CounterId) -> bool:
    """Whether this is the document of a day; its first commit marks the day."""
    return identity.pool is None and day_of_slot(identity.slot) is not None


@lru_cache(maxsize=64)
def _expiry(day: date, keep: timedelta) -> Item:
    return {"expires": {"N": str(int((moment.midnight(day) + moment.DAY + keep).timestamp()))}}


def _windows_text(counter: Counter) -> str:
    return json.dumps([_window_array(window) for window in counter.windows], separators=(",", ":"))


def _window_array(window: Window) -> list[Any]:
    """The announced quotas are a list where the first release has a flag: it takes a list with an entry for true."""
    announced = [None if quota is None else written(quota) for quota in sorted(window.announced, key=str)]
    return [moment.text(window.start), written(window.used), window.overflowed, announced]


def _crossed_text(counter: Counter) -> str:
    """The crossed quotas by their window's start. Not in the window's array: the first release takes no longer one."""
    crossed = {moment.text(each.start): sorted(map(written, each.crossed), key=str) for each in counter.windows}
    stated = {start: quotas for start, quotas in crossed.items() if quotas}
    return json.dumps(stated, separators=(",", ":")) if stated else ""


def _window(array: Sequence[Any], crossed: Mapping[str, Sequence[Any]]) -> Window:
    start, used, overflowed, announced = array
    stated = [None] * announced if isinstance(announced, bool) else announced
    quotas = frozenset(None if quota is None else parsed(quota) for quota in stated)
    return Window(moment.parse(start), parsed(used), overflowed, quotas, frozenset(map(parsed, crossed.get(start, ()))))


def _reservations_text(counter: Counter) -> str:
    return json.dumps([_reservation_array(each) for each in counter.reservations], separators=(",", ":"))


def _reservation_array(each: Reservation) -> list[Any]:
    moments = [moment.text(each.made_at), moment.text(each.expires_at), each.window and moment.text(each.window)]
    binding = [each.binding.offer, each.binding.profile_version, each.binding.settings_version]
    return [each.id, written(each.units), *moments, each.project, each.body, *binding]


def _reservation(array: Sequence[Any]) -> Reservation:
    name, units, made, expires, window, project, body, *binding = array
    opened = moment.parse(window) if window else None
    moments = moment.parse(made), moment.parse(expires), opened
    return Reservation(name, parsed(units), *moments, project, Binding(*binding), body)


def _totals_attributes(totals: Totals) -> Item:
    """Totals as a document or a page holds them. Most have no tokens that cost more than the normal rate."""
    rows: Item = {"totals": {"B": zlib.compress(totals.to_json().encode())}}
    if surcharged := totals.surcharged_json():
        rows["surcharged"] = {"B": zlib.compress(surcharged.encode())}
    return rows


def _totals(item: Item) -> Totals:
    surcharged = zlib.decompress(item["surcharged"]["B"]) if "surcharged" in item else "[]"
    return Totals.from_json(zlib.decompress(item["totals"]["B"]), surcharged)


_KNOWN = {
    *("pk", "sk", "expires", "version", "format", "windows", "crossed", "reservations"),
    *("totals", "surcharged", "recent", "leaves", "stamps", "account_version"),
}


def _document(item: Item) -> tuple[CounterId, Document]:
    document = Document(
        version=int(item["version"]["N"]),
        counter=_counter(item),
        totals=_totals(item),
        recent=tuple(json.loads(item["recent"]["S"])) if "recent" in item else (),
        format=format_of(item),
        unknown={name: value for name, value in item.items() if name not in _KNOWN},
        account_version=int(item["account_version"]["N"]) if "account_version" in item else None,
        leaves=unpacked(bytes(item["leaves"]["B"])) if "leaves" in item else UNSPLIT,
        stamps=int(item["stamps"]["N"]) if "stamps" in item else 0,
    )
    return keys.counter_of_key(item), document


def _counter(item: Item) -> Counter:
    crossed = json.loads(item["crossed"]["S"]) if "crossed" in item else {}
    windows = tuple(_window(each, crossed) for each in json.loads(item["windows"]["S"]))
    if "reservations" not in item:
        return Counter(windows)
    return Counter(windows, tuple(map(_reservation, json.loads(item["reservations"]["S"]))))


def _page(item: Item) -> tuple[str, Page]:
    """A page with its leaf."""
    return item["leaf"]["S"], Page(int(item["version"]["N"]), _totals(item))
