"""The README's first event, typed as it stands there, reaches the system that is up."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from gratis_local.functions import ROOT
from tests.e2e.system import System

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def beside_the_system(system: System, tmp_path: Path) -> Path:
    """A folder that looks like the repository's while `make up` is running."""
    (tmp_path / ".gratis").mkdir()
    (tmp_path / ".gratis/up.json").write_text(json.dumps(asdict(system.up)))
    (tmp_path / "events").symlink_to(ROOT / "events")
    return tmp_path


def typed(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euc", script]
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_event_is_accepted_and_so_is_the_seeds_day(beside_the_system: Path) -> None:
    (script,) = re.findall(r"```bash\n(url=.*?)```", README, re.DOTALL)
    accepted, printed = script.rstrip().rsplit("\n", 1)
    assert json.loads(typed(accepted, beside_the_system)) == json.loads(printed.removeprefix("# "))

    (signed,) = re.findall(r"`(gratis replay \S+ --to \"\$url\"[^`]*)`", README)
    setting = "\n".join(line for line in script.splitlines() if line.startswith(("url=", "secret=")))
    assert "Accepted: 9" in typed(f"{setting}\n{signed}", beside_the_system)


def test_what_a_replay_prints_is_proved_as_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "events").symlink_to(ROOT / "events")
    replayed, proved = re.findall(r"^\.venv/bin/(gratis [^#\n]*records\.json)\s*(?:#.*)?$", README, re.MULTILINE)
    assert "Nothing contradicts" in typed(f"{replayed}\n{proved}", tmp_path)
