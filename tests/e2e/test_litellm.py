"""LiteLLM's generic API callback, as LiteLLM 1.106 sends it: to one route, in three formats."""

import copy
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from gratis import moment
from gratis.rules.receipt import Decision
from tests.builders.ledger import prove
from tests.e2e.system import System, eventually

CAPTURED = json.loads((Path(__file__).parent / "litellm_entries.json").read_text())
"""Four log entries of the SDK (the third a failed call) and one of the proxy, without prompts, answers and whatever
else does not concern us."""
SDK, PROXY = CAPTURED[:4], CAPTURED[4]


def as_now(entries: list[Any], organization: str | None) -> list[Any]:
    """The entries as if the calls had been made just now, each under an id of its own."""
    made = copy.deepcopy(entries)
    for number, entry in enumerate(made):
        entry["startTime"] = time.time() - 60 + number / 7
        entry["id"] = f"chatcmpl-{uuid.uuid4()}"
        entry["metadata"]["user_api_key_org_id"] = organization
    return made


FORMATS = {
    "json array": json.dumps,
    "ndjson": lambda entries: "\n".join(map(json.dumps, entries)),
}


@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_batch_is_decided_but_for_the_calls_that_failed(system: System, organization: str, written: Any) -> None:
    entries = as_now(SDK, organization)
    answer = system.callback(written(entries))
    assert (answer.status, answer.json()) == (202, {"accepted": 3, "skipped": {"no_usage": 1}, "quarantined": []})

    found = system.through(organization)
    decisions = [by_call(found.decisions)[entry["id"]] for entry in entries if entry["status"] == "success"]
    assert [(each.model, each.endpoint, each.input, each.output, each.group, each.verdict) for each in decisions] == [
        ("gpt-4o-2024-08-06", "chat.completions", 10, 20, "1m", "free"),
        ("gpt-4.1-mini-2025-04-14", "chat.completions", 8, 4, "10m", "free"),
        ("gpt-4.1-2025-04-14", "responses", 36, 87, "1m", "free"),
    ]
    started = [entry["startTime"] for entry in entries if entry["status"] == "success"]
    assert [moment.parse(each.occurred_at).timestamp() for each in decisions] == pytest.approx(started, abs=1e-6)
    assert len(found.decisions) == 3
    assert found.quarantine == []
    prove(found)
    system.emitted_once(organization, found.decisions.values())


def test_a_single_entry_of_the_proxy_is_decided_with_its_project_tier_and_cached_tokens(
    system: System, organization: str
) -> None:
    (entry,) = as_now([PROXY], organization)
    answer = system.callback(json.dumps(entry))
    assert (answer.status, answer.json()) == (202, {"accepted": 1, "skipped": {}, "quarantined": []})
    decision = by_call(system.through(organization).decisions)[entry["id"]]
    assert (decision.project, decision.model) == ("proj_web", "gpt-4o-mini-2024-07-18")
    assert (decision.input, decision.cached, decision.output) == (1200, 1024, 300)
    assert (decision.service_tier, decision.batch, decision.hosted_tool) == ("default", False, None)
    assert (decision.list_amount_usd, decision.amount_usd) == ("0.0002832", "0")


def test_a_whole_batch_that_is_sent_again_in_any_format_is_decided_once(system: System, organization: str) -> None:
    entries = as_now([*SDK, PROXY], organization)
    bodies = [json.dumps(entries), json.dumps(entries), FORMATS["ndjson"](entries), *map(json.dumps, entries)]
    answers = [system.callback(body) for body in bodies]
    assert [answer.status for answer in answers] == [202] * len(bodies)
    assert [answer.json()["accepted"] for answer in answers] == [4, 4, 4, 1, 1, 0, 1, 1]

    found = system.through(organization)
    assert by_call(found.decisions).keys() == {each["id"] for each in entries if each["status"] == "success"}
    assert found.quarantine == []
    prove(found)
    system.emitted_once(organization, found.decisions.values())


def test_cache_hits_and_failures_are_counted_in_neither(system: System, organization: str) -> None:
    hit, failed, real = as_now([SDK[0], SDK[2], SDK[3]], organization)
    hit["cache_hit"] = True
    assert system.callback(json.dumps([hit, failed])).json() == {
        "accepted": 0,
        "skipped": {"cache_hit": 1, "no_usage": 1},
        "quarantined": [],
    }
    assert system.callback(json.dumps([hit, real, failed])).json() == {
        "accepted": 1,
        "skipped": {"cache_hit": 1, "no_usage": 1},
        "quarantined": [],
    }
    found = system.through(organization)
    assert by_call(found.decisions).keys() == {real["id"]}
    assert found.quarantine == []


def test_an_entry_without_organization_is_quarantined_in_words_that_litellm_users_know(
    system: System, organization: str
) -> None:
    nobodys, ours = as_now([SDK[0]], None)[0], as_now([SDK[3]], organization)[0]
    answer = system.callback(json.dumps([nobodys, ours])).json()
    assert answer["accepted"] == 1
    (refused,) = answer["quarantined"]
    assert (refused["index"], refused["id"]) == (0, nobodys["id"])
    assert refused["error"]["code"] == "no_organization"
    assert "metadata.user_api_key_org_id" in refused["error"]["message"]

    assert by_call(system.through(organization).decisions).keys() == {ours["id"]}
    (entry,) = [each for each in system.quarantined(None) if each.id == nobodys["id"]]
    assert entry.error() == refused["error"]
    told = eventually(
        lambda: [each for each in system.bus.of("EventQuarantined", None) if each["request_id"] == entry.id],
        "EventQuarantined",
    )
    assert [each["code"] for each in told] == ["no_organization"]


def test_the_answers_and_prompts_of_an_entry_are_kept_nowhere(system: System, organization: str) -> None:
    """Neither of a call that is decided nor of one that is refused."""
    good, refused = as_now([SDK[0], SDK[3]], organization)
    refused["metadata"]["usage_object"]["total_tokens"] = 1
    for entry in (good, refused):
        entry["messages"] = [{"role": "user", "content": "a secret prompt"}]
        entry["response"]["choices"] = [{"message": {"content": "a secret answer"}}]
        entry["model_parameters"]["tools"] = [{"type": "function", "function": {"name": "a_secret_function"}}]
    assert system.callback(json.dumps([good, refused])).json()["accepted"] == 1
    found = system.through(organization)
    (entry,) = found.quarantine
    kept = f"{entry} {found.decisions} {system.bus.events}"
    assert [secret for secret in ("secret", "a_secret_function") if secret in kept] == []


def test_a_wrong_bearer_secret_is_refused(system: System, organization: str) -> None:
    body = json.dumps(as_now([PROXY], organization))
    for answer in (
        system.callback(body, secret=system.up.webhook_secret),
        system.post("usage-events/litellm", body, {"content-type": "application/json"}),
        system.post("usage-events/litellm", body, system.signed(body)),
    ):
        assert answer.status == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert system.through(organization).decisions == {}


def test_a_body_that_is_no_json_is_answered_400(system: System) -> None:
    answer = system.callback("litellm_call_id=1")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_json")


def by_call(decisions: dict[Any, Decision]) -> dict[str, Decision]:
    return {key.request_id: decision for key, decision in decisions.items()}
