"""The statement: counts, sums and hash of a day's billing records. Anybody can make it who holds them. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from gratis.closing.chain import canonical
from gratis.closing.check import Check, Entry
from gratis.closing.merkle import MerkleTree
from gratis.closing.proof import MAX_IDS, Differences
from gratis.rules import pricing

Record = Mapping[str, Any]


class Sums(Check):
    """Adds up the records, which come in order of their ids.

    `hash` begins as 32 zero bytes; each record makes it SHA-256 over the hash so far and the record's canonical JSON.
    So a proof can be put down after any record and taken up again. `tree`: the same records as a Merkle tree, which
    can show one record to be among them without the others.
    """

    def __init__(self, organization: str, day: date) -> None:
        self.organization = organization
        self.day = day
        self.free = self.billed = self.free_tokens = self.billed_tokens = 0
        self.list_amount = self.amount = Decimal(0)
        self.unpriced: list[str] = []
        """The first hundred ids without a price."""
        self.unpriced_count = 0
        self.voids = 0
        self.hash = bytes(32)
        self.tree = MerkleTree()

    @property
    def decisions(self) -> int:
        """How many stand: a void counts one off."""
        return self.free + self.billed

    @property
    def records(self) -> int:
        """How many records there are, voids among them."""
        return self.decisions + 2 * self.voids

    def add(self, entry: Entry, found: Differences) -> None:  # noqa: ARG002 - sums are never wrong
        """Count a decision of the day."""
        self.count(entry.record)

    def count(self, record: Record) -> None:
        """Count one record."""
        tokens, is_void = record["tokens"]["total"], record.get("kind") == "usage.void"
        count = -1 if is_void else 1
        self.voids += is_void
        if record["verdict"] == "free":
            self.free, self.free_tokens = self.free + count, self.free_tokens + tokens
        else:
            self.billed, self.billed_tokens = self.billed + count, self.billed_tokens + tokens
        self.list_amount += Decimal(record["list_amount_usd"] or 0)
        self.amount += Decimal(record["amount_usd"] or 0)
        if record["list_amount_usd"] is None:
            self.unpriced_count += count
            if is_void:
                self.unpriced = [each for each in self.unpriced if each != record["voids"]]
            else:
                self.unpriced += [record["id"]][: MAX_IDS - len(self.unpriced)]
        written = canonical(record)
        self.hash = hashlib.sha256(self.hash + written).digest()
        self.tree.add(record["id"].removeprefix(f"{self.organization}:{self.day}:"), written)

    def statement(self) -> dict[str, Any]:
        """The statement. `voids` stands in it only where there are any: so it is that of the releases before."""
        return {
            "organization": self.organization,
            "day": self.day.isoformat(),
            "decisions": self.decisions,
            "free": self.free,
            "billed": self.billed,
            **({"voids": self.voids} if self.voids else {}),
            "free_tokens": self.free_tokens,
            "billed_tokens": self.billed_tokens,
            "list_amount_usd": pricing.usd(self.list_amount),
            "amount_usd": pricing.usd(self.amount),
            "unpriced": list(self.unpriced),
            "unpriced_count": self.unpriced_count,
            "hash": self.hash.hex(),
            "root": self.tree.root().hex(),
        }

    def content(self) -> dict[str, Any]:
        """All that is kept: the statement of the records so far, and their tree."""
        return self.statement() | {"tree": self.tree.content()}

    def take_up(self, content: Mapping[str, Any]) -> None:
        """Go on from what `content` gave."""
        for name in ("free", "billed", "free_tokens", "billed_tokens", "unpriced", "unpriced_count"):
            setattr(self, name, content[name])
        self.voids = content.get("voids", 0)
        self.list_amount, self.amount = Decimal(content["list_amount_usd"]), Decimal(content["amount_usd"])
        self.hash = bytes.fromhex(content["hash"])
        self.tree.take_up(content["tree"])


def records_of(statement: Mapping[str, Any]) -> int:
    """How many records a statement is about: `decisions` that stand, voids, and what these take back."""
    return int(statement["decisions"]) + 2 * int(statement.get("voids", 0))


def statement_of(organization: str, day: date, records: Iterable[Record]) -> dict[str, Any]:
    """The statement of a day's records, which come sorted by id."""
    sums = Sums(organization, day)
    for record in records:
        sums.count(record)
    return sums.statement()
