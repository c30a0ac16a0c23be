"""LiteLLM's generic API callback: its log entries as usage events. Field mapping: LiteLLM 1.106, SPEC section 5."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gratis import moment
from gratis.strict_json import parse_json

SOURCE = "litellm"
NO_JSON = "no JSON"
ENDPOINTS = {
    "completion": "chat.completions",
    "text_completion": "completions",
    "responses": "responses",
    "embedding": "embeddings",
}
FIELDS = {
    "id": "litellm_call_id",
    "time": "startTime",
    "subject": "metadata.user_api_key_org_id",
    "data.project": "metadata.user_api_key_project_id",
    "data.model": "model",
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

    What is no entry comes back as a text that says so, to be refused alone; prompts may be in it, so it is not kept.
    """
    try:
        decoded = parse_json(body)
    except ValueError:
        parsed = [_line(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
        if all(isinstance(each, str) for each in parsed):
            raise
        return parsed
    return decoded if isinstance(decoded, list) else [decoded]


def usage_event(entry: Any) -> Any:
    """The CloudEvent of a log entry, without prompts or answers; of what is no object only a word is left."""
    if not isinstance(entry, Mapping):
        return entry if isinstance(entry, str) and entry.startswith(NO_JSON) else f"no object: {type(entry).__name__}"
    metadata, response, parameters = (
        _mapping(entry.get(name)) for name in ("metadata", "response", "model_parameters")
    )
    model = entry.get("model")
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": SOURCE,
        "id": entry.get("litellm_call_id"),
        "time": _time(entry.get("startTime")),
        "subject": metadata.get("user_api_key_org_id"),
        "data": {
            "project": metadata.get("user_api_key_project_id") or metadata.get("user_api_key_team_id"),
            "model": model.removeprefix("openai/") if isinstance(model, str) else model,
            "endpoint": _endpoint(entry.get("call_type")),
            "service_tier": response.get("service_tier"),
            "tools": _tools(parameters.get("tools")),
            "usage": _usage(entry, metadata),
            "user_id": metadata.get("user_api_key_user_id"),
            "api_key_id": metadata.get("user_api_key_hash"),
        },
    }


def is_entry(value: Any) -> bool:
    """Whether this is one of LiteLLM's log entries."""
    return isinstance(value, Mapping) and "litellm_call_id" in value


def is_skipped(entry: Any) -> bool:
    """A failed call used nothing, and a cache hit never reached the platform."""
    return isinstance(entry, Mapping) and (entry.get("status") == "failure" or entry.get("cache_hit") is True)


def in_their_words(message: str) -> str:
    """An error message with LiteLLM's names of the fields beside ours."""
    said = message.split("; ")
    theirs = [FIELDS[ours] for each in said for ours in FIELDS if each.startswith((f"{ours}:", f"{ours}."))]
    return f"{message} (in LiteLLM's entry: {', '.join(theirs)})" if theirs else message


def _line(number: int, line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return f"{NO_JSON}: line {number}, {len(line)} bytes"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(start: Any) -> Any:
    """Unix seconds as the moment they stand for; anything else as it is, to be refused by name."""
    if isinstance(start, bool) or not isinstance(start, int | float):
        return start
    try:
        return moment.text(datetime.fromtimestamp(start, UTC))
    except (OverflowError, ValueError, OSError):
        return start


def _endpoint(call_type: Any) -> Any:
    if not isinstance(call_type, str):
        return call_type
    name = call_type.removeprefix("a") if call_type.removeprefix("a") in ENDPOINTS else call_type
    return ENDPOINTS.get(name, name)


def _tools(tools: Any) -> Any:
    """Only what kind of tool each is; what a caller's own function is named and does stays with the caller."""
    if not isinstance(tools, list):
        return tools
    return list(_kinds(tools))


def _kinds(tools: list[Any]) -> Iterator[Any]:
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, Mapping) else tool
        yield kind if isinstance(kind, str) else "function"


def _usage(entry: Mapping[str, Any], metadata: Mapping[str, Any]) -> Any:
    """The usage object; where there is none, the top-level counts."""
    if metadata.get("usage_object"):
        return metadata["usage_object"]
    return {name: entry.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
