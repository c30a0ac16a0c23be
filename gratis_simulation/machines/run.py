"""Runs a world: workers that stop at any call while others go on, and everything that can happen to a call.

One thread runs at a time, and who is next is up to the seed. Left to itself a run takes the ordinary course: every
piece of work to its end, in order, and nothing fails.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from gratis.account.asked import Wanted
from gratis.account.reservations import Reservations
from gratis.account.sharing import SharingChange, changed
from gratis.account.usage import groups_of
from gratis.classify import Classifier
from gratis.closing.close import PutDown, close
from gratis.errors import Busy, Rejected
from gratis.http import Refused
from gratis.intake.messages import Message
from gratis.intake.queue import UsageQueue
from gratis.intake.sources import WEBHOOK
from gratis.intake.stream import UsageStream, first_unfinished, message_of
from gratis.rules.account import Account, Profile
from gratis.table.account_items import MAX_ITEM_BYTES, StoredAccount
from gratis.table.accounts import AHEAD as NOTED_AHEAD
from gratis.table.accounts import Accounts, with_profile
from gratis.table.dynamo import longest_pause
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_simulation.broken import Broken
from gratis_simulation.machines.bus import Bus
from gratis_simulation.machines.clock import Clock, Serially
from gratis_simulation.machines.crew import Crash, Crew, Stuck
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.faults import Call, Hot, possible, refused
from gratis_simulation.machines.line import Line
from gratis_simulation.machines.patience import CLOSED, MAX_SLOW, max_calls
from gratis_simulation.machines.queue import Queue, Sent, stated
from gratis_simulation.machines.release import THIS, Release
from gratis_simulation.machines.releases import LAST, releases
from gratis_simulation.machines.seen import Actor, Asking, Changed, Classified, Posted, Seen, Work
from gratis_simulation.machines.stream import Shard, Stream
from gratis_simulation.machines.table import POISON, Table, Unknown, key_in
from gratis_simulation.machines.usage_stream import UsageShards
from gratis_simulation.worlds.traffic import AHEAD
from gratis_simulation.worlds.world import (
    Change,
    Close,
    Deploy,
    GiveBack,
    Post,
    Redirect,
    Reserve,
    Reshard,
    Step,
    Stray,
    World,
)

TABLE = "ledger"
FORESEEN = ("TransactionCanceledException", "ConditionalCheckFailedException")
"""Errors that the services answer with by themselves, if nothing is wrong with what they are asked for."""
MOVE_ON = 0.8
"""The chance that after a pause something else is next than the oldest work."""


class Run:
    """One run of a world. `seen`, `table`, `sent` and `bus` say what came of it; `sent`: all that was to be decided.

    `release`: what runs where nothing else is deployed; `calls`: made so far, of at most `max_calls`.
    """

    def __init__(self, world: World, dice: Dice, *, release: Release = THIS, telling: bool = False) -> None:
        self.world = world
        self.knobs = world.knobs
        self.limits = world.knobs.limits
        self.dice = dice
        self.clock = Clock(world.start)
        self.table = Table(self.limits.transaction, page_size=2)
        self.table.lag = self._lag
        self.sent: list[Sent] = []
        self.queue = Queue(lambda: self.clock.now, self.knobs.fifo, self.sent)
        self.usage_stream = UsageShards(lambda: self.clock.now, self.knobs.parallel, self.sent)
        self.bus = Bus()
        self.stream = Stream(self.table, self.knobs.shards)
        self.seen = Seen()
        self.closed: list[tuple[str, str]] = []
        self.late: list[Callable[[], None]] = []
        self.hot: Hot | None = None
        self.outages: dict[str, int] = {}
        self._releases = releases(release)
        self._running = world.releases
        self._ways: tuple[str, ...] = (world.way,)
        self._telling = telling
        self._steps = deque(world.plan)
        self._working: list[Work] = []
        self._current: Work | None = None
        self._emitting: set[int] = set()
        self._paused = False
        self.calls = 0
        self.max_calls = max_calls(world)
        self._faults = 0
        self._slow = 0
        self._names: dict[str, int] = {}
        self._asked_again: set[int] = set()
        self._crew = Crew()

    def finish(self) -> None:
        """Run until nothing is left to do. Raises Broken if that never comes about, or something fails unforeseen."""
        for account in self.world.accounts:
            Accounts(self.table, TABLE).put(account)  # type: ignore[arg-type]  # a client by its looks
        with self._crew:
            while self._go_on():
                pass
            self._close_some()

    # What is next ---------------------------------------------------------------------------------------------------

    def _go_on(self) -> bool:
        moves = self._moves()
        if not moves:
            return self._wait()
        chance = MOVE_ON if self._paused else self.knobs.switching
        self._paused = False
        chosen = self.dice.turn(f"after {self._place()}", chance, len(moves) - 1)
        moves[chosen]()
        return True

    def _place(self) -> str:
        """Where the run is, for the names of its turns."""
        return f"{self._current.name} call {self._current.calls}" if self._current else "the start"

    def _moves(self) -> list[Callable[[], None]]:
        """What could be done now, the ordinary course first."""
        moves: list[Callable[[], None]] = [partial(self._resume, work) for work in self._working]
        if self._count("classify") < self.knobs.workers:
            moves += [partial(self._classify, source) for source in self._sources() if source.has_visible()]
        self.stream.advance()
        for number, shard in enumerate(self.stream.shards):
            if shard.position < len(shard.records) and number not in self._emitting:
                moves.append(partial(self._emit, number, shard))
        if self._steps and self._count("receive") < self.knobs.senders:
            moves.append(self._next_step)
        if self.late:
            moves.append(self._take_effect)
        if not self.knobs.fifo and self._count("classify") and self._next_visible_at() and self._slow < MAX_SLOW:
            moves.append(self._outlast)
        return moves

    def _wait(self) -> bool:
        """Nothing can be done now: wait for what was in flight when its worker died. False: there is nothing."""
        if self._next_visible_at() is None:
            return False
        self._wait_for_visibility()
        return True

    def _wait_for_visibility(self) -> None:
        self.clock.at_least(self._next_visible_at() or self.clock.now)
        self.tell("messages in flight become visible again")

    def _next_visible_at(self) -> datetime | None:
        return min(filter(None, (source.next_visible_at() for source in self._sources())), default=None)

    def _sources(self) -> list[Queue | UsageShards]:
        """From where classifiers take their batches."""
        reads = self._releases[self._running[0]].reads(self._ways)
        return [source for way, source in self._intakes().items() if way in reads]

    def _intakes(self) -> dict[str, Queue | UsageShards]:
        return {"queue": self.queue, "stream": self.usage_stream}

    def _outlast(self) -> None:
        """Workers take so long that others get their messages as well."""
        self._slow += 1
        self._wait_for_visibility()

    def _take_effect(self) -> None:
        self.late.pop(0)()

    def _count(self, kind: str) -> int:
        return sum(work.kind == kind for work in self._working)

    # Work -----------------------------------------------------------------------------------------------------------

    def _start(self, kind: str, body: Callable[[Work], None], on_crash: Callable[[], None], about: str = "") -> None:
        self._count_call()
        label = f"{kind}{about}"
        number = self._names[label] = self._names.get(label, 0) + 1
        skew = timedelta(seconds=self.knobs.skews[number % len(self.knobs.skews)])
        name = f"{label} #{number}"
        release = self._release_of(name, kind)
        work = Work(name, kind, release, self.clock.now, len(self.table.log), skew, on_crash)
        work.task = self._crew.start(partial(body, work))
        self._working.append(work)
        self._resume(work)

    def _release_of(self, name: str, kind: str) -> Release:
        """One of those that run now. Reservations, which the last release does not know, are this one's."""
        running = [each for each in self._running if each != LAST or kind != "ask"] or ["this"]
        return self._releases[running[self.dice.turn(f"{name} runs", 0.5, len(running) - 1)]]

    def _resume(self, work: Work) -> None:
        self._current = work
        task = work.task
        if task is None:
            raise AssertionError(f"{work.name} was never started")
        try:
            task.resume()
        except Stuck as stuck:
            raise Broken("it comes to an end", f"{work.name} does not come back: {stuck}", stuck=True) from None
        if task.done:
            self._working.remove(work)
            self._crew.release(task)
            self._ended(work, task.error)

    def _ended(self, work: Work, error: BaseException | None) -> None:
        if error is None:
            return
        if isinstance(error, Busy):
            self.seen.gave_up.append((work, error))
        if isinstance(error, Crash | Busy):
            self.tell(f"{work.name} ends: {type(error).__name__} {error}")
            work.on_crash()
        elif isinstance(error, Broken):
            raise error
        elif isinstance(error, Unknown):
            raise Broken("known to the table", f"{work.name} asked for {error}")
        else:
            raise Broken("nothing unforeseen", f"{work.name} failed: {error!r}") from error

    def _is_outlived(self, work: Work) -> bool:
        """Whether events may by now be of a later day than any on which a change, when it began, would note itself.

        No real change goes on for so long: Lambda ends its function within a minute.
        """
        return (self.clock.now + AHEAD).date() > (work.started_at + work.skew + NOTED_AHEAD).date()

    def now_of(self, work: Work) -> datetime:
        """What time it is on the machine of this work."""
        return self.clock.now + work.skew

    # What a worker is made of ---------------------------------------------------------------------------------------

    def _table_of(self, work: Work) -> Any:
        return work.release.table(Line(self, work, self.table))

    def _ledger(self, work: Work, client: Any) -> Ledger:
        return work.release.ledger(
            client, TABLE, pause=self.wait_before, readers=Serially(), max_page_rows=self.limits.page_rows
        )

    def _quarantine(self, work: Work, client: Any) -> Quarantine:
        max_bytes = self.limits.quarantined_bytes
        return work.release.quarantine(client, TABLE, pause=self.wait_before, max_bytes=max_bytes)

    def _usage_intake(self, work: Work) -> UsageQueue | UsageStream:
        chosen: dict[str, Any] = {"pause": self.wait_before, "max_events": self.limits.message}
        if self._ways[self.dice.turn(f"{work.name} puts", 0.5, len(self._ways) - 1)] == "stream":
            stream = Line(self, work, self.usage_stream)
            return work.release.usage_stream(stream, "usage", keys=self.knobs.keys, **chosen)
        client = work.release.queue(Line(self, work, self.queue))
        return work.release.usage_queue(client, "queue", **chosen)

    def _classifier(self, work: Work, client: Any) -> Classifier:
        return work.release.classifier(
            self._ledger(work, client),
            self._quarantine(work, client),
            self.world.offer,
            lambda _: self.now_of(work),
            pause=self.wait_before,
            max_items=self.limits.transaction,
        )

    # Calls ----------------------------------------------------------------------------------------------------------

    def call(self, work: Work, effect: Callable[..., Any], operation: str, /, **arguments: Any) -> Any:
        """A call of a worker: others may go on before it, and something may happen to it."""
        work.calls += 1
        name = f"{work.name} call {work.calls}"
        self._count_call()
        if self.dice.turn(f"{name} waits", self.knobs.switching):
            self._pause(work)
        if work.kind == "change" and self._is_outlived(work):
            raise Crash
        effect = partial(self._carry_out, work, effect)
        self._refuse_hot(operation, arguments)
        if self.outages.get(operation):
            self.outages[operation] -= 1
            return refused(effect, arguments)
        fault = self._fault(name, operation)
        if fault is None:
            return effect(**arguments)
        self.tell(f"{name} {operation}: {fault[0]}")
        return fault[1](Call(name, operation, arguments, effect, self))

    def _carry_out(self, work: Work, effect: Callable[..., Any], /, **arguments: Any) -> Any:
        self.table.actor = Actor(work, self.clock.now)
        try:
            return effect(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] not in FORESEEN and POISON not in str(arguments):
                raise Broken("known to the services", f"{work.name} asked for what none takes: {error}") from error
            raise

    def _count_call(self) -> None:
        self.clock.tick()
        self.calls += 1
        if self.calls > self.max_calls:
            raise Broken(
                "it comes to an end", f"it goes on after {self.calls - 1} calls, more than this world can need"
            )

    def _fault(self, name: str, operation: str) -> tuple[str, Callable[[Call], Any]] | None:
        if self._faults >= self.knobs.max_faults:
            return None
        faults = possible(self.knobs.kinds, operation)
        fallen = self.dice.turn(f"{name} fails", self.knobs.faults, len(faults))
        if not fallen:
            return None
        self._faults += 1
        return faults[fallen - 1]

    def _refuse_hot(self, operation: str, arguments: dict[str, Any]) -> None:
        if self.hot is None or operation != "transact_write_items" or not self.hot.calls:
            return
        if any(key_in(each)[0] == self.hot.pk for each in arguments["TransactItems"]):
            self.hot.calls -= 1
            code: Any = {"Error": {"Code": "ThrottlingException", "Message": "hot"}}
            raise ClientError(code, operation)

    def elsewhere(self) -> None:
        """Others go on; the current work waits in the middle of its call."""
        if self._current is not None:
            self._pause(self._current)

    def _pause(self, work: Work) -> None:
        if work.task is not None:
            self._paused = True
            work.task.pause()

    def wait_before(self, attempt: int) -> None:
        """A worker waits before it tries something again; others may go on meanwhile."""
        self._count_call()
        self.clock.now += timedelta(seconds=longest_pause(attempt) / 2)
        if self._current and self.dice.turn(f"{self._place()} sleeps", self.knobs.switching):
            self._pause(self._current)

    def _lag(self) -> int:
        return self.dice.turn(f"{self._place()} lags", 0.5, 40)

    def _again(self, name: str) -> bool:
        """Whether something is delivered once more although it succeeded."""
        if self._faults >= self.knobs.max_faults or not self.dice.turn(f"{name} again", self.knobs.again):
            return False
        self._faults += 1
        return True

    def tell(self, line: str) -> None:
        """One line of the run's story, if it is told."""
        if self._telling:
            self.seen.story.append(f"{self.clock.now:%d %H:%M:%S} {line}")

    # The webhook ----------------------------------------------------------------------------------------------------

    def _next_step(self) -> None:
        step = self._steps.popleft()
        self.clock.at_least(step.at)
        match step:
            case Post():
                self._post(step)
            case Change():
                self._start("change", partial(self._change_account, step), _nothing)
            case Stray():
                self.tell(f"a stray message: {step.body[:60]}")
                intake = self._intakes()[self._ways[0]]
                intake.put(step.group, step.body, stated(step.received_at) if step.received_at else {})
            case Reserve() | GiveBack():
                ask = partial(self._reserve, step) if isinstance(step, Reserve) else partial(self._give_back, step)
                again = partial(self._ask_again, step)
                self._start("ask", ask, again, f" {self._place_of(step)}")
            case Reshard():
                self.usage_stream.reshard()
                self.tell(f"the usage stream has {len(self.usage_stream.shards)} shards")
            case Redirect():
                self._ways = step.ways
                self.tell(f"from now on events go to: {' and '.join(step.ways)}")
            case Close():
                self._close(step.organization, step.day)
            case Deploy():
                self._running = step.releases
                self.tell(f"from now on: {' and '.join(step.releases)}")

    def _post(self, step: Post) -> None:
        if step.events:
            again = partial(self._steps.append, step)
            self._start("receive", partial(self._receive, step), again, f" body {self._place_of(step)}")

    def _place_of(self, step: Step) -> int:
        """Where the step stands in the plan: work is named by it, whatever else was left out of the plan."""
        return next(place for place, each in enumerate(self.world.plan) if each is step)

    def _receive(self, step: Post, work: Work) -> None:
        received_at = self.now_of(work)
        posted = Posted(step, received_at)
        self.seen.posted.append(posted)
        queue, quarantine = self._usage_intake(work), self._quarantine(work, self._table_of(work))
        events = [event.raw for event in step.events]
        received = work.release.receive(WEBHOOK, events, received_at, queue, quarantine)
        self.tell(f"{work.name} takes {received.accepted} of {len(events)} events")
        for event in step.events:
            self.tell(f"    {event.text()}")
        posted.received = received
        if self._again(work.name):
            self._steps.append(step)

    # Reservations ---------------------------------------------------------------------------------------------------

    def _reserve(self, step: Reserve, work: Work) -> None:
        asking = self._asking(step, work)
        try:
            answer, _ = self._reservations(asking, step.wanted.asked.organization).reserve(
                Wanted.model_validate(step.wanted.body())
            )
        except Refused as refused:
            self.tell(f"{work.name} is refused: {refused}")
            return
        asking.answer, asking.log_end = answer, len(self.table.log)
        self.tell(f"{work.name}: {answer['id']} of {answer['tokens']} is {answer['verdict']} to {answer['expires_at']}")
        if self._again(work.name):
            self._ask_again(step)

    def _give_back(self, step: GiveBack, work: Work) -> None:
        asking = self._asking(step, work)
        self._reservations(asking, step.organization).release(step.name)
        asking.answer, asking.log_end = {}, len(self.table.log)
        self.tell(f"{work.name}: {step.name} is given back")

    def _asking(self, step: Reserve | GiveBack, work: Work) -> Asking:
        asking = Asking(step, work, self.now_of(work))
        self.seen.asking.append(asking)
        return asking

    def _reservations(self, asking: Asking, organization: str) -> Reservations:
        work = asking.work
        ledger = self._ledger(work, self._table_of(work))
        return work.release.reservations(ledger, self.world.offer, organization, asking.now, pause=self.wait_before)

    def _ask_again(self, step: Step) -> None:
        """A client that hears nothing asks once more, and then goes without."""
        if id(step) not in self._asked_again:
            self._asked_again.add(id(step))
            self._steps.append(step)

    # The classifier -------------------------------------------------------------------------------------------------

    def _classify(self, source: Queue | UsageShards) -> None:
        messages = source.receive(self.knobs.messages)
        self._start("classify", partial(self._decide, source, messages), partial(self._not_decided, source, messages))

    def _decide(self, source: Queue | UsageShards, messages: Sequence[Sent], work: Work) -> None:
        deliveries = {message: message.deliveries for message in messages}
        self.seen.handed_out[work.name] = [message.place for message in messages]
        self.tell(f"{work.name} gets {', '.join(message.id for message in messages)}")
        classifier = self._classifier(work, self._table_of(work))
        read = message_of if isinstance(source, UsageShards) else Message.from_record
        outcome = classifier.classify([read(message.record()) for message in messages])
        again = f", again: {', '.join(outcome.unfinished)}" if outcome.unfinished else ""
        self.tell(f"{work.name} took {len(outcome.decisions)} decisions, {outcome.repeats} repeats{again}")
        for each in outcome.decisions:
            figures = f"{each.used_before} to {each.used_after} of {each.quota}" if each.quota is not None else "-"
            self.tell(
                f"    {each.organization} {each.request_id}: {each.verdict}, {each.reason}, {each.group} {figures}"
            )
        for kept in outcome.quarantined:
            self.tell(f"    {kept.organization} {kept.id}: in quarantine, {kept.code}")
        self.seen.classified.append(Classified(work, messages, outcome))
        if isinstance(source, UsageShards):
            self._read_on(source, messages, first_unfinished(outcome.unfinished), work)
        else:
            self._delete(source, messages, deliveries, outcome.unfinished, work)

    def _delete(
        self, queue: Queue, messages: Sequence[Sent], deliveries: dict[Sent, int], again: Sequence[str], work: Work
    ) -> None:
        for message in messages:
            if message.deliveries != deliveries[message]:
                continue  # it was visible again meanwhile, and somebody else has it now
            if message.id in again or self._again(f"{work.name} {message.id}"):
                queue.let_go(message)
            else:
                queue.delete(message)

    def _read_on(self, shards: UsageShards, batch: Sequence[Sent], again: Sequence[str], work: Work) -> None:
        """The shard goes on after the batch, or at the record that failed; or once more from some records before."""
        back = len(batch) + 1 if self._again(work.name) else 0
        shards.read_to(batch, again[0] if again else None, back)

    def _not_decided(self, source: Queue | UsageShards, messages: Sequence[Sent]) -> None:
        if isinstance(source, UsageShards):
            source.failed(messages)
            return
        for message in messages:
            source.let_go(message)

    # The stream -----------------------------------------------------------------------------------------------------

    def _emit(self, number: int, shard: Shard) -> None:
        batch = shard.batch(self.knobs.records)
        self._emitting.add(number)
        self._start(
            "emit", partial(self._carry, number, shard, batch), partial(self._not_carried, number, shard, batch)
        )

    def _carry(self, number: int, shard: Shard, batch: Sequence[dict[str, Any]], work: Work) -> None:
        client = work.release.bus(Line(self, work, self.bus))
        emitted = work.release.emit(batch, client, Bus.NAME, pause=self.wait_before, max_records=self.limits.records)
        self.seen.emitted.append((batch, emitted))
        self._emitting.discard(number)
        if not self._again(work.name):
            shard.delivered(batch, emitted.retry_from)

    def _not_carried(self, number: int, shard: Shard, batch: Sequence[dict[str, Any]]) -> None:
        self._emitting.discard(number)
        shard.failed(batch)

    def account(self, organization: str) -> StoredAccount:
        """The account of an organization as it is now."""
        return Accounts(self.table, TABLE).read(organization)  # type: ignore[arg-type]  # a client by its looks

    # Accounts and days ----------------------------------------------------------------------------------------------

    def _change_account(self, step: Change, work: Work) -> None:
        reads_parts = not self.world.runs(LAST)
        max_bytes = self.limits.account_bytes if reads_parts else MAX_ITEM_BYTES
        accounts = work.release.accounts(self._table_of(work), TABLE, pause=self.wait_before, max_bytes=max_bytes)
        now = self.now_of(work)
        try:
            account = accounts.append(
                step.organization, lambda read: change(read, step, now), groups_of(self.world.offer)
            )
        except (Refused, Rejected) as refused:
            self.tell(f"{work.name} is refused: {refused}")
        else:
            self.tell(f"{work.name} by {step.actor}")
            self.seen.changed.append(Changed(step, account))

    def _close(self, organization: str, day: date) -> None:
        again = partial(self._steps.append, Close(self.clock.now, organization, day))
        self._start("close", partial(self._prove, organization, day, again), again)

    def _prove(self, organization: str, day: date, again: Callable[[], None], work: Work) -> None:
        client = self._table_of(work)
        closed = close(
            self._ledger(work, client),
            work.release.statements(client, TABLE, pause=self.wait_before),
            organization,
            day,
            offer_of=lambda _: self.world.offer,
            now=lambda: self.now_of(work),
            hurry=self._hurries,
            block=self.limits.block,
        )
        self.tell(f"{work.name} of {organization} on {day}: {type(closed).__name__}")
        if isinstance(closed, PutDown):
            again()

    def _hurries(self) -> bool:
        """Whether time runs out for a closing; not each time it asks, since to begin again takes some forty calls."""
        if self._slow >= MAX_SLOW or not self.dice.turn(f"{self._place()} hurries", self.knobs.switching):
            return False
        self._slow += 1
        return True

    def _close_some(self) -> None:
        """Close some days of organizations that have decisions, and let the stream run empty.

        Where the last release ran, this one closes them once more: its statements are right, whatever the other's say.
        """
        days = sorted({tuple(key[0].split("#")[1:3]) for key in self.table.items if key[1].startswith("REQ#")})
        first = self.world.seed % max(1, len(days))
        self.closed = [(organization, day) for organization, day in days[first : first + CLOSED]]
        self._close_each()
        if self.world.runs(LAST):
            self._running = ("this",)
            self._close_each()

    def _close_each(self) -> None:
        self._steps.extend(
            Close(self.clock.now, organization, date.fromisoformat(day)) for organization, day in self.closed
        )
        while self._go_on():
            pass


def change(read: Account, step: Change, now: datetime) -> Account:
    """What the API makes of a change."""
    if step.profile is not None:
        profile = Profile.model_validate({"effective_at": now - step.since, "actor": step.actor, **step.profile})
        return with_profile(read, profile, now)
    return changed(read, SharingChange.model_validate(step.sharing), step.actor, now)


def _nothing() -> None:
    return None
