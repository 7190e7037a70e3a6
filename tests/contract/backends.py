"""The backends that the contract runs on, and what each of them is able to hold."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dolium
from helpers.faces import awaited


class CompressingDisk(dolium.Disk):
    """A user's `Disk`, of the shape most often seen: everything is turned into other bytes."""

    def __init__(self, directory: str, level: int = 1, **kwargs: Any) -> None:
        self.level = level
        super().__init__(directory, **kwargs)

    def store(self, value, read, key=dolium.UNKNOWN):
        if not read:
            value = zlib.compress(pickle.dumps(value), self.level)
        return super().store(value, read, key=key)

    def fetch(self, mode, filename, value, read):
        data = super().fetch(mode, filename, value, read)
        return data if read else pickle.loads(zlib.decompress(data))


class PassingDisk(dolium.Disk):
    """A user's `Disk` that only listens: every method is called and hands on what it got."""

    def put(self, key):
        return super().put(key)

    def get(self, key, raw):
        return super().get(key, raw)

    def store(self, value, read, key=dolium.UNKNOWN):
        return super().store(value, read, key=key)

    def fetch(self, mode, filename, value, read):
        return super().fetch(mode, filename, value, read)

    def filename(self, key=dolium.UNKNOWN, value=dolium.UNKNOWN):
        return super().filename(key, value)

    def remove(self, file_path):
        return super().remove(file_path)


@dataclass(frozen=True)
class Backend:
    """A class with its settings. `repeats` says whose code it shares: `make test` leaves it to `make test-all`."""

    name: str
    kind: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    able: frozenset[str] = frozenset()
    repeats: str = ""

    def open(self, directory: Path | str, **settings: Any) -> Any:
        return self.kind(directory, **{**self.settings, **settings})


# any: values and keys of every type; counts: values that incr can add to; one: one directory, with
# queues, peekitem, iterkeys and an order over all keys; native: columns as dolium writes them itself.
SHARDED = frozenset({"any", "counts", "native", "sharded"})
ONE = frozenset({"any", "counts", "native", "one"})

BACKENDS = [
    # These differ in code: where a value lies, what a read records, what a write removes, whether there is a tier, how
    # SQLite commits, who converts keys and values, and how many directories there are.
    Backend("Cache", dolium.Cache, able=ONE),
    Backend("Cache, all in files", dolium.Cache, {"disk_min_file_size": 0}, ONE),
    Backend("Cache, least-recently-used", dolium.Cache, {"eviction_policy": "least-recently-used"}, ONE),
    Backend("Cache, counting hits", dolium.Cache, {"statistics": True}, ONE),
    Backend("Cache, nothing evicted", dolium.Cache, {"eviction_policy": "none", "cull_limit": 0}, ONE),
    Backend("Cache, no hot tier", dolium.Cache, {"hot_size": 0}, ONE),
    Backend("Cache, rollback journal", dolium.Cache, {"sqlite_journal_mode": "delete"}, ONE),
    Backend("Cache, JSONDisk", dolium.Cache, {"disk": dolium.JSONDisk}, frozenset({"one"})),
    Backend("Cache, passing Disk", dolium.Cache, {"disk": PassingDisk}, ONE - {"native"}),
    Backend("FanoutCache, 8 shards", dolium.FanoutCache, {"timeout": 60}, SHARDED),
    # These await the operations of the faces for event loops.
    Backend("Cache, awaited by asyncio", awaited(dolium.Cache, "asyncio"), able=ONE),
    Backend("Cache, awaited by trio", awaited(dolium.Cache, "trio"), able=ONE),
    Backend("FanoutCache, awaited by asyncio", awaited(dolium.FanoutCache, "asyncio"), {"timeout": 60}, SHARDED),
    # These share the code of one above.
    Backend("Cache, awaited by uvloop", awaited(dolium.Cache, "uvloop"), {}, ONE,
            "the calls of asyncio; package/test_aio.py runs on each loop"),
    Backend("Cache, least-frequently-used", dolium.Cache, {"eviction_policy": "least-frequently-used"}, ONE,
            "least-recently-used, with another column; crates/dolium/tests/eviction.rs tests the order of both"),
    Backend("Cache, tag index", dolium.Cache, {"tag_index": True}, ONE,
            "the same statements, for which SQLite chooses another index"),
    Backend("Cache, pickle protocol 2", dolium.Cache, {"disk_pickle_protocol": 2}, ONE,
            "the same calls, with other bytes; binding/ tests the conversions of each protocol"),
    Backend("Cache, user's Disk", dolium.Cache, {"disk": CompressingDisk}, frozenset({"any", "one"}),
            "the calls of the passing Disk, with the conversion of JSONDisk"),
    Backend("FanoutCache, 1 shard", dolium.FanoutCache, {"shards": 1, "timeout": 60}, SHARDED,
            "8 shards, of which each call reaches one or all"),
    Backend("FanoutCache, 3 shards, JSONDisk", dolium.FanoutCache,
            {"shards": 3, "timeout": 60, "disk": dolium.JSONDisk}, frozenset({"sharded"}),
            "8 shards, and JSONDisk"),
]  # fmt: skip
