"""What `gratis up --keep` keeps between two starts: the ledger table's items, the demo keys, the webhooks' secrets.

The file is replaced in one step: if the process dies while it saves, the earlier file is still whole.
"""

import base64
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gratis.table.dynamo import pause, put_all
from gratis_local.stack import Stack

DRAIN_SECONDS = 10
"""How long is waited at the end for what was accepted to be decided."""


@dataclass(frozen=True)
class Credentials:
    """The demo keys and the webhooks' secrets. Names: SPEC section 5."""

    owner_key: str
    gateway_key: str
    platform_key: str
    webhook_secret: str
    litellm_secret: str


def restored(file: Path, stack: Stack) -> Credentials | None:
    """Put the items that were kept into a new stack's table; None if nothing was kept.

    The table's stream emits them again, under the ids that they had.
    """
    if not file.exists():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"), object_hook=_with_bytes)
    put_all(stack.client("dynamodb"), stack.outputs["LedgerTableName"], kept["items"], pause)
    return Credentials(**kept["credentials"])


def save(file: Path, stack: Stack, credentials: Credentials) -> None:
    """Keep what the table holds once nothing waits in the queue (or after DRAIN_SECONDS)."""
    _drain(stack)
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.outputs["LedgerTableName"])
    items = [item for page in pages for item in page["Items"]]
    text = json.dumps({"credentials": asdict(credentials), "items": items}, default=_of_bytes)
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(0o600)  # it holds keys and secrets
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, file)


def _drain(stack: Stack) -> None:
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs, deadline = stack.client("sqs"), time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        waiting = sqs.get_queue_attributes(QueueUrl=stack.outputs["UsageQueueUrl"], AttributeNames=names)
        if not any(int(count) for count in waiting["Attributes"].values()):
            return
        time.sleep(0.2)


def _of_bytes(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _with_bytes(decoded: dict[str, Any]) -> Any:
    return base64.b64decode(decoded["base64"]) if decoded.keys() == {"base64"} else decoded
