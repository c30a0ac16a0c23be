"""MiniStack as the embedded engine's process: refuses pages of other origins, hands gzipped bodies on unchanged.

Whoever reaches the engine can run code with it, and a browser sends a page's requests to any address. So each port
refuses requests from pages of another origin, and requests whose `host` header is not this machine.

MiniStack tells text from binary by the content type alone, so it destroys gzipped JSON. API Gateway's documentation
says that binary payloads arrive in base64; how it treats gzipped JSON has never been tried on AWS.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from ministack import app as engine  # type: ignore[import-untyped]
from ministack.services import apigateway  # type: ignore[import-untyped]

ENCODING, TYPE = "content-encoding", "content-type"
_hand_on = apigateway._invoke_lambda_proxy  # noqa: SLF001 - it has no public name


class _Packed(dict[str, str]):
    """Headers whose `get` hides the content type, so that MiniStack takes the body for binary; copies have it."""

    def get(self, name: str, default: Any = None) -> Any:
        return default if name == TYPE else super().get(name, default)


async def _unharmed(  # noqa: PLR0917 - MiniStack's own parameters
    integration: Any, api: str, stage: str, path: str, method: str, headers: Mapping[str, str], *more: Any, **named: Any
) -> Any:
    handed = _Packed(headers) if headers.get(ENCODING) else headers
    return await _hand_on(integration, api, stage, path, method, handed, *more, **named)


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a request (its headers by lower-case name) comes from a page of another origin, or names another host.

    Programs send neither `origin` nor `sec-fetch-site`; a browser sends `none` for an address that somebody entered.
    """
    host = headers.get("host", "")
    name = host.rpartition(":")[0] or host
    if name not in ("127.0.0.1", "localhost") and not name.endswith((".127.0.0.1", ".localhost")):
        return True
    origin_is_ours = headers.get("origin", f"http://{host}") == f"http://{host}"
    return not origin_is_ours or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def guarded(app: Asgi) -> Asgi:
    """The application behind a guard that answers foreign requests with 403."""

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        if scope["type"] == "lifespan" or not is_foreign(headers):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": HTTPStatus.FORBIDDEN, "headers": []})
            await send({"type": "http.response.body", "body": b"not from here"})

    return guard


def _guard_other_ports() -> None:
    """Guard the ports on which functions fetch their invocations, which Python's own HTTP server serves."""
    parse = BaseHTTPRequestHandler.parse_request

    def parsed(handler: BaseHTTPRequestHandler) -> bool:
        if not parse(handler):
            return False
        if is_foreign({name.lower(): value for name, value in handler.headers.items()}):
            handler.send_error(HTTPStatus.FORBIDDEN)
            return False
        return True

    BaseHTTPRequestHandler.parse_request = parsed  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    apigateway._invoke_lambda_proxy = _unharmed  # noqa: SLF001
    engine.app = guarded(engine.app)
    _guard_other_ports()
    sys.exit(engine.main())
