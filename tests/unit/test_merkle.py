"""The Merkle tree of a day: as RFC 6962 defines it, whatever its blocks; and the paths in it."""

import hashlib
import json
from collections.abc import Sequence

import pytest

from gratis.closing.merkle import Inclusion, MerkleTree, leaf, root_from


def defined(leaves: Sequence[bytes]) -> bytes:
    """The tree hash, word for word as the RFC has it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


def named(count: int) -> list[str]:
    return [f"req_{number:04}" for number in range(count)]


def tree_of(names: Sequence[str], block: int, max_blocks: int) -> MerkleTree:
    tree = MerkleTree(block, max_blocks)
    for name in names:
        tree.add(name, name.encode())
    return tree


SIZES = [*range(20), 31, 32, 33, 63, 64, 65, 100, 129]
BLOCKS = pytest.mark.parametrize(("block", "max_blocks"), [(1, 4), (2, 4), (4, 8), (16, 512)])


@BLOCKS
@pytest.mark.parametrize("size", SIZES)
def test_the_root_is_that_of_the_rfc(size: int, block: int, max_blocks: int) -> None:
    tree = tree_of(named(size), block, max_blocks)
    assert (tree.root(), tree.size) == (defined([name.encode() for name in named(size)]), size)
    assert len(tree.blocks) < max_blocks


@BLOCKS
@pytest.mark.parametrize("size", SIZES)
def test_each_record_has_a_path_to_the_root_and_no_other_has(size: int, block: int, max_blocks: int) -> None:
    names = named(size)
    tree = tree_of(names, block, max_blocks)
    for index, name in enumerate(names):
        number, after = tree.block_of(name)
        first = names.index(after) + 1 if after else 0
        leaves = [leaf(each.encode()) for each in names[first : first + tree.block]]
        inclusion = tree.path_of(number, leaves, index - first)
        assert (inclusion.place, inclusion.size) == (index, size)
        assert root_from(leaf(name.encode()), inclusion) == tree.root()
        assert root_from(leaf(b"another"), inclusion) != tree.root()
        for wrong in (index - 1, index + 1, size, -1):
            assert root_from(leaf(name.encode()), inclusion._replace(place=wrong)) != tree.root()


@pytest.mark.parametrize("path", [[], [bytes(32)], [bytes(32)] * 3], ids=len)
def test_a_path_of_another_length_leads_nowhere(path: list[bytes]) -> None:
    assert root_from(bytes(32), Inclusion(5, 6, path)) is None


@pytest.mark.parametrize("put_down", [0, 1, 3, 16, 31, 64])
def test_it_is_put_down_and_taken_up_after_any_record(put_down: int) -> None:
    names = named(70)
    before = tree_of(names[:put_down], 4, 8)
    after = MerkleTree(4, 8)
    after.take_up(json.loads(json.dumps(before.content())))
    for name in names[put_down:]:
        after.add(name, name.encode())
    assert after.content() == tree_of(names, 4, 8).content()
