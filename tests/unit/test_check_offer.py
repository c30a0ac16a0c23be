"""A deployment is refused whose offers are wrong, or would give a quota twice."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gratis import moment
from gratis.deployment import OUT_OF_REACH, check
from gratis.rules.offer_file import OfferInvalid, succession
from gratis_local.deploy import read_template
from gratis_local.functions import ROOT, Context, handler_of
from tests.builders.events import LARGE, at
from tests.builders.loopback import Loopback, Quiet

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

    class Taker(Quiet):
        def do_PUT(self) -> None:
            came.append(json.loads(self.body()))
            self.answer()

    with Loopback(Taker) as server:
        yield f"{server.url}/answer", came


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


class CloudFormation:
    """Keeps what it keeps of a custom resource: its properties and its physical id."""

    def __init__(self, address: str, came: list[dict[str, Any]]) -> None:
        self.address, self.came = address, came
        self.properties: dict[str, str] = {}
        self.physical_id: str | None = None

    def deploy(self, offer: str, after: str | None = None) -> str:
        """The status of the resource with this Offer; `after`: the one that CloudFormation names as the one before."""
        asked, known = {"ServiceToken": "arn", "Offer": offer, "OfferEnds": ""}, {}
        if self.physical_id is not None:
            known = {"PhysicalResourceId": self.physical_id, "OldResourceProperties": self.properties}
            if after is not None:
                known["OldResourceProperties"] = asked | {"Offer": after}
        kind = "Update" if known else "Create"
        named = {"RequestType": kind, "StackId": "s", "RequestId": "r", "LogicalResourceId": "l"}
        request = named | known | {"ResponseURL": self.address, "ResourceProperties": asked}
        handler_of("check_offer")(request, Context("check_offer"))
        answer = self.came.pop()
        if answer["Status"] == "SUCCESS":
            self.properties = asked
        self.physical_id = answer["PhysicalResourceId"]
        return str(answer["Status"])


@pytest.mark.parametrize("refused", ["data-shering", "data-sharing-2025"])
def test_what_was_refused_is_rolled_back(answers: tuple[str, list[dict[str, Any]]], refused: str) -> None:
    """CloudFormation then names the refused offer as the one before; the stack must not stay half rolled back."""
    cloudformation = CloudFormation(*answers)
    assert cloudformation.deploy("data-sharing") == "SUCCESS"
    assert cloudformation.deploy(refused) == "FAILED"
    assert cloudformation.deploy("data-sharing", after=refused) == "SUCCESS"
    assert cloudformation.deploy(refused) == "FAILED"


def test_what_was_accepted_is_what_the_next_one_is_held_against(answers: tuple[str, list[dict[str, Any]]]) -> None:
    cloudformation = CloudFormation(*answers)
    assert cloudformation.deploy("data-sharing") == "SUCCESS"
    assert cloudformation.deploy("data-sharing-2025", after="data-sharing-2025") == "FAILED"


def test_a_stack_of_the_release_before_whose_id_says_nothing_is_held_against_what_cloudformation_names(
    answers: tuple[str, list[dict[str, Any]]],
) -> None:
    cloudformation = CloudFormation(*answers)
    cloudformation.deploy("data-sharing")
    cloudformation.physical_id = "offer"
    assert cloudformation.deploy("data-sharing-2025") == "FAILED"
    cloudformation.physical_id = "offer"
    assert cloudformation.deploy("data-sharing") == "SUCCESS"


def test_the_longest_offer_that_the_template_takes_fits_a_physical_id() -> None:
    content = read_template(ROOT / "template.yaml")
    assert content["Parameters"]["Offer"]["MaxLength"] + len("offer ") <= 1024  # CloudFormation's quota
