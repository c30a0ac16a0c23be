"""LiteLLM's real proxy with the gate of examples/litellm, before a stand-in for the platform. docs/gateway.md."""

import json
import os
import re
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gratis.rules.receipt import Decision
from gratis.table.api_keys import Holder, Keys
from gratis_local.places import ROOT
from tests.e2e.litellm_proxy import AUTH, Proxy, running
from tests.e2e.platform import BREAK, FAIL, USE_ALL, Platform, platform
from tests.e2e.system import System, eventually

SENDERS = ROOT / ".venv-senders"
EXAMPLE = ROOT / "examples/litellm"
COMMANDS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/gateway.md").read_text(encoding="utf-8"), re.DOTALL)
ORGANIZATIONS = 12
"""As many tests as have one proxy: it knows its keys when it starts."""
ROUTES = {
    "fast": "openai/gpt-4o-mini",
    "big": "gpt-4.1-2025-04-14",
    "emb": "openai/text-embedding-3-small",
    "listed-emb": "openai/gpt-4o-mini-2024-07-18",
}
pytestmark = pytest.mark.skipif(not (SENDERS / ".complete").exists(), reason="make senders installs them")


@dataclass
class Gateway:
    """The proxy, the platform behind it, and an organization of the test's own with a key for it."""

    proxy: Proxy
    platform: Platform
    system: System
    organization: str
    key: str

    def ask(self, route: str, body: dict[str, Any]) -> int:
        return Proxy(self.proxy.url, self.organization).call(f"/v1/{route}", body)

    def chat(self, model: str, said: str, **more: Any) -> int:
        messages = [{"role": "user", "content": said}]
        return self.ask("chat/completions", {"model": model, "messages": messages, "max_tokens": 2000} | more)

    def asked(self, marked: str) -> list[str]:
        """The models that the platform was asked for with a marked prompt."""
        return [asked["model"] for _, asked in self.platform.asked if marked in str(asked)]

    def decided(self, count: int) -> list[Decision]:
        found = eventually(
            lambda: len(every := [*self.system.stored(self.organization).decisions.values()]) >= count and every,
            f"{count} decisions of {self.organization}",
        )
        assert isinstance(found, list)
        return sorted(found, key=lambda each: each.occurred_at)

    def open(self) -> list[dict[str, Any]]:
        bearer = {"authorization": f"Bearer {self.key}"}
        answer = self.system.http.request("GET", f"{self.system.up.base_url}/organization/reservations", headers=bearer)
        assert answer.status == 200, answer.data
        return list(answer.json()["data"])

    def nothing_is_open(self) -> bool:
        return bool(eventually(lambda: not self.open(), "that no reservation is open"))


@pytest.fixture(scope="module")
def openai() -> Iterator[Platform]:
    with platform() as server:
        yield server


def environment(system: System, openai: Platform, keys: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))} | {
        "PATH": f"{SENDERS / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GRATIS_URL": system.up.base_url,
        "GRATIS_KEYS": json.dumps(keys),
        "GRATIS_BEARER": system.up.litellm_secret,
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": openai.url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def configured(folder: Path, url: str) -> None:
    """The example, with more routes, keys that name organizations, a cache, and fallbacks."""
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    called = {"api_base": url, "api_key": "sk-none"}
    dead = {"api_base": "http://127.0.0.1:9/v1", "api_key": "sk-none"}
    azure = {"model": "azure/gpt-4o-2024-08-06", "api_version": "2024-10-21", **called}
    params = {name: {"model": model, **called} for name, model in ROUTES.items()}
    params |= {"down": {"model": "gpt-4o-mini-2024-07-18", **dead}, "azure": azure}
    config["model_list"] = [{"model_name": name, "litellm_params": each} for name, each in params.items()]
    config["router_settings"] = {"num_retries": 1, "retry_after": 0, "fallbacks": [{"down": ["big", "azure"]}]}
    config["litellm_settings"] |= {"cache": True, "cache_params": {"type": "local"}}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "auth.py").write_text(AUTH)
    (folder / "gate.py").write_text((EXAMPLE / "gate.py").read_text())


@pytest.fixture(scope="module")
def gateways(system: System, openai: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    known = Keys(system.client("dynamodb"), system.table)
    keys = {
        each: known.create(Holder("gateway", each, "a gateway of the tests"))
        for each in (system.new_organization() for _ in range(ORGANIZATIONS))
    }
    folder = tmp_path_factory.mktemp("proxy")
    configured(folder, openai.url)
    with running(environment(system, openai, keys), folder, "none") as proxy:
        yield [Gateway(proxy, openai, system, organization, key) for organization, key in keys.items()]


@pytest.fixture
def gateway(gateways: list[Gateway]) -> Gateway:
    return gateways.pop()


HELLO = [{"role": "user", "content": "Hello"}]
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"model": "fast", "messages": HELLO, "max_tokens": 2000}),
    "a stream": ("chat/completions", {"model": "big", "messages": HELLO, "max_tokens": 2000, "stream": True}),
    "responses": ("responses", {"model": "fast", "input": "Hello", "max_output_tokens": 200}),
    "a stream of responses": ("responses", {"model": "fast", "input": "Hi", "max_output_tokens": 200, "stream": True}),
    "messages": ("messages", {"model": "fast", "messages": HELLO, "max_tokens": 200}),
    "a stream of messages": ("messages", {"model": "big", "messages": HELLO, "max_tokens": 200, "stream": True}),
    "embeddings": ("embeddings", {"model": "listed-emb", "input": ["Hello", "you"]}),
    "completions": ("completions", {"model": "fast", "prompt": "Hello", "max_tokens": 2000}),
}


def test_each_route_that_has_a_gate_keeps_what_it_reserved(gateway: Gateway) -> None:
    forged = {
        "metadata": {"gratis_reservation": "gate-" + "0" * 32, "spend_logs_metadata": {"gratis_reservation": "x"}}
    }
    answers = {name: gateway.ask(route, body | forged) for name, (route, body) in CALLS.items()}
    assert answers == dict.fromkeys(CALLS, 200)
    found = gateway.decided(len(CALLS))
    assert [(each.endpoint, each.verdict) for each in found if not each.reservation] == []
    assert len({each.reservation for each in found}) == len(CALLS)
    assert {each.verdict for each in found} == {"free"}
    assert gateway.nothing_is_open()
    assert [asked for _, asked in gateway.platform.asked if "gate-" in str(asked).replace("gate-" + "0" * 32, "")] == []


def test_what_would_be_billed_is_refused_and_never_sent(gateway: Gateway) -> None:
    marked = f"too large {uuid.uuid4()}"
    assert gateway.chat("big", marked, max_tokens=32768, n=40) == 429
    assert gateway.chat("big", marked, max_tokens=32768, n=40, fallbacks=["fast"], stream=True) == 429
    assert gateway.ask("embeddings", {"model": "emb", "input": marked}) == 429
    assert gateway.asked(marked) == []
    assert gateway.system.through(gateway.organization).decisions == {}
    assert gateway.open() == []


def test_a_cache_hit_and_a_call_that_the_platform_refuses_give_their_room_back(gateway: Gateway) -> None:
    marked = f"twice {uuid.uuid4()}"
    assert [gateway.chat("fast", marked) for _ in "ab"] == [200, 200]
    assert gateway.chat("fast", f"{FAIL} {uuid.uuid4()}") == 400
    assert gateway.nothing_is_open()
    assert gateway.asked(marked) == ["gpt-4o-mini"]
    (decision,) = gateway.system.through(gateway.organization).decisions.values()
    assert decision.reservation


def test_a_fallback_has_room_of_its_own_and_an_attempt_of_which_nobody_knows_expires(gateway: Gateway) -> None:
    assert gateway.chat("down", f"fall back {uuid.uuid4()}") == 200
    (decision,) = gateway.decided(1)
    assert (decision.model, decision.group) == ("gpt-4.1-2025-04-14", "1m")
    lost = gateway.open()
    assert {each["group"] for each in lost} == {"10m"}
    assert len(lost) == 2  # the attempt and its retry
    assert decision.reservation not in {each["id"] for each in lost}


def test_a_fallback_that_would_be_billed_is_final(gateway: Gateway) -> None:
    """After it another provider's route is configured, which would have answered."""
    marked = f"fall back too far {uuid.uuid4()}"
    assert gateway.chat("down", marked, max_tokens=16384, n=100) == 429
    assert gateway.asked(marked) == []


def test_another_providers_route_reserves_nothing(gateway: Gateway) -> None:
    assert gateway.chat("azure", f"elsewhere {uuid.uuid4()}") == 200
    (decision,) = gateway.decided(1)
    assert (decision.model, decision.reason) == ("azure/gpt-4o-2024-08-06", "model_not_listed")
    assert gateway.open() == []


def test_a_stream_that_breaks_off_after_it_said_what_it_used_is_settled(gateway: Gateway) -> None:
    assert gateway.chat("fast", f"{BREAK} {uuid.uuid4()}", stream=True, stream_options={"include_usage": True}) == 200
    (decision,) = gateway.decided(1)
    assert decision.reservation
    assert gateway.nothing_is_open()


def test_fifty_calls_at_once_send_what_fits_and_nothing_more(gateway: Gateway) -> None:
    """Each may use 32,768 and some, and uses all that it may: 30 of them fit in 1,000,000."""
    marked = f"{USE_ALL} {uuid.uuid4()}"
    with ThreadPoolExecutor(50) as callers:
        answers = list(
            callers.map(lambda number: gateway.chat("big", f"{marked} {number}", max_tokens=32768), range(50))
        )
    assert Counter(answers) == {200: 30, 429: 20}
    assert len(gateway.asked(marked)) == 30
    found = gateway.decided(30)
    assert [each.verdict for each in found] == ["free"] * 30
    assert len({each.reservation for each in found if each.reservation}) == 30
    assert gateway.nothing_is_open()
    assert gateway.chat("big", f"{USE_ALL} {uuid.uuid4()}", max_tokens=32768) == 429
    assert gateway.chat("big", f"{USE_ALL} {uuid.uuid4()}", max_tokens=10000) == 200


def test_the_pages_commands_set_a_gateway_up(system: System, openai: Platform, tmp_path: Path) -> None:
    state = tmp_path / "up.json"
    state.write_text(json.dumps(asdict(system.up)))
    port = str(20000 + os.getpid() % 20000)
    script = "set -eu\n" + "echo ---\n".join(COMMANDS) + "kill $!\n"
    for shown, ours in {".gratis/up.json": str(state), "4000": port, "litellm.log": str(tmp_path / "log")}.items():
        script = script.replace(shown, ours)
    process = subprocess.Popen(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env=os.environ | {"OPENAI_API_KEY": "sk-none", "OPENAI_BASE_URL": openai.url},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=400)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, said
    _, answered, refused, listed = said.decode().split("---\n")
    assert json.loads(answered)["usage"]["total_tokens"] == 1500
    assert "40 answers" in refused or "did not fit" in refused
    (decision,) = json.loads(listed)["data"]
    assert (decision["verdict"], decision["tokens"]["total"]) == ("free", 1500)
    assert decision["reservation"].startswith("gate-")
