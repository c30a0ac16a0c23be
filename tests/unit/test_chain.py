"""A chain of signed statements: closed days are chained and signed, and whoever changes anything is found out."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gratis import moment
from gratis.account.inclusion import inclusion_of
from gratis.classify import Classifier
from gratis.closing.chain import Head
from gratis.closing.close import Closed, close
from gratis.closing.merkle import MerkleTree
from gratis.closing.proof import Proof
from gratis.closing.signing import Signer
from gratis.closing.statements import Statements
from gratis.errors import Busy
from gratis.rules.request import RequestKey
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.chain import prove_chains, read_keys
from gratis_local.cli import app
from gratis_local.replay import event_clock
from gratis_local.sources import Unusable
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE
from tests.builders.events import DAY, message, usage, void_of
from tests.builders.offers import DAILY
from tests.builders.organizations import account
from tests.builders.statement_keys import Kms, signer

DAYS = [DAY + timedelta(days=number) for number in range(30)]
AFTER = moment.midnight(DAYS[-1]) + moment.DAY
ROOT = Path(__file__).resolve().parents[2]


class Month(NamedTuple):
    """Thirty closed days, one of them twice, some with voids; and the key that signed the statements."""

    table: Any
    signer: Signer
    records: list[dict[str, Any]]
    statements: list[dict[str, Any]]

    @property
    def head(self) -> str:
        return f"org_a:{self.statements[-1]['number']}:{Head.of(self.statements[-1]).hash}"


def used(table: Any, *events: Any) -> None:
    deciding = Classifier(Ledger(table, TABLE), Quarantine(table, TABLE), DAILY, event_clock)
    outcome = deciding.classify([message(f"m-{events[0]['id']}", *events, received_at=AFTER)])
    assert not outcome.quarantined


def closed(table: Any, key: Signer | None, day: Any) -> dict[str, Any]:
    statements, now = Statements(table, TABLE, key), AFTER
    done = close(
        *(Ledger(table, TABLE), statements, "org_a", day),
        offer_of=lambda _: DAILY,
        now=lambda: now,
        hurry=lambda: False,
    )
    assert isinstance(done, Closed)
    assert done.statement is not None
    return done.statement


@pytest.fixture(scope="module")
def month() -> Month:
    table, key = Table(100), signer()
    Accounts(table, TABLE).put(account())
    statements = []
    for day in DAYS:
        at = f"{day.isoformat()}T10:00:00Z"
        requests = [usage(f"r-{day.day}-{number}", 300_000, at=at) for number in range(day.day % 5 + 1)]
        taken_back = {DAYS[7]: requests[1:2], DAYS[12]: requests, DAYS[17]: requests[:1]}.get(day, [])
        used(table, *requests, *(void_of(each, f"void-{each['id']}") for each in taken_back))
        statements.append(closed(table, key, day))
    used(table, usage("late", 5, at=f"{DAYS[7].isoformat()}T23:00:00Z"))
    statements.append(closed(table, key, DAYS[7]))
    found = (decision.record() for day in DAYS for decision in Ledger(table, TABLE).decisions_of_day("org_a", day))
    return Month(table, key, list(found), statements)


def written(folder: Path, month: Month, **changed: Any) -> Iterator[str]:
    """The command's arguments, and the files that they name."""
    parts = {"records": month.records, "statements": month.statements} | changed
    for name, content in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
        yield from (f"--{name}", str(folder / f"{name}.json"))
    (folder / "keys.pem").write_text(month.signer.public_key.pem)
    yield from ("--public-key", str(folder / "keys.pem"))


def prove(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["prove", *arguments, "--json"])


def found(proved: Any) -> list[str]:
    assert proved.exit_code == 1, proved.output
    return [each["message"] for part in json.loads(proved.stdout) for each in part["differences"]]


def test_a_month_is_proved_offline(month: Month, tmp_path: Path) -> None:
    proved = prove(*written(tmp_path, month), "--head", month.head)
    assert proved.exit_code == 0, proved.output
    *days, chain = json.loads(proved.stdout)
    assert (len(days), days[7]["decisions"], days[7]["voids"]) == (30, DAYS[7].day % 5 + 1, 1)
    assert chain["chain"] == {"first": 1, "last": 31, "head": month.head.rpartition(":")[2], "signed": True}


def test_for_people_it_says_how_far_the_chain_is_whole(month: Month, tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["prove", *written(tmp_path, month)])
    assert "the statements are a chain without a gap, whole up to number 31." in printed.stdout
    assert month.head in printed.stdout.replace("\n", "").replace(" ", "")


def test_a_day_that_is_closed_again_is_a_new_revision_in_the_chain(month: Month) -> None:
    again = month.statements[-1]
    assert (again["day"], again["revision"], again["number"]) == (DAYS[7].isoformat(), 2, 31)


@pytest.mark.parametrize("number", [1, 15, 30])
def test_a_statement_that_is_left_out_leaves_a_gap(month: Month, tmp_path: Path, number: int) -> None:
    left = [each for each in month.statements if each["number"] != number]
    messages = found(prove(*written(tmp_path, month, statements=left)))
    if number > 1:
        assert f"number {number} is missing" in messages


def test_without_a_head_nobody_misses_the_newest_and_with_one_it_is_a_finding(month: Month, tmp_path: Path) -> None:
    # the last one is the second revision of a day: the first one still is there, and so are the records but the late
    fewer = {
        "statements": month.statements[:-1],
        "records": [each for each in month.records if each["request_id"] != "late"],
    }
    assert prove(*written(tmp_path, month, **fewer)).exit_code == 0
    messages = found(prove(*written(tmp_path, month, **fewer), "--head", month.head))
    assert messages == ["the chain ends with number 30, the head is number 31"]


def test_another_hash_than_the_heads_is_a_finding(month: Month, tmp_path: Path) -> None:
    head = f"org_a:30:{'ab' * 32}"
    assert found(prove(*written(tmp_path, month), "--head", head)) == ["number 30 has another hash than the head"]


def test_another_key_signed_nothing(month: Month, tmp_path: Path) -> None:
    stranger = month._replace(signer=signer())
    assert set(found(prove(*written(tmp_path, stranger)))) == {"is not signed by a key of the file"}


def test_a_key_that_was_replaced_is_in_the_same_file(month: Month, tmp_path: Path) -> None:
    arguments = list(written(tmp_path, month))
    (tmp_path / "keys.pem").write_text(signer().public_key.pem + month.signer.public_key.pem)
    assert prove(*arguments).exit_code == 0


def test_a_record_in_no_statement_is_a_finding(month: Month, tmp_path: Path) -> None:
    later = month.records[-1]
    stray = json.loads(json.dumps(later).replace(DAYS[-1].isoformat(), "2025-06-01"))
    messages = found(prove(*written(tmp_path, month, records=[*month.records, stray])))
    assert messages == ["none is about this day (1 records); it may still be open"]


def test_a_signed_chain_that_was_made_anew_does_not_have_the_known_head(month: Month) -> None:
    """Whoever has the key can sign another chain; who noted the head finds out."""
    other = copy.deepcopy(month.statements[:1])
    other[0]["free"] += 1
    other[0]["signature"] = month.signer.sign(Head.of(other[0]).hash.encode()[:32])
    (proof,) = prove_chains(other, None, {"org_a": Head.of(month.statements[0])})
    assert [each.kind for each in proof.differences] == ["head"]


# Anything that is changed is found ------------------------------------------------------------------------------------


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values are."""
    children = enumerate(content) if isinstance(content, list) else content.items() if isinstance(content, dict) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(value: Any, bit: int) -> Any:
    """The value with one bit turned, and still JSON."""
    match value:
        case bool() | None:
            return not value
        case int():
            return value ^ (1 << bit % 40)
        case str() if value:
            at = bit % len(value)
            return f"{value[:at]}{chr(ord(value[at]) ^ (1 << bit % 5))}{value[at + 1 :]}"
        case list():
            return [*value, bit]
        case dict():
            return value | {f"more-{bit}": bit}
    return str(bit)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("month")


def spoiled(month: Month, choice: Any, bit: int) -> dict[str, Any]:
    """Records and statements with one thing changed."""
    parts = copy.deepcopy({"records": month.records, "statements": month.statements})
    part = parts[choice(["records", "statements"])]
    match choice(["value", "name", "gone", "order"]):
        case "gone":
            part.pop(bit % len(part))
        case "order":
            one, other = bit % len(part), (bit + 1) % len(part)
            name = "number" if part is parts["statements"] else "id"
            part[one][name], part[other][name] = part[other][name], part[one][name]
        case how:
            *path, last = choice([place for place in places(part) if len(place) > 1])
            holder = part
            for each in path:
                holder = holder[each]
            if how == "value":
                holder[last] = changed(holder[last], bit)
            elif isinstance(holder, dict):
                holder[changed(last, bit)] = holder.pop(last)
            else:
                holder.pop(last)
    return parts


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bit=st.integers(0, 10_000))
def test_whatever_is_changed_of_a_month_is_found(month: Month, scratch: Path, data: Any, bit: int) -> None:
    parts = spoiled(month, lambda options: data.draw(st.sampled_from(options)), bit)
    proved = prove(*written(scratch, month, **parts), "--head", month.head)
    assert proved.exit_code in (1, 2), proved.output


THIRTY_LINES = re.compile(r"```python\n(.+?)```", re.DOTALL)


def thirty_lines(folder: Path, month: Month, **changed: Any) -> "subprocess.CompletedProcess[str]":
    script = THIRTY_LINES.search((ROOT / "docs/auditing.md").read_text())
    assert script is not None
    (folder / "check.py").write_text(script[1])
    _, records, _, statements, _, key = written(folder, month, **changed)
    command = [sys.executable, str(folder / "check.py"), records, statements, key]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_auditors_lines_agree(month: Month, tmp_path: Path) -> None:
    done = thirty_lines(tmp_path, month)
    assert (done.returncode, done.stderr) == (0, "")
    number, digest = month.head.split(":")[1:]
    assert done.stdout == f"{len(month.records)} records are those of 30 days; head: {number}:{digest}\n"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bit=st.integers(0, 10_000))
def test_the_auditors_lines_find_whatever_is_changed(month: Month, scratch: Path, data: Any, bit: int) -> None:
    parts = spoiled(month, lambda options: data.draw(st.sampled_from(options)), bit)
    done = thirty_lines(scratch, month, **parts)
    assert done.returncode or not done.stdout.endswith(f"{month.head.removeprefix('org_a:')}\n"), done.stdout


# A single record ------------------------------------------------------------------------------------------------------


def included(month: Month, request_id: str, day: Any) -> Any:
    ledger = Ledger(month.table, TABLE)
    (decision,) = ledger.decisions([RequestKey("org_a", day, request_id)]).values()
    return inclusion_of(decision, ledger)


def test_each_record_of_a_day_is_proved_without_the_others(month: Month, tmp_path: Path) -> None:
    names = ["late", *(f"r-{DAYS[7].day}-{number}" for number in range(DAYS[7].day % 5 + 1))]
    for request_id in (*names, f"r-{DAYS[7].day}-1~void"):
        inclusion = included(month, request_id, DAYS[7])
        assert inclusion["statement"] == month.statements[-1]
        assert proved_alone(month, tmp_path, {"verdict": "free", "inclusion": inclusion}).exit_code == 0


def test_each_record_of_a_day_whose_requests_were_all_voided_is_proved_too(month: Month, tmp_path: Path) -> None:
    stated = next(each for each in month.statements if each["day"] == DAYS[12].isoformat())
    of_day = [each for each in month.records if each["id"].startswith(f"org_a:{DAYS[12]}:")]
    assert (stated["decisions"], stated["voids"], stated["amount_usd"]) == (0, len(of_day) // 2, "0")
    for each in of_day:
        inclusion = included(month, each["id"].split(":")[2], DAYS[12])
        assert proved_alone(month, tmp_path, inclusion).exit_code == 0


def proved_alone(month: Month, folder: Path, content: Any) -> Any:
    (folder / "answer.json").write_text(json.dumps(content))
    (folder / "keys.pem").write_text(month.signer.public_key.pem)
    return prove("--inclusion", str(folder / "answer.json"), "--public-key", str(folder / "keys.pem"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bit=st.integers(0, 10_000))
def test_whatever_is_changed_of_an_inclusion_proof_is_found(month: Month, scratch: Path, data: Any, bit: int) -> None:
    inclusion = copy.deepcopy(included(month, "late", DAYS[7]))
    *path, last = data.draw(st.sampled_from(list(places(inclusion))))
    holder = inclusion
    for each in path:
        holder = holder[each]
    holder[last] = changed(holder[last], bit)
    assert proved_alone(month, scratch, inclusion).exit_code in (1, 2)


def test_a_decision_after_the_statement_has_no_proof_yet(month: Month) -> None:
    table = copy.deepcopy(month.table)
    used(table, usage("newer", 5, at=f"{DAYS[3].isoformat()}T23:30:00Z"))
    assert included(month._replace(table=table), "newer", DAYS[3]) is None


# Writing --------------------------------------------------------------------------------------------------------------


def statement(table: Any, day: Any, key: Signer | None = None, pause: Any = None) -> Any:
    """One more statement about an empty day."""
    proof = Proof({"organization": "org_a", "day": day.isoformat(), "root": "", "decisions": 0})
    writing = Statements(table, TABLE, key, pause or (lambda _: None))
    return writing.write(proof, MerkleTree(), moment.midnight(DAY))


def test_days_that_are_closed_at_once_get_different_numbers() -> None:
    table = Table(100)

    class Overtaken(Statements):
        """Another day is closed between reading the head and writing."""

        def head(self, organization: str) -> Head:
            read = super().head(organization)
            if not read.number:
                statement(table, DAYS[1])
            return read

    proof = Proof({"organization": "org_a", "day": DAYS[0].isoformat()})
    waited: list[int] = []
    stated = Overtaken(table, TABLE, pause=waited.append).write(proof, MerkleTree(), moment.midnight(DAY))
    assert stated is not None
    assert (stated["number"], waited) == (2, [1])
    (chain,) = prove_chains([stated, Statements(table, TABLE).latest("org_a", DAYS[1]) or {}], None)
    assert chain.holds


def test_who_is_always_overtaken_is_busy() -> None:
    table = Table(100)
    numbers = iter(range(1, 30))

    class Overtaken(Statements):
        def head(self, organization: str) -> Head:
            read = super().head(organization)
            statement(table, DAYS[next(numbers)])
            return read

    proof = Proof({"organization": "org_a", "day": DAYS[0].isoformat()})
    with pytest.raises(Busy, match="other days are being closed"):
        Overtaken(table, TABLE, pause=lambda _: None).write(proof, MerkleTree(), moment.midnight(DAY))


def test_the_public_key_is_there_before_anything_is_signed_with_it() -> None:
    table, key = Table(100), signer()
    statement(table, DAY, key)
    kinds = [change.key[0] for change in table.log]
    assert kinds == ["STATEMENT-KEYS", "ORG#org_a", "ORG#org_a", "ORG#org_a"]
    assert list(Statements(table, TABLE).public_keys()) == [key.public_key.pem]


def test_a_statement_of_the_release_before_stays_and_the_chain_begins_after_it() -> None:
    table = Table(100)
    old = {"organization": "org_a", "day": DAY.isoformat(), "hash": "", "revision": 1, "id": f"org_a:{DAY}:1"}
    item = {"pk": {"S": "ORG#org_a"}, "sk": {"S": f"STATEMENT#{DAY}#000001"}, "statement": {"S": json.dumps(old)}}
    table.put_item(TableName=TABLE, Item=item)
    stated = statement(table, DAY)
    assert (stated["revision"], stated["number"], stated["previous"]) == (2, 1, "0" * 64)


@pytest.mark.parametrize("operation", ["sign", "get_public_key"])
def test_without_the_key_a_day_is_not_closed_unsigned(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ConnectTimeoutError

    def times_out(**_: Any) -> Any:
        raise ConnectTimeoutError(endpoint_url="kms")

    monkeypatch.setattr(Kms, operation, lambda self, **more: times_out(**more))
    table = Table(100)
    with pytest.raises(Busy, match="the key of the statements"):
        statement(table, DAY, signer())
    assert not [key for key in table.items if key[1].startswith("STATEMENT#")]


# What is unusable -----------------------------------------------------------------------------------------------------


def test_what_is_given_wrongly_is_said_in_one_line(month: Month, tmp_path: Path) -> None:
    refuses = partial(refused, month, tmp_path)
    assert "--head: must be ORGANIZATION:NUMBER:HASH" in refuses("--head", "org_a:31")
    assert "there is no statement of org_b" in refuses("--head", f"org_b:1:{'0' * 64}")
    (tmp_path / "bad.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "bad.pem: holds what is no public key" in refuses("--public-key", str(tmp_path / "bad.pem"))
    (tmp_path / "none.pem").write_text("nothing")
    assert "none.pem: holds no public key (PEM)" in refuses("--public-key", str(tmp_path / "none.pem"))
    (tmp_path / "other.json").write_text('{"some": "thing"}')
    assert "neither a record nor a statement" in refuses("--statements", str(tmp_path / "other.json"))


def refused(month: Month, folder: Path, *arguments: str) -> str:
    proved = prove(*written(folder, month), *arguments)
    assert proved.exit_code == 2, proved.output
    return str(proved.stderr)


def test_a_key_on_another_curve_is_named(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    (tmp_path / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Unusable, match="P-256"):
        read_keys(tmp_path / "key.pem")
