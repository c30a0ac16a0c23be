"""Events as they come in: what is accepted, what is refused and how it is named, and what makes two the same."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from gratis.errors import Rejected
from gratis.intake.event_models import UsageEvent
from gratis.intake.events import compact, moment_of, parse_event
from gratis.rules.request import Request, Tokens
from gratis.strict_json import parse_json
from tests.builders.events import at, chat_usage, responses_usage, usage_data, usage_event

RECEIVED = at("2025-03-11T09:15:01")
MAX_TOKENS = 10**12


def parsed(raw: Any, received_at: datetime = RECEIVED) -> Request:
    return parse_event(raw, received_at)


def refused(raw: Any, received_at: datetime = RECEIVED) -> tuple[str, str]:
    """Code and message with which an event is refused."""
    with pytest.raises(Rejected) as caught:
        parse_event(raw, received_at)
    assert str(caught.value) == caught.value.message
    return caught.value.code, caught.value.message


def with_value(path: str, value: Any) -> dict[str, Any]:
    """An event that has `value` at `path`, as in `data.usage.input_tokens`."""
    event = usage_event()
    *parents, last = path.split(".")
    place = event
    for parent in parents:
        place = place[parent]
    place[last] = value
    return event


def without(path: str) -> dict[str, Any]:
    """An event that leaves out what is at `path`."""
    event = usage_event()
    *parents, last = path.split(".")
    place = event
    for parent in parents:
        place = place[parent]
    del place[last]
    return event


def using(usage: Any) -> dict[str, Any]:
    return with_value("data.usage", usage)


# What is accepted


PAYERS = [
    ({"payer": "openai"}, "free"),
    ({"payer": "developer"}, "billed"),
    ({"payer": "else"}, None),
    ("openai", None),
]


@pytest.mark.parametrize(("billing", "verdict"), PAYERS)
def test_who_pays_in_a_responses_body_is_the_platforms_verdict_unless_it_is_stated(billing: Any, verdict: Any) -> None:
    assert parsed(usage_event(data=usage_data(billing=billing))).platform_verdict == verdict
    stated = usage_data(billing=billing, platform_verdict="billed")
    assert parsed(usage_event(data=stated)).platform_verdict == "billed"


def test_an_event_becomes_a_request_with_every_field_in_its_place() -> None:
    event = usage_event(
        type="usage.eval_run",
        time="2025-03-11T10:15:00.5+01:00",
        data={
            "project": "proj_web",
            "model": "gpt-4o-2024-08-06",
            "endpoint": "chat.completions",
            "service_tier": "flex",
            "batch": True,
            "tools": ["get_weather", {"type": "web_search", "filters": {}}],
            "shared": False,
            "user_id": "user_1",
            "api_key_id": "key_1",
            "usage": responses_usage(90_000, 30_000, cached=40_000),
        },
    )
    request = parsed(event)
    assert request == Request(
        kind="usage.eval_run",
        organization="org_demo",
        id="req_001",
        project="proj_web",
        model="gpt-4o-2024-08-06",
        endpoint="chat.completions",
        service_tier="flex",
        batch=True,
        tools=("get_weather", "web_search"),
        shared=False,
        tokens=Tokens(90_000, 40_000, 30_000),
        occurred_at=datetime(2025, 3, 11, 9, 15, 0, 500_000, tzinfo=UTC),
        received_at=RECEIVED,
        payload_hash=request.payload_hash,
    )


def test_model_and_usage_are_enough() -> None:
    request = parsed(
        usage_event(data={"model": "gpt-4o", "usage": {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}})
    )
    assert (request.project, request.endpoint, request.service_tier) == (None, "responses", "default")
    assert (request.batch, request.tools, request.shared) == (False, (), False)
    assert request.tokens == Tokens(2, 0, 1)


def test_null_stands_for_an_optional_value_that_a_sender_does_not_have() -> None:
    names = ("project", "endpoint", "service_tier", "batch", "tools", "shared", "user_id", "api_key_id")
    nulls = usage_event(data=usage_data(**dict.fromkeys(names)))
    left_out = usage_event(data={name: value for name, value in usage_data().items() if name != "project"})
    assert parsed(nulls) == parsed(left_out)


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 9, "input_tokens_details": None, "output_tokens": 1, "total_tokens": 10},
        {"input_tokens": 9, "input_tokens_details": {"cached_tokens": None}, "output_tokens": 1, "total_tokens": 10},
        {"prompt_tokens": 9, "prompt_tokens_details": None, "completion_tokens": 1, "total_tokens": 10},
        {"prompt_tokens": 9, "completion_tokens": 1, "completion_tokens_details": {}, "total_tokens": 10},
    ],
    ids=str,
)
def test_details_that_are_left_out_or_null_are_zero(usage: dict[str, Any]) -> None:
    assert parsed(using(usage)).tokens == Tokens(9, 0, 1)


def test_usage_in_the_shape_of_chat_completions_is_accepted() -> None:
    assert parsed(using(chat_usage(90_000, 30_000, cached=40_000))).tokens == Tokens(90_000, 40_000, 30_000)


@pytest.mark.parametrize("completion", [{}, {"completion_tokens": None}, {"completion_tokens": 0}], ids=str)
def test_an_embedding_has_no_completion_tokens(completion: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 8, "total_tokens": 8} | completion
    assert parsed(using(usage)).tokens == Tokens(8, 0, 0)


def test_reasoning_is_part_of_the_output_and_is_not_added_to_it() -> None:
    usage = responses_usage(100, 50) | {"output_tokens_details": {"reasoning_tokens": 40}}
    assert parsed(using(usage)).tokens.total == 150


def test_a_request_of_no_tokens_is_accepted() -> None:
    assert parsed(using(responses_usage(0, 0))).tokens == Tokens(0, 0, 0)


def test_all_input_may_be_cached() -> None:
    assert parsed(using(responses_usage(10, 0, cached=10))).tokens == Tokens(10, 10, 0)


@pytest.mark.parametrize("path", ["traceparent", "data.trace_id", "data.usage.audio_tokens"])
@pytest.mark.parametrize("value", ["x", None, 1.5, {"deep": [1, {"er": None}]}], ids=str)
def test_unknown_fields_are_accepted_at_every_level(path: str, value: Any) -> None:
    assert parsed(with_value(path, value)).id == "req_001"


@pytest.mark.parametrize("endpoint", ["responses", "chat.completions", "assistants", "embeddings", "some/thing new"])
def test_an_endpoint_may_be_one_that_nobody_knows_yet(endpoint: str) -> None:
    assert parsed(with_value("data.endpoint", endpoint)).endpoint == endpoint


@pytest.mark.parametrize("kind", ["usage.request", "usage.eval_run"])
def test_both_types_of_event_are_accepted(kind: str) -> None:
    assert parsed(with_value("type", kind)).kind == kind


# Sizes and alphabets

SIZES = [("id", 256), ("data.model", 128), ("subject", 64), ("data.project", 64), ("source", 1024)]


@pytest.mark.parametrize(("path", "most"), SIZES)
def test_an_identifier_may_be_as_long_as_its_limit(path: str, most: int) -> None:
    parsed(with_value(path, "x" * most))


@pytest.mark.parametrize(("path", "most"), SIZES)
def test_an_identifier_that_is_one_character_longer_is_refused(path: str, most: int) -> None:
    code, message = refused(with_value(path, "x" * (most + 1)))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")
    assert '"xxxxx' in message


ALPHABETS = {
    "id": "AZaz09._-:/",
    "data.model": "ft:gpt-4o-2024-08-06:acme/x_1",
    "subject": "AZaz09._-",
    "data.project": "AZaz09._-",
    "data.reservation": "AZaz09._-:/",
}
NO_IDENTIFIER = ["", "a\n", "\na", "a\u0000", 5, True, ["a"], {}]
NOT_AN_IDENTIFIER = [*NO_IDENTIFIER, "a#b", "a b", "ä", "a|b", "a,b", "a(b)"]
NOT_A_NAME = [*NO_IDENTIFIER, " a", "a ", "\u00a0a", "a\tb", "a\u2028b", "a\u202eb", "a\u200bb", "\ue000"]
NAMES = ["TL-X:AGENTS", "Data Science", "eng/search", "ml@corp.example", "Büro", "CN=ml,OU=groups", "a#b", "研究", "x"]


@pytest.mark.parametrize(("path", "value"), ALPHABETS.items())
def test_an_identifier_may_use_the_whole_alphabet_of_its_kind(path: str, value: str) -> None:
    parsed(with_value(path, value))


@pytest.mark.parametrize("value", NOT_AN_IDENTIFIER, ids=repr)
@pytest.mark.parametrize("path", ["id", "data.reservation"])
def test_no_separator_and_nothing_but_text_gets_into_an_identifier(path: str, value: Any) -> None:
    code, message = refused(with_value(path, value))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")
    assert message.endswith(f": {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}")


@pytest.mark.parametrize("value", [value for value in NOT_AN_IDENTIFIER if value] + ["a:b", "a/b"], ids=repr)
def test_no_separator_and_nothing_but_text_gets_into_an_organization(value: Any) -> None:
    code, message = refused(with_value("subject", value))
    assert code == "invalid_event"
    assert message.startswith("subject: ")


@pytest.mark.parametrize("value", NAMES)
@pytest.mark.parametrize("path", ["data.model", "data.project"])
def test_models_and_projects_may_be_named_as_platforms_and_gateways_do(path: str, value: str) -> None:
    parsed(with_value(path, value))


@pytest.mark.parametrize("value", NOT_A_NAME, ids=repr)
@pytest.mark.parametrize("path", ["data.model", "data.project"])
def test_a_name_can_be_seen_and_neither_begins_nor_ends_with_a_blank(path: str, value: Any) -> None:
    code, message = refused(with_value(path, value))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")


@pytest.mark.parametrize("path", ["data.endpoint", "data.service_tier"])
@pytest.mark.parametrize("value", ["", "x" * 65, "a#b", 5, []], ids=repr)
def test_a_label_is_a_short_plain_text(path: str, value: Any) -> None:
    code, message = refused(with_value(path, value))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")


def test_an_event_may_be_80_000_bytes_of_json_and_not_one_more() -> None:
    empty = len(json.dumps(with_value("data.note", ""), separators=(",", ":")))
    assert len(compact(with_value("data.note", "x" * (80_000 - empty)))) == 80_000
    with pytest.raises(Rejected, match="event: is 80001 bytes of JSON; at most 80000 are accepted") as refused_one:
        compact(with_value("data.note", "x" * (80_001 - empty)))
    assert refused_one.value.code == "too_large"


# What is required


@pytest.mark.parametrize("path", ["specversion", "type", "source", "id", "time", "data", "data.model", "data.usage"])
def test_a_required_field_is_never_invented(path: str) -> None:
    assert refused(without(path)) == ("invalid_event", f"{path}: Field required")
    code, message = refused(with_value(path, None))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")
    assert message.endswith(": null")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("input_tokens", "data.usage: names neither input_tokens nor prompt_tokens"),
        ("output_tokens", "data.usage: names input_tokens, but no output_tokens"),
        ("total_tokens", "data.usage.total_tokens: Field required"),
    ],
)
def test_a_count_of_the_responses_shape_is_required(field: str, said: str) -> None:
    assert refused(without(f"data.usage.{field}")) == ("invalid_event", said)


def test_the_total_of_the_chat_shape_is_required() -> None:
    assert refused(using({"prompt_tokens": 8})) == ("invalid_event", "data.usage.total_tokens: Field required")


@pytest.mark.parametrize("event", [without("subject"), with_value("subject", None), with_value("subject", "")])
def test_an_event_that_names_no_organization_has_a_code_of_its_own(event: dict[str, Any]) -> None:
    code, message = refused(event)
    assert code == "no_organization"
    assert message.startswith("subject: names no organization: ")


@pytest.mark.parametrize("raw", [None, True, 5, 1.5, "event", [], [{}], {}], ids=repr)
def test_what_is_no_event_at_all_is_an_invalid_one(raw: Any) -> None:
    assert refused(raw)[0] == "invalid_event"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", "1.0.2"),
        ("specversion", 1.0),
        ("type", "usage.other"),
        ("type", "USAGE.REQUEST"),
        ("source", ""),
        ("source", 5),
        ("data", []),
        ("data", "x"),
        ("data.batch", 1),
        ("data.batch", "true"),
        ("data.shared", 0),
        ("data.tools", "web_search"),
        ("data.tools", {"type": "web_search"}),
        ("data.user_id", 5),
        ("data.usage", []),
        ("data.usage", 12),
        ("data.usage.input_tokens_details", 5),
        ("data.usage.input_tokens_details.cached_tokens", "0"),
        ("data.usage.output_tokens_details.reasoning_tokens", -1),
    ],
)
def test_a_wrong_value_is_named_with_its_field(path: str, value: Any) -> None:
    code, message = refused(with_value(path, value))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")
    assert message.endswith(f": {json.dumps(value, separators=(',', ':'))}")


WRONG_TOOLS = [5, None, "x" * 257, {}, {"name": "web_search"}, {"type": None}, {"type": 5}]


@pytest.mark.parametrize("tool", WRONG_TOOLS, ids=lambda tool: repr(tool)[:20])
def test_a_tool_is_a_name_or_an_object_with_a_type(tool: Any) -> None:
    code, message = refused(with_value("data.tools", ["function", tool]))
    assert code == "invalid_event"
    assert message.startswith("data.tools.1")


def test_a_long_value_is_shown_from_its_beginning() -> None:
    _, message = refused(with_value("type", "y" * 5000))
    assert len(message) < 300
    assert message.endswith("yyy...")


def test_three_problems_are_named_and_further_ones_counted() -> None:
    event = with_value("type", "other") | {"specversion": "2.0", "id": 5}
    assert refused(event)[1] == (
        "specversion: Input should be '1.0': \"2.0\"; "
        'type: must be usage.request, usage.eval_run or usage.void: "other"; '
        "id: Input should be a valid string: 5"
    )
    assert refused(event | {"source": 7})[1].endswith("source: Input should be a valid string: 7 (and 1 more)")


def test_a_negative_count_is_named_beside_the_total_that_it_spoils() -> None:
    message = refused(using({"input_tokens": -900, "output_tokens": 100, "total_tokens": -800}))[1]
    assert "data.usage.input_tokens: Input should be greater than or equal to 0: -900" in message
    assert "data.usage.total_tokens: Input should be greater than or equal to 0: -800" in message


# Token counts


@pytest.mark.parametrize("wrong", [-1, 1.0, 1.5, "1", True, [1], MAX_TOKENS + 1, 10**30], ids=repr)
@pytest.mark.parametrize("field", ["input_tokens", "output_tokens", "total_tokens"])
def test_a_token_count_is_a_json_integer_of_a_sensible_size(field: str, wrong: Any) -> None:
    path = f"data.usage.{field}"
    code, message = refused(with_value(path, wrong))
    assert code == "invalid_event"
    assert message.startswith(f"{path}: ")
    assert message.endswith(f": {json.dumps(wrong)}")


@pytest.mark.parametrize("wrong", [-1, 1.0, "1", True, MAX_TOKENS + 1], ids=repr)
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_token_count_of_the_chat_shape_is_one_too(field: str, wrong: Any) -> None:
    code, message = refused(using(chat_usage(1, 1) | {field: wrong}))
    assert code == "invalid_event"
    assert message.startswith(f"data.usage.{field}: ")


def test_the_largest_count_is_accepted() -> None:
    assert parsed(using(responses_usage(MAX_TOKENS, 0))).tokens.total == MAX_TOKENS


@pytest.mark.parametrize("total", [2, 4])
@pytest.mark.parametrize("usage", [responses_usage(2, 1), chat_usage(2, 1)], ids=["responses", "chat"])
def test_a_total_that_is_not_input_plus_output_is_refused_with_all_the_numbers(usage: dict, total: int) -> None:
    code, message = refused(using(usage | {"total_tokens": total}))
    assert code == "invalid_event"
    assert message == f"data.usage: total_tokens is {total}, but input 2 + output 1 is 3"


def test_usage_may_be_given_in_both_shapes_if_they_agree() -> None:
    assert parsed(using(responses_usage(9, 1, cached=3) | chat_usage(9, 1, cached=3))).tokens == Tokens(9, 3, 1)
    code, message = refused(using(chat_usage(9, 1) | {"input_tokens": 8}))
    said = "data.usage: contradicts itself: input_tokens is 8, prompt_tokens is 9"
    assert (code, message) == ("invalid_event", said)


@pytest.mark.parametrize(
    "usage",
    [
        chat_usage(9, 1) | {"input_tokens": None, "output_tokens": None},
        responses_usage(9, 1) | {"completion_tokens": None},
        responses_usage(9, 1) | {"prompt_tokens": None, "completion_tokens": None},
    ],
    ids=["chat", "responses", "responses with null for both"],
)
def test_null_for_the_counts_of_the_other_shape_says_nothing(usage: dict) -> None:
    assert parsed(using(usage)).tokens == Tokens(9, 0, 1)


def test_a_long_value_for_a_count_of_the_other_shape_is_shown_from_its_beginning() -> None:
    assert len(refused(using(chat_usage(9, 1) | {"input_tokens": "x" * 50_000}))[1]) < 300


@pytest.mark.parametrize("shape", [responses_usage, chat_usage])
def test_more_cached_than_input_is_refused_with_both_numbers(shape: Any) -> None:
    code, message = refused(using(shape(10, 5, cached=11)))
    assert code == "invalid_event"
    assert message == "data.usage: cached_tokens is 11, more than the 10 input tokens it is part of"


# Usage is read whole

PLURAL = ("input_tokens_details", "prompt_tokens_details")
PLACES = [*PLURAL, "input_token_details", "prompt_token_details"]
SHAPES = {"responses": responses_usage(100, 50), "chat": chat_usage(100, 50)}


def bare(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage without its details."""
    return {name: value for name, value in usage.items() if not name.endswith("_details")}


@pytest.mark.parametrize("name", ["cached_tokens", "cache_read_tokens", "cache_read"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_input_counts_wherever_its_details_stand(shape: str, place: str, name: str) -> None:
    assert parsed(using(bare(SHAPES[shape]) | {place: {name: 90}})).tokens == Tokens(100, 90, 50)


@pytest.mark.parametrize(
    "name", ["cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_input_counts_without_details_too(shape: str, name: str) -> None:
    assert parsed(using(bare(SHAPES[shape]) | {name: 90})).tokens == Tokens(100, 90, 50)


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_creation_tokens", "cache_creation"])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_written_to_the_cache_is_part_of_the_input(place: str, name: str) -> None:
    usage = bare(SHAPES["responses"]) | {place: {"cached_tokens": 20, name: 70}}
    assert parsed(using(usage)).tokens == Tokens(100, 20, 50, cache_write=70)


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_write_input_tokens", "cache_creation_input_tokens"])
def test_what_was_written_to_the_cache_counts_without_details_too(name: str) -> None:
    assert parsed(using(bare(SHAPES["chat"]) | {name: 70})).tokens.cache_write == 70


def test_cached_and_written_input_fit_into_the_input_together() -> None:
    details = {"cached_tokens": 60, "cache_write_tokens": 41}
    code, message = refused(using(bare(SHAPES["responses"]) | {"input_tokens_details": details}))
    said = "data.usage: cached and cache_write_tokens is 101, more than the 100 input tokens it is part of"
    assert (code, message) == ("invalid_event", said)


def test_audio_counts_from_input_and_output_and_is_in_the_tokens_since_it_has_a_price_of_its_own() -> None:
    usage = SHAPES["chat"] | {
        "prompt_tokens_details": {"audio_tokens": 30},
        "completion_tokens_details": {"audio_tokens": 20},
    }
    assert parsed(using(usage)).tokens == Tokens(100, 0, 50, audio=50)


def test_usage_as_langchain_states_it_is_read_whole() -> None:
    usage = {
        "input_tokens": 350,
        "output_tokens": 240,
        "total_tokens": 590,
        "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
        "output_token_details": {"audio": 10, "reasoning": 200},
    }
    assert parsed(using(usage)).tokens == Tokens(350, 100, 240, cache_write=200, audio=20)


OTHER_NAMES = [
    *("input_cached_tokens", "cached_prompt_tokens", "cachedTokens", "cached_content_token_count"),
    *("input_audio_tokens", "audioTokens"),
]


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("place", ["", *PLACES])
def test_a_count_with_a_price_of_its_own_under_a_name_that_is_not_known_is_refused_by_name(
    place: str, name: str
) -> None:
    stated = {place: {name: 90}} if place else {name: 90}
    code, message = refused(using(bare(SHAPES["chat"]) | stated))
    said = f"data: usage.{place}{place and '.'}{name} has a price of its own, and is no name of a count that is known"
    assert (code, message) == ("invalid_event", said)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_langchain_puts_the_service_tier_before_what_was_cached(tier: str) -> None:
    usage = {"input_tokens": 350, "output_tokens": 240, "total_tokens": 590}
    details = {f"{tier}_cache_read": 100, tier: 250}
    assert parsed(using(usage | {"input_token_details": details})).tokens == Tokens(350, 100, 240)


@pytest.mark.parametrize(("name", "is_refused"), [("cache_read_input", False), ("cache_written", True)])
def test_a_count_that_is_known_by_another_name_too_changes_no_price(name: str, is_refused: bool) -> None:
    event = using(bare(SHAPES["chat"]) | {"prompt_tokens_details": {"cached_tokens": 90}, name: 90})
    if is_refused:
        assert refused(event)[0] == "invalid_event"
    else:
        assert parsed(event).tokens == Tokens(100, 90, 50)


def test_what_another_provider_calls_its_counts_changes_no_price_of_ours() -> None:
    event = using(SHAPES["chat"] | {"num_cached_tokens": 90})
    event["data"]["model"] = "mistral/mistral-large-2411"
    assert parsed(event).tokens == Tokens(100, 0, 50)


@pytest.mark.parametrize("value", [0, None, False, True, {}, {"ephemeral_5m_input_tokens": 0}, 0.5, "90"])
def test_what_is_no_count_or_nothing_is_kept_as_any_unknown_field(value: Any) -> None:
    assert parsed(using(SHAPES["chat"] | {"input_cached_tokens": value})).tokens == Tokens(100, 0, 50)


@pytest.mark.parametrize(
    "name",
    ["prompt_cache_miss_tokens", "non_cached_tokens", "text_tokens", "cache_hit", "cached_at", "audio_seconds"],
)
def test_other_figures_of_usage_change_nothing(name: str) -> None:
    assert parsed(using(SHAPES["chat"] | {name: 90})).tokens == Tokens(100, 0, 50)


CONTRADICTIONS = {
    "counts": bare(SHAPES["chat"]) | {"input_tokens": 99, "output_tokens": 50},
    "outputs": bare(SHAPES["chat"]) | {"input_tokens": 100, "output_tokens": 51},
    "cached in both details": SHAPES["chat"] | {name: {"cached_tokens": 10 * n} for n, name in enumerate(PLURAL, 1)},
    "cached in details and beside them": SHAPES["chat"]
    | {"prompt_tokens_details": {"cached_tokens": 1}, "cached_tokens": 2},
    "written in details and beside them": SHAPES["chat"]
    | {"prompt_tokens_details": {"cache_write_tokens": 1}, "cache_creation_input_tokens": 2},
}


@pytest.mark.parametrize("usage", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_counts_that_contradict_each_other_are_refused_by_name(usage: dict[str, Any]) -> None:
    code, message = refused(using(usage))
    assert code == "invalid_event"
    assert message.startswith("data.usage: contradicts itself: ")


ABSENT = {
    "zeros of responses": chat_usage(10, 5, cached=3) | {"input_tokens": 0, "output_tokens": 0},
    "zeros of responses with details": chat_usage(10, 5, cached=3)
    | {"input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 0}},
    "zeros of chat": responses_usage(10, 5, cached=3) | {"prompt_tokens": 0, "completion_tokens": 0},
    "nulls of chat": responses_usage(10, 5, cached=3) | {"prompt_tokens": None, "completion_tokens": None},
    "a zero and a null": responses_usage(10, 5, cached=3) | {"prompt_tokens": 0, "completion_tokens": None},
}


@pytest.mark.parametrize("usage", ABSENT.values(), ids=ABSENT)
def test_a_shape_of_zeros_or_nulls_beside_one_that_is_not_counts_as_absent(usage: dict[str, Any]) -> None:
    assert parsed(using(usage)).tokens == Tokens(10, 3, 5)


def test_zeros_in_both_shapes_are_a_request_of_no_tokens() -> None:
    assert parsed(using(bare(responses_usage(0, 0)) | bare(chat_usage(0, 0)))).tokens == Tokens(0, 0, 0)


def test_what_the_platform_says_and_the_reservation_are_handed_on() -> None:
    request = parsed(usage_event(data=usage_data(platform_verdict="billed", reservation="req_7")))
    assert (request.platform_verdict, request.reservation) == ("billed", "req_7")


@pytest.mark.parametrize("verdict", ["Free", "", 1, True])
def test_the_platform_says_free_or_billed(verdict: Any) -> None:
    assert refused(with_value("data.platform_verdict", verdict))[1].startswith("data.platform_verdict: ")


def test_more_tools_than_any_request_has_are_refused() -> None:
    parsed(with_value("data.tools", ["function"] * 512))
    assert refused(with_value("data.tools", ["function"] * 513))[1].startswith("data.tools: ")


@pytest.mark.parametrize("count", [512, 39_000])
def test_of_many_wrong_tools_only_the_first_is_looked_at(count: int) -> None:
    with pytest.raises(ValidationError) as wrong:
        UsageEvent.model_validate(with_value("data.tools", [7] * count))
    assert wrong.value.error_count() <= 2


# Time


@pytest.mark.parametrize(
    "written",
    [
        "2025-03-11T09:15:00Z",
        "2025-03-11t09:15:00z",
        "2025-03-11 09:15:00Z",
        "2025-03-11T09:15:00.000Z",
        "2025-03-11T09:15:00.000000999Z",
        "2025-03-11T09:15:00+00:00",
        "2025-03-11T09:15:00-00:00",
        "2025-03-11T14:45:00+05:30",
        "2025-03-10T23:15:00-10:00",
    ],
)
def test_one_moment_may_be_written_in_many_ways(written: str) -> None:
    assert parsed(with_value("time", written)).occurred_at == datetime(2025, 3, 11, 9, 15, tzinfo=UTC)


def test_decimals_of_a_second_are_kept_to_the_microsecond() -> None:
    assert parsed(with_value("time", "2025-03-11T09:15:00.123456789Z")).occurred_at.microsecond == 123_456


@pytest.mark.parametrize(
    "written",
    [
        "2025-03-11T09:15:00",
        "2025-03-11",
        "2025-03-11T09:15Z",
        "20250311T091500Z",
        "2025-03-11T09:15:00 Z",
        "2025-03-11T09:15:00Z\n",
        "2025-03-11T09:15:00.Z",
        "2025-03-11T09:15:00+0100",
        "2025-02-30T09:15:00Z",
        "2025-03-11T24:00:00Z",
        "2025-03-11T09:15:60Z",
        "2025-03-11T09:15:00+24:00",
        "٢٠٢٥-03-11T09:15:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "now",
        "",
        1_741_684_500,
        1_741_684_500.5,
        True,
        {},
    ],
    ids=repr,
)
def test_a_time_that_is_no_moment_with_an_offset_is_refused(written: Any) -> None:
    code, message = refused(with_value("time", written))
    assert code == "invalid_event"
    assert message.startswith("time: ")


def test_an_event_may_be_five_minutes_ahead_and_not_a_microsecond_more() -> None:
    received = at("2025-03-11T09:10:00")
    assert parsed(usage_event(), received).occurred_at == at("2025-03-11T09:15:00")
    code, message = refused(usage_event(), received - timedelta(microseconds=1))
    assert code == "in_the_future"
    assert "2025-03-11T09:15:00Z" in message
    assert "2025-03-11T09:09:59.999999Z" in message


def test_an_event_may_be_35_days_old_and_not_a_microsecond_more() -> None:
    received = at("2025-04-15T09:15:00")
    assert parsed(usage_event(), received).occurred_at == at("2025-03-11T09:15:00")
    code, message = refused(usage_event(), received + timedelta(microseconds=1))
    assert code == "too_old"
    assert "2025-03-11T09:15:00Z" in message
    assert "over 35 days" in message


@pytest.mark.parametrize(
    ("written", "code"), [("1970-01-01T00:00:00+14:00", "too_old"), ("9000-12-31T23:59:59-12:00", "in_the_future")]
)
def test_the_ends_of_the_calendar_are_only_too_old_or_in_the_future(written: str, code: str) -> None:
    assert refused(with_value("time", written))[0] == code


@pytest.mark.parametrize("written", ["1969-12-31T23:59:59Z", "9001-01-01T00:00:00Z"])
def test_a_year_that_no_clock_shows_is_named(written: str) -> None:
    assert refused(with_value("time", written)) == (
        "invalid_event",
        f'time: must lie in the years 1970 to 9000: "{written}"',
    )


def test_the_moment_of_an_invalid_event_is_read_where_it_states_one() -> None:
    assert moment_of(with_value("id", None)) == at("2025-03-11T09:15")
    assert [moment_of(raw) for raw in ({}, {"time": "soon"}, {"time": None}, [], None, "x")] == [None] * 6


# What makes two events the same


def hash_of(event: dict[str, Any]) -> str:
    return parsed(event).payload_hash


def reversed_keys(value: Any) -> Any:
    return {key: reversed_keys(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


SAME = {
    "another source": usage_event(source="urn:another-gateway"),
    "another order of its keys": reversed_keys(usage_event()),
    "its moment in another time zone": usage_event(time="2025-03-11T10:15:00+01:00"),
    "its moment in lower case, with decimals": usage_event(time="2025-03-11t09:15:00.000z"),
    "the usage in the shape of chat completions": using(chat_usage(90_000, 30_000)),
    "no details": using({"input_tokens": 90_000, "output_tokens": 30_000, "total_tokens": 120_000}),
    "null details": using(responses_usage(90_000, 30_000) | {"input_tokens_details": None}),
    "its defaults spelled out": usage_event(
        data=usage_data(endpoint="responses", service_tier="default", batch=False, tools=[], shared=True)
    ),
    "a reservation": with_value("data.reservation", "req_7"),
    "the platform's verdict": with_value("data.platform_verdict", "billed"),
    "nothing written to the cache": with_value("data.usage.input_tokens_details.cache_write_tokens", 0),
    "nulls for what it has not": usage_event(data=usage_data(endpoint=None, tools=None, user_id=None, api_key_id=None)),
}
OTHER = {
    "one input token more": using(responses_usage(90_001, 30_000)),
    "one output token more": using(responses_usage(90_000, 30_001)),
    "the same total split differently": using(responses_usage(90_001, 29_999)),
    "one token written to the cache": with_value("data.usage.input_tokens_details.cache_write_tokens", 1),
    "one token of audio": with_value("data.usage.output_tokens_details.audio_tokens", 1),
    "one cached token": using(responses_usage(90_000, 30_000, cached=1)),
    "another model": with_value("data.model", "gpt-4o-2024-11-20"),
    "another project": with_value("data.project", "proj_app"),
    "no project": with_value("data.project", None),
    "another endpoint": with_value("data.endpoint", "assistants"),
    "another service tier": with_value("data.service_tier", "flex"),
    "batch": with_value("data.batch", True),
    "a tool": with_value("data.tools", ["web_search"]),
    "not shared": with_value("data.shared", False),
    "a user": with_value("data.user_id", "user_1"),
    "an unknown data field": with_value("data.trace", "t1"),
    "another value of it": with_value("data.trace", "t2"),
    "a microsecond later": with_value("time", "2025-03-11T09:15:00.000001Z"),
    "another id": with_value("id", "req_002"),
    "another organization": with_value("subject", "org_other"),
    "another type": with_value("type", "usage.eval_run"),
}


@pytest.mark.parametrize("event", SAME.values(), ids=SAME.keys())
def test_an_event_is_the_same_with(event: dict[str, Any]) -> None:
    assert hash_of(event) == hash_of(usage_event())


@pytest.mark.parametrize("event", OTHER.values(), ids=OTHER.keys())
def test_an_event_is_another_one_with(event: dict[str, Any]) -> None:
    assert hash_of(event) != hash_of(usage_event())


def test_no_two_of_those_are_the_same() -> None:
    assert len({hash_of(event) for event in OTHER.values()}) == len(OTHER)


def test_cached_tokens_are_the_same_in_both_shapes() -> None:
    shapes = (responses_usage, chat_usage)
    assert len({hash_of(using(shape(90_000, 30_000, cached=7))) for shape in shapes}) == 1


def test_the_hash_does_not_depend_on_when_the_event_arrived() -> None:
    assert parsed(usage_event(), RECEIVED + timedelta(days=3)).payload_hash == hash_of(usage_event())


def test_the_hash_says_of_a_run_what_the_first_release_said_whose_runs_were_shared_unless_they_said_otherwise() -> None:
    run = with_value("type", "usage.eval_run")
    true, false = ({**run, "data": {**run["data"], "shared": shared}} for shared in (True, False))
    assert (hash_of(run), hash_of(true), hash_of(false)) == (
        "7526d03479471d65e24816928a9496a082a4f48455f0e485df68aa62dbab307f",
        "7526d03479471d65e24816928a9496a082a4f48455f0e485df68aa62dbab307f",
        "19206caf2d65e41d2c83a5623a98457288c9e375a14e3e07ce489f71df3acb9c",
    )


def test_the_hash_of_a_known_event_never_changes_or_every_retry_would_be_a_conflict() -> None:
    assert hash_of(usage_event()) == "cb70d2b6edcdabbaddb601535cf30ca8e406c7a0047e2a9e17d1aa3248afb529"


# JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, -0.5, true, null, "\\u00e9"]}', {"a": [1, -0.5, True, None, "é"]}),
        ('"é"'.encode(), "é"),
        ('"é"', "é"),
        (b" 5 ", 5),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_json_is_read_as_it_is(body: bytes | str, value: Any) -> None:
    assert parse_json(body) == value


NOT_JSON = {
    "nothing": b"",
    "blanks": b" \n",
    "a half": b'{"a": 1',
    "too much": b"{} {}",
    "single quotes": b"{'a': 1}",
    "not a number": b"NaN",
    "infinity": b"[Infinity]",
    "minus infinity": b"-Infinity",
    "a lone surrogate": b'"\\ud800"',
    "bytes that are no UTF-8": b'"\xff"',
    "endless nesting": b"[" * 100_000,
    "nesting far too deep": b"[" * 1000 + b"]" * 1000,
    "a number of 10,000 digits": b"1" * 10_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the parser's
        parse_json(body)
