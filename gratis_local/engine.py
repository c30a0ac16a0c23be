"""The embedded engine: MiniStack as a child process on a free loopback port. Never deployed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis_local.stack import local_environment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

START_SECONDS, STOP_SECONDS = 30, 10
TABLE_SCHEMA: Any = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
"""The ledger table's; a test compares it with template.yaml."""


class EngineFailed(Exception):
    """The engine did not start; the message holds what it printed."""


@contextmanager
def engine(port: int = 0) -> Iterator[str]:
    """Runs MiniStack and yields its URL. On leaving, the process is gone and so is everything it wrote."""
    if port and not _is_free(port):
        raise EngineFailed(f"port {port} is taken")
    port = port or _free_port()
    folder = Path(tempfile.mkdtemp(prefix="gratis-engine-"))
    log = folder / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gratis_local.gateway"],
            env=_environment(port, folder),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
    finally:
        _stop(process)
        _remove(folder)


@contextmanager
def engine_at(endpoint_url: str | None) -> Iterator[str]:
    """The URL of a DynamoDB that runs already, or of an engine of our own where there is none."""
    if endpoint_url:
        yield endpoint_url
    else:
        with engine() as url:
            yield url


def _environment(port: int, folder: Path) -> dict[str, str]:
    return local_environment() | {
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",  # the host in the URLs that it hands out
        "GATEWAY_PORT": str(port),
        "STATE_DIR": str(folder / "state"),
        "TMPDIR": str(folder),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "LOG_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",
    }


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2):  # noqa: S310 - our own loopback URL
                return
        except OSError:
            time.sleep(0.05)
    raise EngineFailed(f"the embedded engine did not start on {url}:\n{log.read_text(errors='replace')[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Terminate the process and wait; kill it if that takes too long, and in any case what is left of its group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove(folder: Path) -> None:
    """Remove what the engine wrote; what it started may still write for a moment after it is told to end."""
    deadline = time.monotonic() + STOP_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def create_table(client: "DynamoDBClient", name: str) -> None:
    """Create the ledger table if it is not there."""
    try:
        client.create_table(TableName=name, **TABLE_SCHEMA)
    except client.exceptions.ResourceInUseException:
        return
    except (ClientError, BotoCoreError) as error:
        raise EngineFailed(f"cannot create the table {name}: {error}") from error
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
