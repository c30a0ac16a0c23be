"""A day's totals: exact, free and billed apart, and never larger than a document may be."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.rules.request import Tokens
from gratis.rules.totals import OTHER, RowKey, Sums, Totals
from tests.builders.events import LARGE, SMALL, request

ORDINARY = RowKey("proj_web", LARGE, "default", False, "billed")
"""The row of an ordinary billed request."""


def test_a_free_request_is_listed_and_costs_nothing() -> None:
    totals = Totals()
    totals.add(request(Tokens(90_000, 40_000, 30_000)), "free", Decimal("0.475"))
    assert totals.rows == {
        ORDINARY._replace(verdict="free"): Sums(1, 90_000, 40_000, 30_000, Decimal("0.475"), Decimal(0))
    }


def test_a_billed_request_costs_what_is_listed() -> None:
    totals = Totals()
    totals.add(request(Tokens(90_000, 0, 30_000)), "billed", Decimal("0.525"))
    assert totals.rows == {ORDINARY: Sums(1, 90_000, 0, 30_000, Decimal("0.525"), Decimal("0.525"))}


@pytest.mark.parametrize("verdict", ["free", "billed"])
def test_a_request_without_a_price_is_counted_as_unpriced(verdict: str) -> None:
    totals = Totals()
    totals.add(request(500), verdict, None)
    totals.add(request(500), verdict, Decimal("0.5"))
    (sums,) = totals.rows.values()
    assert (sums.requests, sums.input, sums.unpriced, sums.list_amount) == (2, 1000, 1, Decimal("0.5"))


def test_a_price_of_nothing_is_not_an_unknown_price() -> None:
    totals = Totals()
    totals.add(request(0), "billed", Decimal(0))
    assert totals.rows == {ORDINARY: Sums(1)}


@pytest.mark.parametrize(
    "different",
    [{"project": "proj_app"}, {"project": None}, {"model": SMALL}, {"service_tier": "flex"}, {"batch": True}],
    ids=str,
)
def test_what_differs_in_a_row_s_key_is_totalled_apart(different: dict) -> None:
    totals = Totals()
    totals.add(request(1), "billed", None)
    totals.add(request(2, **different), "billed", None)
    assert [(key, sums.input) for key, sums in totals.rows.items()] == [
        (ORDINARY, 1),
        (ORDINARY._replace(**different), 2),
    ]


def test_small_amounts_add_up_exactly() -> None:
    totals = Totals()
    for _ in range(1000):
        totals.add(request(1), "billed", Decimal("0.000000025"))
    assert totals.rows[ORDINARY].amount == Decimal("0.000025")


def test_a_copy_can_be_added_to_without_changing_what_it_was_made_from() -> None:
    totals = Totals()
    totals.add(request(1), "billed", Decimal("0.1"))
    copy = totals.copy()
    assert copy == totals
    copy.add(request(1), "billed", Decimal("0.1"))
    copy.add(request(1), "free", Decimal("0.1"))
    assert totals.rows == {ORDINARY: Sums(1, 1, 0, 0, Decimal("0.1"), Decimal("0.1"))}


def test_totals_of_the_same_rows_are_equal_and_of_others_are_not() -> None:
    some, same, other = Totals(), Totals(), Totals()
    some.add(request(1), "billed", Decimal("0.10"))
    same.add(request(1), "billed", Decimal("0.1"))
    other.add(request(2), "billed", Decimal("0.1"))
    assert some == same
    assert some != other
    assert some != some.rows


def test_any_number_of_names_has_rows_of_their_own() -> None:
    totals = Totals()
    for number in range(1500):
        totals.add(request(1, project=f"proj_{number}"), "billed", Decimal("0.5"))
    assert {key.project for key in totals.rows} == {f"proj_{number}" for number in range(1500)}


OTHERS = RowKey(OTHER, OTHER, OTHER, False, "billed")


def test_a_day_that_the_first_release_totalled_as_other_goes_on_like_that() -> None:
    totals = Totals({ORDINARY._replace(project="proj_7"): Sums(1, 1), OTHERS: Sums(2, 20)})
    totals.add(request(10, project="proj_new"), "billed", Decimal("0.5"))
    totals.add(request(10, project="proj_7"), "billed", Decimal("0.5"))
    assert (totals.rows[OTHERS].requests, totals.rows[OTHERS].input) == (3, 30)
    assert totals.rows[ORDINARY._replace(project="proj_7")].input == 11


def test_what_has_no_other_row_of_its_verdict_and_batch_has_a_row_of_its_own() -> None:
    totals = Totals({OTHERS: Sums(2, 20)})
    totals.add(request(10, project="proj_new", batch=True), "billed", Decimal("0.5"))
    assert RowKey("proj_new", LARGE, "default", True, "billed") in totals.rows


def test_totals_are_written_compactly_with_exact_amounts() -> None:
    totals = Totals()
    totals.add(request(Tokens(90_000, 40_000, 30_000), project=None), "free", Decimal("0.4750"))
    assert json.loads(totals.to_json()) == [
        [None, LARGE, "default", False, "free", 1, 90_000, 40_000, 30_000, "0.475", "0", 0]
    ]
    assert " " not in totals.to_json()


IDENTIFIERS = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=8)
AMOUNTS = st.none() | st.decimals(min_value=0, max_value=10**6, places=9)
ENTRIES = st.tuples(
    st.builds(
        request,
        st.builds(Tokens, *[st.integers(0, 10**12)] * 3, cache_write=st.sampled_from([0, 7])),
        project=st.none() | IDENTIFIERS,
        model=IDENTIFIERS,
        service_tier=st.sampled_from(["default", "flex"]),
        batch=st.booleans(),
    ),
    st.sampled_from(["free", "billed"]),
    AMOUNTS,
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(entries=st.lists(ENTRIES, max_size=12))
def test_what_is_written_is_read_back_the_same(entries: list) -> None:
    totals = Totals()
    for asked, verdict, amount, is_long in entries:
        totals.add(asked, verdict, amount, is_long=is_long)
    assert Totals.from_json(totals.to_json(), totals.surcharged_json() or "[]") == totals
