"""What goes out of the deployed system: signed webhooks, and signed statements that anybody can prove."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from gratis.table.api_keys import Holder, Keys
from gratis_local.cli import app
from tests.builders.loopback import Loopback, Quiet
from tests.e2e.system import System, eventually


class Answering(Quiet):
    """Keeps what is posted; a test message's first attempt at /broken is answered with an error.

    Only a test message's: what else happens to the organization comes as well, and may come before it.
    """

    def do_POST(self) -> None:
        body = self.body()
        got: list[Any] = self.server.got
        is_first = self.headers["webhook-id"] not in [headers["webhook-id"] for _, headers, _ in got]
        is_trial = self.headers["webhook-id"].startswith("evt_test_")
        got.append((self.path, dict(self.headers), body))
        self.answer(status=500 if self.path == "/broken" and is_trial and is_first else 200)


@pytest.fixture
def server() -> Iterator[Any]:
    with Loopback(Answering) as serving:
        serving.got = []  # type: ignore[attr-defined]
        yield serving


def asked(system: System, key: str, method: str, path: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"{system.up.base_url}{path}"
    text = None if body is None else json.dumps(body).encode()
    answer = system.http.request(method, url, body=text, headers=headers)
    assert answer.status < 300, answer.data
    return answer


def owner(system: System, organization: str) -> str:
    return Keys(system.client("dynamodb"), system.table).create(Holder("owner", organization, "e2e"), datetime.now(UTC))


def test_an_owners_endpoint_gets_its_events_signed(system: System, organization: str, server: Any) -> None:
    key = owner(system, organization)
    url = f"http://127.0.0.1:{server.server_port}/hook"
    made = asked(system, key, "POST", "/organization/webhooks", {"url": url, "types": ["BillingRecords"]}).json()
    asked(system, key, "POST", f"/organization/webhooks/{made['id']}/test")
    system.accepted(system.usage(organization, "r1", 1000))

    def arrived() -> dict[str, Any]:
        found = [Webhook(made["secret"]).verify(body, headers) for _, headers, body in list(server.got)]
        return {each["type"]: each["data"] for each in found}

    eventually(lambda: {"test", "BillingRecords"} <= arrived().keys(), "the test and the record at the endpoint")
    records = arrived()["BillingRecords"]["records"]
    assert [each["request_id"] for each in records] == ["r1"]
    path = f"/organization/webhooks/{made['id']}/deliveries"
    logged = eventually(
        lambda: (found := asked(system, key, "GET", path).json()["data"]) and len(found) >= 2 and found, "the log"
    )
    assert {(each["outcome"], each["status"]) for each in logged} == {("delivered", 200)}


def test_what_an_endpoint_does_not_take_comes_again(system: System, organization: str, server: Any) -> None:
    key = owner(system, organization)
    url = f"http://127.0.0.1:{server.server_port}/broken"
    made = asked(system, key, "POST", "/organization/webhooks", {"url": url}).json()
    asked(system, key, "POST", f"/organization/webhooks/{made['id']}/test")

    def attempts() -> list[str]:
        """The ids under which the test message came."""
        ids = (headers["webhook-id"] for _, headers, _ in server.got)
        return [each for each in ids if each.startswith("evt_test_")]

    eventually(lambda: len(attempts()) == 1, "the first attempt")

    def again() -> bool:
        system.invoke("SendWebhooks", {})  # the schedule's look at what is due
        return len(attempts()) == 2

    eventually(again, "the second attempt")
    assert len(set(attempts())) == 1


def test_a_closed_day_is_proved_offline_with_the_stacks_own_key(
    system: System, organization: str, tmp_path: Path
) -> None:
    system.accepted(*(system.usage(organization, f"r{number}", 1000) for number in range(5)))
    system.through(organization)
    day = system.yesterday.isoformat()
    event = {"messageId": "m", "body": json.dumps({"organization": organization, "day": day})}
    system.invoke("CloseDay", {"Records": [event]})
    (statement,) = eventually(lambda: system.bus.of("DayClosed", organization), "the statement on the bus")
    pem = system.http.request("GET", f"{system.up.base_url}/statement-keys")
    assert (pem.status, pem.data.count(b"BEGIN PUBLIC KEY")) == (200, 1)
    key = owner(system, organization)
    answer = asked(system, key, "GET", f"/organization/requests/r3?day={day}&proof=true").json()
    files = {
        "records.json": json.dumps(system.records(organization)),
        "statements.json": json.dumps([statement]),
        "keys.pem": pem.data.decode(),
        "answer.json": json.dumps(answer),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    records, statements, keys, inclusion = (str(tmp_path / name) for name in files)
    proved = CliRunner().invoke(app, ["prove", "--records", records, "--statements", statements, "--public-key", keys])
    assert proved.exit_code == 0, proved.output
    single = CliRunner().invoke(app, ["prove", "--inclusion", inclusion, "--public-key", keys])
    assert single.exit_code == 0, single.output
    assert "of the 5 records of statement" in single.output
