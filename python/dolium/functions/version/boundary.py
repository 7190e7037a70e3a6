"""Which code is followed: that of the program, not that of installed packages, the standard library and dolium.

For a function of an installed package, its own top-level package is followed as well.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Literal

Side = Literal["own", "package", "standard", "dolium"]

OURS = "dolium"
CODE = (FunctionType, BuiltinFunctionType, MethodType)


def _standard() -> tuple[str, ...]:
    """The folders of the standard library, as `sysconfig` would give them, which no two threads may ask at first."""
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefixes = sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix
    paths = {os.path.join(prefix, sys.platlibdir, python) for prefix in prefixes}
    if file := getattr(os, "__file__", None):
        paths.add(os.path.dirname(file))
    both = paths | {os.path.realpath(path) for path in paths}
    return tuple(sorted(path.rstrip(os.sep) + os.sep for path in both))


_STANDARD = _standard()
# Wherever an installer puts packages by default, the folder has one of these names.
_PACKAGES = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"


@cache
def _side_of_file(path: str) -> Side:
    if any(folder in path for folder in _PACKAGES):
        return "package"
    return "standard" if path.startswith(_STANDARD) else "own"


def side_of(name: str | None, path: str | None = None) -> Side:
    """Says which side of the boundary a module is on, by its name and by its file, or one of a code object."""
    top = (name or "").partition(".")[0]
    if top == OURS:
        return "dolium"
    if not path or path.startswith("<"):
        path = getattr(sys.modules.get(name or ""), "__file__", None)
    if path:
        return _side_of_file(path)
    if top == "__main__":
        return "own"  # a session
    module = sys.modules.get(name or "")
    if module is None:
        return "own"  # a namespace that a program made with exec
    places = list(getattr(module, "__path__", ()))  # a package without __init__.py
    if places:
        return _side_of_file(os.path.join(str(places[0]), ""))
    return "standard" if top in sys.stdlib_module_names or getattr(module, "__spec__", None) else "own"


def stable_name(name: str | None, namespace: dict[str, Any] | None = None) -> str:
    """A module's name, where ``__main__``, or ``__mp_main__``, stands for the module or the file that was run."""
    if name not in ("__main__", "__mp_main__"):
        return name or "?"
    main: Any = namespace
    if main is None:
        module = sys.modules.get(name)
        main = {} if module is None else vars(module)
    spec = main.get("__spec__")
    if spec is not None and getattr(spec, "name", None):
        run: str = spec.name
        return run.removesuffix(".__main__")
    path = main.get("__file__")
    return os.path.splitext(os.path.basename(path))[0] if path else "__main__"


class Boundary:
    """The boundary as one function sees it: of what is installed, `home` alone is its own."""

    def __init__(self, name: str | None, path: str | None) -> None:
        self.home = None if side_of(name, path) == "own" else (name or "").partition(".")[0]

    def side(self, name: str | None, path: str | None = None) -> Side:
        side = side_of(name, path)
        return "own" if self.home is not None and (name or "").partition(".")[0] == self.home else side

    def owns(self, name: str | None, path: str | None = None) -> bool:
        return self.side(name, path) == "own"

    def owns_module(self, module: ModuleType) -> bool:
        return self.owns(module.__name__, getattr(module, "__file__", None))

    def side_of_value(self, value: object) -> Side:
        """The side of a function, class or module, or of the type of any other value. dolium's come first."""
        inner = getattr(value, "func", None) if type(value).__name__ == "partial" else None
        for candidate in (value, inner, *type(value).__mro__):
            if candidate is not None and side_of(_home(candidate)) == "dolium":
                return "dolium"
        if isinstance(value, ModuleType):
            return self.side(value.__name__, getattr(value, "__file__", None))
        return self.side(_home(value) or _home(type(value)))


def _home(value: object) -> str | None:
    if isinstance(value, ModuleType):
        return value.__name__
    if not isinstance(value, (type, *CODE)):
        value = type(value)  # an instance may be a proxy that loads something when it is asked
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else None
