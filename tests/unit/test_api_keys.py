"""API keys: listed without being known, ended by time, and known by the day of their last use."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gratis.table.api_keys import Holder, Keys, Listed, _digest, _key_of
from tests.builders.account_api import ALLOWANCE, HOUR, NOW, Api

OWNER = Holder("owner", "org_a", "of Ann")


@pytest.fixture
def keys(api: Api) -> Keys:
    """No key yet."""
    return Keys(api.client, api.table)


def of_the_first_release(keys: Keys, key: str, holder: Holder) -> None:
    """Store a key as the first release did."""
    texts = {"role": holder.role, "organization": holder.organization, "name": holder.name}
    stored = {name: {"S": text} for name, text in texts.items() if text is not None}
    keys.client.put_item(TableName=keys.table, Item=_key_of(_digest(key)) | stored)


def test_a_key_is_listed_with_what_can_be_told_of_it(keys: Keys) -> None:
    key = keys.create(OWNER, NOW, NOW + HOUR)
    assert list(keys.listed()) == [
        Listed(_digest(key)[:16], OWNER, key[-4:], "2025-03-12T10:30:00Z", None, "2025-03-12T11:30:00Z")
    ]
    assert key not in str(keys.client.scan(TableName=keys.table)["Items"])


@pytest.mark.parametrize("beside", ["org_a", "org_ab", None])
def test_an_organizations_keys_are_listed_alone(keys: Keys, beside: str | None) -> None:
    keys.create(OWNER, NOW)
    keys.create(Holder("reader" if beside else "platform", beside, "another"), NOW)
    assert {each.holder.organization for each in keys.listed("org_a")} == {"org_a"}
    assert len(list(keys.listed())) == 2


def test_more_keys_than_one_read_takes_are_all_listed(keys: Keys) -> None:
    made = {keys.create(OWNER, NOW)[-4:] for _ in range(105)}
    found = list(keys.listed("org_a"))
    assert (len(found), {each.last_four for each in found}) == (105, made)


def test_a_key_ends_when_it_expires_and_stays_in_the_list(keys: Keys) -> None:
    key = keys.create(OWNER, NOW, NOW + HOUR)
    assert keys.find(key, NOW + HOUR - timedelta(milliseconds=1)) == OWNER
    assert keys.find(key, NOW + HOUR) is None
    assert [each.expires for each in keys.listed()] == ["2025-03-12T11:30:00Z"]


def test_an_expired_key_is_a_401(api: Api) -> None:
    key = Keys(api.client, api.table).create(OWNER, NOW, NOW + HOUR)
    assert api.get(ALLOWANCE, key).status == 200
    api.set_clock(NOW + HOUR)
    assert api.get(ALLOWANCE, key).refused() == (401, "invalid_api_key", None)


def test_the_day_of_its_last_use_is_noted_with_the_first_use_of_each_day(api: Api) -> None:
    keys = Keys(api.client, api.table)
    key = keys.create(OWNER, NOW)
    assert api.get(ALLOWANCE, key).status == 200
    assert api.asked.count("UpdateItem") == 1
    assert [each.last_used for each in keys.listed("org_a") if each.last_four == key[-4:]] == ["2025-03-12"]
    api.get(ALLOWANCE, key)
    assert api.asked.count("UpdateItem") == 0
    api.set_clock(NOW + 14 * HOUR)
    api.get(ALLOWANCE, key)
    assert [each.last_used for each in keys.listed("org_a") if each.last_four == key[-4:]] == ["2025-03-13"]


def test_a_use_that_cannot_be_noted_is_answered_all_the_same(api: Api) -> None:
    key = Keys(api.client, api.table).create(OWNER, NOW)

    def throttled(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "UpdateItem")

    api.on("before-call.UpdateItem", throttled)
    assert api.get(ALLOWANCE, key).status == 200


def test_a_key_of_the_first_release_is_taken_and_listed_once_it_is_used(keys: Keys) -> None:
    of_the_first_release(keys, "gk_old_key", OWNER)
    assert list(keys.listed()) == []
    assert keys.find("gk_old_key", NOW) == OWNER
    assert list(keys.listed()) == [Listed(_digest("gk_old_key")[:16], OWNER, "_key", None, "2025-03-12", None)]


@pytest.mark.parametrize("by_id", [True, False])
def test_a_key_that_is_taken_back_is_refused_and_listed_no_more(keys: Keys, by_id: bool) -> None:
    key, other = keys.create(OWNER, NOW), keys.create(Holder("platform", None, ""), NOW)
    assert (keys.revoke_listed(_digest(key)[:16]) if by_id else keys.revoke(key)) == OWNER
    assert keys.find(key, NOW) is None
    assert [each.last_four for each in keys.listed()] == [other[-4:]]
    left = [each["pk"]["S"] for each in keys.client.scan(TableName=keys.table)["Items"]]
    assert len([pk for pk in left if pk.startswith("KEY")]) == 2


def test_no_key_is_taken_back_by_an_id_that_is_not_in_the_list(keys: Keys) -> None:
    key = keys.create(OWNER, NOW)
    assert keys.revoke_listed(_digest(key)[:15]) is None
    assert keys.find(key, NOW) == OWNER


def test_a_use_at_the_moment_of_its_revocation_does_not_bring_a_key_back(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_first_release(keys, "gk_old_key", OWNER)
    real = keys.client.update_item

    def revoked_meanwhile(**request: Any) -> Any:
        keys.revoke("gk_old_key")
        return real(**request)

    monkeypatch.setattr(keys.client, "update_item", revoked_meanwhile)
    keys.find("gk_old_key", NOW)
    assert keys.find("gk_old_key", NOW) is None
    assert list(keys.listed()) == []


def test_a_listing_whose_key_is_gone_is_passed_over(keys: Keys) -> None:
    key, kept = keys.create(OWNER, NOW), keys.create(OWNER, NOW)
    keys.client.delete_item(TableName=keys.table, Key=_key_of(_digest(key)))
    assert [each.last_four for each in keys.listed()] == [kept[-4:]]


@pytest.mark.parametrize(("role", "status"), [("reader", 403), ("gateway", 403), ("owner", 200)])
def test_only_an_owner_changes_settings_and_every_key_reads(api: Api, role: Any, status: int) -> None:
    key = Keys(api.client, api.table).create(Holder(role, "org_a", role), NOW)
    assert api.get(ALLOWANCE, key).status == 200
    assert api.post({"traffic": {"mode": "disabled"}}, key).status == status


# --- over the API, to the platform -----------------------------------------------------------------------------------

KEYS = "/v1/keys"


def pages_of_keys(api: Api, **asked: Any) -> list[list[dict[str, Any]]]:
    """The pages of the list, until the last one."""
    pages: list[list[dict[str, Any]]] = []
    following: dict[str, str] = {}
    while True:
        answer = api.get(KEYS, api.platform, **asked, **following).content
        pages.append(answer["data"])
        assert answer["has_more"] == (answer["next_page"] is not None)
        if not answer["has_more"]:
            return pages
        following = {"page": answer["next_page"]}


def test_the_platform_lists_what_can_be_told_of_a_key(api: Api) -> None:
    keys = Keys(api.client, api.table)
    key = keys.create(OWNER, NOW, NOW + HOUR)
    answer = api.get(KEYS, api.platform, organization="org_a")
    assert answer.content["data"] == [
        {
            "object": "key",
            "id": _digest(key)[:16],
            "role": "owner",
            "organization": "org_a",
            "name": "of Ann",
            "last_four": key[-4:],
            "created_at": "2025-03-12T10:30:00Z",
            "last_used": None,
            "expires_at": "2025-03-12T11:30:00Z",
        }
    ]
    assert key not in answer.text
    assert _digest(key) not in answer.text


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_the_pages_of_keys_hold_each_once_in_the_order_of_organizations(api: Api, limit: int) -> None:
    keys, named = Keys(api.client, api.table), ("org_b", "org_a", "org_a", "org_ab", "-x", "0.z")
    made = [("", api.platform), *((each, keys.create(Holder("reader", each, ""), NOW)) for each in named)]
    pages = pages_of_keys(api, limit=limit)
    assert all(len(page) <= limit for page in pages)
    assert [each["id"] for page in pages for each in page] == [
        digest[:16] for _, digest in sorted((organization, _digest(key)) for organization, key in made)
    ]
    (of_one, *others) = pages_of_keys(api, limit=2, organization="org_a")
    assert {each["organization"] for page in (of_one, *others) for each in page} == {"org_a"}
    assert sum(map(len, (of_one, *others))) == 2


def test_what_a_page_of_keys_reads_is_bounded(api: Api) -> None:
    keys = Keys(api.client, api.table)
    for _ in range(30):
        keys.create(OWNER, NOW)
    assert len(api.get(KEYS, api.platform, limit=10).content["data"]) == 10
    assert (api.asked, api.items) == (["GetItem", "Query", "BatchGetItem"], 21)


def test_a_page_of_another_list_is_none(api: Api) -> None:
    for page in ("x", "org_a#", "org_a#" + "g" * 16, "#" + "0" * 17, "a#b#" + "0" * 16):
        assert api.get(KEYS, api.platform, page=page).refused() == (400, "invalid_value", "page")
    of_b = "org_b#" + "0" * 16
    assert api.get(KEYS, api.platform, page=of_b, organization="org_a").refused() == (400, "invalid_value", "page")


def test_the_platform_revokes_a_key_that_it_does_not_know(api: Api) -> None:
    key = api.key("reader")
    (listed,) = (each for each in pages_of_keys(api, organization="org_a")[0] if each["role"] == "reader")
    assert api.call("DELETE", f"{KEYS}/{listed['id']}", key=api.platform).status == 204
    assert api.get(ALLOWANCE, key).refused() == (401, "invalid_api_key", None)
    assert pages_of_keys(api, organization="org_a") == [[]]
    assert api.call("DELETE", f"{KEYS}/{listed['id']}", key=api.platform).refused() == (404, "not_found", "key_id")


def test_an_id_that_is_only_the_beginning_of_one_revokes_nothing(api: Api) -> None:
    key = api.key("reader")
    for given in (_digest(key)[:15], _digest(key), _digest(key)[:16].upper()):
        assert api.call("DELETE", f"{KEYS}/{given}", key=api.platform).status == 404
    assert api.get(ALLOWANCE, key).status == 200


@pytest.mark.parametrize("role", ["owner", "gateway", "reader"])
def test_only_the_platform_lists_and_revokes_keys(api: Api, role: str) -> None:
    key = api.key(role)
    assert api.get(KEYS, key).refused() == (403, "insufficient_permissions", None)
    assert api.call("DELETE", f"{KEYS}/{_digest(key)[:16]}", key=key).status == 403
    assert api.get(ALLOWANCE, key).status == 200
