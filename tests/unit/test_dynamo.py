"""What every caller of DynamoDB shares."""

from threading import Barrier, get_ident

from gratis.table.dynamo import side_by_side

SECONDS = 30


def test_calls_go_side_by_side() -> None:
    both = Barrier(2)
    assert all(each >= 0 for each in side_by_side(2)(lambda _: both.wait(SECONDS), "ab"))


def test_a_single_call_is_made_by_the_caller() -> None:
    threads: list[int] = []
    assert len([*side_by_side(2)(lambda _: threads.append(get_ident()), iter("a"))]) == 1
    assert threads == [get_ident()]


def test_no_call_is_made_for_nothing() -> None:
    assert [*side_by_side(2)(lambda _: None, ())] == []
