"""The Merkle tree over a day's records in id order, hashed as RFC 6962 says, section 2.1. Pure.

`MerkleTree` is built record by record and keeps one size: complete subtrees of `block` leaves, which double when there
are too many, and the beginning of the next one. The path of a single record (`inclusion`) is made from its own block's
leaves and the subtrees of the other blocks, so a day of any size is read in one place only.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

FIRST_BLOCK = 16
"""Leaves of a block, as long as there are not too many blocks."""
MAX_BLOCKS = 512
EMPTY = hashlib.sha256().digest()
"""The root of a tree without leaves."""


class Block(NamedTuple):
    """A complete subtree. `after`: the id of the last record before its own; "" for the first block."""

    hash: bytes
    after: str


class Inclusion(NamedTuple):
    """Where a record is in its day's tree. `path`: the hashes that lead to the root, from the leaf up."""

    place: int
    size: int
    path: Sequence[bytes]


def leaf(record: bytes) -> bytes:
    """The hash of a record's canonical JSON."""
    return hashlib.sha256(b"\x00" + record).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """The tree of the records so far."""

    def __init__(self, block: int = FIRST_BLOCK, max_blocks: int = MAX_BLOCKS) -> None:
        self.block = block
        self.blocks: list[Block] = []
        self.open: list[tuple[int, bytes]] = []
        """Subtrees of the block that has begun, as (leaves, hash), the larger ones first."""
        self.open_after = self.last_id = ""
        self._max_blocks = max_blocks

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self.blocks) * self.block + sum(leaves for leaves, _ in self.open)

    def add(self, record_id: str, record: bytes) -> None:
        """One more record, in the order of the ids."""
        if not self.open:
            self.open_after = self.last_id
        self.last_id = record_id
        leaves, top = 1, leaf(record)
        while self.open and self.open[-1][0] == leaves:
            top = node(self.open.pop()[1], top)
            leaves *= 2
        self.open.append((leaves, top))
        if leaves == self.block:
            self._complete(top)

    def root(self) -> bytes:
        """The hash over all."""
        return root_of(self._nodes())

    def path_of(self, number: int, leaves: Sequence[bytes], index: int) -> Inclusion:
        """The path of a leaf: `index` within block `number`, whose leaf hashes these are."""
        path = [*path_in(leaves, index), *path_in(self._nodes(), number)]
        return Inclusion(number * self.block + index, self.size, path)

    def block_of(self, record_id: str) -> tuple[int, str]:
        """The number of the block that a record is in, if it is in the tree; and the id after which that begins."""
        begins = [block.after for block in self.blocks] + ([self.open_after] if self.open else [])
        number = max(bisect_left(begins, record_id) - 1, 0)
        return number, begins[number] if begins else ""

    def content(self) -> dict[str, Any]:
        """The tree, as JSON values."""
        return {
            "block": self.block,
            "blocks": [[block.hash.hex(), block.after] for block in self.blocks],
            "open": [[leaves, subtree.hex()] for leaves, subtree in self.open],
            "open_after": self.open_after,
            "last_id": self.last_id,
        }

    def take_up(self, content: Any) -> None:
        """Go on from what `content` gave."""
        self.block = content["block"]
        self.blocks = [Block(bytes.fromhex(subtree), after) for subtree, after in content["blocks"]]
        self.open = [(leaves, bytes.fromhex(subtree)) for leaves, subtree in content["open"]]
        self.open_after, self.last_id = content["open_after"], content["last_id"]

    def _complete(self, top: bytes) -> None:
        self.open = []
        self.blocks.append(Block(top, self.open_after))
        if len(self.blocks) == self._max_blocks:
            pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
            self.blocks = [Block(node(left.hash, right.hash), left.after) for left, right in pairs]
            self.block *= 2

    def _nodes(self) -> list[bytes]:
        begun = [_joined([subtree for _, subtree in self.open])] if self.open else []
        return [block.hash for block in self.blocks] + begun


def root_of(nodes: Sequence[bytes]) -> bytes:
    """The root over nodes of one height (the last may be lower)."""
    if not nodes:
        return EMPTY
    if len(nodes) == 1:
        return nodes[0]
    half = _half(len(nodes))
    return node(root_of(nodes[:half]), root_of(nodes[half:]))


def path_in(nodes: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from one of the nodes to the root over them, from the bottom up."""
    if len(nodes) == 1:
        return []
    half = _half(len(nodes))
    if index < half:
        return [*path_in(nodes[:half], index), root_of(nodes[half:])]
    return [*path_in(nodes[half:], index - half), root_of(nodes[:half])]


def root_from(top: bytes, inclusion: Inclusion) -> bytes | None:
    """The root that a leaf's path leads to (RFC 9162, section 2.1.3.2); None for a path that is no such tree's."""
    at, last = inclusion.place, inclusion.size - 1
    if not 0 <= at <= last:
        return None
    for sibling in inclusion.path:
        if last == 0:
            return None
        if at % 2 or at == last:
            top = node(sibling, top)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            top = node(top, sibling)
        at, last = at // 2, last // 2
    return top if last == 0 else None


def _half(count: int) -> int:
    """The largest power of two below."""
    return 1 << (count - 1).bit_length() - 1


def _joined(subtrees: Sequence[bytes]) -> bytes:
    top = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        top = node(left, top)
    return top
