"""What makes two runs of a cell the same: its code, and what it reads, each as it was before the cell ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from glob import glob
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from ..functions.fingerprint import fingerprint
from ..functions.key import file_content
from ..functions.version import code
from ..functions.version.subject import kind_of, unwrapped
from .arguments import Arguments
from .cell import Cell, Chain

__all__ = ["Key", "UnidentifiedError", "key_of"]

CODE: Final = (FunctionType, BuiltinFunctionType, MethodType, type, ModuleType)
SPECIAL: Final = frozenset("__name__ __file__ __doc__ __builtins__ __spec__ __package__ __loader__".split())
DEEP: Final = 1000
"""Of a longer container, the first elements say which classes it holds."""


class UnidentifiedError(Exception):
    """A value that the cell reads cannot be told from others."""


class Key:
    """The key of one run, and the fingerprints of the variables that it reads."""

    def __init__(self, digest: str, variables: Mapping[str, str]) -> None:
        self.digest: Final = digest
        self.variables: Final = variables


def key_of(cell: Cell, arguments: Arguments, space: Mapping[str, Any], hidden: Iterable[str]) -> Key:
    """Finds the key of a run of `cell` in the namespace `space`.

    :raises UnidentifiedError: with the name of the variable, and why.
    """
    left_out = {*hidden, *SPECIAL, *arguments.ignore}
    names = sorted({chain[0] for chain in cell.reads} - left_out)
    variables: dict[str, str] = {}
    followed: set[Chain] = set()
    classes: dict[str, type] = {}
    for name in names:
        if name not in space:
            continue
        value = space[name]
        if is_code(value):
            followed.update(chain for chain in cell.reads if chain[0] == name)
            continue
        variables[name] = fingerprint_of(name, value)
        for kind in _own_classes(value, DEEP):
            classes[f"{kind.__module__}.{kind.__qualname__}"] = kind
    parts = (
        cell.digest,
        arguments.version,
        sorted(variables.items()),
        _code_of(followed, space),
        [(name, _digest(classes[name])) for name in sorted(classes)],
        [_file(path) for pattern in arguments.files for path in _matching(pattern)],
    )
    return Key(fingerprint(parts).hex(), variables)


def fingerprint_of(name: str, value: Any) -> str:
    """The fingerprint of a variable.

    :raises UnidentifiedError: if it has none.
    """
    try:
        return fingerprint(value).hex()
    except Exception as error:  # `__fingerprint__` of a class may raise anything
        raise UnidentifiedError(f"the cell reads {name}, and {_first_line(error)}") from error


def is_code(value: Any) -> bool:
    """Says whether a value counts by its code: a function, a class, a module, or what wraps one of these."""
    return isinstance(value, CODE) or unwrapped(value) is not None


def _code_of(chains: set[Chain], space: Mapping[str, Any]) -> str:
    """The digest of all code that is reached from these names, as the version of a function that reads them."""
    if not chains:
        return ""
    lines = "".join(f"    {'.'.join(chain)}\n" for chain in sorted(chains))
    made: dict[str, Any] = {}
    exec(compile(f"def reads():\n{lines}", "<reads of a cell>", "exec"), made)
    return _digest(FunctionType(made["reads"].__code__, dict(space), "reads"))


def _digest(value: Any) -> str:
    try:
        return code(value)
    except TypeError:  # made in C: only its name counts
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _own_classes(value: Any, left: int) -> Iterable[type]:
    """The classes of the notebook of which a value, or an element of a built-in container, is an instance."""
    kind = kind_of(value)
    if kind.__module__ == "__main__":
        yield kind
    elif isinstance(value, (list, tuple, set, frozenset, dict)) and left > 1:
        found: Any = value.values() if isinstance(value, dict) else value  # type: ignore[reportUnknownMemberType]
        for number, element in enumerate(found):
            if number == left:
                break
            yield from _own_classes(element, left // 10)


def _matching(pattern: str) -> list[str]:
    """The files that a pattern like ``data/*.csv`` stands for, in order; anything else is one file."""
    return sorted(glob(pattern, recursive=True)) if any(sign in pattern for sign in "*?[") else [pattern]


def _file(path: str) -> Any:
    try:
        return path, file_content(path)
    except OSError as error:
        raise UnidentifiedError(f"--files {path} cannot be read: {error.strerror}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return text or type(error).__name__
