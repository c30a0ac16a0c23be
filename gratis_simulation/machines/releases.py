"""The release before this one and the one after it: the same code, behind a client that translates what it writes.

Promise 7 of SPEC section 3 is about what this release does with what the others leave behind, and that does not depend
on what else they decide otherwise. Therefore the worlds in which the last release works hold nothing that it did not
know: no runs, one quota for all tiers, plain groups. It emits and closes days as well, and gives later decisions its
own form in both; that can no longer be mended. But what it leaves behind must not mislead this release: its statements
stand outside the chain, and what it keeps of an unfinished proof is no use to anybody else.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.closing.merkle import MerkleTree
from gratis.closing.proof import Proof
from gratis.closing.statements import Statements
from gratis.errors import Busy
from gratis.rules.formats import FORMAT, RESERVING
from gratis.table import keys
from gratis.table.dynamo import translated
from gratis.table.ledger import MAX_ITEMS
from gratis_simulation.machines.release import THIS, Release
from gratis_simulation.machines.table import Item, TransactionCanceledException, Unknown, key_of

NEXT, BEYOND, LAST = "next", "beyond", "last"
"""`beyond`: the next release, where the documents that it writes say that others must not decide on them."""
LATER = "of_the_next_release"
"""The attribute of items, and the field of records, that only the next release knows."""
FIRST_DOCUMENT = ("pk", "sk", "expires", "version", "windows", "totals", "recent")
"""What a counter document of the first release held."""
KINDS = ("Put", "Update", "ConditionCheck")
"""What transactions consist of. The last release had puts alone: it did not hold on to the accounts it judged by."""
FIRST_STATEMENT = (
    *("organization", "day", "decisions", "free", "billed", "free_tokens", "billed_tokens"),
    *("list_amount_usd", "amount_usd", "unpriced", "unpriced_count", "hash"),
    *("holds", "difference_count", "differences"),
)
"""What a statement of the first release said, beside its id, its revision and its moment."""
FIRST_PROGRESS = 1
"""The format of what the first release kept of an unfinished proof."""
IMAGES = ("OldImage", "NewImage")
"""What a record of the stream holds of an item."""

Translation = Callable[[Item], Item]
Reading = Callable[[Item], Item | None]
"""None: it is not seen."""


def releases(this: Release = THIS) -> dict[str, Release]:
    """By name. `this`: with a deliberate fault perhaps, which the others then have as well."""
    return {
        "this": this,
        NEXT: _translating(this, NEXT, partial(_written_next, beyond=False), _read_next),
        BEYOND: _translating(this, BEYOND, partial(_written_next, beyond=True), _read_next),
        LAST: _last(this),
    }


def _translating(
    this: Release, name: str, write: Translation, read: Reading, kinds: Collection[str] = KINDS
) -> Release:
    return replace(this, name=name, table=lambda client: this.table(_Translating(client, write, read, kinds)))


def _last(this: Release) -> Release:
    """It knows no pages: it keeps all rows in the document, writes none and sees none."""
    last = _translating(this, LAST, _written_last, _seen_by_the_last, {"Put"})

    def ledger(*parts: Any, max_page_rows: int, **more: Any) -> Any:  # noqa: ARG001 - that is what it does not know
        return this.ledger(*parts, max_page_rows=MAX_ITEMS * MAX_ITEMS, **more)

    def emit(stream: Sequence[Item], *parts: Any, **more: Any) -> Any:
        return this.emit(list(map(_change_seen_by_the_last, stream)), *parts, **more)

    return replace(last, ledger=ledger, emit=emit, statements=FirstStatements)


def is_page(item: Item) -> bool:
    """Whether this is a further page of a day's totals."""
    return bool(item["sk"]["S"].startswith("PAGE#"))


# The next release ---------------------------------------------------------------------------------------------------


def _written_next(item: Item, *, beyond: bool) -> Item:
    """A format higher, with an attribute, and in the records a field, that this release does not know."""
    if "format" not in item:
        return item
    later = {"N": str(FORMAT + 1)}
    if item["sk"]["S"].startswith("REQ#"):
        added = json.loads(item["added"]["S"]) if "added" in item else {}
        return item | {"format": later, "added": {"S": json.dumps(added | {LATER: item["sk"]["S"]})}}
    if item["pk"]["S"].startswith("COUNTER#"):
        later = {"N": str(RESERVING + 1)}
    marked = item | {LATER: {"S": f"version {item['version']['N']}" if "version" in item else "an entry"}}
    if is_page(item):
        return item
    if item["pk"]["S"].startswith("COUNTER#") and not beyond:
        return marked
    return marked | {"format": later}


def _read_next(item: Item) -> Item:
    """It knows what its documents say, and decides on them."""
    if item["pk"]["S"].startswith("COUNTER#") and item.get("format") == {"N": str(RESERVING + 1)}:
        return item | {"format": {"N": str(RESERVING if "reservations" in item else FORMAT)}}
    return item


# The last release ---------------------------------------------------------------------------------------------------


def _written_last(item: Item) -> Item:
    """In the first form: without a format, what it does not know left out, and one flag for whatever was announced."""
    if is_page(item):
        raise Unknown("the last release writes no pages")
    known = _known_to_the_last(item)
    if "windows" in known:
        windows = [[*window[:3], bool(window[3])] for window in json.loads(known["windows"]["S"])]
        return known | {"windows": {"S": json.dumps(windows, separators=(",", ":"))}}
    return known


def _seen_by_the_last(item: Item) -> Item | None:
    return None if is_page(item) else _known_to_the_last(item)


def _known_to_the_last(item: Item) -> Item:
    if item["pk"]["S"].startswith("COUNTER#"):
        return {name: value for name, value in item.items() if name in FIRST_DOCUMENT}
    return {name: value for name, value in item.items() if name not in {"format", "added", LATER}}


def _change_seen_by_the_last(record: Item) -> Item:
    images = {name: _known_to_the_last(image) for name, image in record["dynamodb"].items() if name in IMAGES}
    return record | {"dynamodb": record["dynamodb"] | images}


class FirstStatements(Statements):
    """Statements as the first release wrote them: one item alone, without a number in the chain.

    It named documents by three parts, so the versions that it notes are never those that this release notes.
    """

    def write(
        self,
        proof: Proof,
        tree: MerkleTree,  # noqa: ARG002 - it made none
        proved_at: datetime,
        versions: Sequence[Any] = (),
    ) -> dict[str, Any] | None:
        content = {name: value for name, value in proof.content().items() if name in FIRST_STATEMENT}
        organization, day = content["organization"], content["day"]
        latest = self.latest(organization, date.fromisoformat(day))
        if latest and {name: latest.get(name) for name in content} == content:
            return None
        revision = latest["revision"] + 1 if latest else 1
        stated = content | {"revision": revision, "proved_at": moment.text(proved_at)}
        stated["id"] = f"{organization}:{day}:{revision}"
        item = keys.statement_key(organization, day, revision) | {
            "statement": {"S": json.dumps(stated, separators=(",", ":"))},
            "versions": {"S": json.dumps(_in_first_form(versions))},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression=keys.NEW)
        except self.client.exceptions.ConditionalCheckFailedException as error:
            raise Busy(f"{stated['id']} is being closed by another") from error
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return stated

    def holds_on(self, organization: str, day: date, versions: Sequence[Any]) -> bool:
        return super().holds_on(organization, day, _in_first_form(versions))

    def keep(self, organization: str, day: date, content: Mapping[str, Any], now: datetime) -> None:
        kept = {"format": FIRST_PROGRESS, "versions": _in_first_form(content["versions"]), "own": content}
        super().keep(organization, day, kept, now)

    def kept(self, organization: str, day: date) -> dict[str, Any] | None:
        """What another release keeps has another format, and the proof begins anew."""
        kept = super().kept(organization, day)
        if kept is None or kept["format"] != FIRST_PROGRESS:
            return kept and {"format": None, "versions": None}
        own: dict[str, Any] = kept["own"]
        return own


def _in_first_form(versions: Sequence[Any]) -> list[Any]:
    """The versions of documents as the first release notes them: by organization, group and slot, without the pool."""
    return [[*each[:3], each[-1]] for each in versions]


# The client ---------------------------------------------------------------------------------------------------------


class _Translating:
    """Looks like the client; `write` is applied to each item that is put, `read` to each that comes back.

    `kinds`: what the release's transactions consist of.
    """

    def __init__(self, client: Any, write: Translation, read: Reading, kinds: Collection[str]) -> None:
        self.exceptions = client.exceptions
        self._kinds = kinds
        self._client = client
        self._write = write
        self._read = read

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)

    def transact_write_items(self, **request: Any) -> Any:
        operations = [
            {kind: self._put(operation) if kind == "Put" else operation}
            for each in request["TransactItems"]
            for kind, operation in each.items()
            if kind in self._kinds
        ]
        try:
            return self._client.transact_write_items(**request | {"TransactItems": operations})
        except TransactionCanceledException as cancelled:
            answer: Any = cancelled.response
            reasons = [self._item(reason, "Item") for reason in answer["CancellationReasons"]]
            response: Any = answer | {"CancellationReasons": reasons}
            raise TransactionCanceledException(response, "TransactWriteItems") from cancelled

    def put_item(self, **request: Any) -> Any:
        return self._client.put_item(**self._put(request))

    def batch_write_item(self, **request: Any) -> Any:
        [(table, writes)] = request["RequestItems"].items()
        puts = [{"PutRequest": self._put(write["PutRequest"])} for write in writes]
        answer = self._client.batch_write_item(RequestItems={table: puts})
        left = {key_of(write["PutRequest"]["Item"]) for write in answer.get("UnprocessedItems", {}).get(table, [])}
        again = [write for write in writes if key_of(write["PutRequest"]["Item"]) in left]
        return answer | {"UnprocessedItems": {table: again} if again else {}}

    def get_item(self, **request: Any) -> Any:
        return self._item(self._client.get_item(**request), "Item")

    def batch_get_item(self, **request: Any) -> Any:
        answer = self._client.batch_get_item(**request)
        found = {table: list(map(self._read, items)) for table, items in answer["Responses"].items()}
        return answer | {"Responses": found}

    def query(self, **request: Any) -> Any:
        answer = self._client.query(**request)
        return answer | {"Items": list(map(self._read, answer["Items"]))}

    def get_paginator(self, operation: str) -> "_Pages":
        return _Pages(self._client.get_paginator(operation), self._read)

    def _put(self, put: Item) -> Item:
        return put | {"Item": self._write(put["Item"])}

    def _item(self, answer: Item, name: str) -> Item:
        return answer | {name: self._read(answer[name])} if name in answer else answer


class _Pages:
    def __init__(self, paginator: Any, read: Reading) -> None:
        self._paginator = paginator
        self._read = read

    def paginate(self, **request: Any) -> Iterator[Any]:
        for page in self._paginator.paginate(**request):
            yield page | {"Items": [read for item in page["Items"] if (read := self._read(item)) is not None]}
