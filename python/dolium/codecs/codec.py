"""The classes :class:`Codec`, :class:`Encoder` and :class:`Filter`."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

from typing import Any

from .._dolium import filters_undo
from ..errors import UnreadableValueError
from .body import Body
from .numbers import MOST_FILTERS, OWN, OWN_FILTER
from .own import Named, label

__all__ = ["Codec", "Encoder", "Filter", "as_codec"]


class Codec:
    """One encoder and any filters. ``|`` makes one: ``Pickle() | Zstd()``.

    >>> from dolium.codecs import Pickle, Zstd
    >>> Pickle() | Zstd(level=9)
    Pickle() | Zstd(level=9)
    """

    def __init__(self, encoder: Encoder, *filters: Filter) -> None:
        if filters and encoder._is_mapped:
            raise ValueError(
                f"{encoder!r} maps its file, which filters do not allow; leave out mmap=True or the filters"
            )
        if len(filters) > MOST_FILTERS:
            raise ValueError(f"a codec has at most {MOST_FILTERS} filters, not {len(filters)}")
        if any(filter._compression and filter._compression[1] for filter in filters[:-1]):
            raise ValueError("dictionary=True is for the last filter; put Zstd(dictionary=True) at the end")
        for part in (encoder, *filters):
            part._refuse_nameless()
        self.encoder = encoder
        self.filters = filters
        self._is_thorough = any(filter.name for filter in filters)
        """Whether all values go through the filters, as those of a program may have to."""

    def __or__(self, other: Filter) -> Codec:
        if not isinstance(other, Filter):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return Codec(self.encoder, *self.filters, other)

    def _encode(self, value: Any) -> tuple[Any, ...] | None:
        """The parts of a frame, or None if the value is stored as without a codec."""
        body = self.encoder._body(value, self)
        if body is None:
            return None
        if not self.filters:
            # The engine takes parts as they are.
            return body.encoder, body.data, b"", 0, body.is_aligned, None
        if len(self.filters) == 1 and self.filters[0]._compression is not None:
            level, is_shared = self.filters[0]._compression
            return body.encoder, body.data, b"", 0, body.is_aligned, (level, body.element, is_shared)
        data = body.data
        if isinstance(data, tuple):
            data = b"".join(data)
        elif isinstance(data, str):
            data = data.encode()
        length, numbers, compression = len(data), b"", None
        for place, filter in enumerate(self.filters):
            element = 1 if numbers else body.element
            if filter._compression is not None and place == len(self.filters) - 1:
                # The engine does it, without a copy.
                level, is_shared = filter._compression
                compression = level, element, is_shared
                continue
            applied = filter._apply(data, element)
            if applied is not None:
                numbers, data = numbers + applied[0], applied[1]
        return body.encoder, data, numbers, length, body.is_aligned, compression

    def __repr__(self) -> str:
        return " | ".join(map(repr, (self.encoder, *self.filters)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and (self.encoder, self.filters) == (other.encoder, other.filters)

    def __hash__(self) -> int:
        return hash((self.encoder, self.filters))


class _Part(Named):
    def _refuse_nameless(self) -> None:
        """Raise if it is of a program and has no name."""
        is_ours = type(self).__module__.startswith(__package__ or "?")
        if not (is_ours or self.name):
            raise TypeError(f"{type(self).__name__} has no name; define the attribute, which is stored")

    def _options(self) -> dict[str, Any]:
        """What repr shows."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __repr__(self) -> str:
        defaults = getattr(type(self), "_defaults", {})
        shown = (f"{k}={v!r}" for k, v in self._options().items() if k not in defaults or v != defaults[k])
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))


class Encoder(_Part):
    """What makes bytes of a value, and a value of bytes.

    For one of your own, define `name`, `encode` and `decode`. The name is stored with each value; a process that has
    not defined the encoder takes the value for a miss. `decode` gets bytes that anyone with access to the directory
    may have written. Whatever it raises makes a miss.

    >>> import dolium
    >>> from dolium.codecs import Encoder, Zstd
    >>> class Numbers(Encoder):
    ...     name = "example.numbers"
    ...     def encode(self, value):
    ...         return ",".join(map(str, value)).encode()
    ...     def decode(self, data):
    ...         return [int(number) for number in data.decode().split(",")]
    >>> cache = dolium.Cache()
    >>> cache.set("numbers", range(1000), codec=Numbers() | Zstd())
    True
    >>> cache["numbers"][:3]
    [0, 1, 2]
    """

    _kind = "encoder"
    _is_mapped = False

    def encode(self, value: Any) -> bytes:
        """The bytes of a value."""
        raise NotImplementedError(f"{type(self).__name__} defines no encode")

    def decode(self, data: bytes) -> Any:
        """The value that bytes stand for."""
        raise NotImplementedError(f"{type(self).__name__} defines no decode")

    def _body(self, value: Any, codec: Codec) -> Body | None:
        return Body(OWN, label(self.name) + self.encode(value))

    def __or__(self, other: Filter) -> Codec:
        return Codec(self) | other


class Filter(_Part):
    """What makes other bytes of the bytes of a value. Alone, it stands for ``Auto() | filter``.

    For one of your own, define `name`, `encode` and `decode`, as for an :class:`Encoder`. Every value goes through it.

    >>> import dolium
    >>> from dolium.codecs import Filter
    >>> class Mirror(Filter):
    ...     name = "example.mirror"
    ...     def encode(self, data):
    ...         return data[::-1]
    ...     decode = encode
    >>> cache = dolium.Cache(codec=Mirror())
    >>> cache["key"] = "value"
    >>> cache["key"]
    'value'
    """

    _kind = "filter"
    _compression: tuple[int, bool] | None = None
    """Level and use of a dictionary, of the filter that the engine applies."""

    def encode(self, data: bytes) -> bytes:
        """The filtered bytes."""
        raise NotImplementedError(f"{type(self).__name__} defines no encode")

    def decode(self, data: bytes) -> bytes:
        """The bytes before the filter."""
        raise NotImplementedError(f"{type(self).__name__} defines no decode")

    def _apply(self, data: bytes, element: int) -> tuple[bytes, bytes] | None:
        """The numbers of what was done, and the bytes; None if nothing was."""
        return bytes([OWN_FILTER]), label(self.name) + self.encode(data)

    def __or__(self, other: Filter) -> Codec:
        return as_codec(self) | other


def as_codec(given: Codec | Encoder | Filter) -> Codec:
    """What an argument `codec` stands for.

    >>> from dolium.codecs import Zstd, as_codec
    >>> as_codec(Zstd())
    Auto() | Zstd()

    Raises:
        TypeError: It is no codec.
    """
    if isinstance(given, Codec):
        return given
    if isinstance(given, Encoder):
        return Codec(given)
    if isinstance(given, Filter):  # pyright: ignore[reportUnnecessaryIsInstance]
        from .auto import Auto

        return Codec(Auto(), given)
    raise TypeError(f"codec: {given!r} is no codec; pass one of dolium.codecs, as in codec=Zstd()")


def undo(filters: bytes, data: Any) -> Any:
    """The bytes before filters of any origin."""
    from .own import find, split

    while filters:
        found = filters_undo(filters, bytes(data))
        if found is None:
            raise UnreadableValueError("the value is damaged, or asks for more memory than it should")
        left, data = found
        if left == 0:
            break
        if filters[left - 1] != OWN_FILTER:
            raise UnreadableValueError(
                f"the value needs filter {filters[left - 1]}, which this version does not have"
            )
        name, rest = split(data)
        data = find("filter", name).decode(bytes(rest))
        filters = filters[: left - 1]
    return data
