"""A key costs its size as a graph: equal keys are equal bytes however parts are shared, and long ones are short."""

from __future__ import annotations

import dataclasses
import io
import pickle
import pickletools
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dolium
import pytest
from differential.oracle import Oracle
from dolium.disk import Disk, canonical
from hypothesis import given
from hypothesis import strategies as st

LONG = "lorem ipsum " * 2_500  # 30 kB: a key of some of them is stored by its digest


@dataclasses.dataclass(frozen=True)
class Node:
    left: Any
    right: Any


# Recipes: each makes an object of those before it, so that parts are shared as it happens.
ATOMS: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -0.0,
    2**70,
    "a",
    b"a",
    "",
    LONG,
    LONG.encode(),
    (),
    frozenset(),
]
recipes = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(-len(ATOMS), 30), min_size=0, max_size=4)), max_size=12
)


def build(recipe: list[tuple[int, list[int]]]) -> Any:
    made: list[Any] = []
    for kind, places in recipe:
        parts = [
            made[place % len(made)] if place >= 0 and made else ATOMS[place % len(ATOMS)] for place in places
        ]
        if kind == 0:
            made.append(tuple(parts))
        elif kind == 1:
            made.append(list(parts))
        elif kind == 2:
            made.append(dict(enumerate(parts)))
        elif kind == 3:
            made.append(Node(parts[0] if parts else None, parts[-1] if parts else None))
        else:
            hashable = [part for part in parts if is_hashable(part)]
            made.append(set(hashable) if kind == 4 else frozenset(hashable))
    return ("f", made[-1] if made else None)


def is_hashable(part: Any) -> bool:
    try:
        hash(part)
    except TypeError:
        return False
    return True


class Identities:
    """Numbers for objects, the same for those that are equal to the last type: the model of what a key equals."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []

    def of(self, thing: Any) -> int:
        if id(thing) not in self._known:
            self._alive.append(thing)
            self._known[id(thing)] = self._numbers.setdefault(self._substance(thing), len(self._numbers))
        return self._known[id(thing)]

    def _substance(self, thing: Any) -> Any:
        kind = type(thing).__name__
        if isinstance(thing, dict):
            return kind, *((self.of(key), self.of(value)) for key, value in thing.items())
        if isinstance(thing, (set, frozenset)):
            return kind, *sorted(self.of(part) for part in thing)
        if isinstance(thing, (tuple, list)):
            return kind, *(self.of(part) for part in thing)
        if isinstance(thing, Node):
            return kind, self.of(thing.left), self.of(thing.right)
        if isinstance(thing, float):
            return kind, struct.pack("d", thing)
        return kind, thing


def copied(thing: Any, levels: int) -> Any:
    """An equal object that shares no part with itself in its upper levels."""
    if levels == 0:
        return pickle.loads(pickle.dumps(thing))
    if isinstance(thing, dict):
        return {key: copied(value, levels - 1) for key, value in thing.items()}
    if isinstance(thing, (tuple, list, set, frozenset)):
        return type(thing)([copied(part, levels - 1) for part in thing])
    if isinstance(thing, Node):
        return Node(copied(thing.left, levels - 1), copied(thing.right, levels - 1))
    return pickle.loads(pickle.dumps(thing))


@given(recipes, st.integers(0, 4))
def test_copies_of_a_key_have_its_bytes(recipe: Any, levels: int) -> None:
    key = build(recipe)
    copy = copied(key, levels)
    for protocol in (4, 5):
        assert canonical(copy, protocol) == canonical(key, protocol)
    assert len(canonical(key, 5)) <= 64 * 1024 + 11


@given(recipes, recipes)
def test_keys_have_equal_bytes_only_if_they_are_equal(one: Any, other: Any) -> None:
    identities = Identities()
    keys = [build(one), build(other), build(one[:-1]), copied(build(other), 2)]
    for left in keys:
        for right in keys:
            is_equal = identities.of(left) == identities.of(right)
            assert is_equal == (canonical(left, 5) == canonical(right, 5)), (left, right)


@given(recipes)
def test_a_short_key_is_python_s_pickle_without_memo(recipe: Any) -> None:
    key = build(recipe)
    if has_sets(key) or tree(key) > 5_000:
        return
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 5)
    pickler.fast = True
    pickler.dump(key)
    expected = pickletools.optimize(stream.getvalue())
    ours = canonical(key, 5)
    assert ours == expected or len(expected) > 64 * 1024


def has_sets(thing: Any) -> bool:
    return any(
        code.name in ("EMPTY_SET", "FROZENSET") for code, _, _ in pickletools.genops(pickle.dumps(thing))
    )


def tree(thing: Any) -> int:
    """Parts of an object, shared ones as often as they occur."""
    known: dict[int, int] = {}

    def count(thing: Any) -> int:
        if id(thing) not in known:
            if isinstance(thing, dict):
                known[id(thing)] = 1 + sum(map(count, thing.values()))
            elif isinstance(thing, (tuple, list, set, frozenset)):
                known[id(thing)] = 1 + sum(map(count, thing))
            elif isinstance(thing, Node):
                known[id(thing)] = 1 + count(thing.left) + count(thing.right)
            else:
                known[id(thing)] = 1
        return known[id(thing)]

    return count(thing)


def dicts(levels: int) -> Any:
    node: Any = {"leaf": 1}
    for _ in range(levels):
        node = {"left": node, "right": node}
    return node


def tuples(levels: int) -> Any:
    node: Any = ("leaf", 1)
    for _ in range(levels):
        node = (node, node)
    return node


def nodes(levels: int) -> Any:
    node: Any = Node("leaf", 1)
    for _ in range(levels):
        node = Node(node, node)
    return node


@pytest.mark.parametrize("make", [dicts, tuples, nodes])
def test_shared_parts_cost_their_size_once(tmp_path: Path, make: Any) -> None:
    """As a tree the key has 2**90 parts."""
    began = time.process_time()
    with dolium.Cache(tmp_path) as cache:
        cache["f", make(90)] = "found"
        assert cache["f", make(90)] == "found"
        assert cache.get(("f", make(91))) is None
        if make is not nodes:  # a dataclass compares as a tree
            assert len(list(cache)) == 1
        cache.flush()
        assert cache.volume() < 200_000
    assert time.process_time() - began < 20, "it doubles with each level"


def test_long_arguments_do_not_become_a_long_index(tmp_path: Path) -> None:
    arguments = [str(number) * 100 for number in range(20_000)]
    with dolium.Cache(tmp_path) as cache:
        cache["g", arguments] = 1
        assert cache["g", list(arguments)] == 1
        cache.flush()
        ((longest,),) = cache._sql("SELECT max(length(key)) FROM Cache").fetchall()
        assert longest < 200
        ((_, again),) = list(cache)
        assert again == arguments


@pytest.mark.parametrize(
    "key", [("f", dicts(20)), ("f", LONG, LONG, LONG), ("f", [LONG] * 200, {"a": {1, 2}})]
)
def test_a_long_key_is_listed_whole(tmp_path: Path, key: Any) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache[key] = 1
        assert list(cache) == [key]
        cache.flush()
    with dolium.Cache(tmp_path) as cache:
        assert list(cache) == list(cache.iterkeys()) == [key]
        assert cache.peekitem() == (key, 1)
        assert cache.pop(key) == 1
        assert len(cache) == 0
        assert cache._sql("SELECT count(*) FROM DoliumKeys").fetchall() == [(0,)]


def test_a_long_key_that_was_changed_is_not_listed(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache["f", LONG, LONG, LONG] = 1
        cache["g"] = 2
        cache.flush()
        cache._sql("UPDATE DoliumKeys SET proof = ?", (pickle.dumps(("f", "another")),))
        with pytest.warns(dolium.UntrustedValueWarning):
            assert list(cache) == ["g"]


@pytest.mark.parametrize("sharding", [dolium.Cache, dolium.FanoutCache])
@pytest.mark.parametrize(
    "key",
    [
        ("f", LONG, LONG[:-1], LONG[:-2]),  # long, and nothing is shared
        ("f", [LONG] * 200),  # long, with shared parts
        ("f", dicts(4)),  # short, with shared parts
        ("f", {"x": {8, 1}, "y": frozenset({16, 3, 8})}),  # sets in the order of their hashes
        ("f", b"\0" * 200_000, 1, "é" * 70_000, 2**64),  # frames
        ("f", tuple(range(30_000))),
    ],
    ids=["long", "long-shared", "shared", "sets", "frames", "many"],
)
def test_keys_of_diskcache_are_found(tmp_path: Path, key: Any, sharding: Any) -> None:
    kind = sharding.__name__
    with Oracle() as oracle:
        theirs = oracle.open(kind, tmp_path)
        theirs[key] = "theirs"
        with sharding(tmp_path) as cache:
            assert cache[key] == "theirs"
            assert key in cache
            cache[key] = "ours"
            assert cache[key] == "ours"
            assert len(cache) == 1
            if hasattr(cache, "flush"):
                cache.flush()
        assert theirs[key] == "ours"
        with sharding(tmp_path) as cache:
            assert cache.pop(key) == "ours"
            assert key not in cache
        assert key not in theirs


def old_form(key: Any) -> bytes:
    """How earlier versions stored a key: every part written out."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 5)
    pickler.fast = True
    pickler.dump(key)
    return pickletools.optimize(stream.getvalue())


@pytest.mark.parametrize(
    "key", [("f", [LONG] * 20), ("f", dicts(10)), ("f", (1, LONG), LONG, (LONG, 2)), ("f", [{8, 1}])]
)
def test_keys_of_earlier_versions_are_found(tmp_path: Path, key: Any) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache["other"] = 0
    database = sqlite3.connect(tmp_path / "cache.db")
    with database:
        database.execute(
            "INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 0, 0, 0, 1, 5)",
            (old_form(key),),
        )
    database.close()
    with dolium.Cache(tmp_path) as cache:
        assert cache[key] == 5
        cache[key] = 6
        assert cache[key] == 6
        assert len(cache) == 2
        assert cache.delete(key)
        assert key not in cache


def test_diskcache_walks_over_long_keys(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache["f", LONG, LONG, LONG] = 1
        cache["short"] = 2
    with Oracle() as oracle:
        theirs = oracle.open("Cache", tmp_path)
        names = list(theirs)
        assert "short" in names
        assert len(names) == 2
        assert not [problem for problem in theirs.check() if not problem.startswith("unknown file")]
        theirs.clear()
    with dolium.Cache(tmp_path) as cache:
        assert cache._sql("SELECT count(*) FROM DoliumKeys").fetchall() == [(0,)], (
            "the proof goes with its row"
        )


@given(st.lists(recipes, min_size=1, max_size=6))
def test_a_cache_holds_what_a_dict_of_keys_would(many: list[Any]) -> None:
    identities = Identities()
    model: dict[int, int] = {}
    keys = [build(recipe) for recipe in many]
    with dolium.Cache() as cache:
        for number, key in enumerate(keys):
            model[identities.of(key)] = number
            cache[copied(key, 1)] = number
        for key in keys:
            assert cache[key] == model[identities.of(key)]
        assert len(cache) == len(model)
        assert sorted(identities.of(key) for key in cache) == sorted(model)
        assert cache.check() == []


class Own(Disk):
    def put(self, key: Any) -> Any:
        return super().put(("own", key))

    def get(self, key: Any, raw: bool) -> Any:
        return super().get(key, raw)[1]


def test_a_disk_of_the_user_s_lists_long_keys(tmp_path: Path) -> None:
    key = ("f", dicts(20), Node("a", 1))
    with dolium.Cache(tmp_path, disk=Own) as cache:
        cache[key] = 1
        assert cache[key] == 1
        assert list(cache) == [key]


SCRIPT = """
import sys
from dolium.disk import canonical
from collections import OrderedDict
words = ["alpha", "beta", "gamma", "delta", "epsilon"]
keys = [
    ("f", set(words)), ("f", [frozenset(words)], {"a": set(words[:3])}), ("f", (frozenset(words),)),
    ("f", {"x" * 70_000, *words}), ("f", {f"word {n}" for n in range(3000)}),
    ("f", frozenset(frozenset({word, 1}) for word in words)), ("f", OrderedDict(a=set(words))),
    ("f", {(word, number) for word in words for number in range(300)}, [words, words]),
]
print([canonical(key, 5).hex() for key in keys])
"""


def test_sets_are_one_key_under_every_hash_seed() -> None:
    def under(seed: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    first = under("0")
    for seed in ("1", "2", "77", "4000000000"):
        assert under(seed) == first


def test_the_command_line_names_long_keys(tmp_path: Path) -> None:
    key = ("f", dicts(20), LONG)
    with dolium.Cache(tmp_path / "a") as cache:
        cache[key] = 1

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dolium", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    (argument,) = run("list", str(tmp_path / "a")).split()
    assert run("get", str(tmp_path / "a"), argument).strip() == "1"
    run("export", str(tmp_path / "a"), str(tmp_path / "file"))
    run("import", str(tmp_path / "b"), str(tmp_path / "file"))
    run("import", str(tmp_path / "c"), str(tmp_path / "a"))
    for copy in ("b", "c"):
        with dolium.Cache(tmp_path / copy) as cache:
            assert cache[key] == 1
            assert list(cache) == [key]
    run("delete", str(tmp_path / "a"), argument)
    with dolium.Cache(tmp_path / "a") as cache:
        assert len(cache) == 0
