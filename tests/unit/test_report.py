"""The tables that people read: no figure is ever cut, however narrow the terminal."""

import io

import pytest
from rich.console import Console

from local import report
from local.replay import Replayed
from tests.unit.builders import SMALL, Desk, request


def printed(replayed: Replayed, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.print_replayed(replayed, console)
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
    assert max(map(len, printed(replayed, 80).splitlines())) <= 80
    assert "Organization" in printed(replayed, 120)


def test_rows_of_two_days_keep_their_dates() -> None:
    decisions = Desk().decide(request(1000, id="r1"), request(1000, "2025-03-12T00:00", id="r2"))
    shown = printed(Replayed(2, decisions), 60)
    assert "2025-03-11 09:15" in shown
    assert "2025-03-12 00:00" in shown
