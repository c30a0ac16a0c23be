"""Where an outgoing webhook may be sent, and sending it there.

A name is resolved at each attempt, all its addresses are checked, and the connection is made to a checked one: so no
name leads into a private network later on. Redirects are not followed, and nothing is read of an answer but its status.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from gratis.errors import Rejected

ATTEMPT_SECONDS = 10
"""In all: names, connection, and waiting for the status."""
MAX_URL = 2048
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_OLD_MAPPED = ipaddress.ip_network("::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class Answer(NamedTuple):
    """What came of an attempt. `status`: the answer's; None without one, and `error` says why."""

    status: int | None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Only 2xx is (Standard Webhooks)."""
        return self.status is not None and 200 <= self.status < 300


class Forbidden(Exception):
    """The target is none that may be called."""


def require_url(url: str, *, loopback: bool) -> None:
    """That a URL is one that events may be sent to. Raises Rejected. `loopback`: plain http to this machine, too."""
    try:
        parts = _parts(url)
        _require_scheme(parts, loopback=loopback)
        literal = _literal(parts.hostname or "")
        if literal is not None:
            _require_allowed([literal], loopback=loopback)
    except (Forbidden, ValueError) as error:
        raise Rejected("invalid_value", f"url: {error}") from None


def send(
    url: str, headers: Mapping[str, str], body: bytes, *, loopback: bool, seconds: float = ATTEMPT_SECONDS
) -> Answer:
    """One attempt. It has `seconds` in all: an answer that trickles in ends it, too."""
    attempt = _Attempt(url, headers, body, loopback=loopback, seconds=seconds)
    thread = threading.Thread(target=attempt.run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        attempt.abandon()
        return Answer(None, f"no answer within {seconds:g} s")
    return attempt.answer


class _Attempt:
    """An attempt on a thread of its own, which can be abandoned."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes, *, loopback: bool, seconds: float) -> None:
        self.answer = Answer(None, "no answer")
        self._url = url
        self._headers = headers
        self._body = body
        self._loopback = loopback
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Resolve, check, connect, post."""
        try:
            parts = _parts(self._url)
            _require_scheme(parts, loopback=self._loopback)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            addresses = _resolved(parts.hostname or "", port)
            _require_allowed(addresses, loopback=self._loopback)
            self._connection = _Pinned(parts, port, str(addresses[0]), self._seconds)
            target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            self._connection.request("POST", target, self._body, dict(self._headers))
            self.answer = Answer(self._connection.getresponse().status)
        except (Forbidden, OSError, http.client.HTTPException, ValueError) as error:
            self.answer = Answer(None, _said(error))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the connection, whoever waits on it."""
        connection = self._connection
        if connection is not None:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to a checked address, under the name that the URL has: for `Host`, and for the certificate."""

    def __init__(self, parts: SplitResult, port: int, address: str, seconds: float) -> None:
        super().__init__(parts.hostname or "", port, timeout=seconds)
        self.default_port = 443 if parts.scheme == "https" else 80
        self._address = address
        self._is_tls = parts.scheme == "https"

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._is_tls:
            secured = ssl.create_default_context().wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock = secured  # so that whoever gives the attempt up reaches it during the handshake, too
            secured.do_handshake()


def _parts(url: str) -> SplitResult:
    """Raises ValueError, with what is wrong."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"must be at most {MAX_URL} printable ASCII characters without blanks: {url[:80]!r}")
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"names no host: {url[:80]!r}")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(f"must hold no user, no password and no fragment: {url[:80]!r}")
    return parts


def _require_scheme(parts: SplitResult, *, loopback: bool) -> None:
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise Forbidden(f"must begin with https://, not {parts.scheme}://")


def _resolved(host: str, port: int) -> list[Address]:
    """All addresses of a host. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _require_allowed(addresses: list[Address], *, loopback: bool) -> None:
    """Raises Forbidden if one of the addresses, or one that it stands for, is not on the public internet."""
    for address in addresses:
        for each in _meant(address):
            if not (_is_public(each) or (loopback and each.is_loopback)):
                raise Forbidden(f"leads to {address}, which is not on the public internet")


def _meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that it carries: mapped, translated (NAT64) or tunnelled (6to4, Teredo)."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    yield from (each for each in carried if each is not None)
    if any(address in network for network in (*_NAT64, _OLD_MAPPED)):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return True  # what it carries is looked at by itself
        if address in _OLD_MAPPED or address.is_site_local:
            return False
    elif address in _SHARED:
        return False
    special = (
        address.is_private,
        address.is_multicast,
        address.is_reserved,
        address.is_loopback,
        address.is_link_local,
    )
    return address.is_global and not any(special)


def _said(error: Exception) -> str:
    """What went wrong, without anything that the other side sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is no HTTP: {type(error).__name__}"
    return str(error)[:200] if isinstance(error, Forbidden | ValueError) else f"no connection: {type(error).__name__}"
