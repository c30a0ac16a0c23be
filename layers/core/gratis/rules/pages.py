"""How a day's totals of one group are spread over pages. Pure.

The day's document is the first page. A page that holds more than `MAX_PAGE_ROWS` rows is split by the next bit of the
hash of its rows' names, so the pages are the leaves of a binary tree. A leaf is named by the bits that lead to it. So
a row's page follows from its name and the leaves alone, and a commit touches no page but those of its rows.

A verdict is no part of the name: the page of a request is known before it is decided.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from json import dumps
from typing import NamedTuple, get_args

from gratis.rules.receipt import Verdict
from gratis.rules.request import Request
from gratis.rules.totals import OTHER, RowKey, Sums, Totals

MAX_PAGE_ROWS = 16
"""So that a page, and mostly a document too, stays below 1 KB, which is one write unit. With
16 rows of long context, whose tokens stand apart, it can be two."""
MAX_BITS = 64
"""Of a hash. A page of rows that agree in all of them is not split."""
Name = tuple[str | None, str, str, bool]
"""Project, model, service tier, batch."""
Rows = Mapping[RowKey, Sums]
Leaves = frozenset[str]
UNSPLIT: Leaves = frozenset([""])
"""The document is the only page."""


def name_of(request: Request) -> Name:
    """What names the rows in which a request can be counted."""
    return request.project, request.model, request.service_tier, request.batch


class Page(NamedTuple):
    """A page as it is stored beside its document. `version`: the document's, when the page was written."""

    version: int
    totals: Totals


def leaf_of(leaves: Leaves, name: Name) -> str:
    """The leaf that a row belongs to."""
    if leaves == UNSPLIT:
        return ""
    bits = _bits(*name)
    return next(bits[:depth] for depth in range(MAX_BITS + 1) if bits[:depth] in leaves)


def first_leaf(leaves: Leaves) -> str:
    """The leaf whose page is the document: all its bits are 0."""
    return next(leaf for leaf in leaves if "1" not in leaf)


def number(leaf: str) -> str:
    """What the page of a leaf is called. It stays when the leaf is split: the lower half keeps the page."""
    return leaf.rstrip("0")


def spread(rows: Rows, leaves: Leaves, read: Collection[str]) -> dict[str, dict[RowKey, Sums]]:
    """The rows by leaf. Those of pages that were not read stay in the document."""
    first = first_leaf(leaves)
    spread: dict[str, dict[RowKey, Sums]] = {leaf: {} for leaf in (first, *read)}
    for key, sums in rows.items():
        leaf = leaf_of(leaves, key[:4])
        spread[leaf if leaf in spread else first][key] = sums
    return spread


def is_split(leaf: str, rows: Collection[RowKey], max_rows: int) -> bool:
    """Whether a page is split when it is written.

    A day that has an `(other)` row stays as the first release began it: what is in that row has no name any more, and
    a name is to be wholly in it or not at all.
    """
    return len(rows) > max_rows and len(leaf) < MAX_BITS and not any(key.model == OTHER for key in rows)


def halves(leaf: str, rows: Rows) -> dict[str, dict[RowKey, Sums]]:
    """The two pages that come of one. What does not belong to it stays in the lower half."""
    lower: dict[RowKey, Sums] = {}
    upper: dict[RowKey, Sums] = {}
    for key, sums in rows.items():
        (upper if _bits(*key[:4]).startswith(f"{leaf}1") else lower)[key] = sums
    return {f"{leaf}0": lower, f"{leaf}1": upper}


class Touched:
    """Counts how many pages a commit writes at most beside the document, name by name, before anything is decided.

    `rows`: of the pages that were read (`read`), which are those of all names that will be added. A page to which the
    document gives rows back, as it holds them since the first release wrote it, is written whatever is added.
    """

    def __init__(self, rows: Rows, leaves: Leaves, read: Mapping[str, Page], max_rows: int) -> None:
        by_leaf = spread(rows, leaves, read.keys())
        given_back = {leaf for leaf, page in read.items() if by_leaf[leaf] != page.totals.rows}
        self.leaves = leaves
        self.max_rows = max_rows
        self.held: dict[str, set[RowKey]] = {leaf: set(each) for leaf, each in by_leaf.items()}
        self.touched = {first_leaf(leaves), *given_back}

    def add(self, name: Name) -> None:
        """Count a request of this name too."""
        leaf = leaf_of(self.leaves, name)
        self.touched.add(leaf)
        self.held.setdefault(leaf, set()).update(RowKey(*name, verdict) for verdict in get_args(Verdict))

    def most(self) -> int:
        """The pages of all names so far; one that may become too full comes apart into two."""
        return sum(("1" in leaf) + (len(self.held[leaf]) > self.max_rows) for leaf in self.touched)


def packed(leaves: Leaves) -> bytes:
    """Two bits a leaf: the tree from its root, 1 for a page that was split and 0 for a leaf, behind a leading 1."""

    def bits(path: str) -> str:
        return "0" if path in leaves else f"1{bits(f'{path}0')}{bits(f'{path}1')}"

    tree = f"1{bits('')}"
    return int(tree, 2).to_bytes((len(tree) + 7) // 8)


def unpacked(tree: bytes) -> Leaves:
    """What `packed` packed."""
    bits = iter(f"{int.from_bytes(tree):b}"[1:])

    def leaves(path: str) -> Iterable[str]:
        if next(bits) == "0":
            yield path
        else:
            yield from leaves(f"{path}0")
            yield from leaves(f"{path}1")

    return frozenset(leaves(""))


def with_first(beside: Collection[str]) -> Leaves:
    """All leaves, from those of the pages beside a document that does not name them."""
    depth = max((leaf.index("1") + 1 for leaf in beside), default=0)
    return frozenset(["0" * depth, *beside])


def added_up(parts: Iterable[Rows]) -> Totals:
    """The sums of all pages. A row may be in two of them, where the first release wrote the document last."""
    whole = Totals()
    for rows in parts:
        for key, sums in rows.items():
            whole.rows[key] = whole.rows[key].plus(sums) if key in whole.rows else sums
    return whole


@lru_cache(maxsize=4096)
def _bits(project: str | None, model: str, service_tier: str, batch: bool) -> str:
    digest = sha256(dumps([project, model, service_tier, batch]).encode()).digest()
    return f"{int.from_bytes(digest[: MAX_BITS // 8]):0{MAX_BITS}b}"
