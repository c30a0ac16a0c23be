"""`gratis up`: the whole system on the embedded engine, with a demo organization, until it is stopped."""

import base64
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import urllib3

from gratis.rules.account import Account, Profile, Settings, Sharing
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from gratis_local.deploy import deploy
from gratis_local.engine import EngineFailed, engine
from gratis_local.keeping import Credentials, restored, save
from gratis_local.places import ROOT
from gratis_local.stack import Stack

STATE = ROOT / ".gratis" / "up.json"
DEMO = "org_demo"
IN_FORCE = timedelta(days=60)
READY_SECONDS = 30


@dataclass(frozen=True)
class Running:
    """What a client needs; written to .gratis/up.json. Names: SPEC section 5."""

    base_url: str
    page_url: str
    owner_key: str
    gateway_key: str
    platform_key: str
    webhook_secret: str
    litellm_secret: str
    endpoint_url: str


PARAMETERS = {
    "ArchiveRetentionDays": "-1",
    "ContributorInsights": "false",
    "LocalEngine": "true",
    "WebhookTargets": "loopback",
}
"""Of the template, on an engine on this machine."""


@contextmanager
def running(
    port: int = 0, state: Path = STATE, kept: Path | None = None, intake: str = "queue"
) -> Iterator[tuple[Stack, Running]]:
    """Deploys, seeds the demo organization, and writes `state` once the API answers; then undoes it all.

    `intake`: the template's parameter. `kept`: a file whose content is restored at the start, and replaced at the end.
    Raises EngineFailed, also if another system runs here.
    """
    with _alone(state), engine(port) as url:
        stack = deploy(url, PARAMETERS | {"Intake": intake})
        credentials = (kept and restored(kept, stack)) or _seeded(stack)
        _replace_secrets(stack, credentials)
        _wait_for_api(stack)
        up = Running(base_url=stack.base_url, page_url=stack.page_url, endpoint_url=url, **asdict(credentials))
        text = json.dumps(asdict(up), indent=1) + "\n"
        try:
            state.touch(0o600)  # it holds keys and secrets
            state.write_text(text, encoding="utf-8")
            yield stack, up
        finally:
            _remove(state, text)
            if kept:
                save(kept, stack, credentials)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keeps a second system away from `state`. The lock ends with this process, however that ends."""
    state.parent.mkdir(exist_ok=True)
    state.with_suffix(".lock").touch(0o600)
    with state.with_suffix(".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            process = lock.read()
            raise EngineFailed(
                f"another `gratis up` runs here (process {process}, addresses in {state} once it answers); "
                f"use it, or stop it first: kill {process}"
            ) from None
        try:
            state.unlink(missing_ok=True)  # left by a system that was killed
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
        finally:
            Path(lock.name).unlink(missing_ok=True)
            if state.parent.is_dir() and not any(state.parent.iterdir()):
                state.parent.rmdir()


def _remove(state: Path, text: str) -> None:
    """Remove the file, even if it was only partly written, unless it is another system's."""
    if state.is_file() and text.startswith(state.read_text(encoding="utf-8")):
        state.unlink()


def _replace_secrets(stack: Stack, credentials: Credentials) -> None:
    manager = stack.client("secretsmanager")
    manager.put_secret_value(SecretId=stack.outputs["WebhookSecretName"], SecretString=credentials.webhook_secret)
    manager.put_secret_value(SecretId=stack.outputs["LitellmSecretName"], SecretString=credentials.litellm_secret)


def _seeded(stack: Stack) -> Credentials:
    """Puts in the demo organization; keys for its owner, its gateway and the platform, and secrets for the webhooks."""
    now = datetime.now(UTC)
    since = now - IN_FORCE
    shared = Sharing(mode="enabled")
    account = Account(
        id=DEMO,
        profile=(Profile(effective_at=since, tier=4, actor="gratis up"),),
        sharing=(Settings(effective_at=since, actor="gratis up", confirmed=True, traffic=shared, evals=shared),),
    )
    ledger, table = stack.client("dynamodb"), stack.outputs["LedgerTableName"]
    Accounts(ledger, table).put(account)
    keys = Keys(ledger, table)
    return Credentials(
        owner_key=keys.create(Holder("owner", DEMO, "gratis up"), now),
        gateway_key=keys.create(Holder("gateway", DEMO, "gratis up"), now),
        platform_key=keys.create(Holder("platform", None, "gratis up"), now),
        webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        litellm_secret=secrets.token_urlsafe(32),
    )


def _wait_for_api(stack: Stack) -> None:
    """Wait until the webhook itself refuses an unsigned request."""
    deadline = time.monotonic() + READY_SECONDS
    with urllib3.PoolManager() as pool:
        while time.monotonic() < deadline:
            answer = pool.request("POST", f"{stack.base_url}/usage-events", body=b"[]", retries=False)
            if answer.status == 401:
                return
            time.sleep(0.2)
    raise EngineFailed(f"the API does not answer: {answer.status} {answer.data[:500]!r}")
