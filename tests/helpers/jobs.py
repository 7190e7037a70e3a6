"""Wrapped functions for worker processes to import, on the cache and the log that the environment names."""

from __future__ import annotations

import os
import signal
import time
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


@cache.cached(version="1")
def deadly(number: int, victim: int, how: str) -> int:
    if number == victim:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), getattr(signal, how))
    return number
