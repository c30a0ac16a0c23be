"""Ask first, reserve, use: SPEC section 2, "Reservations". The API and the classifier on one table."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gratis.account.asked import Asked, request_of
from gratis.closing.proof import Proof
from gratis.closing.proving import Proving
from gratis.rules.decision import binding_of, case_of, decide
from gratis.rules.formats import FORMAT, RESERVING
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey, void_of
from gratis.rules.reservation import MAX_OPEN, Reservation
from gratis.rules.window import Counter, CounterId
from tests.builders.account_api import ALLOWANCE, NOW, Answer, Api
from tests.builders.events import LARGE, request, usage, void
from tests.builders.offers import small_offer
from tests.builders.organizations import account

RESERVATIONS = "/v1/organization/reservations"
MINUTE = timedelta(minutes=1)


def reserve(api: Api, name: str = "r1", tokens: int = 600_000, key: str | None = None, **fields: Any) -> Answer:
    body = {"id": name, "model": LARGE, "tokens": tokens, **fields}
    return api.call("POST", RESERVATIONS, key=key, body=json.dumps(body))


def check(api: Api, tokens: int, key: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": LARGE, "tokens": tokens, **fields}
    answer = api.call("POST", f"{ALLOWANCE}/check", key=key, body=json.dumps(body))
    assert answer.status == 200, answer.text
    content: dict[str, Any] = answer.content
    return content


def come(api: Api, name: str, tokens: int, at: datetime | None = None, **fields: Any) -> dict[str, Any]:
    """The request comes now, and is decided at `at`; what its decision says."""
    event = usage(name, tokens, model=fields.pop("model", LARGE), at="2025-03-12T10:29:00Z", **fields)
    api.decide_at(event, at or NOW)
    content: dict[str, Any] = api.get(f"/v1/organization/requests/{name}").content
    return content


def left(api: Api) -> tuple[int, int, int]:
    """Used, reserved and remaining of group 1m."""
    row = api.get(ALLOWANCE).content["groups"][0]
    return row["used"], row["reserved"], row["remaining"]


def proved(api: Api) -> tuple[list[Any], bool]:
    """What the proof of the day finds, and whether it holds."""
    proving = Proving(api.ledger, "org_a", NOW.date(), lambda _: shipped("data-sharing"))
    while not proving.go_on(100):
        pass
    proof = proving.proof(NOW)
    assert isinstance(proof, Proof)
    return list(proof.differences), proof.holds


def test_a_check_says_what_the_decision_would_be_and_writes_nothing(api: Api) -> None:
    said = check(api, 1_000_000, api.key("reader"))
    assert api.asked == ["GetItem", "BatchGetItem"]
    assert (said["object"], said["verdict"], said["reason"]) == ("allowance.check", "free", "within_quota")
    assert (said["used"], said["reserved"], said["remaining"]) == (0, 0, 1_000_000)
    assert said["resets_at"] == "2025-03-13T00:00:00Z"
    over = check(api, 1_000_001)
    assert (over["verdict"], over["reason"]) == ("billed", "over_quota")
    assert over["explanation"].startswith("Billed: 1,000,001 tokens did not fit in the 1,000,000 left")
    assert check(api, 5, model="unknown")["reason"] == "model_not_listed"
    assert left(api) == (0, 0, 1_000_000)


def test_what_is_reserved_is_kept_and_strangers_are_billed_beside_it(api: Api) -> None:
    answer = reserve(api)
    assert (answer.status, answer.content["verdict"]) == (201, "free")
    assert answer.content["expires_at"] == "2025-03-12T10:40:00Z"
    assert left(api) == (0, 600_000, 400_000)
    stranger = come(api, "s1", 400_001)
    assert (stranger["verdict"], stranger["reserved_before"]) == ("billed", 600_000)
    assert "beside 600,000 reserved by others" in stranger["explanation"]
    kept = come(api, "r1", 550_000)
    assert (kept["verdict"], kept["reservation"], kept["reserved_before"]) == ("free", "r1", 0)
    assert left(api) == (550_000, 0, 450_000)
    assert come(api, "s2", 450_000)["verdict"] == "free"


def test_an_event_settles_the_reservation_that_it_names(api: Api) -> None:
    reserve(api, "ours")
    assert come(api, "theirs", 600_000, reservation="ours")["reservation"] == "ours"
    assert left(api) == (600_000, 0, 400_000)


def test_more_than_was_reserved_is_free_only_if_it_fits(api: Api) -> None:
    reserve(api, "r1")
    reserve(api, "r2", 400_000)
    assert come(api, "r1", 600_001)["verdict"] == "billed"
    assert left(api) == (0, 400_000, 600_000)
    larger = come(api, "r2", 400_001)
    assert (larger["verdict"], larger["reservation"]) == ("free", None)


def test_repeating_an_open_reservation_changes_nothing_and_another_body_is_a_conflict(api: Api) -> None:
    first = reserve(api)
    again = reserve(api)
    assert again.status == 200
    assert again.content == first.content | {"explanation": again.content["explanation"]}
    assert reserve(api, tokens=5).refused() == (409, "conflict", "id")
    assert reserve(api, model="gpt-4o-mini-2024-07-18").refused() == (409, "conflict", "id")
    assert left(api) == (0, 600_000, 400_000)


@pytest.mark.parametrize(("tokens", "said"), [(1, "1 token was"), (2, "2 tokens were")])
def test_a_repeated_reservation_says_what_was_reserved(api: Api, tokens: int, said: str) -> None:
    reserve(api, tokens=tokens)
    again = reserve(api, tokens=tokens).content["explanation"]
    assert again == f"Free: {said} reserved for it in the allowance of group 1m on 2025-03-12 (UTC)."


def test_of_a_billed_reservation_nothing_is_kept(api: Api) -> None:
    billed = reserve(api, tokens=1_000_001)
    assert (billed.status, billed.content["verdict"], billed.content["expires_at"]) == (201, "billed", None)
    assert left(api) == (0, 0, 1_000_000)
    assert reserve(api).content["verdict"] == "free"


def test_a_released_reservation_gives_its_room_back(api: Api) -> None:
    reserve(api, "a/b")
    assert [each["id"] for each in api.get(RESERVATIONS).content["data"]] == ["a/b"]
    first = api.call("DELETE", f"{RESERVATIONS}/a/b")
    assert (first.status, first.text) == (204, "")
    assert api.call("DELETE", f"{RESERVATIONS}/a/b").status == 204
    assert api.get(RESERVATIONS).content["data"] == []
    assert left(api) == (0, 0, 1_000_000)


def test_a_reservation_is_released_by_an_id_that_is_percent_encoded(api: Api) -> None:
    assert reserve(api, "a/b:c").status == 201
    assert api.call("DELETE", f"{RESERVATIONS}/a%2Fb%3Ac").status == 204
    assert api.get(RESERVATIONS).content["data"] == []


def test_a_reservation_ends_at_the_moment_that_it_expires(api: Api) -> None:
    reserve(api, expires_in=60)
    api.set_clock(NOW + MINUTE - datetime.resolution)
    assert left(api) == (0, 600_000, 400_000)
    api.set_clock(NOW + MINUTE)
    assert left(api) == (0, 0, 1_000_000)
    assert come(api, "s1", 1_000_000, NOW + MINUTE)["reserved_before"] == 0
    assert come(api, "r1", 600_000, NOW + MINUTE)["verdict"] == "billed"


def test_an_id_that_is_decided_today_cannot_be_reserved(api: Api) -> None:
    come(api, "r1", 5)
    assert reserve(api).refused() == (409, "already_decided", "id")


def test_a_void_of_a_decision_that_was_kept_gives_its_units_back_and_no_reservation(api: Api) -> None:
    reserve(api)
    reserve(api, "r2", 300_000)
    assert come(api, "r1", 500_000)["reservation"] == "r1"
    api.decide_at(void("r1", NOW.date(), time="2025-03-12T10:29:00Z"), NOW)
    taken_back = api.ledger.decisions([void_of(RequestKey("org_a", NOW.date(), "r1"))]).popitem()[1]
    assert (taken_back.used_before, taken_back.used_after, taken_back.reserved_before) == (500_000, 0, 300_000)
    assert (taken_back.reservation, taken_back.verdict) == ("r1", "free")
    assert left(api) == (0, 300_000, 700_000)
    assert reserve(api).refused() == (409, "already_decided", "id")
    assert come(api, "s1", 700_000)["verdict"] == "free"
    assert come(api, "r2", 300_000)["reservation"] == "r2"
    assert proved(api) == ([], True)


def test_another_project_and_another_group_settle_nothing(api: Api) -> None:
    reserve(api)
    come(api, "r1", 5, project="other")
    come(api, "r2", 5, reservation="r1", model="gpt-4o-mini-2024-07-18")
    assert left(api)[1] == 600_000


def test_a_request_of_no_tokens_ends_its_reservation(api: Api) -> None:
    reserve(api)
    come(api, "r1", 0)
    assert left(api) == (0, 0, 1_000_000)


def test_no_more_than_the_most_are_open(api: Api) -> None:
    for number in range(MAX_OPEN):
        assert reserve(api, f"r{number}", 1, expires_in=3600).status == 201
    answer = reserve(api, "one more", 1)
    assert answer.status == 400
    answer = reserve(api, "one_more", 1)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3600")
    api.set_clock(NOW + 60 * MINUTE)
    assert reserve(api, "one_more", 1).status == 201
    document = api.ledger.read((), [CounterId("org_a", "1m", "2025-03-12")])[1].popitem()[1]
    assert (len(document.counter.reservations), document.format) == (1, RESERVING)


def test_a_document_says_by_its_format_that_it_holds_reservations(api: Api) -> None:
    counter = CounterId("org_a", "1m", "2025-03-12")
    reserve(api)
    assert api.ledger.read((), [counter])[1][counter].format == RESERVING
    come(api, "r1", 5)
    assert api.ledger.read((), [counter])[1][counter].format == FORMAT


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tokens": -1}, "tokens"),
        ({"tokens": "5"}, "tokens"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 3601}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"name": ""}, "id"),
        ({"usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}, "body"),
    ],
)
def test_what_is_not_valid_is_refused_by_name(api: Api, fields: dict[str, Any], param: str) -> None:
    answer = reserve(api, **fields)
    assert answer.refused() == (400, "invalid_value", param)


def test_only_owners_and_gateways_reserve(api: Api) -> None:
    assert reserve(api, key=api.key("reader")).status == 403
    assert reserve(api, key=api.key("gateway")).status == 201
    assert reserve(api, key=api.key("gateway", "org_b")).status == 201
    assert len(api.get(RESERVATIONS).content["data"]) == 1


def test_the_day_is_proved_with_reservations(api: Api) -> None:
    reserve(api)
    come(api, "s1", 400_001)
    come(api, "r1", 600_000)
    assert proved(api) == ([], True)


def test_a_day_is_proved_whose_reservations_were_never_used(api: Api) -> None:
    reserve(api)
    assert proved(api) == ([], True)
    come(api, "s1", 5)
    assert proved(api) == ([], True)


def test_a_reservation_leaves_the_totals_of_its_day_as_they_are(api: Api) -> None:
    come(api, "s1", 5)
    reserve(api)
    api.call("DELETE", f"{RESERVATIONS}/r1")
    [row] = api.get("/v1/organization/usage/completions", start_time=int(NOW.timestamp())).results[0]
    assert (row["input_tokens"], row["num_model_requests"]) == (5, 1)
    assert proved(api) == ([], True)


# Windows, units -----------------------------------------------------------------------------------------------------


def held(counter: Counter, offer: Offer, units: Any, now: datetime, name: str = "r1", **fields: Any) -> Counter:
    """The counter with room for a request set aside."""
    case = case_of(request(1, now, **fields), offer, account())
    group = case.ruling.group
    assert group is not None
    window = group.window.window_at(counter, now, group.span)
    expires_at, binding = now + 60 * MINUTE, binding_of(case.terms)
    start = window.start if window else None
    more = Reservation(name, units, now, expires_at, start, case.request.project, binding, "")
    return counter._replace(reservations=(*counter.reservations, more))


def decided(
    counter: Counter, offer: Offer, tokens: int, when: datetime, name: str = "s", **fields: Any
) -> tuple[Counter, Decision]:
    return decide(counter, case_of(request(tokens, when, id=name, **fields), offer, account()), when)


ROLLING = shipped("data-sharing-2025")
EARLY = datetime(2025, 1, 10, 8, tzinfo=UTC)


def test_where_no_rolling_window_is_open_the_room_is_that_of_the_one_its_request_will_open() -> None:
    counter = held(Counter(), ROLLING, 600_000, EARLY)
    assert counter.windows == ()
    counter, stranger = decided(counter, ROLLING, 400_001, EARLY + MINUTE)
    assert (stranger.verdict, stranger.window, stranger.reserved_before) == ("billed", None, 600_000)
    counter, fits = decided(counter, ROLLING, 400_000, EARLY + 2 * MINUTE)
    assert (fits.verdict, fits.used_after) == ("free", 400_000)
    counter, more = decided(counter, ROLLING, 1, EARLY + 3 * MINUTE)
    assert more.verdict == "billed"
    counter, kept = decided(counter, ROLLING, 600_000, EARLY + 4 * MINUTE, "r1")
    assert (kept.verdict, kept.reservation, kept.used_after) == ("free", "r1", 1_000_000)
    assert counter.reservations == ()


def test_an_old_window_is_not_that_of_a_reservation() -> None:
    counter = held(Counter(), ROLLING, 600_000, EARLY)
    _, late = decided(counter, ROLLING, 1_000_000, EARLY - timedelta(hours=25))
    assert (late.verdict, late.reserved_before) == ("free", 0)


def test_a_kept_reservation_is_free_in_a_closed_window_and_100_is_not_announced_for_it() -> None:
    offer = small_offer(overflow="close")
    now = NOW - timedelta(days=1)
    counter = held(Counter(), offer, 600, now)
    counter, closer = decided(counter, offer, 401, now)
    assert (closer.verdict, list(closer.thresholds)) == ("billed", [])
    counter, kept = decided(counter, offer, 600, now, "r1")
    assert (kept.verdict, kept.reservation) == ("free", "r1")
    _, other = decided(counter, offer, 1, now)
    assert (other.verdict, other.reason) == ("billed", "over_quota")


def test_reservations_are_compared_with_what_is_in_force() -> None:
    counter = held(Counter(), ROLLING, 600_000, EARLY)
    binding = counter.reservations[0].binding._replace(profile_version=7)
    counter = counter._replace(reservations=(counter.reservations[0]._replace(binding=binding),))
    counter, settled = decided(counter, ROLLING, 600_000, EARLY, "r1")
    assert (settled.verdict, settled.reservation, counter.reservations) == ("free", None, ())


def test_a_reservation_is_not_kept_beyond_a_quota_that_others_have_passed() -> None:
    """Who had a larger quota in this window may have used more than this one allows: never over-granted goes first."""
    counter, _ = decided(held(Counter(), ROLLING, 600_000, EARLY), ROLLING, 1, EARLY)
    counter = counter._replace(windows=(counter.windows[0]._replace(used=400_001),))
    _, over = decided(counter, ROLLING, 600_000, EARLY, "r1")
    assert (over.verdict, over.reservation, over.used_after) == ("billed", None, 400_001)
    _, fits = decided(counter, ROLLING, 599_999, EARLY, "r1")
    assert (fits.verdict, fits.reservation, fits.used_after) == ("free", "r1", 1_000_000)


def test_in_dollars_tokens_alone_count_at_the_dearer_price() -> None:
    dear = request_of(Asked(model=LARGE, tokens=1_000), "org_a", NOW)
    assert (dear.tokens.input, dear.tokens.output) == (0, 1_000)
    assert Decimal(dear.tokens.total) == 1_000
