"""The version of a function, found by several threads, in a forked child, and while another thread is busy."""

from __future__ import annotations

import linecache
import os
import threading
import time
from typing import Any

import pytest
from dolium.functions.version import code, reach, source


def helper(x: int) -> int:
    return x + 1


def first(x: int) -> int:
    return helper(x)


def made() -> Any:
    """A function like `first` whose version is not known."""
    return type(first)(first.__code__, first.__globals__, "first")


def test_threads_that_ask_together_walk_once(monkeypatch: pytest.MonkeyPatch):
    walks: list[object] = []
    run = reach.Walk.run

    def slow_run(walk: Any) -> Any:
        walks.append(walk)
        time.sleep(0.2)
        return run(walk)

    monkeypatch.setattr(reach.Walk, "run", slow_run)
    monkeypatch.setattr(reach, "PATIENCE", 60.0)
    function, found = made(), list[str]()
    threads = [threading.Thread(target=lambda: found.append(code(function))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [code(first)] * 8
    assert [walk.root for walk in walks[:-1]] == [function]  # type: ignore[attr-defined]


def test_version_is_found_while_another_thread_never_ends(monkeypatch: pytest.MonkeyPatch):
    """It may import a module that waits for us."""
    monkeypatch.setattr(reach, "PATIENCE", 0.05)
    expected = code(first)
    with reach._turn.lock:
        assert code(made()) == expected


def test_forked_child_finds_versions_while_the_parent_does():
    with reach._turn.lock:
        child = os.fork()
        if child == 0:
            os._exit(3 if reach._turn.lock.locked() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_walk_that_ends_takes_no_source_from_another_thread():
    origin = source.source(__file__)
    tree = origin and origin.at(first.__code__.co_firstlineno)
    ender = threading.Thread(target=source.forget_trees)
    ender.start()
    ender.join()
    assert source._checked.sources[__file__] is origin is not None
    assert tree is not None
    source.forget_trees()


def test_source_that_another_thread_finds_cut_wrong_is_parsed(monkeypatch: pytest.MonkeyPatch):
    text = "TABLE = [\n1,\n2,\n]\ndef f(): return TABLE\n"
    old = os.stat_result((0,) * 10)
    parse, origin = source._parse, source.Source("<old>", text, old)
    assert origin.trusted
    other = source.Source("<old>", text, old)
    assert len(other.tree(0).body) == 2

    def overtaken(piece: str, name: str) -> Any:
        # The other thread is ahead when this one begins to parse its piece.
        origin._chunks, origin._trees, origin._changed = other._chunks, {}, {}
        return parse(piece, name)

    monkeypatch.setattr(source, "_parse", overtaken)
    assert len(origin.tree(0).body) == 2
    assert len(origin.tree(3).body) == 2


def test_entry_of_linecache_that_vanishes_is_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    lines, asked = ["def f(): return 1\n"], list[str]()

    def getlines(name: str, namespace: object = None) -> list[str]:
        asked.append(name)
        if len(asked) == 1:
            raise KeyError(name)
        return lines

    monkeypatch.setattr(linecache, "getlines", getlines)
    origin = source.source("<cell of a test>")
    source.forget_trees()
    assert origin is not None
    assert origin.text == lines[0]
    assert len(asked) == 2
