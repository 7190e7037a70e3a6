"""Process groups: which processes of one are alive."""

from __future__ import annotations

import time
from pathlib import Path


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
