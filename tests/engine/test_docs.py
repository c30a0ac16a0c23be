"""What the docs tell a reader to type exists, and works: every `make` target, every `gratis` command and option."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from gratis.rules.offer_file import read_offer
from gratis_local.cli import app
from gratis_local.functions import ROOT

DOCS = sorted(
    file
    for file in ROOT.rglob("*.md")
    if not any(part.startswith((".venv", ".aws-sam", ".hypothesis")) for part in file.relative_to(ROOT).parts)
)
FENCED = re.compile(r"^```(?:bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?gratis [^`]+|make [^`]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#([^)]+))?\)")
ENDED = re.compile(r"\s#\s.*$")


class Command(NamedTuple):
    """A line that a reader may type, and the document that says so."""

    doc: str
    line: str

    def __str__(self) -> str:
        return f"{self.doc}: {self.line}"


def commands(program: str) -> Iterator[Command]:
    for file in DOCS:
        text = file.read_text(encoding="utf-8")
        fenced = [line for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        for line in [*fenced, *INLINE.findall(text)]:
            if re.match(rf"(cat \S+ \| )?(\.venv/bin/)?{program} ", line.strip()):
                yield Command(str(file.relative_to(ROOT)), ENDED.sub("", line.strip()))


MAKE, GRATIS = sorted(set(commands("make"))), sorted(set(commands("gratis")))


def test_the_docs_name_commands() -> None:
    assert len(MAKE) > 10
    assert len(GRATIS) > 10


def test_the_offer_that_the_docs_show_is_one() -> None:
    text = (ROOT / "docs/offers.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert read_offer(json.loads(shown)).versions[0].offer == "my-offer"


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for file in DOCS:
        for target, _, anchor in LINK.findall(file.read_text(encoding="utf-8")):
            where = (file.parent / target) if target else file
            assert where.exists(), f"{file.name}: {target}"
            if anchor and where.suffix == ".md":
                heads = re.findall(r"^#+ (.*)$", where.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}, (
                    target
                )


@pytest.mark.parametrize("command", MAKE, ids=str)
def test_a_make_target_of_the_docs_is_there(command: Command) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [word for word in command.line.split()[1:] if "=" not in word]
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize("command", GRATIS, ids=str)
def test_a_command_of_the_docs_is_there_with_its_options(command: Command) -> None:
    words = shlex.split(command.line.rpartition("gratis ")[2])
    named: Any = typer.main.get_command(app)
    while hasattr(named, "commands") and not words[0].startswith("--"):
        named = named.commands[words.pop(0)]
    options = {option for parameter in named.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def is_here(command: Command) -> bool:
    """Whether the command needs nothing but this repository."""
    words = shlex.split(command.line.rpartition("gratis ")[2])
    files = [word for word in words if re.search(r"\.(json|jsonl)$", word)]
    if {"--to", "--endpoint-url", "--report", "FILE", "FILE..."} & set(words):
        return False
    return words[0] == "simulate" or (bool(files or "-" in words) and all((ROOT / file).exists() for file in files))


HERE = [command for command in GRATIS if is_here(command) and command.doc != "events/README.md"]
"""Those of events/README.md are replayed in test_samples."""


@pytest.mark.parametrize("command", HERE, ids=str)
def test_a_command_of_the_docs_runs(command: Command) -> None:
    line = re.sub(r" --worlds \d+|(?<=simulate)$", " --worlds 20", command.line).replace(" N", " 1")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line.replace(".venv/bin/", "")],  # noqa: S607 - the reader's own shell
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout
