"""account_api as a template would deploy it, on moto, with a clock that stands still, and what is asked of it."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, count
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from gratis import config
from gratis.errors import Rejected
from gratis.rules.account import Account
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from gratis.table.day_list import list_decisions
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine, entry
from gratis_local.engine import create_table
from gratis_local.functions import Context, Handler, handler_of
from gratis_simulation.checks.histories import whole
from tests.builders.aws import FIFO, aws, http
from tests.builders.events import at, message
from tests.builders.ledger import classifier
from tests.builders.organizations import account

NOW = datetime(2025, 3, 12, 10, 30, tzinfo=UTC)
"""A Wednesday, in the middle of an hour."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
USAGE, COSTS = "/v1/organization/usage/completions", "/v1/organization/costs"
ALLOWANCE, SHARING = "/v1/organization/allowance", "/v1/organization/data_sharing"
OFFER = "/v1/organization/offer"
REQUESTS, ORGANIZATIONS = "/v1/organization/requests", "/v1/organizations"
QUARANTINE = "/v1/organization/quarantine"
_NUMBERS = count(1)


class Clock(datetime):
    """`datetime` whose `now` is what a test says it is."""

    moment: ClassVar[datetime] = NOW

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.moment


def unix(when: datetime | str) -> int:
    """Seconds of a moment, or of one in UTC: `2025-03-11T09:15`."""
    return int((at(when) if isinstance(when, str) else when).timestamp())


# --- what is answered ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the function answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def content(self) -> Any:
        """The answer's JSON; numbers with a point are exact."""
        return json.loads(self.text, parse_float=Decimal)

    @property
    def error(self) -> dict[str, Any]:
        """The error. Fails if it is not in OpenAI's envelope."""
        assert self.headers["content-type"] == "application/json"
        assert self.content.keys() == {"error"}
        error: dict[str, Any] = self.content["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == ("server_error" if self.status >= 500 else "invalid_request_error")
        assert error["message"]
        return error

    def refused(self) -> tuple[int, str, str | None]:
        """Status, code and parameter of an error."""
        return self.status, self.error["code"], self.error["param"]

    @property
    def results(self) -> list[list[dict[str, Any]]]:
        """The results of each bucket of a page."""
        return [bucket["results"] for bucket in self.content["data"]]

    @property
    def starts(self) -> list[datetime]:
        """When each bucket of a page begins."""
        return [datetime.fromtimestamp(bucket["start_time"], UTC) for bucket in self.content["data"]]


# --- the deployed function -----------------------------------------------------------------------------------------


@dataclass
class Api:
    """The function and its table. `org_a` and `org_b` share everything at tier 4; its clock says NOW."""

    client: Any
    table: str
    handler: Handler
    keys: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The DynamoDB operations that the last call took."""
    items: int = 0
    """How many items they returned."""
    hooks: list[tuple[str, Callable[..., None]]] = field(default_factory=list)

    # --- who asks --------------------------------------------------------------------------------------------------

    def key(self, role: Any = "owner", organization: str | None = "org_a") -> str:
        """A key with this role; always the same one."""
        name = f"{role} of {organization}"
        if name not in self.keys:
            keys = Keys(self.client, self.table)
            self.keys[name] = keys.create(Holder(role, organization, name), NOW)
            assert keys.find(self.keys[name], NOW)  # used today: so that no call of a test is the first one
        return self.keys[name]

    @property
    def platform(self) -> str:
        """A key of the platform."""
        return self.key("platform", None)

    # --- what is asked ---------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, query: str = "", key: str | None = None, **event: Any) -> Answer:
        """Call the function as Lambda would, with the key of org_a's owner unless another is given."""
        sent = http(method, path, query, {"authorization": f"Bearer {self.key() if key is None else key}"})
        self.asked, self.items = [], 0
        answer = self.handler(sent | event, Context("account_api"))
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        return Answer(answer["statusCode"], headers, answer["body"])

    def get(self, path: str, key: str | None = None, **parameters: Any) -> Answer:
        return self.call("GET", path, urlencode(parameters, doseq=True), key)

    def usage(self, **parameters: Any) -> Answer:
        """Usage of today and the two days before, unless the parameters say otherwise."""
        return self.get(USAGE, **{"start_time": unix(NOW - 2 * DAY), **parameters})

    def costs(self, **parameters: Any) -> Answer:
        """Costs of today and the two days before, unless the parameters say otherwise."""
        return self.get(COSTS, **{"start_time": unix(NOW - 2 * DAY), **parameters})

    def post(self, body: Any, key: str | None = None, **event: Any) -> Answer:
        """Change the sharing settings."""
        return self.call("POST", SHARING, key=key, body=body if isinstance(body, str) else json.dumps(body), **event)

    def put(self, organization: str, **profile: Any) -> Answer:
        """Set a profile, as the platform."""
        return self.call("PUT", f"{ORGANIZATIONS}/{organization}", key=self.platform, body=json.dumps(profile))

    # --- what the table holds --------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.client, self.table)

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.client, self.table)

    def store(self, history: Account) -> None:
        """Put this history in place of what is stored of the organization."""
        self.accounts.put(history)

    def stored(self) -> Account:
        """org_a as it is stored."""
        found = self.accounts.get("org_a")
        assert found is not None
        return whole(found)

    def decide(self, *events: Any, received_at: datetime | None = None) -> None:
        """Let the classifier decide these events of one organization, as received now."""
        for start in range(0, len(events), 100):
            batch = events[start : start + 100]
            sent = message("m1", *batch, group=batch[0]["subject"], received_at=received_at or Clock.moment)
            outcome = classifier(self.client, config.config().offer, table=self.table).classify([sent])
            assert len(outcome.decisions) == len(batch), outcome.quarantined
            self.list_decided([decision.record() for decision in outcome.decisions])

    def list_decided(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Put the decisions of these records on their days' lists, as emit_billing does with a batch of the stream."""
        list_decisions(self.client, self.table, records)

    def refuse(self, event: Any, code: str = "too_old") -> None:
        """Put an event into quarantine, as received now."""
        kept = entry(event, Rejected(code, "time: is long ago"), Clock.moment, "receive_usage")
        Quarantine(self.client, self.table).put([kept])

    def decide_at(self, event: Any, now: datetime) -> None:
        """Let a classifier whose clock stands at `now` decide this event."""
        sent = message("m1", event, received_at=now)
        deciding = classifier(self.client, config.config().offer, table=self.table, clock=lambda _: now)
        assert len(deciding.classify([sent]).decisions) == 1

    def verdicts(self, *events: Any) -> list[str]:
        """Verdict and reason of each event of org_a, as the API shows them."""
        found = [self.get(f"{REQUESTS}/{event['id']}").content for event in events]
        return [f"{each['verdict']} {each['reason']}" for each in found]

    def set_clock(self, moment: datetime) -> None:
        """What the function's clock shows from now on."""
        Clock.moment = moment

    # --- what happens meanwhile ------------------------------------------------------------------------------------

    def on(self, event: str, hook: Callable[..., None]) -> None:
        """Let `hook` run whenever botocore emits this event for DynamoDB: `before-call`, `before-call.PutItem`."""
        kind, _, operation = event.partition(".")
        name = f"{kind}.dynamodb.{operation}" if operation else f"{kind}.dynamodb"
        self.client.meta.events.register(name, hook)
        self.hooks.append((name, hook))

    def count_call(self, model: Any, **_: Any) -> None:
        self.asked.append(model.name)

    def count_items(self, parsed: Mapping[str, Any], **_: Any) -> None:
        found = chain(parsed.get("Items", ()), *parsed.get("Responses", {}).values())
        self.items += sum(1 for _ in found) + ("Item" in parsed)


@dataclass(frozen=True)
class Loaded:
    """What all tests of a module share: the function, loaded once, and an AWS account that moto plays."""

    handler: Handler
    client: Any
    sqs: Any

    @property
    def module(self) -> dict[str, Any]:
        """The names in the function's own module."""
        return inspect.unwrap(self.handler).__globals__


@contextmanager
def loaded() -> Iterator[Loaded]:
    """Loads the function; nobody waits between two attempts."""
    with aws() as clients:
        yield Loaded(handler_of("account_api"), clients["dynamodb"], clients["sqs"])


@contextmanager
def deployed(shared: Loaded, **queues: str) -> Iterator[Api]:
    """A new table, and the function as if it had just started. `queues`: variables of the environment that name one."""
    api = Api(shared.client, f"gratis-{next(_NUMBERS)}", shared.handler)
    create_table(shared.client, api.table)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OFFER_ENDS", "PLATFORM_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("OFFER", "data-sharing")
        patch.setenv("LEDGER_TABLE", api.table)
        urls = {
            name: shared.sqs.create_queue(QueueName=queue, Attributes=FIFO)["QueueUrl"]
            for name, queue in queues.items()
        }
        for name, url in urls.items():
            patch.setenv(name, url)
        patch.setitem(shared.module, "dynamodb", lambda: shared.client)
        patch.setitem(shared.module, "datetime", Clock)
        patch.setattr(Clock, "moment", NOW)
        config.config.cache_clear()
        for organization in ("org_a", "org_b"):
            api.accounts.put(account(organization))
        api.on("before-call", api.count_call)
        api.on("after-call", api.count_items)
        yield api
    for name, hook in api.hooks:
        shared.client.meta.events.unregister(name, hook)
    shared.client.delete_table(TableName=api.table)
    for url in urls.values():
        shared.sqs.delete_queue(QueueUrl=url)
    config.config.cache_clear()
