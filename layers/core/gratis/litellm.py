"""LiteLLM's generic API callback: its log entries as usage events. Field mapping: LiteLLM 1.106, SPEC section 5."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gratis import moment
from gratis.events import parse_json

SOURCE = "litellm"
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
    "data.service_tier": "response.service_tier",
    "data.endpoint": "call_type",
}
"""Where LiteLLM holds what our messages name."""


def entries(body: bytes) -> list[Any]:
    """The log entries of a body: a JSON array, one object, or one object a line. Raises ValueError for none of these.

    A line that is no JSON comes back as text, to be refused alone.
    """
    try:
        decoded = parse_json(body)
    except ValueError:
        lines = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
        parsed = [_line(line) for line in lines]
        if all(isinstance(each, str) for each in parsed):
            raise
        return parsed
    return decoded if isinstance(decoded, list) else [decoded]


def usage_event(entry: Any) -> Any:
    """The CloudEvent of a log entry, without prompts or answers; what is no object stays as it is."""
    if not isinstance(entry, Mapping):
        return entry
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


def is_skipped(entry: Any) -> bool:
    """A failed call used nothing, and a cache hit never reached the platform."""
    return isinstance(entry, Mapping) and (entry.get("status") == "failure" or entry.get("cache_hit") is True)


def in_their_words(message: str) -> str:
    """An error message with LiteLLM's name of the field beside ours."""
    field = next((ours for ours in FIELDS if message.startswith((f"{ours}:", f"{ours}."))), None)
    return f"{message} (in LiteLLM's entry: {FIELDS[field]})" if field else message


def _line(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return line


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(start: Any) -> Any:
    """Unix seconds as the moment they stand for; anything else as it is, to be refused by name."""
    if isinstance(start, bool) or not isinstance(start, int | float) or not math.isfinite(start):
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
        yield {"type": tool["type"]} if isinstance(tool, Mapping) and "type" in tool else tool


def _usage(entry: Mapping[str, Any], metadata: Mapping[str, Any]) -> Any:
    """The usage object; where there is none, the top-level counts."""
    if metadata.get("usage_object"):
        return metadata["usage_object"]
    return {name: entry.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
