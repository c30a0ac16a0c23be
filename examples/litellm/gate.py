"""LiteLLM's hooks: only what is free goes to the platform. config.yaml names it as `gate.gate`; docs/gateway.md.

From the environment: GRATIS_URL; GRATIS_BEARER, for the usage that is reported; GRATIS_KEYS, a JSON object with keys of
the role `gateway` by organization, "" for calls that name none; GRATIS_TIMEOUT, seconds for each of at most three
attempts to ask; OTHERWISE, the route that takes what would be billed, else the
answer is 429; WITHOUT_GRATIS, open or closed; LET_THROUGH, reasons for which what would be billed goes to the platform
all the same; UNKNOWN_TOKENS, of an input that cannot be counted, and of an output without a limit.
"""

import json
import os

from fastapi import HTTPException
from litellm.exceptions import GuardrailRaisedException
from litellm.integrations.custom_logger import CustomLogger
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger

from gratis_client import Gratis
from gratis_client import litellm_calls as calls
from gratis_client.gate import Gate, Refused

KEYS = json.loads(os.environ["GRATIS_KEYS"])
TIMEOUT = float(os.environ.get("GRATIS_TIMEOUT", "5"))
OTHERWISE = os.environ.get("OTHERWISE")
CLOSED = os.environ.get("WITHOUT_GRATIS", "open") == "closed"
LET_THROUGH = frozenset(os.environ.get("LET_THROUGH", "").split())
UNKNOWN_TOKENS = int(os.environ.get("UNKNOWN_TOKENS", "8000"))


class FreeTokensOnly(CustomLogger):
    def __init__(self) -> None:
        super().__init__()
        clients = {name: Gratis(os.environ["GRATIS_URL"], key, timeout=TIMEOUT) for name, key in KEYS.items()}
        self.gate = Gate(clients, closed=CLOSED, let_through=LET_THROUGH)

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        """Once a call: room for its first attempt, or another route, or 429."""
        endpoint = calls.endpoint_of(call_type)
        if not endpoint:
            return data
        try:
            return await self._entered(data, endpoint)
        except Refused as refused:  # another model's embeddings are no substitute
            if OTHERWISE in (None, data["model"]) or endpoint == "embeddings":
                raise HTTPException(429, said(refused), waiting(refused)) from refused
            rerouted = {**data, "model": OTHERWISE}
            return await self.async_pre_call_hook(user_api_key_dict, cache, rerouted, call_type)

    async def async_pre_call_deployment_hook(self, kwargs, call_type):
        """Once an attempt, whatever retry or fallback it is: each has room of its own."""
        model, endpoint, call_id = calls.model_of(kwargs), calls.endpoint_of(call_type), calls.call_id_of(kwargs)
        if not (endpoint and call_id) or calls.reservation_of(kwargs):
            return kwargs
        try:
            self.gate.may_go_on(call_id)
            if not model:
                return kwargs
            room = await self.gate.attempt(call_id, calls.attempt_of(kwargs, model, endpoint, UNKNOWN_TOKENS))
        except Refused as refused:  # raised as what LiteLLM does not try again; a fallback gets the same
            raise GuardrailRaisedException("gratis", str(refused), False, 429) from refused
        return calls.with_reservation(kwargs, room)

    async def async_post_call_failure_deployment_hook(self, request_data, exception, call_type, **_):
        """Once an attempt that failed: what the platform refused used nothing. Else its log entry says what it used."""
        room = calls.reservation_of(request_data)
        if room and calls.was_refused(exception):
            await self.gate.release(calls.organization_of(request_data), room)

    async def async_post_call_failure_hook(self, request_data, original_exception, user_api_key_dict, *_, **__):
        """Once a call that failed: room that no attempt took goes back, and a refusal is the answer."""
        refused = await self.gate.leave(calls.call_id_of(request_data) or "")
        return HTTPException(429, said(refused), waiting(refused)) if refused else None

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        """LiteLLM answered from its cache: nothing was used."""
        entry = kwargs.get("standard_logging_object") or {}
        room = calls.reservation_of(entry)
        if room and entry.get("cache_hit") is True:
            await self.gate.release(calls.organization_of(entry), room)

    async def _entered(self, data, endpoint):
        from litellm.proxy.proxy_server import llm_router

        model = calls.model_behind(llm_router, data.get("model"))
        first = calls.attempt_of(data, model, endpoint, UNKNOWN_TOKENS) if model else None
        return calls.with_call_id(data, await self.gate.enter(first))


def said(refused):
    code = "would_be_billed" if refused.answer else "no_answer"
    return {"error": {"message": str(refused), "type": "insufficient_free_tokens", "code": code}}


def waiting(refused):
    return {"retry-after": str(refused.retry_after)} if refused.retry_after else {}


gate = FreeTokensOnly()
usage = GenericAPILogger(
    endpoint=f"{os.environ['GRATIS_URL']}/usage-events/litellm",
    headers={"Authorization": f"Bearer {os.environ['GRATIS_BEARER']}"},
    max_retries=12,
    retry_delay=1,
)
