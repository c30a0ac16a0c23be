"""What is deployed starts: each function under the real runtime client, with nothing but its layer and the runtime.

The runtime's own packages are those that Lambda has beside Python: boto3 with what it needs, and the runtime client.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gratis_local.functions import ROOT
from gratis_local.runtime import RUNTIME, SECONDS, Lambda, built, layer_modules, runtime_modules, started
from tests.builders.webhook import SECRET, request, signed


def answers(folder: str, path: Sequence[Path], cache: Path | None, *invocations: Any) -> list[tuple[str, Any]]:
    """What a function answers to each event in a process of its own; ends with the first thing that goes wrong.

    `cache`: where compiled code goes, if not beside the sources.
    """
    options = ["-X", f"pycache_prefix={cache}"] if cache else ["-B"]
    played = Lambda(list(invocations), SECRET)
    told: list[tuple[str, Any]] = []
    with started(played, ROOT / "functions" / folder, path, options):
        while len(told) < len(invocations) and all(kind == "response" for kind, _ in told):
            told.append(played.told.get(timeout=SECONDS))
    return told


# --- what is on the path of a function -----------------------------------------------------------------------------


def linked(folder: Path, sources: Sequence[Path]) -> Path:
    """A folder with links to these."""
    folder.mkdir()
    for source in sources:
        (folder / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's runtime brings beside Python."""
    found = runtime_modules()
    assert {each.name.partition(".")[0] for each in found} == set(RUNTIME)
    return linked(tmp_path_factory.mktemp("lambda") / "runtime", found)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer, built for this machine."""
    return linked(tmp_path_factory.mktemp("lambda") / "python", layer_modules())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled code goes: not beside the sources."""
    return tmp_path_factory.mktemp("cache")


# --- the tests -----------------------------------------------------------------------------------------------------


def get(path: str) -> dict[str, Any]:
    """An HTTP API event for a GET without a key."""
    context = {"http": {"method": "GET", "path": path}, "requestId": "r", "stage": "$default"}
    return request(b"", {}, path=path) | {"requestContext": context, "body": None, "isBase64Encoded": False}


def statuses(told: Sequence[tuple[str, Any]]) -> list[Any]:
    return [content["statusCode"] if kind == "response" else content for kind, content in told]


def test_receive_usage_starts_and_refuses_who_did_not_sign(runtime: Path, layer: Path, cache: Path) -> None:
    unsigned, empty = request(b"[]", {}), request(b"[]", signed(b"[]"))
    told = answers("receive_usage", [layer, runtime], cache, unsigned, empty)
    assert statuses(told) == [401, 202]
    assert json.loads(told[0][1]["body"])["error"]["code"] == "invalid_signature"


@pytest.mark.parametrize("folder", ["classify_usage", "emit_billing", "close_day", "send_webhooks"])
def test_a_function_that_reads_a_queue_or_a_stream_starts_and_takes_an_empty_batch(
    runtime: Path, layer: Path, cache: Path, folder: str
) -> None:
    told = answers(folder, [layer, runtime], cache, {"Records": []})
    assert told == [("response", {"batchItemFailures": []})]


def test_account_api_starts_shows_its_page_and_refuses_who_has_no_key(runtime: Path, layer: Path, cache: Path) -> None:
    told = answers("account_api", [layer, runtime], cache, get("/"), get("/docs"), get("/v1/organization/allowance"))
    assert statuses(told) == [200, 200, 401]


def test_check_offer_starts_and_answers_where_it_is_told_to(runtime: Path, layer: Path, cache: Path) -> None:
    nobody = {"RequestType": "Delete", "ResponseURL": "http://127.0.0.1:9/"}
    names = dict.fromkeys(("StackId", "RequestId", "LogicalResourceId"), "x")
    ((kind, content),) = answers("check_offer", [layer, runtime], cache, nobody | names)
    assert (kind, content["errorType"]) == ("error", "URLError")


def test_every_function_is_started_above() -> None:
    reading = {"classify_usage", "emit_billing", "close_day", "send_webhooks"}
    started = reading | {"receive_usage", "account_api", "check_offer"}
    assert {folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists()} == started


@pytest.mark.parametrize("package", ["pydantic", "aws_lambda_powertools", "gratis"])
def test_a_package_that_the_layer_lacks_would_be_noticed(
    tmp_path: Path, runtime: Path, layer: Path, cache: Path, package: str
) -> None:
    lacking = linked(tmp_path / "python", [each.resolve() for each in layer.iterdir() if each.name != package])
    ((kind, content),) = answers("receive_usage", [lacking, runtime], cache, {})
    assert (kind, content["errorType"]) == ("error", "Runtime.ImportModuleError")
    assert package in content["errorMessage"]


def test_the_bytecode_that_the_layer_ships_is_what_runs(tmp_path: Path, runtime: Path, layer: Path) -> None:
    shipped = built(tmp_path / "python", [ROOT / "layers/core/gratis"])
    (shipped / "gratis" / "moment.py").write_text("raise ImportError('compiled again')\n", encoding="utf-8")
    told = answers("classify_usage", [shipped, layer, runtime], None, {"Records": []})
    assert told == [("response", {"batchItemFailures": []})]


# --- what a start imports ------------------------------------------------------------------------------------------

PACKAGES = "annotated_types jmespath pydantic pydantic_core typing_extensions typing_inspection"
POWERTOOLS = "exceptions logging metrics package_logger shared tracing utilities warnings"
"""Parts of Powertools that its logger and its metrics bring along; `tracing` without the X-Ray SDK is empty."""
CORE = (
    "config errors moment rules rules.figures rules.formats rules.request rules.reservation rules.window "
    "startup table table.dynamo table.keys telemetry"
)
DECISIONS = "rules.offer rules.receipt rules.spelling table.account_rows table.decision_items"
LEDGER = (
    f"{DECISIONS} rules.account rules.decision rules.eligibility rules.names rules.pages rules.pricing rules.totals "
    "rules.void table.account_items table.ledger"
)
IMPORTS = {
    "receive_usage": f"{CORE} rules.names "
    "http intake intake.cloudevents intake.encoding intake.event_models intake.events "
    "intake.litellm intake.mapping "
    "intake.messages intake.otlp intake.queue intake.receive intake.signature intake.sources intake.stream "
    "strict_json table.quarantine ",
    "classify_usage": f"{CORE} {LEDGER} classify intake intake.event_models intake.events intake.messages "
    "intake.stream "
    "strict_json table.quarantine ",
    "emit_billing": f"{CORE} {DECISIONS} "
    "closing closing.chain closing.days closing.late closing.locked outbox table.day_list unlisted ",
    "close_day": f"{CORE} {LEDGER} "
    "closing closing.again closing.chain closing.check closing.close closing.days closing.duplicates "
    "closing.merkle closing.proof closing.proving closing.signing closing.statements "
    "closing.sums closing.tiling closing.totals closing.windows "
    "rules.tiling ",
    "send_webhooks": f"{CORE} outgoing outgoing.deliveries outgoing.endpoints outgoing.sending outgoing.targets ",
    "account_api": f"{CORE} {LEDGER} "
    "account account.api_answer account.api_request account.api_router account.openapi account.routes "
    "account.routes.call account.routes.pages account.routes.statements "
    "http strict_json table.accounts table.api_keys ",
}
"""Modules of gratis."""
ALSO: dict[str, str] = {}
MODELS = "annotated_types pydantic pydantic_core typing_inspection"
"""Pydantic with what it needs."""
NOT = {"send_webhooks": MODELS, "emit_billing": MODELS}
ALSO_OF_POWERTOOLS = {"account_api": "event_handler middleware_factory"}
LOADED = """
import json, sys
sys.path[:0] = sys.argv[1:]
import app
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
print(json.dumps([name for name, file in files.items() if file.startswith(sys.argv[2])]))
"""
MATCHED = """
import json, sys
sys.path[:0] = sys.argv[1:]
import app
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

def imported(method, path):
    context = {"http": {"method": method, "path": path}, "stage": "$default"}
    assert app.app.match(APIGatewayProxyEventV2({"rawPath": path, "requestContext": context}))
    return [name.rpartition(".")[2] for name in app.SUBJECTS if name in sys.modules]

asked = ("GET", "/v1/organization/allowance"), ("POST", "/v1/organization/allowance/check")
print(json.dumps([imported(*each) for each in asked]))
"""
BUILT = """
import json, sys
sys.path[:0] = sys.argv[1:]
import app
from pydantic import BaseModel

def models(base):
    return [base, *(each for model in base.__subclasses__() for each in models(model))]

ours = [each for each in models(BaseModel) if each.__module__.startswith("gratis.")]
print(json.dumps([each.__name__ for each in ours if each.__pydantic_complete__]))
"""
PLUGINS = """
import sys
sys.path[:0] = sys.argv[1:]
import importlib.metadata
asked = []
importlib.metadata.entry_points = lambda **group: asked.append(group) or ()
import app
print(len(asked))
"""
COLLECTED = """
import gc, sys
sys.path[:0] = sys.argv[1:]
before = gc.get_stats()
import app
print(sum(each["collections"] for each in gc.get_stats()) - sum(each["collections"] for each in before))
"""


def run(code: str, folder: str, layer: Path, runtime: Path) -> Any:
    """What this code says of a function that it loads, in a process of its own."""
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, (ROOT / "functions" / folder, layer, runtime))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout)


def loaded(folder: str, layer: Path, runtime: Path) -> list[list[str]]:
    """The names, split at their dots, of the layer's modules that are loaded once the function is."""
    return [name.split(".") for name in run(LOADED, folder, layer, runtime)]


@pytest.mark.parametrize("folder", IMPORTS)
def test_a_start_imports_what_its_function_needs_and_nothing_else(folder: str, layer: Path, runtime: Path) -> None:
    names = loaded(folder, layer, runtime)
    parts: dict[str, set[str]] = {}
    for package, *rest in names:
        parts.setdefault(package, set()).update(rest[:1])
    ours = {".".join(rest) for package, *rest in names if package == "gratis" and rest}
    powertools = parts.pop("aws_lambda_powertools")
    assert ours == set(IMPORTS[folder].split())
    assert powertools == {*POWERTOOLS.split(), *ALSO_OF_POWERTOOLS.get(folder, "").split()}
    packages = {*PACKAGES.split(), *ALSO.get(folder, "").split()} - {*NOT.get(folder, "").split()}
    assert parts.keys() == {"gratis", *packages}


def test_the_models_of_openapi_wait_until_the_page_is_asked_for(layer: Path, runtime: Path) -> None:
    assert ["aws_lambda_powertools", "event_handler", "openapi", "models"] not in loaded("account_api", layer, runtime)


def test_a_call_imports_the_subjects_up_to_its_own(layer: Path, runtime: Path) -> None:
    assert run(MATCHED, "account_api", layer, runtime) == [["allowance"], ["allowance", "reservations"]]


@pytest.mark.parametrize("folder", sorted(IMPORTS.keys() - NOT.keys()))
def test_a_start_builds_no_models_that_its_first_event_may_not_need(folder: str, layer: Path, runtime: Path) -> None:
    assert run(BUILT, folder, layer, runtime) == []


@pytest.mark.parametrize("folder", IMPORTS)
def test_a_start_reads_no_packages_metadata_in_search_of_plugins(folder: str, layer: Path, runtime: Path) -> None:
    assert run(PLUGINS, folder, layer, runtime) == 0


@pytest.mark.parametrize("folder", IMPORTS)
def test_a_start_is_not_held_up_by_the_garbage_collector(folder: str, layer: Path, runtime: Path) -> None:
    assert run(COLLECTED, folder, layer, runtime) == 0
