"""Usage events as senders post them, and the batches of the queue that the webhook makes of them."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gratis import moment
from gratis.intake.queue import UsageQueue
from gratis.intake.receive import receive
from gratis.intake.sources import WEBHOOK
from gratis.rules.account import Account, Profile, Settings, Sharing
from gratis.table.quarantine import Quarantine

MODELS = {
    "gpt-4o-mini-2024-07-18": 50,
    "gpt-4o-2024-08-06": 25,
    "gpt-4.1-mini-2025-04-14": 15,
    "o4-mini-2025-04-16": 10,
}
"""What is asked how often: models of both groups."""
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
QUEUE_BATCH = 10
"""Messages that Lambda takes from a FIFO queue at once."""


@dataclass(frozen=True)
class Sender:
    """Events of one organization, spread over its projects and models as the weights say."""

    organization: str
    projects: Sequence[str] = ("proj_web", "proj_app", "proj_batch")
    models: Sequence[str] = tuple(MODELS)

    def event(self, number: int, dice: random.Random) -> dict[str, Any]:
        """A request of a few hundred tokens, as a chat makes it."""
        return self.event_of(number, dice.randint(50, 400), dice.randint(10, 200), dice)

    def event_of(self, number: int, tokens_in: int, tokens_out: int, dice: random.Random) -> dict[str, Any]:
        """A request of so many tokens, of which up to half came from the cache."""
        (model,) = dice.choices(self.models, [MODELS[each] for each in self.models])
        return {
            "specversion": "1.0",
            "type": "usage.request",
            "source": "https://gateway.example/eu-1",
            "id": f"req_{dice.getrandbits(96):024x}_{number}",
            "time": moment.text(datetime.now(UTC).replace(microsecond=number % 1000 * 1000)),
            "subject": self.organization,
            "data": {
                "project": dice.choice(self.projects),
                "model": model,
                "endpoint": "responses",
                "service_tier": "default",
                "usage": {
                    "input_tokens": tokens_in,
                    "input_tokens_details": {"cached_tokens": dice.randint(0, tokens_in // 2)},
                    "output_tokens": tokens_out,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": tokens_in + tokens_out,
                },
            },
        }


def account(organization: str) -> Account:
    """An organization of tier 4 that shares its traffic."""
    sharing = Settings(effective_at=LONG_AGO, actor="owner@example.com", traffic=Sharing(mode="enabled"))
    return Account(id=organization, profile=(Profile(effective_at=LONG_AGO, tier=4),), sharing=(sharing,))


def queued(bodies: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """The messages that receive_usage makes of the bodies it is sent, as Lambda would hand them on."""
    sent = _Sent()
    queue, quarantine = UsageQueue(sent, "usage.fifo"), Quarantine(None, "")  # type: ignore[arg-type]
    for events in bodies:
        received = receive(WEBHOOK, events, datetime.now(UTC), queue, quarantine)
        if received.quarantined:
            raise AssertionError(f"events of a benchmark must be valid: {received.quarantined[0]}")
    return sent.messages


def batches(messages: Sequence[dict[str, Any]], size: int = QUEUE_BATCH) -> Iterator[dict[str, Any]]:
    """Lambda's batches of the messages, in order."""
    for start in range(0, len(messages), size):
        yield {"Records": list(messages[start : start + size])}


class _Sent:
    """A queue's client that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send_message_batch(self, QueueUrl: str, Entries: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002, N803
        for entry in Entries:
            attributes = entry["MessageAttributes"]["received_at"]
            self.messages.append(
                {
                    "messageId": f"message-{len(self.messages)}",
                    "body": entry["MessageBody"],
                    "attributes": {"MessageGroupId": entry["MessageGroupId"]},
                    "messageAttributes": {"received_at": {"stringValue": attributes["StringValue"]}},
                }
            )
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}
