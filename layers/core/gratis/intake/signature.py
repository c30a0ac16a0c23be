"""Who may send usage events: Standard Webhooks signatures, and the bearer secret of gateways.

The signature is verified here, over bytes: the library of Standard Webhooks verifies text, and a packed body is none.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from gratis.http import Refused

TOLERANCE_SECONDS = 300
MAX_SIGNATURES = 10
"""In one header; a sender that rotates its secrets sends two or three."""
MIN_SECRET_BYTES = 24
"""Of a webhook's key (Standard Webhooks 1.0), and characters of a bearer secret. What is shorter can be guessed, or is
a scrap of something else that was stored in a secret's place; it lets nobody in."""
_SIGNATURE = re.compile(r"v1,([A-Za-z0-9+/]+={0,2})")
"""Found wherever it stands: whatever joined several headers put a comma between them, not a blank."""


def require_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Any valid signature by any active secret passes, ±300 s. Raises Refused: 401, by what is missing or wrong.

    `headers` have lower-case names, `webhook-*` or `svix-*`. Rule: Standard Webhooks 1.0.
    """
    message_id, sent_at, signatures = (_header(headers, name) for name in ("id", "timestamp", "signature"))
    if not sent_at.isascii() or not sent_at.isdigit() or len(sent_at) > 12:
        raise _invalid(f"webhook-timestamp: {sent_at[:40]!r} is no unix time in seconds")
    given = [_digest(each) for each in _SIGNATURE.findall(signatures)[:MAX_SIGNATURES]]
    signed = _is_signed(secrets, given, f"{message_id}.{sent_at}.".encode(errors="replace") + body)
    if abs(int(sent_at) - now.timestamp()) > TOLERANCE_SECONDS:
        late = _invalid(f"webhook-timestamp: {sent_at} is over {TOLERANCE_SECONDS} s away from {int(now.timestamp())}")
        late.known_sender = signed
        raise late
    if not signed:
        raise _invalid("webhook-signature: no v1 signature in it is by an active secret over this body")


def _is_signed(secrets: Sequence[str], given: Sequence[bytes], content: bytes) -> bool:
    keys = [key for secret in secrets if (key := _key(secret))]
    expected = [hmac.digest(key, content, hashlib.sha256) for key in keys]
    return any(hmac.compare_digest(one, each) for one in expected for each in given)


def require_bearer(secrets: Sequence[str], headers: Mapping[str, str]) -> None:
    """One of the active secrets as a bearer token. Raises Refused: 401."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip().encode(errors="replace")
    matches = [hmac.compare_digest(given, secret.encode()) for secret in secrets if len(secret) >= MIN_SECRET_BYTES]
    if scheme.lower() != "bearer" or not any(matches):
        raise Refused(401, "invalid_api_key", "the Authorization header holds no valid bearer secret")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(f"webhook-{name}") or headers.get(f"svix-{name}")
    if not value:
        raise _invalid(f"the header webhook-{name} is missing")
    return value


def _invalid(why: str) -> Refused:
    return Refused(401, "invalid_signature", f"the webhook signature is not valid: {why}")


def _digest(signature: str) -> bytes:
    """What a signature stands for; nothing for what is no base64."""
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


@lru_cache(maxsize=16)
def _key(secret: str) -> bytes | None:
    """The key of a stored secret; None for one that is none, which must not shut out the others."""
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) >= MIN_SECRET_BYTES else None
