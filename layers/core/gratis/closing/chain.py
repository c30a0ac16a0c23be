"""Statements of an organization are a chain, and signed. SPEC section 3, promise 6. Pure.

A statement holds its number and the hash of the statement before (`previous`), so nobody can change or leave out one
without all later ones showing it. What is hashed is the statement's canonical JSON without SIGNATURE, the two fields
that stand beside it: a signature over the hash, and the fingerprint of the key.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

Statement = Mapping[str, Any]
SIGNATURE = ("signature", "key")


class Head(NamedTuple):
    """The newest statement of a chain: its number and hash. Number 0: there is none yet."""

    number: int = 0
    hash: str = "0" * 64

    @classmethod
    def of(cls, statement: Statement) -> "Head":
        """The head of a chain that ends with this statement."""
        return cls(statement["number"], digest_of(statement).hex())


def canonical(content: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys, without spaces, in ASCII: what records and statements are hashed as."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest_of(statement: Statement) -> bytes:
    """SHA-256 over the statement as it is chained."""
    chained = {name: value for name, value in statement.items() if name not in SIGNATURE}
    return hashlib.sha256(canonical(chained)).digest()
