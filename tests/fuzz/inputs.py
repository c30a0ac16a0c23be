"""Hostile inputs: the corpus, and what hypothesis makes of it by flipping, splicing, cutting and replacing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gratis.strict_json import parse_json

CORPUS = Path(__file__).parent / "corpus"
TOKENS = [
    *(b"null true false 0 -0 -1 1.0 1e400 -1e400 NaN Infinity 18446744073709551616 1000000000001".split()),
    *(b'"" "\\ud800" "\\u0000" {} [] {"a":{"a":{}}} [[[[]]]] "#" "a#b" "__proto__"'.split()),
    *(b'"0001-01-01T00:00:00+23:59" "9999-12-31T23:59:59-23:59" "2025-03-11T24:00:00Z"'.split()),
    b"1" * 5000,
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b"\xed\xa0\x80",
    "\u0662\u202e\U0001f389".encode(),
    b"%00",
    b"%2e%2e%2f",
    b"&",
    b"\r\n",
]
"""What parsers, numbers, dates, texts and keys have failed on before, elsewhere."""
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ODD = st.sampled_from([json.loads(token) for token in TOKENS[:5]]) | st.sampled_from(
    [2**64, -(2**63), 10**13, 10**40, 1e22, 5e-324, 1.0, "\x00", "a#b", "#", "__proto__", "\u202e", "\u0662", "x" * 300]
)
JSON = st.recursive(
    SCALARS | ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)


def kept(target: str) -> dict[str, bytes]:
    """The corpus of a target, by name."""
    return {file.name: file.read_bytes() for file in sorted((CORPUS / target).iterdir())}


def hostile(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Mutations of the seeds; now and then any JSON, and any bytes."""
    text = JSON.map(lambda value: json.dumps(value).encode())
    return st.one_of(mutated(seeds), mutated(seeds), mutated(seeds), text, st.binary(max_size=300))


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed in up to four places: as bytes or, if it is JSON, at a place of its structure."""
    seed = draw(st.sampled_from(seeds))
    if draw(st.booleans()):
        return draw(_restructured(seed))
    for _ in range(draw(st.integers(0, 4))):
        seed = draw(_changed(seed, seeds))
    return seed


@st.composite
def _changed(draw: st.DrawFn, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([1, 8, 200])))))
    match draw(st.sampled_from(["flip", "cut", "end", "repeat", "token", "bytes", "splice"])):
        case "flip":
            between, end = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[start : start + 1]), start + 1
        case "cut":
            between = b""
        case "end":
            between, end = b"", len(data)
        case "repeat":
            between = data[start:end] * draw(st.sampled_from([2, 3, 50]))
        case "token":
            between = draw(st.sampled_from(TOKENS))
        case "bytes":
            between = draw(st.binary(max_size=8))
        case _:
            other = draw(st.sampled_from(seeds))
            between, end = other[draw(st.integers(0, len(other))) :], len(data)
    return data[:start] + between + data[end:]


@st.composite
def _restructured(draw: st.DrawFn, data: bytes) -> bytes:
    """The same JSON with anything at one to three of its places; bytes that are none stay as they are."""
    try:
        value = parse_json(data)
    except ValueError:
        return data
    for _ in range(draw(st.integers(1, 3))):
        value = draw(_with_anything_inside(value))
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def _with_anything_inside(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one of its parts, however deep, replaced, removed, or doubled under another name."""
    if not isinstance(value, list | dict) or not value or draw(st.integers(0, 9)) == 0:
        return draw(JSON | ODD)
    if isinstance(value, list):
        place = draw(st.integers(0, min(len(value), 50) - 1))
        return [*value[:place], draw(_with_anything_inside(value[place])), *value[place + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    rest = {key: each for key, each in value.items() if key != name}
    match draw(st.sampled_from(["inside", "inside", "removed", "doubled"])):
        case "removed":
            return rest
        case "doubled":
            return value | {draw(st.text(max_size=5)): value[name]}
        case _:
            return rest | {name: draw(_with_anything_inside(value[name]))}
