"""Closes a day: reads its decisions, proves them, and writes the statement. SPEC section 3, promise 6.

What if this dies on any line, runs twice, or two of it run at once? It only reads, until it writes one statement under
a condition. The same proof again writes nothing; a late decision changes the hash, and that is a new revision.
"""

import json
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.account import Account
from gratis.decision import CounterId, Decision
from gratis.dynamo import translated
from gratis.errors import Busy
from gratis.ledger import Document, Ledger
from gratis.offer import EVALS, Offer
from gratis.proof import Difference, decided_differently, statement_of, tiling, totals_differ
from gratis.window import Kind, start_of_week
from gratis.window import name as window_name

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_IDS, MOST_DIFFERENCES = 100, 100
"""What a statement lists: it has to fit an event of the bus. The count of differences is that of all."""
OfferOf = Callable[[str], Offer]
"""The offer of an id, as receipts name it."""


@dataclass(frozen=True)
class Proof:
    """A day's statement, and what does not hold."""

    statement: dict[str, Any]
    differences: Sequence[Difference]

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def content(self) -> dict[str, Any]:
        """As the bus and the statement item carry it."""
        shown, room = [], MOST_IDS
        for each in self.differences[:MOST_DIFFERENCES]:
            shown.append(asdict(each) | {"ids": list(each.ids)[:room]})
            room -= len(shown[-1]["ids"])
        return self.statement | {
            "unpriced": self.statement["unpriced"][:MOST_IDS],
            "holds": self.holds,
            "difference_count": len(self.differences),
            "differences": shown,
        }


def prove(ledger: Ledger, organization: str, day: date, offer_of: OfferOf) -> Proof:
    """Prove a day from what the ledger holds now. Raises Busy while the day is being written to."""
    documents = _documents(ledger, organization, day)
    decisions = sorted(ledger.decisions_of_day(organization, day), key=lambda decision: decision.request_id)
    reaching = _reaching(ledger, organization, day, set(_windows_beyond(decisions)))
    account = ledger.read([organization], [])[0].get(organization)
    found = [
        *_tiles(decisions, documents, reaching),
        *totals_differ(decisions, _totals(documents, day)),
        *_repeated(ledger, organization, day, decisions),
        *_decided_again(decisions, account, offer_of),
    ]
    if _versions(_documents(ledger, organization, day)) != _versions(documents):
        raise Busy(f"{organization} {day}: decisions are still being added")
    records = sorted((decision.record() for decision in decisions), key=lambda record: record["id"])
    return Proof(statement_of(organization, day, records), found)


@dataclass(frozen=True)
class _Reaching:
    """Windows that reach beyond the day: their decisions of other days, and what their counters hold."""

    decisions: Sequence[Decision] = ()
    used: Mapping[tuple[str, str], int] | None = None


def _documents(ledger: Ledger, organization: str, day: date) -> dict[CounterId, Document]:
    groups = {group for _, group in ledger.marked(day, organization)}
    return ledger.days(organization, sorted(groups), day, day)


def _versions(documents: Mapping[CounterId, Document]) -> dict[CounterId, int]:
    return {identity: document.version for identity, document in documents.items()}


def _totals(documents: Mapping[CounterId, Document], day: date) -> dict[str, Any]:
    return {each.group: document.totals for each, document in documents.items() if each.window == day.isoformat()}


def _windows_beyond(decisions: Iterable[Decision]) -> Iterator[tuple[str, str]]:
    """Group and window of each counter that is not the UTC day's own."""
    for decision in decisions:
        if decision.group and decision.window and (decision.group == EVALS or "T" in decision.window):
            yield decision.group, decision.window


def _reaching(ledger: Ledger, organization: str, day: date, windows: set[tuple[str, str]]) -> _Reaching:
    """Read what windows of 24 hours and of weeks hold on the other days that they touch."""
    if not windows:
        return _Reaching()
    counters = {_counter(organization, group, window) for group, window in windows}
    before = ledger.read([], counters)[1]
    others = sorted({other for _, window in windows for other in _days(window)} - {day})
    decisions = [
        decision
        for other in others
        for decision in ledger.decisions_of_day(organization, other)
        if (decision.group, decision.window) in windows
    ]
    if _versions(ledger.read([], counters)[1]) != _versions(before):
        raise Busy(f"{organization}: a window that {day} touches is still being written to")
    used = {
        (identity.group, window_name(_kind(identity), window.start)): window.used
        for identity, document in before.items()
        for window in document.counter.windows
    }
    return _Reaching(decisions, {counter: held for counter, held in used.items() if counter in windows})


def _counter(organization: str, group: str, window: str) -> CounterId:
    return CounterId(organization, group, "ROLLING" if "T" in window else f"WEEK#{window}")


def _kind(counter: CounterId) -> Kind:
    return "rolling_24h" if counter.window == "ROLLING" else "utc_week"


def _days(window: str) -> Iterator[date]:
    """The UTC days on which a rolling window or a week can hold decisions; late events come from a day before."""
    if "T" in window:
        start, days = moment.day_of(moment.parse(window)) - timedelta(days=1), 3
    else:
        start, days = start_of_week(moment.midnight(date.fromisoformat(window))).date(), 7
    yield from (start + timedelta(days=number) for number in range(days))


def _tiles(
    decisions: Iterable[Decision], documents: Mapping[CounterId, Document], reaching: _Reaching
) -> Iterator[Difference]:
    used = {
        (identity.group, window_name("utc_day", window.start)): window.used
        for identity, document in documents.items()
        for window in document.counter.windows
    }
    records = [decision.record() for decision in (*decisions, *reaching.decisions)]
    return tiling(records, used | dict(reaching.used or {}))


def _repeated(ledger: Ledger, organization: str, day: date, decisions: Sequence[Decision]) -> Iterator[Difference]:
    """The same id on neighbouring days: most likely one request whose time was changed when it was sent again."""
    ours = Tally(decision.request_id for decision in decisions)
    twice = sorted(request_id for request_id, count in ours.items() if count > 1)
    if twice:
        yield Difference("duplicate", "decided twice on this day", twice)
    for neighbour in (day - moment.DAY, day + moment.DAY):
        theirs = {decision.request_id for decision in ledger.decisions_of_day(organization, neighbour)}
        both = sorted(ours.keys() & theirs)
        if both:
            yield Difference("duplicate", f"also decided on {neighbour}", both)


def _decided_again(decisions: Sequence[Decision], account: Account | None, offer_of: OfferOf) -> Iterator[Difference]:
    closed = {
        each.window
        for each in decisions
        if each.reason == "over_quota" and each.window and (each.running_total or 0) > (each.quota or 0)
    }
    for decision in decisions:
        offer = offer_of(decision.offer.partition("@")[0])
        try:
            why = decided_differently(decision, account, offer, closed)
        except LookupError:
            why = "names a version of profile or settings that the account does not have"
        if why:
            yield Difference("decided_differently", why, [decision.record()["id"]])


class Statements:
    """Statements in the ledger table, one item a revision."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def write(self, proof: Proof, proved_at: datetime) -> dict[str, Any] | None:
        """Store the proof as the next revision, and return it; None if the latest one says the same. Raises Busy."""
        content = proof.content()
        latest = self.latest(content["organization"], date.fromisoformat(content["day"]))
        if latest and {name: latest[name] for name in content} == content:
            return None
        revision = latest["revision"] + 1 if latest else 1
        stated = content | {"revision": revision, "proved_at": moment.text(proved_at)}
        stated["id"] = f"{content['organization']}:{content['day']}:{revision}"
        item = {
            "pk": {"S": f"ORG#{content['organization']}"},
            "sk": {"S": f"{_prefix(content['day'])}{revision:06}"},
            "statement": {"S": json.dumps(stated, separators=(",", ":"))},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except self.client.exceptions.ConditionalCheckFailedException as error:
            raise Busy(f"{stated['id']} is being closed by another") from error
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return stated

    def latest(self, organization: str, day: date) -> dict[str, Any] | None:
        """The newest revision of a day's statement. Raises Busy."""
        try:
            items = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :day)",
                ExpressionAttributeValues={
                    ":pk": {"S": f"ORG#{organization}"},
                    ":day": {"S": _prefix(day.isoformat())},
                },
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=1,
            )["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return json.loads(items[0]["statement"]["S"]) if items else None


def _prefix(day: str) -> str:
    return f"STATEMENT#{day}#"
