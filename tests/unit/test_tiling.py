"""Steps of a counter, forward and back: whether they are one path, and what is said where they are not."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gratis.rules.tiling import Path, Step, Tear, over_granted, tiling


def steps(*figures: tuple[Any, Any]) -> list[Step]:
    return [Step(before, after, 1000, f"r{number}") for number, (before, after) in enumerate(figures)]


def named(tears: Iterable[Tear]) -> list[tuple[str, list[str]]]:
    """Messages and ids."""
    return [(tear.message, list(tear.ids)) for tear in tears]


def is_path(taken: list[Step], start: Any, used: Any) -> bool:
    """Whether steps are a path, by the sum of hashes and by all that can be named; these must agree."""
    path = Path()
    for step in taken:
        path.add(step)
    assert path.leads_to(used, start) == (not list(tiling(taken, start=start, used=used)))
    return path.leads_to(used, start)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.sampled_from([1, Decimal("0.01")]), st.data())
def test_steps_forward_and_back_are_a_path_in_any_order_and_nothing_else_is(
    visited: list[int], unit: Any, data: st.DataObject
) -> None:
    points = [unit * number for number, _ in groupby(visited)]
    start, used = points[0], points[-1]
    taken = data.draw(st.permutations(steps(*pairwise(points))))
    assert is_path(taken, start, used)
    assert not is_path(taken, start, used + unit)
    assert not is_path(taken, start - unit, used)
    if taken:
        one = data.draw(st.sampled_from(taken))
        assert not is_path([*taken, one], start, used)
        assert not is_path([step for step in taken if step is not one], start, used)


def test_a_figure_is_the_same_point_however_it_is_written() -> None:
    assert is_path(steps((0, Decimal("0.50")), (Decimal("0.5"), Decimal("2.0"))), Decimal("0.00"), 2)


TORN: dict[str, tuple[list[tuple[int, int]], dict[str, int], list[tuple[str, list[str]]]]] = {
    "held, but not taken": ([], {"used": 5}, [("the decisions reach 0, the counter holds 5", [])]),
    "a gap": ([(0, 10), (20, 30)], {"used": 30}, [("no decision on 10 to 20", ["r1"])]),
    "a gap, wherever it leads": ([(0, 10), (20, 30)], {}, [("no decision on 10 to 20", ["r1"])]),
    "a gap at the beginning": ([(10, 20)], {"used": 20}, [("no decision on 0 to 10", ["r0"])]),
    "begun where another counter stood": ([(10, 20)], {"start": 10, "used": 20}, []),
    "an overlap": ([(0, 10), (5, 20)], {"used": 20}, [("two decisions on the same tokens", ["r0", "r1"])]),
    "the same step twice": ([(0, 10), (0, 10)], {"used": 10}, [("two decisions on the same tokens", ["r0", "r1"])]),
    "two gaps": (
        [(0, 10), (20, 30)],
        {"used": 15},
        [("no decision on 10 to 20", ["r1"]), ("the decisions reach 30, the counter holds 15", ["r1"])],
    ),
    "a step back": ([(0, 10), (10, 30), (30, 20), (20, 40)], {"used": 40}, []),
    "a step back that is missing": ([(0, 10)], {"used": 5}, [("the decisions reach 10, the counter holds 5", ["r0"])]),
    "a step back from elsewhere": ([(0, 10), (30, 10)], {"used": 10}, [("no decision on 10 to 30", ["r1"])]),
}


@pytest.mark.parametrize(("taken", "ends", "found"), TORN.values(), ids=TORN)
def test_what_is_no_path_is_named(taken: Any, ends: dict[str, int], found: Any) -> None:
    assert named(tiling(steps(*taken), **ends)) == found


def test_a_step_to_the_quota_is_granted_one_beyond_it_is_not_and_a_step_back_always() -> None:
    beyond = over_granted(steps((0, 1000), (1001, 1002), (1003, 1001)))
    assert named(beyond) == [("more was free than the quota", ["r1"])]
