"""Calls of LiteLLM's proxy, as its hooks see them: whose they are, what they may use, and which id they carry.

Runs where LiteLLM is installed. Run with LiteLLM 1.108.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import litellm

from gratis_client.gate import Attempt

PLATFORM = ("openai", "text-completion-openai")
"""The providers that are the platform. The same list reads the log: layers/core/gratis/intake/mapping.py."""
PREFIXES = ("openai/", "text-completion-openai/", "responses/")
STAMPS = "user_api_key_auth_metadata"
"""What LiteLLM's log hands on from the proxy alone: whatever a caller sends under `user_api_key_...` is dropped."""
ORGANIZATION = "gratis_organization"
RESERVATION = "gratis_reservation"
"""The id of an attempt's room, by which its log entry names it."""
CALL = "gratis_call"
"""The id of a call, which all its attempts share."""
ENDPOINTS = {
    "completion": "chat.completions",
    "text_completion": "completions",
    "responses": "responses",
    "anthropic_messages": "anthropic_messages",
    "embedding": "embeddings",
    "embeddings": "embeddings",
}
"""Endpoints that are asked for, by call type, which may have an `a` before it. All others have no gate."""
REFUSALS = (
    litellm.exceptions.AuthenticationError,
    litellm.exceptions.BadRequestError,
    litellm.exceptions.NotFoundError,
    litellm.exceptions.PermissionDeniedError,
    litellm.exceptions.RateLimitError,
    litellm.exceptions.UnprocessableEntityError,
)
"""Answers by which the platform says that it did not do what it was asked."""
SENT_ALONG = "extra_body"
"""The part of a call that LiteLLM sends to the platform over the others."""
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
CHOICES = ("n", "best_of")
TOKENS_OF_A_MESSAGE = 8
"""More than the three or four by which the platform counts a message beyond its text."""
WRITTEN_OUT = ("tools", "functions", "response_format", "text")
"""Parts of a request that the model reads as text, though they are none."""
TEXTS = ("text", "input_text", "output_text")
ELSEWHERE = ("previous_response_id", "conversation")
"""Parts of a request that stand for input which only the platform has."""


def endpoint_of(call_type: Any) -> str | None:
    """The endpoint of a call, None where there is no gate."""
    name = str(getattr(call_type, "value", call_type))
    return ENDPOINTS.get(name.removeprefix("a") if name != "anthropic_messages" else name)


def model_behind(router: Any, route: Any) -> str | None:
    """The platform's model behind a route of the proxy; None if there are several, or another provider's."""
    listed = router.get_model_list(model_name=route) if router else None
    models = {model_of(each["litellm_params"]) for each in listed or ()}
    return models.pop() if len(models) == 1 else None


def model_of(call: Mapping[str, Any]) -> str | None:
    """The platform's model that this is sent to, None if it goes to another provider."""
    try:
        model, provider, *_ = litellm.get_llm_provider(
            model=call["model"], custom_llm_provider=call.get("custom_llm_provider"), api_base=call.get("api_base")
        )
    except litellm.exceptions.BadRequestError:  # no provider has it
        return None
    while prefix := next((each for each in PREFIXES if model.startswith(each)), ""):
        model = model.removeprefix(prefix)
    return str(model) if provider in PLATFORM else None


def attempt_of(call: Mapping[str, Any], model: str, endpoint: str, unknown: int) -> Attempt:
    """What a call may use at most. `unknown`: tokens of input that cannot be counted, and of output without limit."""
    metadata, sent = metadata_of(call), _as_sent(call)
    counted = input_tokens(sent, model)
    read = unknown if counted is None else counted
    written = 0 if endpoint == "embeddings" else _answers(sent) * _output_limit(sent, model, unknown)
    data = {
        "project": metadata.get("user_api_key_project_id") or metadata.get("user_api_key_team_id"),
        "endpoint": endpoint,
        "tools": [*dict.fromkeys(_hosted(sent))],
    }
    if sent.get("service_tier") not in (None, "auto"):
        data["service_tier"] = sent["service_tier"]
    return Attempt(organization_of(call), model, read + written, data)


def _as_sent(call: Mapping[str, Any]) -> Mapping[str, Any]:
    more = call.get(SENT_ALONG)
    return {**call, **more} if isinstance(more, Mapping) else call


def metadata_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata that the proxy writes."""
    found = call.get(_metadata_name(call))
    return found if isinstance(found, Mapping) else {}


def organization_of(call: Mapping[str, Any]) -> str | None:
    """Whose call it is, as the log is read: layers/core/gratis/intake/litellm.py."""
    metadata = metadata_of(call)
    return metadata.get("user_api_key_org_id") or _stamps(metadata).get(ORGANIZATION) or None


def call_id_of(call: Mapping[str, Any]) -> str | None:
    """The id of the call. None before the first hook, and of calls that LiteLLM makes of its own accord."""
    return _stamps(metadata_of(call)).get(CALL)


def reservation_of(call: Mapping[str, Any]) -> str | None:
    """The id of the room that an attempt has already, and every call that LiteLLM makes inside of it."""
    return _stamps(metadata_of(call)).get(RESERVATION)


def with_call_id(call: Mapping[str, Any], call_id: str) -> dict[str, Any]:
    """The call with its id, over whatever its key brings along."""
    return _stamped(call, {CALL: call_id})


def with_reservation(attempt: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The attempt with the id of its room. A copy: LiteLLM makes the next attempt from the same call."""
    return _stamped(attempt, {RESERVATION: name})


def _stamped(call: Mapping[str, Any], stamps: Mapping[str, str]) -> dict[str, Any]:
    metadata = metadata_of(call)
    kept = {name: value for name, value in _stamps(metadata).items() if name != RESERVATION}
    return {**call, _metadata_name(call): {**metadata, STAMPS: {**kept, **stamps}}}


def was_refused(error: Exception) -> bool:
    """Whether an attempt failed because the platform did not do what it was asked, so that it used nothing.

    Of an attempt that timed out or lost its connection nobody knows: its room is left to expire.
    """
    return isinstance(error, REFUSALS)


def input_tokens(call: Mapping[str, Any], model: str) -> int | None:
    """Tokens of all that the model reads; None where that is not all text."""
    if any(call.get(name) for name in ELSEWHERE) or isinstance(call.get("prompt"), Mapping):
        return None
    said = [call.get(name) for name in ("messages", "input", "prompt", "system", "instructions")]
    try:
        texts = list(_texts(said))
    except TypeError:
        return None
    described = [json.dumps(call[name], default=str) for name in WRITTEN_OUT if call.get(name)]
    written = [each for each in texts if isinstance(each, str)]
    numbers = len(texts) - len(written)
    counted = int(litellm.token_counter(model=model, text="\n".join([*written, *described])))
    return counted + numbers + TOKENS_OF_A_MESSAGE * (1 + len(written))


def _texts(said: Any) -> Iterator[str | int]:
    """The texts, and token numbers, in what is said. Raises TypeError for what is neither, such as an image."""
    if said is None:
        return
    if isinstance(said, (str, int)):
        yield said
    elif isinstance(said, list):
        for each in said:
            yield from _texts(each)
    elif isinstance(said, Mapping) and said.get("type") in TEXTS:
        yield from _texts(said.get("text"))
    elif isinstance(said, Mapping) and "role" in said:
        yield from _texts(said.get("content"))
        yield from (json.dumps(said[name], default=str) for name in ("tool_calls", "function_call") if said.get(name))
    else:
        raise TypeError(f"no text: {type(said).__name__}")


def _output_limit(call: Mapping[str, Any], model: str, unknown: int) -> int:
    """The largest output limit that the call names, at most the model's own."""
    limit = max((call[name] for name in LIMITS if _is_count(call.get(name))), default=unknown)
    own = litellm.model_cost.get(model, {}).get("max_output_tokens")
    return min(limit, own) if _is_count(own) else int(limit)


def _answers(call: Mapping[str, Any]) -> int:
    """How many answers are written: for each of several prompts as many as the call says."""
    prompts = call.get("prompt")
    one = not isinstance(prompts, list) or all(isinstance(each, int) for each in prompts)
    choices = max((call[name] for name in CHOICES if _is_count(call.get(name))), default=1)
    return choices * (1 if one else len(prompts or ()))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _hosted(call: Mapping[str, Any]) -> Iterator[str]:
    """The kinds of the tools that a call lists: which of them it will call nobody can tell yet."""
    for tool in call.get("tools") or ():
        if isinstance(tool, Mapping) and isinstance(tool.get("type"), str):
            yield tool["type"]
    if call.get("web_search_options") is not None:
        yield "web_search"


def _metadata_name(call: Mapping[str, Any]) -> str:
    """As LiteLLM itself chooses: what callers send under the other name does not count."""
    return "litellm_metadata" if "litellm_metadata" in call else "metadata"


def _stamps(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = metadata.get(STAMPS)
    return found if isinstance(found, Mapping) else {}
