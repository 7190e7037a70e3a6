"""What a wrapped function offers beside the call, and how it is bound to an instance."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from .calls import Calls, FunctionInfo, Options

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B")

CacheKey = tuple[Any, ...]


def inside(function: Any) -> Any:
    """The function in a class method or static method, which is called; any other as it is."""
    method: Any = function
    return method.__func__ if isinstance(function, (classmethod, staticmethod)) else function


class Wrapper(Generic[P]):
    """A wrapped function of any kind. It is pickled by its name, as functions are."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, Any]

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        this: Any = self
        functools.update_wrapper(this, function)
        self._calls = Calls(cache, function, options)
        # Of a class method or static method, what it binds to is bound by `__get__`.
        self._binds = (
            "class"
            if isinstance(function, classmethod)
            else "nothing"
            if isinstance(function, staticmethod)
            else "instance"
        )

    def key(self, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key under which the result of this call is kept."""
        return self._calls.key(*args, **kwargs)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Whether this call is a hit, and if not, what made it a miss: an argument, a helper or a constant."""
        from .explain import explain

        return explain(self._calls, self._calls.key(*args, **kwargs))

    def info(self) -> FunctionInfo:
        """What became of the calls in this process."""
        return self._calls.info()

    @property
    def version(self) -> str:
        """The version whose results are used: what `version=` says, else a digest of the code."""
        return self._calls.version or self._calls.find_version()

    def __fingerprint__(self) -> object:
        """What counts where this is an argument or a free variable: the function, or what `version=` says."""
        version = self._calls.options.version
        inner = inside(self.__wrapped__)
        if version is None:
            return inner
        cells: tuple[Any, ...] = getattr(inner, "__closure__", None) or ()
        return self._calls.name, version, [cell.cell_contents for cell in cells]

    def __reduce__(self) -> str:
        return self.__qualname__

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<cached {self._calls.name}>"

    def _receiver(self, instance: object, owner: type | None) -> tuple[Any, ...]:
        """What is put before the arguments."""
        if self._binds == "instance":
            return () if instance is None else (instance,)
        if self._binds == "class":
            return (type(instance) if owner is None else owner,)
        return ()


class Bound(Generic[P]):
    """A wrapped method of an instance: all that the wrapped function offers, with the instance before the arguments."""

    __slots__ = ("_receiver", "_wrapper")

    def __init_subclass__(cls) -> None:
        # An instance shows what the method says of itself.
        setattr(cls, "__doc__", property(lambda self: self._wrapper.__doc__))  # noqa: B010

    def __init__(self, wrapper: Any, receiver: object) -> None:
        self._wrapper = wrapper
        self._receiver = receiver

    def key(self, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key under which the result of this call is kept."""
        return self._wrapper.key(self._receiver, *args, **kwargs)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Whether this call is a hit, and if not, what made it a miss."""
        return self._wrapper.explain(self._receiver, *args, **kwargs)

    def info(self) -> FunctionInfo:
        """What became of the calls in this process, for all instances."""
        return self._wrapper.info()

    @property
    def version(self) -> str:
        """The version whose results are used."""
        return self._wrapper.version

    @property
    def __self__(self) -> object:
        return self._receiver

    @property
    def __func__(self) -> Any:
        return self._wrapper

    @property
    def __name__(self) -> str:
        return self._wrapper.__name__

    @property
    def __wrapped__(self) -> Callable[P, Any]:
        """The method without its cache."""
        return self._wrapper.__wrapped__.__get__(self._receiver)

    def __fingerprint__(self) -> object:
        return self._wrapper, self._receiver

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Bound) and self._wrapper is other._wrapper and self._receiver is other._receiver
        )

    def __hash__(self) -> int:
        return hash((id(self._wrapper), id(self._receiver)))

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._receiver, self._wrapper.__name__)

    def __repr__(self) -> str:
        return f"<bound cached {self._wrapper._calls.name} of {self._receiver!r}>"
