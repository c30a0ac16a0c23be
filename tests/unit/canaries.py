"""Every function through its outcomes, on events, headers, keys and secrets that hold canaries. A program of its own,
so that all it writes can be searched; its last line says which outcomes there were."""

import base64
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from moto import mock_aws

from gratis import config, moment
from gratis.table import dynamo
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from gratis_local.engine import create_table
from gratis_local.functions import Context, handler_of
from tests.builders.account_api import ALLOWANCE, ORGANIZATIONS, REQUESTS, SHARING, USAGE
from tests.builders.aws import FIFO, http
from tests.builders.organizations import account
from tests.builders.webhook import event, request, signature

CANARY = "canary"
"""In every key, secret, header, text and identifier; not in organizations and models, which a log may name."""
SECRET = "whsec_" + base64.b64encode(b"canary, secret of the webhook").decode()
BEARER = "canary-bearer-secret-of-litellm"
WEBHOOK, LITELLM = "/v1/usage-events", "/v1/usage-events/litellm"
TABLE = "ledger"
NOW = datetime.now(UTC)
OUTCOMES: list[str] = []


class Timed(Context):
    """A call with time enough."""

    def get_remaining_time_in_millis(self) -> int:
        return 600_000


def call(folder: str, sent: Mapping[str, Any]) -> Any:
    """Call a function as if it had just started. What it raises is written to its log, as Lambda does."""
    for cached in (config.config, config.dynamodb):
        cached.cache_clear()
    try:
        answer = handler_of(folder)(dict(sent), Timed(folder))
    except Exception as error:
        logging.getLogger("lambda").exception("the function failed")
        answer = {"raised": type(error).__name__}
    told = answer.get("statusCode") or answer.get("raised") or len(answer.get("batchItemFailures", ()))
    OUTCOMES.append(f"{folder} {told}")
    return answer


@contextlib.contextmanager
def without(variable: str) -> Iterator[None]:
    """What this variable names is not there."""
    before = os.environ[variable]
    os.environ[variable] = f"{before.removesuffix('.fifo')}-gone"
    yield
    os.environ[variable] = before


# --- what is sent ----------------------------------------------------------------------------------------------------


def used(name: str, organization: str = "org_a", **fields: Any) -> dict[str, Any]:
    """A usage event with canaries wherever a sender can put a text."""
    sent = event(f"{CANARY}-id-{name}", organization=organization, source=f"https://{CANARY}.example", note=CANARY)
    words = ("project", "endpoint", "service_tier", "user_id", "api_key_id", "prompt")
    tools = [f"{CANARY}-tool", {"type": f"{CANARY}-type", "arguments": CANARY}]
    sent["data"] |= {word: f"{CANARY}-{word}" for word in words} | {"tools": tools}
    return sent | fields


def bad_events() -> list[Any]:
    data = used("bad")["data"]
    counts = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 3, CANARY: 1}
    return [
        *(CANARY, [CANARY]),
        used("no-organization", subject=None),
        used(f"{CANARY} \n\x1b", subject=f"{CANARY}#\n"),
        used("no-time", time=CANARY),
        used("old", time="2020-01-01T00:00:00Z"),
        used("ahead", time=moment.text(NOW + timedelta(days=1))),
        used("no-model", data=data | {"model": f"{CANARY} model"}),
        used("no-count", data=data | {"usage": {"input_tokens": CANARY, CANARY: CANARY}}),
        used("no-sum", data=data | {"usage": counts}),
        used("huge", note=CANARY * 20_000),
    ]


def litellm_lines() -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    about = {"user_api_key_org_id": "org_a", "usage_object": usage, "user_api_key_hash": CANARY, "headers": CANARY}
    chat = {"messages": [{"content": CANARY}], "response": {"choices": [CANARY]}, "startTime": NOW.timestamp()}
    entries: list[dict[str, Any]] = [
        {"litellm_call_id": f"{CANARY}-call", "model": "gpt-4o-2024-08-06", "metadata": about},
        {"litellm_call_id": f"{CANARY}-bad", "model": f"{CANARY} model", "metadata": CANARY},
        {"litellm_call_id": f"{CANARY}-failed", "status": "failure", "error_str": CANARY},
    ]
    return b"\n".join([*(json.dumps(chat | each).encode() for each in entries), b"{" + CANARY.encode()])


def signed(body: bytes) -> dict[str, str]:
    timestamp, name = str(int(datetime.now(UTC).timestamp())), f"{CANARY}-message"
    made = signature(body, SECRET, name, timestamp)
    return {"webhook-id": name, "webhook-timestamp": timestamp, "webhook-signature": made, "cookie": CANARY}


def record(message_id: str, body: str, organization: str = "org_a") -> dict[str, Any]:
    stated = {"received_at": {"dataType": "String", "stringValue": moment.text(NOW)}}
    attributes = {"MessageGroupId": organization, "SentTimestamp": "0"}
    return {"messageId": message_id, "body": body, "attributes": attributes, "messageAttributes": stated}


# --- the functions ---------------------------------------------------------------------------------------------------


def receive() -> None:
    def post(body: bytes, headers: Mapping[str, str], path: str = WEBHOOK) -> None:
        call("receive_usage", request(body, headers, path=path))

    good = json.dumps([used("r1"), used("r2"), *bad_events()]).encode()
    bearer = {"authorization": f"Bearer {BEARER}"}
    for body in (good, CANARY.encode(), CANARY.encode() + b"\xff", CANARY.encode() * 800_000):
        post(body, signed(body))
        post(body, signed(body) | {"webhook-signature": f"v1,{CANARY}"})
        post(body, bearer, LITELLM)
        post(body, {"authorization": f"Bearer {CANARY}-wrong"}, LITELLM)
    post(litellm_lines(), bearer, LITELLM)
    for variable in ("LEDGER_TABLE", "USAGE_QUEUE", "WEBHOOK_SECRET"):
        with without(variable):
            post(good, signed(good))


def classify() -> None:
    asked: Any = {"QueueUrl": os.environ["USAGE_QUEUE"], "MaxNumberOfMessages": 10}
    queued = boto3.client("sqs").receive_message(**asked)["Messages"]
    arrived = [record(each["MessageId"], each["Body"]) for each in queued]
    other = used("r1") | {"data": used("r1")["data"] | {"model": "gpt-4.1-2025-04-14"}}
    refused = [record("c1", json.dumps([other, *bad_events()])), record("p1", CANARY)]
    unreadable = [record("u1", json.dumps([used("u1", "org_torn")]), "org_torn")]
    for batch in (arrived, arrived, refused, unreadable):
        call("classify_usage", {"Records": batch})
    with without("LEDGER_TABLE"):
        call("classify_usage", {"Records": arrived})


def emit() -> None:
    items = boto3.client("dynamodb").scan(TableName=TABLE)["Items"]
    torn = {"pk": {"S": f"DAY#{CANARY}#2025-03-11#0"}, "sk": {"S": f"REQ#{CANARY}"}, "receipt": {"S": f'["{CANARY}"]'}}
    whole = [each for each in items if "org_torn" not in each["pk"]["S"] and each["sk"]["S"] != "KEY"]
    outgoing = [{"dynamodb": {"NewImage": each, "SequenceNumber": str(place)}} for place, each in enumerate(whole)]
    call("emit_billing", {"Records": outgoing})
    unreadable = {"Keys": {name: torn[name] for name in ("pk", "sk")}, "NewImage": torn, "SequenceNumber": "1"}
    call("emit_billing", {"Records": [{"dynamodb": unreadable}]})
    with without("EVENT_BUS"):
        call("emit_billing", {"Records": outgoing})


def close() -> None:
    message = json.dumps({"organization": "org_a", "day": NOW.date().isoformat()})
    closing = {"Records": [{"messageId": "m1", "body": message}]}
    for sent in ({}, closing):
        call("close_day", sent)
    with without("LEDGER_TABLE"):
        call("close_day", closing)


def ask(owner: str, platform: str) -> None:
    def get(path: str, query: str = "", key: str = owner, method: str = "GET", body: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}", "cookie": CANARY}
        call("account_api", http(method, path, query, headers) | {"body": body})

    def everything() -> None:
        get(ALLOWANCE, key=f"{CANARY}-wrong-key")
        for query in ("", f"organization={CANARY}", f"{CANARY}=1"):
            get(ALLOWANCE, query)
        for query in (f"{NOW.timestamp():.0f}&project_ids={CANARY}", f"{NOW.timestamp():.0f}&page={CANARY}", CANARY):
            get(USAGE, f"start_time={query}")
        for path in (f"{REQUESTS}/{CANARY}-id-r1", f"{REQUESTS}/{CANARY}%0a", f"/page/{CANARY}.js", "/"):
            get(path)
        shared = {"traffic": {"mode": "selected", "projects": [f"{CANARY}-shared"]}, "confirmed": True}
        for body in (json.dumps(shared), json.dumps({CANARY: CANARY}), CANARY):
            get(SHARING, method="POST", body=body)
        for body in (json.dumps({"tier": CANARY}), json.dumps({"tier": 4})):
            get(f"{ORGANIZATIONS}/{CANARY}", key=platform, method="PUT", body=body)

    everything()
    with without("LEDGER_TABLE"):
        everything()


def main() -> None:
    """An AWS account that moto plays, with a canary in each secret; then every function."""
    dynamodb, sqs, manager, bus = (boto3.client(name) for name in ("dynamodb", "sqs", "secretsmanager", "events"))
    create_table(dynamodb, TABLE)
    Accounts(dynamodb, TABLE).put(account())
    torn = f'{{"id": "org_torn", "profile": [{{"effective_at": "{CANARY}", "actor": "{CANARY}"}}]}}'
    item = {"pk": {"S": "ORG#org_torn"}, "sk": {"S": "ACCOUNT"}, "version": {"N": "1"}, "account": {"S": torn}}
    dynamodb.put_item(TableName=TABLE, Item=item)
    os.environ |= {
        "LEDGER_TABLE": TABLE,
        "USAGE_QUEUE": sqs.create_queue(QueueName="usage.fifo", Attributes=FIFO)["QueueUrl"],
        "CLOSE_QUEUE": sqs.create_queue(QueueName="close")["QueueUrl"],
        "STREAM_DEAD_LETTERS": sqs.create_queue(QueueName="unreadable")["QueueUrl"],
        "EVENT_BUS": bus.create_event_bus(Name="billing")["EventBusArn"].rpartition("/")[2],
        "WEBHOOK_SECRET": manager.create_secret(Name="webhook", SecretString=SECRET)["ARN"],
        "LITELLM_SECRET": manager.create_secret(Name="litellm", SecretString=BEARER)["ARN"],
    }
    keys = Keys(dynamodb, TABLE)
    owner = keys.create(Holder("owner", "org_a", f"{CANARY}-name"), NOW)
    platform = keys.create(Holder("platform", None, f"{CANARY}-name"), NOW)
    logging.getLogger().setLevel(logging.DEBUG)  # as Lambda does where its own level of logs is DEBUG
    receive()
    classify()
    emit()
    close()
    ask(owner, platform)
    logging.disable()
    told = {"outcomes": OUTCOMES, "secrets": [SECRET, SECRET.removeprefix("whsec_"), BEARER, owner, platform]}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    dynamo.pause.__globals__["time"].sleep = lambda _: None
    for emulator in ("moto", "responses", "werkzeug"):
        logging.getLogger(emulator).setLevel(logging.WARNING)
    logging.basicConfig(stream=sys.stderr)
    with mock_aws():
        main()
