"""Sharing settings and profiles through the API: append-only versions, and what late events are judged by."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from gratis import moment
from gratis.account import sharing
from gratis.account.sharing import MAX_HISTORY, MAX_LISTS_BYTES, SharingChange
from gratis.http import MAX_BODY_BYTES
from gratis.rules.account import Account
from gratis.table.api_keys import Holder, Keys
from tests.builders.account_api import ALLOWANCE, HOUR, NOW, ORGANIZATIONS, REQUESTS, SHARING, Api
from tests.builders.events import at, used
from tests.builders.organizations import account, settings

# --- sharing settings ------------------------------------------------------------------------------------------------

ON, OFF = {"mode": "enabled"}, {"mode": "disabled"}
NOTHING = {"mode": "disabled", "projects": None}
WHOLE = {"has_more": False, "next_page": None}
"""Of a history that is on one page."""


@pytest.fixture
def unset(api: Api) -> Api:
    """org_a has never made any settings."""
    api.store(account(sharing=[]))
    return api


def test_settings_that_were_never_made_are_all_off(api: Api) -> None:
    shown_to_new = api.get(SHARING, api.key("reader", "org_new")).content
    assert shown_to_new == {
        "object": "data_sharing",
        "organization": "org_new",
        "version": None,
        "traffic": NOTHING,
        "evals": NOTHING,
        "feedback": NOTHING,
        "history": [],
        **WHOLE,
    }


def test_a_change_is_a_new_version_with_its_moment_and_actor_and_the_old_ones_are_kept(unset: Api) -> None:
    selected = {"mode": "selected", "projects": ["proj_web"]}
    unset.post({"confirmed": True, "traffic": selected, "evals": ON})
    unset.set_clock(NOW + HOUR)
    answer = unset.post({"traffic": OFF})
    enabled = {"mode": "enabled", "projects": None}
    first = {"version": 1, "effective_at": "2025-03-12T10:30:00Z", "actor": "owner of org_a", "confirmed": True}
    first |= {"traffic": selected, "evals": enabled, "feedback": NOTHING}
    second = {"version": 2, "effective_at": "2025-03-12T11:30:00Z", "actor": "owner of org_a", "confirmed": False}
    second |= {"traffic": NOTHING, "evals": enabled, "feedback": NOTHING}
    current = {"version": 2, "traffic": NOTHING, "evals": enabled, "feedback": NOTHING}
    assert answer.status == 200
    assert answer.content == {
        "object": "data_sharing",
        "organization": "org_a",
        **current,
        "history": [second, first],
        **WHOLE,
    }
    assert unset.get(SHARING, unset.key("reader")).content == answer.content


def test_what_is_left_out_stays_as_it_is(unset: Api) -> None:
    selected = {"mode": "selected", "projects": ["proj_web", "proj_app"]}
    unset.post({"confirmed": True, "traffic": selected})
    unset.post({"confirmed": True, "feedback": ON})
    found = unset.post({"evals": OFF}).content
    assert (found["traffic"], found["feedback"]["mode"], found["version"]) == (selected, "enabled", 2)


@pytest.mark.parametrize("part", ["traffic", "evals", "feedback"])
@pytest.mark.parametrize("setting", [ON, {"mode": "selected", "projects": ["proj_web"]}])
@pytest.mark.parametrize("confirmed", [{}, {"confirmed": False}])
def test_opting_in_needs_the_confirmation(unset: Api, part: str, setting: Any, confirmed: Any) -> None:
    answer = unset.post({part: setting} | confirmed)
    assert answer.refused() == (400, "confirmation_required", "confirmed")
    assert unset.stored().sharing == ()
    assert unset.post({part: setting, "confirmed": True}).status == 200
    assert unset.stored().sharing[0].confirmed


def test_a_wider_selection_needs_the_confirmation_too(unset: Api) -> None:
    unset.post({"confirmed": True, "traffic": {"mode": "selected", "projects": ["proj_web"]}})
    wider = {"traffic": {"mode": "selected", "projects": ["proj_web", "proj_app"]}}
    assert unset.post(wider).refused() == (400, "confirmation_required", "confirmed")


def test_all_projects_in_place_of_some_need_the_confirmation_too(unset: Api) -> None:
    unset.post({"confirmed": True, "traffic": {"mode": "selected", "projects": ["proj_web"]}})
    assert unset.post({"traffic": ON}).refused() == (400, "confirmation_required", "confirmed")
    assert unset.stored().sharing[-1].traffic.mode == "selected"


def test_the_projects_of_another_mode_confirm_nothing(unset: Api) -> None:
    unset.post({"confirmed": True, "traffic": {"mode": "disabled", "projects": ["proj_web"]}})
    assert unset.post({"traffic": {"mode": "selected", "projects": ["proj_web"]}}).status == 400


EXCLUDED = {
    "zero_data_retention": {"zero_data_retention": True},
    "enterprise_excluded": {"plan": "enterprise_excluded"},
}
REFUSED = [
    *(("zero_data_retention", part) for part in ("traffic", "evals", "feedback")),
    ("enterprise_excluded", "traffic"),
]


@pytest.mark.parametrize(("code", "part"), REFUSED)
def test_an_excluded_organization_cannot_opt_in(api: Api, part: str, code: str) -> None:
    api.store(account(sharing=[], **EXCLUDED[code]))
    answer = api.post({"confirmed": True, part: ON})
    assert answer.refused() == (400, code, part)
    assert "cannot opt in to sharing" in answer.error["message"]
    assert api.stored().sharing == ()


@pytest.mark.parametrize(
    ("profile", "part"),
    [
        *(({"eligible": False}, part) for part in ("traffic", "evals", "feedback")),
        ({"plan": "enterprise_excluded"}, "evals"),
        ({"plan": "enterprise_excluded"}, "feedback"),
        ({"positive_balance": False}, "traffic"),
    ],
)
def test_who_gets_no_tokens_may_share_all_the_same(api: Api, profile: Any, part: str) -> None:
    api.store(account(sharing=[], **profile))
    assert api.post({"confirmed": True, part: ON}).content[part]["mode"] == "enabled"


@pytest.mark.parametrize("profile", EXCLUDED.values(), ids=EXCLUDED)
def test_an_excluded_organization_can_opt_out_without_confirming(api: Api, profile: Any) -> None:
    api.store(account(**profile))
    answer = api.post({"traffic": OFF})
    assert (answer.status, answer.content["traffic"], answer.content["evals"]["mode"]) == (200, NOTHING, "enabled")
    assert api.post({"traffic": OFF, "evals": OFF, "feedback": OFF}).content["evals"] == NOTHING


def test_an_excluded_organization_may_state_the_settings_it_has(api: Api) -> None:
    api.store(account(zero_data_retention=True))
    assert api.post({"traffic": ON, "evals": OFF}).status == 200


@pytest.mark.parametrize("projects", [[], ["proj_web"]])
def test_opting_out_is_possible_whatever_projects_are_listed(api: Api, projects: list[str]) -> None:
    assert api.post({"traffic": {"mode": "disabled", "projects": projects}}).status == 200


@pytest.mark.parametrize(
    "narrower", [{"mode": "selected", "projects": ["proj_web"]}, {"mode": "selected", "projects": []}]
)
def test_sharing_less_needs_no_confirmation(api: Api, narrower: Any) -> None:
    assert api.post({"traffic": narrower}).status == 200


def test_an_excluded_organization_may_share_less(api: Api) -> None:
    shared = account(sharing=[settings(traffic={"mode": "selected", "projects": ["proj_web", "proj_app"]})])
    api.store(shared.model_copy(update={"profile": account(zero_data_retention=True).profile}))
    answer = api.post({"confirmed": True, "traffic": {"mode": "selected", "projects": ["proj_web"]}})
    assert answer.status == 200


def test_the_same_settings_add_no_version(unset: Api) -> None:
    unset.post({"confirmed": True, "traffic": ON, "evals": ON})
    before = unset.stored()
    for body in ({"confirmed": True, "traffic": ON, "evals": ON}, {"traffic": ON}, {"confirmed": True}, {}):
        assert unset.post(body).content["version"] == 1
        assert unset.asked.count("PutItem") == 0
    assert unset.stored() == before


def test_an_empty_change_adds_no_version(unset: Api) -> None:
    assert unset.post({}).content["version"] is None


def test_switching_off_on_and_off_again_is_three_versions(api: Api) -> None:
    for body in ({"traffic": OFF}, {"confirmed": True, "traffic": ON}, {"traffic": OFF}):
        assert api.post(body).status == 200
    modes = [each["traffic"]["mode"] for each in api.get(SHARING).content["history"]]
    assert modes == ["disabled", "enabled", "disabled", "enabled"]


def meanwhile(api: Api, change: Callable[[Account], Account]) -> None:
    """Just before the next change is written, somebody else makes this one."""
    api.key()
    done: list[bool] = []

    def somebody(**_: Any) -> None:
        if not done:
            done.append(True)
            api.accounts.append("org_a", change, ["1m"])

    api.on("before-call.TransactWriteItems", somebody)


def bobs(**change: Any) -> Callable[[Account], Account]:
    asked = SharingChange.model_validate(change)
    return lambda account: sharing.changed(account, asked, "bob", NOW)


def ruled_out(before: Account) -> Account:
    later = account(zero_data_retention=True).profile[0].model_copy(update={"effective_at": NOW})
    return before.model_copy(update={"profile": (*before.profile, later)})


def test_of_two_owners_at_once_the_second_changes_what_the_first_left(api: Api) -> None:
    meanwhile(api, bobs(evals=OFF))
    found = api.post({"traffic": OFF}).content
    assert [each["actor"] for each in found["history"]] == ["owner of org_a", "bob", None]
    assert (found["version"], found["traffic"], found["evals"]) == (3, NOTHING, NOTHING)
    assert [each["evals"]["mode"] for each in found["history"]] == ["disabled", "disabled", "enabled"]


def test_two_owners_who_make_the_same_change_at_once_add_one_version(api: Api) -> None:
    meanwhile(api, bobs(traffic=OFF))
    assert [each["actor"] for each in api.post({"traffic": OFF}).content["history"]] == ["bob", None]


def test_two_first_owners_at_once_add_two_versions(unset: Api) -> None:
    meanwhile(unset, bobs(confirmed=True, feedback=ON))
    found = unset.post({"confirmed": True, "traffic": ON}).content
    assert [each["actor"] for each in found["history"]] == ["owner of org_a", "bob"]
    assert (found["traffic"]["mode"], found["feedback"]["mode"]) == ("enabled", "enabled")


def test_a_change_does_not_undo_a_profile_that_is_set_at_once(api: Api) -> None:
    meanwhile(api, ruled_out)
    assert api.post({"traffic": OFF}).status == 200
    assert (api.stored().profile[-1].zero_data_retention, len(api.stored().sharing)) == (True, 2)


def test_opting_in_is_judged_by_the_profile_it_is_stored_with(unset: Api) -> None:
    meanwhile(unset, ruled_out)
    answer = unset.post({"confirmed": True, "traffic": ON})
    assert answer.refused() == (400, "zero_data_retention", "traffic")
    assert unset.stored().sharing == ()


def test_who_is_never_fast_enough_gets_a_503_and_changes_nothing(api: Api) -> None:
    writing: list[bool] = []

    def somebody(**_: Any) -> None:
        if not writing:
            writing.append(True)
            stored = api.accounts.read("org_a")
            api.accounts._replace(stored, stored.item | {"version": {"N": str(stored.version + 1)}}, [])
            writing.clear()

    before = api.stored()
    api.key()
    api.on("before-call.TransactWriteItems", somebody)
    assert api.post({"traffic": OFF}).refused() == (503, "try_again", None)
    assert api.stored() == before


def test_a_new_version_never_lies_before_the_last_one(api: Api) -> None:
    """Two servers' clocks differ: versions stay in order, so that the later one is in force."""
    api.post({"traffic": OFF})
    api.set_clock(NOW - HOUR)
    found = api.post({"confirmed": True, "traffic": ON}).content["history"][0]
    assert (found["version"], found["effective_at"]) == (3, "2025-03-12T10:30:00Z")


BAD_BODIES = {
    "an array": "[]",
    "an object in an array": [{"traffic": OFF}],
    "null": "null",
    "a number": "1",
    "an unknown field": {"trafic": OFF},
    "an unknown mode": {"traffic": {"mode": "on"}},
    "selected without projects": {"confirmed": True, "traffic": {"mode": "selected"}},
    "a project that cannot be": {"confirmed": True, "traffic": {"mode": "selected", "projects": ["a\n"]}},
    "projects that are no list": {"confirmed": True, "traffic": {"mode": "selected", "projects": "proj_web"}},
    "a mode alone": {"traffic": "disabled"},
    "a confirmation in words": {"confirmed": "true", "traffic": ON},
    "a confirmation by number": {"confirmed": 1, "traffic": ON},
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_makes_no_sense_is_400_and_changes_nothing(api: Api, body: Any) -> None:
    before = api.stored()
    answer = api.post(body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert api.stored() == before


@pytest.mark.parametrize("name", ["@decimal:1", '{"": "1"}', "1.5", '"', '{"'])
def test_an_actor_whose_name_looks_like_a_number_is_shown_as_the_text_that_it_is(api: Api, name: str) -> None:
    key = Keys(api.client, api.table).create(Holder("owner", "org_a", name), NOW)
    assert api.post({"traffic": OFF}, key).content["history"][0]["actor"] == name


def test_the_field_that_is_wrong_is_named(api: Api) -> None:
    assert api.post({"traffic": {"mode": "on"}}).error["param"] == "traffic.mode"
    assert api.post({"trafic": OFF}).error["param"] == "trafic"


def test_a_body_in_base64_is_read(api: Api) -> None:
    encoded = base64.b64encode(json.dumps({"traffic": OFF}).encode()).decode()
    assert api.post(encoded, isBase64Encoded=True).content["traffic"] == NOTHING


UNREADABLE = {
    "nothing": "",
    "half an object": "{",
    "no number": '{"confirmed": NaN}',
    "half a character": '{"traffic": {"mode": "\\ud800"}}',
    "endless nesting": "[" * 100_000,
    "a number of 5,000 digits": f'{{"confirmed": {"1" * 5000}}}',
    "no UTF-8": base64.b64encode(b'{"confirmed": "\xff"}').decode(),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_cannot_be_read_is_400(api: Api, body: str) -> None:
    answer = api.post(body, isBase64Encoded=not body.startswith(("[", "{")))
    assert answer.refused() == (400, "invalid_json", "body")


@pytest.mark.parametrize(
    ("kind", "body"), [("text/plain", '{"traffic": {"mode": "disabled"}}'), ("multipart/form-data; boundary=x", "eA==")]
)
def test_another_content_type_is_a_415_in_the_envelope(api: Api, kind: str, body: str) -> None:
    headers = {"authorization": f"Bearer {api.key()}", "content-type": kind}
    answer = api.post(body, headers=headers, isBase64Encoded=body == "eA==")
    assert answer.refused() == (415, "unsupported_media_type", None)


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json; charset=utf-8", "application/json"])
def test_json_may_be_announced_in_any_letters_and_with_a_charset(api: Api, kind: str) -> None:
    headers = {"authorization": f"Bearer {api.key()}", "content-type": kind}
    assert api.post({"traffic": OFF}, headers=headers).status == 200


def test_a_body_over_4_megabytes_is_413(api: Api) -> None:
    assert api.post(json.dumps({"traffic": OFF}) + " " * MAX_BODY_BYTES).refused() == (413, "body_too_large", None)


def projects(number: int) -> dict[str, Any]:
    """A selection of so many projects, with names as long as they may be."""
    return {"mode": "selected", "projects": [f"proj_{place:059}" for place in range(number)]}


# --- accounts without an end ------------------------------------------------------------------------------------------


def test_four_hundred_projects_are_replaced_and_narrowed_sixty_times_and_nothing_is_ever_refused(unset: Api) -> None:
    def named(number: int) -> list[str]:
        return [f"{number:03}-{each:060}" for each in range(400)]

    for number in range(60):
        body = {"confirmed": True, "traffic": {"mode": "selected", "projects": named(number)}}
        assert unset.post(body).status == 200
    for number in range(60):
        body = {"traffic": {"mode": "selected", "projects": named(59)[number + 1 :]}}
        assert unset.post(body).status == 200
    assert unset.post({"traffic": OFF}).status == 200
    assert unset.post({"confirmed": True, "traffic": ON}).status == 200
    for tier in range(60):
        assert unset.put("org_a", tier=tier, zero_data_retention=tier % 2 == 0).status == 200
    stored = unset.stored()
    assert [len(each.traffic.projects or ()) for each in stored.sharing] == [400] * 60 + [*range(399, 339, -1), 0, 0]
    assert [each.tier for each in stored.profile] == [4, *range(60)]


def test_a_very_wide_selection_is_taken_whole_and_decided_by(unset: Api) -> None:
    wide = [f"{number:016}-{'ü' * 47}" for number in range(9_000)]
    assert unset.post({"confirmed": True, "traffic": {"mode": "selected", "projects": wide}}).status == 200
    shown = unset.get(SHARING).content
    assert shown["traffic"]["projects"] == wide
    assert shown["history"][0]["traffic"] == {"mode": "selected", "projects": None, "project_count": 9_000}
    usual = unset.accounts.read("org_a").at(NOW)
    assert usual.settings is not None
    assert [usual.settings[1].traffic.covers(each) for each in (wide[0], wide[-1], "another")] == [True, True, False]


def test_a_wider_selection_than_an_answer_can_show_is_refused_by_name_and_size(unset: Api) -> None:
    wide = {"mode": "selected", "projects": [f"{number:064}" for number in range(30_000)]}
    assert unset.post({"confirmed": True, "traffic": wide}).status == 200
    answer = unset.post({"confirmed": True, "evals": wide})
    assert answer.refused() == (413, "too_many_projects", "evals")
    assert f"60000 projects are selected, 4080002 bytes; at most {MAX_LISTS_BYTES} bytes" in answer.error["message"]
    assert unset.post({"traffic": {"mode": "selected", "projects": wide["projects"][:29_999]}}).status == 200


@pytest.mark.parametrize("mode", ["disabled", "enabled"])
def test_only_a_selection_keeps_a_list_of_projects(unset: Api, mode: str) -> None:
    listed = {"mode": mode, "projects": ["a" * 64] * 400}
    for _ in range(2):
        assert unset.post({"confirmed": True, "traffic": listed}).content["traffic"] == {"mode": mode, "projects": None}
    assert len(unset.stored().sharing) == (1 if mode == "enabled" else 0)


def test_a_long_history_is_read_page_by_page_and_each_version_as_it_was(unset: Api) -> None:
    for number in range(MAX_HISTORY + 30):
        unset.set_clock(NOW + number * HOUR)
        projects = [f"{number:03}-{each:060}" for each in range(70)]
        unset.post({"confirmed": True, "traffic": {"mode": "selected", "projects": projects}})
    first = unset.get(SHARING).content
    second = unset.get(SHARING, page=first["next_page"]).content
    assert [first["has_more"], second["has_more"], second["next_page"]] == [True, False, None]
    numbers = [each["version"] for each in [*first["history"], *second["history"]]]
    assert numbers == list(range(MAX_HISTORY + 30, 0, -1))
    then = unset.get(SHARING, as_of=moment.text(NOW + 3 * HOUR + HOUR / 2)).content
    assert (then["version"], then["traffic"]["projects"][0]) == (4, f"003-{0:060}")


@pytest.mark.parametrize(
    "page", ["", "x", "1", "0-2025-03-11T00:00:00Z", "1-2025-03-11", "1-0001-01-01T00:00:00+23:00"]
)
def test_a_page_that_is_none_is_400(api: Api, page: str) -> None:
    assert api.get(SHARING, page=page).refused() == (400, "invalid_value", "page")


def test_what_the_last_release_stored_is_read_and_taken_apart_with_the_next_change(unset: Api) -> None:
    history = Account.model_validate(
        {
            "id": "org_a",
            "profile": [{"effective_at": "2025-01-01T00:00:00Z", "tier": 4}],
            "sharing": [
                settings(moment.text(NOW - (50 - number) * HOUR), traffic=projects(400 + number))
                for number in range(12)
            ],
        }
    )
    text = history.model_dump_json(exclude_defaults=True)
    key = {"pk": {"S": "ORG#org_a"}, "sk": {"S": "ACCOUNT"}}
    item = key | {"version": {"N": "12"}, "format": {"N": "2"}, "account": {"S": text}, "later": {"S": "kept"}}
    unset.client.put_item(TableName=unset.table, Item=item)
    assert unset.stored() == history
    assert unset.post({"traffic": OFF}).status == 200
    changed = unset.stored()
    assert (changed.profile, changed.sharing[:-1]) == (history.profile, history.sharing)
    stored = unset.client.get_item(TableName=unset.table, Key=key)["Item"]
    assert ("account" in stored, stored["later"], stored["version"]) == (False, {"S": "kept"}, {"N": "13"})
    late = unset.accounts.read("org_a").at(NOW - 45 * HOUR)
    assert late.settings is not None
    assert (late.settings[0], len(late.settings[1].traffic.projects or ())) == (6, 405)


def test_a_short_history_stays_in_the_form_that_the_last_release_reads(api: Api) -> None:
    api.post({"traffic": OFF})
    item = api.accounts.read("org_a").item
    assert Account.model_validate_json(item["account"]["S"]) == api.stored()
    assert {"recent", "moved"} & item.keys() == set()


def test_a_change_that_names_another_organization_changes_none(api: Api) -> None:
    before = api.stored()
    answer = api.call("POST", SHARING, "organization=org_b", body=json.dumps({"traffic": OFF}))
    assert (answer.status in (400, 404), api.stored()) == (True, before)


# --- profiles --------------------------------------------------------------------------------------------------------


def test_a_profile_is_set_and_shown_with_its_history(api: Api) -> None:
    api.put("org_new", tier=2)
    api.set_clock(NOW + HOUR)
    ruled_out = {"zero_data_retention": True, "eligible": False, "positive_balance": False}
    answer = api.put("org_new", tier=4, plan="enterprise_excluded", **ruled_out)
    first = {"version": 1, "effective_at": "2025-03-12T10:30:00Z", "tier": 2, "plan": "standard"}
    first |= {"zero_data_retention": False, "eligible": True, "positive_balance": True, "actor": "platform of None"}
    second = {"version": 2, "effective_at": "2025-03-12T11:30:00Z", "tier": 4, "plan": "enterprise_excluded"}
    second |= ruled_out | {"actor": "platform of None"}
    expected = {"object": "organization", "id": "org_new", **second, "history": [second, first], **WHOLE}
    assert (answer.status, answer.content) == (200, expected)
    assert api.get(f"{ORGANIZATIONS}/org_new", api.platform).content == expected


def test_the_same_profile_again_changes_nothing(api: Api) -> None:
    first = api.put("org_new", tier=3)
    api.set_clock(NOW + HOUR)
    assert (again := api.put("org_new", tier=3)).content == first.content
    assert "PutItem" not in api.asked
    assert again.status == 200


def test_an_organizations_first_profile_may_be_back_dated(api: Api) -> None:
    found = api.put("org_new", tier=3, effective_at="2025-01-01T00:00:00+01:00").content
    assert moment.parse(found["effective_at"]) == datetime(2024, 12, 31, 23, tzinfo=UTC)


def test_a_later_profile_is_not_back_dated(api: Api) -> None:
    api.put("org_new", tier=3, effective_at="2025-01-01T00:00:00Z")
    answer = api.put("org_new", tier=5, effective_at="2025-02-01T00:00:00Z")
    assert answer.refused() == (400, "invalid_value", "effective_at")
    assert [each["tier"] for each in api.get(f"{ORGANIZATIONS}/org_new", api.platform).content["history"]] == [3]


@pytest.mark.parametrize("when", ["2025-03-12T10:30:00.000001Z", "2099-01-01T00:00:00Z"])
def test_no_profile_lies_in_the_future(api: Api, when: str) -> None:
    assert api.put("org_new", tier=3, effective_at=when).refused() == (400, "invalid_value", "effective_at")


def test_a_back_dated_first_profile_may_be_put_again(api: Api) -> None:
    first = api.put("org_new", tier=3, effective_at="2025-01-01T00:00:00Z")
    again = api.put("org_new", tier=3, effective_at="2025-01-01T00:00:00Z")
    assert (again.status, again.content) == (200, first.content)


BAD_PROFILES: list[tuple[dict[str, Any], str]] = [
    ({}, "tier"),
    ({"tier": "4"}, "tier"),
    ({"tier": True}, "tier"),
    ({"tier": None}, "tier"),
    ({"tier": 4.5}, "tier"),
    ({"tier": -1}, "tier"),
    ({"tier": 101}, "tier"),
    ({"tier": 4, "plan": "enterprise"}, "plan"),
    ({"tier": 4, "eligible": "yes"}, "eligible"),
    ({"tier": 4, "positive_balance": 0}, "positive_balance"),
    ({"tier": 4, "zero_data_retention": 1}, "zero_data_retention"),
    ({"tier": 4, "effective_at": "2025-01-01T00:00:00"}, "effective_at"),
    ({"tier": 4, "effective_at": "yesterday"}, "effective_at"),
    ({"tier": 4, "zdr": True}, "zdr"),
]


@pytest.mark.parametrize(("profile", "param"), BAD_PROFILES)
def test_a_profile_that_makes_no_sense_is_400_and_not_stored(api: Api, profile: Any, param: str) -> None:
    assert api.put("org_new", **profile).refused() == (400, "invalid_value", param)
    assert api.get(f"{ORGANIZATIONS}/org_new", api.platform).refused() == (404, "not_found", "organization")


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a#b", "a:b"])
def test_an_organization_that_cannot_be_is_400(api: Api, name: str) -> None:
    assert api.put(quote(name), tier=4).refused() == (400, "invalid_value", "organization")


def test_profile_and_settings_of_an_organization_do_not_disturb_each_other(api: Api) -> None:
    api.put("org_a", tier=5)
    api.post({"traffic": OFF})
    api.put("org_a", tier=1)
    found = api.stored()
    assert ([each.tier for each in found.profile], len(found.sharing)) == ([4, 5, 1], 2)


def test_an_organization_may_choose_its_settings_before_it_has_a_profile(api: Api) -> None:
    assert api.post({"confirmed": True, "traffic": ON}, api.key("owner", "org_new")).status == 200
    assert api.get(f"{ORGANIZATIONS}/org_new", api.platform).status == 404
    assert api.put("org_new", tier=4).content["version"] == 1
    assert api.get(ALLOWANCE, api.key("owner", "org_new")).content["status"] == "enrolled"


# --- late events -----------------------------------------------------------------------------------------------------


def late(clock: str) -> dict[str, Any]:
    """A request of that time of today, which arrives late."""
    return used(id=f"late-{clock}", at=f"2025-03-12T{clock}Z")


def test_a_late_event_is_judged_by_the_settings_in_force_when_it_happened(unset: Api) -> None:
    changes = [("11:00:00", {"confirmed": True, "traffic": ON}), ("12:00:00", {"traffic": OFF})]
    for clock, body in changes:
        unset.set_clock(at(f"2025-03-12T{clock}"))
        assert unset.post(body).status == 200
    unset.set_clock(NOW + 3 * HOUR)
    events = [late(clock) for clock in ("10:59:59.999999", "11:00:00", "11:59:59.999999", "12:00:00")]
    unset.decide(*reversed(events))
    assert unset.verdicts(*events) == [
        "billed sharing_disabled",
        "free within_quota",
        "free within_quota",
        "billed sharing_disabled",
    ]
    versions = [unset.get(f"{REQUESTS}/{event['id']}").content["settings_version"] for event in events]
    assert versions == [None, 1, 1, 2]


def test_a_late_event_is_judged_by_the_profile_in_force_when_it_happened(api: Api) -> None:
    api.set_clock(at("2025-03-12T11:00"))
    api.put("org_a", tier=4, zero_data_retention=True)
    api.set_clock(NOW + 3 * HOUR)
    events = [late("10:59:59.999999"), late("11:00:00")]
    api.decide(*reversed(events))
    assert api.verdicts(*events) == ["free within_quota", "billed zero_data_retention"]


def test_a_back_dated_first_profile_holds_for_requests_that_happened_organization(api: Api) -> None:
    key = api.key("owner", "org_new")
    api.put("org_new", tier=4, effective_at="2025-03-01T00:00:00Z")
    api.post({"confirmed": True, "traffic": ON}, key)
    early = used(id="early", organization="org_new", at="2025-03-12T10:29:59Z")
    late = used(id="late", organization="org_new", at="2025-03-12T10:30:00Z")
    api.decide(early, late)
    found = [api.get(f"{REQUESTS}/{name}", key).content for name in ("early", "late")]
    assert [(each["tier"], each["reason"]) for each in found] == [(4, "sharing_disabled"), (4, "within_quota")]


def test_a_decision_stays_as_it_was_when_settings_and_profile_change(api: Api) -> None:
    api.decide(used(id="a"))
    before = api.get(f"{REQUESTS}/a").text
    api.post({"traffic": OFF})
    api.put("org_a", tier=1)
    assert api.get(f"{REQUESTS}/a").text == before
