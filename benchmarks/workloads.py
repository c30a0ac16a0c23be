"""The workloads: which events, in which batches. Each run has organizations of its own, so that none meets another."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from benchmarks.traffic import MODEL_OF_NO_GROUP, MODELS, QUEUE, Intake, Sender, batches, queued
from gratis.http import body_of
from gratis.intake.stream import message_of

ORGANIZATIONS = 10_000
EXPONENT = 1.2
"""Of Zipf's law, assumed (the page tabulates others): the most active organization sends about a fifth of all events,
the ten most active half."""
EVENTS_A_SECOND = 2_000
WINDOW_SECONDS = 4
"""How long a sender collects: a body then nears the 4 MB that the webhook takes."""


@dataclass(frozen=True)
class Load:
    """What a workload hands to classify_usage. `before`: batches that are decided first and not measured."""

    organizations: Sequence[str]
    batches: Sequence[dict[str, Any]]
    before: Sequence[dict[str, Any]] = ()

    @property
    def events(self) -> int:
        """How many events are measured."""
        return sum(text_of(record).count('"specversion"') for batch in self.batches for record in batch["Records"])


def text_of(record: dict[str, Any]) -> str:
    """The events of a message of the queue, or of a record of the stream."""
    return message_of(record).body if "kinesis" in record else str(record["body"])


def single(prefix: str, events: int) -> Load:
    """Single events of one organization, each a batch of its own. The first also begins the organization's day."""
    sender, dice = Sender(f"{prefix}_org", models=("gpt-4o-mini-2024-07-18",)), random.Random(1)
    messages = queued([sender.event(number, dice)] for number in range(events))
    return Load([sender.organization], list(batches(messages, 1)))


def batch_100(prefix: str, events: int) -> Load:
    """Batches of 100 events of one organization, of both groups."""
    sender, dice = Sender(f"{prefix}_org"), random.Random(2)
    messages = queued(_bodies(sender, events, dice))
    return Load([sender.organization], list(batches(messages, 1)))


def spent_quota(prefix: str, events: int) -> Load:
    """The same with the quota spent: every event is billed."""
    sender, dice = Sender(f"{prefix}_org"), random.Random(3)
    large = Sender(sender.organization, models=("gpt-4o-2024-08-06",)).event_of(0, 999_999, 1, dice)
    mini = Sender(sender.organization, models=("gpt-4o-mini-2024-07-18",)).event_of(1, 9_999_999, 1, dice)
    before = list(batches(queued([[large, mini]])))
    return Load([sender.organization], list(batches(queued(_bodies(sender, events, dice)), 1)), before)


def hot_organization(prefix: str, events: int) -> Load:
    """One organization at full speed: its messages wait in the queue, so every batch is full."""
    sender, dice = Sender(f"{prefix}_org"), random.Random(4)
    return Load([sender.organization], list(batches(queued(_bodies(sender, events, dice)))))


def zipf_day(prefix: str, events: int) -> Load:
    """Of 10,000 organizations at 2,000 events a second, each one's day begun before: some of the queue's batches.

    They lie evenly over the body, since its first batches hold the most active organizations; so many that they hold
    about `events`.
    """
    dice = random.Random(5)
    senders = [_zipf_sender(f"{prefix}_org{rank}", dice) for rank in range(1, ORGANIZATIONS + 1)]
    weights = list(accumulate(1 / rank**EXPONENT for rank in range(1, ORGANIZATIONS + 1)))
    chosen = dice.choices(senders, cum_weights=weights, k=EVENTS_A_SECOND * WINDOW_SECONDS)
    events_of_body = [sender.event(number, dice) for number, sender in enumerate(chosen)]
    body_of({"body": json.dumps(events_of_body, separators=(",", ":"))})  # refused if it is too large
    whole = list(batches(queued([events_of_body])))
    step = len(chosen) // events
    sample = whole[step // 2 :: step]
    found = {message["attributes"]["MessageGroupId"] for batch in sample for message in batch["Records"]}
    present = [sender for sender in senders if sender.organization in found]
    begun = [sender.event(number, dice) for number, sender in enumerate(present)]
    return Load(sorted(found), sample, list(batches(queued([begun]))))


GROUPS = ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", MODEL_OF_NO_GROUP)
"""A model of each: what the groups `1m` and `10m` list, and what none does. Each has a document of its own."""


def single_stream(prefix: str, events: int, intake: Intake = QUEUE) -> Load:
    """Single events of 10,000 organizations, each in three groups alike, each group's day begun before.

    The organizations take turns as Zipf's law says, and their events lie in the order of their arrival.
    """
    dice = random.Random(6)
    ranks = range(1, ORGANIZATIONS + 1)
    weights = list(accumulate(1 / rank**EXPONENT for rank in ranks))
    chosen = dice.choices(ranks, cum_weights=weights, k=events)
    senders = {rank: [_of_group(f"{prefix}_org{rank}", model) for model in GROUPS] for rank in sorted(set(chosen))}
    begun = [sender.event(number, dice) for number, groups in enumerate(senders.values()) for sender in groups]
    singles = [[dice.choice(senders[rank]).event(number, dice)] for number, rank in enumerate(chosen)]
    organizations = [sender.organization for sender, *_ in senders.values()]
    return Load(organizations, intake.batches(singles), intake.batches([begun]))


def _of_group(organization: str, model: str) -> Sender:
    return Sender(organization, ("proj_main",), (model,))


def hot_single(prefix: str, events: int, intake: Intake = QUEUE) -> Load:
    """One organization of single events at full speed: they wait, so every batch is as full as the intake makes it."""
    sender, dice = Sender(f"{prefix}_org"), random.Random(7)
    return Load([sender.organization], intake.batches([sender.event(number, dice)] for number in range(events)))


def _zipf_sender(organization: str, dice: random.Random) -> Sender:
    """An organization has a project and a model of its own."""
    (model,) = dice.choices(tuple(MODELS), tuple(MODELS.values()))
    return Sender(organization, ("proj_main",), (model,))


def _bodies(sender: Sender, events: int, dice: random.Random) -> list[list[Any]]:
    return [[sender.event(number, dice) for number in range(start, start + 100)] for start in range(0, events, 100)]
