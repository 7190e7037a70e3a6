"""What a function or class is made of: the facts of its syntax, or of its bytecode, and what to call it."""

from __future__ import annotations

import ast
import builtins
import os
import sys
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from .boundary import Boundary, stable_name
from .bytecode import facts_of_code
from .identity import ByIdentity
from .source import find_class, find_function, is_cell
from .subject import NOTHING, attribute, unwrapped
from .syntax import Facts, Origin, chain_of, digest_of, facts_of

# Decorators of dolium that are known by name, where the cache is a local variable that nothing keeps.
DECORATORS = frozenset("cached memoize memoize_stampede throttle barrier".split())


class Definition(NamedTuple):
    """A function, or a class with its methods. A method is defined by its class."""

    facts: Facts
    is_class: bool
    module: str
    path: str
    """The qualified name in the module."""
    file: str
    """The file as a label calls it."""

    @property
    def name(self) -> str:
        return f"{self.module}.{self.path}"


_definitions: ByIdentity[tuple[CodeType | None, Definition]] = ByIdentity()


def definition_of(value: FunctionType | type, home: Boundary) -> Definition:
    """Finds what defines a function or class, and keeps it as long as the value lives and has the same code."""
    code = value.__code__ if isinstance(value, FunctionType) else None
    known = _definitions.get(value)
    if known is not None and known[0] is code:
        return known[1]
    made = _function(value, home) if isinstance(value, FunctionType) else _class(value, home)
    _definitions.put(value, (code, made))
    return made


def _function(function: FunctionType, home: Boundary) -> Definition:
    code, space = function.__code__, function.__globals__
    module, file = stable_name(space.get("__name__"), space), _file(code.co_filename)
    found = find_function(function)
    if found is None:
        return Definition(facts_of_code(code), False, module, function.__qualname__, file)
    _, place = found
    cells = cells_of(function)
    try:
        facts = facts_of(
            place.owner or place.node, lambda expression: _origin(expression, space, cells, home)
        )
    except RecursionError:
        return Definition(facts_of_code(code), False, module, function.__qualname__, file)
    path = place.path.rpartition(".")[0] if place.owner else place.path
    return Definition(facts, place.owner is not None, module, path, file)


def _class(kind: type, home: Boundary) -> Definition:
    space, methods = namespace_of(kind), methods_of(kind)
    module = stable_name(kind.__module__, space)
    found = find_class(kind, methods, space)
    if found is not None:
        facts = facts_of(found[1].node, lambda expression: _origin(expression, space, {}, home))
        return Definition(facts, True, module, kind.__qualname__, _file(found[0].name))
    facts = facts_of_code(
        *(method.__code__ for method in sorted(methods, key=lambda method: method.__qualname__))
    )
    names = sorted(name for name in list(vars(kind)) if not name.startswith("__"))
    piece = facts.pieces[0]._replace(digest=digest_of(facts.pieces[0].digest, *names))
    return Definition(facts._replace(pieces=(piece,)), True, module, kind.__qualname__, f"`{module}`")


def _origin(expression: ast.expr, space: dict[str, Any], cells: dict[str, Any], home: Boundary) -> Origin:
    """Says whose a decorator or base class is. The names are looked up, and nothing is called."""
    node: ast.AST = expression
    last = ""
    while (chain := chain_of(node)) is None:
        if isinstance(node, ast.Attribute):
            last, node = last or node.attr, node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            return "other"
    value: Any = cells.get(chain[0], space.get(chain[0], getattr(builtins, chain[0], NOTHING)))
    for name in (*chain[1:], None):
        if value is NOTHING or (name is None and last and home.side_of_value(value) != "dolium"):
            # The cache is a local variable that nothing keeps, or a call gives it.
            return "dolium" if (last or chain[-1]) in DECORATORS else "other"
        side = home.side_of_value(value)
        if side == "dolium" or name is None:
            return side if side in ("dolium", "package") else "other"
        value = attribute(value, name)
    return "other"


def called(value: Any) -> str:
    """Module and qualified name of a function or class, or of what is in a wrapper."""
    if isinstance(value, (FunctionType, type, MethodType)) and isinstance(value.__qualname__, str):  # type: ignore[reportUnnecessaryIsInstance]
        space = value.__globals__ if isinstance(value, FunctionType) else None
        return f"{stable_name(value.__module__, space)}.{value.__qualname__}"
    inner = unwrapped(value)
    return "" if inner is None else called(inner)


def _file(path: str) -> str:
    """What a label calls a file."""
    return f"`{os.path.basename(path)}`" if not is_cell(path) else "a cell"


def cells_of(function: FunctionType) -> dict[str, Any]:
    """The values of the free variables."""
    cells: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    return cells


def namespace_of(kind: type) -> dict[str, Any]:
    """The globals that the methods of a class see."""
    for method in methods_of(kind):
        return method.__globals__
    module = sys.modules.get(kind.__module__)
    return {} if module is None else vars(module)


def methods_of(kind: type) -> list[FunctionType]:
    """The functions that stand in the body of a class. What a decorator or a dataclass made stands elsewhere."""
    path = getattr(sys.modules.get(kind.__module__), "__file__", None)
    found: list[FunctionType] = []
    for value in list(vars(kind).values()):  # another thread may set an attribute
        for outer in (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,):
            inner: Any = outer
            while inner is not None and not isinstance(inner, type):
                if isinstance(inner, FunctionType) and _stands_in(inner, kind, path):
                    found.append(inner)
                    break
                inner = unwrapped(inner)
    return found


def _stands_in(function: FunctionType, kind: type, path: str | None) -> bool:
    file = function.__code__.co_filename
    here = file == path if path else file != "<string>"
    return here and function.__qualname__ == f"{kind.__qualname__}.{function.__name__}"
