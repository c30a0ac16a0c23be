"""The tables that people read: no figure is ever cut, however narrow the terminal."""

import io
import re

import pytest
from rich.console import Console

from gratis.rules.void import turned
from gratis_local import report, tables
from gratis_local.console import PIPE_COLUMNS
from gratis_local.replay import Replayed
from gratis_local.what_if import Compared
from tests.builders.events import SMALL, request
from tests.builders.ledger import Desk
from tests.builders.offers import small_offer
from tests.builders.organizations import account


def printed(replayed: Replayed, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.print_replayed(replayed, console)
    return text_of(console)


def text_of(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("width", [50, 80, 104, 200])
def test_no_figure_and_no_name_is_cut(width: int) -> None:
    decisions = Desk().decide(request(123_456, id="r1"), request(3_333_333, "2025-03-11T10:20", id="r2", model=SMALL))
    shown = printed(Replayed(2, decisions), width)
    for whole in (
        "123,456",
        "3,333,333",
        "gpt-4o-2024-08-06",
        SMALL,
        "within_quota",
        "org_demo",
        "09:15",
        "2025-03-11",
    ):
        assert whole in shown
    assert "…" not in shown


def test_what_all_rows_share_stands_above_them_on_a_narrow_terminal() -> None:
    replayed = Replayed(1, Desk().decide(request(1000, id="r1")))
    assert "Decisions of org_demo on 2025-03-11 (UTC)" in printed(replayed, 80)
    assert "Organization" not in printed(replayed, 80)
    assert "Organization" in printed(replayed, 120)


def test_rows_of_two_days_take_two_lines_on_a_narrow_terminal() -> None:
    decisions = Desk().decide(request(1000, id="r1"), request(1000, "2025-03-12T00:00", id="r2"))
    shown = [line.split() for line in printed(Replayed(2, decisions), 80).splitlines()]
    first = shown.index(["2025-03-12", "org_demo", "gpt-4o-2024-08-06", "1,000", "free"])
    assert shown[first + 1] == ["00:00", "r2", "within_quota", "1,000", "$0"]


def long_names() -> Replayed:
    """Two days, an id of 256 characters and a long model."""
    requests = [request(999_999, day, id="x" * 256, model="m" * 60) for day in ("2025-03-11T09:15", "2025-03-12T23:59")]
    return Replayed(2, Desk().decide(*requests), [{"index": 2, "id": "y" * 100, "error": ERROR}])


ERROR = {"code": "invalid_event", "message": "id: must be 1 to 256 letters, digits or . _ - : /: " + "y" * 100}


@pytest.mark.parametrize("width", [80, 100, 149])
def test_a_table_fits_the_terminal_however_long_the_names_are(width: int) -> None:
    lines = printed(long_names(), width).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(lines).count("x") == 2 * 256


def test_what_goes_into_a_pipe_is_a_line_for_each_decision() -> None:
    lines = printed(long_names(), PIPE_COLUMNS).splitlines()
    assert [line.split()[-1] for line in lines if "not_listed" in line] == ["x" * 256] * 2


def test_bills_fit_a_narrow_terminal() -> None:
    decisions = Desk().decide(request(999_999_999, id="r1"), request(10, model="unheard-of"))
    console = Console(file=io.StringIO(), width=80)
    report.print_compared(Compared(("a", "b"), (Replayed(2, decisions), Replayed(2, decisions[:1]))), console)
    lines = text_of(console).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("and 1 of unknown price" in line for line in lines)


# --- more rows than a terminal shows ---------------------------------------------------------------------------------


def many(count: int) -> Replayed:
    """As many requests of org_0 to org_4 in turn. The first ten fit, whoever made them; of the others none does."""
    decisions = Desk(small_offer(quota=1000)).decide(*(request(100, id=f"r{number}") for number in range(count)))
    in_turn = [each._replace(organization=f"org_{number % 5}") for number, each in enumerate(decisions)]
    return Replayed(count, in_turn)


def on_a_terminal(replayed: Replayed) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    report.print_replayed(replayed, console)
    return re.sub(r"\x1b\[[0-9;]*m", "", text_of(console))


def test_as_many_rows_as_a_terminal_takes_are_all_shown() -> None:
    shown = on_a_terminal(many(report.MAX_TERMINAL_ROWS))
    assert (shown.count("within_quota"), shown.count("over_quota")) == (10, 190)


def test_one_row_more_becomes_a_summary_by_organization_and_where_the_verdict_changes() -> None:
    shown = on_a_terminal(many(report.MAX_TERMINAL_ROWS + 1))
    summary = [line.split() for line in shown.splitlines()]
    assert ["org_0", "2", "39", "200", "3,900", "$0.01025", "$0.00975"] in summary
    assert [line[0] for line in summary if len(line) == 7 and line[0] in "org_0 org_4"] == ["org_0", "org_4"]
    changes = shown[shown.index("Where the verdict changes") :]
    assert changes.count("over_quota") == 5
    assert "within_quota" not in changes


def test_a_pipe_takes_all_rows() -> None:
    shown = printed(many(report.MAX_TERMINAL_ROWS + 1), PIPE_COLUMNS)
    assert (shown.count("within_quota"), shown.count("over_quota")) == (10, 191)


def test_of_many_quarantined_events_a_terminal_shows_the_first_and_says_how_many_more_there_are() -> None:
    refused = [
        {"index": number, "id": f"bad_{number}", "error": ERROR} for number in range(report.MAX_TERMINAL_ROWS + 1)
    ]
    shown = on_a_terminal(Replayed(len(refused), [], refused))
    assert len(set(re.findall(r"bad_\d+", shown))) == report.FIRST_ROWS
    assert (
        f"{report.MAX_TERMINAL_ROWS + 1 - report.FIRST_ROWS} more in quarantine: --json or a pipe has them all."
        in shown
    )


def test_what_was_voided_is_no_longer_of_unknown_price_and_changes_no_verdict() -> None:
    decisions = Desk().decide(request(1000, id="r1"), request(10, id="r2", model="unheard-of"))
    totals = report.totals_of(Replayed(3, [*decisions, turned(decisions[1])]))
    assert (totals["Free"], totals["Billed"]) == ("1 (1,000 tokens)", "0 (0 tokens)")
    assert (totals["At the normal rate"], totals["Billed amount"]) == ("$0.0025", "$0")
    taken_back = Desk(small_offer(quota=1000)).decide(request(1000, id="fits"), request(1, id="does-not"))
    changes = report.verdict_changes([*taken_back, turned(taken_back[0], 1000), *Desk().decide(request(1, id="r4"))])
    assert [each.request_id for each in changes] == ["does-not", "r4"]


def test_a_verdict_changes_against_the_same_organizations_and_models_before() -> None:
    decisions = Desk(small_offer(quota=1000)).decide(
        request(1000, id="fits"),
        request(1, id="does-not"),
        request(1, id="neither"),
        request(1, id="another-model", model=SMALL),
        request(0, id="empty"),
    )
    assert [each.request_id for each in report.verdict_changes(decisions)] == ["does-not", "empty"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("2025", "1,000", "free", "r\x1b1"), ("2025-01", "10", "billed", "漢字x"), ("é", "", "free", "")],
        [("2025-01-01 00:00", f"{number:,}", "billed", "x" * number) for number in range(200)],
    ],
)
def test_what_goes_to_no_terminal_is_the_table_that_rich_prints(rows: list[tuple[str, ...]]) -> None:
    sheet = tables.Sheet("Decisions", ("Time (UTC)", "Running total", "Verdict", "Id"), rows, ("Running total",))
    console = Console(file=io.StringIO(), width=PIPE_COLUMNS)
    tables._whole(tables._table(sheet), console)
    assert [*tables.lines_of(sheet), ""] == text_of(console).split("\n")


def test_organizations_that_were_unknown_are_named_in_the_totals() -> None:
    known = Desk().decide(request(1000, id="r1"))
    unknown = [
        decision._replace(organization=f"org_{number}")
        for number in range(7)
        for decision in Desk(organization=account("org_demo", profiles=[], sharing=[])).decide(request(1000, id="r1"))
    ]
    assert "Unknown" not in report.totals_of(Replayed(1, known))
    said = report.totals_of(Replayed(8, [*known, *unknown]))["Unknown"]
    assert said == "org_0, org_1, org_2, org_3, org_4 and 2 more: no account, so nothing is shared"
    assert report.unknown_organizations([*known, unknown[6]]) == ["org_6"]


def test_an_organization_is_not_unknown_that_only_shares_or_became_known_later() -> None:
    before, after = Desk().decide(request(1000, "2023-12-31T10:00", id="r1"), request(1000, id="r2"))
    assert (before.profile_version, before.settings_version) == (None, None)
    assert report.unknown_organizations([before]) == ["org_demo"]
    assert report.unknown_organizations([before, after]) == []
    known = Desk(organization=account("org_demo", profiles=[]))
    assert report.unknown_organizations(known.decide(request(1000, id="r1"))) == []
