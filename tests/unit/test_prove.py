"""`gratis prove --records`: what a third party can check who holds the emitted records, and nothing else."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis.closing.sums import statement_of
from gratis.rules.receipt import Decision
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis_local.cli import app
from gratis_local.options import STACK
from gratis_local.prove import ledger_at, prove_from_ledger
from gratis_local.sources import Unusable
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE
from tests.builders.events import DAY, message, request, usage, void_of
from tests.builders.ledger import Desk, classifier
from tests.builders.organizations import account


def decided() -> list[Decision]:
    return Desk().decide(*(request(100_000, id=f"r{number:02}") for number in range(12)))


RECORDS = [decision.record() for decision in decided()]


def statement(**changed: Any) -> dict[str, Any]:
    content = statement_of("org_demo", DAY, sorted(RECORDS, key=lambda each: str(each["id"])))
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


FIGURES = "the counter's figures do not follow from what the request takes of the quota"


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
    assert "only its DayClosed event can tell" in proved.stdout
    assert "Proved" not in proved.stdout


def test_a_record_that_is_missing_or_was_changed_shows(tmp_path: Path) -> None:
    closed = written(tmp_path, "closed.json", statement())
    for records in (RECORDS[1:], [RECORDS[0] | {"amount_usd": "1"}, *RECORDS[1:]]):
        proved = prove("--records", written(tmp_path, "some.json", records), closed, "--json")
        assert proved.exit_code == 1
        (content,) = json.loads(proved.stdout)
        assert any(each["message"].startswith("hash is") for each in content["differences"])


def differences(folder: Path, records: Any) -> dict[str, list[str]]:
    """What is found without a statement: each message with the request ids that show it."""
    proved = prove("--records", written(folder, "records.json", records), "--json")
    (content,) = json.loads(proved.stdout)
    assert proved.exit_code == (1 if content["differences"] else 0)
    return {each["message"]: [one.rpartition(":")[2] for one in each["ids"]] for each in content["differences"]}


def test_without_a_statement_a_free_record_that_is_missing_leaves_a_gap(tmp_path: Path) -> None:
    found = differences(tmp_path, [*RECORDS[:4], *RECORDS[5:]])
    assert found == {"counter 1m 2025-03-11: no decision on 400000 to 500000": ["r05"]}


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "billed for a reason of free ones": ({"reason": "within_quota"}, "the verdict does not have this reason"),
    "billed for nothing": ({"amount_usd": "0"}, "the verdict does not have this amount"),
    "another total": (
        {"tokens": RECORDS[11]["tokens"] | {"output": 7}},
        "input and output do not make the total",
    ),
    "another request's id": ({"request_id": "r99"}, "the id is not that of this request and day"),
    "took from the quota": ({"used_after": 1_100_000}, FIGURES),
    "another running total": ({"running_total": 1}, FIGURES),
}


@pytest.mark.parametrize(("changed", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    assert RECORDS[11]["verdict"] == "billed"
    assert differences(tmp_path, [*RECORDS[:11], RECORDS[11] | changed]) == {message: ["r11"]}


def test_a_free_record_that_took_less_than_it_used_is_named_with_the_gap_it_leaves(tmp_path: Path) -> None:
    found = differences(tmp_path, [RECORDS[0] | {"used_after": 50_000}, *RECORDS[1:]])
    assert found == {
        FIGURES: ["r00"],
        "counter 1m 2025-03-11: no decision on 50000 to 100000": ["r01"],
    }


def test_windows_that_reach_into_other_days_may_begin_anywhere(tmp_path: Path) -> None:
    weekly = {"group": "evals", "unit": "runs", "quota": 7, "used_before": 3, "used_after": 4, "running_total": 4}
    assert differences(tmp_path, [RECORDS[0] | weekly]) == {}
    rolling = {"window": "2025-03-10T22:00:00Z", "used_before": 7, "used_after": 100_007, "running_total": 100_007}
    assert differences(tmp_path, [RECORDS[0] | rolling]) == {}


def test_of_an_offer_that_does_not_ship_nobody_knows_how_far_its_windows_reach(tmp_path: Path) -> None:
    own = [record | {"offer": "own@2025-01-01"} for record in RECORDS]
    assert differences(tmp_path, [*own[:4], *own[5:]]) == {}
    again = {"used_before": 400_000, "used_after": 500_000, "running_total": 500_000}
    assert differences(tmp_path, [*own[:5], own[5] | again, *own[6:]]) == {}


def test_figures_may_be_exact_decimals(tmp_path: Path) -> None:
    tokens = {"input": 1, "cached_input": 0, "output": 0, "total": 1}
    places = [("0", "1"), ("1.00", "2"), ("2.5", "3.50")]
    records = [
        RECORDS[number] | {"tokens": tokens, "used_before": before, "used_after": after, "running_total": after}
        for number, (before, after) in enumerate(places)
    ]
    assert differences(tmp_path, records) == {"counter 1m 2025-03-11: no decision on 2 to 2.5": ["r02"]}


def test_a_record_that_came_twice_counts_once_and_one_with_another_content_is_named(tmp_path: Path) -> None:
    closed = written(tmp_path, "closed.json", statement())
    assert prove("--records", written(tmp_path, "twice.json", RECORDS * 2), closed).exit_code == 0
    torn = [*RECORDS, RECORDS[4] | {"reason": "over_quota"}]
    proved = prove("--records", written(tmp_path, "torn.json", torn), closed)
    assert proved.exit_code == 1
    assert "org_demo:2025-03-11:r04" in proved.stdout


def test_a_day_without_a_decision_is_said_and_so_is_an_organization_that_is_unknown() -> None:
    table: Any = Table()
    Accounts(table, TABLE).put(account())
    endings = {"org_a": r"day\?$", "org_b": r"\(org_b is unknown here: it has no account\)$"}
    for organization, ending in endings.items():
        with pytest.raises(Unusable, match=f"not one decision of {organization} on 2025-03-11.*{ending}"):
            prove_from_ledger(Ledger(table, TABLE, expire=False), organization, DAY, None)


def test_a_day_whose_decisions_are_no_longer_kept_is_not_proved_unless_nothing_expires_there() -> None:
    table: Any = Table()
    classifier(table).classify([message("m1", usage("r1"), usage("r2"))])
    assert prove_from_ledger(Ledger(table, TABLE), "org_a", DAY, None).holds
    for key in [key for key in table.items if key[1] == "REQ#r1"]:
        del table.items[key]
    with pytest.raises(Unusable, match="kept for 45 days: those of org_a on 2025-03-11, if there were any, are no"):
        prove_from_ledger(Ledger(table, TABLE), "org_a", DAY, None)
    assert not prove_from_ledger(Ledger(table, TABLE, expire=False), "org_a", DAY, None).holds
    expires = {name: ledger_at("http://127.0.0.1:1", STACK, name).expire for name in ("gratis-replay", "ledger")}
    assert expires == {"gratis-replay": False, "ledger": True}


# --- voids -----------------------------------------------------------------------------------------------------------


def day_with_voids(*numbers: int) -> tuple[Any, list[dict[str, Any]]]:
    """A table with four requests of a day, free and billed, some of them taken back; and the day's records."""
    table: Any = Table()
    Accounts(table, TABLE).put(account())
    requests = [usage(f"r{number}", 400_000) for number in range(3)] + [usage("r3", 7, model="unheard-of")]
    voids = [void_of(requests[number], f"void-{number}") for number in numbers]
    assert not classifier(table).classify([message("m1", *requests, *voids)]).quarantined
    return table, [each.record() for each in Ledger(table, TABLE).decisions_of_day("org_a", DAY)]


@pytest.mark.parametrize("numbers", [(0,), (2, 3), (0, 1, 2, 3)], ids=["free", "billed", "all"])
def test_a_day_with_voids_is_proved_from_the_ledger_and_from_its_records(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    table, records = day_with_voids(*numbers)
    proof = prove_from_ledger(Ledger(table, TABLE), "org_a", DAY, None)
    assert (proof.holds, proof.statement["decisions"], proof.statement["voids"]) == (
        True,
        4 - len(numbers),
        len(numbers),
    )
    closed = written(tmp_path, "closed.json", proof.statement | {"revision": 1})
    proved = prove("--records", written(tmp_path, "records.json", records), closed)
    assert (proved.exit_code, "Proved: the records agree" in proved.stdout) == (0, True), proved.stdout


def test_the_statement_of_a_day_whose_requests_were_all_voided_sums_to_nothing() -> None:
    table, _ = day_with_voids(0, 1, 2, 3)
    stated = prove_from_ledger(Ledger(table, TABLE), "org_a", DAY, None).statement
    sums = ("decisions", "free", "billed", "free_tokens", "billed_tokens", "list_amount_usd", "amount_usd")
    assert [stated[name] for name in sums] == [0, 0, 0, 0, 0, "0", "0"]
    assert (stated["unpriced"], stated["unpriced_count"], stated["voids"]) == ([], 0, 4)


def test_a_void_that_is_missing_or_was_changed_shows(tmp_path: Path) -> None:
    table, records = day_with_voids(0, 3)
    stated = prove_from_ledger(Ledger(table, TABLE), "org_a", DAY, None).statement
    closed = written(tmp_path, "closed.json", stated | {"revision": 1})
    assert [each["id"].rpartition(":")[2] for each in records] == ["r0", "r0~void", "r1", "r2", "r3", "r3~void"]
    changed = [records[1] | {"used_after": 1}, records[1] | {"amount_usd": "-1"}, records[1] | {"model": "gpt-5"}]
    for instead in ([], *([each] for each in changed)):
        some = written(tmp_path, "some.json", [records[0], *instead, *records[2:]])
        assert prove("--records", some, closed).exit_code == 1


def test_a_void_of_what_is_not_among_the_records_is_named(tmp_path: Path) -> None:
    _, records = day_with_voids(3)
    found = differences(tmp_path, [each for each in records if each["request_id"] != "r3" or each["voids"]])
    assert found == {"takes back org_a:2025-03-11:r3, which is not among the records": ["r3~void"]}


@pytest.mark.parametrize("arguments", [(), ("org_demo",), ("org_demo", "2025-03-11", "2025-03-12")])
def test_an_organization_without_a_day_is_answered_in_one_sentence(arguments: tuple[str, ...]) -> None:
    refused = prove(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "name an organization and a day, or files with --records" in refused.stderr
