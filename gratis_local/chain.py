"""Proves chains of signed statements, and single records in them, offline. SPEC section 3, promise 6."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gratis.closing.chain import Head, Statement, canonical, digest_of
from gratis.closing.merkle import Inclusion, leaf, root_from
from gratis.closing.proof import Difference, Differences
from gratis.closing.sums import records_of
from gratis.strict_json import parse_json
from gratis_local.sources import Unusable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    Keys = Mapping[str, EllipticCurvePublicKey]
    """By fingerprint."""


@dataclass(frozen=True)
class ChainProof:
    """What the statements of an organization prove: whole from `first` to `last`, unless something differs."""

    organization: str
    first: int
    last: Head
    signed: bool
    differences: Sequence[Difference] = ()
    difference_count: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.difference_count

    def content(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "organization": self.organization,
            "chain": {"first": self.first, "last": self.last.number, "head": self.last.hash, "signed": self.signed},
            "holds": self.holds,
            "difference_count": self.difference_count,
            "differences": [each._asdict() | {"ids": list(each.ids)} for each in self.differences],
        }


def read_keys(file: Path) -> "Keys":
    """The P-256 public keys of a PEM file. Raises Unusable."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - only who checks signatures needs it
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    from gratis.closing.signing import PublicKey  # noqa: PLC0415

    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise Unusable(f"{file}: {getattr(error, 'strerror', None) or 'is no PEM file'}") from None
    found: dict[str, EllipticCurvePublicKey] = {}
    end = "-----END PUBLIC KEY-----"
    for part in text.split(end)[:-1]:
        try:
            key = load_pem_public_key(f"{part[part.index('-----BEGIN') :]}{end}\n".encode())
        except ValueError as error:
            raise Unusable(f"{file}: holds what is no public key: {error}") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Unusable(f"{file}: holds a key that is not one on the curve P-256")
        found[PublicKey(_der(key)).fingerprint] = key
    if not found:
        raise Unusable(f"{file}: holds no public key (PEM)")
    return found


def prove_chains(
    statements: Iterable[Statement], keys: "Keys | None", heads: Mapping[str, Head] | None = None
) -> list[ChainProof]:
    """Prove each organization's statements. `heads`: a known statement of each chain.

    `keys`: those that may have signed the statements; None: signatures are not checked.
    """
    of_organizations: dict[str, list[Statement]] = defaultdict(list)
    for statement in statements:
        of_organizations[statement["organization"]].append(statement)
    return [_prove(of_organizations[each], keys, (heads or {}).get(each)) for each in sorted(of_organizations)]


def is_signed(statement: Statement, keys: "Keys") -> bool:
    """Whether one of the keys, the one that the statement names, signed just this statement."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    key, written = keys.get(str(statement.get("key"))), str(statement.get("signature"))
    try:
        signature = base64.b64decode(written, validate=True)
        if key is None or base64.b64encode(signature).decode() != written:
            return False
        key.verify(signature, digest_of(statement), ec.ECDSA(utils.Prehashed(SHA256())))
    except (binascii.Error, InvalidSignature):
        return False
    return True


def read_inclusion(file: Path) -> Mapping[str, Any]:
    """The inclusion proof in an answer of the account API, or by itself. Raises Unusable."""
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Unusable(f"{file}: {getattr(error, 'strerror', None) or f'is no JSON: {error}'}") from None
    found = content.get("inclusion", content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("record"), dict):
        raise Unusable(f"{file}: holds no inclusion proof: the day may not have been closed when it was asked for")
    return found


def prove_inclusion(inclusion: Mapping[str, Any], keys: "Keys") -> Iterator[str]:
    """Why a record is not proved to be in its day's signed statement; nothing if it is. Raises Unusable."""
    try:
        record, statement = inclusion["record"], inclusion["statement"]
        path = [bytes.fromhex(each) for each in inclusion["path"]]
        placed = Inclusion(int(inclusion["index"]), int(inclusion["size"]), path)
        of_day = f"{statement['organization']}:{statement['day']}:"
        if not record["id"].startswith(of_day):
            yield f"the record {record['id']} is not one of {of_day[:-1]}"
        if placed.size != (count := records_of(statement)):
            yield f"the path is that of {placed.size} records, the statement is about {count}"
        root = root_from(leaf(canonical(record)), placed)
        if root is None or root.hex() != statement["root"]:
            yield "the record and its path do not lead to the root of the statement"
        if not is_signed(statement, keys):
            yield f"the statement {statement['id']} is not signed by the key"
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(f"holds no inclusion proof: {type(error).__name__}: {error}") from None


def _prove(statements: Sequence[Statement], keys: "Keys | None", head: Head | None) -> ChainProof:
    found = Differences()
    chained = sorted(_chained(statements, found), key=lambda each: int(each["number"]))
    for statement in chained:
        if keys is not None and not is_signed(statement, keys):
            found.add("signature", "is not signed by a key of the file", statement["id"])
    for before, after in pairwise(chained):
        _link(before, after, found)
    first, last = (chained[0]["number"], Head.of(chained[-1])) if chained else (0, Head())
    if first == 1 and chained[0]["previous"] != Head().hash:
        found.add("chain", "is the first, but names one before it", chained[0]["id"])
    if head is not None:
        _held_against(head, chained, found)
    listed = found.listed()
    return ChainProof(statements[0]["organization"], first, last, keys is not None, listed, found.count)


def _chained(statements: Sequence[Statement], found: Differences) -> Iterator[Statement]:
    """The statements with a number, each once. One without, from a release before the chain, is a difference."""
    seen = set()
    for statement in statements:
        content = canonical(statement)
        if content in seen:
            continue
        seen.add(content)
        if isinstance(statement.get("number"), int) and isinstance(statement.get("previous"), str):
            yield statement
        else:
            found.add(
                "chain", "is not in the chain: it has no number", f"{statement['organization']}:{statement['day']}"
            )


def _link(before: Statement, after: Statement, found: Differences) -> None:
    expected, number = before["number"] + 1, after["number"]
    if number == before["number"]:
        found.add("chain", f"number {number} is there twice, with another content", before["id"], after["id"])
    elif number != expected:
        missing = f"{expected}" if number == expected + 1 else f"{expected} to {number - 1}"
        found.add("chain", f"number {missing} is missing", before["id"], after["id"])
    elif after["previous"] != digest_of(before).hex():
        found.add("chain", f"number {number} does not name the hash of number {before['number']}", after["id"])


def _held_against(head: Head, chained: Sequence[Statement], found: Differences) -> None:
    """Check that a known head, the newest or an earlier one, is in the chain."""
    at_head = [each for each in chained if each["number"] == head.number]
    if not at_head:
        last = chained[-1]["number"] if chained else 0
        found.add("head", f"the chain ends with number {last}, the head is number {head.number}")
    elif any(digest_of(each).hex() != head.hash for each in at_head):
        found.add("head", f"number {head.number} has another hash than the head", at_head[0]["id"])


def _der(key: "EllipticCurvePublicKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
