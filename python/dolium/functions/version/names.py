"""Where the names of a module come from: imports, also those inside functions, and the module that has a constant."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from .boundary import Boundary
from .source import Source, is_cell, source
from .subject import NOTHING
from .syntax import Import

Namespace = dict[str, Any]


class Binding(NamedTuple):
    """A name of a module."""

    space: Namespace
    name: str


def absolute(what: Import, space: Namespace) -> str | None:
    """The full name of the module in an import."""
    if not what.level:
        return what.module
    package = space.get("__package__") or str(space.get("__name__", "")).rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * what.level + what.module, package)
    except ImportError:
        return None


def imported(what: Import, space: Namespace, home: Boundary) -> Any:
    """What a function's own import gives, or NOTHING for a package that is not followed.

    An own module is imported, as the function would do.

    :raises Exception: whatever the import raises.
    """
    name = absolute(what, space)
    if name is None or not _owns(name, home):
        return NOTHING
    module = importlib.import_module(name)
    if what.attribute is None:
        return module
    if what.attribute not in vars(module):
        return importlib.import_module(f"{name}.{what.attribute}")
    return vars(module)[what.attribute]


def _owns(name: str, home: Boundary) -> bool:
    """Like `home.owns`, for a module that may not be loaded. Only own modules are loaded to find it out."""
    if name in sys.modules:
        return home.owns(name)
    top = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    path = spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or ()), None)
    return path is not None and home.owns(name, path)


def defined(place: Binding, home: Boundary) -> Binding | None:
    """The module that a constant was imported from, and its name there, or None if that is not followed."""
    space, name = place
    value = space[name]
    for _ in range(20):  # modules may import from each other in a circle
        step = _step(space, name)
        module = None if step is None else sys.modules.get(step[0])
        if step is None or module is None or vars(module).get(step[1], NOTHING) is not value:
            return Binding(space, name)
        if not home.owns_module(module):
            return None
        space, name = vars(module), step[1]
    return Binding(space, name)


def _step(space: Namespace, name: str) -> tuple[str, str] | None:
    """The module from which a module imports a name, and its name there."""
    origin = source_of(space)
    try:
        imports = [] if origin is None else origin.imports()
    except (SyntaxError, ValueError, RecursionError):
        return None
    for bound, what in imports:
        target = absolute(what, space)
        if target is None:
            continue
        if bound == name and what.attribute is not None:
            return target, what.attribute
        if bound == "*" and target in sys.modules and name in vars(sys.modules[target]):
            return target, name
    return None


def source_of(space: Namespace) -> Source | None:
    """The source of the module with these globals."""
    path = space.get("__file__")
    return source(path, space) if isinstance(path, str) else None


def sources_of(space: Namespace) -> Iterator[Source]:
    """The source of a module, or all cells of a session."""
    if "__file__" in space:
        origin = source_of(space)
        if origin is not None:
            yield origin
        return
    for name in list(linecache.cache):
        if is_cell(name) and (origin := source(name)) is not None:
            yield origin
