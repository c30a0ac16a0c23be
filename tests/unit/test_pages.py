"""A day of any width: every row on its page, a commit that costs what it touches, and one consistent state to read."""

import json
import random
import string
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.account.asked import Wanted
from gratis.account.reservations import Reservations
from gratis.account.usage import WIDTHS, Filters, costs_page, day_rows, hour_rows, usage_page
from gratis.classify import Classifier
from gratis.closing.proving import prove
from gratis.errors import Busy
from gratis.moment import midnight
from gratis.outbox import bus_entries
from gratis.rules.pages import (
    MAX_PAGE_ROWS,
    UNSPLIT,
    Leaves,
    Page,
    Touched,
    first_leaf,
    halves,
    leaf_of,
    packed,
    spread,
    unpacked,
)
from gratis.rules.totals import OTHER, RowKey, Sums, Totals
from gratis.rules.window import CounterId
from gratis.table import keys
from gratis.table.accounts import Accounts
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.replay import event_clock
from gratis_simulation.machines.stream import passes, record_of
from gratis_simulation.machines.table import Table, size_of
from tests.builders.aws import TABLE
from tests.builders.events import DAY, LARGE, RECEIVED, message, usage, void
from tests.builders.offers import DAILY
from tests.builders.organizations import account
from tests.simulation.faulty import lying

MINE = ("org_a", "1m", DAY.isoformat())


@pytest.fixture
def table() -> Table:
    """A ledger table with one account."""
    return with_account()


def with_account() -> Table:
    table = Table(100, page_size=7)
    Accounts(table, TABLE).put(account())  # type: ignore[arg-type]  # a client by its looks
    return table


def ledger_of(client: Any, **more: Any) -> Ledger:
    return Ledger(client, TABLE, pause=lambda _: None, **more)


def decide(client: Any, *projects: str, first: int = 0, max_page_rows: int = MAX_PAGE_ROWS) -> None:
    """A request of one token for each project."""
    ledger = ledger_of(client, max_page_rows=max_page_rows)
    events = [usage(f"r{first + number}", 1, project=project) for number, project in enumerate(projects)]
    batches = [message(f"m{first}-{at}", *events[at : at + 100]) for at in range(0, len(events), 100)]
    outcome = Classifier(ledger, Quarantine(client, TABLE), DAILY, event_clock).classify(batches)
    assert not outcome.quarantined
    assert not outcome.unfinished, outcome.causes


def day_of(client: Any) -> Document:
    [document] = ledger_of(client).days("org_a", ["1m"], DAY, DAY).values()
    return document


def counted(document: Document) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for key, sums in document.totals.rows.items():
        found[key.project] = found.get(key.project, 0) + sums.requests
    return found


def page_items(table: Table) -> dict[tuple[str, str], Any]:
    return {key: item for key, item in table.items.items() if key[1].startswith("PAGE#")}


def as_the_first_release_leaves_it(table: Table) -> None:
    """It replaces a document by what it knows of it; of the rows it has seen those in the document."""
    known = ("pk", "sk", "expires", "version", "windows", "totals", "recent")
    for key, item in list(table.items.items()):
        if key[0].startswith("COUNTER#") and not key[1].startswith("PAGE#"):
            table.items[key] = {name: value for name, value in item.items() if name in known}


names = st.lists(st.sampled_from([f"proj_{number}" for number in range(40)]), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=6), st.integers(1, 5))
def test_the_totals_are_the_sums_over_the_decisions_whatever_the_pages(batches: Any, max_page_rows: int) -> None:
    """Also where the first release, which knows no pages, replaces the document now and then."""
    table, sent = with_account(), []
    for projects, by_the_first_release in batches:
        decide(table, *projects, first=len(sent), max_page_rows=10_000 if by_the_first_release else max_page_rows)
        sent += projects
        if by_the_first_release:
            as_the_first_release_leaves_it(table)
        document = day_of(table)
        assert not document.is_damaged
        assert counted(document) == {project: sent.count(project) for project in sent}
    assert prove(ledger_of(table), "org_a", DAY, lambda _: DAILY, RECEIVED + timedelta(days=1)).holds  # type: ignore[union-attr]


@given(st.lists(st.text("01", max_size=6), max_size=12))
def test_leaves_are_read_as_they_were_packed(paths: list[str]) -> None:
    leaves: Leaves = UNSPLIT
    for path in paths:
        leaf = next(leaf for leaf in leaves if leaf.startswith(path) or path.startswith(leaf))
        leaves = leaves - {leaf} | {f"{leaf}0", f"{leaf}1"}
    assert unpacked(packed(leaves)) == leaves
    assert len(packed(leaves)) <= len(leaves) / 4 + 1


def test_a_row_stays_on_its_page_until_that_comes_apart() -> None:
    rows = {RowKey(f"proj_{number}", "m", "default", False, "free"): Sums(1) for number in range(50)}
    leaves = frozenset(["0", "10", "11"])
    before = spread(rows, leaves, leaves)
    apart = halves("10", before["10"])
    after = spread(rows, leaves - {"10"} | apart.keys(), [*apart, "11"])
    assert after == {"0": before["0"], "11": before["11"], **apart}


def test_a_verdict_does_not_move_a_row_to_another_page() -> None:
    leaves = frozenset(f"{number:05b}" for number in range(32))
    assert leaf_of(leaves, ("p", "m", "default", False)) == leaf_of(leaves, RowKey("p", "m", "default", False, "x")[:4])
    assert first_leaf(leaves) == "00000"


def test_a_single_event_on_a_day_of_a_thousand_rows_takes_at_most_eight_write_units(table: Table) -> None:
    dice = random.Random(3)
    projects = ["proj_" + "".join(dice.choices(string.ascii_letters, k=24)) for _ in range(1000)]
    for start in range(0, 1000, 50):
        decide(table, *projects[start : start + 50], first=start)
    assert len(counted(day_of(table))) == 1000
    costs = []
    for number, project in enumerate(projects[::25]):
        seen = len(table.log)
        decide(table, project, first=2000 + number)
        costs.append(sum(2 * -(-size_of(change.new) // 1024) for change in table.log[seen:] if change.new))
    assert max(costs) <= 8


def test_a_batch_leaves_room_in_its_transactions_for_the_pages_that_it_touches(table: Table) -> None:
    """The table refuses more than 100 items."""
    decide(table, *(f"proj_{number}" for number in range(700)), max_page_rows=2)
    decide(table, *(f"proj_{number}" for number in range(0, 700, 7)), first=1000, max_page_rows=2)
    assert sum(counted(day_of(table)).values()) == 800


def test_a_page_that_was_read_newer_than_its_document_takes_no_item_of_the_transaction(table: Table) -> None:
    """Another writer wrote it meanwhile: the document's own condition refuses the commit."""
    decide(table, *(f"proj_{number}" for number in range(40)))
    document = day_of(table)
    counter = CounterId(*MINE)
    newer = {leaf: page._replace(version=document.version + 1) for leaf, page in document.pages.items()}
    assert newer
    read = replace(document, pages=newer)
    written = replace(read, version=document.version + 1)
    assert ledger_of(table)._page_puts({counter: read}, {counter: written}) == []


def test_a_day_as_the_release_before_left_it_comes_apart_bit_by_bit(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(300)), max_page_rows=10_000)
    assert not page_items(table)
    for number in range(6):
        decide(table, "proj_1", first=1000 + number)
    assert len(page_items(table)) >= 5
    assert sum(counted(day_of(table)).values()) == 306


def test_a_day_that_has_an_other_row_stays_as_it_is(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(5)))
    key = (keys.documents_of("org_a", "1m"), DAY.isoformat())
    document = day_of(table)
    row = next(iter(document.totals.rows))
    document.totals.rows[row._replace(project=OTHER, model=OTHER, service_tier=OTHER)] = Sums(7, 7, amount=Decimal(0))
    put = ledger_of(table)._document_put(CounterId(*MINE), document)
    table.items[key] = put["Put"]["Item"]
    decide(table, "proj_1", "proj_new", "proj_newer", first=100, max_page_rows=2)
    assert not page_items(table)
    assert counted(day_of(table)) == {f"proj_{n}": 1 + (n == 1) for n in range(5)} | {OTHER: 9}


def test_a_page_that_is_lost_is_said_and_nothing_is_counted_without_it(table: Table) -> None:
    projects = [f"proj_{number}" for number in range(60)]
    decide(table, *projects[:30])
    decide(table, *projects[30:], first=30)
    lost = next(iter(page_items(table)))
    del table.items[lost]
    assert day_of(table).is_damaged
    proof: Any = prove(ledger_of(table), "org_a", DAY, lambda _: DAILY, RECEIVED + timedelta(days=1))
    assert "group 1m: the pages of the totals are not those that their document names" in {
        each.message for each in proof.differences
    }
    with pytest.raises(LookupError, match="pages of the totals"):
        day_rows(ledger_of(table), DAILY, "org_a", [midnight(DAY)])
    identity = CounterId(*MINE)
    document = ledger_of(table).read((), [identity])[1][identity]
    names = [(project, LARGE, "default", False) for project in projects]
    with pytest.raises(Busy, match="are not there"):
        ledger_of(table).with_pages(identity, document, names)


def test_a_page_of_an_earlier_version_is_found(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(60)))
    old = page_items(table)
    decide(table, *(f"proj_{number}" for number in range(60)), first=100)
    assert not day_of(table).is_damaged
    key = next(key for key, item in page_items(table).items() if key in old and item != old[key])
    table.items[key] = old[key]
    assert day_of(table).is_damaged


def test_who_reads_while_others_write_gets_one_state(table: Table) -> None:
    """Between the query for documents and the one for pages another worker commits, twice."""
    projects = [f"proj_{number}" for number in range(60)]
    decide(table, *projects)
    commits = iter(range(2))

    def paginator(real: Any, operation: str) -> Any:
        pages = real(operation)

        def paginate(real_paginate: Any, **request: Any) -> Any:
            first = request["ExpressionAttributeValues"].get(":first", {"S": ""})["S"]
            if first.startswith("PAGE#") and (number := next(commits, None)) is not None:
                decide(table, *projects, first=1000 * (number + 1))
            return real_paginate(**request)

        return lying(paginate=paginate)(pages)

    document = day_of(lying(get_paginator=paginator)(table))
    assert not document.is_damaged
    assert set(counted(document).values()) == {3}


def test_who_never_gets_one_state_is_told_to_come_again(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(60)))
    for key, item in page_items(table).items():
        table.items[key] = item | {"version": {"N": "99"}}
    with pytest.raises(Busy, match="other writers were faster"):
        day_of(table)


def test_a_page_that_gets_rows_back_from_the_document_is_counted_before_anything_is_added() -> None:
    leaves = frozenset({"0", "1"})
    rows = {RowKey(None, f"model-{number}", "default", False, "free"): Sums(number) for number in range(8)}
    on_page = {key: sums for key, sums in rows.items() if leaf_of(leaves, key[:4]) == "1"}
    assert on_page
    assert Touched(rows, leaves, {"1": Page(1, Totals(on_page))}, MAX_PAGE_ROWS).most() == 0
    assert Touched(rows, leaves, {"1": Page(1, Totals())}, MAX_PAGE_ROWS).most() == 1


def test_what_the_first_release_has_left_is_found_with_its_pages(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(60)))
    document = day_of(table)
    as_the_first_release_leaves_it(table)
    found = replace(day_of(table), format=document.format, account_version=document.account_version)
    assert found == document


@pytest.mark.parametrize("by_the_first_release", [False, True])
@pytest.mark.parametrize("max_page_rows", [1, 3, MAX_PAGE_ROWS])
def test_reserving_and_releasing_lose_no_row_of_a_wide_day(
    table: Table, max_page_rows: int, by_the_first_release: bool
) -> None:
    """A commit of a reservation has read the first page alone; after the first release it names no others."""
    projects = [f"proj_{number}" for number in range(60)]
    decide(table, *projects[:40], max_page_rows=max_page_rows)
    if by_the_first_release:
        as_the_first_release_leaves_it(table)
    ledger = ledger_of(table, max_page_rows=max_page_rows)
    reservations = Reservations(ledger, DAILY, "org_a", RECEIVED, pause=lambda _: None)
    for name in ("kept", "released"):
        assert reservations.reserve(Wanted(id=name, model=LARGE, tokens=1000))[1]
        assert counted(day_of(table)) == dict.fromkeys(projects[:40], 1)
    reservations.release("released")
    decide(table, *projects[40:], first=40, max_page_rows=max_page_rows)
    document = day_of(table)
    assert not document.is_damaged
    assert counted(document) == dict.fromkeys(projects, 1)
    assert [each.id for each in document.counter.reservations] == ["kept"]
    assert prove(ledger, "org_a", DAY, lambda _: DAILY, RECEIVED + timedelta(days=1)).holds  # type: ignore[union-attr]


def test_a_void_counts_its_request_off_the_page_it_is_on(table: Table) -> None:
    projects = [f"proj_{number}" for number in range(60)]
    decide(table, *projects)
    voids = [void(f"r{number}") for number in range(0, 60, 2)]
    outcome = Classifier(ledger_of(table), Quarantine(table, TABLE), DAILY, event_clock).classify(
        [message("v", *voids)]
    )  # type: ignore[arg-type]  # a client by its looks
    assert len(outcome.decisions) == 30
    document = day_of(table)
    assert not document.is_damaged
    assert counted(document) == {project: number % 2 for number, project in enumerate(projects)}
    assert {project for page in document.pages.values() for project, *_ in page.totals.rows} < set(projects)
    assert prove(ledger_of(table), "org_a", DAY, lambda _: DAILY, RECEIVED + timedelta(days=1)).holds  # type: ignore[union-attr]


def test_days_hours_costs_and_the_bus_agree_at_any_width(table: Table) -> None:
    projects = [f"proj_{number % 300}" for number in range(500)]
    decide(table, *projects)
    hours = [midnight(DAY) + timedelta(hours=hour) for hour in range(24)]
    by_hour = hour_rows(ledger_of(table), DAILY, "org_a", hours)
    whole = {midnight(DAY): [row for rows in by_hour.values() for row in rows]}
    by_day = day_rows(ledger_of(table), DAILY, "org_a", [midnight(DAY)])
    names = ["project_id", "model", "batch", "service_tier"]
    for filters in (Filters(), Filters(projects=frozenset(projects[:7])), Filters(models=frozenset(["other"]))):
        one, other = (usage_page(rows, WIDTHS["1d"], None, filters, names) for rows in (by_day, whole))
        assert one == other
        assert costs_page(by_day, None, filters, ["project_id"]) == costs_page(whole, None, filters, ["project_id"])
    (bucket,) = usage_page(by_day, WIDTHS["1d"], None, Filters(), ["project_id"])["data"]
    assert {each["project_id"]: each["num_model_requests"] for each in bucket["results"]} == Counter(projects)
    changes = [record_of(change, number) for number, change in enumerate(filter(passes, table.log))]
    entries = [json.loads(entry.text) for entry in bus_entries(changes)]
    assert Counter(record["project"] for entry in entries for record in entry.get("records", ())) == Counter(projects)


def test_a_reader_who_has_enough_reads_no_further_day(table: Table) -> None:
    decide(table, *(f"proj_{number}" for number in range(60)))
    days = ledger_of(table).each_day("org_a", ["1m", "10m"], DAY, DAY)
    identity, document = next(days)
    assert (identity, len(document.totals.rows)) == (CounterId(*MINE), 60)
    assert list(days) == []
