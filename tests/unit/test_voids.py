"""Voids: a decision takes an earlier one back, once; its units go back to the counter. On the simulation's table."""

from datetime import date, timedelta
from itertools import count, permutations
from typing import Any

import pytest

from gratis.classify import Classifier, Outcome
from gratis.closing.proof import Proof
from gratis.closing.proving import prove
from gratis.rules.offer import Offer
from gratis.rules.offer_file import read_offer
from gratis.rules.receipt import Decision
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.replay import event_clock
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE
from tests.builders.events import DAY, RECEIVED, message, usage, void
from tests.builders.offers import DAILY, rolling, with_versions
from tests.builders.organizations import account

LATER = RECEIVED + timedelta(days=1)
_NUMBERS = count(1)


class Desk:
    """A classifier, its table, and what is in it."""

    def __init__(self, offer: Offer = DAILY) -> None:
        self.offer = offer
        self.table: Any = Table(100)
        Accounts(self.table, TABLE).put(account())

    def send(self, *events: Any, received_at: Any = RECEIVED) -> Outcome:
        """One message with these events of the day."""
        parts = Ledger(self.table, TABLE), Quarantine(self.table, TABLE), self.offer, event_clock
        sent = message(f"m{next(_NUMBERS)}", *events, received_at=received_at)
        return Classifier(*parts).classify([sent])

    def decided(self, *events: Any) -> list[Decision]:
        outcome = self.send(*events)
        assert not outcome.quarantined
        assert not outcome.unfinished
        return outcome.decisions

    def used(self, group: str = "1m") -> Any:
        documents = Ledger(self.table, TABLE).days("org_a", [group], DAY, DAY)
        (document,) = documents.values()
        return document.counter.windows[0].used

    def requests(self) -> int:
        """That the day's totals count."""
        documents = Ledger(self.table, TABLE).days("org_a", ["-", "1m", "10m", "evals"], DAY, DAY)
        return sum(row.requests for each in documents.values() for row in each.totals.rows.values())

    def proof(self, day: date = DAY) -> Proof:
        proof = prove(Ledger(self.table, TABLE), "org_a", day, lambda _: self.offer, LATER)
        assert isinstance(proof, Proof)
        return proof


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_free_requests_units_go_back_and_a_later_one_fits(desk: Desk) -> None:
    first, over = desk.decided(usage("r1", 900_000), usage("r2", 200_000))
    assert (first.verdict, over.verdict) == ("free", "billed")
    (voided,) = desk.decided(void("r1"))
    assert (voided.verdict, voided.reason, voided.used_before, voided.used_after) == ("free", "void", 900_000, 0)
    (again,) = desk.decided(usage("r3", 1_000_000))
    assert again.verdict == "free"
    assert desk.proof().holds


def test_the_record_is_the_voided_ones_with_the_sign_turned(desk: Desk) -> None:
    (decision,) = desk.decided(usage("r1", 5000))
    (voided,) = desk.decided(void("r1"))
    before, after = decision.record(), voided.record()
    assert after["id"] == f"{before['id']}~void"
    assert (after["kind"], after["voids"], after["reason"]) == ("usage.void", before["id"], "void")
    assert after["tokens"] == {name: -tokens for name, tokens in before["tokens"].items()}
    assert (after["list_amount_usd"], after["amount_usd"]) == (f"-{before['list_amount_usd']}", "0")
    own = {"format", "received_at", "decided_at", "payload_hash", "reserved_before", "running_total", "used_before"}
    own |= {"id", "kind", "voids", "reason", "tokens", "list_amount_usd", "amount_usd", "used_after"}
    assert {name: after[name] for name in after.keys() - own} == {name: before[name] for name in before.keys() - own}


def test_a_billed_request_gives_nothing_back_and_its_amount_is_counted_off(desk: Desk) -> None:
    (decision,) = desk.decided(usage("r1", 5000, tools=["web_search"]))
    (voided,) = desk.decided(void("r1"))
    assert (voided.verdict, voided.reason, voided.used_before) == ("billed", "void", None)
    assert voided.amount_usd == f"-{decision.amount_usd}"
    assert desk.requests() == 0
    assert desk.proof().holds


def test_again_is_a_repeat_whatever_the_events_id(desk: Desk) -> None:
    desk.decided(usage("r1", 5000))
    first = void("r1")
    desk.decided(first)
    for again in (first, void("r1"), void("r1", data={"request_id": "r1", "day": DAY.isoformat(), "why": "other"})):
        outcome = desk.send(again)
        assert (outcome.repeats, outcome.decisions, outcome.quarantined) == (1, [], [])
    assert desk.used() == 0


def test_two_voids_in_one_message_are_one(desk: Desk) -> None:
    desk.decided(usage("r1", 5000))
    outcome = desk.send(void("r1"), void("r1"))
    assert (len(outcome.decisions), outcome.repeats) == (1, 1)


def test_a_request_and_its_void_in_one_message_are_decided_in_their_order(desk: Desk) -> None:
    request, taken_back, after = desk.decided(usage("r1", 900_000), void("r1"), usage("r2", 900_000))
    assert [each.verdict for each in (request, taken_back, after)] == ["free"] * 3
    assert desk.used() == 900_000
    assert desk.proof().holds


def test_a_void_before_its_request_is_of_an_unknown_request_and_does_not_take_it_back(desk: Desk) -> None:
    outcome = desk.send(void("r1"), usage("r1", 5000))
    (entry,) = outcome.quarantined
    assert entry.code == "unknown_request"
    assert "'r1'" in entry.message
    assert [each.request_id for each in outcome.decisions] == ["r1"]
    assert desk.used() == 5000


def test_what_was_never_decided_is_an_unknown_request(desk: Desk) -> None:
    desk.decided(usage("r1", 5000))
    for wrong in (void("r2"), void("r1", DAY - timedelta(days=1))):
        (entry,) = desk.send(wrong).quarantined
        assert entry.code == "unknown_request"


def test_the_voided_id_stays_taken(desk: Desk) -> None:
    desk.decided(usage("r1", 5000), void("r1"))
    outcome = desk.send(usage("r1", 5000), usage("r1", 6000))
    assert outcome.repeats == 1
    assert [each.code for each in outcome.quarantined] == ["conflict"]


def test_a_window_that_was_closed_stays_closed() -> None:
    desk = Desk(with_versions(DAILY, overflow="close"))
    desk.decided(usage("r1", 900_000), usage("r2", 200_000), void("r1"))
    (late,) = desk.decided(usage("r3", 10))
    assert (late.verdict, late.reason) == ("billed", "over_quota")
    assert desk.proof().holds


def test_a_rolling_window_whose_last_free_request_is_voided_stays_open_at_zero() -> None:
    desk = Desk(rolling(DAILY))
    desk.decided(usage("r1", 1000, at=f"{DAY}T07:00:00Z"), void("r1"))
    (again,) = desk.decided(usage("r2", 10, at=f"{DAY}T08:00:00Z"))
    assert (again.window, again.used_before) == (f"{DAY}T07:00:00Z", 0)
    assert desk.proof().holds


def test_a_threshold_is_not_announced_again(desk: Desk) -> None:
    (first,) = desk.decided(usage("r1", 900_000))
    _, second = desk.decided(void("r1"), usage("r2", 900_000))
    assert (first.thresholds, second.thresholds) == ((80,), ())


def test_a_run_is_given_back(desk: Desk) -> None:
    for number in range(7):
        desk.decided(usage(f"run{number}", 5, kind="usage.eval_run"))
    desk.decided(void("run3"))
    (again,) = desk.decided(usage("run7", 5, kind="usage.eval_run"))
    assert (again.verdict, again.group) == ("free", "evals")


@pytest.mark.parametrize("unit", ["tokens", "uncached_tokens", "requests", "usd"])
@pytest.mark.parametrize("scope", ["organization", "project"])
def test_every_unit_and_scope_is_given_back(unit: str, scope: str) -> None:
    quota: Any = "1" if unit == "usd" else 10_000
    group = {"name": "g", "models": ["*"], "quotas": {"*": quota}, "unit": unit, "scope": scope}
    version = {"effective_at": "2025-01-01", "window": "utc_day", "groups": [group], "excludes": []}
    desk = Desk(read_offer({"id": "own", "starts": "2025-01-01", "ends": None, "versions": [version]}))
    desk.decided(usage("r1", 5000, project="proj_a"))
    (voided,) = desk.decided(void("r1"))
    assert voided.figure("used_after") == 0
    assert desk.proof().holds


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_in_whatever_order_events_come_the_proof_holds(desk: Desk, order: tuple[int, ...]) -> None:
    events = [usage("r1", 600_000), void("r1"), usage("r2", 500_000), void("r2")]
    for place in order:
        desk.send(events[place])
    assert desk.proof().holds


def test_the_statement_counts_off(desk: Desk) -> None:
    desk.decided(usage("r1", 5000), usage("r2", 7000), void("r1"))
    statement = desk.proof().statement
    assert (statement["decisions"], statement["free_tokens"], statement["voids"]) == (1, 7000, 1)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no request": ({"day": "2025-03-11"}, "invalid_event", "data.request_id"),
    "no day": ({"request_id": "r1"}, "invalid_event", "data.day"),
    "no such day": ({"request_id": "r1", "day": "2025-02-30"}, "invalid_event", "data.day"),
    "a moment": ({"request_id": "r1", "day": "2025-03-11T00:00:00Z"}, "invalid_event", "data.day"),
    "a void": ({"request_id": "r1~void", "day": "2025-03-11"}, "invalid_event", "data.request_id"),
    "past the horizon": ({"request_id": "r1", "day": "2025-01-11"}, "too_old", "data.day"),
}


@pytest.mark.parametrize(("data", "code", "named"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_with_a_void_is_named(desk: Desk, data: Any, code: str, named: str) -> None:
    (entry,) = desk.send(void("r1", data=data)).quarantined
    assert (entry.code, entry.message.startswith(named)) == (code, True), entry.message


def test_a_decision_that_changed_since_it_was_read_is_not_voided(desk: Desk) -> None:
    """The transaction checks that the voided decision is there as it was read."""
    desk.decided(usage("r1", 5000))
    desk.decided(void("r1"))
    checks = [each for each in desk.table.log if each.key[1] == "REQ#r1~void"]
    assert len(checks) == 1
