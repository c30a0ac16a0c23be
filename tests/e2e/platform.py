"""A stand-in for the platform: the routes of OpenAI's API that the senders' tests call.

It answers in the platform's own shapes with fixed counts. Listens on loopback only.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import count
from typing import Any

from tests.builders.loopback import Loopback, Quiet

FAIL = "fail, please"
"""A prompt that is answered with an error."""
BREAK = "break off, please"
"""A prompt whose stream ends before its end."""
USE_ALL = "use all of it, please"
"""A prompt that is answered with as many tokens as it allows."""
DATED = {
    "gpt-4o": "gpt-4o-2024-11-20",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
}
"""The dated models that serve undated names."""
_NUMBERS = count(1)


def now() -> int:
    """Unix seconds."""
    return int(time.time())


@cache
def done() -> int:
    """When the batch was done."""
    return now() - 600


def chat_usage(prompt: int = 1200, completion: int = 300, cached: int = 1024) -> dict[str, Any]:
    """Usage as Chat Completions state it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def responses_usage(read: int = 36, written: int = 87) -> dict[str, Any]:
    """Usage as the Responses API states it."""
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": "an answer", "refusal": None, "annotations": []}
    return {
        "id": f"chatcmpl-{next(_NUMBERS):08}",
        "object": "chat.completion",
        "created": now(),
        "model": DATED.get(asked["model"], asked["model"]),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": chat_usage(5, asked["max_tokens"], 0) if USE_ALL in str(asked) else chat_usage(),
        "service_tier": served(asked),
    }


def served(asked: Mapping[str, Any]) -> str:
    tier = asked.get("service_tier")
    return tier if tier in {"flex", "priority"} else "default"


def chat_chunks(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream; the last chunk has the usage, if the caller asked for it."""
    whole = chat(asked)
    common = {name: whole[name] for name in ("id", "created", "model", "service_tier")} | {
        "object": "chat.completion.chunk"
    }
    for content in ("an ", "answer"):
        yield common | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": content}}], "usage": None}
    yield common | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield common | {"choices": [], "usage": whole["usage"]}


def response(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A response, which calls each search that it may call."""
    number = next(_NUMBERS)
    tools = asked.get("tools") or []
    searched = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
    calls = [searched | {"id": f"ws_{number}"} for tool in tools if tool["type"] == "web_search"]
    content = [{"type": "output_text", "text": "an answer", "annotations": []}]
    said = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": f"resp_{number:08}",
        "object": "response",
        "created_at": now(),
        "completed_at": now(),
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": DATED.get(asked["model"], asked["model"]),
        "output": [*calls, said],
        "parallel_tool_calls": True,
        "service_tier": served(asked),
        "tool_choice": "auto",
        "tools": tools,
        "usage": responses_usage(),
        "metadata": {},
        "billing": {"payer": "developer"},
    }


def response_events(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    whole = response(asked)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "sequence_number": 0, "response": begun}
    yield {"type": "response.completed", "sequence_number": 1, "response": whole}


def embedding(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Embeddings, which have no id."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}],
        "model": asked["model"],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


def batch(number: str) -> dict[str, Any]:
    """A batch that is done."""
    return {
        "id": number,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": "file-in",
        "completion_window": "24h",
        "status": "completed",
        "output_file_id": f"file-{number}",
        "created_at": done() - 3600,
        "completed_at": done(),
        "request_counts": {"total": 2, "completed": 2, "failed": 0},
        "metadata": {},
    }


def batch_output() -> bytes:
    """Its output file: two chat completions."""
    bodies = [chat({"model": "gpt-4o-2024-08-06"}) for _ in range(2)]
    lines = [{"custom_id": "c", "response": {"status_code": 200, "body": body}, "error": None} for body in bodies]
    return "\n".join(map(json.dumps, lines)).encode()


POSTED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "/chat/completions": chat,
    "/responses": response,
    "/embeddings": embedding,
}
"""What is answered to a POST, by how its path ends."""
STREAMED = {"/chat/completions": chat_chunks, "/responses": response_events}
FAILURE = {"error": {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": "bad"}}


class _Handler(Quiet):
    server: "Platform"

    def do_POST(self) -> None:
        asked = json.loads(self.body())
        ending = next((each for each in POSTED if self.path.partition("?")[0].endswith(each)), None)
        self.server.asked.append((self.path, asked))
        if ending is None or FAIL in str(asked):
            self.answer(json.dumps(FAILURE).encode(), 400)
        elif asked.get("stream"):
            self._stream(STREAMED[ending](asked), broken=BREAK in str(asked))
        else:
            self.answer(json.dumps(POSTED[ending](asked)).encode())

    def do_GET(self) -> None:
        """A batch, or the results of one."""
        number = self.path.partition("?")[0].rpartition("/")[2]
        self.answer(batch_output() if number == "content" else json.dumps(batch(number)).encode())

    def _stream(self, parts: Iterator[dict[str, Any]], *, broken: bool) -> None:
        body = "".join(f"{_named(part)}data: {json.dumps(part)}\n\n" for part in parts)
        kind = {"content-type": "text/event-stream"}
        if broken:
            self.close_connection = True
            return self.answer(body.encode(), headers=kind, missing=20)
        return self.answer((body + "data: [DONE]\n\n").encode(), headers=kind)


def _named(part: Mapping[str, Any]) -> str:
    return f"event: {part['type']}\n" if "type" in part else ""


class Platform(Loopback):
    """The stand-in. `asked`: path and decoded body of each request."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked: list[tuple[str, Any]] = []

    @property
    def base_url(self) -> str:
        """As clients of the platform want it."""
        return f"{self.url}/v1"
