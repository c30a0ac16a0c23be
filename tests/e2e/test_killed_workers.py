"""A day of traffic while its workers are killed: real processes, SIGKILL at any moment, and then the day is proved.

A day is played over each intake. Senders run receive_usage, classifiers take batches of the queue or of the stream's
shards and run classify_usage, an emitter reads the ledger's stream and runs emit_billing, clients reserve and then send
what they reserved for, each in a process of its own on the deployed template's resources. Among the events are voids,
before, with and after the requests that they take back, and again. One worker after another is killed, and a new one
takes its place; or it is stopped for longer than what it works on is held for it, and then goes on. Half of the traffic
takes a second queue, which keeps no order, or is spread over several partition keys. So events come again while another
worker still decides them, and different ones of an organization are decided at once: several writers on one counter.

`make e2e` plays short days; `make kill-day` days of 20,000 events (KILLED_DAY_EVENTS). The seed is printed, and chosen
with KILLED_DAY_SEED; how far a worker has got when it is killed is up to the machine.
"""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from gratis import moment
from gratis.closing.proof import Proof
from gratis.closing.proving import prove
from gratis.intake.events import parse_event
from gratis.rules.account import Account
from gratis.rules.decision import Books, Case, case_of, settle
from gratis.rules.offer import EVALS, Offer
from gratis.rules.offer_file import offer_from
from gratis.rules.receipt import Decision
from gratis.rules.request import VOID, RequestKey, Void
from gratis.rules.void import VoidCase, void_case
from gratis.rules.window import Counter, CounterId
from gratis.table.accounts import Accounts
from gratis.table.decision_items import decision_of
from gratis.table.keys import is_document
from gratis.table.ledger import Document, _document
from gratis_local.functions import ROOT
from gratis_local.stack import LOCAL_CREDENTIALS
from gratis_local.up import running
from tests.builders import ledger
from tests.builders.events import LARGE, SMALL, usage, void_of
from tests.builders.ledger import Stored, plain, stored, totals_by_day
from tests.e2e.killed_intake import HELD_SECONDS, SHARDS, Intake, Queues, Shards
from tests.e2e.killed_worker import WORK, Place, read, work
from tests.e2e.system import System, subscribed
from tests.e2e.test_exactly_once import in_chat_shape

EVENTS = int(os.environ.get("KILLED_DAY_EVENTS", "320"))
SEED = int(os.environ.get("KILLED_DAY_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
PATIENCE_SECONDS = 120 + EVENTS // 10
"""How long the day may take; it decides only how soon a test that fails says so."""
CREW = ("client", "client", "sender", "sender", "classifier", "classifier", "classifier", "emitter")
MAX_RECEIVES = 1000
"""A message may come this often before it is a dead letter: here it is the workers that fail, not the message."""
ENABLED: Mapping[str, Any] = {"mode": "enabled"}
ORGANIZATIONS: Mapping[str, Mapping[str, Any]] = {
    "org_busy": {"tier": 4, "traffic": ENABLED},
    "org_low": {"tier": 1, "traffic": ENABLED},
    "org_some": {"tier": 4, "traffic": {"mode": "selected", "projects": ["proj_shared"]}},
    "org_private": {"tier": 4, "traffic": {"mode": "disabled"}},
    "org_reserving": {"tier": 1, "traffic": ENABLED},
}
RESERVING = "org_reserving"
"""Its requests are of today: a reservation is for a request that comes now."""
RESERVATIONS = EVENTS // 16
PRELOADED = ["tests.e2e.killed_worker", "aws_lambda_powertools.metrics", "gratis.classify"]
"""What a new worker need not load: it is forked from a process that has it."""
WEIGHTS = (6, 2, 2, 1, 1)
"""How the traffic is spread over them."""
SHIPPED = ROOT / "layers/core/gratis/data/offers/data-sharing.json"


# --- the day's traffic ---------------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """The bodies that are posted. `sent`: the JSON of each valid event by request and payload hash."""

    bodies: list[list[Any]] = field(default_factory=list)
    sent: dict[RequestKey, dict[str, set[str]]] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)
    in_order: list[RequestKey] = field(default_factory=list)
    """Voids whose requests are sent before them by the same sender, whose way in keeps order."""
    ordered: set[RequestKey] = field(default_factory=set)
    """The requests that this sender has sent."""

    @property
    def voids(self) -> dict[RequestKey, dict[str, set[str]]]:
        """Of what is sent, what takes a decision back."""
        return {key: sent for key, sent in self.sent.items() if key.request_id.endswith(VOID)}

    @property
    def requests(self) -> dict[RequestKey, dict[str, set[str]]]:
        """Of what is sent, what is decided whatever order it comes in."""
        return {key: sent for key, sent in self.sent.items() if key not in self.voids}

    @property
    def events(self) -> int:
        return sum(map(len, self.bodies))

    def post(self, events: list[Any]) -> None:
        """One more body. Every other one goes to the sender whose way in keeps order."""
        is_ordered = len(self.bodies) % 2 == 0
        self.bodies.append(events)
        for event in events:
            if event["type"] == "usage.unknown":
                self.invalid.add(canonical(event))
                continue
            request = parse_event(event, datetime.now(UTC))
            if isinstance(request, Void):
                self.in_order += [request.key] * (is_ordered and request.voided in self.ordered)
            elif is_ordered:
                self.ordered.add(request.key)
            self.sent.setdefault(request.key, {}).setdefault(request.payload_hash, set()).add(canonical(event))


def canonical(event: Any) -> str:
    return json.dumps(event, sort_keys=True)


def traffic_of(day: str, count: int, dice: random.Random) -> Traffic:
    """`count` events of a day: more than twice what the quotas hold; repeats, conflicts and invalid ones among them.

    And voids beside them: after their requests, right behind them, before them, twice, and of requests that never come.
    """
    traffic, fresh, events = Traffic(), [], []
    for number in range(count):
        event = any_request(f"req_{number}", day, count, dice)
        draw = dice.random()
        if fresh and draw < 0.08:
            again = dice.choice(fresh)
            event = again if dice.random() < 0.5 else in_chat_shape(again)
        elif fresh and draw < 0.11:
            event = with_tokens(dice.choice(fresh), 1_000_000 + number)
        elif draw < 0.13:
            event |= {"type": "usage.unknown"}
        else:
            fresh.append(event)
        events.append(event)
        if fresh and dice.random() < 0.15:
            void = void_of(dice.choice([fresh[-1], dice.choice(fresh)]), f"void_{number}")
            events += [void, void | {"id": f"again_{number}"}] if dice.random() < 0.2 else [void]
            if dice.random() < 0.2:  # before its request, or most often so
                events.insert(dice.randrange(len(events)), events.pop())
        if dice.random() < 0.01:
            events.append(void_of({**event, "id": f"nobodys_{number}"}, f"void_nobodys_{number}"))
    while events:
        size = dice.randint(1, max(20, count // 200))
        traffic.post(events[:size])
        events = events[size:]
    return traffic


def any_request(request_id: str, day: str, count: int, dice: random.Random) -> dict[str, Any]:
    largest = 30_000_000 // count
    at = f"{day}T{dice.randrange(24):02}:{dice.randrange(60):02}:{dice.randrange(60):02}Z"
    (organization,) = dice.choices(list(ORGANIZATIONS), WEIGHTS)
    at = moment.text(datetime.now(UTC)) if organization == RESERVING else at
    shape: Any = dice.choice(
        [
            {"tokens": dice.randrange(largest)},
            {"tokens": dice.randrange(largest)},
            {"tokens": dice.randrange(10 * largest), "model": SMALL},
            {"tokens": dice.choice((0, 1, 10))},
            {"tokens": dice.randrange(largest), "kind": "usage.eval_run"},
            {"tokens": dice.randrange(largest), "tools": ["web_search"]},
            {"tokens": dice.randrange(largest), "model": "gpt-of-another-kind"},
        ]
    )
    project = dice.choice(["proj_shared", "proj_other"])
    return usage(request_id, organization=organization, at=at, project=project, **{"model": LARGE} | shape)


def reservations(count: int, dice: random.Random) -> Iterator[dict[str, Any]]:
    """What clients reserve, twice what the quota holds, and what they send then; see `killed_worker.reserve`."""
    for number in range(count):
        tokens, name, draw = dice.randrange(1, 10_000_000 // count), f"res_{number}", dice.random()
        event = usage(name, dice.randint(0, tokens), organization=RESERVING, model=SMALL)
        is_late = number % 200 < 40 and number % 10 < 2  # of every fifth round: a client waits until they have expired
        body = {"id": name, "model": SMALL, "tokens": tokens, "expires_in": 2 if is_late else 3600}
        events = [event, void_of(event, f"void_{name}")] if draw < 0.2 else [event]
        is_released = draw > 0.8 and not is_late
        yield {
            "id": name,
            "organization": RESERVING,
            "body": body,
            "events": [] if is_released else events,
            "is_late": is_late,
        }


def with_tokens(event: Any, tokens: int) -> dict[str, Any]:
    """The same request with another payload."""
    counts = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    return {**event, "data": {**event["data"], "usage": counts}}


# --- the workers, and what happens to them -------------------------------------------------------------------------


@dataclass
class Worker:
    """A place in the crew, and the process that fills it now."""

    kind: str
    share: int
    process: Any = None
    stopped: bool = False


@dataclass
class Crew:
    """Processes that work on a place. `done`: what was done to them, by name."""

    place: Place
    dice: random.Random
    context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))
    workers: list[Worker] = field(default_factory=list)
    first: list[Worker] = field(default_factory=list)
    """Those to be killed before all others: at least one of each kind."""
    heard: int = 0
    """The size of the log at the last disturbance."""
    done: Tally[str] = field(default_factory=Tally)

    def begin(self) -> None:
        self.place.log.touch()
        self.context.set_forkserver_preload(PRELOADED)
        for number, kind in enumerate(CREW):
            self.workers.append(Worker(kind, CREW[:number].count(kind)))
            self._start(self.workers[-1])
        self.first = [each for each in self.workers if each.share == 0]

    def disturb(self) -> None:
        """Kill a worker, or stop one, if anything was done since the last; of those that are stopped some go on."""
        for each in self.workers:
            if each.stopped and self.dice.random() < 0.25:
                self._signal(each, signal.SIGCONT)
                each.stopped = False
        failed = [each.kind for each in self.workers if each.process.exitcode not in (None, 0)]
        assert not failed, f"{failed} failed: {self.place.log.read_text()[-3000:]}"
        said = self.place.log.stat().st_size
        if said == self.heard and not self.first:  # however slow the machine is, the day goes on
            return
        self.heard = said
        is_stopped = not self.first and self.dice.random() < 0.3
        victim = self.first.pop(0) if self.first else self.dice.choice(self.workers)
        if is_stopped:
            self._signal(victim, signal.SIGSTOP)
            victim.stopped = True
        elif victim.process.exitcode != 0:
            self._kill(victim)
            if victim.process.exitcode == -signal.SIGKILL:
                self.done[f"{victim.kind} SIGKILL"] += 1
                self._start(victim)

    def has_sent_all(self) -> bool:
        return all(each.process.exitcode == 0 for each in self.workers if each.kind in {"client", "sender"})

    def end(self, kinds: Collection[str] = WORK.keys()) -> None:
        for each in self.workers:
            if each.kind in kinds:
                self._kill(each)
        self.workers = [each for each in self.workers if each.kind not in kinds]

    def _start(self, worker: Worker) -> None:
        arguments = (worker.kind, self.place, worker.share, CREW.count(worker.kind), self.dice.randrange(10**9))
        worker.process = self.context.Process(target=work, args=arguments, daemon=True)
        worker.stopped = False
        worker.process.start()

    def _signal(self, worker: Worker, number: signal.Signals) -> None:
        try:
            os.kill(worker.process.pid, number)
        except ProcessLookupError:  # a sender that has sent its share
            return
        self.done[f"{worker.kind} {number.name}"] += 1

    def _kill(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()


# --- the day -------------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """A day that is over, and all that it left behind."""

    system: System
    place: Place
    offer: Offer
    traffic: Traffic
    accounts: Mapping[str, Account]
    crew: Crew
    begun: float = 0
    seconds: float = 0
    stored: Stored = field(default_factory=lambda: Stored({}, {}, {}, set(), []))
    told: dict[str, Any] = field(default_factory=dict)
    """What the clients were answered, by reservation."""
    committed: list[Decision | tuple[CounterId, Document]] = field(default_factory=list)
    """The decisions and the documents in the order of their commits."""

    def play(self) -> None:
        """Until all is decided; then what works on is the emitter, until all is emitted."""
        self.begun = time.monotonic()
        self.crew.begin()
        self._until(self.crew.has_sent_all)
        self.told = {
            name: each for share in range(CREW.count("client")) for name, each in self.place.told(share).items()
        }
        for each in self.told.values():
            self.traffic.post(each["events"])
        self._until(self._is_decided)
        self.crew.end(WORK.keys() - {"emitter"})
        self._until(self._is_emitted)
        self.crew.end()
        self.seconds = time.monotonic() - self.begun
        self.stored = stored(self.system.client("dynamodb"), self.system.table)
        self.committed = [each for image in self._stream() for each in read_image(image)]

    @property
    def days(self) -> list[tuple[str, date]]:
        """All for which there is something to prove."""
        return sorted({(key.organization, key.day) for key in self.stored.decisions})

    def records(self, organization: str) -> list[dict[str, Any]]:
        return self.system.bus.records(organization)

    def prove(self, organization: str, day: date) -> Proof:
        proof = prove(self.system.ledger, organization, day, lambda _: self.offer, datetime.now(UTC))
        assert isinstance(proof, Proof)
        return proof

    def figures(self) -> dict[str, Any]:
        """What happened, as the crew and the functions' own logs say."""
        counts: Tally[str] = Tally()
        for line in self.place.log.read_text().splitlines():
            try:
                counts.update(json.loads(line).get("counts", {}))
            except ValueError:  # its writer was killed
                continue
        names = ("Messages", "Redelivered", "Unfinished", "Repeats", "Conflicts", "OvertakenCommits")
        said = {name: counts[name] for name in names}
        day = {"intake": type(self.place.intake).__name__, "seed": SEED, "events": self.traffic.events}
        return {**day, "seconds": round(self.seconds), **self.crew.done, **said}

    def _until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            late = f"not over; seed {SEED}; so far {self.figures()}"
            assert time.monotonic() < self.begun + PATIENCE_SECONDS, late
            time.sleep(self.crew.dice.uniform(0.05, 0.5))
            self.crew.disturb()

    def _is_decided(self) -> bool:
        """A void may have been decided, or be in quarantine, so nothing waits for its record."""
        if not self.place.intake.is_read(self.system):
            return False
        expected = set(map(record_id, self.traffic.requests))
        return expected <= {each["id"] for name in ORGANIZATIONS for each in self.records(name)}

    def _is_emitted(self) -> bool:
        emitted = self.place.emitted.read_text()
        return not read(self.system.client("dynamodbstreams"), self.place.stream, emitted, 1)

    def _stream(self) -> Iterator[dict[str, Any]]:
        streams, after = self.system.client("dynamodbstreams"), ""
        while records := read(streams, self.place.stream, after, 1000):
            yield from (record["dynamodb"].get("NewImage", {}) for record in records)
            after = records[-1]["dynamodb"]["SequenceNumber"]


@pytest.fixture(scope="module", params=["queue", "stream"])
def played(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Played]:
    """One day over this intake, played to its end."""
    folder, dice = tmp_path_factory.mktemp("killed"), random.Random(SEED)
    state = folder / "up" / "up.json"
    with running(state=state, intake=request.param) as (stack, up), urllib3.PoolManager() as http:
        system = System(stack, up, http, subscribed(stack))
        accounts = {name: put_account(system, name, **chosen) for name, chosen in ORGANIZATIONS.items()}
        offer = offer_with_runs(folder)
        place = prepared(system, folder, offer, request.param)
        traffic = traffic_of(f"{system.yesterday}", EVENTS, dice)
        wanted = reservations(RESERVATIONS, dice)
        place.wanted.write_text("".join(json.dumps(each) + "\n" for each in wanted))
        place.bodies.write_text("".join(json.dumps(body) + "\n" for body in traffic.bodies))
        played = Played(system, place, offer_from(str(offer)), traffic, accounts, Crew(place, dice))
        try:
            played.play()
        finally:
            played.crew.end()
            sys.stdout.write(json.dumps(played.figures(), indent=1) + "\n")
        yield played


def offer_with_runs(folder: Path) -> Path:
    """The offer that ships, but its evaluation runs do not end: today is played, whenever that is."""
    stated = json.loads(SHIPPED.read_text()) | {"id": "with-runs", "evals": {"quotas": {"*": 7}}}
    file = folder / "offer.json"
    file.write_text(json.dumps(stated))
    return file


def prepared(system: System, folder: Path, offer: Path, intake: str) -> Place:
    """The deployed system with workers of our own in place of what Lambda runs; a worker may be slow, or gone."""
    sources = system.client("lambda")
    for source in sources.list_event_source_mappings()["EventSourceMappings"]:
        sources.delete_event_source_mapping(UUID=source["UUID"])
    stream = system.client("dynamodb").describe_table(TableName=system.table)["Table"]["LatestStreamArn"]
    environments = {
        function: {**environment_of(system, function), "OFFER": str(offer)} for function, _ in WORK.values()
    }
    way_in = shards(system, folder) if intake == "stream" else queues(system)
    return Place(environments, folder, system.up.webhook_secret, way_in, stream)


def queues(system: System) -> Intake:
    """The deployed queue, patient with workers that fail, and one that keeps no order."""
    sqs, queue = system.client("sqs"), system.stack.outputs["UsageQueueUrl"]
    dead_letters = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
    redrive = json.loads(dead_letters["Attributes"]["RedrivePolicy"]) | {"maxReceiveCount": MAX_RECEIVES}
    held = {"VisibilityTimeout": str(HELD_SECONDS)}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=held | {"RedrivePolicy": json.dumps(redrive)})
    return Queues((queue, sqs.create_queue(QueueName="usage-without-order", Attributes=held)["QueueUrl"]))


def shards(system: System, folder: Path) -> Intake:
    """The deployed stream, with several shards."""
    name = system.stack.outputs["UsageStreamName"]
    uniformly: Any = {"ScalingType": "UNIFORM_SCALING"}
    system.client("kinesis").update_shard_count(StreamName=name, TargetShardCount=SHARDS, **uniformly)
    return Shards(name, folder)


def environment_of(system: System, function: str) -> dict[str, str]:
    """What the function is deployed with. A classifier takes itself for one on AWS, and answers a shard as there."""
    name = system.function("".join(part.capitalize() for part in function.split("_")))
    deployed = system.client("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    services = ("_DYNAMODB", "_KINESIS", "_SQS") if function == "classify_usage" else ("",)
    endpoints = {f"AWS_ENDPOINT_URL{service}": system.up.endpoint_url for service in services}
    return LOCAL_CREDENTIALS | deployed | endpoints | {"POWERTOOLS_METRICS_DISABLED": "true"}


def put_account(system: System, name: str, tier: int, traffic: Any) -> Account:
    since = (datetime.now(UTC) - timedelta(days=60)).isoformat()
    shared = {"effective_at": since, "traffic": traffic, "evals": traffic}
    history = {"id": name, "profile": [{"effective_at": since, "tier": tier}], "sharing": [shared]}
    account = Account.model_validate(history)
    Accounts(system.client("dynamodb"), system.table).put(account)
    return account


def read_image(image: dict[str, Any]) -> Iterator[Decision | tuple[CounterId, Document]]:
    """The decision or the document that an item of the table is, as the stream carries it."""
    if "receipt" in image:
        yield plain(decision_of(image))
    elif image and is_document(image):
        yield _document(image)


def record_id(key: RequestKey) -> str:
    return f"{key.organization}:{key.day}:{key.request_id}"


# --- what it has to look like when all is over ----------------------------------------------------------------------


def test_workers_were_killed_and_came_back_while_others_wrote_to_the_same_counters(played: Played) -> None:
    figures = played.figures()
    killed = {kind for kind in WORK if played.crew.done[f"{kind} SIGKILL"]}
    assert killed == WORK.keys(), figures
    assert figures["Redelivered"] > 0, figures
    assert figures["OvertakenCommits"] > 0, figures


def test_every_event_ends_as_one_decision_or_one_quarantine_entry(played: Played) -> None:
    decisions, traffic = played.stored.decisions, played.traffic
    assert decisions.keys() - traffic.voids.keys() == traffic.requests.keys()
    assert [key for key, each in decisions.items() if each.payload_hash not in traffic.sent[key]] == []
    conflicts = {
        event
        for key, by_hash in traffic.requests.items()
        for payload_hash, events in by_hash.items()
        if payload_hash != decisions[key].payload_hash
        for event in events
    }
    assert conflicts
    kept = {(entry.code, canonical(json.loads(entry.raw))) for entry in played.stored.quarantine}
    unknown = {event for code, event in kept if code == "unknown_request"}
    assert kept - {("unknown_request", event) for event in unknown} == {("conflict", event) for event in conflicts} | {
        ("invalid_event", event) for event in traffic.invalid
    }
    voids = {event: key for key, by_hash in traffic.voids.items() for events in by_hash.values() for event in events}
    assert unknown <= voids.keys()
    assert {event for event, key in voids.items() if key not in decisions} <= unknown


def test_a_void_whose_request_came_before_it_in_order_is_decided(played: Played) -> None:
    assert played.traffic.in_order
    assert [key for key in played.traffic.in_order if key not in played.stored.decisions] == []
    of_nobody = [key for key in played.traffic.voids if key.request_id.startswith("nobodys_")]
    assert [key for key in of_nobody if key in played.stored.decisions] == []


def test_the_decisions_are_those_of_one_worker_in_the_order_of_the_commits(played: Played) -> None:
    found, decided = played.stored, dict[RequestKey, Decision]()
    counters: dict[CounterId, Books] = {}
    set_aside: dict[CounterId, Any] = {}
    for each in played.committed:
        if isinstance(each, Decision):
            case = case_again(played, each, decided)
            books = counters.get(case.counter, Books(Counter(), {}))
            counters[case.counter], (again,) = settle(books, [case], moment.parse(each.decided_at))
            assert plain(again) == each
            assert each.key not in decided
            decided[each.key] = each
        else:  # what a client reserved or released before this commit
            identity, document = each
            books = counters.get(identity, Books(Counter(), {}))
            counter = books.counter._replace(reservations=set_aside.get(identity, ()))
            counters[identity] = books._replace(counter=counter)
            set_aside[identity] = document.counter.reservations
    assert decided == found.decisions
    assert {identity: windows_of(found.documents[identity].counter) for identity in counters} == {
        identity: windows_of(books.counter) for identity, books in counters.items()
    }
    totals = totals_by_day(counters)
    assert {day: found.documents[day].totals for day in totals} == totals


def windows_of(counter: Counter) -> Counter:
    """The counter without its reservations, which are made and end between the decisions."""
    return counter._replace(reservations=())


def case_again(played: Played, decision: Decision, earlier: Mapping[RequestKey, Decision]) -> Case | VoidCase:
    """What was decided, from the event that was sent. A void is of a decision that was committed before it."""
    event = json.loads(min(played.traffic.sent[decision.key][decision.payload_hash]))
    request = parse_event(event, moment.parse(decision.received_at))
    if isinstance(request, Void):
        return void_case(request, earlier[request.voided], played.offer)
    return case_of(request, played.offer, played.accounts[request.organization])


def test_no_reservation_that_was_answered_free_is_billed_when_its_request_comes_in_time(played: Played) -> None:
    decisions = {key.request_id: each for key, each in played.stored.decisions.items()}
    assert played.told.keys() == {f"res_{number}" for number in range(RESERVATIONS)}
    free = [each for each in played.told.values() if each["verdict"] == "free" and each["events"]]
    in_time = [each for each in free if decisions[each["id"]].decided_at < each["expires_at"]]
    assert in_time
    assert [each for each in in_time if decisions[each["id"]].verdict != "free"] == []
    assert [each for each in in_time if decisions[each["id"]].reservation != each["id"]] == []
    late = [decisions[each["id"]] for each in free if each not in in_time]
    assert late
    assert [each for each in late if each.reservation is not None] == []


def test_the_day_of_every_organization_is_proved(played: Played) -> None:
    ledger.prove(played.stored)
    proofs = {day: played.prove(*day) for day in played.days}
    assert [proof.content() for proof in proofs.values() if not proof.holds] == []
    counted: Tally[tuple[str, date]] = Tally()
    for key, decision in played.stored.decisions.items():
        counted[key.organization, key.day] += decision.counts
    assert {day: proof.statement["decisions"] for day, proof in proofs.items()} == counted
    assert {name for name, _ in played.days} == ORGANIZATIONS.keys()
    over_quota = {each.organization for each in played.stored.decisions.values() if each.reason == "over_quota"}
    assert over_quota >= {"org_busy", "org_low"}
    runs = {each.reason for each in played.stored.decisions.values() if each.group == EVALS}
    assert runs >= {"within_quota", "over_quota"}


def test_everything_came_out_at_least_once_always_the_same(played: Played) -> None:
    for name in ORGANIZATIONS:
        decisions = [each for each in played.stored.decisions.values() if each.organization == name]
        played.system.emitted_once(name, decisions)
        entries = {entry.raw: entry for entry in played.stored.quarantine if entry.organization == name}
        told = {each["id"] for each in played.system.bus.of("EventQuarantined", name)}
        assert told >= {f"{entry.key['pk']['S']}:{entry.key['sk']['S']}" for entry in entries.values()}


def test_the_emitted_records_alone_check_the_statements(played: Played, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.jsonl" for name in ("records", "statements", "without one")}
    emitted = [record for name in ORGANIZATIONS for record in played.records(name)]
    stated = [played.prove(*day).content() for day in played.days]
    files["records"].write_text("".join(json.dumps(each) + "\n" for each in emitted))
    files["statements"].write_text("".join(json.dumps(each) + "\n" for each in stated))
    lost = emitted[0]["id"]
    kept = [each for each in emitted if each["id"] != lost]
    files["without one"].write_text("".join(json.dumps(each) + "\n" for each in kept))
    assert proved_from(files["records"], files["statements"]) == 0
    assert proved_from(files["without one"], files["statements"]) == 1


def proved_from(*files: Path) -> int:
    """The exit code of `gratis prove --records`."""
    named = [part for file in files for part in ("--records", str(file))]
    command = [Path(sys.executable).parent / "gratis", "prove", *named]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
