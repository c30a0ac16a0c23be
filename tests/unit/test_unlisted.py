"""The first request of a day for a model that no group lists is announced, once."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from gratis import outbox
from gratis.errors import Busy
from gratis.rules.window import Calendar, CounterId
from gratis.table import keys
from gratis.unlisted import Unlisted
from tests.builders.aws import TABLE, moto_table
from tests.builders.events import RECEIVED


class Bus:
    """Takes events, or refuses them all while it is down."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.is_down = False

    def put_events(self, Entries: Any) -> Any:  # noqa: N803 - the client's word
        if self.is_down:
            return {"Entries": [{"ErrorCode": "ThrottlingException"} for _ in Entries]}
        self.taken += [each["Detail"] for each in Entries]
        return {"Entries": [{"EventId": "x"} for _ in Entries]}


def record(model: str, *, organization: str = "org_a", day: str = "2025-03-11", **more: Any) -> dict[str, Any]:
    said = {"organization": organization, "model": model, "project": None, "request_id": f"of {model}"}
    return said | {"occurred_at": f"{day}T09:00:00Z", "reason": "model_not_listed"} | more


class Desk:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.bus = Bus()
        self.process = self.started()

    def started(self) -> Unlisted:
        """Another process, which remembers nothing."""
        bus: Any = self.bus
        return Unlisted(self.client, TABLE, bus, "bus")

    def announce(self, *records: Any, now: datetime = RECEIVED) -> int:
        return self.process.announce(records, now)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(outbox, "MAX_ATTEMPTS", 1)
    with moto_table() as client:
        yield Desk(client)


def test_the_first_of_a_day_is_announced_and_no_other(desk: Desk) -> None:
    assert desk.announce(record("new"), record("new", request_id="second"), record("other")) == 2
    assert desk.announce(record("new", request_id="third")) == 0
    desk.process = desk.started()
    assert desk.announce(record("new", request_id="fourth")) == 0
    assert "of new" in "".join(desk.bus.taken)
    assert len(desk.bus.taken) == 2


def test_each_organization_and_day_has_a_first_of_its_own(desk: Desk) -> None:
    named = [record("new"), record("new", organization="org_b"), record("new", day="2025-03-12")]
    assert desk.announce(*named) == 3


def test_other_reasons_are_none_of_its_business(desk: Desk) -> None:
    assert desk.announce(record("new", reason="over_quota")) == 0


def test_what_the_bus_does_not_take_comes_again(desk: Desk) -> None:
    desk.bus.is_down = True
    with pytest.raises(Busy, match="did not take 1"):
        desk.announce(record("new"))
    desk.bus.is_down = False
    assert desk.announce(record("new")) == 1


def test_who_dies_after_sending_sends_again_under_the_same_id(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unlisted, "_mark", lambda *_: (_ for _ in ()).throw(RuntimeError("died")))
    with pytest.raises(RuntimeError, match="died"):
        desk.announce(record("new"))
    monkeypatch.undo()
    desk.process = desk.started()
    desk.announce(record("new"))
    assert desk.bus.taken[0] == desk.bus.taken[1]


@pytest.mark.parametrize("model", ["a#b", "a%23b", "vendor/model@1", "ein Modell", "x" * 128, "模" * 128, "😀" * 128])
def test_a_mark_is_found_again_whatever_the_model_is_called(desk: Desk, model: str) -> None:
    assert keys.unlisted_of_key(keys.unlisted_key("org_a", "2025-03-11", model)) == ("org_a", "2025-03-11", model)
    assert desk.announce(record(model)) == 1
    desk.process = desk.started()
    assert desk.announce(record(model)) == 0


MAX_SORT_KEY_BYTES = 1024
"""DynamoDB's limit."""


@pytest.mark.parametrize("character", ["x", "#", "模", "😀"])
def test_the_longest_names_fit_a_sort_key(character: str) -> None:
    unlisted = keys.unlisted_key("o" * 64, "2025-03-11", character * 128)
    kind = Calendar("month", "America/Argentina/ComodRivadavia")
    counter = keys.document_key(CounterId("o" * 64, "g" * 32, kind.slot(RECEIVED), character * 64))
    assert max(len(item["sk"]["S"].encode()) for item in (unlisted, counter)) <= MAX_SORT_KEY_BYTES
