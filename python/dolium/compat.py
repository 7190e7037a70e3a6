"""Makes dolium importable as ``diskcache``, for code that you cannot change, or not yet.

Nothing else in the package knows that other name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module, machinery
from types import ModuleType
from typing import Any, cast

_MODULES = ("core", "fanout", "persistent", "recipes")


class _Finder:
    """Finds and loads ``diskcache.djangocache`` only on request, because it needs Django."""

    _own_spec: machinery.ModuleSpec | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> machinery.ModuleSpec | None:
        if fullname != "diskcache.djangocache":
            return None
        return machinery.ModuleSpec(fullname, cast("Any", self))

    def create_module(self, spec: machinery.ModuleSpec) -> ModuleType:
        module = import_module("dolium.djangocache")
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It is executed already, and stays the module that it is.
        module.__spec__ = self._own_spec
        module.__loader__ = self._own_spec and self._own_spec.loader


def install_as_diskcache() -> None:
    """Make ``import diskcache`` import dolium from now on in this process, with all that it contains.

    Call it before anything imports diskcache. Names like ``'diskcache.DjangoCache'`` in settings,
    ``isinstance(cache, diskcache.Cache)`` and pickles that name classes of diskcache work then too.

    >>> import dolium
    >>> dolium.install_as_diskcache()
    >>> import diskcache
    >>> diskcache.Cache is dolium.Cache
    True

    Raises:
        RuntimeError: The real diskcache is imported already.
    """
    dolium = sys.modules["dolium"]
    present = sys.modules.get("diskcache")
    if present is dolium:
        return
    if present is not None:
        raise RuntimeError("diskcache is imported already; call dolium.install_as_diskcache() before that")
    for name in _MODULES:
        sys.modules[f"diskcache.{name}"] = import_module(f"dolium.{name}")
    sys.modules["diskcache"] = dolium
    sys.meta_path.insert(0, _Finder())
