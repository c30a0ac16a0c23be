"""LiteLLM's log entries, kind by kind: the cases from public bug reports, and the neighbours of each."""

import hashlib
import json
from typing import Any

import pytest

from gratis.http import Refused
from gratis.intake.litellm import MAX_ENTRIES, MAX_KEPT_TEXT, entries, kept, skipped, usage_event
from gratis_local.functions import ROOT

CASES = ROOT / "tests/cases"
STARTED = 1741683600.25
PRIVATE = "what-the-user-wrote"


def usage(before: int = 2000, after: int = 500, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": before, "completion_tokens": after, "total_tokens": before + after, **more}


def entry(*, metadata: Any = None, usage_object: Any = None, **fields: Any) -> dict[str, Any]:
    """A log entry of a completion of 2,500 tokens. `fields` replace its own."""
    made = {
        "id": "chatcmpl-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "status": "success",
        "cache_hit": None,
        "custom_llm_provider": "openai",
        "startTime": STARTED,
        "model": "gpt-4o-2024-08-06",
        **usage(),
        "metadata": {"user_api_key_org_id": "org_demo", "usage_object": usage_object or usage(), **(metadata or {})},
        "response": {},
        "model_parameters": {},
    }
    return made | fields


def unused(**fields: Any) -> dict[str, Any]:
    """A log entry without usage."""
    return entry(**(usage(0, 0) | {"metadata": {"usage_object": {}}} | fields))


def case(name: str) -> dict[str, dict[str, Any]]:
    """The entries of a case by their call ids."""
    return {each["litellm_call_id"]: each for each in json.loads((CASES / name).read_bytes())}


def data(logged: Any) -> Any:
    return usage_event(logged)["data"]


# --- whose call it was ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "model"),
    [
        ("l1-openai", "gpt-4o-2024-08-06"),
        ("l1-azure", "azure/gpt-4o-2024-08-06"),
        ("l1-openrouter", "openrouter/openai/gpt-4o-2024-08-06"),
        ("l1-github", "github/gpt-4o-2024-08-06"),
        ("l1-azure-prefix", "azure/gpt-4o-2024-08-06"),
        ("l1-azure-responses", "azure/gpt-4o-2024-08-06"),
    ],
)
def test_only_the_platforms_own_traffic_has_a_model_without_a_provider(call: str, model: str) -> None:
    assert data(case("other-provider.json")[call])["model"] == model


@pytest.mark.parametrize(
    ("call", "model"),
    [
        ("l2-bridge", "gpt-4o-2024-08-06"),
        ("l2-plain", "gpt-4o-2024-08-06"),
        ("l2-textcomp", "gpt-3.5-turbo-instruct"),
        ("l2-proxychain", "litellm_proxy/gpt-4o-2024-08-06"),
        ("l2-doubled", "gpt-4o-2024-08-06"),
        ("l2-custom", "custom_openai/gpt-4o-2024-08-06"),
        ("l2-ft", "ft:gpt-4o-2024-08-06:acme::abc1"),
    ],
)
def test_what_litellm_writes_before_a_name_of_the_platform_is_no_part_of_it(call: str, model: str) -> None:
    assert data(case("responses-prefix.json")[call])["model"] == model


@pytest.mark.parametrize(
    ("provider", "stated", "model"),
    [
        (None, "gpt-4o", "gpt-4o"),
        ("", "openai/gpt-4o", "gpt-4o"),
        (None, "text-completion-openai/gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct"),
        (None, "azure/gpt-4o", "azure/gpt-4o"),
        (None, "openrouter/openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("OpenAI", "gpt-4o", "gpt-4o"),
        ("openai", "responses/gpt-4o", "gpt-4o"),
        ("openai", "azure/gpt-4o", "azure/gpt-4o"),
        ("hosted_vllm", "gpt-4o", "hosted_vllm/gpt-4o"),
        ("openai_like", "gpt-4o", "openai_like/gpt-4o"),
        ("litellm_proxy", "openai/gpt-4o", "litellm_proxy/openai/gpt-4o"),
        ("azure_ai", "azure/gpt-4o", "azure_ai/azure/gpt-4o"),
        ("azure", "azured", "azure/azured"),
    ],
)
def test_the_provider_decides_and_where_there_is_none_the_prefix(provider: Any, stated: str, model: str) -> None:
    assert data(entry(custom_llm_provider=provider, model=stated))["model"] == model


@pytest.mark.parametrize(
    ("stated", "served", "model"),
    [
        ("", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        (None, "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("None", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("None/None", "openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("openai/None", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("openai/gpt-4o", "openai/gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-0125"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-2024-08-06"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4o"),
        ("gpt-4o", "gpt-4o-2024-11-20-eu", "gpt-4o"),
        ("gpt-4o", "fast", "gpt-4o"),
        ("gpt-4o", "github/gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o", None, "gpt-4o"),
        ("gpt-4o", 7, "gpt-4o"),
        ("", None, ""),
    ],
)
def test_the_answers_model_decides_only_where_the_entry_names_none_or_an_undated_one(
    stated: Any, served: Any, model: str
) -> None:
    assert data(entry(model=stated, response={"model": served}))["model"] == model


def test_an_unnamed_model_of_another_provider_has_its_prefix_too() -> None:
    assert data(entry(custom_llm_provider="azure", model="", response={"model": "gpt-4o"}))["model"] == "azure/gpt-4o"


@pytest.mark.parametrize("call", sorted(set(case("names.json")) - {"l8-model-empty"}))
def test_names_are_handed_on_as_the_gateway_sends_them(call: str) -> None:
    logged = case("names.json")[call]
    assert skipped(logged) is None
    event = usage_event(logged)
    assert event["subject"] == logged["metadata"]["user_api_key_org_id"]
    assert event["data"]["project"] == logged["metadata"].get("user_api_key_team_id")
    assert event["data"]["model"] == logged["model"].removeprefix("openai/")


# --- what is skipped -----------------------------------------------------------------------------------------------


def test_a_failure_that_used_tokens_is_decided_and_one_that_used_none_is_skipped() -> None:
    reasons = {call: skipped(each) for call, each in case("failure-with-usage.json").items()}
    assert reasons == {"l5-stream-broke": None, "l5-resp-failed": None, "l5-nothing": "no_usage"}


NO_USAGE = [
    *("acompletion", "aembedding", "amoderation", "aspeech", "atranscription", "aimage_generation", "arerank"),
    *("acreate_batch", "alist_batches", "afile_content", "afile_retrieve", "afile_delete", "afile_list"),
    *("acreate_file", "acreate_fine_tuning_job", "alist_fine_tuning_jobs", "acancel_fine_tuning_job"),
    *("adelete_responses", "alist_input_items", "acreate_thread", "a_add_message", "aget_messages", "arun_thread"),
    *("vector_store_create", "avector_store_search", "asearch", "call_mcp_tool", "list_mcp_tools", "_arealtime"),
    *("pass_through_endpoint", "allm_passthrough_route", "acreate_container", "avideo_generation", "", "unheard_of"),
]


@pytest.mark.parametrize("status", ["success", "failure"])
@pytest.mark.parametrize("call_type", NO_USAGE)
def test_a_call_of_any_kind_that_used_nothing_is_skipped(call_type: str, status: str) -> None:
    assert skipped(unused(call_type=call_type, status=status, model="")) == "no_usage"


@pytest.mark.parametrize("metadata", [None, "none", [], {}, {"usage_object": None}, {"usage_object": usage(0, 0)}])
@pytest.mark.parametrize("count", [None, 0])
def test_missing_null_and_zero_counts_are_no_usage(metadata: Any, count: Any) -> None:
    counts = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), count)
    assert skipped(entry() | counts | {"metadata": metadata}) == "no_usage"
    assert skipped({"litellm_call_id": "call-1", "metadata": metadata}) == "no_usage"


DECIDED = [
    *("completion", "acompletion", "atext_completion", "aresponses", "acompact_responses", "aembedding"),
    *("atranscription", "aimage_generation", "aimage_edit", "anthropic_messages", "_arealtime", "arun_thread"),
    *("pass_through_endpoint", "agenerate_content", "arerank", "unheard_of", "", None),
]


@pytest.mark.parametrize("call_type", DECIDED)
def test_a_call_of_any_kind_that_used_tokens_is_decided(call_type: Any) -> None:
    assert skipped(entry(call_type=call_type)) is None


@pytest.mark.parametrize("call_type", ["aget_responses", "get_responses", "acancel_responses"])
@pytest.mark.parametrize("used", [True, False])
def test_reading_a_stored_response_is_skipped_whatever_usage_it_shows(call_type: str, used: bool) -> None:
    made = entry if used else unused
    assert skipped(made(call_type=call_type, model="None/None", response={"usage": usage()})) == "read_back"


def test_what_reads_something_back_is_skipped_even_if_it_shows_usage() -> None:
    assert skipped(entry(call_type="afile_content")) == "read_back"


def test_a_cache_hit_is_skipped_by_its_flag_or_by_the_mark_in_its_id() -> None:
    assert skipped(entry(cache_hit=True)) == "cache_hit"
    assert skipped(entry(id="chatcmpl-1_cache_hit1741683600.25")) == "cache_hit"


def test_a_caller_cannot_make_a_call_look_like_a_cache_hit() -> None:
    forged = "mine_cache_hit1741683600.25"
    assert skipped(entry(id=forged, litellm_call_id=forged)) is None


CHECK = "litellm-internal-health-check"


def health_check(**metadata: Any) -> dict[str, Any]:
    stamped = {"user_api_key_alias": CHECK, "user_api_key_team_id": CHECK, "user_api_key_org_id": None}
    return entry(metadata=stamped | metadata, request_tags=[CHECK])


def test_the_proxys_own_health_check_is_skipped_although_it_uses_tokens() -> None:
    assert skipped(health_check()) == "health_check"


@pytest.mark.parametrize(
    "stamped",
    [
        {"user_api_key_alias": "ci", "user_api_key_team_id": "team"},
        {"user_api_key_alias": CHECK, "user_api_key_team_id": "team"},
        {"user_api_key_org_id": "org_demo"},
    ],
)
def test_a_caller_cannot_make_a_call_look_like_a_health_check(stamped: dict[str, Any]) -> None:
    forged = stamped | {"requester_metadata": {"user_api_key_alias": CHECK, "user_api_key_team_id": CHECK}}
    assert skipped(health_check(**forged)) is None


@pytest.mark.parametrize("logged", [7, "text", []])
def test_what_is_no_entry_is_not_skipped_but_refused(logged: Any) -> None:
    assert skipped(logged) is None


# --- batches and background responses ------------------------------------------------------------------------------


def batch(**response: Any) -> dict[str, Any]:
    """The poll of a finished batch."""
    stored = {"id": "batch_1", "object": "batch", "status": "completed", "model": "gpt-4o-2024-08-06"}
    moments = {"created_at": 1741670000, "completed_at": 1741680000}
    return entry(id="batch_1", call_type="aretrieve_batch", model="", response=stored | moments | response)


def test_all_polls_of_the_case_are_the_same_event() -> None:
    polls = list(case("batch-retrieved.json").values())
    assert [skipped(each) for each in polls] == [None] * 3
    events = [usage_event(each) for each in polls]
    assert events[0] == events[1] == events[2]
    assert (events[0]["id"], events[0]["time"], events[0]["data"]["batch"]) == ("batch_1", "2025-03-11T08:00:00Z", True)


def test_a_poll_by_somebody_else_is_the_same_event() -> None:
    other = {
        "user_api_key_user_id": "user_b",
        "user_api_key_hash": "0d44",
        "user_api_key_team_id": "team_b",
        "user_api_key_project_id": "proj_b",
    }
    polled = batch()
    later = polled | {"litellm_call_id": "call-2", "startTime": STARTED + 86400}
    assert usage_event(later | {"metadata": polled["metadata"] | other}) == usage_event(polled)


def test_a_batch_occurred_when_it_was_completed_else_when_it_was_created_and_else_at_no_moment() -> None:
    assert usage_event(batch())["time"] == "2025-03-11T08:00:00Z"
    assert usage_event(batch(completed_at=None))["time"] == "2025-03-11T05:13:20Z"
    assert usage_event(batch(completed_at=None, created_at=None))["time"] is None


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling"])
@pytest.mark.parametrize("made", [entry, unused])
def test_the_poll_of_a_batch_at_work_is_skipped_even_if_it_shows_usage(status: str, made: Any) -> None:
    polled = made(call_type="aretrieve_batch", response={"object": "batch", "status": status})
    assert skipped(polled) == "unfinished_batch"


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired", "failed", None])
def test_a_batch_that_has_ended_with_usage_is_decided(status: Any) -> None:
    assert skipped(batch(status=status)) is None


def test_a_batch_that_ended_without_usage_and_a_new_one_are_skipped() -> None:
    response = {"object": "batch", "id": "batch_1"}
    assert skipped(unused(call_type="aretrieve_batch", response=response | {"status": "failed"})) == "no_usage"
    assert skipped(unused(call_type="acreate_batch", response=response | {"status": "validating"})) == "no_usage"


def test_the_model_of_a_batch_may_be_only_in_its_results() -> None:
    polled = batch(model=None)
    assert data(polled | {"hidden_params": {"batch_models": ["gpt-4o-2024-08-06"]}})["model"] == "gpt-4o-2024-08-06"
    assert data(polled | {"hidden_params": {"batch_models": ["gpt-4o", "gpt-4.1"]}})["model"] == ""


def test_a_batch_without_an_id_of_its_own_has_none() -> None:
    polled = batch(id=None)
    assert usage_event(polled | {"id": polled["litellm_call_id"]})["id"] is None


def test_a_background_response_is_decided_when_it_is_read_back_and_once_however_often() -> None:
    stored = {"id": "resp_1", "background": True, "created_at": 1741670000, "completed_at": 1741680000}
    read = entry(id="resp_1", call_type="aget_responses", model="None/None")
    first = read | {"response": stored | {"model": "gpt-4o-2024-08-06", "usage": usage()}}
    made = first | {"call_type": "aresponses", "model": "gpt-4o", "startTime": STARTED - 60}
    assert (skipped(first), skipped(made)) == (None, None)
    assert usage_event(first) == usage_event(first | {"startTime": STARTED + 60}) == usage_event(made)
    assert usage_event(first)["time"] == "2025-03-11T08:00:00Z"
    assert skipped(unused(call_type="aresponses", response=stored)) == "no_usage"
    assert skipped(unused(call_type="aget_responses", response=stored)) == "read_back"


# --- the request key -----------------------------------------------------------------------------------------------


def hashed(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


WRAPPED = "resp_" + "bGl0ZWxs" * 40 + "="


@pytest.mark.parametrize(
    ("stated", "request_id"),
    [
        ("chatcmpl-1", "chatcmpl-1"),
        ("r" * 256, "r" * 256),
        ("r" * 257, hashed("r" * 257)),
        (WRAPPED, hashed(WRAPPED)),
        ("resp_a+b", hashed("resp_a+b")),
        ("chatcmpl-1\n", hashed("chatcmpl-1\n")),
    ],
)
def test_the_platforms_id_is_the_key_hashed_where_it_does_not_fit(stated: str, request_id: str) -> None:
    assert usage_event(entry(id=stated))["id"] == request_id


@pytest.mark.parametrize("call_id", ["call-1", "my id", "Anfrage=ä", "c" * 300])
@pytest.mark.parametrize("stated", ["the same", None, "", "None"])
def test_where_there_is_only_the_callers_id_the_moment_is_part_of_the_key(call_id: str, stated: Any) -> None:
    logged = entry(litellm_call_id=call_id, id=call_id if stated == "the same" else stated)
    assert usage_event(logged)["id"] == hashed(f"{call_id}@1741683600.25")
    assert usage_event(logged | {"startTime": STARTED + 0.5})["id"] != usage_event(logged)["id"]


def test_a_failure_and_the_fallback_under_the_same_call_id_are_two_requests() -> None:
    failed = entry(id="call-1", status="failure")
    served = entry(startTime=STARTED + 1)
    assert usage_event(failed)["id"] != usage_event(served)["id"]


def test_an_entry_without_any_id_has_none() -> None:
    assert usage_event(entry(id=None, litellm_call_id=None))["id"] is None


# --- usage ---------------------------------------------------------------------------------------------------------

DETAILS = {"prompt_tokens_details": {"cached_tokens": 1024}, "cache_read_input_tokens": 1024}


@pytest.mark.parametrize(
    ("usage_object", "expected"),
    [
        (usage(7, 3, **DETAILS), usage(7, 3, **DETAILS)),
        (None, usage()),
        ({}, usage()),
        ({"total_tokens": 2500, **DETAILS}, usage(**DETAILS)),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": 9}, usage()),
        ({"type": "duration", "seconds": 12}, usage(type="duration", seconds=12)),
        (usage(0, 0), usage()),
        ({"prompt_tokens": 7, "total_tokens": 7}, {"prompt_tokens": 7, "total_tokens": 7}),
        (
            {"input_tokens": 50, "output_tokens": 100, "input_tokens_details": {"image_tokens": 40}},
            {"input_tokens": 50, "output_tokens": 100, "input_tokens_details": {"image_tokens": 40}}
            | {"total_tokens": 150},
        ),
        (usage(0, 0) | {"input_tokens": 50, "output_tokens": 1, "total_tokens": 51}, None),
    ],
)
def test_the_usage_object_is_read_whole_and_its_missing_counts_are_those_of_the_top_level(
    usage_object: Any, expected: Any
) -> None:
    logged = entry(metadata={"usage_object": usage_object})
    assert data(logged)["usage"] == (expected or usage_object)


def test_where_neither_has_counts_the_answers_usage_stands() -> None:
    answered = {"input_tokens": 36, "output_tokens": 8, "total_tokens": 44, "input_token_details": {"cached_tokens": 6}}
    assert data(unused(response={"usage": answered}))["usage"] == answered


def test_a_total_alone_is_handed_on_to_be_refused() -> None:
    logged = unused(metadata={"usage_object": {"total_tokens": 30}})
    assert skipped(logged) is None
    assert data(logged)["usage"] == {"total_tokens": 30}


# --- organizations and projects ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "organization"),
    [
        ({}, "org_demo"),
        ({"user_api_key_auth_metadata": {"gratis_organization": "org_team"}}, "org_demo"),
        ({"user_api_key_org_id": None, "user_api_key_auth_metadata": {"gratis_organization": "org_t"}}, "org_t"),
        ({"user_api_key_org_id": "", "user_api_key_auth_metadata": None}, "org_default"),
        ({"user_api_key_org_id": None, "user_api_key_team_id": "team", "user_api_key_alias": "key"}, "org_default"),
    ],
)
def test_the_organization_is_litellms_own_else_the_teams_or_keys_else_the_default(
    metadata: dict[str, Any], organization: str
) -> None:
    assert usage_event(entry(metadata=metadata), "org_default")["subject"] == organization


def test_nothing_that_a_caller_can_send_names_an_organization() -> None:
    forged = {"gratis_organization": "org_victim", "user_api_key_org_id": "org_victim"}
    metadata = {
        "user_api_key_org_id": None,
        "gratis_organization": "org_victim",
        "requester_metadata": forged,
        "spend_logs_metadata": forged,
        "requester_custom_headers": {"x-gratis-organization": "org_victim"},
    }
    logged = entry(metadata=metadata, request_tags=["org_victim"], end_user="org_victim")
    assert usage_event(logged)["subject"] is None
    assert "org_victim" not in json.dumps(usage_event(logged))


# --- tools, tiers, verdicts, endpoints -----------------------------------------------------------------------------


def output(*kinds: str) -> dict[str, Any]:
    return {"output": [{"type": kind, "id": "item_1", "action": {"query": PRIVATE}} for kind in kinds]}


@pytest.mark.parametrize(
    ("kinds", "tools"),
    [
        (("web_search_call", "message", "web_search_call"), ["web_search"]),
        (("file_search_call", "code_interpreter_call"), ["file_search", "code_interpreter"]),
        (("computer_call",), ["computer_use"]),
        (("image_generation_call", "mcp_call"), ["image_generation", "mcp"]),
        (("mcp_list_tools", "reasoning", "message", "mcp_approval_request"), []),
        (("function_call", "custom_tool_call", "local_shell_call", "apply_patch_call", "function_call_output"), []),
        (("dream_call",), ["dream"]),
    ],
)
def test_where_the_output_is_there_the_tools_are_those_that_were_called(kinds: Any, tools: list[str]) -> None:
    listed = {"tools": [{"type": "web_search"}, {"type": "function", "name": PRIVATE}]}
    assert data(entry(response=output(*kinds), model_parameters=listed))["tools"] == tools


@pytest.mark.parametrize(
    "fields",
    [
        {"model_parameters": {"tools": [{"type": "web_search"}]}},
        {"model_parameters": {"web_search_options": {}}},
        {"model_parameters": {"extra_body": {"tools": [{"type": "web_search"}]}}},
        {"model_parameters": {"extra_body": {"web_search_options": {}}}},
        {"response": {"tools": [{"type": "web_search"}], "output": []}},
        {"standard_built_in_tools_params": {"web_search_options": {}, "file_search": None}},
    ],
)
def test_where_the_output_is_not_there_every_way_to_switch_a_tool_on_counts(fields: dict[str, Any]) -> None:
    assert data(entry(**fields))["tools"] == ["web_search"]


@pytest.mark.parametrize("options", [None, False])
def test_options_that_are_null_switch_nothing_on(options: Any) -> None:
    built_in = {"web_search_options": options, "file_search": None}
    logged = entry(model_parameters={"web_search_options": options}, standard_built_in_tools_params=built_in)
    assert data(logged)["tools"] == []


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({}, "default"),
        ({"response": {"service_tier": ""}, "model_parameters": {"service_tier": "auto"}}, "default"),
        ({"response": {"service_tier": "default"}, "model_parameters": {"service_tier": "priority"}}, "default"),
        ({"response": {"service_tier": None}, "model_parameters": {"service_tier": "flex"}}, "flex"),
        ({"hidden_params": {"service_tier": "flex"}}, "flex"),
        ({"usage_object": usage(service_tier="priority")}, "priority"),
        ({"model_parameters": {"extra_body": {"service_tier": "flex"}}}, "flex"),
    ],
)
def test_the_service_tier_is_the_answers_else_whatever_is_known_of_it(fields: dict[str, Any], tier: str) -> None:
    assert data(entry(**fields))["service_tier"] == tier


@pytest.mark.parametrize(("payer", "verdict"), [("openai", "free"), ("developer", "billed"), ("x", None), ({}, None)])
def test_the_platforms_verdict_is_its_payer(payer: Any, verdict: str | None) -> None:
    assert data(entry(response={"billing": {"payer": payer}})).get("platform_verdict") == verdict


@pytest.mark.parametrize(
    ("call_type", "endpoint"),
    [
        ("aresponses", "responses"),
        ("acompact_responses", "responses"),
        ("_aresponses_websocket", "responses"),
        ("_arealtime", "realtime"),
        ("amoderation", "moderations"),
        ("aspeech", "audio.speech"),
        ("atranscription", "audio.transcriptions"),
        ("aimage_edit", "images.edits"),
        ("arun_thread", "assistants"),
        ("run_thread_stream", "assistants"),
        ("a_add_message", "assistants"),
        ("add_message", "assistants"),
        ("acreate_fine_tuning_job", "fine_tuning"),
        ("anthropic_messages", "anthropic_messages"),
        ("aanthropic_messages", "anthropic_messages"),
        ("pass_through_endpoint", "pass_through_endpoint"),
        ("", None),
    ],
)
def test_each_kind_of_call_is_an_endpoint(call_type: str, endpoint: str | None) -> None:
    assert data(entry(call_type=call_type))["endpoint"] == endpoint


@pytest.mark.parametrize(
    ("route", "kind", "endpoint"),
    [
        ("/openai/v1/threads/t1/runs", None, "assistants"),
        ("/openai/v1/chat/completions", "chat.completion", "chat.completions"),
        ("/my/own", "response", "responses"),
        (None, "thread.run", "assistants"),
    ],
)
def test_what_was_passed_through_is_told_by_the_route_and_the_answer(route: Any, kind: Any, endpoint: str) -> None:
    metadata = {"user_api_key_request_route": route}
    logged = entry(call_type="pass_through_endpoint", metadata=metadata, response={"object": kind})
    assert data(logged)["endpoint"] == endpoint


# --- what is kept --------------------------------------------------------------------------------------------------


def private(kind: str = "message") -> dict[str, Any]:
    """An entry with everything that must not be kept, and all that a mapping reads."""
    text = {"role": "user", "content": PRIVATE}
    return entry(
        messages=[text],
        response={
            **output(kind),
            "id": "resp_1",
            "object": "response",
            "model": "gpt-4o-2024-08-06",
            "instructions": PRIVATE,
            "choices": [{"message": text}],
            "metadata": {"note": PRIVATE},
            "usage": usage(),
            "tools": [{"type": "function", "name": PRIVATE, "parameters": {PRIVATE: 1}}],
            "billing": {"payer": "openai"},
        },
        model_parameters={
            "tools": [{"type": "mcp", "server_url": PRIVATE}, {"name": PRIVATE}],
            "extra_body": {"prompt": PRIVATE, "service_tier": "flex"},
            "web_search_options": {"user_location": PRIVATE},
            "stop": [PRIVATE],
        },
        hidden_params={"additional_headers": {"authorization": PRIVATE}, "batch_models": ["gpt-4o"]},
        metadata={"requester_metadata": {"x": PRIVATE}, "user_api_key_auth_metadata": {"secret": PRIVATE}},
        error_str=PRIVATE,
        standard_built_in_tools_params={"web_search_options": {"user_location": PRIVATE}},
    )


ALL = [
    *(entry(), unused(), batch(), health_check(), private(), private("web_search_call"), entry(id=WRAPPED), {}),
    *(each for name in ("names.json", "other-provider.json", "responses-prefix.json") for each in case(name).values()),
    *(each for name in ("failure-with-usage.json", "batch-retrieved.json") for each in case(name).values()),
    *(entry(model=7), entry(startTime=[1]), entry(model_parameters={"tools": "all"}), 7, "text", "no JSON: line 1"),
]


@pytest.mark.parametrize("logged", ALL)
def test_what_is_kept_maps_to_the_same_event_and_is_skipped_alike(logged: Any) -> None:
    trimmed = json.loads(json.dumps(kept(logged)))
    assert usage_event(trimmed) == usage_event(logged)
    assert skipped(trimmed) == skipped(logged)


def test_neither_what_is_kept_nor_the_event_holds_prompts_answers_arguments_or_headers() -> None:
    assert PRIVATE not in json.dumps([kept(private()), usage_event(private())])


@pytest.mark.parametrize(
    "field", ["id", "model", "startTime", "call_type", "custom_llm_provider", "response", "metadata", "hidden_params"]
)
@pytest.mark.parametrize("value", [{"messages": PRIVATE}, [PRIVATE]])
def test_nor_where_a_field_is_not_what_it_should_be(field: str, value: Any) -> None:
    assert PRIVATE not in json.dumps([kept(entry() | {field: value}), usage_event(entry() | {field: value})])


def test_what_is_kept_is_bounded() -> None:
    huge = entry(
        model="m" * 10**6,
        response=output(*(f"{number}_call" for number in range(10**4))),
        usage_object={f"n{number}": {f"m{each}": 1 for each in range(200)} for number in range(200)},
        model_parameters={"tools": [{"type": f"t{number}" * 99} for number in range(10**4)]},
    )
    assert len(json.dumps(kept(huge))) < 50 * MAX_KEPT_TEXT


# --- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{}\n" * 10**6, b"[" + b"{}," * MAX_ENTRIES + b"{}]", b"{}\n{\n" + b"\n" * 10**5])
def test_more_entries_than_a_body_may_hold_are_a_413(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        entries(body)
    assert (caught.value.status, caught.value.code) == (413, "too_many_events")


def test_lines_are_counted_before_any_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counted(body: bytes) -> Any:
        parsed.append(len(body))
        raise ValueError("trailing characters")

    monkeypatch.setattr("gratis.intake.litellm.parse_json", counted)
    with pytest.raises(Refused):
        entries(b"{}\n" * (MAX_ENTRIES + 1))
    assert len(parsed) == 1  # the body as a whole, which fails at the second line


@pytest.mark.parametrize("body", [b"{}\n" * (MAX_ENTRIES - 1) + b"{}", b"[" + b"{}," * (MAX_ENTRIES - 1) + b"{}]"])
def test_as_many_entries_as_a_body_may_hold_are_read(body: bytes) -> None:
    assert len(entries(body)) == MAX_ENTRIES


def test_an_indented_array_of_more_lines_than_entries_are_allowed_is_read() -> None:
    body = json.dumps([entry()] * 600, indent=1).encode()
    assert body.count(b"\n") > MAX_ENTRIES
    assert len(entries(body)) == 600


def test_every_case_is_a_file_of_tests() -> None:
    """The cases that are no log entries are tested where events are."""
    names = {path.name for path in CASES.glob("*.json") if "litellm_call_id" in path.read_text()}
    assert names == {
        *("batch-retrieved.json", "failure-with-usage.json", "names.json"),
        *("other-provider.json", "responses-prefix.json"),
    }
