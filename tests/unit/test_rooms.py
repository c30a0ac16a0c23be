"""Who imports whom: a package of the core imports only those below it, and nothing deployed imports the tools."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from gratis_local.places import ROOT

CORE = ROOT / "layers" / "core" / "gratis"
PLAIN = {"errors", "moment", "strict_json"}
"""Modules that know no rule, no table and no request."""
MAY_IMPORT = {
    "rules": {"rules", *PLAIN},
    "table": {"table", "rules", *PLAIN},
    "intake": {"intake", "table", "rules", "http", *PLAIN},
    "closing": {"closing", "table", "rules", *PLAIN},
    "outgoing": {"outgoing", "table", *PLAIN},
    "account": {"account", "outgoing", "closing", "intake", "table", "rules", "http", "config", "__version__", *PLAIN},
}
"""What each package of the core may import of the core, by its first name below `gratis`."""


def imported(file: Path) -> Iterator[str]:
    """The full names of what a file imports, wherever in it: `from gratis import moment` is `gratis.moment`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def ours(folder: Path) -> set[str]:
    """The packages of ours that the files below a folder import, those of the core by their first name in it."""
    names = (name for file in folder.rglob("*.py") for name in imported(file) if name.startswith("gratis"))
    return {name.split(".")[1] if name.startswith("gratis.") else name.split(".")[0] for name in names}


def test_every_package_of_the_core_says_what_it_may_import() -> None:
    assert {file.parent.name for file in CORE.glob("*/__init__.py")} == MAY_IMPORT.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_of_the_core_imports_only_what_lies_below_it(package: str) -> None:
    assert ours(CORE / package) <= MAY_IMPORT[package]


@pytest.mark.parametrize(
    ("below", "tools"),
    [
        ("functions", {"gratis_local", "gratis_simulation"}),
        ("layers/core", {"gratis_local", "gratis_simulation"}),
        ("gratis_simulation", {"gratis_local"}),
    ],
)
def test_what_is_deployed_imports_no_tool_and_the_simulation_not_the_command_line(below: str, tools: set[str]) -> None:
    assert not ours(ROOT / below) & tools
