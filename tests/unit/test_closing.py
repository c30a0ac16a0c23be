"""Closing a day: what a proof finds, that it can be put down anywhere and taken up again, and that closing twice is
closing once. On the simulation's table, which hands out pages of two items."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest

from gratis import moment
from gratis.classify import Classifier
from gratis.closing.close import Closed, PutDown, Unchanged, close
from gratis.closing.proof import Difference, Proof
from gratis.closing.proving import NoLongerKept, Proving, prove
from gratis.closing.statements import Statements
from gratis.errors import Busy
from gratis.rules import pricing
from gratis.rules.offer import Offer
from gratis.rules.pages import MAX_PAGE_ROWS
from gratis.rules.receipt import Decision
from gratis.table import keys
from gratis.table.accounts import Accounts
from gratis.table.decision_items import KEEP_DECISIONS, decision_of
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.functions import Context, handler_of
from gratis_local.replay import event_clock
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE, Crash, moto_table
from tests.builders.events import DAY, LARGE, RECEIVED, SMALL, message, usage
from tests.builders.ledger import stored
from tests.builders.offers import DAILY, rolling, with_versions
from tests.builders.organizations import account

LATER = RECEIVED + timedelta(days=1)
NEXT = DAY + timedelta(days=1)
CLOSING = with_versions(DAILY, overflow="close")
SEED = [120_000, 140_000, 150_000, 150_000, 150_000, 150_000, 115_000, 30_000, 25_000]
"""Tokens of the seed's nine requests."""


@pytest.fixture
def table() -> Any:
    """An empty ledger table."""
    return Table(100, page_size=2)


def decide(
    table: Any,
    *events: Any,
    offer: Offer = DAILY,
    received_at: Any = LATER,
    tier: int = 4,
    max_page_rows: int = MAX_PAGE_ROWS,
) -> None:
    Accounts(table, TABLE).put(account(tier=tier))
    ledger = Ledger(table, TABLE, max_page_rows=max_page_rows)
    deciding = Classifier(ledger, Quarantine(table, TABLE), offer, event_clock)
    outcome = deciding.classify([message(f"m-{next(_NUMBERS)}", *events, received_at=received_at)])
    assert not outcome.unfinished
    assert not outcome.quarantined


_NUMBERS = count(1)


def seed_day(**data: Any) -> list[Any]:
    return [usage(f"req_{number}", tokens, **data) for number, tokens in enumerate(SEED, start=1)]


def proof_of(table: Any, offer: Offer = DAILY, day: date = DAY, *, now: datetime = LATER, expire: bool = True) -> Any:
    return prove(Ledger(table, TABLE, expire=expire), "org_a", day, lambda _: offer, now)


def begun(table: Any, offer: Offer = DAILY, day: date = DAY, kept: Any = None) -> Proving:
    """A proof that has read nothing, or what an earlier one had read."""
    return Proving(Ledger(table, TABLE), "org_a", day, lambda _: offer, kept)


def finished(proving: Proving, most: int = 100) -> Any:
    while not proving.go_on(most):
        pass
    return proving.proof(LATER)


def differences(proof: Proof) -> dict[str, set[str]]:
    """Kinds, and the request ids that show them."""
    found: dict[str, set[str]] = {}
    for each in proof.differences:
        found.setdefault(each.kind, set()).update(name.rpartition(":")[2] for name in each.ids)
    return found


def decision_item(table: Any, request_id: str) -> tuple[tuple[str, str], dict[str, Any]]:
    return next((key, item) for key, item in table.items.items() if key[1] == f"REQ#{request_id}")


def gone(table: Any, *request_ids: str) -> None:
    for request_id in request_ids:
        del table.items[decision_item(table, request_id)[0]]


def holding(table: Any, used: int, key: tuple[str, str] = ("COUNTER#org_a#1m", "2025-03-11")) -> None:
    """Somebody writes another figure into a counter, that of the seed's day."""
    windows = re.sub(r",\d+,", f",{used},", table.items[key]["windows"]["S"])
    table.items[key] = table.items[key] | {"windows": {"S": windows}}


def tampered(table: Any, request_id: str, **fields: Any) -> None:
    """Somebody writes past the ledger."""
    key, item = decision_item(table, request_id)
    decision: Decision = decision_of(item)._replace(**fields)
    table.items[key] = item | {"receipt": {"S": decision.stored()[0]}}


# --- what a proof says ---------------------------------------------------------------------------------------------


def test_the_seeds_day_is_proved(table: Any) -> None:
    decide(table, *seed_day())
    proof = proof_of(table)
    assert proof.holds
    figures = ("decisions", "free", "billed", "free_tokens", "billed_tokens", "list_amount_usd", "amount_usd")
    assert [proof.statement[name] for name in figures] == [9, 8, 1, 1_000_000, 30_000, "2.575", "0.075"]


def test_the_hash_can_be_made_by_anybody_from_the_records(table: Any) -> None:
    decide(table, *seed_day(), *(usage(f"other/{number}", model=SMALL) for number in range(20)))
    records = [decision.record() for decision in stored_decisions(table)]
    digest = bytes(32)
    for record in sorted(records, key=lambda each: str(each["id"])):
        written = json.dumps(record, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(digest + written.encode()).digest()
    assert proof_of(table).statement["hash"] == digest.hex()


def stored_decisions(table: Any) -> list[Decision]:
    return [decision_of(item) for key, item in table.items.items() if key[1].startswith("REQ#")]


def test_the_decisions_of_a_day_come_by_request_id_whatever_shard_and_page_they_are_on(table: Any) -> None:
    names = [f"r{number:03}" for number in range(60)]
    decide(table, *(usage(name) for name in reversed(names)))
    read = Ledger(table, TABLE).decisions_of_day
    assert [decision.request_id for decision in read("org_a", DAY)] == names
    assert [decision.request_id for decision in read("org_a", DAY, "r041")] == names[42:]
    assert len({key[0] for key in table.items if key[1].startswith("REQ#")}) == keys.DECISION_SHARDS


def test_a_day_without_decisions_holds(table: Any) -> None:
    proof = proof_of(table)
    assert (proof.holds, proof.statement["decisions"], proof.statement["hash"]) == (True, 0, "0" * 64)


def test_a_missing_decision_is_a_gap_and_the_totals_are_not_the_sums(table: Any) -> None:
    decide(table, *seed_day())
    gone(table, "req_3")
    assert differences(proof_of(table)) == {"gap": {"req_4"}, "totals": set()}


def test_two_decisions_on_the_same_tokens_overlap(table: Any) -> None:
    decide(table, *seed_day())
    tampered(table, "req_2", used_before=100_000, used_after=240_000, running_total=240_000)
    assert differences(proof_of(table)) == {"overlap": {"req_1", "req_2"}, "gap": {"req_3"}}


def test_a_counter_that_holds_more_than_its_decisions_is_a_gap(table: Any) -> None:
    decide(table, *seed_day())
    holding(table, 1_000_001)
    (difference,) = proof_of(table).differences
    assert (difference.kind, difference.ids) == ("gap", ("org_a:2025-03-11:req_9",))
    assert "reach 1000000, the counter holds 1000001" in difference.message


def test_a_counter_without_any_decision_is_a_gap(table: Any) -> None:
    decide(table, usage("r1"), usage("r2", model=SMALL))
    gone(table, "r2")
    assert differences(proof_of(table)) == {"gap": set(), "totals": set()}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"verdict": "billed", "reason": "over_quota", "amount_usd": "0.3", "used_after": 0}, "decided_differently"),
        ({"verdict": "free", "amount_usd": "0"}, "decided_differently"),
        ({"reason": "model_not_listed"}, "decided_differently"),
        ({"list_amount_usd": "0.2"}, "decided_differently"),
        ({"amount_usd": "0.2"}, "decided_differently"),
        ({"quota": 2_000_000}, "decided_differently"),
        ({"running_total": 5}, "decided_differently"),
        ({"profile_version": 7}, "decided_differently"),
        ({"project": "proj_other"}, "totals"),
        ({"used_after": 1_120_000}, "over_granted"),
        ({"used_after": 240_000}, "decided_differently"),
        ({"tier": 5}, "decided_differently"),
        ({"offer": "data-sharing@2025-01-01"}, "decided_differently"),
        ({"window": "2025-03-10"}, "decided_differently"),
        ({"price_version": "2020-01-01"}, "decided_differently"),
        ({"group": "10m"}, "decided_differently"),
    ],
    ids=str,
)
def test_a_receipt_that_was_changed_is_found(table: Any, fields: dict[str, Any], found: str) -> None:
    decide(table, *seed_day())
    name = "req_8" if fields.get("verdict") == "free" else "req_1"
    tampered(table, name, **fields)
    shown = differences(proof_of(table))
    assert found in shown
    assert name in shown[found] or found == "totals"


@pytest.mark.parametrize(
    "fields", [{"used_after": 5}, {"window": "2025-03-10"}, {"tier": 5}, {"running_total": 7}, {"price_version": None}]
)
def test_a_billed_receipt_that_was_changed_is_found_too(table: Any, fields: dict[str, Any]) -> None:
    decide(table, *seed_day(), usage("unlisted", 5, model="gpt-3.5-turbo"))
    assert proof_of(table).holds
    for name in ("req_8", "unlisted"):
        tampered(table, name, **fields)
        assert name in differences(proof_of(table))["decided_differently"]


def test_tokens_that_were_counted_twice_are_found_although_they_tile(table: Any) -> None:
    decide(table, usage("r1", 100), usage("r2", 100))
    tampered(table, "r1", used_after=200, running_total=200)
    tampered(table, "r2", used_before=200, used_after=400, running_total=400)
    holding(table, 400)
    assert differences(proof_of(table)) == {"decided_differently": {"r1", "r2"}}


def test_a_price_that_became_known_later_changes_nothing_that_was_decided(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(table, usage("r1", model="nobody-knows-1"), usage("r2"))
    known = pricing.table()
    rows = {"nobody-knows-1": known.ids["gpt-4o-mini-2024-07-18"]}
    newer = known.ids[LARGE].rows[0].model_copy(update={"effective_at": "2025-03-01"})
    cheaper = {LARGE: known.ids[LARGE].model_copy(update={"rows": (*known.ids[LARGE].rows, newer)})}
    learned = known.model_copy(update={"ids": known.ids | rows | cheaper})
    monkeypatch.setattr(pricing, "table", lambda: learned)
    pricing._price.cache_clear()
    try:
        assert proof_of(table).holds
    finally:
        pricing._price.cache_clear()


def test_an_offer_that_nobody_knows_any_more_is_a_difference(table: Any) -> None:
    def unknown(name: str) -> Offer:
        raise KeyError(name)

    decide(table, usage("r1"))
    proof = prove(Ledger(table, TABLE), "org_a", DAY, unknown, LATER)
    assert differences(proof) == {"decided_differently": {"r1"}}


def test_the_same_id_on_the_next_day_is_a_difference_of_both_days(table: Any) -> None:
    decide(table, usage("twice"), usage("once"), usage("twice", at="2025-03-12T00:00:00Z"))
    for day, other in ((DAY, NEXT), (NEXT, DAY)):
        (difference,) = proof_of(table, day=day).differences
        assert difference == Difference("duplicate", f"also decided on {other}", (f"org_a:{day}:twice",))


def test_what_has_no_price_is_listed_and_counted(table: Any) -> None:
    decide(table, *(usage(f"r{number:03}", model="nobody-knows-1") for number in range(130)))
    statement = proof_of(table).statement
    assert (len(statement["unpriced"]), statement["unpriced_count"]) == (100, 130)
    assert statement["unpriced"][0] == "org_a:2025-03-11:r000"


def test_the_rows_of_all_pages_add_up(table: Any) -> None:
    for number in range(9):
        decide(table, usage(f"r{number}", project=f"proj_{number}"), max_page_rows=2)
    assert len([key for key in table.items if key[1].startswith("PAGE#")]) > 1
    assert proof_of(table).holds
    tampered(table, "r8", input=999, list_amount_usd="0.0024975")
    assert "totals" in differences(proof_of(table))


def test_a_day_that_is_written_to_meanwhile_is_not_proved(table: Any) -> None:
    decide(table, usage("r1"))
    proving = begun(table)
    proving.go_on(1)
    decide(table, usage("r2"))
    with pytest.raises(Busy, match="still being added"):
        finished(proving)


# --- windows that reach into other days ----------------------------------------------------------------------------


def over_two_days() -> list[Any]:
    """A rolling window from the evening to the next morning."""
    return [
        usage("evening", 600_000, at="2025-03-11T22:00:00Z"),
        usage("too much", 500_000, at="2025-03-11T23:00:00Z", project="p").copy() | {"id": "too-much"},
        usage("morning", 300_000, at="2025-03-12T01:00:00Z"),
        usage("noon", 200_000, at="2025-03-12T12:00:00Z"),
    ]


def test_a_rolling_window_is_proved_over_the_days_that_it_touches(table: Any) -> None:
    offer = rolling(DAILY)
    decide(table, *over_two_days(), offer=offer)
    assert proof_of(table, offer).holds
    assert proof_of(table, offer, NEXT).holds
    gone(table, "evening")
    assert differences(proof_of(table, offer, NEXT)) == {"gap": {"morning"}}


def test_a_window_that_was_closed_on_the_day_before_bills_what_would_fit(table: Any) -> None:
    offer = rolling(CLOSING)
    decide(table, *over_two_days(), offer=offer)
    verdicts = {decision.request_id: decision.verdict for decision in stored_decisions(table)}
    assert verdicts == {"evening": "free", "too-much": "billed", "morning": "billed", "noon": "billed"}
    assert proof_of(table, offer, NEXT).holds


def test_what_would_fit_is_billed_wrongly_if_nothing_closed_its_counter(table: Any) -> None:
    decide(table, *seed_day(), *(usage(f"m{number}", 10, model=SMALL) for number in range(3)), offer=CLOSING)
    billed = {"verdict": "billed", "reason": "over_quota", "amount_usd": "0.0000015", "used_after": 20}
    tampered(table, "m2", **billed)
    assert "m2" in differences(proof_of(table, CLOSING))["decided_differently"]  # group 1m was closed, not 10m


@pytest.mark.parametrize("event", [usage("r1"), usage("r1", kind="usage.eval_run")], ids=["day", "week"])
@pytest.mark.parametrize("window", [None, "", "2025-03-10T24", "last week"])
def test_a_window_that_nothing_is_named_like_is_found_and_does_not_stop_the_proof(
    table: Any, event: Any, window: str | None
) -> None:
    for offer in (DAILY, rolling(DAILY)):
        decide(table, event, offer=offer)
        tampered(table, "r1", window=window)
        assert "gap" in differences(proof_of(table, offer))
        table.items.clear()


def test_eval_runs_are_proved_over_their_week(table: Any) -> None:
    runs = [
        usage(f"run{number}", 5, kind="usage.eval_run", at=f"2025-03-1{number % 3}T08:00:00Z") for number in range(9)
    ]
    decide(table, *runs)
    assert all(proof_of(table, day=date(2025, 3, 10 + number)).holds for number in range(3))
    gone(table, "run0")
    assert "gap" in differences(proof_of(table))


# --- put down and taken up -----------------------------------------------------------------------------------------


def in_pieces(table: Any, offer: Offer, day: date, most: int) -> Proof:
    """The proof, put down and taken up again, as JSON, after every `most` request ids."""
    kept = None
    while True:
        proving = begun(table, offer, day, kept)
        if proving.go_on(most):
            return proving.proof(LATER)
        kept = json.loads(json.dumps(proving.content()))


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize(
    "offer", [DAILY, CLOSING, rolling(DAILY), rolling(CLOSING)], ids=["days", "days close", "rolling", "rolling close"]
)
def test_a_proof_in_pieces_is_the_same_proof(table: Any, offer: Offer, most: int) -> None:
    runs = [usage(f"run{number}", 5, kind="usage.eval_run") for number in range(8)]
    others = [usage(f"x{number}", 10, model="nobody-knows-1") for number in range(5)]
    twice = usage("req_1", 5, at="2025-03-12T00:30:00Z")
    decide(
        table, *seed_day(), *runs, *others, *over_two_days(), twice, offer=offer, received_at=RECEIVED.replace(day=12)
    )
    for broken in (False, True):
        for day in (DAY, NEXT):
            assert in_pieces(table, offer, day, most) == proof_of(table, offer, day)
        if not broken:
            tampered(table, "req_2", used_before=100_000, amount_usd="7")
            gone(table, "req_5")
            assert not proof_of(table, offer).holds


def test_a_proof_begins_anew_if_the_day_was_written_to_since(table: Any) -> None:
    decide(table, *seed_day())
    proving = begun(table)
    proving.go_on(5)
    decide(table, usage("a-late-one", 7))
    proof = finished(begun(table, kept=proving.content()))
    assert proof == proof_of(table)
    assert proof.statement["decisions"] == 10


def test_a_week_that_goes_on_without_free_runs_does_not_keep_an_earlier_day_open(table: Any) -> None:
    decide(table, *(usage(f"run{number}", 5, kind="usage.eval_run") for number in range(7)))
    proving = begun(table)
    while not proving.go_on(1):
        decide(table, usage(f"more{next(_NUMBERS)}", 5, kind="usage.eval_run", at="2025-03-12T09:00:00Z"))
    assert finished(proving).holds


def test_what_another_release_kept_is_not_taken_up(table: Any) -> None:
    decide(table, *seed_day())
    proving = begun(table)
    proving.go_on(5)
    kept = proving.content()
    assert begun(table, kept=kept).after == "req_5"
    assert not begun(table, kept=kept | {"format": kept["format"] - 1}).after


def test_a_window_that_another_day_counts_in_meanwhile_is_left_to_the_proof_of_that_day(table: Any) -> None:
    decide(table, *(usage(f"run{number}", 5, kind="usage.eval_run") for number in range(3)))
    decide(table, *(usage(f"monday{n}", 5, kind="usage.eval_run", at="2025-03-10T09:00:00Z") for n in range(2)))
    for _ in range(3):  # the last one has read the day, and reads the other days of the week
        assert close_once(table, 2, hurry=lambda: True) == PutDown()
    decide(table, usage("wednesday", 5, kind="usage.eval_run", at="2025-03-12T09:00:00Z"))
    holding(table, 99, ("COUNTER#org_a#evals", "WEEK#2025-03-10"))
    assert close_once(table).proof.holds
    assert progress(table) == []
    assert not proof_of(table, day=date(2025, 3, 12)).holds


# --- decisions that are no longer kept -----------------------------------------------------------------------------

NO_LONGER = moment.midnight(DAY) + moment.DAY + KEEP_DECISIONS
JUST_KEPT = NO_LONGER - timedelta(microseconds=1)


@pytest.mark.parametrize("lost", [["req_3"], [f"req_{number}" for number in range(1, 10)]], ids=["one", "all"])
def test_a_day_whose_decisions_are_no_longer_kept_is_neither_stated_nor_an_alarm(table: Any, lost: list[str]) -> None:
    decide(table, *seed_day())
    assert proof_of(table, now=NO_LONGER).holds  # they are still there
    gone(table, *lost)
    assert not proof_of(table, now=JUST_KEPT).holds
    assert not proof_of(table, expire=False, now=NO_LONGER).holds
    assert proof_of(table, now=NO_LONGER) == NoLongerKept()
    assert close_once(table, 4, hurry=lambda: True, now=NO_LONGER) in (PutDown(), NoLongerKept())
    assert close_once(table, now=NO_LONGER) == NoLongerKept()
    assert not any(key[1].startswith(("STATEMENT#", "PROGRESS#")) for key in table.items)


def test_of_a_day_of_which_nothing_is_left_it_is_said_too(table: Any) -> None:
    assert proof_of(table, now=JUST_KEPT).statement["decisions"] == 0
    assert proof_of(table, now=NO_LONGER) == NoLongerKept()


def test_a_week_that_began_on_days_no_longer_kept_is_no_alarm(table: Any) -> None:
    """Nor is an overlap in it: a void of those days may have given back what is used twice here."""
    days = ("10", "11", "12", "12")
    runs = [usage(f"run{n}", 5, kind="usage.eval_run", at=f"2025-03-{day}T08:00:00Z") for n, day in enumerate(days)]
    decide(table, *runs, received_at=RECEIVED.replace(day=12))
    gone(table, "run0", "run1")
    assert differences(proof_of(table, day=NEXT, now=JUST_KEPT - moment.DAY)) == {"gap": {"run2"}}
    assert proof_of(table, day=NEXT, now=NO_LONGER).holds
    tampered(table, "run3", used_before=2, used_after=3, running_total=3)
    assert proof_of(table, day=NEXT, now=NO_LONGER).holds


def test_who_closed_a_window_on_a_day_no_longer_kept_is_not_asked_for(table: Any) -> None:
    decide(table, *over_two_days(), offer=rolling(CLOSING))
    gone(table, "evening", "too-much")
    assert "decided_differently" in differences(proof_of(table, rolling(CLOSING), NEXT, now=JUST_KEPT - moment.DAY))
    assert proof_of(table, rolling(CLOSING), NEXT, now=NO_LONGER).holds


# --- closing -------------------------------------------------------------------------------------------------------


def close_once(
    table: Any, block: int = 100, *, hurry: Callable[[], bool] = lambda: False, now: datetime = LATER
) -> Any:
    parts = Ledger(table, TABLE), Statements(table, TABLE), "org_a", DAY
    return close(*parts, offer_of=lambda _: DAILY, now=lambda: now, hurry=hurry, block=block)


def progress(table: Any) -> list[Any]:
    return [key for key in table.items if key[1].startswith("PROGRESS#")]


def test_a_large_day_is_closed_in_several_calls_and_leaves_nothing_behind(table: Any) -> None:
    decide(table, *seed_day())
    assert close_once(table, 4, hurry=lambda: True) == PutDown()
    assert progress(table)
    assert close_once(table, 4, hurry=lambda: True) == PutDown()
    closed = close_once(table, 4, hurry=lambda: True)
    assert (closed.proof.holds, closed.statement["revision"], closed.statement["decisions"]) == (True, 1, 9)
    assert progress(table) == []


def test_a_day_that_fits_one_block_keeps_no_progress(table: Any) -> None:
    decide(table, *seed_day())
    writes = len(table.log)
    close_once(table)
    written = [change.key[1] for change in table.log[writes:]]
    assert written == ["STATEMENT#2025-03-11#000001", "STATEMENTS", "TREE#2025-03-11"]
    assert len({change.transaction for change in table.log[writes:]}) == 1


@pytest.mark.parametrize("call", range(40))
def test_a_closing_that_dies_at_any_call_is_finished_by_the_next(table: Any, call: int) -> None:
    decide(table, *seed_day())
    expected = proof_of(table).content()
    with pytest.raises(Crash) if call < calls_of_a_closing() else nullcontext():
        close_once(Dying(table, after=call), 3)
    close_once(table, 3)
    latest = Statements(table, TABLE).latest("org_a", DAY)
    assert latest is not None
    assert {name: latest[name] for name in expected} == expected
    assert latest["revision"] == 1
    assert progress(table) == []


def calls_of_a_closing() -> int:
    whole = Table(100, page_size=2)
    decide(whole, *seed_day())
    counted = Dying(whole, after=10**6)
    close_once(counted, 3)
    return counted.calls


class Dying:
    """A client whose process dies just after a call took effect."""

    def __init__(self, table: Any, after: int) -> None:
        self._table = table
        self._after = after
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._table, name)
        if name in ("exceptions", "get_paginator"):
            return real

        def call(**arguments: Any) -> Any:
            answer = real(**arguments)
            self.calls += 1
            if self.calls > self._after:
                raise Crash
            return answer

        return call


def test_a_late_decision_makes_a_new_revision_and_closing_twice_makes_none(table: Any) -> None:
    decide(table, *seed_day())
    assert close_once(table).statement["revision"] == 1
    reads = Dying(table, after=10**6)
    assert close_once(reads) == Unchanged()
    assert reads.calls < 10  # it looks at versions, not at decisions
    decide(table, usage("late", 1))
    assert close_once(table).statement["revision"] == 2


def test_a_day_that_does_not_hold_is_proved_again_and_says_so_once(table: Any) -> None:
    decide(table, *seed_day())
    tampered(table, "req_1", amount_usd="7")
    assert close_once(table).statement["holds"] is False
    assert close_once(table) == Closed(proof_of(table), None)
    tampered(table, "req_1", amount_usd="0")
    assert close_once(table).statement["revision"] == 2


# --- the function --------------------------------------------------------------------------------------------------


class Clocked(Context):
    """Lambda's context of a call that has so much time left."""

    def __init__(self, left: int) -> None:
        super().__init__("close_day")
        self.left = left

    def get_remaining_time_in_millis(self) -> int:
        return self.left


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """close_day's handler, its client, and what it sent to the queue of days."""
    monkeypatch.setenv("LEDGER_TABLE", TABLE)
    monkeypatch.setenv("CLOSE_QUEUE", "days")
    with moto_table() as client:
        closing_config_reset()
        handler = handler_of("close_day")
        sent: list[Any] = []
        namespace = inspect.unwrap(handler).__globals__
        monkeypatch.setitem(namespace, "send_days", lambda _client, url, days: sent.append((url, list(days))))
        monkeypatch.setitem(namespace, "queue", lambda: None)
        monkeypatch.setitem(namespace, "close", partial(close, block=2))
        decide(client, *seed_day())
        yield handler, client, sent
        closing_config_reset()


def closing_config_reset() -> None:
    from gratis import config

    config.config.cache_clear()
    config.dynamodb.cache_clear()


def day_message() -> Mapping[str, Any]:
    body = json.dumps({"organization": "org_a", "day": DAY.isoformat()})
    return {"Records": [{"messageId": "m1", "body": body}]}


def test_a_call_that_runs_out_of_time_queues_the_day_again_and_the_last_one_writes_the_statement(function: Any) -> None:
    handler, client, sent = function
    for calls in range(1, 5):
        assert handler(day_message(), Clocked(119_000)) == {"batchItemFailures": []}
        assert sent == [("days", [("org_a", "2025-03-11")])] * calls
        assert Statements(client, TABLE).latest("org_a", DAY) is None
    assert handler(day_message(), Clocked(119_000)) == {"batchItemFailures": []}
    assert len(sent) == 4
    statement = Statements(client, TABLE).latest("org_a", DAY)
    assert statement is not None
    assert (statement["decisions"], statement["holds"]) == (9, True)
    assert not any(sk.startswith("PROGRESS#") for _, sk in stored(client).items)


def test_the_schedule_queues_the_last_seven_days_so_that_missed_nights_are_made_good(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, client, sent = function
    decide(client, usage("r_next", at=f"{NEXT}T09:00:00Z"), received_at=LATER + timedelta(days=1))
    for nights, queued in ((1, 1), (2, 2), (7, 2), (8, 1), (9, 0)):
        sent.clear()
        now = LATER + timedelta(days=nights - 1)
        monkeypatch.setitem(inspect.unwrap(handler).__globals__, "datetime", still(now))
        assert handler({}, Clocked(900_000)) == {"queued": queued}
        assert sum(len(days) for _, days in sent) == queued


def still(moment: Any) -> Any:
    """`datetime` with a clock that stands still."""
    return type("Clock", (datetime,), {"now": classmethod(lambda _cls, _zone: moment)})


def test_a_call_with_time_enough_closes_the_day_at_once(function: Any) -> None:
    handler, client, sent = function
    assert handler(day_message(), Clocked(900_000)) == {"batchItemFailures": []}
    assert sent == []
    assert Statements(client, TABLE).latest("org_a", DAY) is not None
