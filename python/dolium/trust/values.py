"""What the modules about foreign pickles share: the refusal, and what is no data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import UntrustedValueError

Maker = Callable[[tuple[Any, ...]], Any]


def refuse(what: str) -> NoReturn:
    """Raise the error that says what the pickle asked for, and what a user can do."""
    raise UntrustedValueError(
        f"refused to load {what}: the pickle is not signed with this user's key, and unsigned pickles may "
        "hold only plain data. Store the entry again. If processes of other users or containers share the "
        'cache, give all of them the same DOLIUM_SIGNING_KEY first. Pass trust="all" only if everyone who '
        "can write to the directory is trusted"
    )


def exactly(value: Any, *classes: type) -> bool:
    """Whether the value is of one of these very classes; a subclass may do anything."""
    return type(value) in classes


def is_texts(args: tuple[Any, ...]) -> bool:
    return all(type(arg) is str for arg in args)


def is_ints(args: tuple[Any, ...]) -> bool:
    return all(type(arg) is int for arg in args)


class Name:
    """A name on the reader's stack. It is no data, and cannot be put into data."""

    __slots__ = ("make", "takes_names", "where")

    def __init__(self, where: tuple[str, str], make: Maker | None, takes_names: bool = False) -> None:
        self.where = where
        self.make = make
        self.takes_names = takes_names

    def __str__(self) -> str:
        return ".".join(self.where)


class Pending:
    """A value that is complete only after its BUILD. No data either until then."""

    __slots__ = ("is_built", "make", "value")

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make
        self.is_built = False
        self.value: Any = None

    def build(self, state: Any) -> Any:
        """Make the value, which the memo then holds instead."""
        self.value = self.make(state)
        self.is_built = True
        return self.value


class Args(tuple[Any, ...]):
    """A tuple that holds a name, or such a tuple: arguments of a call, but no data."""

    __slots__ = ()
