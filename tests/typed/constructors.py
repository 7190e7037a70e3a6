"""Type checkers know settings, policies and directories. They read this file; nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dolium

if TYPE_CHECKING:
    from typing_extensions import assert_type


class OwnDisk(dolium.Disk):
    def __init__(self, directory: str, level: int = 1, **keywords: Any) -> None:
        self.level = level
        super().__init__(directory, **keywords)


def right(settings: dolium.Settings, own: dict[str, Any]) -> None:
    dolium.Cache()
    dolium.Cache(None, 10, dolium.JSONDisk, disk_compress_level=6)
    dolium.Cache("here", read_only=True, trust="none")
    dolium.Cache(Path("here"), size_limit=None, eviction_policy="least-recently-used", statistics=True)
    dolium.Cache("here", disk=OwnDisk, **own)
    dolium.FanoutCache(Path("here"), 4, 0.01, **settings)
    dolium.FanoutCache().cache("pages", disk=OwnDisk, cull_limit=0)
    dolium.Deque([1, 2], Path("here"), maxlen=3)
    assert_type(dolium.Cache().stats(), dolium.Stats)
    assert_type(dolium.Cache().stats(reset=True).hot.hits, int)
    assert_type(dolium.Cache().set("key", "value", expire=60), bool)
    assert_type(dolium.Cache().info("key"), "dolium.Info | None")


def wrong() -> None:
    dolium.Cache(trust="sined")  # type: ignore[arg-type]
    dolium.Cache(eviction_policy="lru")  # type: ignore[arg-type]
    dolium.Cache(size_limt=3)  # type: ignore[call-arg]
    dolium.Cache(3)  # type: ignore[arg-type]
    dolium.FanoutCache(hot_size="1 MB")  # type: ignore[arg-type]
