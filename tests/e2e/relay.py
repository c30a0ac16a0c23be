"""A relay before a deployed Gratis, so that a test sees what is asked, and can have it not answer."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

PASSED_ON = ("authorization", "content-type", "content-encoding", "retry-after")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Relay"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.is_down:
            self.close_connection = True
            return
        if self.command == "POST" and self.path.endswith("/reservations"):
            self.server.wanted.append(json.loads(body))
        answer = self.server.http.request(
            self.command, f"{self.server.behind}{self.path}", body=body, headers=_passed_on(self.headers)
        )
        self.send_response(answer.status)
        for name, value in (_passed_on(answer.headers) | {"content-length": str(len(answer.data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.data)

    do_DELETE = do_POST  # noqa: N815 - as http.server names it


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in PASSED_ON if name in headers}


class Relay(ThreadingHTTPServer):
    """`is_down`: connections are closed without an answer. `wanted`: bodies of the reservations that were asked for."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.http = urllib3.PoolManager(maxsize=64, retries=False)
        self.wanted: list[dict[str, Any]] = []
        self.is_down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def down(self) -> Iterator[None]:
        """Gratis does not answer while in this context."""
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


@contextmanager
def relay(behind: str) -> Iterator[Relay]:
    """`behind`: the base URL of what answers."""
    with Relay(behind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.http.clear()
