"""The last versions of each function, with their parts, so that a miss can be explained.

The store is any place for named bytes; the engine's is the table ``Dolium``, of which diskcache knows nothing. A
record that is lost or damaged costs an explanation, never a result.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any, Protocol

from . import Version

__all__ = ["KEPT", "Store", "changes", "recall", "remember"]

KEPT = 8
"""How many versions of a function are kept."""

PREFIX = "function "
FORMAT = 1


class Store(Protocol):
    """Where histories are kept."""

    def load(self, name: str, /) -> bytes | None:
        """Returns what was saved under a name, or None."""
        ...

    def save(self, name: str, data: bytes, /) -> None:
        """Keeps bytes under a name."""
        ...


def recall(store: Store, function: str) -> list[Version]:
    """Returns the kept versions of a function, the oldest first. `function` is its name in keys."""
    data = store.load(PREFIX + function)
    try:
        record: dict[str, Any] = json.loads(data or b"{}")
        return [_version(item) for item in record["versions"]] if record.get("format") == FORMAT else []
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def remember(store: Store, function: str, version: Version, now: float) -> Version:
    """Notes the version that a function has now, and returns it with the time when it was first used.

    Nothing is written if the newest kept version is this one. An older one that comes back becomes the newest.
    """
    kept = recall(store, function)
    if kept and kept[-1].digest == version.digest:
        return replace(version, seen=kept[-1].seen)
    seen = replace(version, seen=now)
    kept = [*(item for item in kept if item.digest != version.digest), seen][-KEPT:]
    record = {"format": FORMAT, "versions": [_record(item) for item in kept]}
    text = json.dumps(record, separators=(",", ":"))  # ASCII, so that a lone surrogate in a name is no error
    store.save(PREFIX + function, text.encode())
    return seen


def changes(old: Version, new: Version) -> list[str]:
    """Says what differs: ``helper `clean` in `prep.py` changed since 2026-11-20``."""
    since = "" if old.seen is None else f" since {time.strftime('%Y-%m-%d', time.localtime(old.seen))}"
    reasons = {name: why for name, _, why in (text.partition(": ") for text in new.unfollowed)}
    lines: list[str] = []
    for name in sorted(old.parts.keys() | new.parts.keys()):
        label = new.labels.get(name) or old.labels.get(name) or f"`{name}`"
        if name not in old.parts:
            lines.append(f"{label} is reached{since}, and was not before")
        elif name in new.parts:
            if old.parts[name] != new.parts[name]:
                lines.append(f"{label} changed{since}")
        elif name in reasons:
            lines.append(f"{label} is no longer followed: it {reasons[name]}")
        else:
            lines.append(f"{label} is no longer reached{since}")
    return lines


def _record(version: Version) -> dict[str, Any]:
    return {
        "digest": version.digest,
        "seen": version.seen,
        "parts": {name: [digest, version.labels.get(name, "")] for name, digest in version.parts.items()},
        "unfollowed": version.unfollowed,
    }


def _version(record: dict[str, Any]) -> Version:
    parts: dict[str, list[str]] = record["parts"]
    seen: float | None = record["seen"]
    return Version(
        digest=str(record["digest"]),
        parts={name: str(digest) for name, (digest, _) in parts.items()},
        labels={name: str(label) for name, (_, label) in parts.items()},
        unfollowed=tuple(map(str, record["unfollowed"])),
        seen=None if seen is None else float(seen),
    )
