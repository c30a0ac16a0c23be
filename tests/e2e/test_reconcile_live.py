"""`gratis reconcile` against a deployed API, and with pages that the real openai SDK fetches from a stand-in."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from gratis import moment
from gratis.table.api_keys import Holder, Keys
from gratis_local.cli import app
from tests.builders.loopback import Loopback, Quiet
from tests.e2e.system import System
from tests.unit.test_reconcile import MODEL, bucket, cost, page, used


class Platform(Quiet):
    """The platform's Usage and Costs API: one bucket a page."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        assert self.headers["authorization"] == "Bearer sk-admin"
        kind = "costs" if "/costs" in self.path else "usage"
        self.server.asked.append((kind, asked))
        buckets = self.server.buckets[kind]
        number = int(asked.get("page", ["0"])[0])
        content = page(*buckets[number : number + 1], has_more=number + 1 < len(buckets))
        content["next_page"] = str(number + 1) if content["has_more"] else None
        self.answer(json.dumps(content).encode())


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = Loopback(Platform)
    server.asked, server.buckets = [], {"usage": [], "costs": []}
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    with server:
        yield server


def reconcile(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["reconcile", *map(str, arguments)])


def decided(system: System, organization: str) -> None:
    """Two free requests, one that a hosted tool has billed, and one that a void took back today, all of yesterday."""
    events = [system.usage(organization, "r1", 1000), system.usage(organization, "r2", 500)]
    system.accepted(*events, system.usage(organization, "r3", 70, tools=["web_search"]))
    voids = {"request_id": "r4", "day": system.yesterday.isoformat(), "why": "sent twice"}
    void = system.usage(organization, "v1") | {"type": "usage.void", "time": moment.text(system.now()), "data": voids}
    system.accepted(system.usage(organization, "r4", 90), void)
    system.through(organization)


def test_the_ledger_agrees_with_pages_that_the_openai_sdk_fetches(
    system: System, organization: str, platform: Any
) -> None:
    decided(system, organization)
    day, today = system.yesterday, datetime.now(UTC).date()
    platform.buckets["usage"] = [
        bucket(day, used(1500, project=None), used(70, free=False, project=None)),
        bucket(today),
    ]
    platform.buckets["costs"] = [
        bucket(day, cost(f"{MODEL}, input", 0, 1500), cost(f"{MODEL}, output", "0.000175", 70))
    ]
    ledger = ("--endpoint-url", system.up.endpoint_url)
    done = reconcile(organization, "--openai", "--day", today, "--days", 2, *ledger, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["days"][0]["free"] == {"ours": 1500, "theirs": 1500}
    assert [kind for kind, _ in platform.asked] == ["usage", "usage", "costs"]
    asked = platform.asked[0][1]
    assert sorted(asked["group_by[]"]) == ["model", "project_id", "service_tier"]


def test_the_deployed_api_is_held_against_pages_and_what_differs_is_named(
    system: System, organization: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(system, organization)
    key = Keys(system.client("dynamodb"), system.table).create(Holder("reader", organization, "e2e"), datetime.now(UTC))
    monkeypatch.setenv("GRATIS_API_KEY", key)
    file = tmp_path / "usage.json"
    agrees = page(bucket(system.yesterday, used(1500, project=None), used(70, free=False, project=None)))
    file.write_text(json.dumps(agrees))
    done = reconcile(organization, "--usage", file, "--url", system.up.base_url)
    assert done.exit_code == 0, done.output
    file.write_text(json.dumps(page(bucket(system.yesterday, used(1570, project=None)))))
    done = reconcile(organization, "--usage", file, "--url", system.up.base_url, "--json")
    assert done.exit_code == 1, done.output
    (difference,) = json.loads(done.stdout)["differences"]
    assert difference["difference"] == {"free": -70, "billed": 70, "cached_input": 0}
    ledger = ("--endpoint-url", system.up.endpoint_url)
    done = reconcile(organization, "--usage", file, *ledger, "--json")
    (difference,) = json.loads(done.stdout)["differences"]
    assert difference["cause"].startswith("hosted tools")


def test_a_key_that_is_none_and_an_url_that_is_none_are_one_line_each(system: System, tmp_path: Any) -> None:
    file = tmp_path / "usage.json"
    file.write_text(json.dumps(page(bucket(system.yesterday))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRATIS_API_KEY", "gk_none")
        done = reconcile("org_demo", "--usage", file, "--url", system.up.base_url)
        assert (done.exit_code, "answers 401" in done.stderr) == (2, True)
        done = reconcile("org_demo", "--usage", file, "--url", "http://127.0.0.1:9/v1")
        assert (done.exit_code, "does not answer" in done.stderr) == (2, True)


def test_an_organization_without_an_account_is_said_to_be_unknown_in_the_ledger(
    system: System, organization: str, tmp_path: Any
) -> None:
    file = tmp_path / "usage.json"
    file.write_text(json.dumps(page(bucket(system.yesterday))))
    said = {
        name: reconcile(name, "--usage", file, "--endpoint-url", system.up.endpoint_url)
        for name in (organization, "org_of_nobody")
    }
    assert [each.exit_code for each in said.values()] == [0, 0]
    unknown = [name for name, each in said.items() if f"{name} is unknown here: it has no account" in each.stdout]
    assert unknown == ["org_of_nobody"]
