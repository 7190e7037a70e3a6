"""The key under which the result of a call is kept, and what may stand for a file in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from .._dolium import _file_digest, stored_key  # pyright: ignore[reportPrivateUsage]
from .fingerprint import type_of

__all__ = ["file_content", "file_stamp", "function_name", "module_name", "stored_key"]

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def module_name(name: str) -> str:
    """The name of a module; for ``__main__`` that of the module or file that was run, as an import would name it.

    A session without a file remains ``__main__``. In a process that multiprocessing has spawned, the module or file
    is called ``__mp_main__``.
    """
    if name not in ("__main__", "__mp_main__"):
        return name
    main = sys.modules.get(name)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return spec.name
    file = getattr(main, "__file__", None)
    if not isinstance(file, str):
        return name
    return os.path.splitext(os.path.basename(file))[0]


def function_name(function: Callable[..., Any]) -> str:
    """The name that begins the keys of a function.

    >>> from textwrap import TextWrapper
    >>> function_name(TextWrapper.wrap)
    'textwrap.TextWrapper.wrap()'
    """
    inner: Any = function
    while not hasattr(inner, "__qualname__"):
        inner = getattr(inner, "func", None) or type_of(inner)  # of a partial; else an object that is called
    return f"{module_name(inner.__module__)}.{inner.__qualname__}()"


def file_content(path: Path | None) -> object:
    """What stands for the contents of a file, in a rule: ``key={"path": file_content}``.

    Files of equal contents count as one, whatever they are called. Where there is no file, its path counts.

    Raises:
        OSError: the file cannot be read.
    """
    if path is None:
        return None
    try:
        return _file_digest(os.fsdecode(path))
    except (FileNotFoundError, NotADirectoryError):
        return os.path.abspath(os.fsdecode(path))


def file_stamp(path: Path | None) -> object:
    """What stands for a file without reading it, in a rule: its path, inode, size and time of modification.

    A file that is replaced or written counts as another one, even if its contents are the same. Where there is no file,
    its path counts.

    Raises:
        OSError: the file cannot be looked up.
    """
    if path is None:
        return None
    name = os.path.abspath(os.fsdecode(path))
    try:
        found = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return name
    return name, found.st_ino, found.st_size, found.st_mtime_ns
