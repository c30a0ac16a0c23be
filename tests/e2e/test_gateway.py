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
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gratis.rules.receipt import Decision
from gratis.table.api_keys import Holder, Keys
from gratis_client import Gratis, new_id
from gratis_local.places import ROOT
from tests.e2e.litellm_proxy import AUTH, Proxy, await_start, free_port, starting
from tests.e2e.platform import BREAK, FAIL, USE_ALL, Platform
from tests.e2e.relay import Relay
from tests.e2e.system import System, eventually

SENDERS = ROOT / ".venv-senders"
EXAMPLE = ROOT / "examples/litellm"
COMMANDS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/gateway.md").read_text(encoding="utf-8"), re.DOTALL)
ORGANIZATIONS = 20
"""As many as tests use, and some: the proxies know their keys when they start."""
ROUTES = {
    "fast": "openai/gpt-4o-mini",
    "big": "gpt-4.1-2025-04-14",
    "emb": "openai/text-embedding-3-small",
    "listed-emb": "openai/gpt-4o-mini-2024-07-18",
}
SETTINGS = {"OTHERWISE": "fast", "WITHOUT_GRATIS": "closed", "LET_THROUGH": "no_balance model_not_listed"}
"""Of the second proxy. The first has none of them."""
pytestmark = pytest.mark.skipif(not (SENDERS / ".complete").exists(), reason="make senders installs them")


@dataclass
class Gateway:
    """A proxy, Gratis and the platform behind it, and an organization of the test's own with a key for it."""

    proxy: Proxy
    platform: Platform
    gratis: Relay
    system: System
    organization: str
    key: str

    def ask(self, route: str, body: dict[str, Any]) -> int:
        return Proxy(self.proxy.url, self.organization).call(f"/v1/{route}", body)

    def reserves(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a call that passes reserves before it is sent."""
        known = len(self.gratis.wanted)
        assert self.ask(route, body) == 200
        (wanted,) = self.gratis.wanted[known:]
        return wanted

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

    def fill(self, model: str, tokens: int) -> None:
        """Somebody else of the organization has this much room."""
        Gratis(self.system.up.base_url, self.key, timeout=60).reserve(new_id(), model, tokens)

    def nothing_is_open(self) -> bool:
        return bool(eventually(lambda: not self.open(), "that no reservation is open"))


@pytest.fixture(scope="module")
def openai() -> Iterator[Platform]:
    with Platform() as server:
        yield server


@pytest.fixture(scope="module")
def gratis(system: System) -> Iterator[Relay]:
    with Relay(system.up.base_url) as server:
        yield server


def environment(system: System, openai: Platform, gratis: Relay, keys: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))} | {
        "PATH": f"{SENDERS / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GRATIS_URL": gratis.url,
        "GRATIS_TIMEOUT": "60",
        "GRATIS_KEYS": json.dumps(keys),
        "GRATIS_BEARER": system.up.litellm_secret,
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": openai.base_url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def configured(folder: Path, url: str) -> None:
    """The example, with more routes, keys that name organizations, a cache, and fallbacks."""
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    called = {"api_base": url, "api_key": "sk-none"}
    dead = {"api_base": f"http://127.0.0.1:{free_port()}/v1", "api_key": "sk-none"}
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
def proxies(
    system: System, openai: Platform, gratis: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Gateway], list[Gateway]]]:
    """One proxy as the example is, and one with SETTINGS, for each of the organizations."""
    known = Keys(system.client("dynamodb"), system.table)
    keys = {
        each: known.create(Holder("gateway", each, "a gateway of the tests"), system.now())
        for each in (system.new_organization() for _ in range(ORGANIZATIONS))
    }
    folders = [tmp_path_factory.mktemp("proxy") for _ in "ab"]
    for folder in folders:
        configured(folder, openai.base_url)
    bare = environment(system, openai, gratis, keys)
    with starting(bare, folders[0], "none") as plain, starting(bare | SETTINGS, folders[1], "none") as choosy:
        for each in (plain, choosy):
            await_start(*each)
        first, second = (
            [Gateway(proxy, openai, gratis, system, *each) for each in keys.items()] for proxy, _ in (plain, choosy)
        )
        yield first[: ORGANIZATIONS // 2], second[ORGANIZATIONS // 2 :]


@pytest.fixture
def gateway(proxies: tuple[list[Gateway], list[Gateway]]) -> Gateway:
    return proxies[0].pop()


@pytest.fixture
def choosy(proxies: tuple[list[Gateway], list[Gateway]]) -> Gateway:
    """The proxy with SETTINGS."""
    return proxies[1].pop()


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
FORGED_NAME = "gate-" + "0" * 32
STAMP = {"gratis_reservation": FORGED_NAME, "gratis_call": "a", "gratis_organization": "org_demo"}
SMUGGLED = STAMP | {"spend_logs_metadata": STAMP}
FORGED = {"metadata": SMUGGLED, "litellm_metadata": SMUGGLED}
"""What a caller who wants to choose the id, or whose call it is, may try."""


def test_each_route_that_has_a_gate_keeps_what_it_reserved(gateway: Gateway) -> None:
    answers = {name: gateway.ask(route, body | FORGED) for name, (route, body) in CALLS.items()}
    assert answers == dict.fromkeys(CALLS, 200)
    for name, (route, body) in CALLS.items():
        forged = {each: {"user_api_key_auth_metadata": STAMP} for each in FORGED}
        assert gateway.ask(route, body | forged) >= 400, name
    found = gateway.decided(len(CALLS))
    assert [(each.endpoint, each.verdict) for each in found if not each.reservation] == []
    assert len({each.reservation for each in found}) == len(CALLS)
    assert {each.verdict for each in found} == {"free"}
    assert gateway.nothing_is_open()
    assert FORGED_NAME not in {each.reservation for each in found}
    sent = [str(asked).replace(FORGED_NAME, "") for _, asked in gateway.platform.asked]
    assert [each for each in sent if "gate-" in each] == []


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


LIMIT = 32768
"""The most that gpt-4.1 writes."""
MORE = [
    ("the largest limit", {"max_tokens": 100, "max_completion_tokens": 300}, 300),
    ("for each answer", {"max_tokens": 100, "n": 3}, 300),
    ("at most what the model writes", {"max_tokens": 100_000}, LIMIT),
    ("without a limit", {}, 8000),
    ("what is sent along", {"max_tokens": 100, "extra_body": {"max_tokens": 400, "n": 2}}, 800),
    ("what is beside the text", {"max_tokens": 100, "tools": [{"type": "function", "function": {"name": "f"}}]}, 100),
]
IMAGE = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]


def test_what_is_reserved_is_the_counted_input_and_the_largest_output(gateway: Gateway) -> None:
    """Of the input there are no more than some tokens."""
    for name, limits, written in MORE:
        said = {"model": "big", "messages": [{"role": "user", "content": f"Hello: {name}"}]}
        wanted = gateway.reserves("chat/completions", said | limits)
        assert 0 < wanted["tokens"] - written < 60, name
        assert (wanted["model"], wanted["endpoint"]) == ("gpt-4.1-2025-04-14", "chat.completions")
    prompts = gateway.reserves("completions", {"model": "big", "prompt": ["Hi", "Hello"], "max_tokens": 100, "n": 2})
    assert 400 < prompts["tokens"] < 460
    seen = {"model": "big", "max_tokens": 100, "messages": [{"role": "user", "content": IMAGE}]}
    assert gateway.reserves("chat/completions", seen)["tokens"] == 8100
    numbers = gateway.reserves("embeddings", {"model": "listed-emb", "input": [[1, 2, 3]]})
    assert 3 <= numbers["tokens"] < 20
    paid = {"model": "fast", "max_tokens": 9, "messages": HELLO, "service_tier": "flex"}
    assert gateway.reserves("chat/completions", paid)["service_tier"] == "flex"


def test_while_gratis_does_not_answer_calls_pass_and_are_decided_when_it_does(gateway: Gateway) -> None:
    with gateway.gratis.down():
        assert gateway.chat("big", f"in the dark {uuid.uuid4()}") == 200
    (decision,) = gateway.decided(1)
    assert decision.verdict == "free"
    assert gateway.open() == []


def test_while_gratis_does_not_answer_calls_are_refused_if_that_is_chosen(choosy: Gateway) -> None:
    marked = f"in the dark {uuid.uuid4()}"
    with choosy.gratis.down():
        assert choosy.chat("big", marked) == 429
        assert choosy.chat("azure", marked) == 200
    assert choosy.asked(marked) == ["gpt-4o-2024-08-06"]


REROUTED = ("chat", "a stream", "responses", "a stream of responses", "messages", "a stream of messages", "completions")


def test_what_would_be_billed_takes_the_other_route_where_it_is_free(choosy: Gateway) -> None:
    choosy.fill("gpt-4.1", 1_000_000)
    marked = f"another way {uuid.uuid4()}"
    for name in REROUTED:
        route, body = CALLS[name]
        asked = {each: marked for each in ("input", "prompt") if each in body} or {
            "messages": [{"role": "user", "content": marked}]
        }
        assert choosy.ask(route, body | asked | {"model": "big"}) == 200, name
    assert choosy.asked(marked) == ["gpt-4o-mini"] * len(REROUTED)
    found = choosy.decided(len(REROUTED))
    assert {(each.verdict, each.group) for each in found} == {("free", "10m")}
    assert len({each.reservation for each in found if each.reservation}) == len(REROUTED)
    too_much = f"too much for both {uuid.uuid4()}"
    assert choosy.chat("big", too_much, max_tokens=LIMIT, n=700) == 429
    assert choosy.asked(too_much) == []


def test_what_is_let_through_is_sent_and_billed(choosy: Gateway) -> None:
    assert choosy.ask("embeddings", {"model": "emb", "input": f"let through {uuid.uuid4()}"}) == 200
    (decision,) = choosy.decided(1)
    assert (decision.verdict, decision.reason) == ("billed", "model_not_listed")
    assert choosy.open() == []


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
    port = str(free_port())
    script = "set -eu\n" + "echo ---\n".join(COMMANDS) + "kill $!\n"
    for shown, ours in {".gratis/up.json": str(state), "4000": port, "litellm.log": str(tmp_path / "log")}.items():
        script = script.replace(shown, ours)
    process = subprocess.Popen(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env=os.environ | {"OPENAI_API_KEY": "sk-none", "OPENAI_BASE_URL": openai.base_url},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=400)
    finally:  # what it started is in its group, and may outlive a script that failed
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, said
    _, *answered, refused, listed = said.decode().split("---\n")
    assert [json.loads(each)["usage"]["total_tokens"] for each in answered] == [1500, 1500]
    assert json.loads(refused)["error"]["code"]
    assert "did not fit" in refused
    found = [each for each in json.loads(listed)["data"] if (each["reservation"] or "").startswith("gate-")]
    models = [each["model"].removesuffix("-2025-04-14") for each in reversed(found)]
    assert models == ["gpt-4.1", "gpt-4.1-mini"]  # LiteLLM logs the name of its configuration, or the dated one
    assert [(each["group"], each["verdict"]) for each in reversed(found)] == [("1m", "free"), ("10m", "free")]
