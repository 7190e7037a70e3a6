"""What stands on the line of ``%%cached``."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from ..errors import InvalidArgumentError

__all__ = ["USAGE", "Arguments", "parse"]

USAGE: Final = "%%cached [name] [--expire 1d] [--version v] [--files a.csv ...] [--ignore name ...] [--again]"
SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass
class Arguments:
    """The options of one cell."""

    name: str = ""
    expire: float | None = None
    """Seconds; None is for ever."""
    version: str = ""
    files: tuple[str, ...] = ()
    """Files, or patterns of files, whose contents count."""
    ignore: tuple[str, ...] = ()
    """Variables that neither count nor are kept."""
    again: bool = False
    """Whether the cell runs whatever is kept."""


def parse(line: str) -> Arguments:
    """Reads the line.

    :raises InvalidArgumentError: if it has an option or a value that `%%cached` does not know.
    """
    found = Arguments()
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise _refused(f"{line!r} is no line of words: {error}") from None
    while words:
        word = words.pop(0)
        if word == "--again":
            found.again = True
        elif word in ("--files", "--ignore"):
            values = _values(word, words)
            if word == "--files":
                found.files += values
            else:
                found.ignore += values
        elif word in ("--expire", "--version"):
            if not words or words[0].startswith("--"):
                raise _refused(f"{word} has no value")
            value = words.pop(0)
            if word == "--version":
                found.version = value
            else:
                found.expire = _duration(value)
        elif word.startswith("-") or found.name:
            raise _refused(f"{word!r} is no option")
        else:
            found.name = word
    return found


def _values(option: str, words: list[str]) -> tuple[str, ...]:
    """The words up to the next option, each one or several with commas."""
    values: list[str] = []
    while words and not words[0].startswith("--"):
        values += [value for value in words.pop(0).split(",") if value]
    if not values:
        raise _refused(f"{option} has no value")
    return tuple(values)


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h|d|w)?", text)
    if match is None:
        raise _refused(f"--expire {text} is no duration like 90s, 10min, 6h, 1d or 2w")
    return float(match[1]) * SECONDS[match[2] or "s"]


def _refused(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"%%cached: {what}. Write {USAGE}")
