"""Whether wrapped functions use their cache: :class:`using` for a block, ``DOLIUM_MODE`` for a process."""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final, Literal, get_args

__all__ = ["MODE", "NORMAL", "OFF", "ONLY", "REFRESH", "Mode", "using"]

Mode = Literal["normal", "only", "refresh", "off"]

NORMAL: Final = "normal"
ONLY: Final = "only"
REFRESH: Final = "refresh"
OFF: Final = "off"

VARIABLE: Final = "DOLIUM_MODE"


def _mode(mode: str, what: str) -> Mode:
    for known in get_args(Mode):
        if mode == known:
            return known
    raise ValueError(f"{what}: {mode!r} is no mode; pass one of {', '.join(map(repr, get_args(Mode)))}")


_OF_PROCESS: Final[Mode] = _mode(os.environ.get(VARIABLE) or NORMAL, VARIABLE)

MODE: Final[ContextVar[Mode]] = ContextVar("dolium_mode", default=_OF_PROCESS)
"""The mode of the running context, which always is one of the constants above by identity."""


class using:
    """A block in which wrapped functions use their cache in another way, whatever ``DOLIUM_MODE`` says.

    ``"normal"`` looks results up, and keeps those that are missing. ``"only"`` calls no function: a result that is
    missing raises :class:`~dolium.NotCachedError`. ``"refresh"`` calls the function, and replaces what is kept.
    ``"off"`` calls the function, and does not touch the cache.

    The mode holds for this thread or task, and for tasks that it starts. Blocks may be nested.

    >>> import dolium
    >>> cache = dolium.Cache()
    >>> @cache.cached(version="1")
    ... def square(number):
    ...     return number * number
    >>> with dolium.using("only"):
    ...     square(3)
    Traceback (most recent call last):
        ...
    dolium.errors.NotCachedError: ...square() has no result for (3) here, and the mode 'only' lets no function run; ...

    Raises:
        ValueError: there is no such mode.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode: Final[Mode] = _mode(mode, "dolium.using")
        self._tokens: list[Token[Mode]] = []

    def __enter__(self) -> None:
        self._tokens.append(MODE.set(self.mode))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        MODE.reset(self._tokens.pop())
