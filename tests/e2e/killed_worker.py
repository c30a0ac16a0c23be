"""Workers in processes of their own, to be killed at any moment: each hands to a real function what Lambda would.

What a worker has to remember lies in files, in the queue and in the streams, as with Lambda: a sender's list of the
bodies that were taken, a client's list of what it was answered, the messages that were not deleted (killed_intake.py),
the place in the table's stream up to which all was emitted.
"""

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from standardwebhooks.webhooks import Webhook

from gratis import moment
from gratis.account.asked import Wanted
from gratis.account.reservations import Reservations
from gratis.config import config
from gratis.errors import Busy
from gratis.http import Refused
from gratis.table.ledger import Ledger
from gratis_local.functions import Context, handler_of
from tests.e2e.killed_intake import Intake, say

PAGE = 200
"""Records of the stream at once."""
TOO_MANY = 429
"""Reservations are open in a group, says the API: 200."""
TOGETHER = 20
"""Reservations that a client has open at once, at most."""


@dataclass(frozen=True)
class Place:
    """Where workers work. `environments`: of the functions by folder; `folder`: what outlives a worker.

    `intake`: where events wait for their decision; `stream`: of the table.
    """

    environments: Mapping[str, Mapping[str, str]]
    folder: Path
    webhook_secret: str
    intake: Intake
    stream: str

    @property
    def bodies(self) -> Path:
        """The bodies to be posted, one a line."""
        return self.folder / "bodies.jsonl"

    @property
    def wanted(self) -> Path:
        """What is to be reserved, and the events that then come, one reservation a line."""
        return self.folder / "wanted.jsonl"

    @property
    def log(self) -> Path:
        """What the functions and the workers say."""
        return self.folder / "log.jsonl"

    @property
    def emitted(self) -> Path:
        """Sequence number of the last stream record whose batch was emitted."""
        return self.folder / "emitted"

    def taken(self, share: int) -> Path:
        """Numbers of the bodies of a sender's share that were answered with 202."""
        return self.folder / f"taken-{share}"

    def told(self, share: int) -> dict[str, Any]:
        """What a client was answered, with the events that it sends then, by reservation; the last word on each."""
        file = self.folder / f"told-{share}"
        lines = map(json.loads, file.read_text().splitlines() if file.exists() else ())
        return {each["id"]: each for each in lines}

    def tell(self, share: int, told: Mapping[str, Any]) -> None:
        """Write down what a client was answered, or that it is done with it."""
        with (self.folder / f"told-{share}").open("a") as file:
            file.write(json.dumps(told) + "\n")


def send(place: Place, share: int, shares: int, seed: int) -> None:
    """Post the bodies of a share, each again until it is taken; what a killed sender posted unheard goes again."""
    os.environ.update(place.intake.way_in(share))
    post, done = poster(place), set(numbers(place.taken(share)))
    for number, body in enumerate(place.bodies.read_text().splitlines()):
        if number % shares != share or number in done:
            continue
        post(body)
        with place.taken(share).open("a") as taken:
            taken.write(f"{number}\n")


def poster(place: Place) -> Callable[[str], None]:
    """What posts a body until it is taken."""
    handle, webhook = handler_of("receive_usage"), Webhook(place.webhook_secret)

    def post(body: str) -> None:
        while handle(_signed(webhook, body), Context("receive_usage"))["statusCode"] != 202:
            pass

    return post


def reserve(place: Place, share: int, shares: int, seed: int) -> None:
    """Reserve for some requests; then each comes, or comes too late, or its reservation is released.

    What a client is answered it writes down before it goes on. One that is killed before that asks again.
    """
    os.environ.update(place.intake.way_in(share))
    post, wanted = poster(place), list(map(json.loads, place.wanted.read_text().splitlines()))[share::shares]
    for start in range(0, len(wanted), TOGETHER):
        told = place.told(share)
        some = [each for each in wanted[start : start + TOGETHER] if not told.get(each["id"], {}).get("done")]
        for each in some:
            if each["id"] not in told:
                told[each["id"]] = _reserved(each)
                place.tell(share, told[each["id"]])
        for each in some:
            _use(each, told[each["id"]], post)
            place.tell(share, told[each["id"]] | {"done": True})


def _reserved(wanted: Any) -> dict[str, Any]:
    """The answer to a reservation, and the events that follow it, which occur when it was made."""
    asked = Wanted.model_validate(wanted["body"])
    (answer, _), now = _until_answered(lambda desk: desk.reserve(asked), wanted)
    if ends := answer["expires_at"]:
        now = moment.parse(ends) - timedelta(seconds=asked.expires_in)
    at = moment.text(now)
    days = ({"day": at[:10]} if each["type"] == "usage.void" else {} for each in wanted["events"])
    events = [each | {"time": at, "data": each["data"] | day} for each, day in zip(wanted["events"], days, strict=True)]
    return {"id": asked.id, "verdict": answer["verdict"], "expires_at": ends, "events": events}


def _use(wanted: Any, told: Any, post: Callable[[str], None]) -> None:
    if not told["events"]:
        _until_answered(lambda desk: desk.release(told["id"]), wanted)
        return
    while wanted["is_late"] and told["expires_at"] and datetime.now(UTC) < moment.parse(told["expires_at"]):
        time.sleep(0.05)
    post(json.dumps(told["events"]))


def _until_answered(ask: Callable[[Reservations], Any], wanted: Any) -> tuple[Any, datetime]:
    """What the account's code answers, and when it was asked: again while others are faster, or too much is reserved.

    What is sent settles its reservation only when it is decided, and that may take long where workers are killed.
    """
    ledger = Ledger(boto3.client("dynamodb"), config().table)
    while True:
        now = datetime.now(UTC)
        try:
            return ask(Reservations(ledger, config().offer, wanted["organization"], now)), now
        except Busy:
            say(BusyReservations=1)
        except Refused as refused:
            if refused.status != TOO_MANY:
                raise
            time.sleep(0.05)


def classify(place: Place, share: int, shares: int, seed: int) -> None:
    """Take batches, let the function decide them, and say what it finished."""
    handle = handler_of("classify_usage")
    for batch in place.intake.batches(random.Random(seed)):
        say(Batches=1, Messages=len(batch.records), Redelivered=batch.again)
        answer = handle({"Records": batch.records}, Context("classify_usage"))
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        say(Unfinished=len(failed))
        batch.finish(failed)


def emit(place: Place, share: int, shares: int, seed: int) -> None:
    """Read the stream from where the last worker got to, and let the function emit it."""
    handle, streams = handler_of("emit_billing"), boto3.client("dynamodbstreams")
    while True:
        records = read(streams, place.stream, place.emitted.read_text() if place.emitted.exists() else "")
        if not records:
            continue
        answer = handle({"Records": records}, Context("emit_billing"))
        if not answer["batchItemFailures"]:
            unfinished = place.emitted.with_suffix(".new")
            unfinished.write_text(records[-1]["dynamodb"]["SequenceNumber"])
            unfinished.replace(place.emitted)


def read(streams: Any, stream: str, after: str, most: int = PAGE) -> list[dict[str, Any]]:
    """Records of the stream after a sequence number; of its beginning if there is none."""
    since = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after} if after else {}
    (shard,) = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=stream, ShardId=shard["ShardId"], **({"ShardIteratorType": "TRIM_HORIZON"} | since)
    )["ShardIterator"]
    found: list[dict[str, Any]] = streams.get_records(ShardIterator=iterator, Limit=most)["Records"]
    return found


def numbers(file: Path) -> list[int]:
    """The whole lines of a file of numbers; a worker may have been killed in the middle of its last one."""
    text = file.read_text() if file.exists() else ""
    return [int(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _signed(webhook: Webhook, body: str) -> dict[str, Any]:
    message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(message_id, now, body),
    }
    return {"rawPath": "/v1/usage-events", "headers": headers, "body": body, "isBase64Encoded": False}


def _witness() -> None:
    """Count the transactions that were refused because another worker had changed the document meanwhile."""

    def cancelled(parsed: Any, **_: Any) -> None:
        reasons = parsed.get("CancellationReasons", [])
        if reasons and reasons[0].get("Code") == "ConditionalCheckFailed":
            say(OvertakenCommits=1)

    boto3.setup_default_session()
    boto3._get_default_session().events.register("after-call.dynamodb.TransactWriteItems", cancelled)


Work = Callable[[Place, int, int, int], None]
WORK: dict[str, tuple[str, Work]] = {
    "sender": ("receive_usage", send),
    "client": ("receive_usage", reserve),
    "classifier": ("classify_usage", classify),
    "emitter": ("emit_billing", emit),
}
"""The function that each kind of worker runs, and what it does. A client asks the account's code itself."""


def work(kind: str, place: Place, share: int, shares: int, seed: int) -> None:
    """What a worker's process does until it is killed."""
    function, does = WORK[kind]
    os.environ.update(place.environments[function])
    log = os.open(place.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _witness()
    does(place, share, shares, seed)
