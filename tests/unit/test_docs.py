"""The documentation says nothing that is not there."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from botocore.model import Shape, StructureShape
from botocore.validate import ParamValidator
from botocore.waiter import WaiterModel
from typer.main import get_command

from gratis_local.cli import app
from gratis_local.functions import ROOT
from tests.unit.transformed import transformed

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


# --- commands of the pages that are worked through: they run in bash, where aws and gratis only note their words ------

PAGES = [ROOT / "docs/operations.md", ROOT / "docs/first-organization.md"]
PROGRAMS = ("aws", "gratis", "make", "git", "output", "resource", "logs", "mapping", "letters", "arn", "replay_bus")
"""What a command on a page begins with; those after git are functions that operations.md defines."""
NOTED = """#!/bin/bash
if test -p /dev/stdin; then cat > /dev/null; fi
{ printf '%s\\0' "${0##*/}" "$@"; printf '\\n\\0'; } >> "$NOTED"
case " $* " in
  *" --output json "*) echo '[{"ParameterKey": "AlarmEmail"}]';;
  *) echo 12345678-1234-1234-1234-123456789012;;
esac
"""
GIVEN = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/T/B/x",
    "ROLE_THAT_MAY_INVOKE_IT": "arn:aws:iam::123456789012:role/slack",
    "release": "v1",
    "stream": "a-stream",
}
"""What only the reader knows."""
OF_ALL_COMMANDS = {"query", "output", "endpoint-url", "region", "profile", "max-items"}
"""Options of the AWS command line that no operation has."""


def script(page: Path) -> str:
    """The blocks of bash, and the commands in the text, in the page's order."""
    inline = rf"(?:hours=\d+ )?(?:{'|'.join(PROGRAMS)}) [^`]+"
    found = re.findall(rf"```bash\n(.*?)```|`({inline})`", page.read_text(encoding="utf-8"), re.DOTALL)
    return "\n".join(block or command for block, command in found)


def pasted(page: Path, folder: Path) -> list[list[str]]:
    """The words of each command that a page's reader would run, as the programs get them."""
    for program in ("aws", "gratis", "make", "git", "curl"):
        (folder / program).write_text(NOTED)
        (folder / program).chmod(0o755)
    noted = folder / "noted"
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "NOTED": str(noted), "HOME": str(folder), **GIVEN}
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", script(page)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return [each.split("\0")[:-1] for each in noted.read_text().split("\n\0")[:-1]]


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.stem)
def commands(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The words behind each program's name, of each command on a page."""
    found: dict[str, list[list[str]]] = {"make": [], "git": [], "curl": []}
    for program, *words in pasted(request.param, tmp_path_factory.mktemp("page")):
        found.setdefault(program, []).append(words)
    return found


def test_every_command_of_ours_exists_with_its_options(commands: dict[str, list[list[str]]]) -> None:
    assert commands["gratis"]
    for words in commands["gratis"]:
        command, rest = get_command(app), list(words)
        context = command.make_context("gratis", rest)
        while hasattr(command, "commands"):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)


def test_every_target_of_make_exists(commands: dict[str, list[list[str]]]) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in commands["make"]} <= targets


def test_every_output_and_resource_is_one_of_the_stacks(commands: dict[str, list[list[str]]]) -> None:
    template = transformed()
    words = [word for command in commands["aws"] for word in command]
    outputs = set(re.findall(r"OutputKey=='(\w+)'", " ".join(words)))
    resources = {after for word, after in pairwise(words) if word == "--logical-resource-id"}
    assert outputs
    assert outputs <= template["Outputs"].keys()
    assert resources <= template["Resources"].keys()


def test_every_command_of_aws_is_one_that_its_service_takes(commands: dict[str, list[list[str]]]) -> None:
    for service, *words in commands["aws"]:
        shape, rest = asked(service, words)
        wrong = ParamValidator().validate(parameters(rest, shape), shape)
        assert not wrong.has_errors(), (service, words, wrong.generate_report())


def asked(service: str, words: list[str]) -> tuple[Any, list[str]]:
    """What the operation takes that these words name, or the one that they wait by, and the options."""
    session = botocore.session.get_session()
    model = session.get_service_model(service.removesuffix("api"))
    if words[0] == "wait":
        waiters = WaiterModel(session.get_component("data_loader").load_service_model(service, "waiters-2"))
        waits = {xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}
        return model.operation_model(waits[words[1]]).input_shape, words[2:]
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    return model.operation_model(operations[words[0]]).input_shape, words[1:]


def parameters(words: list[str], shape: StructureShape) -> dict[str, Any]:
    """What the AWS command line makes of these options: each is a member of the operation's input."""
    members = {xform_name(name, "-"): name for name in shape.members}
    found: dict[str, Any] = {}
    for option, values in list(options(words)):
        if option == "query":
            jmespath.compile(values[0])
        elif option not in OF_ALL_COMMANDS:
            member = members[option.removeprefix("no-")]
            found[member] = value(values, shape.members[member])
    return found


def options(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option, and the words behind it."""
    values: list[str] = []
    assert words[0].startswith("--"), words
    for word in words:
        if word.startswith("--"):
            values = []
            yield word.removeprefix("--"), values
        else:
            values.append(word)


def value(words: list[str], shape: Shape) -> Any:
    """A parameter's value: JSON for what has parts, else the words as they are."""
    if shape.type_name == "boolean":
        assert words == []
        return True
    if shape.type_name in ("structure", "map") or (words[0].startswith(("[", "{")) and shape.type_name == "list"):
        (text,) = words
        return json.loads(text)
    if shape.type_name == "list":
        return words
    (text,) = words
    return int(text) if shape.type_name in ("integer", "long") else text
