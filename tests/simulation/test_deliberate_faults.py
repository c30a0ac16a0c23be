"""The simulation can fail: it finds each of these faults, put into the core on purpose, within a few worlds."""

from dataclasses import replace

import pytest

from gratis.rules import decision
from gratis_simulation.shrink import fails
from gratis_simulation.worlds.world import build
from tests.simulation.faulty import Fault, faulty

FIRST = 1
"""The first seed in which every fault is looked for: none is picked by hand."""
MOST = 2000
"""Worlds within which a fault must be found."""

COMMITS = (
    Fault(
        "the document is written over whatever version it has by now",
        "ledger",
        """{"Put": put | {"ConditionExpression": UNCHANGED, "ExpressionAttributeValues": version_read}}""",
        """{"Put": put}""",
        "totals are sums of decisions",
    ),
    Fault(
        "the first document of a counter is written over another first one",
        "ledger",
        """if document.version == 1:
            return {"Put": put | {"ConditionExpression": NEW}}""",
        """if document.version == 1:
            return {"Put": put}""",
        "totals are sums of decisions",
    ),
    Fault(
        "a decision is written over an earlier one",
        "ledger",
        """"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put | {"ConditionExpression": NEW}}""",
        """"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put}""",
        "exactly once",
    ),
    Fault(
        "a transaction in conflict with another is taken for committed",
        "ledger",
        """except self.client.exceptions.TransactionCanceledException as cancelled:
            raise""",
        """except self.client.exceptions.TransactionCanceledException as cancelled:
            if "TransactionConflict" in str(cancelled):
                return documents
            raise""",
        "exactly once",
    ),
    Fault(
        "a transaction whose answer was lost is taken for committed",
        "ledger",
        """from cancelled
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error""",
        """from cancelled
        except (ClientError, BotoCoreError):
            return documents""",
        "exactly once",
    ),
    Fault(
        "what is settled again starts from a document that was only planned",
        "classify",
        """self.shelf |= refused.documents""",
        """self.shelf |= {counter: Document(self.shelf[counter].version, books.counter)} | refused.documents""",
        "totals are sums of decisions",
    ),
    Fault(
        "what another writer committed meanwhile is not taken over",
        "classify",
        """self.shelf |= refused.documents""",
        """self.shelf |= {counter: Document(each.version) for counter, each in refused.documents.items()}""",
        "never over-granted",
    ),
    Fault(
        "the next chunk starts from the document before the last one",
        "classify",
        """self.shelf |= self.ledger.commit(self.shelf, counter, books, decisions)""",
        """committed = self.ledger.commit(self.shelf, counter, books, decisions)
                self.shelf |= {each: Document(new.version) for each, new in committed.items()}""",
        "never over-granted",
    ),
    Fault(
        "chunks are committed last first",
        "classify",
        """self._commit_or_isolate(counter, pending[:size])
            pending = pending[size:]""",
        """self._commit_or_isolate(counter, pending[-size:])
            pending = pending[:-size]""",
        "decided in arrival order",
    ),
    Fault(
        "a chunk is larger than a transaction where days begin",
        "classify",
        """len(documents) + sum(is_day(each) and shelf[each].version == 0 for each in documents)""",
        """len(documents)""",
        "known to the services",
    ),
    Fault(
        "documents are read as they were a while ago",
        "ledger",
        """{"Keys": page, "ConsistentRead": True}""",
        """{"Keys": page, "ConsistentRead": False}""",
        "never wrongly billed",
    ),
    Fault(
        "keys that were not read are taken for missing",
        "ledger",
        """answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])""",
        """[]""",
        "never wrongly billed",
    ),
    Fault(
        "billed requests are not totalled",
        "decision",
        """        totals.setdefault(case.day, Totals()).add(""",
        """        if decision.verdict == "free":
            totals.setdefault(case.day, Totals()).add(""",
        "totals are sums of decisions",
    ),
    Fault(
        "the counters of a day are not marked",
        "ledger",
        """[self._decision_put(decision) for decision in decisions] + markers""",
        """[self._decision_put(decision) for decision in decisions]""",
        "proved",
    ),
    Fault(
        "a decision expires before the last repeat of its event",
        "ledger",
        """_expiry(key.day, KEEP_DECISIONS)""",
        """_expiry(key.day, timedelta(days=35))""",
        "exactly once",
    ),
)

REPEATS = (
    Fault(
        "whatever was decided before counts as a repeat, whatever its payload",
        "classify",
        """if decision.payload_hash == arrival.request.payload_hash:""",
        """if decision.key == arrival.request.key:""",
        "nothing lost",
    ),
    Fault(
        "a conflict within a batch counts as a repeat",
        "classify",
        """if first is not arrival and first.request.payload_hash == arrival.request.payload_hash:""",
        """if first is not arrival:""",
        "nothing lost",
    ),
    Fault(
        "decided before is whoever has the same request id",
        "classify",
        """earlier = {decision.key: decision for decision in decided}
        for arrival, _ in chunk:
            if decision := earlier.get(arrival.request.key):
                self._decided_before(arrival, decision)
        return [each for each in chunk if each[0].request.key not in earlier]""",
        """earlier = {decision.request_id: decision for decision in decided}
        for arrival, _ in chunk:
            if decision := earlier.get(arrival.request.id):
                self._decided_before(arrival, decision)
        return [each for each in chunk if each[0].request.id not in earlier]""",
        "nothing lost",
    ),
    Fault(
        "there is one decision of a request id, not one a day",
        "ledger",
        """f"DAY#{key.organization}#{key.day.isoformat()}#{shard}\"""",
        """f"DAY#{key.organization}#{key.day.replace(day=1).isoformat()}#{shard}\"""",
        "nothing lost",
    ),
    Fault(
        "there is one decision of a request id, not one an organization",
        "ledger",
        """f"DAY#{key.organization}#{key.day.isoformat()}#{shard}\"""",
        """f"DAY#all#{key.day.isoformat()}#{shard}\"""",
        "nothing lost",
    ),
    Fault(
        "who reports an event makes another event of it",
        "events",
        """parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]""",
        """parts = [self.type, self.subject, self.id, self.time.isoformat(), payload, self.source]""",
        "exactly once",
    ),
    Fault(
        "a request belongs to the day on which it arrived",
        "request",
        """moment.day_of(self.occurred_at)""",
        """moment.day_of(self.received_at)""",
        "explained",
    ),
)

RULES = (
    Fault(
        "reaching the quota exactly does not fit",
        "decision",
        """used + units <= quota and not closed""",
        """used + units < quota and not closed""",
        "never wrongly billed",
    ),
    Fault(
        "whatever begins within the quota is free",
        "decision",
        """used + units <= quota and not closed""",
        """used < quota and not closed""",
        "never over-granted",
    ),
    Fault(
        "a window that was closed stays open",
        "decision",
        """used + units <= quota and not closed""",
        """used + units <= quota""",
        "never over-granted",
    ),
    Fault(
        "an empty request does not fit into a window that is closed",
        "decision",
        """fits = units == 0 or (used + units <= quota and not closed)""",
        """fits = used + units <= quota and not closed""",
        "never wrongly billed",
    ),
    Fault(
        "evaluation runs are counted by their tokens",
        "decision",
        """return 1 if request.kind == "usage.eval_run" else request.tokens.total""",
        """return request.tokens.total""",
        "never wrongly billed",
    ),
    Fault(
        "a rolling window is kept by the day on which it starts",
        "decision",
        """CounterId(request.organization, group, "ROLLING")""",
        """CounterId(request.organization, group, request.key.day.isoformat())""",
        "windows right",
    ),
    Fault(
        "a late request opens a window that reaches into the next one",
        "window",
        """next(holding, None) or next(soon_after, None)""",
        """next(holding, None)""",
        "windows right",
    ),
    Fault(
        "the last moment of a rolling window belongs to it",
        "window",
        """window.start <= when < window.start + ROLLING""",
        """window.start <= when <= window.start + ROLLING""",
        "windows right",
    ),
    Fault(
        "profile and settings are those at the time of arrival",
        "eligibility",
        """terms_at(request.occurred_at, offer, account)""",
        """terms_at(request.received_at, offer, account)""",
        "explained",
    ),
    Fault(
        "settings take effect a moment too late",
        "account",
        """version.effective_at <= when""",
        """version.effective_at < when""",
        "never over-granted",
    ),
    Fault(
        "the last free token is announced by whoever comes after it as well",
        "decision",
        """full = not window.announced and (not fits or used + units == quota)""",
        """full = not fits or used + units == quota""",
        "thresholds announced once and right",
    ),
)

ORDER = (
    Fault(
        "later messages of an organization do not wait for an unfinished one",
        "classify",
        """if message.id in again or message.group in groups:""",
        """if message.id in again:""",
        "decided in arrival order",
    ),
    Fault(
        "an organization that has to wait is overtaken by its next counter",
        "classify",
        """self.stopped.add(counter.organization)
                self""",
        """self""",
        "decided in arrival order",
    ),
    Fault(
        "a message with an undecided event is finished",
        "classify",
        """{arrival.message.id for arrival in arrivals if not arrival.done}""",
        """{arrival.message.id for arrival in arrivals if not arrival.copies}""",
        "nothing lost",
    ),
    Fault(
        "an event that the table never takes drags others with it",
        "classify",
        """self._commit_or_isolate(counter, [each])""",
        """self._refuse_all(each[0], unforeseen(error))""",
        "nothing lost",
    ),
    Fault(
        "an event is given up because the table was busy",
        "classify",
        """self._commit(counter, chunk)
        except Busy:
            raise
""",
        """self._commit(counter, chunk)
""",
        "nothing lost",
    ),
    Fault(
        "what waited too long is not looked up among the decisions",
        "classify",
        """self.ledger.decisions([arrival.request.key for arrival in expired]) if expired else {}""",
        """{}""",
        "nothing lost",
    ),
    Fault(
        "what waited too long is decided all the same",
        "classify",
        """(expired if age > LATEST_DECISION else in_time).append(arrival)""",
        """in_time.append(arrival)""",
        "exactly once",
    ),
    Fault(
        "two changes of an account at once: one is written over",
        "accounts",
        """Item=_item(account, version_read + 1), **condition)""",
        """Item=_item(account, version_read + 1))""",
        "settings are append-only",
    ),
)

OUTWARDS = (
    Fault(
        "what the bus does not take of a call is forgotten",
        "outbox",
        """left = [entry for entry, result in zip(left, results, strict=True) if "ErrorCode" in result]""",
        """left = []""",
        "everything emitted",
    ),
    Fault(
        "a call that the bus does not answer counts as sent",
        "outbox",
        """emitted.causes.append(str(error))
            continue""",
        """emitted.causes.append(str(error))
            return []""",
        "everything emitted",
    ),
    Fault(
        "the stream goes on from the last record that failed, not the first",
        "outbox",
        """first = min(entry.position for entry in failed)""",
        """first = max(entry.position for entry in failed)""",
        "everything emitted",
    ),
    Fault(
        "a page of records comes again from its last, not its first",
        "outbox",
        """yield _entry(page[0][0], "BillingRecords\"""",
        """yield _entry(page[-1][0], "BillingRecords\"""",
        "everything emitted",
    ),
    Fault(
        "messages that the queue did not take are forgotten",
        "queue",
        """if key not in stored}""",
        """if not stored}""",
        "nothing lost",
    ),
    Fault(
        "a body is accepted that the queue did not take",
        "queue",
        """raise Busy(f"the queue did not take {len(waiting)} of {len(messages)} messages")""",
        """return""",
        "nothing lost",
    ),
    Fault(
        "quarantine entries that were not written are forgotten",
        "quarantine",
        """answer.get("UnprocessedItems", {}).get(self.table, [])""",
        """[]""",
        "nothing lost",
    ),
    Fault(
        "an entry in quarantine is there before its parts are",
        "quarantine",
        """self._write([item for item in items.values() if "code" not in item])
        self._write([item for item in items.values() if "code" in item])""",
        """self._write([item for item in items.values() if "code" in item])
        self._write([item for item in items.values() if "code" not in item])""",
        "nothing lost",
    ),
    Fault(
        "an event is finished although the quarantine did not take it",
        "classify",
        """self.again.add(message.id)
            self.outcome.causes.append(str(busy))
            return False""",
        """self.outcome.causes.append(str(busy))
            return True""",
        "nothing lost",
    ),
    Fault(
        "a late decision does not open its day again",
        "outbox",
        """if record["occurred_at"][:10] < record["decided_at"][:10]""",
        """if record["occurred_at"][:10] < record["received_at"][:10]""",
        "proved",
    ),
)


@pytest.mark.parametrize("fault", [*COMMITS, *REPEATS, *RULES, *ORDER, *OUTWARDS], ids=lambda fault: fault.name)
def test_a_deliberate_fault_is_found(fault: Fault) -> None:
    with faulty(fault):
        found = next((seed for seed in range(FIRST, FIRST + MOST) if breaks(seed) == fault.promise), None)
    assert found, f"{MOST} worlds went by: {fault.name}"


def test_without_a_fault_the_same_worlds_keep_every_promise() -> None:
    assert {breaks(seed) for seed in range(FIRST, FIRST + 100)} == {None}


def test_the_core_is_itself_again_after_a_fault() -> None:
    before = decision.decide.__code__
    with faulty(RULES[0]):
        assert decision.decide.__code__ != before
    assert decision.decide.__code__ is before


def test_a_fault_is_a_change_of_one_place_that_is_there() -> None:
    for old in ("no such line", "return"):
        with pytest.raises(AssertionError, match="places in decision"), faulty(replace(RULES[0], old=old)):
            pass


def breaks(seed: int) -> str | None:
    """The promise that the world of this seed breaks."""
    failing = fails(build(seed))
    return failing.broken.promise if failing else None
