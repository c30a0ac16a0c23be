"""What can go wrong with a call. The fault model in plain words; each fault is a function of the call it happens to.

- *Any call.* The process dies before it, or after it took effect. The answer is lost. The call takes effect at some
  later time, when nobody waits for it any more. It is throttled, or does not get there.
- *The table.* Another transaction on one of the items is under way. A partition is busy for longer than anybody waits.
  A batch is done in part, and the answer says so; or it is read or written in two halves, between which others go on
  and a writer dies. An item is garbled when it is read, and right the next time. The client library makes a call again
  whose answer it lost. Eventually consistent reads are behind.
- *Queue, usage stream and bus.* Some entries of a call are refused; or the same ones for some time. A message comes
  again although it was dealt with; so does a stream's batch, the usage stream's with records before it
  (usage_stream.py). Where the queue keeps no order, workers take longer than its visibility timeout, and others get
  their messages as well.
- *Clocks* are off by up to 45 seconds. A closing has to stop at any decision. Releases change (releases.py).

What a service has answered with success stays: nothing here loses a write, or reorders the records of a key.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from gratis_simulation.machines.crew import Crash
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.table import Table, cancelled, error, key_in, key_of

URL = "https://service.us-east-1.amazonaws.com"
BATCH = {"batch_get_item": "Keys", "batch_write_item": None}


class Machines(Protocol):
    """What a fault needs of the run in which it happens."""

    dice: Dice
    table: Table
    late: list[Callable[[], None]]
    hot: "Hot | None"
    outages: dict[str, int]

    def elsewhere(self) -> None:
        """Let others go on."""


@dataclass
class Hot:
    """A partition that takes no transactions for some calls."""

    pk: str
    calls: int


@dataclass(frozen=True)
class Call:
    """A call that something happens to. `effect` carries it out, with other arguments if it is told to."""

    name: str
    operation: str
    arguments: dict[str, Any]
    effect: Callable[..., Any]
    run: Machines

    def do(self) -> Any:
        """Carry it out."""
        return self.effect(**self.arguments)

    def do_unseen(self) -> None:
        """Carry it out; nobody hears what came of it."""
        try:
            self.do()
        except (ClientError, BotoCoreError):
            return

    def choose(self, of: Sequence[Any]) -> Any:
        """One of several, by the dice."""
        return of[self.run.dice.turn(f"{self.name} which", 1, len(of)) - 1]


def crash_before(_: Call) -> Any:
    """The process dies before the call."""
    raise Crash


def crash_after(call: Call) -> Any:
    """The process dies after the call took effect."""
    call.do_unseen()
    raise Crash


def lost(call: Call) -> Any:
    """The call takes effect, and its answer is lost."""
    call.do_unseen()
    failed = error("InternalServerError", "injected", call.operation)
    raise call.choose((ReadTimeoutError(endpoint_url=URL), ConnectionClosedError(endpoint_url=URL), failed))


def late(call: Call) -> Any:
    """Nobody waits for the call any longer, and it takes effect some time later."""
    call.run.late.append(call.do_unseen)
    raise ReadTimeoutError(endpoint_url=URL)


def retried(call: Call) -> Any:
    """The answer is lost, and the client library itself makes the call again."""
    call.do_unseen()
    return call.do()


def throttled(call: Call) -> Any:
    """Too many calls: nothing happens."""
    codes = ("ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded")
    raise error(call.choose(codes), "injected", call.operation)


def unreachable(_: Call) -> Any:
    """The call does not get there."""
    raise EndpointConnectionError(endpoint_url=URL)


def contended(call: Call) -> Any:
    """Somebody else's transaction on one of the items is under way."""
    if call.operation == "put_item":
        raise error("TransactionConflictException", "injected", call.operation)
    puts = call.arguments["TransactItems"]
    reasons = call.run.table.reasons(puts)
    contested = min(range(len(puts)), key=lambda place: key_in(puts[place]))
    reasons[contested] = {"Code": "TransactionConflict", "Message": "injected"}
    raise cancelled(reasons)


def hot(call: Call) -> Any:
    """A partition of the table is busy for longer than anybody waits."""
    pks = [key_in(each)[0] for each in call.arguments["TransactItems"]]
    counters = [pk for pk in pks if pk.startswith("COUNTER#")]
    call.run.hot = Hot(min(counters or pks), call.run.dice.turn(f"{call.name} long", 1, 20))
    raise error("ThrottlingException", "injected", call.operation)


def partial(call: Call) -> Any:
    """Some of it is done, and the answer says what was not."""
    if call.operation == "batch_get_item":
        return _read_partly(call)
    if call.operation == "batch_write_item":
        return _write_partly(call)
    count = len(_entries(call.arguments))
    mask = call.run.dice.turn(f"{call.name} which", 1, 2**count - 1)
    return call.effect(refuse=[place for place in range(count) if mask >> place & 1], **call.arguments)


def unreadable(call: Call) -> Any:
    """One of the items that a classifier reads is garbled; the next time it is right."""
    [(table, items)] = call.do()["Responses"].items()
    if items and call.name.startswith("classify"):
        garbled = call.choose(items)
        texts = {name: {"S": "{"} for name in ("account", "windows", "receipt") if name in garbled}
        items = [item | texts if item is garbled else item for item in items]
    return {"Responses": {table: items}, "UnprocessedKeys": {}}


def outage(call: Call) -> Any:
    """The bus, the queue or the usage stream refuses the same entries for some calls to come."""
    call.run.outages[call.operation] = call.run.dice.turn(f"{call.name} long", 1, 12)
    return refused(call.effect, call.arguments)


def refused(effect: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """A call during an outage: about half of the entries are refused, the same ones every time."""
    contents = [_content(entry) for entry in _entries(arguments)]
    return effect(refuse=[place for place, content in enumerate(contents) if zlib.crc32(content) % 2], **arguments)


def _entries(arguments: dict[str, Any]) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = arguments.get("Entries") or arguments["Records"]
    return found


def _content(entry: dict[str, Any]) -> bytes:
    data: bytes = entry.get("Data") or str(entry.get("Detail") or entry.get("MessageBody") or "").encode()
    return data


def torn(call: Call) -> Any:
    """A batch is read or written in two halves. Between them others go on; a writer dies there."""
    table, first, second = _halves(call)
    if call.operation == "batch_write_item":
        if first:
            call.effect(RequestItems={table: first})
        raise Crash
    answer = call.effect(RequestItems={table: first}) if first else {"Responses": {table: []}, "UnprocessedKeys": {}}
    call.run.elsewhere()
    rest = call.effect(RequestItems={table: second})
    return {**answer, "Responses": {table: answer["Responses"][table] + rest["Responses"][table]}}


def _read_partly(call: Call) -> Any:
    table, first, second = _halves(call)
    answer = call.effect(RequestItems={table: first}) if first else {"Responses": {table: []}}
    return {**answer, "UnprocessedKeys": {table: second}}


def _write_partly(call: Call) -> Any:
    table, first, second = _halves(call)
    if first:
        call.effect(RequestItems={table: first})
    return {"UnprocessedItems": {table: second}}


def _halves(call: Call) -> tuple[str, Any, Any]:
    """A batch in two, by the order of its keys; the first half may be empty."""
    [(table, wanted)] = call.arguments["RequestItems"].items()
    if call.operation == "batch_get_item":
        keys = sorted(wanted["Keys"], key=key_of, reverse=bool(call.run.dice.turn(f"{call.name} side", 0.5)))
        half = len(keys) // 2
        return table, half and wanted | {"Keys": keys[:half]}, wanted | {"Keys": keys[half:]}
    writes = sorted(wanted, key=lambda write: key_of(write["PutRequest"]["Item"]))
    return table, writes[: len(writes) // 2], writes[len(writes) // 2 :]


Fault = Callable[[Call], Any]
ANYWHERE: dict[str, Fault] = {
    "crash before": crash_before,
    "crash after": crash_after,
    "answer lost": lost,
    "takes effect late": late,
    "throttled": throttled,
    "unreachable": unreachable,
}
SOMEWHERE: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "retried": (retried, ("put_item", "batch_write_item", "put_events")),
    "contended": (contended, ("transact_write_items", "put_item")),
    "hot partition": (hot, ("transact_write_items",)),
    "unreadable": (unreadable, ("batch_get_item",)),
    "partial": (partial, ("batch_get_item", "batch_write_item", "put_events", "send_message_batch", "put_records")),
    "outage": (outage, ("put_events", "send_message_batch", "put_records")),
    "torn": (torn, ("batch_get_item", "batch_write_item")),
}
KINDS = (*ANYWHERE, *SOMEWHERE)
"""By name, so that a world can do without some of them."""


def possible(kinds: Sequence[str], operation: str) -> list[tuple[str, Fault]]:
    """Those of `kinds` that can happen to a call of this operation; twice those that only few operations have."""
    found = [(kind, ANYWHERE[kind]) for kind in kinds if kind in ANYWHERE]
    here = [(kind, SOMEWHERE[kind]) for kind in kinds if kind in SOMEWHERE]
    return found + [(kind, fault) for kind, (fault, operations) in here if operation in operations] * 2
