"""What a cell has computed, in the cache beside the notebook."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from ..core import Cache
from ..errors import UnstoredResultWarning
from .outputs import Output

__all__ = ["Kept", "Store", "default_directory", "unstorable"]

FORMAT = "1"
"""Of :class:`Kept`. A result of another format is a miss."""


class Kept(NamedTuple):
    """The effect of a cell."""

    names: dict[str, Any]
    """The variables that it bound or changed."""
    modules: dict[str, str]
    """Names that stand for modules."""
    deleted: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]
    """Other names of a variable that was changed in place."""
    outputs: list[Output]
    result: Any
    has_result: bool
    """Whether the value of the last expression was kept."""
    seconds: float
    """How long the cell ran."""
    since: float
    """When it ended, in seconds since 1970."""


class Store:
    """The results of cells in one directory."""

    def __init__(self, directory: str) -> None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        self.directory = str(folder)
        self.cache = Cache(self.directory)

    def find(self, name: str, digest: str) -> bool:
        """Says whether there is a result, without reading it."""
        return self._function(name).key(digest) in self.cache

    def read(self, name: str, digest: str) -> Kept | None:
        """The result; None if there is none that can be read."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnstoredResultWarning)
            entry = self._function(name).entry(digest)
        return entry.value if entry is not None and isinstance(entry.value, Kept) else None

    def keep(self, name: str, digest: str, kept: Kept, expire: float | None) -> bool:
        """Keeps a result; false if it could not be stored."""
        function = self._function(name, expire)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnstoredResultWarning)
            function.invalidate(digest)
            function.refresh(digest, kept)
        return function.key(digest) in self.cache

    def close(self) -> None:
        self.cache.close()

    def _function(self, name: str, expire: float | None = None) -> Any:
        """A cached function of the digest of a cell, which returns what is to keep."""
        cached: Any = self.cache.cached
        return cached(
            _cell, key={"kept": None}, name=f"%%cached {name}".strip(), version=FORMAT, expire=expire
        )


def _cell(digest: str, kept: Kept | None = None) -> Kept | None:
    """What a cell comes to: it has run before this is called."""
    return kept


def default_directory() -> str:
    """The folder ``.dolium`` beside the notebook: where the kernel was started, as Jupyter does beside the notebook."""
    return os.path.join(os.getcwd(), ".dolium")


def unstorable(values: dict[str, Any]) -> str:
    """Says which of several values cannot be stored, and why."""
    for name, value in values.items():
        try:
            pickle.dumps(value, protocol=5, buffer_callback=lambda _: None)
        except Exception as error:
            return f"{name} cannot be pickled: {str(error) or type(error).__name__}"
    return "the cache could not store what it computed"
