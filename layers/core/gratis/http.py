"""Lambda's HTTP API events and answers, and the error envelope that OpenAI's clients know."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from gratis.errors import GratisError

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of a request's body, unpacked."""


class Refused(GratisError):
    """Answered with `status` and an error envelope; nothing was stored. `retry_after`: seconds, always 1 of 503.

    `known_sender`: whether whoever sent it had shown that it holds a secret of ours, or one that was replaced.
    """

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after if status != 503 else 1
        self.known_sender = False

    def answer(self) -> dict[str, Any]:
        """The HTTP answer. Shape: SPEC section 5."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        envelope = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        headers = {"retry-after": str(self.retry_after)} if self.retry_after else None
        return answer(self.status, {"error": envelope}, headers)


def answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """An HTTP API answer with a JSON body, which nobody on the way may keep."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store", **(headers or {})},
        "body": json.dumps(content, ensure_ascii=False),
    }


def body_of(event: Mapping[str, Any], max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The request's body as it was sent. Raises Refused: 413 if it is too large, 400 if it cannot be decoded."""
    body = event.get("body") or ""
    try:
        decoded = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    except ValueError:  # bad base64, and text that is none
        raise Refused(400, "invalid_body", "the body cannot be decoded") from None
    if len(decoded) > max_bytes:
        raise too_large(f"{len(decoded)} bytes", max_bytes)
    return decoded


def too_large(found: str, max_bytes: int) -> Refused:
    """413: a body that is too large, however it was packed."""
    return Refused(413, "body_too_large", f"the body is {found}; at most {max_bytes} are accepted")


def headers_of(event: Mapping[str, Any]) -> dict[str, str]:
    """The request's headers by lower-case name."""
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}
