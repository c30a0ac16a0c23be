"""Who may send usage events: Standard Webhooks signatures, and the bearer secret of LiteLLM."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gratis.http import Refused

_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]+={0,2}")
MOST_SIGNATURES = 10
"""In one header; a sender that rotates its secrets sends two or three."""
LEAST_SECRET = 24
"""Bytes of a webhook's key (Standard Webhooks 1.0), and characters of a bearer secret. What is shorter can be guessed,
or is a scrap of something else that was stored in a secret's place; it lets nobody in."""


def require_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    """Any valid signature by any active secret passes, ±300 s. Raises Refused: 401, or 400 for a body that is no text.

    `headers` have lower-case names. Rule: Standard Webhooks 1.0.
    """
    found = _SIGNATURE.findall(headers.get("webhook-signature", ""))[:MOST_SIGNATURES]
    signed = {**headers, "webhook-signature": " ".join(filter(_is_digest, found))}
    why = "no signature"
    for secret in secrets:
        try:
            _webhook(secret).verify(body, signed, json_parse=False)
        except WebhookVerificationError as error:
            why = str(error)
        except UnicodeDecodeError:
            raise Refused(400, "invalid_body", "the body is not UTF-8") from None
        except ValueError:  # a stored secret that is none must not shut out the others
            why = f"an active secret is not base64 of {LEAST_SECRET} bytes or more"
        else:
            return
    raise Refused(401, "invalid_signature", f"the webhook signature is not valid: {why}")


def require_bearer(secrets: Sequence[str], headers: Mapping[str, str]) -> None:
    """One of the active secrets as a bearer token. Raises Refused: 401."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip().encode(errors="replace")
    matches = [hmac.compare_digest(given, secret.encode()) for secret in secrets if len(secret) >= LEAST_SECRET]
    if scheme.lower() != "bearer" or not any(matches):
        raise Refused(401, "invalid_api_key", "the Authorization header holds no valid bearer secret")


def _is_digest(signature: str) -> bool:
    """Whether a signature decodes to the 32 bytes of SHA-256; the library gives up at the first that does not."""
    try:
        return len(base64.b64decode(signature.removeprefix("v1,"), validate=True)) == 32
    except binascii.Error:
        return False


@lru_cache(maxsize=16)
def _webhook(secret: str) -> Webhook:
    """Verifies with this secret. Raises ValueError for one that is none; the library takes any scrap of base64."""
    text = secret.removeprefix("whsec_")
    key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if len(key) < LEAST_SECRET:
        raise ValueError(f"{len(key)} bytes are too few")
    return Webhook(key)
