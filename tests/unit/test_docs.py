"""The documentation says nothing that is not there."""

import re
from typing import Any

import botocore.session
from botocore import xform_name
from typer.main import get_command

from gratis_local.cli import app
from gratis_local.functions import ROOT

NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def test_every_test_that_the_docs_name_exists() -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")}
    named = [(page.name, *found) for page, text in texts.items() for found in NAMED.findall(text)]
    assert named
    missing = [
        (page, file, test)
        for page, file, test in named
        if not (ROOT / file).is_file() or f"\ndef {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


RUNBOOK = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def commands(program: str) -> list[list[str]]:
    """The words after a program's name, of each of its commands in the runbook."""
    return [found.split() for found in re.findall(rf"`{program} ([^`]+)`", RUNBOOK)]


def options(words: list[str]) -> set[str]:
    return {each for each in words if each.startswith("--")}


def test_every_command_of_ours_in_the_runbook_exists_with_its_options() -> None:
    assert commands("gratis")
    for words in commands("gratis"):
        command: Any = get_command(app)
        for word in words:
            if word not in getattr(command, "commands", {}):
                break
            command = command.commands[word]
        assert not hasattr(command, "commands"), words
        known = {name for parameter in command.params for name in parameter.opts}
        assert options(words) <= known, words


def test_every_target_of_make_in_the_runbook_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in commands("make")} <= targets


def test_every_command_of_aws_in_the_runbook_exists_with_its_options() -> None:
    session = botocore.session.get_session()
    assert commands("aws")
    for service, operation, *words in commands("aws"):
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        members = model.operation_model(operations[operation]).input_shape.members
        assert {each[2:] for each in options(words)} <= {xform_name(name, "-") for name in members}, words
