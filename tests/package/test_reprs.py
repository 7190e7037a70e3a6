"""The `repr` of each public object names its class and its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dolium
import pytest

MAKE: dict[str, Callable[[Any], Any]] = {
    "Cache": lambda cache: cache,
    "Disk": lambda cache: cache.disk,
    "Lock": lambda cache: dolium.Lock(cache, "turn"),
    "RLock": lambda cache: dolium.RLock(cache, "turn"),
    "BoundedSemaphore": lambda cache: dolium.BoundedSemaphore(cache, "turn"),
    "Averager": lambda cache: dolium.Averager(cache, "turn"),
}


@pytest.mark.parametrize("name", MAKE)
def test_repr_names_class_and_place(name: str, tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        shown = repr(MAKE[name](cache))
    assert shown.startswith(f"<{name} '")
    assert str(tmp_path) in shown
    assert ("'turn'" in shown) is (name not in ("Cache", "Disk"))
