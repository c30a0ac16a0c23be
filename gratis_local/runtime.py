"""Lambda played on this machine: a function under the real runtime client, with its layer and nothing else."""

import json
import queue
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gratis_local.deploy import layer_packages
from gratis_local.places import ROOT

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
    "STREAM_DEAD_LETTERS": "https://sqs.us-east-1.amazonaws.com/000000000000/stream",
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
"""A deployed function's environment: what Lambda sets, and what template.yaml sets for any of ours."""


@dataclass
class Lambda:
    """Lambda's Runtime API, and stand-ins for AWS: one secret, an empty table, a queue that takes everything.

    `told`: what the function answered, or why it could not.
    """

    invocations: list[Any]
    secret: str = ""
    ready: threading.Event = field(default_factory=threading.Event)
    """It is initialized: it has asked for its first event."""
    told: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)
    over: threading.Event = field(default_factory=threading.Event)

    def next_invocation(self) -> Any:
        """The next event; after the last one, waits until `over` is set."""
        self.ready.set()
        if not self.invocations:
            self.over.wait(SECONDS)
            return None
        return self.invocations.pop(0)

    def of_aws(self, target: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call of another service."""
        if target == "secretsmanager.GetSecretValue":
            return {"Name": asked["SecretId"], "SecretString": self.secret}
        if target.startswith("DynamoDB"):
            return {"Items": [], "Responses": {}}
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]]}


class _Server(ThreadingHTTPServer):
    """A function that is stopped leaves its connections open; that is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _server_for(played: Lambda) -> _Server:
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
            if target := self.headers.get("x-amz-target"):
                self.answer(200, played.of_aws(target, content), {})
                return
            played.told.put((self.path.rpartition("/")[2], content))
            self.answer(202, {}, {})

        def answer(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - as in the library
            """Quiet."""

    return _Server(("127.0.0.1", 0), Handler)


@contextmanager
def _serving(played: Lambda) -> Iterator[str]:
    """Host and port at which Lambda is played."""
    server = _server_for(played)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        played.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def started(
    played: Lambda, folder: Path, path: Sequence[Path], options: Sequence[str] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of the function in `folder`, with `path` on its module path; gone on leaving."""
    with _serving(played) as address:
        environment = ENVIRONMENT | {"AWS_LAMBDA_RUNTIME_API": address, "AWS_ENDPOINT_URL": f"http://{address}/aws"}
        process = subprocess.Popen(  # noqa: S603 - our own function
            [sys.executable, "-I", "-S", *options, "-c", RUN, str(folder), *map(str, path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def runtime_modules() -> list[Path]:
    """What Lambda's runtime brings beside Python, taken from this machine's packages."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    modules = [each for folder in installed for each in folder.iterdir()]
    return [each for each in modules if each.name.partition(".")[0] in RUNTIME]


def layer_modules() -> list[Path]:
    """What the layer brings, for this machine's Python."""
    return [*(each for each in layer_packages().iterdir() if each.name != "__pycache__"), ROOT / "layers/core/gratis"]


def built(folder: Path, modules: Sequence[Path]) -> Path:
    """A folder with copies of these modules and their bytecode, as `make build` leaves them."""
    for module in modules:
        if module.is_dir():
            shutil.copytree(module, folder / module.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, folder)
    compile_all = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(compile_all, check=True)  # noqa: S603 - our own interpreter
    return folder
