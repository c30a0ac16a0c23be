"""The release before this one and the one after it: the same code, behind a client that translates what it writes.

Promise 7 of SPEC section 3 is about what this release does with what the others leave behind, and that does not depend
on what else they decide otherwise. Therefore the worlds in which the last release works hold nothing that it did not
know: no runs, one quota for all tiers, plain groups. It takes in, decides and changes accounts; it never emits or
closes here. What it made of records of a later format is its own affair, and can no longer be mended.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from gratis.rules.formats import FORMAT, RESERVING
from gratis.table.ledger import MAX_ITEMS
from gratis_simulation.machines.release import THIS, Release
from gratis_simulation.machines.table import Item, TransactionCanceledException, Unknown, key_of

NEXT, BEYOND, LAST = "next", "beyond", "last"
"""`beyond`: the next release, where the documents that it writes say that others must not decide on them."""
LATER = "of_the_next_release"
"""The attribute of items, and the field of records, that only the next release knows."""
FIRST_DOCUMENT = ("pk", "sk", "expires", "version", "windows", "totals", "recent")
"""What a counter document of the first release held."""
LAST_WORKS = ("receive", "classify", "change")
"""What the last release does here."""

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


def _translating(this: Release, name: str, write: Translation, read: Reading) -> Release:
    return replace(this, name=name, table=lambda client: this.table(_Translating(client, write, read)))


def _last(this: Release) -> Release:
    """It knows no pages: it keeps all rows in the document, writes none and sees none."""
    last = _translating(this, LAST, _written_last, _seen_by_the_last)

    def ledger(*parts: Any, max_page_rows: int, **more: Any) -> Any:  # noqa: ARG001 - that is what it does not know
        return this.ledger(*parts, max_page_rows=MAX_ITEMS * MAX_ITEMS, **more)

    return replace(last, ledger=ledger)


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


# The client ---------------------------------------------------------------------------------------------------------


class _Translating:
    """Looks like the client; `write` is applied to each item that is put, `read` to each that comes back."""

    def __init__(self, client: Any, write: Translation, read: Reading) -> None:
        self.exceptions = client.exceptions
        self._client = client
        self._write = write
        self._read = read

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)

    def transact_write_items(self, **request: Any) -> Any:
        puts = [{"Put": self._put(each["Put"])} if "Put" in each else each for each in request["TransactItems"]]
        try:
            return self._client.transact_write_items(**request | {"TransactItems": puts})
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
