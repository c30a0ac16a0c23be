"""The core with one deliberate fault in it.

A fault is put in at a seam wherever there is one: a release whose client lies, or whose ledger forgets. What has no
seam is changed by its form: an expression or a few statements, found anywhere in the package, written as Python in
which a name that begins with `some_` stands for any expression and `...` for any statements. So a fault survives that
code moves, is laid out anew, or calls its variables otherwise; it must be found exactly once.
"""

import ast
import copy
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from inspect import getsource, unwrap
from types import CodeType, FunctionType, ModuleType
from typing import Any

import gratis
from gratis_simulation.broken import Broken
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.release import THIS, Release
from gratis_simulation.machines.run import Run
from gratis_simulation.play import judged
from gratis_simulation.worlds.world import build


@dataclass(frozen=True)
class Fault:
    """What breaks `promise`. `changes`: forms, and what is written instead; `alone`: the check that only finds it.

    `rare`: few worlds show it; it is looked for by `make nightly`.
    `only`: the worlds that only find it, by their intake.
    """

    name: str
    promise: str
    changes: tuple[tuple[str, str], ...] = ()
    release: Release = THIS
    alone: str | None = None
    rare: bool = False
    only: str | None = None

    def findings(self, seed: int) -> list[Broken]:
        """What the world of this seed shows. Only in place."""
        return list(judged(Run(build(seed), Dice(seed), release=self.release)))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The core with this fault. Functions stay the same objects, so whoever imported one has the fault as well."""
        sound: dict[FunctionType, CodeType] = {}
        try:
            for module, tree in _changed(self.changes):
                codes = _codes(compile(ast.fix_missing_locations(tree), str(module.__file__), "exec"))
                for function in _functions(module, module.__name__):
                    sound[function] = function.__code__
                    function.__code__ = codes[function.__qualname__]
            yield
        finally:
            for function, code in sound.items():
                function.__code__ = code


# Clients that lie ---------------------------------------------------------------------------------------------------


class _Lying:
    def __init__(self, client: Any, lies: dict[str, Callable[..., Any]]) -> None:
        self._client = client
        self._lies = lies

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        return partial(self._lies[name], real) if name in self._lies else real


def lying(**lies: Callable[..., Any]) -> Callable[[Any], Any]:
    """Puts a client between: each lie is called with the real operation and the request, and answers for it."""
    return lambda client: _Lying(client, lies)


# Forms --------------------------------------------------------------------------------------------------------------

Bound = dict[str, Any]
Path = tuple[tuple[str, int | None], ...]
"""From a tree to a place in it: names of fields, and where that is a list, which of them."""


def _changed(changes: Sequence[tuple[str, str]]) -> list[tuple[ModuleType, ast.Module]]:
    """The modules that the changes are in, changed."""
    trees: dict[ModuleType, ast.Module] = {}
    for form, instead in changes:
        wanted = _parsed(form)
        found = [(module, place) for module, tree in _package().items() for place in _places(wanted, tree)]
        if len(found) != 1:
            modules = sorted(module.__name__ for module, _ in found)
            raise LookupError(f"{len(found)} places in {modules} look like {form!r}")
        [(module, (path, bound))] = found
        tree = trees.setdefault(module, copy.deepcopy(_package()[module]))
        _replace(tree, path, _filled(_parsed(instead), bound), len(wanted))
    return list(trees.items())


@cache
def _package() -> dict[ModuleType, ast.Module]:
    names = [each.name for each in pkgutil.walk_packages(gratis.__path__, "gratis.")]
    return {module: ast.parse(getsource(module)) for module in map(import_module, names)}


def _parsed(form: str) -> list[ast.AST]:
    """Statements; an expression alone is meant as one."""
    statements: list[Any] = ast.parse(form.strip()).body
    return [each.value for each in statements] if isinstance(statements[0], ast.Expr) else statements


def _places(wanted: list[ast.AST], tree: ast.AST, path: Path = ()) -> Iterator[tuple[Path, Bound]]:
    """Where in the tree the form is: the way there, and what its names stand for."""
    for name, value in ast.iter_fields(tree):
        for number, node in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(node, ast.AST):
                continue
            here = (*path, (name, number if isinstance(value, list) else None))
            row = value[number : number + len(wanted)] if isinstance(value, list) else [node]
            bound: Bound = {}
            if len(row) == len(wanted) and all(_fits(*pair, bound) for pair in zip(wanted, row, strict=True)):
                yield here, bound
            yield from _places(wanted, node, here)


def _fits(wanted: Any, found: Any, bound: Bound) -> bool:
    if isinstance(wanted, ast.Name) and wanted.id.startswith("some_"):
        known = bound.setdefault(wanted.id, found)
        return isinstance(found, ast.expr) and _same(known, found)
    if isinstance(wanted, list):
        return isinstance(found, list) and _all_fit(wanted, found, bound)
    if not isinstance(wanted, ast.AST):
        return bool(wanted == found)
    fields = (name for name in wanted._fields if name not in {"ctx", "type_comment"})
    return type(wanted) is type(found) and all(
        _fits(getattr(wanted, name), getattr(found, name), bound) for name in fields
    )


def _all_fit(wanted: list[Any], found: list[Any], bound: Bound) -> bool:
    if wanted and _is_rest(wanted[-1]):
        bound["..."] = found[len(wanted) - 1 :]
        wanted, found = wanted[:-1], found[: len(wanted) - 1]
    return len(wanted) == len(found) and all(_fits(*pair, bound) for pair in zip(wanted, found, strict=True))


def _is_rest(statement: Any) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement) == "..."


def _same(one: ast.AST, other: ast.AST) -> bool:
    return ast.unparse(one) == ast.unparse(other)


class _Filling(ast.NodeTransformer):
    def __init__(self, bound: Bound) -> None:
        self._bound = bound

    def visit_Name(self, name: ast.Name) -> Any:
        if name.id not in self._bound:
            return name
        filled = copy.deepcopy(self._bound[name.id])
        if hasattr(filled, "ctx"):
            filled.ctx = name.ctx
        return filled

    def visit_Expr(self, statement: ast.Expr) -> Any:
        return copy.deepcopy(self._bound["..."]) if _is_rest(statement) else self.generic_visit(statement)


def _filled(instead: list[ast.AST], bound: Bound) -> list[Any]:
    return [_Filling(bound).visit(each) for each in instead]


def _replace(tree: ast.AST, path: Path, instead: list[Any], length: int) -> None:
    *way, (name, number) = path
    node: Any = tree
    for field, place in way:
        node = getattr(node, field) if place is None else getattr(node, field)[place]
    if number is None:
        [alone] = instead
        setattr(node, name, alone)
    else:
        getattr(node, name)[number : number + length] = instead


# Functions ----------------------------------------------------------------------------------------------------------


def _codes(code: CodeType) -> dict[str, CodeType]:
    """Every code object within this one, by its qualified name."""
    found = {code.co_qualname: code}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= _codes(inner)
    return found


def _functions(owner: Any, module: str) -> Iterator[FunctionType]:
    """The functions of a module, or the methods of a class, that are written out in its source."""
    for member in list(vars(owner).values()):  # to look at a model that is not built yet builds it
        wrapped = (getattr(member, name, None) for name in ("fget", "func", "__func__"))
        found = unwrap(next(filter(None, wrapped), member))
        if isinstance(found, FunctionType) and found.__module__ == module:
            if "<" not in found.__code__.co_filename and found.__name__ != "<lambda>":
                yield found
        elif isinstance(found, type) and found.__module__ == module and owner is not found:
            yield from _functions(found, module)
