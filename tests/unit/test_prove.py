"""`gratis prove --records`: what a third party can check who holds the emitted records, and nothing else."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis.decision import Decision
from gratis.proof import statement_of
from local.cli import app
from tests.ledger_builders import DAY
from tests.unit.builders import Desk, request


def decided() -> list[Decision]:
    return Desk().decide(*(request(100_000, id=f"r{number:02}") for number in range(12)))


RECORDS = [decision.record() for decision in decided()]


def statement(**changed: Any) -> dict[str, Any]:
    content = statement_of("org_demo", DAY, sorted(RECORDS, key=lambda each: str(each["id"]))).content()
    return content | {"revision": 3} | changed


def written(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    text = json.dumps(content).encode()
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


def prove(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["prove", *map(str, arguments)])


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return written(tmp_path, "records.json.gz", {"organization": "org_demo", "records": RECORDS})


@pytest.mark.parametrize("again", [True, False], ids=["option for each file", "one option"])
def test_records_are_held_against_the_statement_in_another_file(tmp_path: Path, records: Path, *, again: bool) -> None:
    closed = written(tmp_path, "closed.json", {"detail-type": "DayClosed", "detail": statement()})
    proved = prove("--records", records, *(["--records"] if again else []), closed)
    assert proved.exit_code == 0
    assert "the records agree with each other, and with revision 3 of the statement." in proved.stdout


def test_the_newest_revision_counts(tmp_path: Path, records: Path) -> None:
    old = written(tmp_path, "old.json", statement(revision=2, hash="0" * 64))
    assert prove("--records", records, old, written(tmp_path, "new.json", statement())).exit_code == 0
    assert prove("--records", records, old).exit_code == 1


def test_without_a_statement_it_says_that_there_was_none(records: Path) -> None:
    proved = prove("--records", records)
    assert proved.exit_code == 0
    assert "No DayClosed event was among the files" in proved.stdout


def test_a_record_that_is_missing_or_was_changed_shows(tmp_path: Path) -> None:
    closed = written(tmp_path, "closed.json", statement())
    for records in (RECORDS[1:], [RECORDS[0] | {"amount_usd": "1"}, *RECORDS[1:]]):
        proved = prove("--records", written(tmp_path, "some.json", records), closed, "--json")
        assert proved.exit_code == 1
        (content,) = json.loads(proved.stdout)
        assert any(each["message"].startswith("hash is") for each in content["differences"])


def test_a_record_that_came_twice_counts_once_and_one_with_another_content_is_named(tmp_path: Path) -> None:
    closed = written(tmp_path, "closed.json", statement())
    assert prove("--records", written(tmp_path, "twice.json", RECORDS * 2), closed).exit_code == 0
    torn = [*RECORDS, RECORDS[4] | {"reason": "over_quota"}]
    proved = prove("--records", written(tmp_path, "torn.json", torn), closed)
    assert proved.exit_code == 1
    assert "org_demo:2025-03-11:r04" in proved.stdout


@pytest.mark.parametrize("arguments", [(), ("org_demo",), ("org_demo", "2025-03-11", "2025-03-12")])
def test_an_organization_without_a_day_is_answered_in_one_sentence(arguments: tuple[str, ...]) -> None:
    refused = prove(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "name an organization and a day, or files with --records" in refused.stderr
