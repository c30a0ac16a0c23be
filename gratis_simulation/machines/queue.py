"""The usage queue, in this process: FIFO by message group, at least once, dropping duplicates for 5 minutes."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gratis import moment
from gratis_simulation.machines.table import Unknown, error

MAX_ENTRIES = 10
DEDUPLICATED = timedelta(minutes=5)
INVISIBLE = timedelta(minutes=6)
HELD = datetime.max.replace(tzinfo=UTC)
"""When a message is visible again whose worker is alive, where the queue keeps its promise of one worker a group."""


@dataclass(eq=False)
class Sent:
    """A message. `place`: how many came before it; `visible_at`: when it may be received again."""

    place: int
    group: str
    body: str
    attributes: dict[str, Any]
    sent_at: datetime
    visible_at: datetime
    deliveries: int = 0

    @property
    def id(self) -> str:
        return f"message-{self.place}"

    @property
    def organization(self) -> str:
        """Whose it is: a partition key may be one of several of an organization."""
        return self.group.partition("#")[0]

    @property
    def lane(self) -> tuple[str, str]:
        """Messages of one lane are kept in order: the way by which they came, and their group."""
        return type(self).__name__, self.group

    @property
    def received_at(self) -> datetime:
        """When the webhook took it, as far as it says so; else when the queue did, in milliseconds."""
        if self.attributes:
            return moment.parse(self.attributes["received_at"]["StringValue"])
        return datetime.fromtimestamp(self._sent_milliseconds / 1000, UTC)

    @property
    def _sent_milliseconds(self) -> int:
        return int(self.sent_at.timestamp() * 1000)

    def record(self) -> dict[str, Any]:
        """As Lambda hands it to the function."""
        attributes = {
            name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
            for name, value in self.attributes.items()
        }
        return {
            "messageId": self.id,
            "body": self.body,
            "attributes": {"MessageGroupId": self.group, "SentTimestamp": str(self._sent_milliseconds)},
            "messageAttributes": attributes,
        }


def stated(received_at: datetime) -> dict[str, Any]:
    """The attributes of a message that says when it was received."""
    return {"received_at": {"DataType": "String", "StringValue": moment.text(received_at)}}


@dataclass
class Queue:
    """`sent`: whatever came by any way, in order; `waiting`: the messages not yet deleted, in order."""

    now: Callable[[], datetime]
    fifo: bool = True
    sent: list[Sent] = field(default_factory=list)
    waiting: list[Sent] = field(default_factory=list)
    _known: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def send_message_batch(self, *, refuse: Collection[int] = (), **request: Any) -> dict[str, Any]:
        """Stores messages, each by itself. `refuse`: the places of those that it does not take this time."""
        if request.keys() != {"QueueUrl", "Entries"}:
            raise Unknown(f"parameters {sorted(request)}")
        entries = request["Entries"]
        if not 1 <= len(entries) <= MAX_ENTRIES:
            raise error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", str(len(entries)), "SendMessageBatch")
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for place, entry in enumerate(entries):
            if place in refuse:
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                self._store(entry)
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def _store(self, entry: dict[str, Any]) -> None:
        named = (entry["MessageGroupId"], entry["MessageDeduplicationId"])
        known = self._known.get(named)
        if known is None or self.now() - known >= DEDUPLICATED:
            self._known[named] = self.now()
            self.put(entry["MessageGroupId"], entry["MessageBody"], entry["MessageAttributes"])

    def put(self, group: str, body: str, attributes: dict[str, Any]) -> None:
        """A message at the end of the queue."""
        message = Sent(len(self.sent), group, body, attributes, self.now(), self.now())
        self.sent.append(message)
        self.waiting.append(message)

    def receive(self, max_messages: int) -> list[Sent]:
        """The next messages, now invisible for a while; of a group nothing while some of it is in flight."""
        messages = list(self._visible())[:max_messages]
        for message in messages:
            message.visible_at = HELD if self.fifo else self.now() + INVISIBLE
            message.deliveries += 1
        return messages

    def let_go(self, message: Sent) -> None:
        """Its worker died, did not finish it, or could not delete it: it comes again after a while."""
        if message.visible_at == HELD:
            message.visible_at = self.now() + INVISIBLE

    def has_visible(self) -> bool:
        """Whether there is something to receive."""
        return next(self._visible(), None) is not None

    def _visible(self) -> Iterator[Sent]:
        blocked: set[str] = set()
        for message in self.waiting:
            if message.visible_at > self.now():
                blocked.add(message.group)
            elif not self.fifo or message.group not in blocked:
                yield message

    def delete(self, message: Sent) -> None:
        """It was dealt with."""
        if message in self.waiting:
            self.waiting.remove(message)

    def next_visible_at(self) -> datetime | None:
        """When the next message comes back that is in flight now."""
        later = (message.visible_at for message in self.waiting if message.visible_at > self.now())
        return min((moment for moment in later if moment != HELD), default=None)
