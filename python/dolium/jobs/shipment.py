"""What travels to a worker once: the function, the arguments that all calls share, the mode.

A function that a worker can import travels by its name. Others travel by value, with cloudpickle: those of notebooks
and inner functions. In the same process, and in one that was forked, nothing is pickled.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import io
import os
import pickle
import sys
from collections import OrderedDict
from typing import Any, Final

from ..errors import UnpicklableError
from ..functions.modes import MODE, Mode, using
from ..functions.wrapper import Bound, Wrapper, inside

MOST_LOADED: Final = 8
"""Functions that a worker of the caller's executor keeps loaded."""


class Shipment:
    """A wrapped function on its way to workers, and there."""

    def __init__(self, target: Any, common: dict[str, Any]) -> None:
        self.target = target
        self.common = common
        self.mode: Mode = MODE.get()
        self.problem = ""
        """Why this process must not store results."""
        self.is_remote = False
        self.context = contextvars.copy_context()
        bound: Any = target
        is_bound = isinstance(target, Bound)
        self.wrapper: Any = bound._wrapper if is_bound else target
        self.prefix: tuple[Any, ...] = (bound._receiver,) if is_bound else ()
        self._name = os.urandom(8)
        self._dumped: bytes | None = None

    @functools.cached_property
    def goes_by_name(self) -> bool:
        """Whether pickle alone can send what belongs to the function."""
        return is_importable(self.wrapper)

    def arrive(self) -> None:
        """Let what runs here run as in a process of its own, whatever this one inherited by a fork."""
        self.is_remote = True
        self.context = contextvars.Context()
        self.context.run(using(self.mode).__enter__)

    # Executors pickle it when they send it to another process

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, (self._name, self.dumped())

    def dumped(self) -> bytes:
        """The shipment as bytes."""
        if self._dumped is None:
            calls = self.wrapper._calls
            version = calls.options.version or calls.find_version()
            self._dumped = self.pack((self.target, self.common, self.mode, version))
        return self._dumped

    def pack(self, message: Any) -> bytes:
        """Anything that goes to a worker."""
        try:
            if self.goes_by_name:
                return pickle.dumps(message, 5)
        except Exception:  # whatever an argument's own code raises
            if "cloudpickle" not in sys.modules and not _has_cloudpickle():
                raise
        return by_value(message, self.wrapper)


_loaded: OrderedDict[bytes, Shipment] = OrderedDict()


def unpack(name: bytes, dumped: bytes) -> Shipment:
    """The shipment in a worker. One that is known is not loaded again."""
    found = _loaded.get(name)
    if found is None:
        found = _loaded[name] = load(dumped)
        while len(_loaded) > MOST_LOADED:
            _loaded.popitem(last=False)
    return found


def load(dumped: bytes) -> Shipment:
    """A shipment from its bytes."""
    target, common, mode, version = pickle.loads(dumped)
    shipment = Shipment(target, common)
    shipment.mode = mode
    shipment.arrive()
    wrapper = shipment.wrapper
    if is_importable(wrapper):
        if wrapper.version != version:
            shipment.problem = (
                "workers have another version of the function; if a file has changed, start anew"
            )
    else:
        _publish(inside(wrapper.__wrapped__))
    return shipment


# By name


def is_importable(wrapper: Any) -> bool:
    """Whether a worker finds the function under its name."""
    module = sys.modules.get(wrapper.__module__)
    if module is None or (wrapper.__module__ == "__main__" and not _is_file_of(wrapper, module)):
        return False
    found: Any = module
    for name in wrapper.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is wrapper or (isinstance(found, Bound) and found.__func__ is wrapper)


def _is_file_of(wrapper: Any, main: Any) -> bool:
    """Whether `__main__` is a module or file that has the function, which a worker of ours runs first."""
    if getattr(main, "__spec__", None) is not None:
        return True
    code = getattr(inside(wrapper.__wrapped__), "__code__", None)
    file = getattr(main, "__file__", None)
    return (
        file is not None and code is not None and os.path.abspath(code.co_filename) == os.path.abspath(file)
    )


# By value


def _has_cloudpickle() -> bool:
    try:
        importlib.import_module("cloudpickle")
    except ImportError:
        return False
    return True


def by_value(message: Any, wrapper: Any) -> bytes:
    """A message as bytes that hold the code of its functions, too."""
    if not _has_cloudpickle():
        raise UnpicklableError(
            f"{wrapper._calls.name.removesuffix('()')}: no worker can import this function; "
            "install dolium[map], or move it to a module"
        )
    buffer = io.BytesIO()
    _pickler()(buffer, 5).dump(message)
    return buffer.getvalue()


@functools.cache
def _pickler() -> Any:
    cloudpickle: Any = importlib.import_module("cloudpickle")

    base: Any = cloudpickle.Pickler

    class Pickler(base):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Wrapper) and not is_importable(obj):
                found: Any = obj  # pyright: ignore[reportUnknownVariableType]
                calls = found._calls
                options = calls.options._replace(name=calls.name, version=found.version)
                # The function may name itself, so the wrapper is there before the function is whole.
                state = (calls.cache, calls.function, options)
                return _shell, (type(found),), state, None, None, _furnish
            above: Any = super()
            return above.reducer_override(obj)

    return Pickler


def _shell(kind: Any) -> Any:
    return kind.__new__(kind)


def _furnish(wrapper: Any, state: tuple[Any, ...]) -> None:
    wrapper.__init__(*state)


def _publish(function: Any) -> None:
    """Put the classes of a notebook where pickle looks for them, so that results of these classes can be stored."""
    main: Any = sys.modules["__main__"]
    for name, value in getattr(function, "__globals__", {}).items():
        if isinstance(value, type) and value.__module__ == "__main__" and not hasattr(main, name):
            setattr(main, name, value)
