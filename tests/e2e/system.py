"""The deployed system as its users meet it: what they send, what they read, and how long they wait for it."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import urllib3
from standardwebhooks.webhooks import Webhook

from gratis.intake.events import parse_event
from gratis.rules.account import Account
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey
from gratis.table.accounts import Accounts
from gratis.table.day_list import DayList
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.stack import Stack
from gratis_local.up import Running
from tests.builders.events import usage
from tests.builders.ledger import Stored, stored

PATIENCE_SECONDS = 60
"""How long anything may take; it decides only how soon a test that fails says so."""
BATCH = "application/cloudevents-batch+json"
Found = TypeVar("Found")


def eventually(look: Callable[[], Found], what: str) -> Found:
    """What `look` finds as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS} seconds: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Bus:
    """What came out on the bus so far, in the order in which it came."""

    sqs: Any
    url: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str, organization: str | None) -> list[dict[str, Any]]:
        """The details of all events of one kind that name this organization."""
        self._collect()
        return [detail for each, detail in self.events if each == kind and detail["organization"] == organization]

    def records(self, organization: str) -> list[dict[str, Any]]:
        """Its billing records, each as often as it came."""
        return [record for detail in self.of("BillingRecords", organization) for record in detail["records"]]

    def _collect(self) -> None:
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                event = json.loads(message["Body"])
                assert event["source"] == "gratis"
                self.events.append((event["detail-type"], event["detail"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])


def subscribed(stack: Stack) -> Bus:
    """A queue that a rule of its own delivers every event of the bus to."""
    sqs, events, bus = stack.client("sqs"), stack.client("events"), stack.outputs["BusName"]
    url = sqs.create_queue(QueueName="everything-on-the-bus")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="everything", EventBusName=bus, EventPattern=json.dumps({"source": ["gratis"]}))
    events.put_targets(Rule="everything", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return Bus(sqs, url)


@dataclass
class System:
    """The template, deployed and running. Each test has an organization of its own in it."""

    stack: Stack
    up: Running
    http: urllib3.PoolManager
    bus: Bus
    organizations: int = 0
    clients: dict[str, Any] = field(default_factory=dict)

    # --- what is there ---------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> str:
        return self.stack.outputs["LedgerTableName"]

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.client("dynamodb"), self.table)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.client("dynamodb"), self.table)

    @cached_property
    def yesterday(self) -> date:
        """The day that a test's requests occurred on, whatever midnight passes while the tests run."""
        return datetime.now(UTC).date() - timedelta(days=1)

    def days_ago(self, days: int) -> date:
        return self.yesterday - timedelta(days=days - 1)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.stack.client(service)
        return self.clients[service]

    def function(self, logical_id: str) -> str:
        """The name of a deployed function."""
        described = self.client("cloudformation").describe_stack_resource(
            StackName="gratis", LogicalResourceId=logical_id
        )
        name: str = described["StackResourceDetail"]["PhysicalResourceId"]
        return name

    def new_organization(self, tier: int = 4) -> str:
        """One that has shared its traffic for two months: 1,000,000 and 10,000,000 tokens a day at tier 4."""
        self.organizations += 1
        name = f"org_e2e_{self.organizations}"
        since = (datetime.now(UTC) - timedelta(days=60)).isoformat()
        shared = {"effective_at": since, "traffic": {"mode": "enabled"}, "evals": {"mode": "enabled"}}
        history = {"id": name, "profile": [{"effective_at": since, "tier": tier}], "sharing": [shared]}
        Accounts(self.client("dynamodb"), self.table).put(Account.model_validate(history))
        return name

    # --- what comes in ---------------------------------------------------------------------------------------------

    def usage(self, organization: str, request_id: str, tokens: int = 1000, **more: Any) -> dict[str, Any]:
        """A usage event of yesterday."""
        return usage(request_id, tokens, organization=organization, at=self.at("12:00:00"), **more)

    def at(self, clock: str) -> str:
        return f"{self.yesterday}T{clock}Z"

    def post(self, route: str, body: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        return self.http.request("POST", f"{self.up.base_url}/{route}", body=body.encode(), headers=headers)

    def signed(self, body: str, secret: str | None = None) -> dict[str, str]:
        """The headers that Standard Webhooks asks for."""
        message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
        signature = Webhook(secret or self.up.webhook_secret).sign(message_id, now, body)
        timestamp = str(int(now.timestamp()))
        return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}

    def send(self, events: Any, content_type: str = BATCH) -> dict[str, Any]:
        """Post to the webhook and return what it answers."""
        body = json.dumps(events)
        answer = self.post("usage-events", body, {"content-type": content_type, **self.signed(body)})
        assert answer.status == 202, answer.data
        return dict(answer.json())

    def accepted(self, *events: Any) -> None:
        assert self.send(events) == {"accepted": len(events), "skipped": {}, "quarantined": []}

    def callback(self, body: str, secret: str | None = None) -> urllib3.BaseHTTPResponse:
        """Post as LiteLLM does."""
        bearer = f"Bearer {secret or self.up.litellm_secret}"
        return self.post("usage-events/litellm", body, {"content-type": "application/json", "authorization": bearer})

    def queue(self, organization: str, body: str) -> None:
        """Put a message into the queue, past the webhook."""
        self.client("sqs").send_message(
            QueueUrl=self.stack.outputs["UsageQueueUrl"],
            MessageBody=body,
            MessageGroupId=organization,
            MessageDeduplicationId=uuid.uuid4().hex,
        )

    # --- what becomes of it ----------------------------------------------------------------------------------------

    def through(self, organization: str) -> Stored:
        """All that the ledger holds of an organization, once everything sent for it has been decided and emitted.

        Its order is kept on the whole way. So a last request, which occurred on a day of its own, says when.
        """
        last = usage(f"last-{uuid.uuid4().hex}", 0, organization=organization, at=self._long_before())
        self.accepted(last)
        record_id = f"{organization}:{last['time'][:10]}:{last['id']}"
        eventually(
            lambda: any(record["id"] == record_id for record in self.bus.records(organization)),
            f"a record of the last request of {organization}",
        )
        day = date.fromisoformat(last["time"][:10])
        lists = DayList(self.client("dynamodb"), self.table)
        eventually(
            lambda: lists.page(organization, day, 1, lambda row: row.name == last["id"]).rows,
            f"the last request of {organization} on its day's list",
        )
        return self.stored(organization)

    def _long_before(self) -> str:
        return f"{self.yesterday - timedelta(days=7)}T00:00:00Z"

    def stored(self, organization: str) -> Stored:
        """All that the ledger holds of an organization's requests, without those that `through` sends."""
        found = stored(self.client("dynamodb"), self.table)
        before = self.yesterday - timedelta(days=3)
        return Stored(
            items={},
            decisions={
                key: each for key, each in found.decisions.items() if key[0] == organization and key.day > before
            },
            documents={
                each: document
                for each, document in found.documents.items()
                if each.organization == organization and each.slot > before.isoformat()
            },
            markers={
                (day, of)
                for day, of in found.markers
                if of.startswith(f"ORG#{organization}#") and day > f"DAY#{before}"
            },
            quarantine=[entry for entry in found.quarantine if entry.organization == organization],
        )

    def decisions(self, events: Iterable[Any]) -> dict[str, Decision]:
        """The decisions of these events by request id, as soon as all have one."""
        keys = keys_of(events)

        def all_decided() -> dict[str, Decision] | None:
            found = self.ledger.decisions(keys)
            by_id = {decision.request_id: decision for decision in found.values()}
            return by_id if len(found) == len(keys) else None

        return eventually(all_decided, f"decisions of {[key.request_id for key in keys]}") or {}

    def quarantined(self, organization: str | None) -> list[Entry]:
        """What is in quarantine of what was received since the tests began."""
        days = (self.yesterday + timedelta(days=after) for after in (1, 2))
        return [entry for day in days for entry in self.quarantine.of_day(day) if entry.organization == organization]

    def waiting_messages(self, *others: str) -> int:
        """Messages in the usage queue and its dead-letter queue, and in others named by their URL."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        queues = {self.stack.outputs["UsageQueueUrl"], self.stack.outputs["UsageDeadLettersUrl"], *others}
        found = [self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names) for url in queues]
        return sum(int(each["Attributes"][name]) for each in found for name in names)

    def emitted_once(self, organization: str, decisions: Iterable[Decision]) -> None:
        """Each decision came out at least once, always with the same content, and nothing else did."""
        expected = {record["id"]: record for record in (decision.record() for decision in decisions)}
        assert {record["id"] for record in self.records(organization)} == expected.keys()
        assert [record for record in self.records(organization) if record != expected[record["id"]]] == []

    def records(self, organization: str) -> list[dict[str, Any]]:
        """Its billing records, without those of the requests that `through` sends."""
        return [each for each in self.bus.records(organization) if not each["request_id"].startswith("last-")]

    def invoke(self, logical_id: str, event: Any) -> Any:
        """Call a deployed function itself."""
        payload = json.dumps(event).encode()
        answer = self.client("lambda").invoke(FunctionName=self.function(logical_id), Payload=payload)
        content = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, content
        return content


def keys_of(events: Iterable[Any]) -> list[RequestKey]:
    """What each of these events is the one request of, without repeats."""
    return list(dict.fromkeys(parse_event(event, datetime.now(UTC)).key for event in events))


def queue_batch(organization: str, *bodies: Sequence[Any]) -> dict[str, Any]:
    """What Lambda hands to classify_usage: a message for each of `bodies`, all of one organization."""
    sent = str(int(datetime.now(UTC).timestamp() * 1000))
    attributes = {"SentTimestamp": sent, "MessageGroupId": organization}
    return {
        "Records": [
            {"messageId": f"m{number}", "body": json.dumps(body), "attributes": attributes}
            for number, body in enumerate(bodies)
        ]
    }
