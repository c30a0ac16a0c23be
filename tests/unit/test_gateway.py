"""The local engine's guard: what a page of elsewhere sends comes to nothing."""

import asyncio
from typing import Any

import pytest

from gratis_local.gateway import guarded, is_foreign

HERE = "127.0.0.1:4566"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HERE},
        {"host": "localhost:4566"},
        {"host": "bucket.s3.localhost:4566"},
        {"host": HERE, "origin": f"http://{HERE}", "sec-fetch-site": "same-origin"},
        {"host": HERE, "sec-fetch-site": "none"},
    ],
)
def test_programs_and_the_engines_own_page_are_let_in(headers: dict[str, str]) -> None:
    assert not is_foreign(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HERE, "origin": "https://evil.example"},
        {"host": HERE, "origin": "null"},
        {"host": HERE, "origin": "http://127.0.0.1:8000"},
        {"host": HERE, "origin": f"https://{HERE}"},
        {"host": HERE, "sec-fetch-site": "cross-site"},
        {"host": HERE, "sec-fetch-site": "same-site"},
        {"host": "evil.example:4566"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "evil.example:4566", "origin": "http://evil.example:4566"},
        {},
    ],
)
def test_a_page_of_elsewhere_and_another_hosts_name_are_refused(headers: dict[str, str]) -> None:
    assert is_foreign(headers)


@pytest.mark.parametrize(("kind", "answer"), [("http", 403), ("websocket", 1008)])
def test_what_is_refused_never_reaches_the_engine(kind: str, answer: int) -> None:
    reached, sent = [], []

    async def app(*call: Any) -> None:
        reached.append(call)

    async def send(message: Any) -> None:
        sent.append(message)

    def ask(origin: bytes) -> None:
        scope = {"type": kind, "headers": [(b"host", HERE.encode()), (b"origin", origin)]}
        asyncio.run(guarded(app)(scope, None, send))  # type: ignore[arg-type]

    ask(b"https://evil.example")
    assert reached == []
    assert answer in (sent[0].get("status"), sent[0].get("code"))
    ask(f"http://{HERE}".encode())
    assert len(reached) == 1
