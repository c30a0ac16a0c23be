"""The list of decisions: each is found once, newest first, filtered, as JSON and as a table; reads are bounded."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from botocore.exceptions import EndpointConnectionError

from gratis import moment
from gratis.account import listing
from gratis.errors import Busy
from gratis.rules.receipt import RECORD
from gratis.table.day_list import MAX_ROWS, DayList
from tests.builders.account_api import NOW, REQUESTS, Answer, Api
from tests.builders.events import LARGE, SMALL, billed, used

DAY = NOW.date()


def pages(api: Api, **parameters: Any) -> Iterator[list[dict[str, Any]]]:
    """The decisions of each page, from the first to the last."""
    following: dict[str, Any] = {}
    while True:
        answer = api.get(REQUESTS, **parameters, **following)
        assert answer.status == 200, answer.text
        yield answer.content["data"]
        assert answer.content["has_more"] == (answer.content["next_page"] is not None)
        if not answer.content["has_more"]:
            return
        following = {"page": answer.content["next_page"]}


def listed(api: Api, **parameters: Any) -> list[str]:
    """The request ids of all pages."""
    return [each["request_id"] for page in pages(api, **parameters) for each in page]


def a_morning(api: Api) -> None:
    """Five decisions a minute apart: r0 to r4, of two models and projects, the last one billed."""
    for number in range(4):
        api.set_clock(NOW.replace(minute=number))
        api.decide(used(1, id=f"r{number}", model=[LARGE, SMALL][number % 2], project=["proj_a", None][number // 2]))
    api.set_clock(NOW.replace(minute=4))
    api.decide(billed(1, id="r4", model=LARGE, project="proj_a"))


def at(number: int) -> str:
    """A moment of DAY of its own for each number."""
    return moment.text(NOW.replace(hour=1) + timedelta(seconds=number))


# --- each is found once ----------------------------------------------------------------------------------------------


def test_the_newest_decided_comes_first_whenever_it_occurred(api: Api) -> None:
    assert api.get(REQUESTS).content == {"object": "list", "data": [], "has_more": False, "next_page": None}
    for number, hour in enumerate((9, 3, 7)):
        api.set_clock(NOW.replace(minute=number))
        api.decide(used(1, id=f"r{number}", at=f"2025-03-12T0{hour}:00:00Z"))
    assert listed(api) == listed(api, day="2025-03-12") == ["r2", "r1", "r0"]
    assert api.get(REQUESTS).content["data"][0] == api.get(f"{REQUESTS}/r2").content


@pytest.mark.parametrize("limit", [1, 3, 20, 100])
def test_every_decision_of_a_day_is_on_one_page_and_only_one(api: Api, limit: int) -> None:
    events = [used(1, id=f"r{number:03}", at=at(number)) for number in range(130)]
    for start, minute in ((0, 1), (60, 1), (70, 2), (71, 3)):  # two batches of one moment among them
        api.set_clock(NOW.replace(minute=minute))
        api.decide(*events[start : {0: 60, 60: 70, 70: 71, 71: 130}[start]])
    assert listed(api, day=DAY, limit=limit) == [f"r{number:03}" for number in reversed(range(130))]


def test_a_batch_of_the_stream_that_comes_again_otherwise_divided_lists_nothing_twice(api: Api) -> None:
    a_morning(api)
    records = [each for page in pages(api) for each in page]
    api.list_decided(records)
    api.list_decided(records[1:3])
    api.set_clock(NOW.replace(minute=9))
    api.decide(*(used(1, id=f"same{number}") for number in range(30)))
    again = [each for page in pages(api) for each in page]
    for start in range(0, 30, 7):
        api.list_decided(again[start : start + 7])
    expected = [each["request_id"] for each in again]
    assert len(expected) == 35
    for limit in (1, 4, 100):
        assert listed(api, day=DAY, limit=limit) == expected


def test_what_is_decided_while_somebody_pages_moves_nothing(api: Api) -> None:
    a_morning(api)
    reading = pages(api, limit=2)
    found = next(reading)
    api.set_clock(NOW.replace(minute=20))
    api.decide(used(1, id="new"))
    found += [each for page in reading for each in page]
    assert [each["request_id"] for each in found] == ["r4", "r3", "r2", "r1", "r0"]


def test_a_void_is_a_row_of_its_own(api: Api) -> None:
    api.decide(used(5, id="a"))
    api.set_clock(NOW.replace(minute=40))
    data = {"request_id": "a", "day": str(DAY)}
    time = moment.text(NOW.replace(minute=40))
    api.decide({**used(1, id="v"), "type": "usage.void", "time": time, "data": data})
    (page,) = pages(api)
    assert [(each["kind"], each["id"], each["tokens"]["input"]) for each in page] == [
        ("usage.void", f"org_a:{DAY}:a~void", -5),
        ("usage.request", f"org_a:{DAY}:a", 5),
    ]


def test_without_a_day_the_latest_days_come_one_after_the_other(api: Api) -> None:
    for back in (9, 6, 1, 0):
        api.decide(used(1, id=f"{back}-days-ago", at=moment.text(NOW - timedelta(days=back))))
    for limit in (1, 2, 20):
        assert listed(api, limit=limit) == ["0-days-ago", "1-days-ago", "6-days-ago"]
    assert listed(api, day=DAY - timedelta(days=9)) == ["9-days-ago"]


def test_no_list_holds_another_organization_s(api: Api) -> None:
    api.decide(used(1, id="a"))
    api.decide({**used(1, id="b"), "subject": "org_b"})
    assert listed(api) == ["a"]
    assert api.get(REQUESTS, organization="org_b").refused() == (404, "not_found", "organization")
    (theirs,) = api.get(REQUESTS, key=api.platform, organization="org_b").content["data"]
    assert theirs["request_id"] == "b"


# --- filters ---------------------------------------------------------------------------------------------------------

FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"models": SMALL}, "r3 r1"),
    ({"models": [SMALL, LARGE]}, "r4 r3 r2 r1 r0"),
    ({"models[]": [LARGE]}, "r4 r2 r0"),
    ({"project_ids": "proj_a"}, "r4 r1 r0"),
    ({"project_ids": "proj_a", "models": SMALL}, "r1"),
    ({"verdict": "billed"}, "r4"),
    ({"verdict": "free", "models": LARGE}, "r2 r0"),
    ({"reason": "tool_use"}, "r4"),
    ({"reason": "nothing"}, ""),
]


@pytest.mark.parametrize(("parameters", "expected"), FILTERS)
@pytest.mark.parametrize("limit", [1, 20])
def test_a_list_is_filtered(api: Api, parameters: dict[str, Any], expected: str, limit: int) -> None:
    a_morning(api)
    assert listed(api, **parameters, limit=limit) == expected.split()
    assert listed(api, day=DAY, **parameters, limit=limit) == expected.split()


@pytest.mark.parametrize(
    "page", ["", "x", "!", "bnVsbA", "WyIyMDI1LTAzLTEyIiwgMV0", "WyIyMDI1LTAzLTExIl0", "WyJ4Il0", "W10", "ÿ"]
)
def test_a_cursor_of_nothing_is_refused(api: Api, page: str) -> None:
    assert api.get(REQUESTS, day=DAY, page=page).refused() == (400, "invalid_value", "page")


@pytest.mark.parametrize("verdict", ["", "Free", "maybe"])
def test_a_verdict_that_is_none_is_refused(api: Api, verdict: str) -> None:
    assert api.get(REQUESTS, verdict=verdict).refused() == (400, "invalid_value", "verdict")


# --- what an answer reads --------------------------------------------------------------------------------------------


def test_an_answer_reads_one_query_of_a_day_and_one_batch_however_long_the_day(api: Api) -> None:
    api.decide(*(used(1, id=f"r{number}", at=at(number)) for number in range(5)))
    for minute in range(31, 36):
        api.set_clock(NOW.replace(minute=minute))
        api.decide(*(used(1, id=f"m{minute}n{number}", at=at(number)) for number in range(90)))
    assert api.get(REQUESTS, day=DAY, limit=5).status == 200
    assert Counter(api.asked) == {"GetItem": 1, "Query": 1, "BatchGetItem": 1}
    assert api.items <= 1 + 6 + 5


@pytest.mark.parametrize("max_items", [1, 2, 3, 7])
def test_a_page_is_short_where_enough_was_read_and_nothing_is_left_out(api: Api, max_items: int) -> None:
    for minute in range(6):
        api.set_clock(NOW.replace(minute=minute))
        for number in range(3):
            api.decide(used(1, id=f"r{minute}{number}", at=at(number)))
    lists = DayList(api.client, api.table, max_items=max_items)
    found: list[str] = []
    place, calls = None, 0
    while calls == 0 or place is not None:
        page = lists.page("org_a", DAY, 100, lambda row: not row.name.startswith("r5"), place)
        found += [row.name for row in page.rows]
        place, calls = page.following, calls + 1
        assert calls < 40
    assert found == [f"r{minute}{number}" for minute in reversed(range(5)) for number in reversed(range(3))]
    assert page.read <= max(max_items + 3, 6)


def test_many_rows_of_one_moment_are_several_items(api: Api) -> None:
    api.decide(used(1, id="r"))
    (record,) = api.get(REQUESTS).content["data"]
    record = json.loads(json.dumps(record, default=str))
    api.list_decided([record | {"request_id": f"{number:03}"} for number in range(2 * MAX_ROWS + 1)])
    page = DayList(api.client, api.table).page("org_a", DAY, 1000, lambda _: True)
    assert (len(page.rows), page.read) == (2 * MAX_ROWS + 2, 4)


# --- as a table ------------------------------------------------------------------------------------------------------


def table(api: Api, **parameters: Any) -> tuple[list[dict[str, str]], Answer]:
    """A page as a table, read as a program reads it: the apostrophes taken off again."""
    headers = {"authorization": f"Bearer {api.key()}", "accept": "text/csv"}
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    answer = api.call("GET", REQUESTS, query, headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
    rows = csv.DictReader(io.StringIO(answer.text))
    bare = [{name: re.sub(r"^'('*[=+\-@])", r"\1", cell) for name, cell in row.items()} for row in rows]
    return bare, answer


def test_a_table_has_a_line_for_each_decision_with_its_record_s_fields(api: Api) -> None:
    a_morning(api)
    rows, answer = table(api)
    records = [each for page in pages(api) for each in page]
    assert [row["id"] for row in rows] == [record["id"] for record in records]
    for row, record in zip(rows, records, strict=True):
        flat = {name: record[name] for name in (field.name for field in RECORD) if name != "tokens"}
        flat |= {f"tokens_{name}": count for name, count in record["tokens"].items()}
        assert row == {name: "" if value is None else str(value) for name, value in flat.items()}
    assert "link" not in answer.headers


@pytest.mark.parametrize("name", ["CN=ml,OU=groups", "a, b", ","])
def test_a_name_that_holds_commas_is_found_also_by_the_link_of_a_table(api: Api, name: str) -> None:
    api.decide(used(1, id="r1", project=name))
    api.decide(used(2, id="r2", project=name), used(3, id="r3", project="CN"))
    assert sorted(listed(api, project_ids=name)) == ["r1", "r2"]
    (first,), answer = table(api, project_ids=quote(name), limit=1)
    query = answer.headers["link"].partition("?")[2].partition(">")[0]
    again = api.call("GET", REQUESTS, query)
    assert [each["request_id"] for each in again.content["data"]] == [({"r1", "r2"} - {first["request_id"]}).pop()]


def test_the_link_of_a_table_leads_to_the_next_page_of_the_same(api: Api) -> None:
    a_morning(api)
    found: list[str] = []
    parameters: dict[str, Any] = {"day": DAY, "models": LARGE, "limit": 1}
    while parameters:
        rows, answer = table(api, **parameters)
        found += [row["request_id"] for row in rows]
        link = re.fullmatch(r'<\?(.*)>; rel="next"', answer.headers.get("link", ""))
        parameters = dict(parse_qsl(link[1])) if link else {}
    assert found == ["r4", "r2", "r0"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum", "'=1", "''@x", "'quoted", 'a "b", c', "plain"])
def test_no_cell_of_a_table_is_a_formula_and_every_text_comes_back(api: Api, name: str) -> None:
    api.decide(used(5, id="a", model=name, project=name))
    (row,), answer = table(api)
    assert (row["model"], row["project"]) == (name, name)
    for cell in next(csv.reader(io.StringIO(answer.text.splitlines()[1]))):
        assert not cell.startswith(("=", "+", "@"))
        assert not cell.startswith("-")


def test_figures_of_a_table_stay_as_they_are_negative_ones_too(api: Api) -> None:
    api.decide(used(5000, id="a"))
    api.set_clock(NOW.replace(minute=40))
    data = {"request_id": "a", "day": str(DAY)}
    time = moment.text(NOW.replace(minute=40))
    api.decide({**used(1, id="v"), "type": "usage.void", "time": time, "data": data})
    void = next(csv.DictReader(io.StringIO(table(api)[1].text)))
    assert (void["tokens_input"], void["list_amount_usd"]) == ("-5000", "-0.0125")


def test_every_figure_of_a_record_is_known_as_one(api: Api) -> None:
    """So that a figure that is added gets no apostrophe before its sign."""
    api.decide(used(5, id="a"), billed(1, id="b"))
    for each in api.get(REQUESTS).content["data"]:
        number = {name for name, value in each.items() if re.fullmatch(r"-?[0-9.]+", str(value))}
        assert number - {"request_id", "price_version"} <= listing.FIGURES


# --- what was refused ------------------------------------------------------------------------------------------------


def refuse(api: Api, request_id: str, *, organization: str = "org_a", code: str = "too_old") -> None:
    api.refuse({**used(1, id=request_id), "subject": organization}, code)


def test_an_organization_sees_what_was_wrong_with_its_refused_events_and_nobody_s_else(api: Api) -> None:
    for number in range(3):
        refuse(api, f"q{number}")
    refuse(api, "other", organization="org_b")
    answer = api.get("/v1/organization/quarantine").content
    assert [each["id"] for each in answer["data"]] == ["q0", "q1", "q2"]
    assert answer["data"][0] == {
        "object": "quarantined",
        "organization": "org_a",
        "id": "q0",
        "received_at": "2025-03-12T10:30:00Z",
        "error": {"code": "too_old", "message": "time: is long ago"},
        "decided": None,
    }
    assert api.get("/v1/organization/quarantine", day="2025-03-11").content["data"] == []


def test_refused_events_are_paged(api: Api) -> None:
    for number in range(5):
        refuse(api, f"q:{number}/x")
    found: list[str] = []
    following: dict[str, str] = {}
    while True:
        answer = api.get("/v1/organization/quarantine", limit=2, **following).content
        found += [each["id"] for each in answer["data"]]
        if not answer["has_more"]:
            break
        following = {"page": answer["next_page"]}
    assert found == [f"q:{number}/x" for number in range(5)]
    assert api.get("/v1/organization/quarantine", page="a b").refused() == (400, "invalid_value", "page")


@pytest.mark.parametrize("route", ["/v1/organization/quarantine", "/v1/quarantine"])
def test_refused_events_are_found_by_their_reason(api: Api, route: str) -> None:
    for number, code in enumerate(("too_old", "conflict", "too_old")):
        refuse(api, f"q{number}", code=code)
    asked: dict[str, str] = {"organization": "org_a"} if "organization" in route else {}
    pages, following = [], asked
    while following is not None:
        answer = api.get(route, api.platform, code="too_old", limit=1, **following).content
        pages.append([each["id"] for each in answer["data"]])
        following = asked | {"page": answer["next_page"]} if answer["has_more"] else None
    assert pages[:3] == [["q0"], [], ["q2"]]
    assert api.get(route, api.platform, code="nothing", **asked).content["data"] == []
    assert api.get(route, api.platform, code="a" * 65, **asked).refused() == (400, "invalid_value", "code")


def test_who_asks_for_a_refused_request_is_told_what_was_wrong(api: Api) -> None:
    refuse(api, "q")
    refuse(api, "qq", code="conflict")
    answer = api.get(f"{REQUESTS}/q")
    assert answer.refused() == (404, "refused", "id")
    assert "it was refused at 2025-03-12T10:30:00Z: too_old: time: is long ago" in answer.error["message"]
    assert "refused" not in api.get(f"{REQUESTS}/other").error["message"]


def test_the_platform_sees_what_is_in_quarantine_of_everybody(api: Api) -> None:
    for organization in ("org_b", "org_a"):
        for number in range(2):
            refuse(api, f"q{number}", organization=organization)
    api.refuse({"id": "nobody's"})
    found: list[str] = []
    following: dict[str, str] = {}
    while True:
        answer = api.get("/v1/quarantine", key=api.platform, limit=2, **following).content
        found += [f"{each['organization']} {each['id']}" for each in answer["data"]]
        if not answer["has_more"]:
            break
        following = {"page": answer["next_page"]}
    assert found == ["None nobody's", "org_a q0", "org_a q1", "org_b q0", "org_b q1"]
    assert api.get("/v1/quarantine").refused() == (403, "insufficient_permissions", None)
    assert api.get("/v1/quarantine", key=api.key("reader")).status == 403


def test_a_writer_that_dies_in_the_middle_and_runs_again_lists_each_decision_once(api: Api) -> None:
    api.decide(used(1, id="r"))
    (record,) = api.get(REQUESTS).content["data"]
    record = json.loads(json.dumps(record, default=str))
    records = [record | {"request_id": f"{number:02}", "decided_at": at(number)} for number in range(40)]
    written: list[Any] = []

    def die(**_: Any) -> None:
        written.append(None)
        if len(written) == 2:
            raise EndpointConnectionError(endpoint_url="https://dynamodb")

    api.on("before-call.BatchWriteItem", die)
    with pytest.raises(Busy):
        api.list_decided(records)
    begun = DayList(api.client, api.table).page("org_a", DAY, 100, lambda row: row.name != "r").rows
    assert 0 < len(begun) < 40
    api.list_decided(records[30:])
    api.list_decided(records)
    again = DayList(api.client, api.table).page("org_a", DAY, 100, lambda row: row.name != "r").rows
    assert [row.name for row in again] == [f"{number:02}" for number in reversed(range(40))]
