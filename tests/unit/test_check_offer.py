"""A deployment is refused whose offers are wrong, or would give a quota twice."""

import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gratis import moment
from gratis.deployment import OUT_OF_REACH, check
from gratis.rules.offer_file import OfferInvalid, succession
from gratis_local.functions import Context, handler_of
from tests.unit.builders import LARGE, at

TODAY = date(2026, 3, 10)
STARTS = date(2026, 3, 11)


def offer(folder: Path, name: str, **stated: Any) -> str:
    """An offer file, named as the parameter Offer names it."""
    window, group, days = stated.pop("window", "utc_day"), stated.pop("group", "1m"), {"effective_at": "2026-01-01"}
    groups = [{"name": group, "models": [LARGE], "quotas": {"4": 1000}}]
    version = days | {"window": window, "groups": groups}
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"id": name, "starts": "2026-01-01", "versions": [version]} | stated), encoding="utf-8")
    return str(file)


def test_the_first_deployment_takes_any_offer_that_is_one(tmp_path: Path) -> None:
    check("data-sharing", "", None, TODAY)
    check(offer(tmp_path, "mine"), "2026-12-31", None, TODAY)


@pytest.mark.parametrize(
    ("named", "ends", "message"),
    [
        ("data-shering", "", "Offer: no offer 'data-shering'; there are data-sharing, data-sharing-2025"),
        ("/nowhere/mine.json", "", "Offer: /nowhere/mine.json: No such file or directory"),
        ("data-sharing", "2026-02-30", "OfferEnds: '2026-02-30' is no day like 2026-12-31"),
        ("data-sharing", "2024-12-31", "Offer: ends: must be on or after the first day"),
        (
            "data-sharing-2025 data-sharing",
            "",
            "Offer: data-sharing: starts on 2025-01-01, not after data-sharing-2025",
        ),
    ],
)
def test_a_parameter_that_says_nothing_right_fails_the_deployment(named: str, ends: str, message: str) -> None:
    with pytest.raises(OfferInvalid, match=message):
        check(named, ends, None, TODAY)


def test_another_offer_may_follow_from_a_day_to_come_on(tmp_path: Path) -> None:
    first, second = offer(tmp_path, "first"), offer(tmp_path, "second", starts=str(STARTS))
    check(f"{first} {second}", "", first, TODAY)


def test_another_offer_may_not_take_over_today_or_before(tmp_path: Path) -> None:
    first, second = offer(tmp_path, "first"), offer(tmp_path, "second", starts=str(TODAY))
    with pytest.raises(OfferInvalid, match=r"second starts on 2026-03-10, which is not after today"):
        check(f"{first} {second}", "", first, TODAY)


def test_an_offer_may_not_be_replaced_without_being_named(tmp_path: Path) -> None:
    first, second = offer(tmp_path, "first"), offer(tmp_path, "second", starts=str(STARTS))
    with pytest.raises(OfferInvalid, match=r"first was in force and is not named any more"):
        check(second, "", first, TODAY)


def test_an_offer_may_go_when_no_late_event_and_no_proof_can_reach_it(tmp_path: Path) -> None:
    first, second = offer(tmp_path, "first"), offer(tmp_path, "second", starts=str(STARTS))
    check(second, "", f"{first} {second}", STARTS + OUT_OF_REACH)
    with pytest.raises(OfferInvalid, match="not named any more"):
        check(second, "", f"{first} {second}", STARTS + OUT_OF_REACH - moment.DAY)


def test_an_offer_that_ended_long_ago_may_be_replaced_by_any(tmp_path: Path) -> None:
    check("data-sharing", "", "data-sharing-2025", TODAY)


def test_offers_that_would_give_a_second_quota_in_the_middle_of_a_window_cannot_follow(tmp_path: Path) -> None:
    month = {"calendar": "month", "zone": "UTC"}
    first = offer(tmp_path, "first", window=month)
    goes_on = offer(tmp_path, "goes_on", window=month, starts=str(STARTS))
    renamed = offer(tmp_path, "renamed", window=month, group="other", starts=str(STARTS))
    check(f"{first} {goes_on}", "", first, TODAY)
    with pytest.raises(OfferInvalid, match="group other would give the models of group 1m a second quota"):
        check(f"{first} {renamed}", "", first, TODAY)


def test_each_offer_holds_from_its_first_day_on(tmp_path: Path) -> None:
    both = succession([offer(tmp_path, "first"), offer(tmp_path, "second", starts=str(STARTS))])
    names = [both.version_at(at(when)).name for when in ("2026-03-10T23:59:59.999999", "2026-03-11T00:00")]
    assert names == ["first@2026-01-01", "second@2026-01-01"]


# The function -------------------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address for CloudFormation's answers, and those that came."""
    came: list[dict[str, Any]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - as in the library
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/answer", came
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "named", "status"),
    [
        ("Create", "data-sharing", "SUCCESS"),
        ("Create", "data-shering", "FAILED"),
        ("Update", "data-sharing", "SUCCESS"),
        ("Delete", "data-shering", "SUCCESS"),
    ],
)
def test_cloudformation_is_answered(
    answers: tuple[str, list[dict[str, Any]]], kind: str, named: str, status: str
) -> None:
    address, came = answers
    request = {"RequestType": kind, "ResponseURL": address, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}
    asked = {"ServiceToken": "arn", "Offer": named, "OfferEnds": ""}
    before = {"OldResourceProperties": asked | {"Offer": "data-sharing"}} if kind == "Update" else {}
    handler_of("check_offer")(request | {"ResourceProperties": asked} | before, Context("check_offer"))
    [answer] = came
    assert {name: answer[name] for name in ("Status", "StackId", "RequestId", "LogicalResourceId")} == {
        "Status": status,
        "StackId": "s",
        "RequestId": "r",
        "LogicalResourceId": "l",
    }
    assert bool(answer["Reason"]) == (status == "FAILED")
