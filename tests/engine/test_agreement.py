"""What the ledger stores is what the pure fold says: the same decisions, the same counters, the same totals."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gratis.intake.messages import Message
from gratis.rules.account import Account
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.table.accounts import Accounts
from gratis_local.engine import create_table
from gratis_local.stack import client_for
from tests.builders.events import LARGE, SMALL, message, usage
from tests.builders.ledger import classifier, decided_serially, prove, stored, timeless, totals_by_day
from tests.builders.offers import rolling, with_versions

TABLES = itertools.count()
ORGANIZATIONS = ("org_a", "org_b", "org_unknown")
ERAS = (datetime(2024, 12, 31, tzinfo=UTC), datetime(2025, 3, 4, tzinfo=UTC), datetime(2025, 4, 29, tzinfo=UTC))
"""Three days from each: the offer starts, rolling windows give way to UTC days, the offer ends."""
HALF_HOURS = 3 * 48
OFFERS = (
    shipped("data-sharing-2025"),
    shipped("data-sharing"),
    with_versions(shipped("data-sharing-2025"), overflow="close"),
    rolling(with_versions(shipped("data-sharing"), overflow="close")),
)
MODELS = (LARGE, LARGE, LARGE, SMALL, "o1-2024-12-17", "gpt-3.5-turbo", "ft:gpt-4o-2024-08-06:acme", "unheard-of")
SIZES = (0, 1, 99_999, 100_000, 150_000, 250_000, 250_001, 400_000, 999_999, 1_000_000)


@dataclass(frozen=True)
class World:
    """Who there is, under which offer, and what arrives, message by message and batch by batch."""

    offer: Offer
    accounts: dict[str, Account]
    batches: Sequence[Sequence[Message]]

    @property
    def events(self) -> list[Any]:
        """Everything in arrival order."""
        return [event for batch in self.batches for each in batch for event in json.loads(each.body)]


@st.composite
def accounts(draw: st.DrawFn, organization: str, since: datetime) -> Account:
    """A history of up to three profiles and settings, most of which let requests be free."""
    moments = st.integers(-24, HALF_HOURS // 2).map(lambda hours: (since + timedelta(hours=hours)).isoformat())
    mostly = {"mode": "enabled"}
    traffic = st.sampled_from([mostly, mostly, {"mode": "selected", "projects": ["proj_web"]}, {"mode": "disabled"}])
    profile = st.fixed_dictionaries(
        {"effective_at": moments, "tier": st.sampled_from([4, 4, 5, 2, 1, 0, None])},
        optional={"zero_data_retention": st.booleans(), "eligible": st.sampled_from([True, True, False])},
    )
    sharing = st.fixed_dictionaries({"effective_at": moments, "traffic": traffic, "evals": traffic})
    begin = (since - timedelta(days=1)).isoformat()
    first = [{"effective_at": begin, "tier": 4}], [{"effective_at": begin, "traffic": mostly, "evals": mostly}]
    return Account.model_validate(
        {
            "id": organization,
            "profile": first[0] + draw(st.lists(profile, max_size=2)),
            "sharing": first[1] + draw(st.lists(sharing, max_size=2)),
        }
    )


@st.composite
def events(draw: st.DrawFn, organization: str, since: datetime) -> dict[str, Any]:
    """An event of the era. There are few ids, so that payloads come into conflict."""
    when = since + timedelta(minutes=30 * draw(st.integers(0, HALF_HOURS - 1)))
    event = usage(
        f"r{draw(st.integers(0, 40))}",
        draw(st.sampled_from(SIZES)),
        organization=organization,
        at=when.isoformat(),
        kind=draw(st.sampled_from(["usage.request"] * 5 + ["usage.eval_run"])),
        model=draw(st.sampled_from(MODELS)),
        project=draw(st.sampled_from([None, "proj_web", "proj_app"])),
        batch=draw(st.booleans()),
        tools=draw(st.sampled_from([[], [], [], ["web_search"], ["mine"]])),
    )
    return event if draw(st.integers(0, 19)) else event | {"specversion": "2.0"}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    since = draw(st.sampled_from(ERAS))
    received = since + timedelta(days=4)
    messages: list[Message] = []
    sent: list[dict[str, Any]] = []
    for number in range(draw(st.integers(3, 12))):
        organization = draw(st.sampled_from(ORGANIZATIONS))
        fresh = draw(st.lists(events(organization, since), min_size=1, max_size=12))
        before = [event for event in sent if event["subject"] == organization]
        repeats = draw(st.lists(st.sampled_from(before), max_size=4)) if before else []
        content = draw(st.permutations(fresh + repeats))
        sent += fresh
        messages.append(message(f"m{number}", *content, group=organization, received_at=received))
    if draw(st.booleans()):
        messages.append(messages[draw(st.integers(0, len(messages) - 1))])
    size = draw(st.integers(1, 5))
    known = {organization: draw(accounts(organization, since)) for organization in ORGANIZATIONS[:2]}
    batches = [messages[start : start + size] for start in range(0, len(messages), size)]
    return World(draw(st.sampled_from(OFFERS)), known, batches)


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_the_ledger_agrees_with_the_fold_decision_by_decision_and_total_by_total(engine_url: str, world: World) -> None:
    client, table = client_for(engine_url, "dynamodb"), f"agreement-{next(TABLES)}"
    create_table(client, table)
    for account in world.accounts.values():
        Accounts(client, table).put(account)
    for batch in world.batches:
        assert classifier(client, world.offer, table=table).classify(batch).unfinished == []

    found = stored(client, table)
    received_at = world.batches[0][0].received_at
    expected = decided_serially(world.events, world.offer, world.accounts, received_at)
    assert {key: timeless(decision) for key, decision in found.decisions.items()} == {
        key: timeless(decision) for key, decision in expected.decisions.items()
    }
    documents = found.documents.items()
    counters = {identity: document.counter for identity, document in documents if document.counter.windows}
    assert counters == {counter: books.counter for counter, books in expected.counters.items() if books.counter.windows}
    totals = {identity: document.totals for identity, document in documents if document.totals.rows}
    assert totals == totals_by_day(expected.counters)
    assert {(entry.code, entry.raw) for entry in found.quarantine} == expected.refused
    prove(found, overflow=world.offer.versions[0].overflow)


@settings(max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_handing_in_a_whole_world_again_changes_nothing(engine_url: str, world: World) -> None:
    client, table = client_for(engine_url, "dynamodb"), f"agreement-{next(TABLES)}"
    create_table(client, table)
    for account in world.accounts.values():
        Accounts(client, table).put(account)
    for batch in world.batches:
        classifier(client, world.offer, table=table).classify(batch)
    before = stored(client, table).items
    everything = [each for batch in world.batches for each in batch]
    assert classifier(client, world.offer, table=table).classify(everything).decisions == []
    assert stored(client, table).items == before
