"""What closing a day takes: `python -m benchmarks.closing [DECISIONS ...]`; without, of 100,000 and of 1,000,000.

`--earlier CHECKOUT` closes each day with the code of an earlier checkout too, and prints the ratio.

The closing code is the real one, through the real SDK client. What the client would send to DynamoDB is answered by
`Store`, a file of SQLite, because no local engine holds a million decisions in bearable time. It holds what the real
classifier committed through the same client, and answers queries in pages of 1 MB of items, as DynamoDB does. So units
and calls are those that DynamoDB would count; seconds are this machine's, the store's own work included, and hold no
network. Filling and each closing are processes of their own, so that memory is that of one closing alone.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from benchmarks.bench import TABLE
from benchmarks.meter import READ_UNIT, Meter, size_of, took
from benchmarks.traffic import Sender, account
from gratis import moment
from gratis.classify import Classifier
from gratis.closing.close import Closed, close
from gratis.closing.statements import Statements
from gratis.intake.messages import Message
from gratis.rules.offer_file import shipped
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.stack import client_for

ORGANIZATION = "org_large"
DECISIONS = [100_000, 1_000_000]
RESULTS = Path(__file__).parent / "closing.json"
NOWHERE = "http://127.0.0.1:1"
"""Where the client believes DynamoDB to be: nothing is sent."""
PAGE_BYTES, WRITE_UNIT = 1_048_576, 1024
EVENTS, MESSAGES = 100, 10
"""In a message, and messages in a batch of the queue."""


class _Body(BytesIO):
    def stream(self) -> Iterator[bytes]:
        """As urllib3 hands out a body."""
        yield self.read()


class Store:
    """A table in a file, for one writer: conditions are taken as met."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._rows.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        self._rows.execute("CREATE TABLE IF NOT EXISTS items (pk, sk, size, item, PRIMARY KEY (pk, sk))")

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def client(self) -> Any:
        """A client of the SDK whose requests are answered from here."""
        client = client_for(NOWHERE, "dynamodb")
        client.meta.events.register("before-send.dynamodb", self._answer)
        return client

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent: Any = request
        operation = sent.headers["X-Amz-Target"].decode().rpartition(".")[2]
        with self._lock:
            content = getattr(self, f"_{operation}")(json.loads(sent.body))
        headers: Any = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(sent.url, 200, headers, _Body(content))

    def _Query(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802 - the operations have AWS's names
        first, last = _span(asked)
        if start := asked.get("ExclusiveStartKey"):
            first = start["sk"]["S"] + "\0"
        order = "ASC" if asked.get("ScanIndexForward", True) else "DESC"
        pk = asked["ExpressionAttributeValues"][":pk"]["S"]
        found = self._rows.execute(
            f"SELECT sk, size, item FROM items WHERE pk = ? AND sk >= ? AND sk < ? ORDER BY sk {order} LIMIT ?",  # noqa: S608
            (pk, first, last, asked.get("Limit", -1)),
        )
        items, size, more = [], 0, ""
        for sk, bytes_of_item, item in found:
            items.append(item)
            size += bytes_of_item
            if size >= PAGE_BYTES:
                more = f',"LastEvaluatedKey":{json.dumps({"pk": {"S": pk}, "sk": {"S": sk}})}'
                break
        units = max(1, -(-size // READ_UNIT))
        return f'{{"Items":[{",".join(items)}],"Count":{len(items)}{more},{_consumed(units)}}}'.encode()

    def _GetItem(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802
        size, item = self._get(asked["Key"])
        there = f'"Item":{item},' if item else ""
        return f"{{{there}{_consumed(max(1, -(-size // READ_UNIT)))}}}".encode()

    def _BatchGetItem(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802
        found = [item for key in asked["RequestItems"][TABLE]["Keys"] if (item := self._get(key)[1])]
        return f'{{"Responses":{{"{TABLE}":[{",".join(found)}]}}}}'.encode()

    def _PutItem(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802
        return f"{{{_consumed(self._put(asked['Item']))}}}".encode()

    def _DeleteItem(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802
        units = max(1, -(-self._get(asked["Key"])[0] // WRITE_UNIT))
        self._rows.execute("DELETE FROM items WHERE pk = ? AND sk = ?", _key(asked["Key"]))
        return f"{{{_consumed(units)}}}".encode()

    def _TransactWriteItems(self, asked: Mapping[str, Any]) -> bytes:  # noqa: N802
        self._rows.execute("BEGIN")
        units = sum(2 * self._put(each["Put"]["Item"]) for each in asked["TransactItems"] if "Put" in each)
        self._rows.execute("COMMIT")
        return f'{{"ConsumedCapacity":[{{"CapacityUnits":{units}}}]}}'.encode()

    def _get(self, key: Mapping[str, Any]) -> tuple[int, str]:
        found = self._rows.execute("SELECT size, item FROM items WHERE pk = ? AND sk = ?", _key(key)).fetchone()
        return found or (0, "")

    def _put(self, item: Mapping[str, Any]) -> int:
        """Store it, and say how many units that takes."""
        size = size_of({name: _plain(value) for name, value in item.items()})
        row = (*_key(item), size, json.dumps(item, separators=(",", ":")))
        self._rows.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", row)
        return -(-size // WRITE_UNIT)


def _span(asked: Mapping[str, Any]) -> tuple[str, str]:
    """From which sort key, and up to which, a query asks."""
    values = {name: value["S"] for name, value in asked["ExpressionAttributeValues"].items()}
    condition = asked["KeyConditionExpression"].removeprefix("pk = :pk AND ")
    if condition == "sk > :after":
        return values[":after"] + "\0", "\U0010ffff"
    if condition == "sk BETWEEN :first AND :last":
        return values[":first"], values[":last"] + "\0"
    prefix = values[condition.removeprefix("begins_with(sk, ").removesuffix(")")]
    return prefix, prefix + "\U0010ffff"


def _key(key: Mapping[str, Any]) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As `size_of` takes it: bytes are sent as base64, which is a third longer."""
    ((kind, content),) = value.items()
    return {kind: bytes(len(content) * 3 // 4)} if kind == "B" else {kind: content}


def _consumed(units: int) -> str:
    return f'"ConsumedCapacity":{{"CapacityUnits":{units}}}'


# The day --------------------------------------------------------------------------------------------------------------


def fill(client: Any, organization: str, day: date, decisions: int) -> None:
    """Have so many requests of a day decided."""
    Accounts(client, TABLE).put(account(organization))
    classifier = Classifier(Ledger(client, TABLE), Quarantine(client, TABLE), shipped("data-sharing"))
    messages = _messages(organization, day, decisions)
    while batch := list(islice(messages, MESSAGES)):
        outcome = classifier.classify(batch)
        if outcome.unfinished or outcome.quarantined:
            raise AssertionError(f"events of a benchmark must be decided: {outcome.causes}, {outcome.quarantined[:1]}")


def _messages(organization: str, day: date, decisions: int) -> Iterator[Message]:
    for start in range(0, decisions, EVENTS):
        events = list(_events(organization, day, range(start, min(start + EVENTS, decisions))))
        yield Message(f"m{start}", organization, json.dumps(events), datetime.now(UTC))


def _events(organization: str, day: date, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Of three projects and four models; their ids are in no order of time."""
    sender = Sender(organization)
    for number in numbers:
        when = moment.midnight(day) + timedelta(seconds=number % 86_400)
        yield sender.event(number, random.Random(number)) | {"time": moment.text(when)}


@dataclass(frozen=True)
class Closing:
    """What closing a day took. `peak_mb`: the process's most; `start_mb`: before it read anything."""

    decisions: int
    cpu_s: float
    wall_s: float
    start_mb: float
    peak_mb: float
    calls: int
    read_units: float
    write_units: float


def closing(client: Any, organization: str, day: date) -> Closing:
    """Close a day that `fill` filled. Raises AssertionError if it does not hold."""
    ledger, statements, meter = Ledger(client, TABLE), Statements(client, TABLE), Meter()
    offer, found = shipped("data-sharing"), []

    def work() -> None:
        found.append(
            close(
                ledger,
                statements,
                organization,
                day,
                offer_of=lambda _: offer,
                now=lambda: datetime.now(UTC),
                hurry=lambda: False,
            )
        )

    start = _peak_mb()
    with meter.attached(client):
        spent = took(work)
    (closed,) = found
    if not isinstance(closed, Closed) or closed.statement is None or not closed.proof.holds:
        raise AssertionError(f"the day does not hold: {closed}")
    decisions = closed.statement["decisions"]
    figures = meter.calls, meter.read_units, meter.write_units
    return Closing(decisions, round(spent.cpu, 1), round(spent.wall, 1), start, _peak_mb(), *figures)


def _peak_mb() -> float:
    """The most memory that this process had so far."""
    per_mb = 1024 * 1024 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb, 1)


# The command ----------------------------------------------------------------------------------------------------------


def _fill(file: Path, day: date, decisions: int) -> None:
    with contextlib.closing(Store(file)) as store:
        fill(store.client(), ORGANIZATION, day, decisions)


def _close(file: Path, day: date) -> Closing:
    with contextlib.closing(Store(file)) as store:
        return closing(store.client(), ORGANIZATION, day)


def found_so_far() -> str:
    """The figures of the last run's two largest days as a table of Markdown; `ratio`: of the larger to the smaller."""
    *_, smaller, larger = (Closing(**each) for each in json.loads(RESULTS.read_text(encoding="utf-8")))
    return _table("a day", smaller, "a larger day", larger)


def _table(left: str, smaller: Closing, right: str, larger: Closing) -> str:
    named: dict[str, Callable[[Closing], float]] = {
        "decisions": lambda each: each.decisions,
        "seconds of CPU": lambda each: each.cpu_s,
        "seconds on the clock": lambda each: each.wall_s,
        "µs of CPU a decision": lambda each: round(each.cpu_s / each.decisions * 1e6, 1),
        "MB of memory at most": lambda each: each.peak_mb,
        "MB of it before closing": lambda each: each.start_mb,
        "calls": lambda each: each.calls,
        "units read": lambda each: each.read_units,
        "units written": lambda each: each.write_units,
    }
    figures = ((name, figure(smaller), figure(larger)) for name, figure in named.items())
    rows = (f"| {name} | {small:,} | {large:,} | {large / small:.2f} |" for name, small, large in figures)
    return "\n".join((f"| figure | {left} | {right} | ratio |\n|---|---:|---:|---:|", *rows))


def _measured(decisions: int) -> Closing:
    """A day made and closed, each in a process of its own."""
    day = moment.day_of(datetime.now(UTC)) - moment.DAY
    with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1, maxtasksperchild=1) as alone:
        file = Path(folder) / "day.sqlite"
        print(f"{decisions:,} decisions are being made ...", file=sys.stderr)
        alone.apply(_fill, (file, day, decisions))
        print("their day is being closed ...", file=sys.stderr)
        return alone.apply(_close, (file, day))


def _measured_by(checkout: Path, decisions: int) -> Closing:
    """The same by the code of another checkout, which may know nothing of this benchmark."""
    path = os.pathsep.join([str(checkout), str(checkout / "layers" / "core")])
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-P", __file__, "--json", str(decisions)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Closing(**json.loads(done.stdout))


def main() -> None:
    """A run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("decisions", nargs="*", type=int, default=DECISIONS)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--earlier", type=Path, metavar="CHECKOUT", help="close each day with that code too")
    how.add_argument("--json", action="store_true", help="print the figures and keep nothing")
    given = parser.parse_args()
    found: list[Closing] = []
    for decisions in given.decisions:
        if given.earlier:
            earlier = _measured_by(given.earlier.resolve(), decisions)
            print(_table("earlier", earlier, "now", _measured(decisions)), flush=True)
            continue
        found.append(_measured(decisions))
        if given.json:
            print(json.dumps(asdict(found[-1])))
        elif len(found) > 1:
            RESULTS.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
            print(found_so_far(), flush=True)


if __name__ == "__main__":
    main()
