"""The next release and the last one, as the simulation has them: this one behind a client that translates."""

import json
from typing import Any

import pytest

from gratis.rules.formats import FORMAT, RESERVING
from gratis.rules.request import RequestKey
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis_simulation.machines.releases import BEYOND, LAST, LATER, NEXT, releases
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE
from tests.builders.events import DAY, message, usage
from tests.builders.ledger import classifier
from tests.builders.offers import DAILY
from tests.builders.organizations import account

LATER_FORMAT = {"N": str(FORMAT + 1)}


@pytest.fixture
def table() -> Table:
    """With one organization."""
    table = Table(page_size=2)
    accounts: Any = table
    Accounts(accounts, TABLE).put(account())
    return table


def decide(table: Table, release: str, *names: str, tokens: int = 100) -> list[str]:
    """The messages that a release of this name could not decide."""
    client = releases()[release].table(table)
    events = [usage(name, tokens) for name in names]
    return list(classifier(client, DAILY).classify([message("m", *events)]).unfinished)


def item(table: Table, beginning: str) -> dict[str, Any]:
    """The only item whose sort or partition key begins like this."""
    [found] = [
        item for key, item in table.items.items() if key[0].startswith(beginning) or key[1].startswith(beginning)
    ]
    return found


def record(table: Table, name: str) -> dict[str, Any]:
    """A decision's billing record, as this release makes it."""
    client: Any = table
    [decision] = Ledger(client, TABLE).decisions([RequestKey("org_a", DAY, name)]).values()
    return decision.record()


def test_the_next_release_writes_more_than_this_one_knows(table: Table) -> None:
    assert decide(table, NEXT, "r1") == []
    assert item(table, "COUNTER#")[LATER] == {"S": "version 1"}
    assert item(table, "COUNTER#")["format"] == {"N": str(FORMAT)}
    assert item(table, "REQ#")["format"] == LATER_FORMAT
    assert record(table, "r1")[LATER] == "REQ#r1"


def test_this_release_decides_after_the_next_one_and_keeps_what_it_does_not_know(table: Table) -> None:
    decide(table, NEXT, "r1")
    assert decide(table, "this", "r2") == []
    assert item(table, "COUNTER#")[LATER] == {"S": "version 1"}
    assert (record(table, "r2")["used_before"], LATER in record(table, "r2")) == (100, False)


def test_this_release_waits_where_only_the_next_one_may_decide(table: Table) -> None:
    decide(table, BEYOND, "r1")
    assert item(table, "COUNTER#")["format"] == {"N": str(RESERVING + 1)}
    assert decide(table, "this", "r2") == ["m"]
    assert decide(table, BEYOND, "r2") == []
    assert record(table, "r2")["used_before"] == 100


def test_the_next_release_reads_what_came_back_from_a_refused_transaction(table: Table) -> None:
    """It decides on the fresh document, not on nothing, and does not take it for one that is beyond it."""
    decide(table, BEYOND, "r1")
    client: Any = releases()[BEYOND].table(table)
    ledger = Ledger(client, TABLE)
    first_read = ledger.read
    ledger.read = lambda organizations, documents: (first_read(organizations, documents)[0], {})  # type: ignore[method-assign]
    deciding = classifier(client, DAILY)
    deciding.ledger = ledger
    assert deciding.classify([message("m", usage("r2", 100))]).unfinished == []
    assert record(table, "r2")["used_before"] == 100


def test_the_last_release_writes_the_first_form(table: Table) -> None:
    assert decide(table, LAST, "r1", tokens=DAILY.versions[-1].groups[0].quotas["4"]) == []
    assert {"format", "added"}.isdisjoint(item(table, "REQ#"))
    assert "format" not in item(table, "COUNTER#")
    [[_, _, _, announced]] = json.loads(item(table, "COUNTER#")["windows"]["S"])
    assert announced is True
    assert "format" not in record(table, "r1")


def test_the_last_release_forgets_what_it_does_not_know(table: Table) -> None:
    decide(table, "this", "r1")
    key = next(key for key in table.items if key[0].startswith("COUNTER#"))
    table.items[key] = table.items[key] | {LATER: {"S": "something"}}
    decide(table, LAST, "r2")
    assert LATER not in table.items[key]
    assert record(table, "r2")["used_before"] == 100
