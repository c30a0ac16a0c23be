"""Servers on loopback: what tests set up in the place of somebody else's."""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Quiet(BaseHTTPRequestHandler):
    """Reads a body and answers, and says nothing on stderr."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(
        self, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None, missing: int = 0
    ) -> None:
        """`missing`: bytes that are announced and do not come."""
        self.send_response(status)
        announced = {"content-type": "application/json", "content-length": str(len(body) + missing)}
        for name, value in (announced | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Loopback(ThreadingHTTPServer):
    """Listens while in its context, and answers each request by a handler of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[Quiet]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
