"""What HTTP wraps around a body: gzip, and a byte order mark."""

import zlib
from collections.abc import Mapping

from gratis.http import Refused, too_large

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP = zlib.MAX_WBITS | 16
MAX_MEMBERS = 100
"""Files of gzip in one body, one after the other; hundreds of thousands of empty ones would take seconds."""


def plain(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """The body without its content encoding and byte order mark; never more than `max_bytes`, however it was packed.

    `headers` have lower-case names. Raises Refused: 413 if it is too large, 400 if it is no gzip, 415 for another
    encoding.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        body = _unpacked(body, max_bytes)
    elif encoding not in ("", "identity"):
        message = f"content-encoding: {encoding!r} is not accepted; send gzip, or none"
        raise Refused(415, "unsupported_content_encoding", message, "content-encoding")
    return body.removeprefix(BYTE_ORDER_MARK)


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """What was packed; no more of it is unpacked than is accepted."""
    unpacked, rest = b"", body
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(GZIP)
        try:
            unpacked += member.decompress(rest, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise _not_gzip(str(error)) from None
        if len(unpacked) > max_bytes:
            raise too_large(f"over {max_bytes} bytes when unpacked", max_bytes)
        if not member.eof:
            raise _not_gzip("it ends too early")
        rest = member.unused_data
        if not rest:
            return unpacked
    raise _not_gzip(f"it holds over {MAX_MEMBERS} files")


def _not_gzip(why: str) -> Refused:
    return Refused(400, "invalid_body", f"the body is not gzip, as content-encoding says: {why}")
