"""What an editor and a notebook show: docstrings, types, limit, hits and policy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import dolium
import pytest

ROOT = Path(__file__).parents[2]
CLASSES = [
    dolium.Cache, dolium.FanoutCache, dolium.DjangoCache, dolium.Deque, dolium.Index, dolium.Disk, dolium.JSONDisk,
    dolium.Lock, dolium.RLock, dolium.BoundedSemaphore, dolium.Averager, dolium.Info,
]  # fmt: skip


def public(kind: type) -> dict[str, Any]:
    """The public attributes that the package itself defines."""
    own = [base for base in kind.__mro__ if base.__module__.split(".")[0] == "dolium"]
    return {name: getattr(base, name) for base in own for name in vars(base) if not name.startswith("_")}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_public_method_has_a_docstring(kind):
    names = {
        name: inspect.getdoc(attribute)
        for name, attribute in public(kind).items()
        if callable(attribute) or isinstance(attribute, property) or inspect.isdatadescriptor(attribute)
    }
    assert inspect.getdoc(kind)
    assert [name for name, text in names.items() if not text and name not in REFUSED] == []
    assert names


REFUSED = {"push", "pull", "peek", "peekitem"}
"""What a FanoutCache has not."""


def test_every_exported_function_has_a_docstring():
    exported = [getattr(dolium, name) for name in dolium.__all__]
    assert [it for it in exported if callable(it) and not inspect.getdoc(it)] == []


def test_the_stub_says_what_the_native_docstrings_say():
    script = ROOT / "tools/stub_docstrings.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_settings_name_every_default():
    known = set(dolium.Settings.__annotations__)
    assert known - set(dolium.DEFAULT_SETTINGS) == {"hot_size", "disk_compress_level"}
    assert set(dolium.DEFAULT_SETTINGS) <= known


def test_a_notebook_shows_limit_hits_and_policy(tmp_path):
    cache = dolium.Cache(tmp_path / "<c>", size_limit=10_000_000, eviction_policy="least-recently-used")
    assert "<th>hits</th><td>none yet</td>" in cache._repr_html_()
    cache["a"] = 1
    cache.get("a"), cache.get("b")
    shown = cache._repr_html_()
    for part in (
        "limit</th><td>10 MB",
        "policy</th><td>least-recently-used",
        "hits</th><td>1 of 2",
        "&lt;c&gt;",
    ):
        assert part in shown
    assert "<c>" not in shown
    fanout = dolium.FanoutCache(tmp_path / "fanout", shards=4, size_limit=10_000_000)
    assert "limit</th><td>10 MB" in fanout._repr_html_()
    assert "limit</th><td>none" in dolium.Cache(tmp_path / "all", size_limit=None)._repr_html_()
