"""Wrapped functions for worker processes to import, on the cache and the log that the environment names."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import dolium

DIRECTORY = Path(os.environ["DOLIUM_TEST_JOBS"])
cache = dolium.Cache(DIRECTORY / "cache")


def log(line: str) -> None:
    """Append a line to the log, in one write."""
    file = os.open(DIRECTORY / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def logged(directory: Path = DIRECTORY) -> Counter[str]:
    """How often each line was logged."""
    try:
        return Counter((directory / "log").read_text().splitlines())
    except FileNotFoundError:
        return Counter()


@cache.cached(version="1", key={"seconds": None})
def double(number: int, seconds: float = 0.0) -> int:
    """Says that it computes, and whether the result was there already, which must never be."""
    log(f"{'again' if double.entry(number) is not None else 'computed'} {number}")
    time.sleep(seconds)
    return number * 2


@cache.cached
def versioned(number: int) -> int:
    return number + len(str(DIRECTORY)) * 0


@cache.cached(version="1")
def deadly(number: int, victim: int, how: str) -> int:
    if number == victim:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), getattr(signal, how))
    return number


def processes_of(group: int) -> list[int]:
    """The living processes of a group."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == group and state not in "ZX":
            found.append(int(entry.name))
    return found


def ends(group: int, seconds: float = 10) -> bool:
    """Whether no process of a group is left, soon."""
    end = time.monotonic() + seconds
    while processes_of(group):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
