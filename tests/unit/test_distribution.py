"""What is installed elsewhere works there: the wheel brings what commands read, and declares what they import."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

from gratis_local import places
from gratis_local.places import ROOT

FIRST_PARTY = {"gratis", "gratis_client", "gratis_local", "gratis_simulation"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel that `pip install .` would make."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as opened:
        yield opened


def names(requirements: str) -> set[str]:
    """The distributions that lines of requirements name."""
    return {re.split(r"[\[<>=; ]", line)[0] for line in requirements.splitlines() if re.match(r"[a-z]", line)}


def test_the_wheel_brings_the_samples_and_the_template(wheel: zipfile.ZipFile) -> None:
    folder = places.SHIPPED.relative_to(ROOT)
    for file in (*places.samples().values(), places.shipped("events") / "organizations.json", ROOT / "template.yaml"):
        assert wheel.read(str(folder / file.relative_to(ROOT))) == file.read_bytes()


def test_the_wheel_has_the_data_and_no_package_but_ours(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    assert {each.split("/")[0] for each in held if not each.startswith("gratis-")} == FIRST_PARTY
    assert {f"{each}/py.typed" for each in FIRST_PARTY} <= held
    assert {"gratis/data/prices.json", "gratis/data/offers/data-sharing.json", "gratis_local/preview/page.css"} <= held


def test_an_installed_package_reads_its_own_copies(
    wheel: zipfile.ZipFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel.extractall(tmp_path)
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setattr(places, "SHIPPED", tmp_path / places.SHIPPED.relative_to(ROOT))
    assert places.samples()["seed-day"].is_relative_to(tmp_path)
    assert places.shipped("template.yaml").is_file()


def imported(module: str) -> Iterator[str]:
    """The packages that a module imports when it runs, wherever in it."""
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_package_that_the_wheel_imports_is_declared(wheel: zipfile.ZipFile) -> None:
    modules = [wheel.read(each).decode() for each in wheel.namelist() if each.endswith(".py")]
    used = {name for module in modules for name in imported(module)} - sys.stdlib_module_names - FIRST_PARTY
    brought = packages_distributions()
    named = {brought.get(name, [name])[0] for name in used if not name.startswith("mypy_boto3")}
    distributions = {each.lower().replace("_", "-") for each in named}
    optional = chain.from_iterable(PROJECT["optional-dependencies"].values())
    declared = {re.split(r"[<>=]", each)[0] for each in (*PROJECT["dependencies"], *optional)}
    made_for = {"botocore", "pydantic-core"}  # by boto3 and pydantic
    beside = {"litellm"}  # in the gateway's environment
    assert distributions - declared == made_for | beside
    assert declared - distributions <= {"ministack", "tzdata", "opentelemetry-proto"}  # not imported


def test_what_replays_is_locked_as_for_developers_and_as_deployed() -> None:
    files = ("requirements/dev.txt", "requirements/replay.txt", "layers/core/requirements.txt")
    developers, replays, deployed = (
        set(re.findall(r"^[a-z].*?==[^ ;]+", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)) for file in files
    )
    assert deployed < replays < developers


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from gratis_local import cli, console, redrive, replay, report, tables, what_if
console._expected()
"""
"""Imports what replays and prints, where importing these packages fails."""


def test_replaying_and_its_tables_import_nothing_but_what_make_replay_installs() -> None:
    locked = names((ROOT / "requirements/replay.txt").read_text(encoding="utf-8")) | {"gratis"}
    missing = [
        name
        for name, brought_by in packages_distributions().items()
        if not locked & {each.lower().replace("_", "-") for each in brought_by}
    ]
    assert {"matplotlib", "samtranslator", "moto"} <= set(missing)
    subprocess.run([sys.executable, "-c", WITHOUT.format(missing=missing)], check=True)
