"""Wrapped functions for worker processes to import, on the cache and the log that the environment names."""

from __future__ import annotations

import os
import signal
import sys
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


@cache.cached(version="1", key={"seconds": None})
def double(number: int, seconds: float = 0.0) -> int:
    """Says that it computes, and whether the result was there already, which must never be."""
    log(f"{'again' if double.entry(number) is not None else 'computed'} {number}")
    time.sleep(seconds)
    return number * 2


@cache.cached(version="1", key={"share": None})
def shared(number: int, share: int) -> int:
    """A run that has begun `share` items waits until another one has."""
    log(f"computed {number}")
    log(f"run {os.getppid()}")
    while True:
        lines = (DIRECTORY / "log").read_text().splitlines()
        begun = Counter(line for line in lines if line.startswith("run "))
        own = begun.pop(f"run {os.getppid()}")
        if own <= share or max(begun.values(), default=0) >= share:
            return number * 2
        time.sleep(0.01)


@cache.cached(version="1")
def interrupted(number: int, how: str) -> int:
    """Returns at once, or when no more may begin, or never."""
    log(f"computed {number}")
    while how == "never" or (how == "told" and not is_told_to_stop()):
        time.sleep(0.01)
    return number


def is_told_to_stop() -> bool:
    """Whether the worker that runs this begins no more items."""
    frame = sys._getframe()
    while "inbox" not in frame.f_locals:
        assert frame.f_back is not None, "no worker"
        frame = frame.f_back
    return frame.f_locals["inbox"].is_stopped


@cache.cached(version="1")
def deadly(number: int, victim: int, how: str) -> int:
    if number == victim:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), getattr(signal, how))
    return number
