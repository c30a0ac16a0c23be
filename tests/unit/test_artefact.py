"""What is deployed starts: each function under the real runtime client, with nothing but its layer and the runtime.

The runtime's own packages are those that Lambda has beside Python: boto3 with what it needs, and the runtime client.
"""

import json
import queue
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.deploy import layer_packages
from local.functions import ROOT
from tests.unit.webhook import SECRET, request, signed

SECONDS = 60
"""How long a function may take to start and to answer."""
RUNTIME = (
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3"),
    *("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"),
)
"""Modules that Lambda's runtime brings."""
RUN = """
import sys
sys.path[:0] = sys.argv[1:]
from awslambdaric.__main__ import main
main(["awslambdaric", "app.handler"])
"""
ENVIRONMENT = {
    "LEDGER_TABLE": "ledger",
    "OFFER": "data-sharing",
    "OFFER_ENDS": "",
    "USAGE_QUEUE": "https://sqs.us-east-1.amazonaws.com/000000000000/usage.fifo",
    "CLOSE_QUEUE": "https://sqs.us-east-1.amazonaws.com/000000000000/close",
    "EVENT_BUS": "billing",
    "WEBHOOK_SECRET": "webhook",
    "LITELLM_SECRET": "litellm",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "LC_ALL": "C.UTF-8",
}


# --- Lambda, played by a loopback server ---------------------------------------------------------------------------


@dataclass
class Lambda:
    """Lambda's Runtime API, and Secrets Manager beside it. `told`: what the function answered, or why it could not."""

    invocations: list[Any]
    told: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)
    over: threading.Event = field(default_factory=threading.Event)

    def next_invocation(self) -> Any:
        """The next event; none comes after the last until all is over."""
        if not self.invocations:
            self.over.wait(SECONDS)
            return None
        return self.invocations.pop(0)


class Server(ThreadingHTTPServer):
    """A function that is stopped leaves its connections open; that is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server_for(played: Lambda) -> Server:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer goes out in one piece
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            event = played.next_invocation()
            headers = {
                "Lambda-Runtime-Aws-Request-Id": "11111111-2222-3333-4444-555555555555",
                "Lambda-Runtime-Deadline-Ms": "9999999999999",
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:function",
                "Content-Type": "application/json",
            }
            self.answer(200, event, headers)

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.headers.get("x-amz-target") == "secretsmanager.GetSecretValue":
                self.answer(200, {"Name": content["SecretId"], "SecretString": SECRET}, {})
                return
            played.told.put((self.path.rpartition("/")[2], content))
            self.answer(202, {}, {})

        def answer(self, status: int, content: Any, headers: dict[str, str]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - as in the library
            """Quiet."""

    return Server(("127.0.0.1", 0), Handler)


@contextmanager
def serving(played: Lambda) -> Iterator[str]:
    """Host and port at which Lambda is played."""
    server = server_for(played)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        played.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answers(folder: str, path: Sequence[Path], cache: Path, *invocations: Any) -> list[tuple[str, Any]]:
    """What a function answers to each event in a process of its own; ends with the first thing that goes wrong."""
    played = Lambda(list(invocations))
    with serving(played) as address:
        alone = [sys.executable, "-I", "-S", "-X", f"pycache_prefix={cache}", "-c", RUN]
        environment = ENVIRONMENT | {"AWS_LAMBDA_RUNTIME_API": address, "AWS_ENDPOINT_URL": f"http://{address}/aws"}
        process = subprocess.Popen(
            [*alone, str(ROOT / "functions" / folder), *map(str, path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        told: list[tuple[str, Any]] = []
        try:
            while len(told) < len(invocations) and all(kind == "response" for kind, _ in told):
                told.append(played.told.get(timeout=SECONDS))
        finally:
            process.kill()
            process.wait()
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
    """What Lambda's runtime brings beside Python, taken from this machine's packages."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    modules = [each for folder in installed for each in folder.iterdir()]
    found = [each for each in modules if each.name.partition(".")[0] in RUNTIME]
    assert {each.name.partition(".")[0] for each in found} == set(RUNTIME)
    return linked(tmp_path_factory.mktemp("lambda") / "runtime", found)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer, built for this machine."""
    packages = [each for each in layer_packages().iterdir() if each.name != "__pycache__"]
    return linked(tmp_path_factory.mktemp("lambda") / "python", [*packages, ROOT / "layers/core/gratis"])


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


@pytest.mark.parametrize("folder", ["classify_usage", "emit_billing", "close_day"])
def test_a_function_that_reads_a_queue_or_a_stream_starts_and_takes_an_empty_batch(
    runtime: Path, layer: Path, cache: Path, folder: str
) -> None:
    told = answers(folder, [layer, runtime], cache, {"Records": []})
    assert told == [("response", {"batchItemFailures": []})]


def test_account_api_starts_shows_its_page_and_refuses_who_has_no_key(runtime: Path, layer: Path, cache: Path) -> None:
    told = answers("account_api", [layer, runtime], cache, get("/"), get("/docs"), get("/v1/organization/allowance"))
    assert statuses(told) == [200, 200, 401]


def test_every_function_is_started_above() -> None:
    started = {"receive_usage", "classify_usage", "emit_billing", "close_day", "account_api"}
    assert {folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists()} == started


@pytest.mark.parametrize("package", ["pydantic", "standardwebhooks", "aws_lambda_powertools", "gratis"])
def test_a_package_that_the_layer_lacks_would_be_noticed(
    tmp_path: Path, runtime: Path, layer: Path, cache: Path, package: str
) -> None:
    lacking = linked(tmp_path / "python", [each.resolve() for each in layer.iterdir() if each.name != package])
    ((kind, content),) = answers("receive_usage", [lacking, runtime], cache, {})
    assert (kind, content["errorType"]) == ("error", "Runtime.ImportModuleError")
    assert package in content["errorMessage"]
