"""Loading pickles that dolium did not write: plain data, and nothing else.

A pickle is a program. :func:`loads` runs only programs whose every step builds plain data: None,
booleans, numbers, text, bytes, the built-in containers, those of :mod:`collections`, dates and
times, :mod:`decimal`, :mod:`fractions`, :mod:`uuid`, :mod:`pathlib`, :mod:`zoneinfo`, and numpy
arrays and scalars without Python objects in them. Anything else raises
:class:`~dolium.errors.UntrustedValueError`, and nothing of it has run.

How that is kept true:

* A name in a pickle is looked up in a table of exact (module, name) pairs. It is never imported,
  and dots in it mean nothing. What the table holds is a *function of ours* that checks its
  arguments, never the class itself, so no class or function can be reached, called in another
  way, or changed.
* The reader of pickles is native. It has no operation to call a method, set an attribute or run
  ``__setstate__`` of any object, and fills containers of exact built-in types only.
* numpy's own ``__setstate__`` methods believe the offsets and sizes that they are given. They
  are not used: types are described to ``numpy.dtype`` afresh, which checks them, and arrays are
  made with ``numpy.frombuffer``.

Out of scope: exhausting memory or time. A program that can write to the cache directory can as well put a
huge value there.
"""

from __future__ import annotations

from typing import Any

from .._dolium import load_plain
from ..errors import UntrustedValueError

# The native reader finds it by name, and a process that can open no file cannot import.
from . import names as names

__all__ = ["loads"]


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Return the plain data in a pickle that any program may have written.

    Whatever follows the pickle's end is ignored.

    >>> import pickle
    >>> loads(pickle.dumps({"a": (1, 2.5, None)}))
    {'a': (1, 2.5, None)}

    Raises:
        UntrustedValueError: The pickle names something that is not plain data, or is damaged.
    """
    try:
        return load_plain(data if type(data) is bytes else bytes(data))
    except (UntrustedValueError, MemoryError):
        raise
    except Exception as error:
        message = (
            f"cannot load a pickle that is not signed with this user's key, because it is damaged: {error!r}"
        )
        raise UntrustedValueError(message) from error
