"""How much source the version of a function reads: each statement once, and none that does not matter."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from dolium.functions.version import changes, reached, source

HELPERS = 30

HELPER = '''
LIMIT_{n} = {n}
TABLE_{n} = {{"a": {n}}}

def helper_{n}(x):
    """The {n}th."""
    for row in range(LIMIT_{n}):
        x += TABLE_{n}["a"] * row
    return {next}
'''


class Counts:
    """What was parsed, by its first line, and for which names a text was searched for changes."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.searched: list[str] = []


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    parse, may_change = source._parse, changes.may_change

    def counted_parse(text: str, name: str) -> object:
        counts.parsed.append(text.strip().partition("\n")[0])
        return parse(text, name)

    def counted_search(text: str, name: str, *, calls: bool) -> bool:
        counts.searched.append(name)
        return may_change(text, name, calls=calls)

    monkeypatch.setattr(source, "_parse", counted_parse)
    monkeypatch.setattr(source, "may_change", counted_search)
    return counts


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of many helpers that is older than the process."""
    text = "".join(
        HELPER.format(n=n, next=f"helper_{n + 1}(x)" if n + 1 < HELPERS else "x") for n in range(HELPERS)
    )
    text += "\nif True:\n    def left(x):\n        return x\n    def right(x):\n        return left(x)\n"
    text += "\ndef first(x):\n    return helper_20(right(x))\n\ndef second(x):\n    return helper_10(x)\n"
    path = tmp_path / "many_helpers.py"
    path.write_text(text)
    old = time.time() - 1e6
    os.utime(path, (old, old))
    monkeypatch.setattr(source, "STARTED", time.time() + 10)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("many_helpers")
    sys.modules.pop("many_helpers")


def test_a_walk_parses_each_statement_that_it_needs_once(counts: Counts, module: ModuleType):
    version = reached(module.first)
    assert len(version.parts) == 3 + 3 * 10
    wanted = {"def first(x):", "if True:", *(f"def helper_{n}(x):" for n in range(20, 30))}
    assert (len(counts.parsed), set(counts.parsed)) == (len(wanted), wanted)


def test_a_second_walk_parses_only_what_is_new(counts: Counts, module: ModuleType):
    reached(module.first)
    counts.parsed.clear()
    counts.searched.clear()
    version = reached(module.second)
    assert len(version.parts) == 1 + 3 * 20
    wanted = {"def second(x):", *(f"def helper_{n}(x):" for n in range(10, 20))}
    assert (len(counts.parsed), set(counts.parsed)) == (len(wanted), wanted)
    assert not [name for name in counts.searched if int(name.rpartition("_")[2]) >= 20], "searched again"


def test_a_version_that_is_known_reads_nothing(counts: Counts, module: ModuleType):
    reached(module.first)
    counts.parsed.clear()
    counts.searched.clear()
    assert reached(module.first) is reached(module.first)
    assert not counts.parsed
    assert not counts.searched
