"""What the command refuses before anything is connected to: in one line that names the option and the value."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound
from typer.testing import CliRunner, Result

from local import stack
from local.cli import app
from local.functions import ROOT

SEED_DAY = str(ROOT / "events/seed-day.json")
SHIPPED = ROOT / "layers/core/gratis/data/offers/data-sharing-2025.json"
NOWHERE = "http://127.0.0.1:1"


def gratis(*arguments: str, **options: str) -> Result:
    return CliRunner().invoke(app, arguments, **options)


def refused(*arguments: str) -> str:
    """The one line that says why."""
    result = gratis(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has told AWS clients anything."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    stack._callers_session.cache_clear()
    stack._local_session.cache_clear()


# --- AWS settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("quarantine", "list"),
        ("quarantine", "redrive"),
        ("keys", "create", "--role", "platform"),
        ("prove", "org_demo", "2025-03-11"),
        ("prove", "org_demo", "2025-03-11", "--table", "ledger"),
    ],
    ids=" ".join,
)
def test_without_aws_settings_it_says_what_to_set_and_how_to_do_without(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    line = refused(*arguments)
    assert [each for each in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "--endpoint-url") if each not in line] == []
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    line = refused(*arguments)
    assert [each in line for each in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "--endpoint-url")] == [False, True, True]


def test_a_local_engine_is_reached_whatever_the_callers_settings_are(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("no configuration\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nope")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert stack.client_for(NOWHERE, "dynamodb").meta.endpoint_url == NOWHERE
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ProfileNotFound):
        stack.client_for(None, "dynamodb")
