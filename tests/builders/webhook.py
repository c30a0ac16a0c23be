"""The webhook as a template would deploy it, on moto: post to the real function, and look at what it stored."""

import base64
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import boto3
import pytest

from gratis import config, moment
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.engine import create_table
from gratis_local.functions import Context, Handler, handler_of
from tests.builders.aws import FIFO, Faulty, http
from tests.builders.events import LARGE, usage

SECRET = "whsec_" + base64.b64encode(b"the first of two secrets").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"the second of two secrets").decode()
BEARER = "a-bearer-secret-for-litellm"
CODES = {"invalid_event", "too_old", "in_the_future", "too_large", "conflict", "no_organization"}
"""Of quarantined events: SPEC section 5."""
_NUMBERS = count(1)


def now() -> datetime:
    return datetime.now(UTC)


def event(request_id: str, tokens: int = 1000, *, organization: str = "org_a", **fields: Any) -> dict[str, Any]:
    """A usage event of this minute. `fields` replace those of the envelope."""
    return usage(request_id, tokens, organization=organization, at=moment.text(now())) | fields


def using(request_id: str = "r1", **usage: Any) -> dict[str, Any]:
    """A usage event whose `usage` is just this."""
    return event(request_id, data={"model": LARGE, "usage": usage})


# --- signatures ----------------------------------------------------------------------------------------------------


def signature(body: bytes, secret: str = SECRET, message_id: str = "msg_1", timestamp: str = "") -> str:
    """A signature as Standard Webhooks 1.0 describes it: HMAC-SHA256 over id, timestamp and the exact body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def signed(body: bytes, *secrets: str, seconds_ahead: int = 0, message_id: str = "msg_1") -> dict[str, str]:
    """The headers of a request signed with each of these secrets (the usual one if none is named)."""
    timestamp = str(int((now() + timedelta(seconds=seconds_ahead)).timestamp()))
    made = [signature(body, secret, message_id, timestamp) for secret in secrets or (SECRET,)]
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(made)}


# --- the function and what it stores -------------------------------------------------------------------------------


@dataclass
class Answer:
    """An answer that has the right shape: SPEC section 5."""

    status: int
    content: Any
    headers: Mapping[str, str]

    @property
    def accepted(self) -> int:
        assert self.status == 202, self.content
        accepted: int = self.content["accepted"]
        return accepted

    @property
    def skipped(self) -> dict[str, int]:
        assert self.status == 202, self.content
        skipped: dict[str, int] = self.content["skipped"]
        return skipped

    @property
    def quarantined(self) -> list[dict[str, Any]]:
        assert self.status == 202, self.content
        quarantined: list[dict[str, Any]] = self.content["quarantined"]
        return quarantined

    @property
    def codes(self) -> list[str]:
        """The code of each event that was quarantined."""
        return [each["error"]["code"] for each in self.quarantined]

    @property
    def error(self) -> dict[str, Any]:
        assert self.status >= 400
        error: dict[str, Any] = self.content["error"]
        return error

    @classmethod
    def of(cls, answered: Mapping[str, Any]) -> "Answer":
        """What the function answered. Fails if it has another shape than SPEC section 5 gives it."""
        assert answered.keys() == {"statusCode", "headers", "body"}
        assert answered["headers"]["content-type"] == "application/json"
        assert answered["headers"]["cache-control"] == "no-store"
        answer = cls(answered["statusCode"], json.loads(answered["body"]), answered["headers"])
        if answer.status == 202:
            answer.check_content()
        else:
            answer.check_envelope()
        return answer

    def check_content(self) -> None:
        assert self.content.keys() == {"accepted", "skipped", "quarantined"}
        assert all(count > 0 for count in self.skipped.values())
        for each in self.quarantined:
            assert each.keys() == {"index", "id", "error"}
            assert each["error"].keys() == {"code", "message"}
            assert each["error"]["code"] in CODES
            assert each["error"]["message"]
            assert each["id"] is None or isinstance(each["id"], str)
        indexes = [each["index"] for each in self.quarantined]
        assert indexes == sorted(set(indexes))

    def check_envelope(self) -> None:
        assert self.content.keys() == {"error"}
        assert self.error.keys() == {"message", "type", "param", "code"}
        assert self.error["type"] == ("invalid_request_error" if self.status < 500 else "server_error")
        assert isinstance(self.error["message"], str)
        assert isinstance(self.error["code"], str)


@dataclass
class Deployed:
    """One deployment of the webhook: an empty table, an empty queue, two secrets."""

    dynamodb: Faulty
    sqs: Faulty
    secretsmanager: Faulty
    table: str
    url: str
    handler: Handler

    def call(self, request: Mapping[str, Any]) -> Answer:
        """Call the function as Lambda would."""
        return Answer.of(self.handler(dict(request), Context("receive_usage")))

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/v1/usage-events",
        base64_encoded: bool = True,
    ) -> Answer:
        """Post a body; signed with the usual secret unless `headers` are given."""
        headers = signed(body) if headers is None else headers
        return self.call(request(body, headers, path=path, base64_encoded=base64_encoded))

    def post_events(self, *events: Any) -> Answer:
        """Post a signed batch."""
        return self.post(json.dumps(events).encode())

    def post_litellm(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        authorized = {"authorization": f"Bearer {BEARER}"}
        return self.post(body, authorized if headers is None else headers, path="/v1/usage-events/litellm")

    def put_secret(self, name: str, value: str) -> None:
        self.secretsmanager.client.put_secret_value(SecretId=f"{self.table}-{name}", SecretString=value)

    def sent(self) -> list[list[Any]]:
        """The entries of each call to the queue that succeeded or not."""
        return [arguments["Entries"] for arguments in self.sqs.asked("send_message_batch")]

    def messages(self) -> list[dict[str, Any]]:
        """Takes every message out of the queue, in order."""
        taken = []
        while found := self._receive():
            for message in found:
                self.sqs.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            taken += found
        return taken

    def queued(self) -> list[Any]:
        """Takes every event out of the queue, in order."""
        return [each for message in self.messages() for each in json.loads(message["Body"])]

    def queued_ids(self) -> list[str]:
        return [each["id"] for each in self.queued()]

    def quarantined(self) -> list[Entry]:
        """What was put into quarantine today (or, around midnight, yesterday)."""
        store = Quarantine(self.dynamodb.client, self.table)
        today = now()
        return [entry for day in (today - timedelta(days=1), today) for entry in store.of_day(day.date())]

    def raw_quarantined(self) -> list[str]:
        """The raw events in quarantine, sorted."""
        return sorted(entry.raw for entry in self.quarantined())

    def _receive(self) -> list[dict[str, Any]]:
        answer = self.sqs.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found


def request(
    body: bytes, headers: Mapping[str, str], *, path: str = "/v1/usage-events", base64_encoded: bool = True
) -> dict[str, Any]:
    """Lambda's event of a POST."""
    headers = {"content-type": "application/cloudevents-batch+json", **headers}
    text = base64.b64encode(body).decode() if base64_encoded else body.decode()
    return http("POST", path, "", headers) | {"body": text, "isBase64Encoded": base64_encoded}


@contextmanager
def deployed(clients: Mapping[str, Any]) -> Iterator[Deployed]:
    """A new deployment in that account."""
    name = f"gratis-{next(_NUMBERS)}"
    create_table(clients["dynamodb"], name)
    url = clients["sqs"].create_queue(QueueName=f"{name}.fifo", Attributes=FIFO)["QueueUrl"]
    for secret, value in (("webhook", SECRET), ("litellm", BEARER)):
        clients["secretsmanager"].create_secret(Name=f"{name}-{secret}", SecretString=value)
    faulty = {service: Faulty(client) for service, client in clients.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "client", lambda service, **_: faulty[service])
        patch.setenv("LEDGER_TABLE", name)
        patch.setenv("USAGE_QUEUE", url)
        patch.setenv("WEBHOOK_SECRET", f"{name}-webhook")
        patch.setenv("LITELLM_SECRET", f"{name}-litellm")
        config.dynamodb.cache_clear()
        yield Deployed(**faulty, table=name, url=url, handler=handler_of("receive_usage"))
    config.dynamodb.cache_clear()
