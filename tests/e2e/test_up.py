"""`gratis up` as a command of its own: what it writes, that it answers, and what it leaves behind, which is nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from standardwebhooks.webhooks import Webhook

from gratis import moment
from gratis_local.up import DEMO, STATE
from tests.builders.events import usage
from tests.e2e.system import eventually

GRATIS = Path(sys.executable).parent / "gratis"


@dataclass
class Up:
    """One `gratis up`. `folder`: where its temporary files go."""

    process: "subprocess.Popen[str]"
    folder: Path

    def settings(self) -> dict[str, str]:
        """What up.json holds, as soon as it is there."""

        def written() -> Any:
            assert self.process.poll() is None, self.process.communicate()
            return json.loads(STATE.read_text()) if STATE.exists() and STATE.read_text().endswith("}\n") else None

        return dict(eventually(written, f"{STATE}"))

    def left_behind(self) -> dict[str, Any]:
        """What there is of it now that it has ended."""
        return {"processes": alive(self.folder), "files": list(self.folder.iterdir()), "state": STATE.parent.exists()}


NOTHING = {"processes": [], "files": [], "state": False}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `gratis up`, and after the test ends whatever is left of it."""
    if STATE.exists():
        pytest.fail(f"{STATE} is there: end the `gratis up` that runs here first (or delete what it left)")
    started: list[Up] = []

    def up(*arguments: str) -> Up:
        folder = tmp_path / f"up-{len(started)}"
        folder.mkdir()
        environment = os.environ | {"TMPDIR": str(folder), "AWS_PROFILE": "not of this machine"}
        process = subprocess.Popen(
            [GRATIS, "up", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(Up(process, folder))
        return started[-1]

    yield up
    for each in started:
        each.process.kill()
        each.process.communicate()
        for process_id in alive(each.folder):
            os.kill(process_id, signal.SIGKILL)
        shutil.rmtree(STATE.parent, ignore_errors=True)


def alive(folder: Path) -> list[int]:
    """Processes that were started with this folder for their temporary files, on systems that can tell."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_up_answers_and_leaves_nothing_behind_when_it_is_stopped(
    start: Callable[..., Up], stop: signal.Signals
) -> None:
    up = start()
    settings = up.settings()
    assert settings.keys() == {
        "base_url",
        "page_url",
        "owner_key",
        "gateway_key",
        "platform_key",
        "webhook_secret",
        "litellm_secret",
        "endpoint_url",
    }
    assert [oct(each.stat().st_mode & 0o777) for each in (STATE, STATE.with_suffix(".lock"))] == ["0o600"] * 2
    assert settings["base_url"] == f"{settings['page_url']}v1"
    assert settings["base_url"].startswith(settings["endpoint_url"] + "/")
    assert "$" not in settings["base_url"]  # a shell would read it as a variable
    assert alive(up.folder) or not Path("/proc").exists()
    with urllib3.PoolManager() as http:
        assert answers(http, settings) == [202, 202, 200, 200, 200]

    up.process.send_signal(stop)
    printed, complaints = up.process.communicate(timeout=30)
    assert (up.process.returncode, complaints) == (0, "")
    assert [value for value in settings.values() if value not in printed] == []
    assert up.left_behind() == NOTHING
    assert not listens(settings["endpoint_url"])


def listens(url: str) -> bool:
    with socket.socket() as client:
        parsed = urllib3.util.parse_url(url)
        return client.connect_ex((parsed.host, parsed.port)) == 0


def answers(http: urllib3.PoolManager, settings: dict[str, str]) -> list[int]:
    """The status of one call of everything that up.json names; the accounts' answers are about org_demo."""
    now = datetime.now(UTC)
    body = json.dumps(usage("first", organization=DEMO, at=moment.text(now)))
    signed = {
        "content-type": "application/cloudevents+json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(settings["webhook_secret"]).sign("msg_1", now, body),
    }
    bearer = {
        each: {"authorization": f"Bearer {settings[each]}"} for each in ("litellm_secret", "owner_key", "platform_key")
    }
    base, no_entries = settings["base_url"], b"[]"
    own = http.request("GET", f"{base}/organization/allowance", headers=bearer["owner_key"])
    named = f"{base}/organization/allowance?organization={DEMO}"
    asked = http.request("GET", named, headers=bearer["platform_key"])
    assert [each.json()["organization"] for each in (own, asked)] == [DEMO, DEMO]
    return [
        http.request("POST", f"{base}/usage-events", body=body.encode(), headers=signed).status,
        http.request("POST", f"{base}/usage-events/litellm", body=no_entries, headers=bearer["litellm_secret"]).status,
        own.status,
        asked.status,
        http.request("GET", settings["page_url"]).status,
    ]


def test_up_leaves_nothing_behind_when_it_is_stopped_while_it_starts(start: Callable[..., Up]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    up = start("--port", str(port))
    eventually(lambda: listens(f"http://127.0.0.1:{port}"), "an engine")
    up.process.terminate()
    _, complaints = up.process.communicate(timeout=30)
    assert (up.process.returncode, complaints) == (128 + signal.SIGTERM, "")
    assert up.left_behind() == NOTHING


def test_up_leaves_nothing_behind_when_ctrl_c_is_pressed_twice(start: Callable[..., Up]) -> None:
    up = start()
    up.settings()
    up.process.send_signal(signal.SIGINT)
    eventually(lambda: not STATE.exists(), "the clean-up to begin")
    up.process.send_signal(signal.SIGINT)
    up.process.communicate(timeout=30)
    assert up.left_behind() == NOTHING


def test_up_leaves_nothing_behind_when_its_terminal_is_closed(start: Callable[..., Up]) -> None:
    up = start()
    up.settings()
    up.process.send_signal(signal.SIGHUP)
    up.process.communicate(timeout=30)
    assert up.left_behind() == NOTHING


def test_a_port_that_is_taken_is_named_and_the_exit_code_is_2(start: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        up = start("--port", port)
        printed, complaint = up.process.communicate(timeout=60)
    assert (up.process.returncode, printed) == (2, "")
    assert port in complaint
    assert "Traceback" not in complaint
    assert up.left_behind() == NOTHING


def test_a_second_up_is_refused_and_leaves_the_first_alone_but_not_one_that_was_killed(
    start: Callable[..., Up],
) -> None:
    first = start()
    settings = first.settings()
    second = start()
    printed, complaint = second.process.communicate(timeout=60)
    assert (second.process.returncode, printed) == (2, "")
    (line,) = complaint.splitlines()
    named = (f"process {first.process.pid}", ".gratis/up.json", f"kill {first.process.pid}")
    assert [each for each in named if each not in line] == []
    with urllib3.PoolManager() as http:
        assert answers(http, settings) == [202, 202, 200, 200, 200]
    assert json.loads(STATE.read_text()) == settings

    first.process.kill()
    first.process.wait()
    third = start()
    eventually(lambda: not STATE.exists(), "the file of the first to go")
    assert third.settings() != settings
    third.process.terminate()
    third.process.communicate(timeout=30)
    assert third.left_behind() == NOTHING


def test_up_keep_goes_on_with_data_keys_and_secrets(start: Callable[..., Up]) -> None:
    known, first, before = kept_run(start)
    assert known == 404
    known, again, after = kept_run(start)
    assert known == 200
    assert again == first
    secrets = ("owner_key", "gateway_key", "platform_key", "webhook_secret", "litellm_secret")
    assert [after[name] for name in secrets] == [before[name] for name in secrets]


def kept_run(start: Callable[..., Up]) -> tuple[int, Any, dict[str, str]]:
    """Starts, sends `first` and stops: its status before, its decision, what up.json held."""
    up = start("--keep")
    settings = up.settings()
    bearer = {"authorization": f"Bearer {settings['owner_key']}"}
    url = f"{settings['base_url']}/organization/requests/first"
    with urllib3.PoolManager() as http:
        before = http.request("GET", url, headers=bearer).status
        assert answers(http, settings) == [202, 202, 200, 200, 200]
        eventually(lambda: http.request("GET", url, headers=bearer).status == 200, "the decision")
        decided = http.request("GET", url, headers=bearer).json()
    up.process.terminate()
    _, complaints = up.process.communicate(timeout=60)
    assert (up.process.returncode, complaints) == (0, "")
    (kept,) = STATE.parent.iterdir()
    assert (kept.name, kept.stat().st_mode & 0o077) == ("kept.json", 0)
    return before, decided, settings
