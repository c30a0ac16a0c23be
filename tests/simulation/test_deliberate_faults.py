"""The simulation can fail: it finds each of these faults, put into the core on purpose, within a few worlds."""

from collections.abc import Iterator

import pytest

from local.simulation.shrink import fails
from local.simulation.world import build
from tests.simulation.faulty import Fault, faulty

FIRST = 1
"""The first seed that every fault is looked for in; none is picked by hand."""
MOST = 2000
"""Worlds within which a fault must be found."""

COMMITS = (
    Fault(
        "the document is written over whatever version it has by now",
        "ledger",
        """{"Put": put | {"ConditionExpression": UNCHANGED, "ExpressionAttributeValues": version_read}}""",
        """{"Put": put}""",
        "x",
    ),
    Fault(
        "the first document of a counter is written over another first one",
        "ledger",
        """if document.version == 1:
            return {"Put": put | {"ConditionExpression": NEW}}""",
        """if document.version == 1:
            return {"Put": put}""",
        "x",
    ),
    Fault(
        "a decision is written over an earlier one",
        "ledger",
        """"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put | {"ConditionExpression": NEW}}""",
        """"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return {"Put": put}""",
        "x",
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
        "x",
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
        "x",
    ),
    Fault(
        "what is settled again starts from a document that was only planned",
        "classify",
        """self.shelf |= refused.documents""",
        """self.shelf |= {counter: Document(self.shelf[counter].version, books.counter)} | refused.documents""",
        "x",
    ),
    Fault(
        "what another writer committed meanwhile is not taken over",
        "classify",
        """self.shelf |= refused.documents""",
        """self.shelf |= {counter: Document(each.version) for counter, each in refused.documents.items()}""",
        "x",
    ),
    Fault(
        "the next chunk starts from the document before the last one",
        "classify",
        """self.shelf |= self.ledger.commit(self.shelf, counter, books, decisions)""",
        """committed = self.ledger.commit(self.shelf, counter, books, decisions)
                self.shelf |= {each: Document(new.version) for each, new in committed.items()}""",
        "x",
    ),
    Fault(
        "chunks are committed last first",
        "classify",
        """self._commit_or_isolate(counter, pending[:size])
            pending = pending[size:]""",
        """self._commit_or_isolate(counter, pending[-size:])
            pending = pending[:-size]""",
        "x",
    ),
    Fault(
        "a chunk is larger than a transaction where days begin",
        "classify",
        """if count + 1 + len(documents) + markers > MOST_ITEMS:""",
        """if count + 1 + len(documents) > MOST_ITEMS:""",
        "x",
    ),
    Fault(
        "documents are read as they were a while ago",
        "ledger",
        """{"Keys": page, "ConsistentRead": True}""",
        """{"Keys": page, "ConsistentRead": False}""",
        "x",
    ),
    Fault(
        "keys that were not read are taken for missing",
        "ledger",
        """answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])""",
        """[]""",
        "x",
    ),
    Fault(
        "billed requests are not totalled",
        "decision",
        """        totals.setdefault(case.day, Totals()).add(""",
        """        if decision.verdict == "free":
            totals.setdefault(case.day, Totals()).add(""",
        "x",
    ),
    Fault(
        "the counters of a day are not marked",
        "ledger",
        """[self._decision_put(decision) for decision in decisions] + markers""",
        """[self._decision_put(decision) for decision in decisions]""",
        "x",
    ),
    Fault(
        "a decision expires before the last repeat of its event",
        "ledger",
        """_expiry(decision.key.day, KEEP_DECISIONS)""",
        """_expiry(decision.key.day, timedelta(days=35))""",
        "x",
    ),
)

REPEATS = (
    Fault(
        "whatever was decided before counts as a repeat, whatever its payload",
        "classify",
        """if decision.payload_hash == arrival.request.payload_hash:""",
        """if decision.key == arrival.request.key:""",
        "x",
    ),
    Fault(
        "a conflict within a batch counts as a repeat",
        "classify",
        """if first is not arrival and first.request.payload_hash == arrival.request.payload_hash:""",
        """if first is not arrival:""",
        "x",
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
        "x",
    ),
    Fault(
        "there is one decision of a request id, not one a day",
        "ledger",
        """f"DAY#{key.organization}#{key.day.isoformat()}#{shard}\"""",
        """f"DAY#{key.organization}#{key.day.replace(day=1).isoformat()}#{shard}\"""",
        "x",
    ),
    Fault(
        "there is one decision of a request id, not one an organization",
        "ledger",
        """f"DAY#{key.organization}#{key.day.isoformat()}#{shard}\"""",
        """f"DAY#all#{key.day.isoformat()}#{shard}\"""",
        "x",
    ),
    Fault(
        "who reports an event makes another event of it",
        "events",
        """parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]""",
        """parts = [self.type, self.subject, self.id, self.time.isoformat(), payload, self.source]""",
        "x",
    ),
    Fault(
        "a request belongs to the day on which it arrived",
        "request",
        """moment.day_of(self.occurred_at)""",
        """moment.day_of(self.received_at)""",
        "x",
    ),
)

RULES = (
    Fault(
        "reaching the quota exactly does not fit",
        "decision",
        """used + units <= quota and not closed""",
        """used + units < quota and not closed""",
        "x",
    ),
    Fault(
        "whatever begins within the quota is free",
        "decision",
        """used + units <= quota and not closed""",
        """used < quota and not closed""",
        "x",
    ),
    Fault(
        "a window that was closed stays open",
        "decision",
        """used + units <= quota and not closed""",
        """used + units <= quota""",
        "x",
    ),
    Fault(
        "an empty request does not fit into a window that is closed",
        "decision",
        """fits = units == 0 or (used + units <= quota and not closed)""",
        """fits = used + units <= quota and not closed""",
        "x",
    ),
    Fault(
        "evaluation runs are counted by their tokens",
        "decision",
        """return 1 if request.kind == "usage.eval_run" else request.tokens.total""",
        """return request.tokens.total""",
        "x",
    ),
    Fault(
        "a rolling window is kept by the day on which it starts",
        "decision",
        """CounterId(request.organization, group, "ROLLING")""",
        """CounterId(request.organization, group, request.key.day.isoformat())""",
        "x",
    ),
    Fault(
        "a late request opens a window that reaches into the next one",
        "window",
        """next(holding, None) or next(soon_after, None)""",
        """next(holding, None)""",
        "x",
    ),
    Fault(
        "the last moment of a rolling window belongs to it",
        "window",
        """window.start <= when < window.start + ROLLING""",
        """window.start <= when <= window.start + ROLLING""",
        "x",
    ),
    Fault(
        "profile and settings are those at the time of arrival",
        "eligibility",
        """terms_at(request.occurred_at, offer, account)""",
        """terms_at(request.received_at, offer, account)""",
        "x",
    ),
    Fault(
        "settings take effect a moment too late",
        "account",
        """version.effective_at <= when""",
        """version.effective_at < when""",
        "x",
    ),
    Fault(
        "the last free token is announced by whoever comes after it as well",
        "decision",
        """full = not window.announced and (not fits or used + units == quota)""",
        """full = not fits or used + units == quota""",
        "x",
    ),
)

ORDER = (
    Fault(
        "later messages of an organization do not wait for an unfinished one",
        "classify",
        """if message.id in again or message.group in groups:""",
        """if message.id in again:""",
        "x",
    ),
    Fault(
        "an organization that has to wait is overtaken by its next counter",
        "classify",
        """self.stopped.add(counter.organization)
                self""",
        """self""",
        "x",
    ),
    Fault(
        "a message with an undecided event is finished",
        "classify",
        """{arrival.message.id for arrival in arrivals if not arrival.done}""",
        """{arrival.message.id for arrival in arrivals if not arrival.copies}""",
        "x",
    ),
    Fault(
        "two changes of an account at once: one is written over",
        "accounts",
        """Item=_item(account, version_read + 1), **condition)""",
        """Item=_item(account, version_read + 1))""",
        "x",
    ),
)

OUTWARDS = (
    Fault(
        "what the bus does not take of a call is forgotten",
        "outbox",
        """left = [entry for entry, result in zip(left, results, strict=True) if "ErrorCode" in result]""",
        """left = []""",
        "x",
    ),
    Fault(
        "a call that the bus does not answer counts as sent",
        "outbox",
        """emitted.causes.append(str(error))
            continue""",
        """emitted.causes.append(str(error))
            return []""",
        "x",
    ),
    Fault(
        "the stream goes on from the last record that failed, not the first",
        "outbox",
        """first = min(entry.position for entry in failed)""",
        """first = max(entry.position for entry in failed)""",
        "x",
    ),
    Fault(
        "a page of records comes again from its last, not its first",
        "outbox",
        """yield _entry(page[0][0], "BillingRecords\"""",
        """yield _entry(page[-1][0], "BillingRecords\"""",
        "x",
    ),
    Fault(
        "messages that the queue did not take are forgotten",
        "queue",
        """if key not in stored}""",
        """if not stored}""",
        "x",
    ),
    Fault(
        "a body is accepted that the queue did not take",
        "queue",
        """raise Busy(f"the queue did not take {len(waiting)} of {len(messages)} messages")""",
        """return""",
        "x",
    ),
    Fault(
        "quarantine entries that were not written are forgotten",
        "quarantine",
        """answer.get("UnprocessedItems", {}).get(self.table, [])""",
        """[]""",
        "x",
    ),
    Fault(
        "an entry in quarantine is there before its parts are",
        "quarantine",
        """self._write([item for item in items.values() if "code" not in item])
        self._write([item for item in items.values() if "code" in item])""",
        """self._write([item for item in items.values() if "code" in item])
        self._write([item for item in items.values() if "code" not in item])""",
        "x",
    ),
    Fault(
        "an event is finished although the quarantine did not take it",
        "classify",
        """self.again.add(message.id)
            self.outcome.causes.append(str(busy))
            return False""",
        """self.outcome.causes.append(str(busy))
            return True""",
        "x",
    ),
    Fault(
        "a late decision does not open its day again",
        "outbox",
        """if record["occurred_at"][:10] < record["decided_at"][:10]""",
        """if record["occurred_at"][:10] < record["received_at"][:10]""",
        "x",
    ),
)


@pytest.mark.parametrize("fault", [*COMMITS, *REPEATS, *RULES, *ORDER, *OUTWARDS], ids=lambda fault: fault.name)
def test_a_deliberate_fault_is_found(fault: Fault) -> None:
    with faulty(fault):
        broken = next(_broken(), None)
    assert broken == fault.promise


def _broken() -> Iterator[str]:
    """The promises that break, world by world."""
    for seed in range(FIRST, FIRST + MOST):
        if failing := fails(build(seed)):
            yield failing.broken.promise
