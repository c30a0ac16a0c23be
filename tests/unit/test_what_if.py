"""Bills under two offers, with figures that were worked out by hand: gpt-4o input is 2.50 USD a million tokens."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Request
from gratis.rules.void import turned
from gratis_local import report
from gratis_local.replay import Replayed
from gratis_local.what_if import Compared, bill_of, stranded_tokens
from tests.builders.events import SMALL, request
from tests.builders.ledger import Desk

SHIPPED = shipped("data-sharing-2025")


def closing() -> Offer:
    """The same offer, but a request that does not fit closes its window."""
    return replace(SHIPPED, versions=tuple(replace(each, overflow="close") for each in SHIPPED.versions))


def decided(*requests: Request, offer: Offer = SHIPPED) -> list[Decision]:
    return Desk(offer).decide(*requests)


def compared(*requests: Request) -> Compared:
    sides = [Replayed(len(requests), decided(*requests, offer=offer)) for offer in (SHIPPED, closing())]
    return Compared(("skips", "closes"), (sides[0], sides[1]))


def test_what_a_window_has_left_where_a_request_was_billed_is_stranded() -> None:
    assert stranded_tokens(decided(request(900_000), request(150_000), request(60_000))) == 40_000


def test_a_window_in_which_everything_fitted_strands_nothing() -> None:
    assert stranded_tokens(decided(request(900_000), request(50_000))) == 0


def test_a_window_that_is_used_up_in_the_end_strands_nothing() -> None:
    assert stranded_tokens(decided(request(900_000), request(150_000), request(100_000))) == 0


def test_a_closed_window_strands_no_more_than_was_asked_for_after_it_closed() -> None:
    requests = [request(200_000), request(900_000), request(100_000)]
    assert stranded_tokens(decided(*requests, offer=closing())) == 800_000
    first, second, *_ = decided(request(200_000), request(900_000))
    raised = second._replace(quota=5_000_000)
    assert stranded_tokens([first, raised]) == 900_000


def test_windows_groups_and_days_strand_each_for_itself() -> None:
    monday = [request(999_000), request(2_000), request(9_999_999, model=SMALL), request(2, model=SMALL)]
    tuesday = [request(999_500, "2025-03-12T09:15"), request(1_000, "2025-03-12T09:15")]
    assert stranded_tokens(decided(*monday, *tuesday)) == 1_000 + 1 + 500


def test_what_is_billed_for_another_reason_strands_nothing() -> None:
    assert (
        stranded_tokens(decided(request(10), request(10, tools=["web_search"]), request(10, model="unheard-of"))) == 0
    )


def test_evaluation_runs_strand_nothing_since_one_that_is_billed_finds_none_left() -> None:
    assert stranded_tokens(decided(*(request(1_000_000, kind="usage.eval_run") for _ in range(8)))) == 0


def test_a_request_that_opens_no_rolling_window_strands_nothing() -> None:
    assert stranded_tokens(decided(request(1_000_001, "2025-02-01T09:15"))) == 0
    opened = decided(request(400_000, "2025-02-01T09:15"), request(700_000, "2025-02-01T10:15"))
    assert stranded_tokens(opened) == 600_000


def test_a_bill_adds_up_amounts_and_tokens_and_counts_what_has_no_price() -> None:
    bill = bill_of(decided(request(1_000_000), request(40_000), request(10, model="unheard-of")))
    assert (bill.amount, bill.free_tokens, bill.unpriced) == (Decimal("0.1"), 1_000_000, 1)


def taken_back(decisions: list[Decision], *numbers: int) -> list[Decision]:
    """The decisions, and voids of some of them."""
    return decisions + [turned(decisions[number], decisions[number].figure("used_after")) for number in numbers]


def test_a_voided_request_has_no_share_in_a_bill() -> None:
    decisions = decided(request(1_000_000), request(40_000), request(10, model="unheard-of"))
    bill = bill_of(taken_back(decisions, 1, 2))
    assert (bill.amount, bill.free_tokens, bill.unpriced, bill.stranded_tokens) == (0, 1_000_000, 0, 0)


def test_a_request_that_did_not_fit_and_was_voided_strands_nothing() -> None:
    decisions = decided(request(900_000), request(150_000))
    assert (stranded_tokens(decisions), stranded_tokens(taken_back(decisions, 1))) == (100_000, 0)


DAY = [request(900_000, id="r1"), request(150_000, id="r2"), request(60_000, id="r3")]


def test_offers_are_compared_by_organization_and_by_verdict() -> None:
    content = compared(*DAY).content()
    bills = {
        "a": {"amount_usd": "0.375", "free_tokens": 960_000, "stranded_tokens": 40_000, "unpriced": 0},
        "b": {"amount_usd": "0.525", "free_tokens": 900_000, "stranded_tokens": 100_000, "unpriced": 0},
        "difference_usd": "0.15",
    }
    assert content["offers"] == {"a": "skips", "b": "closes"}
    assert content["totals"] == bills
    assert content["organizations"] == [{"organization": "org_demo"} | bills]
    assert content["changes"] == [
        {
            "id": "org_demo:2025-03-11:r3",
            "a": {"verdict": "free", "reason": "within_quota", "amount_usd": "0"},
            "b": {"verdict": "billed", "reason": "over_quota", "amount_usd": "0.15"},
        }
    ]


def test_the_table_has_a_row_for_each_organization_and_one_for_all() -> None:
    both = compared(*DAY)
    figures = ["$0.375", "$0.525", "+$0.15", "960,000", "900,000", "40,000", "100,000"]
    assert report.bill_rows(both) == [["org_demo", *figures], ["all together", *figures]]


def test_a_difference_has_its_sign() -> None:
    cheap, dear = compared(*DAY).totals
    signs = [report.difference_of(*pair) for pair in ((cheap, dear), (dear, cheap), (dear, dear))]
    assert signs == ["+$0.15", "-$0.15", "$0"]


def test_an_organization_that_only_one_side_knows_has_an_empty_bill_on_the_other() -> None:
    sides: Any = (Replayed(1, decided(request(10))), Replayed(1))
    (bills,) = Compared(("a", "b"), sides).organizations().values()
    assert bills[1].content() == {"amount_usd": "0", "free_tokens": 0, "stranded_tokens": 0, "unpriced": 0}
