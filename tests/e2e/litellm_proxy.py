"""LiteLLM's real proxy, run by the tests that call it."""

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

START_SECONDS = 240
"""How long LiteLLM's proxy may take to start; it decides only how soon a test that fails says so."""
AUTH = """
from litellm.proxy._types import UserAPIKeyAuth

async def user_api_key_auth(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, team_id="Data Science", metadata={"gratis_organization": api_key})
"""
"""Keys that an operator made: each is named as the organization whose it is, and of the same team."""


class Proxy:
    """LiteLLM's proxy, called with an organization's key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.http = urllib3.PoolManager(maxsize=50, retries=False)

    def call(self, path: str, body: Any = None, **headers: str) -> int:
        """The status of what it answers."""
        return self.answer(path, body, **headers).status

    def answer(self, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json"} | headers
        written = json.dumps(body).encode() if body is not None else None
        return self.http.request("POST" if body else "GET", f"{self.url}{path}", body=written, headers=sent)


def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def running(environment: Mapping[str, str], folder: Path, key: str) -> Iterator[Proxy]:
    """The proxy with the configuration in `folder`, which posts its log within a second."""
    with starting(environment, folder, key) as (proxy, process):
        await_start(proxy, process)
        yield proxy


@contextmanager
def starting(
    environment: Mapping[str, str], folder: Path, key: str
) -> Iterator[tuple[Proxy, "subprocess.Popen[bytes]"]]:
    """The same, which may not answer yet."""
    port = free_port()
    command = ["litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    settings = {
        "DEFAULT_FLUSH_INTERVAL_SECONDS": "1",
        "DEFAULT_BATCH_SIZE": "100",
        "LITELLM_MASTER_KEY": f"sk-{uuid.uuid4().hex}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**environment, **settings}, stdout=log, stderr=log)
        try:
            yield Proxy(f"http://127.0.0.1:{port}", key), process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60)
    finally:
        process.kill()


def await_start(started: Proxy, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "LiteLLM's proxy ended: its log is beside its configuration"
        try:
            if started.http.request("GET", f"{started.url}/health/liveliness", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"LiteLLM's proxy did not start within {START_SECONDS} seconds")
