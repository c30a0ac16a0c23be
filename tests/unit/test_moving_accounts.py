"""Accounts that change while events are decided: no decision stands on what was withdrawn before its commit."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from gratis import moment
from gratis.account.asked import Wanted
from gratis.account.reservations import Reservations
from gratis.account.usage import groups_of
from gratis.rules.account import Account, Profile, Settings, Sharing
from gratis.table.accounts import Accounts, with_profile, with_settings
from gratis.table.ledger import Ledger
from tests.builders.aws import ALWAYS, TABLE, Faulty, first, holding, moto_table
from tests.builders.events import RECEIVED, message, usage
from tests.builders.ledger import classifier, stored
from tests.builders.offers import DAILY
from tests.builders.organizations import account

SOON = moment.text(RECEIVED + timedelta(minutes=2))
"""When the events of these tests occurred: by their senders' clocks a little after they were received."""
GROUPS = groups_of(DAILY)
FREE, NOT_SHARED = ("free", "within_quota"), ("billed", "sharing_disabled")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Of a table with org_a, which shares everything."""
    with moto_table() as client:
        Accounts(client, TABLE).put(account())
        yield client


def change(client: Any, changed: Callable[[Account], Account], groups: Any = GROUPS) -> None:
    Accounts(client, TABLE).append("org_a", changed, groups)


def opts_out(client: Any, now: datetime = RECEIVED) -> Callable[[], None]:
    settings = Settings(effective_at=now, actor="ann", traffic=Sharing(mode="disabled"))
    return lambda: change(client, lambda known: with_settings(known, settings, now))


def versions(client: Any) -> dict[str, int | None]:
    return {key.request_id: each.settings_version for key, each in stored(client).decisions.items()}


def test_opting_out_just_before_the_first_commit_of_a_day_is_what_it_is_judged_by(client: Any) -> None:
    faulty = Faulty(client).on("transact_write_items", first(opts_out(client)))
    outcome = classifier(faulty).classify([message("m1", usage("r1", at=SOON))])
    assert (stored(client).verdicts(), versions(client)) == ({"r1": NOT_SHARED}, {"r1": 2})
    assert (outcome.contended, outcome.unfinished) == (1, [])


def test_opting_out_just_before_a_commit_to_a_document_that_is_there_is_what_it_is_judged_by(client: Any) -> None:
    classifier(client).classify([message("m0", usage("r0", at=SOON))])
    faulty = Faulty(client).on("transact_write_items", first(opts_out(client)))
    classifier(faulty).classify([message("m1", usage("r1", at=SOON), usage("r2", at=SOON))])
    assert stored(client).verdicts() == {"r0": FREE, "r1": NOT_SHARED, "r2": NOT_SHARED}
    assert versions(client) == {"r0": 1, "r1": 2, "r2": 2}


def test_what_occurred_before_the_change_is_still_judged_by_the_version_of_its_time(client: Any) -> None:
    faulty = Faulty(client).on("transact_write_items", first(opts_out(client)))
    classifier(faulty).classify([message("m1", usage("r1", at="2025-03-11T09:00:00Z"))])
    assert (stored(client).verdicts(), versions(client)) == ({"r1": FREE}, {"r1": 1})


def test_a_first_profile_that_is_back_dated_while_a_late_event_is_decided_is_what_it_is_judged_by(client: Any) -> None:
    Accounts(client, TABLE).put(account().model_copy(update={"profile": ()}))
    yesterday = RECEIVED - timedelta(days=1)
    late = [usage(name, at=moment.text(yesterday)) for name in ("r1", "r2")]
    classifier(client).classify([message("m1", late[0])])
    profile = Profile(effective_at=yesterday - timedelta(days=1), tier=4)
    told = first(lambda: change(client, lambda known: with_profile(known, profile, RECEIVED)))
    classifier(Faulty(client).on("transact_write_items", told)).classify([message("m2", late[1])])
    assert stored(client).verdicts() == {"r1": ("billed", "tier_not_included"), "r2": FREE}


def test_a_document_that_comes_while_a_change_is_written_is_noted_on_as_well(client: Any) -> None:
    """Else a commit on it that was judged before the change would hold after it."""
    meanwhile = first(lambda: classifier(client).classify([message("m0", usage("r0", at=SOON))]))
    faulty = Faulty(client).on("transact_write_items", meanwhile)
    opts_out(faulty)()
    [noted] = {each.account_version for each in stored(client).documents.values()}
    assert (noted, len(faulty.transactions)) == (2, 2)


def test_events_of_an_account_that_does_not_rest_come_again(client: Any) -> None:
    tiers = iter(range(1000))

    def moves() -> None:
        profile = Profile(effective_at=RECEIVED, tier=next(tiers))
        change(client, lambda known: with_profile(known, profile, RECEIVED))

    faulty = Faulty(client).on("transact_write_items", first(moves), times=ALWAYS, only=holding("r1"))
    outcome = classifier(faulty).classify([message("m1", usage("r1", at=SOON))])
    assert (outcome.unfinished, outcome.causes) == (["m1"], ["org_a: the account is being changed"])
    assert stored(client).decisions == {}


def reserve(client: Any, name: str, kind: str) -> tuple[str, str]:
    model = "gpt-4o-2024-08-06"
    wanted = Wanted.model_validate({"type": kind, "id": name, "model": model, "tokens": 1, "shared": True})
    said, _ = Reservations(Ledger(client, TABLE), DAILY, "org_a", RECEIVED, pause=lambda _: None).reserve(wanted)
    return said["verdict"], said["reason"]


@pytest.mark.parametrize("there", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize(
    ("kind", "why"), [("usage.request", "sharing_disabled"), ("usage.eval_run", "eval_sharing_disabled")]
)
def test_a_reservation_is_judged_by_the_account_as_it_is_when_it_is_made(
    client: Any, kind: str, why: str, there: int
) -> None:
    """The counter of a rolling window lies beside the documents of days, on which a change notes itself."""
    assert [reserve(client, f"r{number}", kind) for number in range(there)] == [FREE] * there
    nothing = Sharing(mode="disabled")
    settings = Settings(effective_at=RECEIVED, actor="ann", traffic=nothing, evals=nothing)
    out = first(lambda: change(client, lambda known: with_settings(known, settings, RECEIVED)))
    verdict, reason = reserve(Faulty(client).on("transact_write_items", out), "last", kind)
    assert (verdict, reason) == ("billed", why)


def test_only_the_first_commit_to_a_document_asks_for_the_account(client: Any) -> None:
    faulty = Faulty(client)
    for name in ("r1", "r2"):
        classifier(faulty).classify([message(name, usage(name))])
    kinds = [sorted(kind for each in items for kind in each) for items in faulty.transactions]
    assert kinds == [["ConditionCheck", "Put", "Put", "Put"], ["Put", "Put"]]


def test_a_document_of_the_first_release_is_asked_about_once(client: Any) -> None:
    classifier(client).classify([message("m0", usage("r0"))])
    [item] = [each for each in stored(client).items.values() if each["pk"]["S"].startswith("COUNTER#")]
    client.put_item(TableName=TABLE, Item={name: each for name, each in item.items() if name != "account_version"})
    faulty = Faulty(client)
    for name in ("r1", "r2"):
        classifier(faulty).classify([message(name, usage(name))])
    assert [
        [kind for each in items for kind in each if kind != "Put"] == ["ConditionCheck"]
        for items in faulty.transactions
    ] == [True, False]


def test_a_change_notes_itself_on_the_documents_of_its_day_and_leaves_the_others(client: Any) -> None:
    classifier(client).classify([message("m0", usage("r0", at=SOON), usage("r1", at="2025-03-10T09:00:00Z"))])
    before = stored(client).documents
    opts_out(client)()
    after = stored(client).documents
    noted = {each.slot: after[each].account_version for each in after}
    assert noted == {"2025-03-11": 2, "2025-03-10": 1}
    assert [(each.counter, each.totals) for each in after.values()] == [
        (each.counter, each.totals) for each in before.values()
    ]
