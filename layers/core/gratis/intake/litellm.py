"""LiteLLM's generic API callback: its log entries as usage events. SPEC section 5; LiteLLM 1.106 and 1.110.

Whose word counts: what the platform answered and what the proxy's operator set up. What a caller can put into a
request (call id, tags, headers, request metadata, `spend_logs_metadata`) never names an organization, never makes two
requests one, and never turns a call that used tokens into one that is skipped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gratis import moment
from gratis.http import Refused
from gratis.intake.event_models import VERDICTS
from gratis.intake.mapping import PLATFORM, fitting, model_of
from gratis.strict_json import parse_json

SOURCE = "litellm"
NO_JSON, NO_OBJECT = NO_WORDS = ("no JSON", "no object")
"""With one of these begins the text that is kept in place of an entry that is no JSON, or no object."""
MAX_ENTRIES = 10_000
"""In one body, as on the other routes."""
ORGANIZATION = "gratis_organization"
"""The name, in the metadata of a team or a key of the proxy, under which its operator says whose calls these are."""
RESERVATION = "gratis_reservation"
"""The name, beside it, under which the gate of `gratis_client` writes the id of what it reserved for the call."""
HEALTH_CHECK = "litellm-internal-health-check"
"""Alias of the key, and team, of the calls by which the proxy tries its own models."""

_RESERVED = re.compile(r"gate-[0-9a-f]{32}")
"""Ids that the gate makes: nobody guesses one. Others' reservations are named by no log entry."""
_FROM_CACHE = re.compile(r"_cache_hit\d+(\.\d+)?$")

ENDPOINTS = {
    "completion": "chat.completions",
    "text_completion": "completions",
    "responses": "responses",
    "compact_responses": "responses",
    "get_responses": "responses",
    "_aresponses_websocket": "responses",
    "_arealtime": "realtime",
    "embedding": "embeddings",
    "moderation": "moderations",
    "image_generation": "images.generations",
    "image_edit": "images.edits",
    "image_variation": "images.variations",
    "speech": "audio.speech",
    "transcription": "audio.transcriptions",
    "retrieve_batch": "batches",
    "create_thread": "assistants",
    "get_thread": "assistants",
    "_add_message": "assistants",
    "add_message": "assistants",
    "get_messages": "assistants",
    "run_thread": "assistants",
    "run_thread_stream": "assistants",
    "get_assistants": "assistants",
    "create_assistants": "assistants",
    "delete_assistant": "assistants",
    "create_fine_tuning_job": "fine_tuning",
    "cancel_fine_tuning_job": "fine_tuning",
    "list_fine_tuning_jobs": "fine_tuning",
    "retrieve_fine_tuning_job": "fine_tuning",
}
"""The endpoint of a `call_type`, which may have an `a` before it (asynchronous); others keep their name."""
PASSED_THROUGH = ("pass_through_endpoint", "llm_passthrough_route")
"""Call types that do not say what was called; the answer's `object` and the path of the proxy's route do."""
OBJECTS = {
    "chat.completion": "chat.completions",
    "text_completion": "completions",
    "response": "responses",
    "thread.run": "assistants",
    "realtime.session": "realtime",
}
ROUTES = {
    "/threads": "assistants",
    "/assistants": "assistants",
    "/fine_tuning": "fine_tuning",
    "/chat/completions": "chat.completions",
    "/responses": "responses",
    "/embeddings": "embeddings",
}

READS = (
    "get_responses",
    "cancel_responses",
    "delete_responses",
    "list_input_items",
    "get_thread",
    "get_messages",
    "file_retrieve",
    "file_content",
    "file_list",
    "list_batches",
    "list_fine_tuning_jobs",
    "retrieve_fine_tuning_job",
    "cancel_fine_tuning_job",
    "video_retrieve",
    "video_list",
    "video_content",
    "vector_store_retrieve",
    "vector_store_list",
)
"""Calls that hand out what an earlier call made; usage that they show is that call's."""
RESPONSE_READS = ("get_responses", "cancel_responses")
UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")
"""States of a batch that is still at work: what it used is not known yet."""

CALLER_RUN = ("function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call")
"""Items of a response's `output` by which the model asks the caller to run something: no hosted tool."""
CALLED = {"computer_call": "computer_use"}
"""Hosted tools whose call is not named after them."""

COUNTS = ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens")
TOP_LEVEL = ("prompt_tokens", "completion_tokens", "total_tokens")

MAX_KEPT_TEXT = 4096
"""Characters of an id or a name in a kept entry; longer ones are cut."""
MAX_KEPT_WORD = 64
"""Characters of a text inside usage, where figures belong."""
MAX_KEPT_ITEMS = 100
"""Names in a kept object, items in a kept list."""

FIELDS = {
    "id": "id, else litellm_call_id",
    "time": "startTime, of a batch response.completed_at, else response.created_at",
    "subject": f"metadata.user_api_key_org_id, else {ORGANIZATION} in the metadata of the team or the key, else the "
    "default organization of this deployment",
    "data.project": "metadata.user_api_key_project_id, else metadata.user_api_key_team_id",
    "data.model": "model, custom_llm_provider",
    "data.usage": "metadata.usage_object",
    "data.tools": "model_parameters.tools",
    "data.user_id": "metadata.user_api_key_user_id",
    "data.api_key_id": "metadata.user_api_key_hash",
    "data.service_tier": "response.service_tier",
    "data.endpoint": "call_type",
}
"""Where LiteLLM holds what our messages name."""


def entries(body: bytes) -> list[Any]:
    """The log entries of a body: a JSON array, one object, or one object a line. Raises ValueError for none of these.

    Raises Refused (413) for more than MAX_ENTRIES; of lines they are counted before the first is parsed. What is no
    entry comes back as a text that says so, to be refused alone; prompts may be in it, so it is not kept.
    """
    try:
        decoded = parse_json(body)
    except ValueError:
        _refuse_too_many(body.count(b"\n") + 1, "lines")
        parsed = [_line(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
        if all(isinstance(each, str) for each in parsed):
            raise
        return parsed
    found = decoded if isinstance(decoded, list) else [decoded]
    _refuse_too_many(len(found), "entries")
    return found


def is_entry(value: Any) -> bool:
    """Whether this is one of LiteLLM's log entries."""
    return isinstance(value, Mapping) and "litellm_call_id" in value


def skipped(entry: Any) -> str | None:
    """Why an entry is skipped, None if it is decided (or refused). SPEC section 5, the paragraph under the routes.

    `empty`: a null, which LiteLLM posts for calls that it makes no entry of, such as listing batches. `cache_hit`:
    answered by LiteLLM itself. `health_check`: the proxy tried its own models. `unfinished_batch`: the
    poll of a batch that is still at work. `read_back`: a stored response was read, whose usage its own call logged.
    `no_usage`: nothing was used, whether the call failed or not. A failure that used tokens is decided.
    """
    if entry is None:
        return "empty"
    if not isinstance(entry, Mapping):
        return None
    if _is_cache_hit(entry):
        return "cache_hit"
    if _is_health_check(entry):
        return "health_check"
    used = _uses(_usage(entry))
    known = (("unfinished_batch", _is_unfinished_batch), ("read_back", _is_read_back))
    stored = next((reason for reason, is_so in known if is_so(entry, used)), None)
    return stored or (None if used else "no_usage")


def usage_event(entry: Any, default_organization: str | None = None) -> Any:
    """The CloudEvent of a log entry, without prompts or answers; of what is no object only a word is left.

    The organization is the first of these, all of them set by the proxy's operator: the LiteLLM organization of the
    key (`user_api_key_org_id`); `gratis_organization` in the metadata of the team or the key, which LiteLLM hands on
    as `user_api_key_auth_metadata` (the team's wins there; where users make keys of their own, set it on the team);
    `default_organization`. Team ids and key aliases do not name one by themselves: a deployment that uses them for
    something else would charge organizations that do not exist.

    What the platform works on without the caller, a batch or a background response, is one request however often
    and by whomever it is read back, so its event holds only what every poll shows alike.
    """
    entry = kept(entry)
    if not isinstance(entry, Mapping):
        return entry
    stored = _is_stored(entry)
    metadata = _part(entry, "metadata")
    data = {
        "project": metadata.get("user_api_key_project_id") or metadata.get("user_api_key_team_id") or None,
        "model": _model(entry),
        "endpoint": _endpoint(entry),
        "service_tier": _service_tier(entry),
        "batch": _is_batch(entry),
        "tools": _tools(entry),
        "usage": _usage(entry),
        "user_id": metadata.get("user_api_key_user_id"),
        "api_key_id": metadata.get("user_api_key_hash"),
    }
    if stored:
        data |= dict.fromkeys(("project", "user_id", "api_key_id"))
    elif reservation := _reservation(metadata):
        data["reservation"] = reservation
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": SOURCE,
        "id": _stored_id(entry) if stored else _request_id(entry),
        "time": _stored_time(entry) if stored else _time(entry.get("startTime")),
        "subject": _organization(metadata, default_organization),
        "data": data | _verdict(entry),
    }


def kept(entry: Any) -> Any:
    """The entry with only what this mapping, or a mended one, reads: never prompts, answers, arguments or headers.

    `usage_event` sees nothing else, so `usage_event(kept(entry)) == usage_event(entry)`: an event carries it through
    the queue, and a redrive after a fix maps it anew. Its size is bounded by the constants above. Of what is no
    object only a word is left.
    """
    if not isinstance(entry, Mapping):
        return (
            entry if isinstance(entry, str) and entry.startswith(NO_WORDS) else f"{NO_OBJECT}: {type(entry).__name__}"
        )
    metadata, parameters = _part(entry, "metadata"), _part(entry, "model_parameters")
    trimmed = _texts(entry, _KEPT)
    stamped = _part(metadata, "user_api_key_auth_metadata")
    trimmed["metadata"] = _texts(metadata, _KEPT_METADATA) | {
        "user_api_key_auth_metadata": _texts(stamped, (ORGANIZATION, RESERVATION)),
        "usage_object": _figures(metadata.get("usage_object")),
    }
    trimmed["response"] = _kept_response(entry.get("response"))
    trimmed["model_parameters"] = _kept_request(parameters) | {
        "extra_body": _kept_request(_part(parameters, "extra_body"))
    }
    trimmed["hidden_params"] = _kept_hidden(_part(entry, "hidden_params"))
    trimmed["cost_breakdown"] = _texts(_part(entry, "cost_breakdown"), ("service_tier",))
    trimmed["standard_built_in_tools_params"] = {
        name: {} for name in _BUILT_IN if _is_on(_part(entry, "standard_built_in_tools_params").get(name))
    }
    return _without_nothing(trimmed)


def in_their_words(message: str) -> str:
    """An error message with LiteLLM's names of the fields beside ours."""
    said = message.split("; ")
    theirs = [FIELDS[ours] for each in said for ours in FIELDS if each.startswith((f"{ours}:", f"{ours}."))]
    return f"{message} (in LiteLLM's entry: {', '.join(dict.fromkeys(theirs))})" if theirs else message


# --- bodies --------------------------------------------------------------------------------------------------------


def _refuse_too_many(count: int, what: str) -> None:
    if count > MAX_ENTRIES:
        raise Refused(413, "too_many_events", f"the body holds {count} {what}; at most {MAX_ENTRIES} are accepted")


def _line(number: int, line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return f"{NO_JSON}: line {number}, {len(line)} bytes"


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside of another; an empty one where there is none."""
    value = whole.get(name)
    return value if isinstance(value, Mapping) else {}


# --- what kind of call ---------------------------------------------------------------------------------------------


def _call(entry: Mapping[str, Any]) -> Any:
    """The kind of call, whether it was made synchronously or not."""
    call_type = entry.get("call_type")
    if not isinstance(call_type, str):
        return call_type
    name = call_type.removeprefix("a")
    return name if name in _SYNCHRONOUS else call_type


def _is_cache_hit(entry: Mapping[str, Any]) -> bool:
    """Whether LiteLLM answered from its cache; it marks the id, too, unless the id is the caller's."""
    if entry.get("cache_hit") is True:
        return True
    stated = entry.get("id")
    return isinstance(stated, str) and stated != entry.get("litellm_call_id") and bool(_FROM_CACHE.search(stated))


def _is_health_check(entry: Mapping[str, Any]) -> bool:
    """By the key and the team, which the proxy stamps. Not by the tag: callers can send tags."""
    metadata = _part(entry, "metadata")
    teams = (metadata.get("user_api_key_team_id"), metadata.get("user_api_key_team_alias"))
    return (
        metadata.get("user_api_key_alias") == HEALTH_CHECK
        and HEALTH_CHECK in teams
        and not metadata.get("user_api_key_org_id")
    )


def _is_batch(entry: Mapping[str, Any]) -> bool:
    return _part(entry, "response").get("object") == "batch" or _call(entry) == "retrieve_batch"


def _is_unfinished_batch(entry: Mapping[str, Any], used: bool) -> bool:
    """Whether this polls a batch that is still at work. Creating one is no poll, unless its answer shows usage."""
    polled = used or _call(entry) != "create_batch"
    return _is_batch(entry) and polled and _part(entry, "response").get("status") in UNFINISHED


def _is_background(entry: Mapping[str, Any]) -> bool:
    """Whether the platform works on a response on its own: the call that made it shows no usage, a read does."""
    return _part(entry, "response").get("background") is True


def _is_stored(entry: Mapping[str, Any]) -> bool:
    return _is_batch(entry) or _is_background(entry)


def _is_read_back(entry: Mapping[str, Any], used: bool) -> bool:
    if used and _is_background(entry):
        return False
    call = _call(entry)
    return call in RESPONSE_READS or (used and call in READS)


# --- field by field ------------------------------------------------------------------------------------------------


def _organization(metadata: Mapping[str, Any], default: str | None) -> Any:
    own = _part(metadata, "user_api_key_auth_metadata").get(ORGANIZATION)
    return metadata.get("user_api_key_org_id") or own or default


def _reservation(metadata: Mapping[str, Any]) -> str | None:
    """Where callers cannot write: the proxy drops, or refuses, what they send under `user_api_key_...`."""
    named = _part(metadata, "user_api_key_auth_metadata").get(RESERVATION)
    return named if isinstance(named, str) and _RESERVED.fullmatch(named) else None


def _request_id(entry: Mapping[str, Any]) -> Any:
    """The platform's id of the response; where LiteLLM has only the caller's id of the call, that and the moment."""
    stated, call_id = entry.get("id"), entry.get("litellm_call_id")
    if _is_named(stated) and stated != call_id:
        return fitting(str(stated))
    return fitting(f"{call_id}@{entry.get('startTime')}") if _is_named(call_id) else call_id


def _stored_id(entry: Mapping[str, Any]) -> Any:
    stated = _part(entry, "response").get("id") or entry.get("id")
    return fitting(str(stated)) if _is_named(stated) and stated != entry.get("litellm_call_id") else None


def _is_named(stated: Any) -> bool:
    return isinstance(stated, str) and stated not in ("", "None")


def _stored_time(entry: Mapping[str, Any]) -> Any:
    """When the platform finished it, else when it was made; a poll's own moment is no moment of the request's."""
    response = _part(entry, "response")
    return _time(response.get("completed_at") or response.get("created_at"))


def _time(start: Any) -> Any:
    """Unix seconds as the moment they stand for; anything else as it is, to be refused by name."""
    if isinstance(start, bool) or not isinstance(start, int | float):
        return start
    try:
        return moment.text(datetime.fromtimestamp(start, UTC))
    except (OverflowError, ValueError, OSError):
        return start


def _model(entry: Mapping[str, Any]) -> Any:
    """The model; what names none stays as it is, to be refused by name."""
    stated = entry.get("model")
    if stated is not None and not isinstance(stated, str):
        return stated
    served = _part(entry, "response").get("model")
    asked = None if _call(entry) in RESPONSE_READS else stated  # there LiteLLM names the response that was read
    return model_of(_provider(entry), asked, served, _worked_on(entry)) or stated


def _provider(entry: Mapping[str, Any]) -> str:
    """Whose call it was; where LiteLLM does not say so, the model's own prefix (or none) stands."""
    stated = entry.get("custom_llm_provider")
    return stated.strip().lower() if isinstance(stated, str) and stated.strip() else PLATFORM[0]


def _worked_on(entry: Mapping[str, Any]) -> Any:
    """The model of a batch, from its results, if they name a single one."""
    hidden = _part(entry, "hidden_params")
    models = hidden.get("batch_models")
    named = {each for each in models if isinstance(each, str)} if isinstance(models, list) else set()
    return named.pop() if len(named) == 1 else hidden.get("litellm_model_name")


def _endpoint(entry: Mapping[str, Any]) -> Any:
    call = _call(entry)
    if not isinstance(call, str):
        return call
    return _passed_through(entry) or call if call in PASSED_THROUGH else ENDPOINTS.get(call, call) or None


def _passed_through(entry: Mapping[str, Any]) -> str | None:
    route = _part(entry, "metadata").get("user_api_key_request_route")
    by_route = (ROUTES[each] for each in ROUTES if isinstance(route, str) and each in route)
    kind = _part(entry, "response").get("object")
    return next(by_route, OBJECTS.get(kind) if isinstance(kind, str) else None)


def _service_tier(entry: Mapping[str, Any]) -> Any:
    """What the platform served, else what LiteLLM knows of it, else what was asked for; `auto` is no tier."""
    metadata, parameters = _part(entry, "metadata"), _part(entry, "model_parameters")
    places = (
        _part(entry, "response"),
        _part(entry, "hidden_params"),
        _part(metadata, "usage_object"),
        _part(entry, "cost_breakdown"),
        parameters,
        _part(parameters, "extra_body"),
    )
    stated = (place.get("service_tier") for place in places)
    return next((tier for tier in stated if tier not in (None, "", "auto")), "default")


def _verdict(entry: Mapping[str, Any]) -> dict[str, str]:
    payer = _part(_part(entry, "response"), "billing").get("payer")
    return {"platform_verdict": VERDICTS[payer]} if isinstance(payer, str) and payer in VERDICTS else {}


# --- tools ---------------------------------------------------------------------------------------------------------


def _tools(entry: Mapping[str, Any]) -> Any:
    """The hosted tools that the answer shows to have been called; where it does not show that, all that were listed."""
    output = _part(entry, "response").get("output")
    if isinstance(output, list) and output:
        return list(dict.fromkeys(_called(output)))
    listed = _part(entry, "model_parameters").get("tools")
    if listed is not None and not isinstance(listed, list):
        return listed
    return list(dict.fromkeys(_listed(entry)))


def _called(output: Iterable[Any]) -> Iterator[str]:
    for item in output:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if isinstance(kind, str) and kind.endswith("_call") and kind not in CALLER_RUN:
            yield CALLED.get(kind, kind.removesuffix("_call"))


def _listed(entry: Mapping[str, Any]) -> Iterator[str]:
    """Everything by which a request can switch a tool on; an empty `web_search_options` does, too."""
    parameters = _part(entry, "model_parameters")
    for place in (parameters, _part(parameters, "extra_body"), _part(entry, "response")):
        yield from _kinds(place.get("tools"))
        if _is_on(place.get("web_search_options")):
            yield "web_search"
    built_in = _part(entry, "standard_built_in_tools_params")
    yield from (tool for name, tool in _BUILT_IN.items() if _is_on(built_in.get(name)))


_BUILT_IN = {"web_search_options": "web_search", "file_search": "file_search"}
"""Hosted tools by the name under which `standard_built_in_tools_params` holds their options."""


def _is_on(options: Any) -> bool:
    return options is not None and options is not False


def _kinds(tools: Any) -> Iterator[str]:
    """Only what kind of tool each is; what a caller's own function is named and does stays with the caller."""
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, Mapping) else tool
        yield kind if isinstance(kind, str) else "function"


# --- usage ---------------------------------------------------------------------------------------------------------


def _usage(entry: Mapping[str, Any]) -> Any:
    """The usage object whole. Where it lacks counts, those of the top level take their place in it, else the answer's.

    A usage object of zeros beside counts that are none is as good as missing.
    """
    own = _part(_part(entry, "metadata"), "usage_object")
    if _has_counts(own) and _uses(own):
        return _with_total(own)
    top = {name: entry.get(name) for name in TOP_LEVEL}
    if _has_counts(top) and _uses(top):
        details = {name: value for name, value in own.items() if name not in COUNTS}
        return _with_total(details | top)
    answered = _part(_part(entry, "response"), "usage")
    if _has_counts(answered) and _uses(answered):
        return _with_total(answered)
    return own if _uses(own) else top if _uses(top) else own or top


def _has_counts(usage: Mapping[str, Any]) -> bool:
    """Whether it says what went in and what came out; embeddings have a total in place of the latter."""
    given = {name for name in COUNTS if usage.get(name) is not None}
    return any(
        before in given and (after in given or usage.get("total_tokens") == usage[before])
        for before, after in (COUNTS[:2], COUNTS[2:4])
    )


def _uses(usage: Mapping[str, Any]) -> bool:
    """Whether any count is more than nothing. One that is no count is: it is to be refused by name, not skipped."""
    return any(usage.get(name) not in (None, 0) for name in COUNTS)


def _with_total(usage: Mapping[str, Any]) -> dict[str, Any]:
    """With the total that a usage object leaves out, if its counts are counts."""
    if usage.get("total_tokens") is not None:
        return dict(usage)
    before = next((usage[name] for name in ("prompt_tokens", "input_tokens") if usage.get(name) is not None), None)
    after = next((usage[name] for name in ("completion_tokens", "output_tokens") if usage.get(name) is not None), None)
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in (before, after)):
        return dict(usage)
    return {**usage, "total_tokens": before + after}  # type: ignore[operator]  # both are integers


# --- what is kept --------------------------------------------------------------------------------------------------

_KEPT = (
    *("id", "litellm_call_id", "call_type", "status", "stream", "cache_hit", "custom_llm_provider"),
    *("startTime", "endTime", "model", "model_group", *TOP_LEVEL),
)
_KEPT_METADATA = (
    *("user_api_key_org_id", "user_api_key_org_alias", "user_api_key_team_id", "user_api_key_team_alias"),
    *("user_api_key_project_id", "user_api_key_project_alias", "user_api_key_user_id", "user_api_key_hash"),
    *("user_api_key_alias", "user_api_key_request_route"),
)
_KEPT_RESPONSE = (
    *("id", "object", "model", "status", "service_tier", "background", "endpoint"),
    *("created", "created_at", "completed_at"),
)


def _kept_response(response: Any) -> Any:
    if not isinstance(response, Mapping):
        return {}
    output = response.get("output")
    kinds = dict.fromkeys(item["type"] for item in _items(output) if isinstance(item.get("type"), str))
    return (
        _texts(response, _KEPT_RESPONSE)
        | {"usage": _figures(response.get("usage")), "billing": _texts(_part(response, "billing"), ("payer",))}
        | {"output": [{"type": kind[:MAX_KEPT_WORD]} for kind in [*kinds][:MAX_KEPT_ITEMS]]}
        | _kept_request(response)
    )


def _kept_request(parameters: Mapping[str, Any]) -> dict[str, Any]:
    kept_tools = parameters.get("tools")
    if isinstance(kept_tools, list):
        kept_tools = [kind[:MAX_KEPT_WORD] for kind in [*dict.fromkeys(_kinds(kept_tools))][:MAX_KEPT_ITEMS]]
    else:
        kept_tools = _text(kept_tools)
    asked = _texts(parameters, ("service_tier",)) | {"tools": kept_tools}
    return asked | ({"web_search_options": {}} if _is_on(parameters.get("web_search_options")) else {})


def _kept_hidden(hidden: Mapping[str, Any]) -> dict[str, Any]:
    models = hidden.get("batch_models")
    return _texts(hidden, ("litellm_model_name", "service_tier")) | {
        "batch_models": [_text(each) for each in models[:MAX_KEPT_ITEMS]] if isinstance(models, list) else None,
        "usage_object": _figures(hidden.get("usage_object")),
    }


def _items(listed: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in (listed if isinstance(listed, list) else ()) if isinstance(item, Mapping))


def _texts(whole: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: _text(whole[name]) for name in names if name in whole}


def _text(value: Any) -> Any:
    """A single value, cut where it is too long; of an object or a list only that it was one."""
    if isinstance(value, str):
        return value[:MAX_KEPT_TEXT]
    return {} if isinstance(value, Mapping) else [] if isinstance(value, list) else value


def _without_nothing(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Without nulls, which say no more than what is left out, and most of an entry."""
    return {
        name: _without_nothing(value) if isinstance(value, Mapping) else value
        for name, value in whole.items()
        if value is not None
    }


def _figures(usage: Any, depth: int = 3) -> Any:
    """Usage without texts that are longer than a word."""
    if isinstance(usage, Mapping):
        few = list(usage.items())[:MAX_KEPT_ITEMS] if depth else []
        return {name[:MAX_KEPT_WORD]: _figures(value, depth - 1) for name, value in few}
    return usage[:MAX_KEPT_WORD] if isinstance(usage, str) else None if isinstance(usage, list) else usage


_SYNCHRONOUS = frozenset({*ENDPOINTS, *READS, *PASSED_THROUGH, "create_batch", "cancel_batch", "anthropic_messages"})
"""Names of calls that an `a` may stand before. By a list, since some begin with an `a` of their own."""
