"""What becomes of an item: a value, a failure, or a report on the way from a worker to its caller."""

from __future__ import annotations

import pickle
import sys
import traceback
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ..errors import WorkerError

KEPT: Final = "kept"
"""The cache has the result."""
VALUE: Final = "value"
"""The result comes along, because the cache does not have it."""
ERROR: Final = "error"
BUSY: Final = "busy"
"""Another caller computes it right now."""
SKIPPED: Final = "skipped"
"""The worker did not begin it."""
RETURNED: Final = "returned"
"""The same, because the parent wants it back for another worker."""
DIED: Final = "died"
READY: Final = "ready"
BROKEN: Final = "broken"
"""The worker cannot load the function."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands in the place of a result that the function did not give, where a run collects errors."""

    item: Any
    """What the function was called with: the argument, or a tuple if there were several."""
    error: BaseException
    traceback: str
    """Where the error came from, as text."""


class Report(NamedTuple):
    """What a worker says of an item."""

    kind: str
    payload: Any = None
    seconds: float = 0.0
    ran: bool = False
    trace: str = ""
    process: int = 0
    problem: str = ""
    """Why the result was not stored, if the worker could not even try."""


def trace_of(error: BaseException) -> str:
    """The traceback as text, without the calls of dolium that lead to the function."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("dolium."):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def as_text(error: BaseException) -> WorkerError:
    """What stands for an exception that does not survive the way between two processes."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except Exception:
        text = "<no text>"
    return WorkerError(f"{name}: {text}")


def packed(error: BaseException) -> bytes:
    """An exception as bytes that can be loaded again, in this process at least."""
    try:
        dumped = pickle.dumps(error)
        if type(pickle.loads(dumped)) is type(error):
            return dumped
    except Exception:  # whatever its own code raises
        pass
    return pickle.dumps(as_text(error))


def unpacked(dumped: bytes, trace: str) -> BaseException:
    """The exception that a worker packed. Its cause says where in the worker it came from."""
    try:
        error = pickle.loads(dumped)
        if not isinstance(error, BaseException):
            raise TypeError(f"{error!r} is no exception")
    except Exception:  # its class is another one here
        lines = trace.strip().splitlines()
        error = WorkerError(lines[-1] if lines else "an exception that cannot be loaded")
    error.__cause__ = Remote(trace)
    return error


class Remote(Exception):
    """The traceback of a worker, as the cause of what it raised."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def add_note(error: BaseException, note: str) -> None:
    """A line below the message of an exception; before Python 3.11, one more argument of it."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.args = (*error.args, note)
