"""The core with one deliberate fault in it: a change of its source text, as a diff would show it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import getsource, unwrap
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True)
class Fault:
    """`old`, which the module's source holds exactly once, becomes `new`; that breaks `promise`."""

    name: str
    module: str
    old: str
    new: str
    promise: str


@contextmanager
def faulty(fault: Fault) -> Iterator[None]:
    """The core with this fault. Functions stay the same objects, so whoever imported one has the fault as well."""
    module = import_module(f"gratis.{fault.module}")
    source = getsource(module)
    assert source.count(fault.old) == 1, f"{fault.name}: {source.count(fault.old)} places in {fault.module}"
    codes = _codes(compile(source.replace(fault.old, fault.new), str(module.__file__), "exec"))
    sound = {function: function.__code__ for function in _functions(module, module.__name__)}
    try:
        for function in sound:
            function.__code__ = codes[function.__qualname__]
        yield
    finally:
        for function, code in sound.items():
            function.__code__ = code


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
