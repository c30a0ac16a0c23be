"""A study, not the product: each event one small item, its claim; a batch's receipts in one compressed item, the pack.

`Packed` looks like the DynamoDB client. The ledger that is deployed works on it as it is, and what it asks for is done
otherwise (decisions/027-below-the-transactions-floor.md):

1. Every request of a commit is claimed: under its decision's key an item names the pack that its decision will be in.
2. One transaction writes the document, as ever on the condition that it is as it was read, and the pack, whose key is
   new with every attempt.

A request is decided if the pack that its claim names is there and holds it. Who finds another's claim fences its pack
off before taking the claim over: an empty item is put in the pack's place, if nothing is there. If something is, then
the decision is in it, or will never be. So a request is in one pack at most, whoever dies, is late, or runs twice: to
commit a pack one must have claimed for it, and no claim is taken away from a pack that may still come.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from gratis.table.dynamo import Spread
from gratis.table.keys import NEW, is_decision

Item = dict[str, Any]
PACK = "PACK#"
MAX_TAKEOVERS = 8
"""Tries to take a claim over, each after another worker was faster."""
HELD = "pack = :held"


class Packed:
    """A client that claims and packs. `spread`: puts the claims of a commit; `nonce`: new with every attempt."""

    def __init__(self, client: Any, *, spread: Spread = map, nonce: Callable[[], str] = lambda: uuid4().hex) -> None:
        self.client = client
        self.exceptions = client.exceptions
        self.spread = spread
        self.nonce = nonce

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.client, operation)

    # Writes ---------------------------------------------------------------------------------------------------------

    def transact_write_items(self, *, TransactItems: Sequence[Any]) -> Any:  # noqa: N803 - the client's word
        """Claims first. Raises TransactionCanceledException as if all of it had been one transaction."""
        of_decisions = {place: each for place, each in enumerate(TransactItems) if is_decision(_named(each))}
        kept = [place for place in range(len(TransactItems)) if place not in of_decisions]
        # That a voided decision is there needs no condition: what was read in a pack stays there.
        puts = {place: each["Put"] for place, each in of_decisions.items() if "Put" in each}
        if not puts:
            return self.client.transact_write_items(TransactItems=[TransactItems[place] for place in kept])
        table = next(iter(puts.values()))["TableName"]
        pack = packed([put["Item"] for put in puts.values()], self.nonce())
        self._claim_all(table, puts, pack, len(TransactItems))
        put = {"TableName": table, "Item": pack, "ConditionExpression": NEW}
        try:
            return self.client.transact_write_items(
                TransactItems=[*(TransactItems[each] for each in kept), {"Put": put}]
            )
        except self.exceptions.TransactionCanceledException as cancelled:
            *others, of_pack = cancelled.response["CancellationReasons"]
            reasons = dict(zip(kept, others, strict=True))
            if of_pack["Code"] != "None":  # fenced off: whoever did so has the claim now
                reasons[next(iter(puts))] = {"Code": "TransactionConflict"}
            raise self._cancelled(reasons, len(TransactItems)) from cancelled

    def _claim_all(self, table: str, puts: Mapping[int, Any], pack: Item, count: int) -> None:
        """Raises TransactionCanceledException with the decisions that were taken before."""
        reasons: dict[int, Any] = {}

        def claim(place: int) -> None:
            item = puts[place]["Item"]
            claimed = _key(item) | {"pack": pack["pk"]} | _expiry(item)
            if not self._put(table, claimed, ConditionExpression=NEW):
                decided = self._take_over(table, claimed)
                if decided is not None:
                    reasons[place] = {"Code": "ConditionalCheckFailed", "Item": decided} if decided else CONFLICT

        for _ in self.spread(claim, puts):
            pass
        if reasons:
            raise self._cancelled(reasons, count)

    def _take_over(self, table: str, claim: Item) -> Item | None:
        """The decision if there is one, {} if others are faster; None: the claim is ours."""
        for _ in range(MAX_TAKEOVERS):
            there = self._get(table, _key(claim))
            if there is None or there["pack"] == claim["pack"]:  # an answer was lost
                return None if there else {}
            if decided := self._fenced(table, there["pack"]).get(_name(claim)):
                return decided
            if self._put(table, claim, ConditionExpression=HELD, ExpressionAttributeValues={":held": there["pack"]}):
                return None
        return {}

    def _fenced(self, table: str, name: Item) -> Mapping[tuple[str, str], Item]:
        """What a pack holds; of one that is not there, that it never will be."""
        found = self._get(table, pack_key(name))
        if found is None and not self._put(table, pack_key(name), ConditionExpression=NEW):
            found = self._get(table, pack_key(name))
        return unpacked(found or {})

    def _put(self, table: str, item: Item, **condition: Any) -> bool:
        try:
            self.client.put_item(TableName=table, Item=item, **condition)
        except self.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _cancelled(self, reasons: Mapping[int, Any], count: int) -> Exception:
        response = {
            "Error": {"Code": "TransactionCanceledException", "Message": "claims and packs"},
            "CancellationReasons": [reasons.get(place, {"Code": "None"}) for place in range(count)],
        }
        error: Exception = self.exceptions.TransactionCanceledException(response, "TransactWriteItems")
        return error

    # Reads ----------------------------------------------------------------------------------------------------------

    def batch_get_item(self, **request: Any) -> Any:
        """Decisions in place of their claims."""
        answer = self.client.batch_get_item(**request)
        opened = {table: list(self._opened(table, items)) for table, items in answer["Responses"].items()}
        return answer | {"Responses": opened}

    def get_paginator(self, operation: str) -> "_Pages":
        return _Pages(self.client.get_paginator(operation), self._opened)

    def _opened(self, table: str, items: Sequence[Item]) -> Iterator[Item]:
        """The items, of claims the decisions. What is claimed and not decided is not there."""
        packs: dict[str, Mapping[tuple[str, str], Item]] = {}
        for item in items:
            if not is_decision(item):
                yield item
                continue
            name = item["pack"]["S"]
            if name not in packs:
                packs[name] = unpacked(self._get(table, pack_key(item["pack"])) or {})
            if decided := packs[name].get(_name(item)):
                yield decided

    def _get(self, table: str, key: Item) -> Item | None:
        found: Item | None = self.client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        return found


class _Pages:
    def __init__(self, paginator: Any, opened: Callable[[str, Sequence[Item]], Iterator[Item]]) -> None:
        self._paginator = paginator
        self._opened = opened

    def paginate(self, **request: Any) -> Iterator[Any]:
        for page in self._paginator.paginate(**request):
            yield page | {"Items": list(self._opened(request["TableName"], page["Items"]))}


CONFLICT = {"Code": "TransactionConflict"}


def packed(decisions: Sequence[Item], nonce: str) -> Item:
    """The pack of these decisions, in their order."""
    content = zlib.compress(json.dumps(decisions, separators=(",", ":")).encode(), 9)
    last = max((_expiry(item) for item in decisions), key=lambda each: int(each.get("expires", {"N": "0"})["N"]))
    return pack_key({"S": f"{PACK}{nonce}"}) | {"decisions": {"B": content}} | last


def unpacked(pack: Item) -> Mapping[tuple[str, str], Item]:
    """The decisions in a pack, by key; none where it was fenced off."""
    if "decisions" not in pack:
        return {}
    content = pack["decisions"]["B"]
    return {_name(item): item for item in json.loads(zlib.decompress(content))}


def pack_key(name: Item) -> Item:
    """Where a pack is."""
    return {"pk": name, "sk": {"S": "PACK"}}


def _named(operation: Mapping[str, Any]) -> Item:
    """The item, or the key, that an item of a transaction is about."""
    [(kind, each)] = operation.items()
    named: Item = each["Item" if kind == "Put" else "Key"]
    return named


def _key(item: Item) -> Item:
    return {name: item[name] for name in ("pk", "sk")}


def _name(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _expiry(item: Item) -> Item:
    return {name: value for name, value in item.items() if name == "expires"}
