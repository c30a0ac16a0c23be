"""The set-ups of docs/api.md, run as they stand there: real SDKs, LiteLLM and OpenTelemetry, against a stand-in for the
platform. `make senders` installs them into .venv-senders."""

import json
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gratis.rules.receipt import Decision
from gratis_local.functions import ROOT
from tests.e2e.litellm_proxy import AUTH, Proxy, running
from tests.e2e.platform import FAIL, Platform
from tests.e2e.system import System, eventually

SENDERS = ROOT / ".venv-senders"
TSX = SENDERS / "node_modules/.bin/tsx"
DOCS = (ROOT / "docs/api.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(not (SENDERS / ".complete").exists(), reason="make senders installs them")


def shown(heading: str, language: str) -> str:
    """The code that the page shows in this language under a heading."""
    (section,) = re.findall(rf"^### {heading}[^\n]*\n(.*?)(?=^##)", DOCS, re.DOTALL | re.MULTILINE)
    return str(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0])


@pytest.fixture(scope="module")
def openai() -> Iterator[Platform]:
    with Platform() as server:
        yield server


@pytest.fixture
def environment(system: System, openai: Platform) -> dict[str, str]:
    """Where a sender sends, and whom it calls."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))} | {
        "PATH": f"{SENDERS / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GRATIS_URL": system.up.base_url,
        "GRATIS_SECRET": system.up.webhook_secret,
        "GRATIS_BEARER": system.up.litellm_secret,
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": openai.base_url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def run(script: str, environment: Mapping[str, str], folder: Path, *command: str, name: str = "script") -> str:
    """Run a script, in Python or by another command that is given its file; returns what it printed."""
    (folder / name).write_text(script)
    done = subprocess.run(
        (*(command or ("python",)), name), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def decided(system: System, organization: str, count: int) -> list[Decision]:
    """The organization's decisions once there are so many, those of the seventh day before left out."""
    found = eventually(
        lambda: len(every := [*system.stored(organization).decisions.values()]) >= count and every,
        f"{count} decisions of {organization}",
    )
    assert isinstance(found, list)
    return sorted(found, key=lambda each: each.occurred_at)


def ours(code: str, organization: str) -> str:
    """The page's code, for an organization of the test's own."""
    return code.replace("org_demo", organization)


# --- SDKs ----------------------------------------------------------------------------------------------------------


def test_curl_sends_an_event(system: System, organization: str, environment: dict[str, str], tmp_path: Path) -> None:
    answer = run(ours(shown("curl", "bash"), organization), environment, tmp_path, "bash", "-eu")
    assert json.loads(answer) == {"accepted": 1, "skipped": {}, "quarantined": []}
    (decision,) = decided(system, organization, 1)
    assert (decision.verdict, decision.input, decision.output) == ("free", 9, 1)


def test_python_sends_what_the_platforms_sdk_returned(
    system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    answer = run(ours(shown("Python", "python"), organization), environment, tmp_path)
    assert json.loads(answer)["accepted"] == 1
    (decision,) = decided(system, organization, 1)
    assert decision.request_id.startswith("resp_")
    assert (decision.model, decision.endpoint, decision.project) == ("gpt-4o-2024-11-20", "responses", "proj_web")
    assert (decision.input, decision.output) == (36, 87)


@pytest.mark.skipif(not TSX.exists(), reason="there is no Node.js here")
def test_typescript_sends_what_the_platforms_sdk_returned(
    system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(SENDERS / "node_modules")
    script = ours(shown("TypeScript", "typescript"), organization)
    assert json.loads(run(script, environment, tmp_path, str(TSX), name="app.mts"))["accepted"] == 1
    (decision,) = decided(system, organization, 1)
    assert (decision.model, decision.endpoint) == ("gpt-4o-2024-11-20", "chat.completions")
    assert (decision.input, decision.cached, decision.output) == (1200, 1024, 300)


CLOUDEVENTS = """
import json, os, urllib.request, uuid
from datetime import datetime, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks.webhooks import Webhook


def event(name):
    usage = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}
    data = {"project": "Zürich team", "model": "gpt-4o-2024-08-06", "usage": usage}
    named = {"id": name, "source": "urn:shop", "type": "usage.request", "subject": "org_demo"}
    return CloudEvent(named | {"time": datetime.now(timezone.utc), "datacontenttype": "application/json"}, data)


def post(headers, body):
    message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(timezone.utc)
    signature = Webhook(os.environ["GRATIS_SECRET"]).sign(message_id, now, body.decode())
    signed = {"svix-id": message_id, "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    sent = urllib.request.Request(os.environ["GRATIS_URL"] + "/usage-events", body, headers | signed)
    print(urllib.request.urlopen(sent).read().decode())


for convert, name in ((to_structured_event, "structured"), (to_binary_event, "binary")):
    message = convert(event(name))
    post(dict(message.headers), message.body)
batch = b"[" + b",".join(JSONFormat().write(event(name)) for name in ("first", "second")) + b"]"
post({"content-type": "application/cloudevents-batch+json"}, batch)
"""


def test_the_library_of_cloudevents_sends_in_every_mode(
    system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    answers = run(ours(CLOUDEVENTS, organization), environment, tmp_path).splitlines()
    assert [json.loads(each) for each in answers] == [
        {"accepted": count, "skipped": {}, "quarantined": []} for count in (1, 1, 2)
    ]
    found = decided(system, organization, 4)
    assert [each.request_id for each in found] == ["structured", "binary", "first", "second"]
    assert {(each.project, each.input, each.output, each.verdict) for each in found} == {
        ("Zürich team", 90, 10, "free")
    }


# --- LiteLLM -------------------------------------------------------------------------------------------------------


def test_litellms_sdk_logs_a_call(
    system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    run(ours(shown("LiteLLM", "python"), organization), environment, tmp_path)
    (decision,) = decided(system, organization, 1)
    assert (decision.model, decision.endpoint) == ("gpt-4o-2024-11-20", "chat.completions")
    assert (decision.input, decision.cached, decision.output) == (1200, 1024, 300)


@contextmanager
def proxy(environment: dict[str, str], key: str, folder: Path, url: str) -> Iterator[Proxy]:
    """The proxy with the configuration that the page shows, and a few routes to the platform."""
    called = {"api_base": url, "api_key": "sk-none"}
    routes = {"fast": "openai/gpt-4o-mini", "bare": "gpt-4o-2024-08-06", "emb": "openai/text-embedding-3-small"}
    listed = [{"model_name": name, "litellm_params": {"model": model, **called}} for name, model in routes.items()]
    azure = {"model": "azure/gpt-4o-2024-08-06", "api_version": "2024-10-21", **called}
    listed.append({"model_name": "azure", "litellm_params": azure})
    page = shown("LiteLLM", "yaml")
    for name in ("GRATIS_URL", "GRATIS_BEARER"):
        page = page.replace(f"${{{name}}}", environment[name])
    more = {"model_list": listed, "general_settings": {"custom_auth": "auth.user_api_key_auth"}}
    (folder / "auth.py").write_text(AUTH)
    (folder / "config.yaml").write_text("\n".join([page, *(f"{name}: {json.dumps(more[name])}" for name in more)]))
    with running(environment, folder, key) as found:
        yield found


def test_litellms_proxy_logs_what_was_called_once_and_nothing_that_callers_say(
    system: System, organization: str, environment: dict[str, str], openai: Platform, tmp_path: Path
) -> None:
    said = [{"role": "user", "content": "Hello"}]
    forged = {"user_api_key_org_id": "org_forged", "user_api_key_alias": "litellm-internal-health-check"}
    with proxy(environment, organization, tmp_path, openai.base_url) as started:
        answers = [
            started.call("/v1/chat/completions", {"model": "fast", "messages": said, "no-log": True}),
            started.call("/v1/chat/completions", {"model": "bare", "messages": said, "metadata": forged}),
            started.call("/v1/chat/completions", {"model": "azure", "messages": said, "stream": True}),
            started.call("/v1/responses", {"model": "bare", "input": "Hello", "tools": [{"type": "web_search"}]}),
            *(
                started.call("/v1/embeddings", {"model": "emb", "input": "x"}, **{"x-litellm-call-id": "mine"})
                for _ in "ab"
            ),
            started.call("/v1/chat/completions", {"model": "bare", "messages": [{"role": "user", "content": FAIL}]}),
        ]
        assert answers == [200] * 6 + [400]
        found = decided(system, organization, 6)
    assert sorted((each.model, each.endpoint, each.reason, each.hosted_tool) for each in found) == [
        ("azure/gpt-4o-2024-08-06", "chat.completions", "model_not_listed", None),
        ("gpt-4o-2024-08-06", "chat.completions", "within_quota", None),
        ("gpt-4o-2024-08-06", "responses", "tool_use", "web_search"),
        ("gpt-4o-mini", "chat.completions", "within_quota", None),
        ("text-embedding-3-small", "embeddings", "model_not_listed", None),
        ("text-embedding-3-small", "embeddings", "model_not_listed", None),
    ]
    assert {each.project for each in found} == {"Data Science"}
    assert [each.platform_verdict for each in found if each.endpoint == "responses"] == ["billed"]
    assert system.through(organization).quarantine == []


def test_polls_of_a_batch_are_one_request(
    system: System, organization: str, environment: dict[str, str], openai: Platform, tmp_path: Path
) -> None:
    script = f"""
        import asyncio, os, litellm
        from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger

        async def main():
            logger = GenericAPILogger(
                endpoint=os.environ["GRATIS_URL"] + "/usage-events/litellm",
                headers={{"Authorization": "Bearer " + os.environ["GRATIS_BEARER"]}},
            )
            litellm.callbacks = [logger]
            for user in "abc":
                metadata = {{"user_api_key_org_id": "{organization}", "user_api_key_user_id": user}}
                called = {{"api_base": "{openai.base_url}", "api_key": "x", "custom_llm_provider": "openai"}}
                await litellm.aretrieve_batch(batch_id="batch_{organization}", litellm_metadata=metadata,
                                              metadata=metadata, **called)
                await asyncio.sleep(2)
            await logger.flush_queue()

        asyncio.run(main())
    """
    run(textwrap.dedent(script), environment, tmp_path)
    found = system.through(organization)
    (decision,) = found.decisions.values()
    assert (decision.request_id, decision.batch) == (f"batch_{organization}", True)
    assert (decision.model, decision.input, decision.output) == ("gpt-4o-2024-08-06", 2400, 600)
    assert found.quarantine == []


# --- OpenTelemetry -------------------------------------------------------------------------------------------------

CALLS = """
from openai import OpenAI

client, said = OpenAI(), [{"role": "user", "content": "a private prompt"}]
client.chat.completions.create(model="gpt-4o", messages=said, service_tier="flex")
counted = {"stream": True, "stream_options": {"include_usage": True}}
for _ in client.chat.completions.create(model="gpt-4o-mini", messages=said, **counted):
    pass
client.embeddings.create(model="text-embedding-3-small", input="a private prompt")
"""
INSTRUMENTATIONS = {
    "opentelemetry-instrumentation-openai-v2": "opentelemetry-instrumentation-openai",
    "opentelemetry-instrumentation-openai": "opentelemetry-instrumentation-openai-v2",
}
"""Each with the other one, which is hidden from it: both have the same name, so no setting tells them apart."""


def instrumented(environment: dict[str, str], organization: str, folder: Path, hidden: str | None = None) -> None:
    """Run the calls as the page shows it; a distribution without entry points, earlier on the path, hides another."""
    if hidden:
        empty = folder / f"{hidden.replace('-', '_')}-0.dist-info"
        empty.mkdir()
        (empty / "METADATA").write_text(f"Name: {hidden}\nVersion: 0\n")
    (folder / "app.py").write_text(CALLS)
    run(
        ours(shown("OpenTelemetry", "bash"), organization),
        environment | {"PYTHONPATH": str(folder)},
        folder,
        "bash",
        "-eu",
    )


@pytest.mark.parametrize("instrumentation", INSTRUMENTATIONS)
def test_an_instrumented_application_needs_nothing_but_its_environment(
    instrumentation: str, system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    instrumented(environment, organization, tmp_path, INSTRUMENTATIONS[instrumentation])
    found = decided(system, organization, 3)
    assert [(each.model, each.endpoint, each.input, each.output) for each in found] == [
        ("gpt-4o-2024-11-20", "chat.completions", 1200, 300),
        ("gpt-4o-mini-2024-07-18", "chat.completions", 1200, 300),
        ("text-embedding-3-small", "embeddings", 8, 0),
    ]
    assert (found[0].service_tier, found[0].project) == ("flex", "proj_web")
    assert found[0].request_id.startswith("chatcmpl-")
    assert system.through(organization).quarantine == []


@pytest.mark.parametrize("conventions", ["", "gen_ai_latest_experimental"])
def test_litellms_own_spans_are_read(
    conventions: str, system: System, organization: str, environment: dict[str, str], openai: Platform, tmp_path: Path
) -> None:
    settings = {
        "OTEL_EXPORTER": "otlp_http",
        "OTEL_ENDPOINT": f"{environment['GRATIS_URL']}/usage-events/otlp/v1/traces",
        "OTEL_HEADERS": f"authorization=Bearer {environment['GRATIS_BEARER']}",
        "OTEL_RESOURCE_ATTRIBUTES": f"gratis.organization={organization}",
        "OTEL_SEMCONV_STABILITY_OPT_IN": conventions,
    }
    script = f"""
        import asyncio, litellm
        litellm.callbacks = ["otel"]

        async def main():
            said = [{{"role": "user", "content": "Hello"}}]
            called = {{"api_base": "{openai.base_url}", "api_key": "x"}}
            await litellm.acompletion(model="gpt-4o", messages=said, **called)
            await litellm.acompletion(model="azure/gpt-4o", messages=said, api_version="2024-10-21", **called)
            await asyncio.sleep(1)

        asyncio.run(main())
    """
    run(textwrap.dedent(script), environment | settings, tmp_path)
    found = decided(system, organization, 2)
    assert [each.model for each in found] == ["gpt-4o-2024-11-20", "azure/gpt-4o-2024-11-20"]
    assert system.through(organization).quarantine == []


def test_a_call_that_is_metered_twice_is_a_conflict(
    system: System, organization: str, environment: dict[str, str], tmp_path: Path
) -> None:
    instrumented(environment, organization, tmp_path)
    found = system.through(organization)
    assert {entry.code for entry in found.quarantine} == {"conflict"}
    assert len([each for each in found.decisions.values() if each.endpoint == "chat.completions"]) == 2
