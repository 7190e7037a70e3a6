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
* Pickles that need nothing but built-in containers and a few immutable types run on the C
  unpickler. All others run on a small interpreter here, which has no operation to call a method,
  set an attribute or run ``__setstate__`` of any object.
* numpy's own ``__setstate__`` methods believe the offsets and sizes that they are given. They
  are not used: types are described to ``numpy.dtype`` afresh, which checks them, and arrays are
  made with ``numpy.frombuffer``.

Out of scope: exhausting memory, time or the C stack. Whoever can write to the cache directory can
as well put a huge value there. Besides the types above, a pickle made by hand can hold a read-only
``memoryview`` of its own bytes.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import weakref
from typing import Any, NoReturn

from ..errors import UntrustedValueError
from .machine import Machine
from .names import SIMPLE
from .values import Maker, present_name, refuse

__all__ = ["loads"]


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Return the plain data in a pickle that may have been written by anybody.

    Whatever follows the pickle's end is ignored.

    >>> import pickle
    >>> loads(pickle.dumps({"a": (1, 2.5, None)}))
    {'a': (1, 2.5, None)}

    Raises:
        UntrustedValueError: The pickle names something that is not plain data, or is damaged.
    """
    try:
        # An extension code that this process has used before is not looked up by name.
        if not _extension_cache:
            try:
                return _load_fast(data)
            except (_NotSimple, MemoryError):
                # The C unpickler makes room for as much as a damaged length claims; the interpreter
                # looks first whether there is so much.
                pass
        return Machine().run(bytes(data))
    except (UntrustedValueError, MemoryError):
        raise
    except Exception as error:
        message = (
            f"cannot load a pickle that is not signed with this user's key, because it is damaged: {error!r}"
        )
        raise UntrustedValueError(message) from error


_extension_cache: dict[int, Any] = vars(copyreg)["_extension_cache"]


class _NotSimple(Exception):
    """The pickle needs the interpreter."""


class _Call:
    """A callable that a pickle can call and nothing more.

    BUILD calls ``__setstate__`` of whatever is on the stack, or sets its attributes.
    """

    __slots__ = ("__weakref__", "_make")
    _make: Maker

    def __init__(self, make: Maker) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *args: Any) -> Any:
        return self._make(args)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _NotSimple

    def __setstate__(self, state: Any) -> NoReturn:
        raise _NotSimple


class _FastUnpickler(pickle.Unpickler):
    calls: dict[tuple[str, str], _Call] | None = None

    def find_class(self, module: str, name: str, /) -> Any:
        where = present_name(module, name)
        if where not in SIMPLE:
            raise _NotSimple
        if self.calls is None:
            self.calls = {}
        return self.calls.setdefault(where, _Call(SIMPLE[where]))

    def persistent_load(self, pid: Any, /) -> Any:
        refuse("a persistent id")


def _load_fast(data: bytes | bytearray | memoryview) -> Any:
    unpickler = _FastUnpickler(io.BytesIO(data))
    value = unpickler.load()
    if unpickler.calls is not None:
        calls = [weakref.ref(call) for call in unpickler.calls.values()]
        del unpickler
        # One that outlives the unpickler is part of the value, which therefore is not data.
        if any(call() is not None for call in calls):
            raise _NotSimple
    return value
