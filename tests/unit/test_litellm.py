"""LiteLLM's generic API callback: what its entries become, what is skipped, and what must never be kept."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis.errors import Rejected
from gratis.intake.events import parse_event
from gratis.intake.litellm import FIELDS, in_their_words, kept, skipped, usage_event
from gratis.rules.request import Request, Tokens
from gratis_local.functions import ROOT
from tests.builders.aws import aws
from tests.builders.webhook import Deployed, deployed

SAMPLE = json.loads((ROOT / "events/litellm-generic-api.json").read_bytes())
"""As LiteLLM 1.106 posts it, message contents redacted by LiteLLM itself."""
RECEIVED = datetime(2026, 11, 22, 15, 5, tzinfo=UTC)
"""A little after the sample was captured."""
PRIVATE = "what-the-user-wrote"
"""Stands wherever LiteLLM logs prompts, answers and functions of the caller."""


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as clients:
        yield clients


@pytest.fixture
def webhook(clients: dict[str, Any]) -> Iterator[Deployed]:
    with deployed(clients) as webhook:
        yield webhook


def entry(response_id: str = "chatcmpl-1", **fields: Any) -> dict[str, Any]:
    """A log entry of this minute, full of what is private. `fields` replace its own; None leaves one out."""
    made = {
        "id": response_id,
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "status": "success",
        "cache_hit": None,
        "startTime": time.time(),
        "model": "gpt-4o-2024-08-06",
        "model_group": "my-alias",
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 30,
        "metadata": metadata(),
        "messages": [{"role": "user", "content": PRIVATE}],
        "response": response(),
        "model_parameters": {"user": PRIVATE, "stop": [PRIVATE], "tools": [function_tool()]},
        "error_str": PRIVATE,
        "request_tags": [PRIVATE],
        "hidden_params": {"additional_headers": {"x": PRIVATE}},
    }
    return {name: value for name, value in (made | fields).items() if value is not None}


def metadata(**fields: Any) -> dict[str, Any]:
    return {
        "user_api_key_org_id": "org_a",
        "user_api_key_team_id": "team_a",
        "user_api_key_project_id": "proj_a",
        "user_api_key_user_id": "user_a",
        "user_api_key_hash": "0d442adf",
        "requester_metadata": {"note": PRIVATE},
        "usage_object": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    } | fields


def response(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": PRIVATE, "tool_calls": [{"function": {"arguments": PRIVATE}}]}
    return {
        "id": "chatcmpl-1",
        "model": "my-alias",
        "service_tier": "default",
        "choices": [{"index": 0, "message": message}],
        "instructions": PRIVATE,
    } | fields


def function_tool() -> dict[str, Any]:
    return {"type": "function", "function": {"name": PRIVATE, "description": PRIVATE, "parameters": {PRIVATE: 1}}}


FAILED = entry(status="failure", metadata=metadata(usage_object=None), response={}) | {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
}
"""A call that used nothing."""


def request_of(logged: Any, received_at: datetime | None = None) -> Request:
    """The request that an entry is decided as."""
    return parse_event(usage_event(logged), received_at or datetime.now(UTC))


def refused(logged: Any) -> tuple[str, str]:
    """Code and message with which an entry is refused."""
    with pytest.raises(Rejected) as caught:
        request_of(logged)
    return caught.value.code, in_their_words(caught.value.message)


def lines(*entries: Any) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in entries)


def queued_of(webhook: Deployed, body: bytes) -> tuple[list[str], list[tuple[int, str]]]:
    """Ids of the events that a body puts into the queue, and index and code of those it puts into quarantine."""
    answer = webhook.post_litellm(body)
    refusals = [(each["index"], each["error"]["code"]) for each in answer.quarantined]
    ids = webhook.queued_ids()
    assert len(ids) == answer.accepted
    return ids, refusals


# --- the captured sample -------------------------------------------------------------------------------------------


def test_the_sample_becomes_the_requests_that_it_logs() -> None:
    requests = [request_of(each, RECEIVED) for each in SAMPLE[1:] if not skipped(each)]
    assert [
        (each.id[:13], each.organization, each.project, each.model, each.endpoint, each.service_tier, each.tokens)
        for each in requests
    ] == [
        (
            "chatcmpl-83c9",
            "org_acme",
            "team_ml",
            "gpt-4.1-mini-2025-04-14",
            "chat.completions",
            "default",
            Tokens(8, 0, 4),
        ),
        ("resp_bGl0ZWxs", "org_acme", "team_ml", "gpt-4.1-2025-04-14", "responses", "default", Tokens(36, 0, 87)),
        (
            "chatcmpl-72c2",
            "org_acme",
            "proj_web",
            "gpt-4o-mini-2024-07-18",
            "chat.completions",
            "default",
            Tokens(1200, 1024, 300),
        ),
    ]
    assert requests[0].occurred_at == datetime(2026, 11, 22, 14, 57, 20, 647450, tzinfo=UTC)


def test_the_entry_of_the_sample_without_an_organization_names_litellms_field() -> None:
    with pytest.raises(Rejected) as caught:
        request_of(SAMPLE[0], RECEIVED)
    assert caught.value.code == "no_organization"
    assert "(in LiteLLM's entry: metadata.user_api_key_org_id, else gratis_organization" in in_their_words(
        caught.value.message
    )


def test_the_failed_call_of_the_sample_is_skipped() -> None:
    assert [skipped(each) for each in SAMPLE] == [None, None, "no_usage", None, None]


def test_the_sample_as_posted_is_stored(webhook: Deployed) -> None:
    late = [each | {"startTime": time.time()} for each in SAMPLE]
    assert queued_of(webhook, json.dumps(late).encode()) == (
        [each["id"] for each in (SAMPLE[1], SAMPLE[3], SAMPLE[4])],
        [(0, "no_organization")],
    )


# --- field by field ------------------------------------------------------------------------------------------------


def test_every_field_is_where_litellm_has_it() -> None:
    started = datetime.now(UTC) - timedelta(seconds=1)
    assert usage_event(entry(startTime=started.timestamp())) == {
        "specversion": "1.0",
        "type": "usage.request",
        "source": "litellm",
        "id": "chatcmpl-1",
        "time": started.isoformat().replace("+00:00", "Z"),
        "subject": "org_a",
        "data": {
            "project": "proj_a",
            "model": "gpt-4o-2024-08-06",
            "endpoint": "chat.completions",
            "service_tier": "default",
            "batch": False,
            "tools": ["function"],
            "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
            "user_id": "user_a",
            "api_key_id": "0d442adf",
        },
    }


def test_the_team_is_the_project_where_there_is_no_project() -> None:
    assert request_of(entry(metadata=metadata(user_api_key_project_id=None))).project == "team_a"
    assert request_of(entry(metadata=metadata(user_api_key_project_id="", user_api_key_team_id=None))).project is None


@pytest.mark.parametrize(
    ("logged", "model"),
    [
        ("openai/gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("azure/gpt-4o-2024-08-06", "azure/gpt-4o-2024-08-06"),
        ("ft:gpt-4o-2024-08-06:acme::1", "ft:gpt-4o-2024-08-06:acme::1"),
    ],
)
def test_the_model_is_the_one_that_was_called_not_its_alias(logged: str, model: str) -> None:
    assert request_of(entry(model=logged)).model == model


@pytest.mark.parametrize(
    ("call_type", "endpoint"),
    [
        ("completion", "chat.completions"),
        ("acompletion", "chat.completions"),
        ("text_completion", "completions"),
        ("atext_completion", "completions"),
        ("responses", "responses"),
        ("aresponses", "responses"),
        ("embedding", "embeddings"),
        ("aembedding", "embeddings"),
        ("aimage_generation", "images.generations"),
        ("anew_call", "anew_call"),
        (None, "responses"),
    ],
)
def test_the_kind_of_call_is_the_endpoint(call_type: str | None, endpoint: str) -> None:
    assert request_of(entry(call_type=call_type)).endpoint == endpoint


def test_the_service_tier_is_that_of_the_response_not_that_of_the_request() -> None:
    asked = {"service_tier": "auto"}
    assert request_of(entry(response=response(service_tier="flex"), model_parameters=asked)).service_tier == "flex"
    assert request_of(entry(response=response(service_tier=None), model_parameters=asked)).service_tier == "default"


def test_usage_is_that_of_the_usage_object_cached_tokens_included() -> None:
    usage = {
        "prompt_tokens": 1200,
        "completion_tokens": 300,
        "total_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": None},
        "completion_tokens_details": {"reasoning_tokens": None},
    }
    assert request_of(entry(metadata=metadata(usage_object=usage))).tokens == Tokens(1200, 1024, 300)


@pytest.mark.parametrize("usage", [None, {}])
def test_usage_is_the_top_level_counts_where_there_is_no_usage_object(usage: Any) -> None:
    assert request_of(entry(metadata=metadata(usage_object=usage))).tokens == Tokens(10, 0, 20)


def test_a_tool_of_the_platform_is_kept_by_its_kind() -> None:
    tools = [function_tool(), {"type": "web_search", "user_location": {"city": PRIVATE}}]
    assert request_of(entry(model_parameters={"tools": tools})).tools == ("function", "web_search")


@pytest.mark.parametrize("parameters", [{}, {"tools": None}, {"tools": []}])
def test_no_tools_are_no_tools(parameters: Any) -> None:
    assert request_of(entry(model_parameters=parameters)).tools == ()


@pytest.mark.parametrize("name", ["metadata", "response", "model_parameters"])
@pytest.mark.parametrize("value", [None, "none", [], 7])
def test_a_part_that_is_no_object_is_as_good_as_missing(name: str, value: Any) -> None:
    event = usage_event(entry() | {name: value})
    assert event["subject"] == (None if name == "metadata" else "org_a")


@pytest.mark.parametrize("logged", [None, 7, PRIVATE, [], [{"messages": PRIVATE}]])
def test_of_what_is_no_object_only_a_word_is_left_and_it_is_refused(logged: Any) -> None:
    code, message = refused(logged)
    assert code == "invalid_event"
    assert message.startswith('event: must be a JSON object: "no object: ')
    assert PRIVATE not in json.dumps(usage_event(logged)) + message


# --- odd values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", ["2026-11-22T15:00:00", "soon", True, False, [], {}, 1e300, -1e300, 10**18, -1, 10**200, 1e17]
)
def test_a_start_that_is_no_moment_of_ours_is_refused_by_its_name_at_litellm(start: Any) -> None:
    code, message = refused(entry() | {"startTime": start})
    assert code == "invalid_event"
    assert message.startswith("time: ")
    assert "(in LiteLLM's entry: startTime" in message


def test_a_start_in_words_with_an_offset_is_taken_as_it_is() -> None:
    started = datetime.now(UTC)
    assert request_of(entry(startTime=started.isoformat())).occurred_at == started


def test_a_start_in_whole_seconds_is_a_moment() -> None:
    assert usage_event(entry(startTime=1795359440))["time"] == "2026-11-22T14:57:20Z"


def test_a_start_beyond_any_float_is_refused() -> None:
    assert refused(entry(startTime=10**400))[0] == "invalid_event"


@pytest.mark.parametrize("start", [0, 4_000_000_000])
def test_a_start_too_old_or_in_the_future_names_litellms_field(start: int) -> None:
    code, message = refused(entry(startTime=start))
    assert code in {"too_old", "in_the_future"}
    assert "startTime" in message


ODD = {
    "id": {"id": None, "litellm_call_id": None},
    "data.model": {"model": 7},
    "data.endpoint": {"call_type": 7},
    "data.service_tier": {"response": {"service_tier": 7}},
    "data.tools": {"model_parameters": {"tools": "all"}},
    "subject": {"metadata": {"user_api_key_org_id": "org a"}},
    "data.project": {"metadata": metadata(user_api_key_project_id=7)},
    "data.user_id": {"metadata": metadata(user_api_key_user_id="u" * 300)},
    "data.api_key_id": {"metadata": metadata(user_api_key_hash=7)},
    "data.usage": {"metadata": metadata(usage_object={"prompt_tokens": "10", "completion_tokens": 20})},
    "time": {"startTime": None},
}


@pytest.mark.parametrize("field", ODD)
def test_a_field_that_is_refused_is_named_as_litellm_names_it(field: str) -> None:
    _, message = refused(entry() | ODD[field])
    assert message.startswith(field)
    assert message.endswith(f"(in LiteLLM's entry: {FIELDS[field]})")


def test_every_field_that_messages_name_is_tried_above() -> None:
    assert set(FIELDS) == set(ODD)


def test_a_message_about_something_else_stays_as_it_is() -> None:
    assert in_their_words("event: must be a JSON object: 7") == "event: must be a JSON object: 7"
    assert in_their_words("identity: unknown") == "identity: unknown"


@pytest.mark.parametrize("count", ["10", 10.0, True, -1, 10**400])
def test_a_count_that_is_no_count_is_refused_by_name(count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 20, "total_tokens": 30}
    code, message = refused(entry(metadata=metadata(usage_object=usage)))
    assert (code, message.partition(":")[0]) == ("invalid_event", "data.usage.prompt_tokens")


def test_a_count_that_is_null_everywhere_is_refused() -> None:
    usage = {"prompt_tokens": None, "total_tokens": 30}
    code, message = refused(entry(metadata=metadata(usage_object=usage), prompt_tokens=None))
    assert (code, message.startswith("data.usage")) == ("invalid_event", True)


# --- what is skipped -----------------------------------------------------------------------------------------------


def test_failed_calls_and_cache_hits_are_skipped_and_counted_in_neither(webhook: Deployed) -> None:
    body = [entry("a"), FAILED, entry("c", cache_hit=True), entry("d"), 7]
    assert queued_of(webhook, json.dumps(body).encode()) == (["a", "d"], [(4, "invalid_event")])


@pytest.mark.parametrize("cache_hit", [None, False, "", "None", 0])
def test_what_was_not_answered_from_the_cache_is_kept(cache_hit: Any) -> None:
    assert not skipped(entry() | {"cache_hit": cache_hit})


def test_a_batch_of_nothing_but_failures_is_accepted_and_stores_nothing(webhook: Deployed) -> None:
    assert queued_of(webhook, json.dumps([FAILED] * 3).encode()) == ([], [])
    assert (webhook.sqs.asked("send_message_batch"), webhook.dynamodb.calls) == ([], [])


# --- bodies --------------------------------------------------------------------------------------------------------


def test_an_array_a_single_entry_and_json_lines_are_read(webhook: Deployed) -> None:
    assert queued_of(webhook, json.dumps([entry("a"), entry("b")]).encode())[0] == ["a", "b"]
    assert queued_of(webhook, json.dumps(entry("c")).encode())[0] == ["c"]
    assert queued_of(webhook, lines(entry("d"), entry("e")))[0] == ["d", "e"]
    assert queued_of(webhook, lines(entry("f"), b"", b"  ", entry("g")) + b"\r\n")[0] == ["f", "g"]


def test_an_indented_array_is_read(webhook: Deployed) -> None:
    assert queued_of(webhook, json.dumps([entry("a"), entry("b")], indent=1).encode())[0] == ["a", "b"]


def test_an_empty_array_is_read(webhook: Deployed) -> None:
    assert queued_of(webhook, b"[]") == ([], [])


def test_a_bad_line_is_quarantined_alone_by_its_index(webhook: Deployed) -> None:
    body = lines(entry("a"), b'{"litellm_call_id": ', entry("b"), b"7", b'{"startTime": NaN}')
    refusals = [(1, "invalid_event"), (3, "invalid_event"), (4, "invalid_event")]
    assert queued_of(webhook, body) == (["a", "b"], refusals)


def test_a_line_that_is_not_utf_8_is_quarantined_alone(webhook: Deployed) -> None:
    assert queued_of(webhook, lines(entry("a"), b'"\xff', entry("b"))) == (["a", "b"], [(1, "invalid_event")])


@pytest.mark.parametrize("body", [b"", b"  \n ", b"one\ntwo", b'{"a": 1', b"[" * 5000, b"[NaN]", b"\xff"])
def test_a_body_without_a_single_entry_is_a_400(webhook: Deployed, body: bytes) -> None:
    assert webhook.post_litellm(body).error["code"] == "invalid_json"


def test_an_array_that_is_not_utf_8_is_a_400(webhook: Deployed) -> None:
    body = json.dumps([entry("a", user="@"), entry("b")]).encode().replace(b"@", b"\xff")
    assert webhook.post_litellm(body).status == 400


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_separator_inside_a_string_tears_no_line(webhook: Deployed, separator: str) -> None:
    line = json.dumps(entry("a", note=f"one{separator}two"), ensure_ascii=False).encode()
    assert queued_of(webhook, lines(line, entry("b"))) == (["a", "b"], [])


def test_512_entries_of_a_batch_are_taken_at_once(webhook: Deployed) -> None:
    body = json.dumps([entry(f"call_{number}") for number in range(512)]).encode()
    assert queued_of(webhook, body) == ([f"call_{number}" for number in range(512)], [])


# --- what LiteLLM really posts -------------------------------------------------------------------------------

POSTED = dict(map(json.loads, (ROOT / "tests/unit/litellm_posted.jsonl").read_text().splitlines()))
"""By SDK and proxy (1.108, 1.110) against a stand-in for the platform, without nulls and what does not concern us."""
BECOMES = {
    "sdk: chat": "gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: chat openai/": "gpt-4o-2024-11-20 chat.completions 1500",
    "sdk: chat stream": "gpt-4o-mini chat.completions 1500",
    "sdk: chat stream nousage": "gpt-4o-mini chat.completions 11 flex",
    "sdk: chat fail": "no_usage",
    "sdk: chat flex": "gpt-4o-2024-11-20 chat.completions 1500 flex",
    "sdk: chat websearch": "gpt-4o-2024-11-20 chat.completions 1500 web_search",
    "sdk: chat callid": "gpt-4o-2024-11-20 chat.completions 1500",
    "sdk: chat bridge responses": "gpt-4o-2024-08-06 chat.completions 123",
    "sdk: responses": "gpt-4o-2024-08-06 responses 123",
    "sdk: responses ws not called": "gpt-4o-2024-08-06 responses 123",
    "sdk: responses extra_body": "gpt-4o-2024-08-06 responses 123 web_search",
    "sdk: responses stream": "gpt-4o-2024-08-06 responses 123",
    "sdk: responses stream fail": "gpt-4o-2024-08-06 responses 123",
    "sdk: responses bg": "no_usage",
    "sdk: get resp": "read_back",
    "sdk: list input": "no_usage",
    "sdk: embedding": "text-embedding-3-small embeddings 8",
    "sdk: text": "gpt-3.5-turbo-instruct completions 12",
    "sdk: text tco": "gpt-3.5-turbo-instruct completions 12",
    "sdk: image": "gpt-image-1 images.generations 110",
    "sdk: moderation": "no_usage",
    "sdk: create batch": "no_usage",
    "sdk: retrieve batch": "gpt-4o-2024-08-06 batches 3000",
    "sdk: retrieve batch (2)": "no_usage",
    "sdk: retrieve batch again": "gpt-4o-2024-08-06 batches 3000",
    "sdk: retrieve batch again (2)": "no_usage",
    "sdk: retrieve batch wait": "unfinished_batch",
    "sdk: list batches": "empty",
    "sdk: fine tuning": "no_usage",
    "sdk: azure": "azure/gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: azure base_model": "azure/my-deploy chat.completions 1500",
    "sdk: hosted_vllm": "hosted_vllm/gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: openrouter": "openrouter/openai/gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: custom_openai": "custom_openai/gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: github": "github/gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: mock": "gpt-4o-2024-08-06 chat.completions 30",
    "sdk: cached 0": "gpt-4o-2024-08-06 chat.completions 1500",
    "sdk: cached 1": "cache_hit",
    "sdk: cached resp 0": "gpt-4o-2024-08-06 responses 123",
    "sdk: cached resp 1": "cache_hit",
    "sdk: redacted responses": "gpt-4o-2024-08-06 responses 123 web_search",
    "proxy: chat fast": "gpt-4o-mini chat.completions 1500",
    "proxy: chat wildcard": "gpt-4o chat.completions 1500",
    "proxy: chat bare": "gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: chat forged": "no_usage",
    "proxy: resp forged": "no_usage",
    "proxy: chat callid": "gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: emb callid": "text-embedding-3-small embeddings 8",
    "proxy: emb callid2": "text-embedding-3-small embeddings 8",
    "proxy: chat fail": "no_usage",
    "proxy: chat nomodel": "zzz/nope chat.completions 1500",
    "proxy: chat stream": "gpt-4o-mini chat.completions 1500",
    "proxy: resp": "gpt-4o-2024-08-06 responses 123 web_search",
    "proxy: resp extra": "gpt-4o-2024-08-06 responses 123 web_search",
    "proxy: resp stream": "gpt-4o-mini responses 123",
    "proxy: resp bridge": "gpt-4o-2024-08-06 responses 123",
    "proxy: chat bridge": "gpt-4o-2024-08-06 chat.completions 123",
    "proxy: resp bg": "no_usage",
    "proxy: get resp": "read_back",
    "proxy: get resp raw": "gpt-4o-2024-08-06 responses 123",
    "proxy: messages": "gpt-4o-2024-08-06 anthropic_messages 123",
    "proxy: azure": "azure/gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: batch": "no_usage",
    "proxy: batch get": "gpt-4o-2024-08-06 batches 3000",
    "proxy: batch get (2)": "no_usage",
    "proxy: batch get2": "gpt-4o-2024-08-06 batches 3000",
    "proxy: batch get2 (2)": "no_usage",
    "proxy: batch list": "empty",
    "proxy: passthrough": "no_usage",
    "proxy: passthrough resp": "gpt-4o-2024-08-06 responses 123",
    "proxy: moderation": "no_usage",
    "proxy: health": "health_check",
    "proxy: badkey": "no_usage",
    "proxy: notier": "gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: fallback (failed)": "no_usage",
    "proxy: fallback (served)": "gpt-4o-mini chat.completions 1500",
    "proxy: cache 2": "cache_hit",
    "proxy: nolog": "gpt-4o-mini chat.completions 1500",
    "proxy: oddid": "gpt-4o-mini chat.completions 1500",
    "proxy: break usage": "gpt-4o-mini chat.completions 1500",
    "proxy: break err": "gpt-4o-mini chat.completions 1500",
    "proxy: vllm": "hosted_vllm/gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: orr": "openrouter/openai/gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: chain": "litellm_proxy/gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: cust": "custom_openai/gpt-4o-2024-08-06 chat.completions 1500",
    "proxy: ftm": "ft:gpt-4o-mini-2024-07-18:acme::abc chat.completions 1500",
    "proxy: speech": "no_usage",
    "proxy: whisper": "no_usage",
    "proxy: transcribe": "gpt-4o-transcribe audio.transcriptions 59",
    "proxy: img": "no_usage",
    "proxy: edit": "gpt-image-1 images.edits 110",
    "proxy: nomodel": "no_usage",
    "forged: chat forged": "gpt-4o-2024-08-06 chat.completions 1500",
    "forged: chat forged2": "gpt-4o-2024-08-06 chat.completions 1500",
    "forged: resp forged": "gpt-4o-2024-08-06 responses 123",
    "forged: resp forged2": "gpt-4o-2024-08-06 responses 123",
    "forged: emb forged": "text-embedding-3-small embeddings 8",
    "forged: messages forged": "gpt-4o-2024-08-06 anthropic_messages 123",
    "forged: custom provider": "azure/gpt-4o-2024-08-06 chat.completions 1500",
    "forged: hdr spend": "gpt-4o-2024-08-06 chat.completions 1500",
    "forged: service_tier": "gpt-4o-2024-08-06 chat.completions 1500 priority",
    "forged: extra model": "gpt-4o-2024-08-06 chat.completions 1500 priority",
}
"""The reason for which it is skipped, or model, endpoint, tokens, and service tier and hosted tools if any."""


@pytest.mark.parametrize("name", POSTED)
def test_what_litellm_posts_is_decided_or_skipped_and_never_refused(name: str) -> None:
    logged = POSTED[name]
    if reason := skipped(logged):
        assert reason == BECOMES[name]
        return
    event = usage_event(logged, "org_a")
    found = parse_event(event, datetime.fromisoformat(event["time"]))
    tier = [found.service_tier] if found.service_tier != "default" else []
    assert " ".join([found.model, found.endpoint, str(found.tokens.total), *tier, *found.tools]) == BECOMES[name]
    assert found.organization == "org_a"
    assert found.project is None


@pytest.mark.parametrize("name", POSTED)
def test_what_is_kept_of_an_entry_says_all_that_its_mapping_reads(name: str) -> None:
    logged = POSTED[name]
    assert skipped(kept(logged)) == skipped(logged) or logged is None
    assert usage_event(kept(logged), "org_a") == usage_event(logged, "org_a")
    assert kept(kept(logged)) == kept(logged)
    assert len(json.dumps(kept(logged))) < 2500


def test_polls_of_a_batch_are_one_request_whoever_polls() -> None:
    polls = [POSTED["sdk: retrieve batch"], POSTED["sdk: retrieve batch again"], POSTED["proxy: batch get"]]
    somebody = {"user_api_key_user_id": "user_b", "user_api_key_hash": "0d", "user_api_key_team_id": "team_b"}
    polls.append(polls[0] | {"metadata": polls[0]["metadata"] | somebody})
    events = [usage_event(each, "org_a") for each in polls]
    found = [parse_event(each, datetime.fromisoformat(each["time"])) for each in events]
    assert len({each.payload_hash for each in found}) == 1
    assert {(each.id, each.batch, each.occurred_at.isoformat()) for each in found} == {
        ("batch_1", True, "2026-11-22T15:57:20+00:00")
    }


def test_a_batch_without_a_moment_of_its_own_is_refused_by_name() -> None:
    poll = POSTED["sdk: retrieve batch"]
    times = {"created_at": None, "completed_at": None}
    code, message = refused(poll | {"metadata": metadata(), "response": poll["response"] | times})
    assert (code, message.partition(":")[0]) == ("invalid_event", "time")
    assert message.endswith(
        "(in LiteLLM's entry: startTime, of a batch response.completed_at, else response.created_at)"
    )


def test_two_calls_under_one_id_of_their_caller_are_two_requests() -> None:
    one, other = (usage_event(POSTED[name], "org_a") for name in ("proxy: emb callid", "proxy: emb callid2"))
    assert one["id"] != other["id"]


def test_a_response_that_the_platform_worked_on_alone_counts_once_when_it_is_read() -> None:
    made, read = POSTED["proxy: resp bg"], POSTED["proxy: get resp raw"]
    assert skipped(made) == "no_usage"
    again = read | {"startTime": read["startTime"] + 60, "litellm_call_id": "another"}
    assert usage_event(read, "org_a") == usage_event(again, "org_a")


# --- organizations -------------------------------------------------------------------------------------------------


def named(default: str | None = None, **of_key: Any) -> Any:
    return usage_event(entry(metadata=metadata(**of_key)), default)["subject"]


def test_an_organization_is_named_by_litellm_else_by_the_operator_else_by_default() -> None:
    own = {"gratis_organization": "org_key"}
    assert named("org_default", user_api_key_auth_metadata=own) == "org_a"
    assert named("org_default", user_api_key_auth_metadata=own, user_api_key_org_id=None) == "org_key"
    assert named("org_default", user_api_key_org_id=None) == "org_default"
    assert named(None, user_api_key_org_id="") is None


def test_what_callers_send_never_names_an_organization() -> None:
    sent = {"gratis_organization": "org_forged", "user_api_key_org_id": "org_forged"}
    places = ("requester_metadata", "spend_logs_metadata", "requester_custom_headers")
    assert named(None, user_api_key_org_id=None, **dict.fromkeys(places, sent)) is None


def test_the_refusal_says_how_an_organization_is_named() -> None:
    code, message = refused(entry(metadata=metadata(user_api_key_org_id=None)))
    assert code == "no_organization"
    assert "gratis_organization in the metadata of the team or the key" in message
    assert "default organization of this deployment" in message


# --- what must never be kept ---------------------------------------------------------------------------------------


def everything_kept(webhook: Deployed) -> str:
    """All that lies in the queue and in quarantine, as text."""
    kept = [message["Body"] for message in webhook.messages()]
    return "\n".join(kept + [repr(entry) for entry in webhook.quarantined()])


def test_neither_prompts_nor_answers_are_queued_or_quarantined(
    webhook: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = webhook.post_litellm(
        json.dumps([entry("good"), entry("bad", model=7), entry("worse", call_type=7)]).encode()
    )
    assert (answer.accepted, len(answer.quarantined)) == (1, 2)
    kept = everything_kept(webhook)
    assert "good" in kept
    assert "bad" in kept
    assert PRIVATE not in kept + json.dumps(answer.content) + capsys.readouterr().out


def test_of_a_line_that_is_torn_neither_prompts_nor_answers_are_kept(webhook: Deployed) -> None:
    torn = json.dumps({"messages": PRIVATE, **entry()})[:-1].encode()
    answer = webhook.post_litellm(lines(entry("a"), torn))
    assert (answer.accepted, answer.codes) == (1, ["invalid_event"])
    assert PRIVATE not in everything_kept(webhook) + json.dumps(answer.content)


def test_of_an_array_in_a_line_neither_prompts_nor_answers_are_kept(webhook: Deployed) -> None:
    answer = webhook.post_litellm(lines([entry("a")], [entry("b")]))
    assert PRIVATE not in everything_kept(webhook) + json.dumps(answer.content)


def test_of_a_tool_without_a_type_nothing_is_kept(webhook: Deployed) -> None:
    tool = {"name": PRIVATE, "description": PRIVATE}
    webhook.post_litellm(json.dumps(entry(model_parameters={"tools": [tool]})).encode())
    assert PRIVATE not in everything_kept(webhook)


READ = {
    *("id", "litellm_call_id", "call_type", "startTime", "model", "custom_llm_provider"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "metadata", "response", "model_parameters"),
}


@pytest.mark.parametrize("name", sorted(set(SAMPLE[4]) - READ))
def test_no_other_field_of_an_entry_is_taken_over(name: str) -> None:
    assert PRIVATE not in json.dumps(usage_event(entry() | {name: PRIVATE}))
