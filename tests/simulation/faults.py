"""Deliberate faults: what a mistake in the core could look like. The simulation must find each of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.classify import Classifier
from gratis.errors import Busy
from gratis.intake.queue import UsageQueue
from gratis.intake.stream import UsageStream, _calls
from gratis.rules.decision import Books, CounterId
from gratis.rules.pages import added_up
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey
from gratis.table.accounts import Accounts
from gratis.table.ledger import CommitRefused, Document, Ledger
from gratis.table.quarantine import Quarantine
from gratis_simulation.machines.release import Release
from gratis_simulation.machines.table import TransactionCanceledException, key_in, key_of
from tests.simulation.faulty import Fault, lying

Item = dict[str, Any]
DAY_S = 86_400
COUNTED = "some_totals.setdefault(some_day, Totals()).add(*some_added, some_count, is_long=some_length)"


def release(**parts: Any) -> Release:
    """A release that is faulty in these parts."""
    return Release("a faulty release", **parts)


# What the lies are made of ------------------------------------------------------------------------------------------


def on_puts(change: Callable[[Item], Item | None]) -> Callable[[Any], Any]:
    """Changes each put of a transaction before it is sent, or leaves it out (None)."""

    def transact(real: Any, TransactItems: Sequence[Any], **more: Any) -> Any:  # noqa: N803 - the client's word
        parts = [{"Put": change(each["Put"])} if "Put" in each else each for each in TransactItems]
        return real(TransactItems=[part for part in parts if part.get("Put", part) is not None], **more)

    def put(real: Any, **request: Any) -> Any:
        return real(**(change(request) or request))

    return lying(transact_write_items=transact, put_item=put)


def unasked(beginning: str) -> Callable[[Any], Any]:
    """Leaves out of transactions what they only ask for, under keys that begin so."""

    def transact(real: Any, TransactItems: Sequence[Any], **more: Any) -> Any:  # noqa: N803 - the client's word
        kept = [each for each in TransactItems if "ConditionCheck" not in each or not meant(each)]
        return real(TransactItems=kept, **more)

    def meant(each: Item) -> bool:
        return str(each["ConditionCheck"]["Key"]["pk"]["S"]).startswith(beginning)

    return lying(transact_write_items=transact)


def unconditionally(is_meant: Callable[[Item], bool]) -> Callable[[Any], Any]:
    """Leaves the condition out of some puts."""
    conditions = ("ConditionExpression", "ExpressionAttributeValues")

    def change(put: Item) -> Item:
        return {name: value for name, value in put.items() if name not in conditions} if is_meant(put) else put

    return on_puts(change)


def is_counter(put: Item) -> bool:
    return str(put["Item"]["pk"]["S"]).startswith("COUNTER#")


def is_page(put: Item) -> bool:
    return str(put["Item"]["sk"]["S"]).startswith("PAGE#")


def is_decision(put: Item) -> bool:
    return str(put["Item"]["sk"]["S"]).startswith("REQ#")


def is_marker(put: Item) -> bool:
    return str(put["Item"]["pk"]["S"]).startswith("DAY#") and not is_decision(put)


def is_account(put: Item) -> bool:
    return bool(put["Item"]["sk"]["S"] == "ACCOUNT")


def is_void(put: Item) -> bool:
    return is_decision(put) and str(put["Item"]["sk"]["S"]).endswith("~void")


def first(put: Item) -> bool:
    return str(put.get("ConditionExpression", "")).startswith("attribute_not_exists")


def taken_for_committed(is_meant: Callable[[Exception], bool]) -> Callable[[Any], Any]:
    """Takes some errors of a transaction for success."""

    def transact(real: Any, **request: Any) -> Any:
        try:
            return real(**request)
        except (ClientError, BotoCoreError) as error:
            if is_meant(error):
                return {}
            raise

    return lying(transact_write_items=transact)


def without(*left_out: str, operation: str) -> Callable[[Any], Any]:
    """Does not hear some of what the service answers."""

    def lie(real: Any, **request: Any) -> Any:
        return real(**request) | {name: {} for name in left_out}

    return lying(**{operation: lie})


def stale(real: Any, RequestItems: Mapping[str, Any]) -> Any:  # noqa: N803 - the client's word
    """Reads what was there a while ago."""
    return real(RequestItems={table: {**wanted, "ConsistentRead": False} for table, wanted in RequestItems.items()})


def stale_pages(real: Any, RequestItems: Mapping[str, Any]) -> Any:  # noqa: N803 - the client's word
    """Reads further pages of totals as they were a while ago."""
    [wanted] = RequestItems.values()
    pages = any(each["sk"]["S"].startswith("PAGE#") for each in wanted["Keys"])
    return stale(real, RequestItems) if pages else real(RequestItems=RequestItems)


def pages_first(client: Any) -> Any:
    """Writes further pages of totals before their document, by themselves."""

    def transact(real: Any, TransactItems: Sequence[Any], **more: Any) -> Any:  # noqa: N803 - the client's word
        pages = [each for each in TransactItems if "Put" in each and is_page(each["Put"])]
        for each in pages:
            client.put_item(**each["Put"])
        return real(TransactItems=[each for each in TransactItems if each not in pages], **more)

    return lying(transact_write_items=transact)(client)


def everything_taken(real: Any, **request: Any) -> Any:
    """Hears of no entry that was not taken."""
    answer = real(**request)
    taken = [{"EventId": "1"} for _ in answer.get("Entries", ())]
    ids = [{"Id": entry["Id"]} for entry in request["Entries"] if "Id" in entry]
    return answer | {"Entries": taken, "Successful": ids, "Failed": []}


def sent_without_answer(real: Any, **request: Any) -> Any:
    """Takes a call that failed for one that did not."""
    try:
        return real(**request)
    except (ClientError, BotoCoreError):
        return {"Entries": [{"EventId": "1"} for _ in request["Entries"]]}


def under_another_key(key: Callable[[str], str]) -> Callable[[Any], Any]:
    """Keeps decisions under other partitions than they belong to, and does not notice when it finds them there."""

    def kept(item: Item) -> Item:
        return item | {"pk": {"S": key(item["pk"]["S"])}} if item["sk"]["S"].startswith("REQ#") else item

    def kept_part(part: Item) -> Item:
        [(operation, told)] = part.items()
        name = "Item" if operation == "Put" else "Key"
        return {operation: told | {name: kept(told[name])}}

    def transact(real: Any, TransactItems: Sequence[Any], **more: Any) -> Any:  # noqa: N803 - the client's word
        try:
            return real(TransactItems=[kept_part(each) for each in TransactItems], **more)
        except TransactionCanceledException as cancelled:
            answer: Any = cancelled.response
            for reason, part in zip(answer["CancellationReasons"], TransactItems, strict=True):
                if "Item" in reason:
                    reason["Item"] = reason["Item"] | {"pk": {"S": key_in(part)[0]}}
            raise

    def read(real: Any, RequestItems: Mapping[str, Any]) -> Any:  # noqa: N803 - the client's word
        [(table, wanted)] = RequestItems.items()
        asked = {key_of(kept(each)): each["pk"] for each in wanted["Keys"]}
        keys = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in asked]
        answer = real(RequestItems={table: wanted | {"Keys": keys}})
        found = [item | {"pk": asked[key_of(item)]} for item in answer["Responses"][table]]
        return answer | {"Responses": {table: found}}

    return lying(transact_write_items=transact, batch_get_item=read)


def expiring_sooner(put: Item) -> Item:
    """A decision that lives ten days less."""
    return expiring(put, 10) if is_decision(put) else put


def expiring(put: Item, days: int) -> Item:
    """An item that lives so many days less."""
    expires = int(put["Item"]["expires"]["N"]) - days * DAY_S
    return put | {"Item": put["Item"] | {"expires": {"N": str(expires)}}}


# Ledgers, queues and quarantines that forget ------------------------------------------------------------------------


class Planned(Ledger):
    """Takes what it planned for what is there, where its commit was refused."""

    def commit(self, read: Any, counter: CounterId, books: Books, *more: Any, **judged: Any) -> Any:
        try:
            return super().commit(read, counter, books, *more, **judged)
        except CommitRefused as refused:
            planned = {counter: Document(read[counter].version, books.counter)}
            raise CommitRefused(planned | dict(refused.documents), refused.decided) from refused


class Unread(Ledger):
    """Takes over the versions of what another writer committed meanwhile, and nothing of it."""

    def commit(self, read: Any, counter: CounterId, books: Books, *more: Any, **judged: Any) -> Any:
        try:
            return super().commit(read, counter, books, *more, **judged)
        except CommitRefused as refused:
            empty = {identity: Document(document.version) for identity, document in refused.documents.items()}
            raise CommitRefused(empty, refused.decided) from refused


class Forgetful(Ledger):
    """Goes on from nothing after each commit."""

    def commit(self, read: Any, counter: CounterId, books: Books, *more: Any, **judged: Any) -> Any:
        committed = super().commit(read, counter, books, *more, **judged)
        return {identity: Document(document.version) for identity, document in committed.items()}


class Attached(Ledger):
    """Takes the pages that it has read for those of the document that came back."""

    def commit(self, read: Any, *rest: Any, **judged: Any) -> Any:
        try:
            return super().commit(read, *rest, **judged)
        except CommitRefused as refused:
            pages = {identity: read[identity].pages if identity in read else {} for identity in refused.documents}
            bound = {
                identity: replace(
                    document,
                    pages=pages[identity],
                    totals=added_up([document.totals.rows, *(page.totals.rows for page in pages[identity].values())]),
                )
                for identity, document in refused.documents.items()
            }
            raise CommitRefused(bound, refused.decided) from refused


class Confused(Ledger):
    """Takes requests of the same id for decided, whatever their day."""

    def commit(
        self, read: Any, counter: CounterId, books: Books, decisions: Sequence[Decision], *more: Any, **judged: Any
    ) -> Any:
        try:
            return super().commit(read, counter, books, decisions, *more, **judged)
        except CommitRefused as refused:
            alike = [
                each._replace(day=decision.day)
                for each in refused.decided
                for decision in decisions
                if each.request_id == decision.request_id
            ]
            raise CommitRefused(refused.documents, alike) from refused


class Resigned(Ledger):
    """Takes a table that is busy for one that will never take it."""

    def commit(self, read: Any, counter: CounterId, books: Books, *more: Any, **judged: Any) -> Any:
        try:
            return super().commit(read, counter, books, *more, **judged)
        except Busy as busy:
            raise ValueError("it does not work") from busy


class Hesitant(Ledger):
    """Does not commit at the first attempt."""

    def commit(self, read: Any, counter: CounterId, books: Books, *more: Any, **judged: Any) -> Any:
        if not self.__dict__.setdefault("asked", 0):
            self.__dict__["asked"] = 1
            raise Busy("no cause at all")
        return super().commit(read, counter, books, *more, **judged)


class Unnoted(Accounts):
    """Notes a change on no document."""

    def _noted_on(self, *_: Any) -> list[CounterId]:
        return []


class Spilling(Accounts):
    """Does not put beside an account's item what leaves it."""

    def _put_beside(self, items: Sequence[Item]) -> None:
        pass


class Blind(Ledger):
    """Finds no decision by its key."""

    def decisions(self, requests: Any) -> dict[RequestKey, Decision]:
        return {}


class Careless(Quarantine):
    """Goes on although the table did not take an entry."""

    def put(self, entries: Any) -> None:
        try:
            super().put(entries)
        except Busy:
            return


class Indulgent(Quarantine):
    """Keeps no void of a request that was never decided."""

    def put(self, entries: Any) -> None:
        super().put([each for each in entries if each.code != "unknown_request"])


class HeadFirst(Quarantine):
    """Writes an entry before its parts."""

    def put(self, entries: Any) -> None:
        late: list[Any] = []

        def batch_write_item(_real: Any, RequestItems: Mapping[str, Any]) -> Any:  # noqa: N803 - the client's word
            late.append(RequestItems)
            return {"UnprocessedItems": {}}

        client = self.client
        self.client = lying(batch_write_item=batch_write_item)(client)
        try:
            super().put(entries)
        finally:
            self.client = client
        for each in late:
            client.batch_write_item(RequestItems=each)


class Optimistic(UsageQueue):
    """Takes a body for stored that the queue did not take."""

    def send(self, *body: Any, **more: Any) -> None:
        try:
            super().send(*body, **more)
        except Busy:
            return


class AllAtOnce(UsageStream):
    """Puts several records of an organization with one call: the stream may take a later one and not an earlier one."""

    def send(self, events: Mapping[str, Sequence[str]], received_at: datetime) -> None:
        for call in _calls(each for one, of_one in events.items() for each in self._records(one, of_one, received_at)):
            self._put(call)


def overfull(*parts: Any, max_items: int, **more: Any) -> Classifier:
    """Puts one item too many into a transaction."""
    return Classifier(*parts, max_items=max_items + 1, **more)


# The faults ---------------------------------------------------------------------------------------------------------

BEYOND_US = "[some_name for some_name, some_document in some_documents.items() if some_document.format > RESERVING]"
KEPT = "some_kept is not None and some_used + some_units <= some_quota"
GIVES_BACK = "self._commit(some_read, some_counter, tuple(some_other for some_other in some_there if some_test))"
FITS = "some_used + some_units <= some_quota and not some_closed"

MOVING = (
    Fault(
        "a change of an account is noted on no document",
        "settings take effect at once",
        release=release(accounts=Unnoted),
        rare=True,
    ),
    Fault(
        "the first commit on a document does not ask for the account",
        "settings take effect at once",
        release=release(table=unasked("ORG#")),
    ),
    Fault(
        "what a document says of the account is not looked at",
        "settings take effect at once",
        (("some_version is not None and some_version > judged_by.version", "False"),),
    ),
    Fault(
        "who has no profile is judged without asking whether there is one by now",
        "settings take effect at once",
        (("judged_by.has_profile and None not in some_seen and some_days", "None not in some_seen and some_days"),),
    ),
    Fault(
        "what leaves an account's item is put nowhere",
        "settings are append-only",
        release=release(accounts=Spilling),
    ),
    Fault(
        "a late event is judged by the versions in the account's item alone",
        "settings take effect at once",
        (("self.moved and (some_found is None or some_place.effective_at < some_until)", "False"),),
    ),
)
COMMITS = (
    Fault(
        "the document is written over whatever version it has by now",
        "totals are sums of decisions",
        release=release(table=unconditionally(lambda put: is_counter(put) and not first(put))),
    ),
    Fault(
        "the first document of a counter is written over another first one",
        "totals are sums of decisions",
        release=release(table=unconditionally(lambda put: is_counter(put) and first(put))),
    ),
    Fault(
        "a decision is written over an earlier one",
        "exactly once",
        release=release(table=unconditionally(is_decision)),
    ),
    Fault(
        "a transaction in conflict with another is taken for committed",
        "exactly once",
        release=release(table=taken_for_committed(lambda error: "TransactionConflict" in str(error))),
    ),
    Fault(
        "a transaction whose answer was lost is taken for committed",
        "exactly once",
        release=release(table=taken_for_committed(lambda error: "TransactionCanceled" not in str(error))),
    ),
    Fault(
        "what is settled again starts from a document that was only planned",
        "windows right",
        release=release(ledger=Planned),
    ),
    Fault(
        "what another writer committed meanwhile is not taken over",
        "never over-granted",
        release=release(ledger=Unread),
    ),
    Fault(
        "the next chunk starts from the document before the last one",
        "never over-granted",
        release=release(ledger=Forgetful),
    ),
    Fault(
        "chunks are committed last first",
        "decided in arrival order",
        (
            (
                "self._commit_or_isolate(some_counter, some_pending[:some_size])",
                "self._commit_or_isolate(some_counter, some_pending[-some_size:])",
            ),
            ("some_pending = some_pending[some_size:]", "some_pending = some_pending[:-some_size]"),
        ),
        alone="order",
    ),
    Fault(
        "a transaction holds one item too many",
        "known to the services",
        release=release(classifier=overfull),
        alone="machines",
    ),
    Fault(
        "documents are read as they were a while ago",
        "nothing lost",
        release=release(table=lying(batch_get_item=stale)),
    ),
    Fault(
        "keys that were not read are taken for missing",
        "proved",
        release=release(table=without("UnprocessedKeys", operation="batch_get_item")),
    ),
    Fault(
        "billed requests are not totalled",
        "totals are sums of decisions",
        (
            (
                COUNTED,
                f'some_added[1] == "free" and {COUNTED}',
            ),
        ),
    ),
    Fault(
        "cached tokens are not totalled",
        "totals are sums of decisions",
        (("some_sums.cached += some_request.tokens.cached", "some_sums.cached += 0"),),
        alone="documents",
    ),
    Fault(
        "the counters of a day are not marked",
        "proved",
        release=release(table=on_puts(lambda put: None if is_marker(put) else put)),
    ),
    Fault(
        "the days of some organizations are not found by the schedule",
        "proved",
        (
            (
                "[_marker_shard(some_name)] if some_name else range(some_shards)",
                "[_marker_shard(some_name)] if some_name else range(1)",
            ),
        ),
        alone="readers",
    ),
    Fault(
        "a decision expires before the last repeat of its event",
        "exactly once",
        release=release(table=on_puts(expiring_sooner)),
        alone="retention",
    ),
)

PAGES = (
    Fault(
        "a further page of totals is not written",
        "totals are sums of decisions",
        release=release(table=on_puts(lambda put: None if is_page(put) else put)),
    ),
    Fault(
        "a further page of totals is written without its document",
        "totals are sums of decisions",
        release=release(table=pages_first),
    ),
    Fault(
        "further pages of totals are read as they were a while ago",
        "totals are sums of decisions",
        release=release(table=lying(batch_get_item=stale_pages)),
    ),
    Fault(
        "pages that were read are taken for those of a later version of their document",
        "known to the services",
        release=release(ledger=Attached),
        rare=True,
    ),
    Fault(
        "a transaction has no room for the pages of totals",
        "known to the services",
        (("some_pages = sum(some_each.most() for some_each in some_documents.values())", "some_pages = 0"),),
        alone="machines",
    ),
    Fault(
        "nobody looks for the pages that the first release did not know",
        "totals are sums of decisions",
        (("some_document.format == FIRST and some_document.version and is_day(some_counter)", "False"),),
    ),
    Fault(
        "what the first release counted in the document replaces what the page holds",
        "totals are sums of decisions",
        (("some_rows[some_key].plus(some_sums) if some_key in some_rows else some_sums", "some_sums"),),
        rare=True,
    ),
    Fault(
        "a document does not know of what versions its pages are",
        "totals are sums of decisions",
        (("some_document.stamps - sum(some_versions)", "some_document.stamps"),),
    ),
    Fault(
        "a page expires before its document",
        "exactly once",
        release=release(table=on_puts(lambda put: expiring(put, 370) if is_page(put) else put)),
        alone="retention",
    ),
)

REPEATS = (
    Fault(
        "whatever was decided before counts as a repeat, whatever its payload",
        "nothing lost",
        (
            (
                "isinstance(some_request, Void) or some_request.payload_hash == some_decision.payload_hash",
                "True",
            ),
        ),
    ),
    Fault(
        "a conflict within a batch counts as a repeat",
        "nothing lost",
        (("isinstance(some_other, Void) or some_first.payload_hash == some_other.payload_hash", "True"),),
    ),
    Fault(
        "decided before is whoever has the same request id",
        "exactly once",
        release=release(ledger=Confused),
    ),
    Fault(
        "there is one decision of a request id, not one a day",
        "nothing lost",
        release=release(table=under_another_key(lambda pk: re.sub(r"-\d\d(#\d+)$", r"-01\1", pk))),
    ),
    Fault(
        "there is one decision of a request id, not one an organization",
        "nothing lost",
        release=release(table=under_another_key(lambda pk: re.sub(r"^DAY#[^#]+", "DAY#all", pk))),
    ),
    Fault(
        "who reports an event makes another event of it",
        "exactly once",
        (
            (
                "some_payload['usage'] = some_usage.tokens.hashed",
                "some_payload['usage'] = [some_usage.tokens.hashed, self.source]",
            ),
        ),
    ),
    Fault(
        "a request belongs to the day on which it arrived",
        "explained",
        (("moment.day_of(self.occurred_at)", "moment.day_of(self.received_at)"),),
    ),
    Fault(
        "a batch counts its repeats twice",
        "nothing lost",
        (
            (
                "self.outcome.repeats += len(some_arrivals)",
                "self.outcome.repeats += 2 * len(some_arrivals)",
            ),
        ),
        alone="batches",
    ),
)

RULES = (
    Fault(
        "reaching the quota exactly does not fit",
        "never wrongly billed",
        ((FITS, "some_used + some_units < some_quota and not some_closed"),),
    ),
    Fault(
        "whatever begins within the quota is free",
        "never over-granted",
        ((FITS, "some_used < some_quota and not some_closed"),),
    ),
    Fault(
        "a window that was closed stays open",
        "never over-granted",
        ((FITS, "some_used + some_units <= some_quota"),),
    ),
    Fault(
        "an empty request does not fit into a window that is closed",
        "never wrongly billed",
        ((f"some_units == 0 or some_room or ({KEPT})", f"some_room or ({KEPT})"),),
    ),
    Fault(
        "evaluation runs are counted by their tokens",
        "never wrongly billed",
        (
            (
                "UNITS[self.unit](some_request, some_amount)",
                'UNITS["tokens" if self.unit == "runs" else self.unit](some_request, some_amount)',
            ),
        ),
    ),
    Fault(
        "windows are kept by the day on which they start, whatever their kind",
        "windows right",
        (("some_slot = some_group.window.slot(some_moment)", "some_slot = UTC_DAY.slot(some_moment)"),),
    ),
    Fault(
        "a late request opens a window that reaches into the next one",
        "windows right",
        (("next(some_holding, None) or next(some_after, None)", "next(some_holding, None)"),),
    ),
    Fault(
        "the last moment of a rolling window belongs to it",
        "windows right",
        (
            (
                "some_start <= some_moment < some_start + self.length",
                "some_start <= some_moment <= some_start + self.length",
            ),
        ),
    ),
    Fault(
        "profile and settings are those at the time of arrival",
        "explained",
        (
            (
                "terms_at(some_request.occurred_at, some_offer, some_account)",
                "terms_at(some_request.received_at, some_offer, some_account)",
            ),
        ),
    ),
    Fault(
        "settings take effect a moment too late",
        "settings take effect at once",
        (
            (
                "some_place[0].effective_at <= some_moment",
                "some_place[0].effective_at < some_moment",
            ),
        ),
    ),
    Fault(
        "the last free token is announced by whoever comes after it as well",
        "thresholds announced once and right",
        (("not some_window.has_announced(some_quota) and some_end", "some_end"),),
    ),
    Fault(
        "an organization that shares nothing is told that this project is not shared",
        "explained",
        (("some_terms.settings.traffic.mode == 'disabled'", "some_terms.settings.traffic.mode == 'nothing'"),),
        alone="decisions",
    ),
)

ORDER = (
    Fault(
        "later messages of an organization do not wait for an unfinished one",
        "decided in arrival order",
        (("some_message.id in some_again or some_message.group in some_groups", "some_message.id in some_again"),),
    ),
    Fault(
        "an organization's records go to the stream in one call, which may be stored in part",
        "decided in arrival order",
        release=release(usage_stream=AllAtOnce),
    ),
    Fault(
        "the queue is read no more as soon as the intake is the stream",
        "nothing lost",
        release=release(reads=lambda ways: ways),
        only="change",
    ),
    Fault(
        "the stream is read no more as soon as nothing is put into it",
        "nothing lost",
        release=release(reads=lambda ways: {"queue", *ways}),
        only="change",
    ),
    Fault(
        "a shard goes on from the last record that is unfinished, and the others are passed over",
        "nothing lost",
        (("return some_unfinished[:1]", "return some_unfinished[-1:]"),),
    ),
    Fault(
        "an organization that has to wait is overtaken by what comes in its next wave",
        "decided in arrival order",
        (("self.stopped.add(some_organization)", "None"),),
        rare=True,
    ),
    Fault(
        "a message with an undecided event is finished",
        "nothing lost",
        (("{some_arrival.message.id for some_arrival in some_arrivals if not some_arrival.done}", "set()"),),
    ),
    Fault(
        "an event that the table never takes drags others with it",
        "nothing lost",
        (
            (
                "self._commit_or_isolate(some_counter, [some_pending])",
                'self._refuse_all(some_pending[0], Rejected("internal_error", "it went with another"))',
            ),
        ),
    ),
    Fault(
        "what cannot be decided is said to be in quarantine, and is not",
        "nothing lost",
        (("self.quarantine.put(some_entries)", "None"),),
        alone="fates",
    ),
    Fault(
        "an event is given up because the table was busy",
        "nothing lost",
        release=release(ledger=Resigned),
    ),
    Fault(
        "an event that the table never takes is tried for ever",
        "it comes to an end",
        (
            (
                "self._refuse_all(some_pending[0][0], unforeseen(some_error))",
                "self.again.add(some_pending[0][0].message.id)",
            ),
        ),
    ),
    Fault(
        "what waited too long is not looked up among the decisions",
        "nothing lost",
        release=release(ledger=Blind),
    ),
    Fault(
        "what waited too long is decided all the same",
        "exactly once",
        (("some_age > LATEST_DECISION", "False"),),
    ),
    Fault(
        "a commit is put off for no cause",
        "done at once",
        release=release(ledger=Hesitant),
        alone="at once",
    ),
    Fault(
        "two changes of an account at once: one is written over",
        "settings are append-only",
        release=release(table=unconditionally(is_account)),
    ),
    Fault(
        "what an owner sets takes effect a year later",
        "settings take effect at once",
        (
            (
                'settings.model_copy(update={"effective_at": some_moment})',
                'settings.model_copy(update={"effective_at": (some_moment).replace(year=some_moment.year + 1)})',
            ),
        ),
        alone="accounts",
    ),
)

GIVEN_BACK = "some_window._replace(used=some_used - some_taken)"

VOIDS = (
    Fault(
        "a request is taken back once for each void of it",
        "exactly once",
        (("isinstance(some_void, Void) and some_key in some_decided", "False"),),
        release=release(table=unconditionally(is_void)),
    ),
    Fault(
        "a void gives back twice what its request took",
        "windows right",
        ((GIVEN_BACK, "some_window._replace(used=some_used - 2 * some_taken)"),),
    ),
    Fault(
        "a void gives nothing back",
        "windows right",
        ((GIVEN_BACK, "some_window._replace(used=some_used)"),),
    ),
    Fault(
        "a void opens a window that was closed",
        "windows right",
        ((GIVEN_BACK, "some_window._replace(used=some_used - some_taken, overflowed=False)"),),
    ),
    Fault(
        "what was announced of a window is announced again after a void",
        "thresholds announced once and right",
        (
            (
                GIVEN_BACK,
                "some_window._replace(used=some_used - some_taken, announced=frozenset(), crossed=frozenset())",
            ),
        ),
    ),
    Fault(
        "a void of a billed request gives back what it did not take",
        "windows right",
        (
            (
                "None if some_before is None or some_after is None else some_after - some_before",
                "None if some_before is None else (voided.figure('running_total') or some_before) - some_before",
            ),
        ),
    ),
    Fault(
        "totals do not count a voided request off",
        "totals are sums of decisions",
        ((COUNTED, f"some_count > 0 and {COUNTED}"),),
    ),
    Fault(
        "a void is counted off the day on which it arrived",
        "totals are sums of decisions",
        (("self.void.day", "moment.day_of(self.void.received_at)"),),
    ),
    Fault(
        "a void takes back the request of that id of the day on which it arrived",
        "nothing lost",
        (
            (
                "RequestKey(self.organization, self.day, self.request_id)",
                "RequestKey(self.organization, moment.day_of(self.received_at), self.request_id)",
            ),
        ),
    ),
    Fault(
        "a void in one batch with its request does not wait for it",
        "nothing lost",
        (("some_void.voided if isinstance(some_void, Void) else None", "None"),),
    ),
    Fault(
        "a void that comes before its request is forgotten",
        "nothing lost",
        release=release(quarantine=Indulgent),
    ),
    Fault(
        "a void comes with the amount of its request, not with that turned",
        "explained",
        (("None if some_amount is None else str(written(-Decimal(some_amount)))", "some_amount"),),
    ),
)

OUTWARDS = (
    Fault(
        "what the bus does not take of a call is forgotten",
        "everything emitted",
        release=release(bus=lying(put_events=everything_taken)),
    ),
    Fault(
        "a call that the bus does not answer counts as sent",
        "everything emitted",
        release=release(bus=lying(put_events=sent_without_answer)),
    ),
    Fault(
        "the stream goes on from the last record that failed, not the first",
        "everything emitted",
        (
            (
                "min(some_entry.position for some_entry in some_failed)",
                "max(some_entry.position for some_entry in some_failed)",
            ),
        ),
    ),
    Fault(
        "a page of records comes again from its last, not its first",
        "everything emitted",
        (
            (
                "bus_entry(some_decisions[0][0], 'BillingRecords', some_detail)",
                "bus_entry(some_decisions[-1][0], 'BillingRecords', some_detail)",
            ),
        ),
    ),
    Fault(
        "a change of settings does not say what was there before",
        "everything emitted",
        (("described(some_previous) if some_previous else None", "None"),),
        alone="bus",
    ),
    Fault(
        "a change of settings is described by one that is not there yet",
        "everything emitted",
        (
            (
                "described(some_previous) if some_previous else None",
                "described(new[some_number])",
            ),
        ),
    ),
    Fault(
        "of two thresholds that one decision reaches, only the first is announced",
        "thresholds announced once and right",
        (
            (
                "for some_threshold in some_decision.thresholds:\n    yield some_event",
                "for some_threshold in some_decision.thresholds[:1]:\n    yield some_event",
            ),
        ),
        alone="thresholds",
    ),
    Fault(
        "messages that the queue did not take are forgotten",
        "nothing lost",
        release=release(queue=lying(send_message_batch=everything_taken)),
    ),
    Fault(
        "a body is accepted that the queue did not take",
        "nothing lost",
        release=release(usage_queue=Optimistic),
        alone="answers",
    ),
    Fault(
        "quarantine entries that were not written are forgotten",
        "nothing lost",
        release=release(table=without("UnprocessedItems", operation="batch_write_item")),
    ),
    Fault(
        "an entry in quarantine is there before its parts are",
        "nothing lost",
        release=release(quarantine=HeadFirst),
    ),
    Fault(
        "a conflict does not show the decision that stands",
        "exactly once",
        (("some_decision.record() if some_decision else None", "None"),),
        alone="quarantine",
    ),
    Fault(
        "an event is finished although the quarantine did not take it",
        "nothing lost",
        release=release(quarantine=Careless),
    ),
    Fault(
        "a late decision does not open its day again",
        "proved",
        (
            (
                'some_record["occurred_at"][:10] < some_record["decided_at"][:10]',
                'some_record["occurred_at"][:10] < some_record["received_at"][:10]',
            ),
        ),
        alone="late days",
    ),
    Fault(
        "a statement's hash is that of its last record alone",
        "proved",
        (("hashlib.sha256(some_self.hash + some_written)", "hashlib.sha256(some_written)"),),
        alone="days",
    ),
    Fault(
        "two days that are closed side by side fork the chain of statements",
        "proved",
        (("keys.unchanged(some_read.number)", "{}"),),
    ),
    Fault(
        "a statement does not name the one before",
        "proved",
        (("Head(some_number, some_item['hash']['S'])", "Head(some_number)"),),
        alone="chains",
    ),
)

RELEASES = (
    Fault(
        "a document loses what the next release put beside ours",
        "read by another release",
        (("{some_name: some_value for some_name, some_value in some_item.items() if some_name not in _KNOWN}", "{}"),),
    ),
    Fault(
        "an account loses what the next release put beside ours",
        "read by another release",
        (("some_unknown | some_key(some_account) | some_fields", "some_key(some_account) | some_fields"),),
    ),
    Fault(
        "a statement that the last release made is taken for ours",
        "proved",
        (
            (
                'bool(json.loads(some_item["versions"]["S"]) == some_versions)',
                'json.loads(some_item["versions"]["S"]) == [[*each[:3], each[-1]] for each in some_versions]',
            ),
        ),
    ),
    Fault(
        "an entry in quarantine is written over when its event is refused again",
        "read by another release",
        (
            (
                "self.client.put_item(TableName=self.table, Item=some_item, ConditionExpression=keys.NEW)",
                "self.client.put_item(TableName=self.table, Item=some_item)",
            ),
        ),
    ),
    Fault(
        "a document that only the next release can read is decided on",
        "read by another release",
        ((f"if some_beyond := {BEYOND_US}:\n    ...", "pass"),),
    ),
    Fault(
        "what only the next release can decide goes to quarantine",
        "nothing lost",
        (
            (
                f"if some_beyond := {BEYOND_US}:\n    ...",
                f"if {BEYOND_US}:\n    raise Rejected('internal_error', 'a later format')",
            ),
        ),
    ),
    Fault(
        "a record lacks the fields that a later format added",
        "read by another release",
        (("cls(**some_fields, format=some_form, later=some_more)", "cls(**some_fields, format=some_form)"),),
        alone="formats",
    ),
    Fault(
        "a record is made in our format, whatever that of its decision",
        "everything emitted",
        (("_FORMS.get(self.format, RECORD)", "RECORD"),),
    ),
)

RESERVATIONS = (
    Fault(
        "what is reserved for others is not seen",
        "a reservation is kept",
        ((FITS.replace("some_used", "some_used + some_others"), FITS),),
    ),
    Fault(
        "whoever reserved is treated as everybody else",
        "a reservation is kept",
        (("some_own if some_own and some_bound and some_units <= some_own.units else None", "None"),),
    ),
    Fault(
        "more than was reserved is free as well",
        "never over-granted",
        (("some_own and some_bound and some_units <= some_own.units", "some_own and some_bound"),),
    ),
    Fault(
        "a reservation is kept under other terms than it was made",
        "explained",
        (("some_own and some_own.binding == some_terms and some_small", "some_own and some_small"),),
    ),
    Fault(
        "a reservation never expires",
        "reservations right",
        (("some_now < some_each.expires_at", "True"),),
    ),
    Fault(
        "a reservation lasts a moment longer than was said",
        "reservations right",
        (("some_now < some_each.expires_at", "some_now <= some_each.expires_at"),),
    ),
    Fault(
        "a reservation that was settled stays",
        "reservations right",
        (("rest = tuple(some_each for some_each in some_there if some_each is not some_own)", "rest = some_there"),),
    ),
    Fault(
        "a request of another project settles a reservation",
        "reservations right",
        (
            (
                "some_each.id == some_name and some_each.project == some_project and some_counts",
                "some_each.id == some_name and some_counts",
            ),
        ),
    ),
    Fault(
        "what a request names is not looked for",
        "reservations right",
        (("some_request.reservation or some_request.id", "some_request.id"),),
    ),
    Fault(
        "tokens in all count at the price of input",
        "reservations right",
        (("some_replaced if (some_amounts[1] or 0) > (some_amounts[0] or 0) else some_request", "some_request"),),
    ),
    Fault(
        "a reservation is answered and not written",
        "a reservation is kept",
        (("self._commit(some_documents, some_case.counter, (*some_there, some_reservation), some_judged)", "None"),),
        alone="reservations",
    ),
    Fault(
        "a reservation empties the totals of its day",
        "totals are sums of decisions",
        (("some_days.get(some_identity, some_before.totals)", "some_days.get(some_identity, Totals())"),),
    ),
    Fault(
        "a day whose reservations are still there is never closed",
        "it comes to an end",
        (
            (
                "any(some_document.format > RESERVING for some_document in some_list)",
                "any(some_document.format > 2 for some_document in some_list)",
            ),
        ),
    ),
    Fault(
        "what is given back stays",
        "reservations right",
        ((GIVES_BACK, "None"),),
    ),
    Fault(
        "100 % is announced of a counter that only reservations fill",
        "thresholds announced once and right",
        (("() if some_only_reserved else some_reached", "some_reached"),),
    ),
    Fault(
        "a void does not see what is reserved",
        "explained",
        (("if case.start is None or not counter.reservations:\n    return 0", "return 0"),),
    ),
)

FAULTS = (*COMMITS, *MOVING, *PAGES, *REPEATS, *RULES, *ORDER, *VOIDS, *OUTWARDS, *RELEASES, *RESERVATIONS)
