"""A DynamoDB table in this process: deterministic, and only what the core relies on.

It takes the place of the boto3 client. What it does not know it refuses loudly (`Unknown`), so that no condition can
pass because nobody looked at it. tests/simulation/test_contract.py holds it against a real engine.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

Item = dict[str, Any]
Key = tuple[str, str]

MAX_KEYS, MAX_WRITES = 100, 25
MAX_ITEM_BYTES, MAX_TRANSACTION_BYTES = 400_000, 4_000_000
POISON = "REQ#poison"
"""How the sort keys of items begin that no table takes, for a reason that nobody foresaw."""


class Unknown(BaseException):
    """The table was asked for something that it does not imitate. Nobody may catch this and carry on."""


class TransactionCanceledException(ClientError):
    """Nothing of the transaction was written; `CancellationReasons` say why, one an item."""


class ConditionalCheckFailedException(ClientError):
    """The condition of a single write did not hold."""


class IdempotentParameterMismatchException(ClientError):
    """A request token came again with another request."""


class Exceptions:
    """What the boto3 client has as `exceptions`."""

    TransactionCanceledException = TransactionCanceledException
    ConditionalCheckFailedException = ConditionalCheckFailedException
    IdempotentParameterMismatchException = IdempotentParameterMismatchException


class Change(NamedTuple):
    """One write that took effect. `transaction`: its number; writes of one transaction share it."""

    transaction: int
    key: Key
    old: Item | None
    new: Item | None
    actor: Any


def error(code: str, message: str, operation: str) -> ClientError:
    """An error as DynamoDB answers it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def cancelled(reasons: Sequence[Mapping[str, Any]]) -> TransactionCanceledException:
    """A transaction that is cancelled for these reasons."""
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": message},
        "CancellationReasons": list(reasons),
    }
    return TransactionCanceledException(response, "TransactWriteItems")


def key_in(transact_item: Mapping[str, Any]) -> Key:
    """Partition and sort key of what an item of a transaction is about."""
    [(kind, operation)] = transact_item.items()
    return key_of(operation["Item" if kind == "Put" else "Key"])


def key_of(item: Mapping[str, Any]) -> Key:
    """Partition and sort key of an item."""
    return item["pk"]["S"], item["sk"]["S"]


class Table:
    """One table. `log` holds every write in the order in which they took effect; `actor` is noted with each.

    `lag`: how many writes an inconsistent read may be behind; asked for at each such read.
    """

    exceptions = Exceptions

    def __init__(self, max_items: int = 100, page_size: int = 1000) -> None:
        self.items: dict[Key, Item] = {}
        self.log: list[Change] = []
        self.actor: Any = None
        self.max_items = max_items
        self.page_size = page_size
        self.lag: Callable[[], int] = int
        self._transactions = 0
        self._tokens: dict[str, Any] = {}

    # Writes ---------------------------------------------------------------------------------------------------------

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """All writes or none: puts, updates, and conditions on what is not written."""
        _only(request, "TransactItems", "ClientRequestToken")
        operations = [_operation_of(each) for each in request["TransactItems"]]
        _refuse_transaction(operations, self.max_items)
        token = request.get("ClientRequestToken")
        if token in self._tokens:
            if self._tokens[token] != request["TransactItems"]:
                response: Any = {
                    "Error": {"Code": "IdempotentParameterMismatchException", "Message": "another request"}
                }
                raise IdempotentParameterMismatchException(response, "TransactWriteItems")
            return {}
        reasons = self.reasons(request["TransactItems"])
        if any(reason["Code"] != "None" for reason in reasons):
            raise cancelled(reasons)
        if token is not None:
            self._tokens[token] = request["TransactItems"]
        self._write([item for each in operations if (item := self._written(each)) is not None])
        return {}

    def _written(self, operation: Mapping[str, Any]) -> Item | None:
        """What comes of an item of a transaction; None of one that is only a condition."""
        if "Item" in operation:
            item: Item = operation["Item"]
            return item
        if "UpdateExpression" not in operation:
            return None
        return _updated(self.items.get(key_of(operation["Key"]), operation["Key"]), operation)

    def reasons(self, transact_items: Sequence[Any]) -> list[dict[str, Any]]:
        """Why each item would cancel the transaction now; code `None` where it would not."""
        return [self._reason(_operation_of(each)) for each in transact_items]

    def put_item(self, **request: Any) -> dict[str, Any]:
        _only(request, "TableName", "Item", *_CONDITION)
        _refuse_item(request["Item"], "PutItem")
        if not _holds(self.items.get(key_of(request["Item"])), request):
            response: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": "it does not hold"}}
            raise ConditionalCheckFailedException(response, "PutItem")
        self._write([request["Item"]])
        return {}

    def update_item(self, **request: Any) -> dict[str, Any]:
        _only(request, "TableName", "Key", "UpdateExpression", *_CONDITION)
        stored = self.items.get(key_of(request["Key"]))
        if not _holds(stored, request):
            response: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": "it does not hold"}}
            raise ConditionalCheckFailedException(response, "UpdateItem")
        self._write([_updated(stored or request["Key"], request)])
        return {}

    def delete_item(self, **request: Any) -> dict[str, Any]:
        _only(request, "TableName", "Key")
        self._transactions += 1
        self._change(key_of(request["Key"]), None)
        return {}

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Each put by itself; there is no condition and no order."""
        _only(request, "RequestItems")
        [writes] = request["RequestItems"].values()
        for write in writes:
            _only(write, "PutRequest")
        items = [write["PutRequest"]["Item"] for write in writes]
        _refuse_many(list(map(key_of, items)), MAX_WRITES, "BatchWriteItem")
        for item in items:
            _refuse_item(item, "BatchWriteItem")
        for item in sorted(items, key=key_of):
            self._write([item])
        return {"UnprocessedItems": {}}

    def _reason(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        named = operation.get("Item") or operation["Key"]
        stored = self.items.get(key_of(named))
        if size_of(named) > MAX_ITEM_BYTES or ("Item" in operation and named["sk"]["S"].startswith(POISON)):
            return {"Code": "ValidationError", "Message": "Item size to update has exceeded the maximum allowed size"}
        if _holds(stored, operation):
            return {"Code": "None"}
        reason: dict[str, Any] = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
        if stored is not None and operation.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            reason["Item"] = stored
        return reason

    def _write(self, items: Sequence[Item]) -> None:
        self._transactions += 1
        for item in items:
            self._change(key_of(item), item)

    def _change(self, key: Key, new: Item | None) -> None:
        old = self.items.pop(key, None)
        if new is not None:
            self.items[key] = new
        self.log.append(Change(self._transactions, key, old, new, self.actor))

    # Reads ----------------------------------------------------------------------------------------------------------

    def get_item(self, **request: Any) -> dict[str, Any]:
        _only(request, "TableName", "Key", "ConsistentRead")
        item = self._seen(request).get(key_of(request["Key"]))
        return {"Item": item} if item is not None else {}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Each item as it is by itself: no snapshot of all of them."""
        _only(request, "RequestItems")
        [(table, wanted)] = request["RequestItems"].items()
        _only(wanted, "Keys", "ConsistentRead")
        keys = list(map(key_of, wanted["Keys"]))
        _refuse_many(keys, MAX_KEYS, "BatchGetItem")
        seen = self._seen(wanted)
        return {"Responses": {table: [seen[key] for key in keys if key in seen]}, "UnprocessedKeys": {}}

    def query(self, **request: Any) -> dict[str, Any]:
        """Items of one partition in the order of their sort keys."""
        _only(request, "TableName", "ConsistentRead", "ScanIndexForward", "Limit", *_KEY_CONDITION)
        found = self._found(request, reverse=not request.get("ScanIndexForward", True))
        return {"Items": list(islice(found, request.get("Limit")))}

    def get_paginator(self, operation: str) -> "Paginator":
        if operation != "query":
            raise Unknown(f"paginator of {operation}")
        return Paginator(self.query, self.page_size)

    def _found(self, request: Mapping[str, Any], *, reverse: bool) -> Iterator[Item]:
        pk, wanted = _key_condition(request)
        seen = self._seen(request)
        keys = sorted((key for key in seen if key[0] == pk and wanted(key[1])), reverse=reverse)
        return (seen[key] for key in keys)

    def _seen(self, request: Mapping[str, Any]) -> Mapping[Key, Item]:
        """The items as this read sees them: as they are, or, if it need not be consistent, as they were."""
        lag = 0 if request.get("ConsistentRead") else self.lag()
        if not lag:
            return self.items
        past = dict(self.items)
        for change in reversed(self.log[-lag:]):
            past.pop(change.key, None)
            if change.old is not None:
                past[change.key] = change.old
        return past


class Paginator:
    """What the client's paginator for `query` does."""

    def __init__(self, query: Callable[..., dict[str, Any]], page_size: int) -> None:
        self._query = query
        self._page_size = page_size

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        page_size = request.pop("Limit", self._page_size)
        items = iter(self._query(**request)["Items"])
        page = list(islice(items, page_size))
        yield {"Items": page}
        while page := list(islice(items, page_size)):
            yield {"Items": page}


# Conditions ---------------------------------------------------------------------------------------------------------

_CONDITION = ("ConditionExpression", "ExpressionAttributeValues", "ReturnValuesOnConditionCheckFailure")
_KEY_CONDITION = ("KeyConditionExpression", "ExpressionAttributeValues")
_NEW = re.compile(r"attribute_not_exists\((?P<name>\w+)\)")
_THERE = re.compile(r"attribute_exists\((?P<name>\w+)\)")
_SET_AND_ADD = re.compile(r"SET (?P<set>\w+) = (?P<value>:\w+) ADD (?P<add>\w+) (?P<more>:\w+)")
_SET = re.compile(r"SET \w+ = :\w+(?:, \w+ = :\w+)*")
_CONTAINS = re.compile(r"contains\((?P<name>\w+), (?P<value>:\w+)\)")
_COMPARED = re.compile(r"(?P<name>\w+) (?P<sign>=|<|<=|>|>=) (?P<value>:\w+)")
_SIGNS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_PARTITION = re.compile(r"pk = (?P<pk>:\w+)(?: AND (?P<sort>.+))?")
_BETWEEN = re.compile(r"sk BETWEEN (?P<first>:\w+) AND (?P<last>:\w+)")
_BEGINS = re.compile(r"begins_with\(sk, (?P<prefix>:\w+)\)")
_AFTER = re.compile(r"sk > (?P<after>:\w+)")


def _holds(stored: Item | None, put: Mapping[str, Any]) -> bool:
    """Whether the condition of a put holds for what is stored under its key."""
    condition = put.get("ConditionExpression")
    if condition is None:
        return True
    if new := _NEW.fullmatch(condition):
        return stored is None or new["name"] not in stored
    if there := _THERE.fullmatch(condition):
        return stored is not None and there["name"] in stored
    if compared := _COMPARED.fullmatch(condition):
        wanted = put["ExpressionAttributeValues"][compared["value"]]
        found = (stored or {}).get(compared["name"])
        return found is not None and found.keys() == wanted.keys() and _compare(found, compared["sign"], wanted)
    if contains := _CONTAINS.fullmatch(condition):
        found = (stored or {}).get(contains["name"], {}).get("S")
        return found is not None and put["ExpressionAttributeValues"][contains["value"]]["S"] in found
    raise Unknown(f"condition {condition!r}")


def _compare(found: Mapping[str, Any], sign: str, wanted: Mapping[str, Any]) -> bool:
    [(kind, left)], [right] = found.items(), wanted.values()
    if kind == "N":
        left, right = int(left), int(right)
    return bool(_SIGNS[sign](left, right))


def _updated(stored: Item, update: Mapping[str, Any]) -> Item:
    """The item with attributes set, or one set and a number added to another."""
    expression, values = update["UpdateExpression"], update["ExpressionAttributeValues"]
    if _SET.fullmatch(expression):
        pairs = (each.split(" = ") for each in expression.removeprefix("SET ").split(", "))
        return stored | {name: values[value] for name, value in pairs}
    found = _SET_AND_ADD.fullmatch(expression)
    if not found:
        raise Unknown(f"update {expression!r}")
    number = int(stored.get(found["add"], {"N": "0"})["N"]) + int(values[found["more"]]["N"])
    return stored | {found["set"]: values[found["value"]], found["add"]: {"N": str(number)}}


def _key_condition(request: Mapping[str, Any]) -> tuple[str, Callable[[str], bool]]:
    """Partition, and which sort keys of it are asked for."""
    condition, values = request["KeyConditionExpression"], request["ExpressionAttributeValues"]
    partition = _PARTITION.fullmatch(condition)
    if not partition:
        raise Unknown(f"key condition {condition!r}")
    return values[partition["pk"]]["S"], _sort_condition(partition["sort"], values)


def _sort_condition(condition: str | None, values: Mapping[str, Any]) -> Callable[[str], bool]:
    if condition is None:
        return lambda _: True
    if between := _BETWEEN.fullmatch(condition):
        first, last = values[between["first"]]["S"], values[between["last"]]["S"]
        return lambda sk: first <= sk <= last
    if begins := _BEGINS.fullmatch(condition):
        prefix = values[begins["prefix"]]["S"]
        return lambda sk: sk.startswith(prefix)
    if past := _AFTER.fullmatch(condition):
        after = values[past["after"]]["S"]
        return lambda sk: sk > after
    raise Unknown(f"key condition {condition!r}")


# What is refused before anything is looked at -----------------------------------------------------------------------


def size_of(item: Mapping[str, Any]) -> int:
    """About what DynamoDB counts: names and values."""
    return sum(len(name) + sum(map(len, value.values())) for name, value in item.items())


def _only(request: Mapping[str, Any], *known: str) -> None:
    unknown = request.keys() - set(known)
    if unknown:
        raise Unknown(f"parameters {sorted(unknown)}")
    if "TableName" in known and "TableName" not in request:
        raise Unknown("no table")


_OPERATIONS = {"Put": ("Item",), "Update": ("Key", "UpdateExpression"), "ConditionCheck": ("Key",)}


def _operation_of(transact_item: Mapping[str, Any]) -> Mapping[str, Any]:
    _only(transact_item, *_OPERATIONS)
    [(kind, operation)] = transact_item.items()
    _only(operation, "TableName", *_OPERATIONS[kind], *_CONDITION)
    if kind == "ConditionCheck" and "ConditionExpression" not in operation:
        raise Unknown("a check without a condition")
    return operation  # type: ignore[no-any-return]


def _refuse_transaction(operations: Sequence[Mapping[str, Any]], max_items: int) -> None:
    """`max_items`: of a transaction with decisions, which a world may keep small; all others have DynamoDB's limit."""
    keys = [key_of(each.get("Item") or each["Key"]) for each in operations]
    most = max_items if any(sk.startswith("REQ#") for _, sk in keys) else MAX_KEYS
    if not keys or len(keys) > most:
        raise error("ValidationException", f"1 to {most} items, not {len(keys)}", "TransactWriteItems")
    if len(set(keys)) < len(keys):
        message = "Transaction request cannot include multiple operations on one item"
        raise error("ValidationException", message, "TransactWriteItems")
    if any("Item" in each and each["Item"]["sk"]["S"].startswith(f"{POISON}/whole") for each in operations):
        raise error("ValidationException", "nobody foresaw it", "TransactWriteItems")
    if sum(size_of(each.get("Item") or each["Key"]) for each in operations) > MAX_TRANSACTION_BYTES:
        raise error("ValidationException", "the items are larger than 4 MB", "TransactWriteItems")


def _refuse_item(item: Item, operation: str) -> None:
    if size_of(item) > MAX_ITEM_BYTES or item["sk"]["S"].startswith(POISON):
        raise error("ValidationException", "Item size has exceeded the maximum allowed size", operation)


def _refuse_many(keys: Sequence[Key], max_keys: int, operation: str) -> None:
    if not keys or len(keys) > max_keys:
        raise error("ValidationException", f"1 to {max_keys} items, not {len(keys)}", operation)
    if len(set(keys)) < len(keys):
        raise error("ValidationException", "Provided list of item keys contains duplicates", operation)
