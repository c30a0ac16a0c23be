"""Line items of rows with cache writes and long context, also where the first release has decided beside this one."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gratis.account.usage import day_rows
from gratis.classify import Classifier
from gratis.closing.proof import Proof
from gratis.closing.proving import prove
from gratis.moment import midnight
from gratis.rules import pricing
from gratis.rules.decision import Books, settle
from gratis.rules.line_items import line_items
from gratis.rules.request import Tokens, Void
from gratis.rules.void import void_case
from gratis.rules.window import Counter
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.replay import event_clock
from gratis_simulation.machines.releases import LAST, releases
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE
from tests.builders.events import DAY, LARGE, RECEIVED, billed, message, request, void
from tests.builders.ledger import Desk
from tests.builders.offers import DAILY
from tests.builders.organizations import account

WRITING = "gpt-5.6-sol"
"""Has a price for cache writes, and costs more above 272,000 input tokens."""
LONG = "gpt-5.4-2026-03-05"
"""Costs more above 272,000 input tokens."""
RELEASES = releases()


def decide(table: Any, release: str, event: Any) -> None:
    """Let a classifier of this release decide an event."""
    made = RELEASES[release]
    client = made.table(table)
    ledger = made.ledger(client, TABLE, pause=lambda _: None, max_page_rows=2)
    outcome = Classifier(ledger, Quarantine(client, TABLE), DAILY, event_clock).classify([message("m", event)])
    assert len(outcome.decisions) == 1, outcome


def ledger_of(table: Any) -> Ledger:
    return Ledger(table, TABLE, pause=lambda _: None)


def with_account() -> Any:
    table: Any = Table(100)
    Accounts(table, TABLE).put(account())
    return table


def kinds(tokens: Tokens, model: str) -> dict[str, tuple[int, Decimal]]:
    """The line items of one request, by hand."""
    price = pricing.price(model, midnight(DAY), endpoint="responses", service_tier="default", batch=False)
    assert price is not None
    is_long = model != LARGE and tokens.input > 272_000
    rates = price.long_context if is_long else price.rates
    assert rates is not None
    return {
        f"{model}, {kind}{', long context' * is_long}": (count, count * (rate or Decimal(0)) / 10**6)
        for kind, count, rate in rates.parts(tokens)
        if count
    }


def add(items: dict[str, tuple[int, Decimal]], more: dict[str, tuple[int, Decimal]]) -> None:
    for name, (count, amount) in more.items():
        had = items.get(name, (0, Decimal(0)))
        items[name] = had[0] + count, had[1] + amount


def event_of(name: str, project: str, model: str, tokens: Tokens) -> Any:
    counts = {"cached": tokens.cached, "cache_write": tokens.cache_write}
    return billed(tokens.input, tokens.output, id=name, at=f"{DAY}T09:00:00Z", project=project, model=model, **counts)


def told(table: Any) -> dict[tuple[str | None, str], tuple[dict[str, tuple[int, Decimal]], Decimal]]:
    """By project and model: the line items of the row, and its amount."""
    [rows] = day_rows(ledger_of(table), DAILY, "org_a", [midnight(DAY)]).values()
    return {
        (key.project, key.model): (
            {item.name: (item.quantity, item.amount) for item in line_items(key, sums, midnight(DAY))},
            sums.list_amount,
        )
        for key, sums in rows
    }


Sent = tuple[str, str, Tokens, bool, bool]
"""Release, model, tokens, whether in another project, and whether it is voided afterwards."""


def tokens_of(model: str, entire: int, cached: int, written: int, output: int) -> Tokens:
    cached = min(cached, entire)
    return Tokens(entire, cached, output, min(written, entire - cached) * (model == WRITING))


TOKENS = (st.sampled_from([0, 7, 1_000, 272_000, 272_001, 300_000]), *[st.integers(0, 500)] * 3)
SENT = st.sampled_from([LARGE, LONG, WRITING]).flatmap(
    lambda model: st.tuples(
        st.sampled_from(["this", "this", LAST]),
        st.just(model),
        st.tuples(*TOKENS).map(lambda counts: tokens_of(model, *counts)),
        st.booleans(),
        st.booleans(),
    )
)
ORDINARY, DEAR = Tokens(1_000, 10, 5), Tokens(300_000, 0, 0, 400)


@settings(deadline=None, max_examples=150)
@example([("this", WRITING, DEAR, False, False), ("this", WRITING, ORDINARY, False, False)])
@example([("this", WRITING, DEAR, False, False), (LAST, WRITING, ORDINARY, False, False)])
@example([(LAST, WRITING, ORDINARY, False, False), ("this", WRITING, DEAR, False, False)])
@example([(LAST, WRITING, DEAR, False, True), ("this", WRITING, DEAR, False, False)])
@given(st.lists(SENT, min_size=1, max_size=6))
def test_line_items_add_up_and_never_say_what_was_not_whichever_release_decides(sent: list[Sent]) -> None:
    """Where this release alone has decided, they always say what was."""
    table = with_account()
    expected: dict[tuple[str, str], dict[str, tuple[int, Decimal]]] = {}
    for number, (release, model, tokens, elsewhere, voided) in enumerate(sent):
        row = expected.setdefault((f"proj_{elsewhere:d}", model), {})
        decide(table, release, event_of(f"r{number}", f"proj_{elsewhere:d}", model, tokens))
        if voided:
            decide(table, "this", void(f"r{number}"))
        else:
            add(row, kinds(tokens, model))
    for (project, model), (found, amount) in told(table).items():
        truth = expected[project, model]
        whole = sum(count for count, _ in truth.values()), amount
        assert sum(each for _, each in found.values()) == amount == sum(each for _, each in truth.values())
        assert found == truth or (LAST in {release for release, *_ in sent} and found == {model: whole})
    proof = prove(ledger_of(table), "org_a", DAY, lambda _: DAILY, RECEIVED + timedelta(days=1))
    assert isinstance(proof, Proof)
    assert not [each for each in proof.differences if each.kind == "totals"]


def test_what_the_release_before_took_no_notice_of_is_one_line_item() -> None:
    table = with_account()
    decide(table, "this", event_of("r0", "proj_0", WRITING, DEAR))
    assert f"{WRITING}, cache writes, long context" in told(table)["proj_0", WRITING][0]
    decide(table, LAST, event_of("r1", "proj_0", WRITING, ORDINARY))
    decide(table, "this", event_of("r2", "proj_0", WRITING, DEAR))
    assert told(table)["proj_0", WRITING][0].keys() == {WRITING}


def test_a_day_without_such_tokens_is_stored_as_before() -> None:
    table = with_account()
    decide(table, "this", event_of("r0", "proj_0", WRITING, ORDINARY))
    assert [item for item in table.items.values() if "surcharged" in item] == []
    decide(table, "this", event_of("r1", "proj_0", WRITING, DEAR))
    decide(table, "this", void("r1"))
    assert [item for item in table.items.values() if "surcharged" in item] == []


def test_a_void_of_a_price_that_this_release_does_not_know_is_decided() -> None:
    [decision] = Desk().decide(request(DEAR, model=WRITING))
    voided = decision._replace(price_version="2099-01-01")
    asked = Void("org_demo", "v1", voided.request_id, DAY, RECEIVED, "")
    books, [taken_back] = settle(Books(Counter(), {}), [void_case(asked, voided, DAILY)], RECEIVED)
    assert taken_back.input == -DEAR.input
    [sums] = books.totals[DAY].rows.values()
    assert sums.long_input == 0
