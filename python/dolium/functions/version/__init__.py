"""The version of a function: a digest of its code and of all own code and constants that it reaches.

:func:`reached` follows a function's names: functions and classes, also by ``module.attribute``, the methods of its
class, and module constants. It leaves out installed packages (:mod:`.boundary`), comments, docstrings, annotations,
layout, and decorators of dolium (:mod:`.syntax`). The digest is the same on every Python from 3.10 to 3.14, if the
source is there; without source the bytecode counts, and differs between them (:mod:`.bytecode`).

What cannot be seen
-------------------

An edit of the following changes no version. Pass ``version=``, or mix :func:`code` into it.

* Methods of arguments: ``def f(model): return model.predict()`` does not name the class of ``model``.
* Names that are made at run time: ``getattr(prep, name)``, ``globals()[name]``, ``eval``, ``importlib``, annotations
  in quotes.
* What another module replaces or changes: ``prep.LIMIT = 3``, ``prep.TABLE.append(x)``, a patched method.
* A change through another name: ``rows = TABLE; rows.append(x)``, or a function that changes its argument.
* Values that are not followed: loggers, clients, counters, containers that a function of their module changes, values
  over 1 MiB. :attr:`Version.unfollowed` lists them.
* Whatever is no code: files, databases, the network, the environment, the time, random state.
* Other packages, the standard library and Python itself.
* In a file that is edited while the program runs: values in the body of a class. Functions are compared with what
  runs, and constants are taken from memory.
* Code that is loaded again after the first call (``importlib.reload``), unless the session is interactive: see
  :meth:`Version.holds`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["STARTED", "Version", "check", "code", "reached"]


def _started() -> float:
    """When this process began, or now where the system does not say. A forked child keeps its parent's answer."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        age = 0.0
    return time.time() - max(age, 0.0)


# A source file that is older than this is what the process has loaded.
STARTED = _started()


@dataclass(frozen=True)
class Version:
    """What a function's result depends on, as far as code goes."""

    digest: str
    """40 hexadecimal digits, the digest of :attr:`parts`."""

    parts: Mapping[str, str]
    """Digests by the qualified name of each function, method, class and constant that was reached."""

    unfollowed: tuple[str, ...] = ()
    """Each name that was not followed, and why: ``"prep.log: is a logging.Logger"``."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What to call each part: ``"helper `clean` in `prep.py`"``."""

    seen: float | None = None
    """When this version was first used, in seconds since 1970. Only the history knows it."""

    watched: tuple[Watched, ...] = field(default=(), repr=False, compare=False)
    """What an interactive session may replace; empty in every other program."""

    def holds(self) -> bool:
        """Says whether everything that was followed is still what its name stands for.

        A notebook runs a cell again and so replaces a helper or a constant; autoreload exchanges a function's code.
        Elsewhere, :attr:`watched` is empty and the answer always yes.
        """
        return all(watched.holds() for watched in self.watched)


class Watched:
    """A name in a namespace, or a function's code, and what it stood for."""

    __slots__ = ("key", "namespace", "value")

    def __init__(self, namespace: Any, key: str, value: object) -> None:
        self.namespace = namespace
        self.key = key
        self.value = value

    def holds(self) -> bool:
        namespace = self.namespace
        if isinstance(namespace, dict):
            return namespace.get(self.key, self) is self.value  # type: ignore[reportUnknownMemberType]
        return getattr(namespace, self.key, self) is self.value


def reached(function: Any, /) -> Version:
    """Returns the version of `function`, found at the first call and kept as long as the function and its code are.

    Threads that ask together find it once. `function` is a function, method, partial or class, or an object that has
    one of these in ``__wrapped__``.

    :raises TypeError: if there is no Python code to follow.
    """
    from .reach import version_of

    return version_of(function)


def check(function: Any, /) -> None:
    """Raises TypeError if `function` has no Python code to follow. It reads no source, and is cheap."""
    from .subject import subject

    subject(function)


def code(function: Any, /) -> str:
    """Returns the digest of a function's code and of all own code and constants that it reaches.

    Use it to mix code into a version of your own: ``version=f"prompt-3 {dolium.code(parse)}"``.

    :raises TypeError: if there is no Python code to follow.
    """
    return reached(function).digest
