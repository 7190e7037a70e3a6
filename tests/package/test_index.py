"""`Index` behaves as a dictionary does and keeps everything it is given.

The state machine at the end compares long random histories with an ordered dictionary; the tests before
it each name one promise, several of them ones that diskcache breaks.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import Index
from helpers.names import named
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

LARGE = ["grün\r\n" * 10_000, b"\x00\xffl" * 20_000, [list(range(9_000))]]
"""Values that are kept in files."""


@pytest.fixture
def index(tmp_path: Path):
    index: Index[Any, Any] = Index(str(tmp_path / "index"))
    yield index
    assert index.cache.check() == []
    index.cache.close()


def value_files(index: Index[Any, Any]) -> list[Path]:
    return sorted(Path(index.directory).rglob("*.val"))


def test_is_a_mutable_mapping(index: Index[str, int]):
    assert isinstance(index, MutableMapping)


@pytest.mark.parametrize("kind", [str, Path, lambda path: str(path).encode()], ids=["str", "Path", "bytes"])
def test_the_first_argument_may_be_a_directory(tmp_path: Path, kind: Any):
    index = Index(kind(tmp_path / "here"), [("a", 1)], b=2)
    assert index.directory == str(tmp_path / "here")
    assert list(index.items()) == [("a", 1), ("b", 2)]
    index.cache.close()
    assert dict(Index(index.directory)) == {"a": 1, "b": 2}


@pytest.mark.parametrize("arguments", [(), (None,), ({"a": 1},), (None, {"a": 1}), ([("a", 1)],)])
def test_without_directory_each_is_its_own(arguments: tuple[Any, ...]):
    one, other = Index(*arguments, b=2), Index()
    try:
        assert one.directory != other.directory
        assert "b" in one
        assert len(one) == 1 + (len(arguments) > 0 and arguments[-1] is not None)
        assert len(other) == 0
    finally:
        for index in (one, other):
            index.cache.close()
            shutil.rmtree(index.directory)


def test_fromcache_uses_the_cache_given(tmp_path: Path):
    with dolium.Cache(str(tmp_path), eviction_policy="none") as cache:
        index = Index.fromcache(cache, {"a": 1}, b=2)
        assert index.cache is cache
        assert dict(index) == {"a": 1, "b": 2}
        assert cache["b"] == 2


def test_a_pickle_opens_the_same_index(index: Index[str, int]):
    index["a"] = 1
    twin = pickle.loads(pickle.dumps(index))
    assert type(twin) is Index
    assert twin == index
    twin["b"] = 2
    assert index["b"] == 2


def test_a_pickled_index_keeps_its_disk_class(tmp_path: Path):
    cache = dolium.Cache(str(tmp_path), disk=dolium.JSONDisk, eviction_policy="none")
    index = Index.fromcache(cache, {"a": [1]})
    assert dict(pickle.loads(pickle.dumps(index))) == {"a": [1]}
    cache.close()


def test_a_pickled_index_of_shards_keeps_its_shards(tmp_path: Path):
    with dolium.FanoutCache(str(tmp_path), shards=3, eviction_policy="none") as cache:
        index = Index.fromcache(cache, {number: -number for number in range(20)})
        assert pickle.loads(pickle.dumps(index)) == {number: -number for number in range(20)}


def test_repr_shows_class_and_directory(index: Index[str, int]):
    assert repr(index) == f"Index({index.directory!r})"


def test_is_not_hashable(index: Index[str, int]):
    with pytest.raises(TypeError):
        hash(index)


# Items


@pytest.mark.parametrize("key", ["missing", 1, None, (1, "a"), b"\xff", [1]], ids=str)
def test_a_missing_key_is_named(index: Index[Any, Any], key: Any):
    for access in (
        lambda: index[key],
        lambda: index.__delitem__(key),
        lambda: index.pop(key),
    ):
        with pytest.raises(KeyError) as caught:
            access()
        assert caught.value.args == (key,)
    assert key not in index
    assert index.get(key) is None
    assert index.get(key, 5) == 5
    assert index.pop(key, None) is None


def test_keys_need_not_be_hashable(index: Index[Any, Any]):
    index[[1, 2]] = {"x": 1}
    index[{"a": None}] = 2
    assert list(index) == [[1, 2], {"a": None}]
    assert index.pop([1, 2]) == {"x": 1}
    assert list(index.items()) == [({"a": None}, 2)]


def test_none_is_a_value_like_others(index: Index[str, Any]):
    index["a"] = None
    assert "a" in index
    assert index["a"] is None
    assert index.get("a", 5) is None
    assert index.setdefault("a", 5) is None
    assert index.pop("a", 5) is None


def test_order_is_that_of_insertion_and_change_keeps_it(index: Index[Any, Any]):
    for key in "zax":
        index[key] = key
    index["z"] = LARGE[0]
    assert list(index) == list("zax")
    del index["z"]
    index["z"] = 1
    assert list(index) == list("axz")
    assert list(reversed(index)) == list("zxa")
    assert index.peekitem() == ("z", 1)
    assert index.peekitem(last=False) == ("a", "a")


def test_popitem_takes_either_end(index: Index[str, int]):
    index.update(a=1, b=2, c=3)
    assert index.popitem() == ("c", 3)
    assert index.popitem(last=False) == ("a", 1)
    assert index.popitem() == ("b", 2)
    for method in (index.popitem, index.peekitem):
        with pytest.raises(KeyError, match="dictionary is empty"):
            method()


def test_setdefault_sets_once(index: Index[str, Any]):
    assert index.setdefault("a") is None
    assert index.setdefault("b", LARGE[0]) == LARGE[0]
    assert index.setdefault("b", 2) == LARGE[0]


def test_setdefault_in_many_threads_gives_all_one_value(index: Index[str, int]):
    given: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: given.append(index.setdefault("a", number)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == [index["a"]] * 8


def test_update_takes_what_a_dictionary_takes(index: Index[Any, Any]):
    index.update({"a": 1})
    index.update([("b", 2)], c=3)
    index.update(OrderedDict(d=4))
    index.update(Index(e=5))
    index.update()
    assert dict(index) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    index.update({number: number for number in range(1_200)})
    assert list(index) == [*"abcde", *range(1_200)]


def test_queues_are_those_of_the_cache(index: Index[Any, Any]):
    assert index.push("x") == 500_000_000_000_000
    assert index.push("y", side="front") == 499_999_999_999_999
    assert index.push("z", prefix="q") == "q-500000000000000"
    assert index.pull() == (499_999_999_999_999, "y")
    assert index.pull(side="back") == (500_000_000_000_000, "x")
    assert index.pull() == (None, None)
    assert index.pull("q", default=None) == ("q-500000000000000", "z")
    assert index.pull("q", default=None) is None


# Views


def test_views_are_live_and_set_like(index: Index[Any, Any]):
    keys, values, items = index.keys(), index.values(), index.items()
    index.update(a=1, b=2)
    assert keys == {"a", "b"}
    assert keys & {"b", "c"} == {"b"}
    assert items == {("a", 1), ("b", 2)}
    assert 2 in values
    assert ("a", 2) not in items
    assert [len(view) for view in (keys, values, items)] == [2, 2, 2]
    assert list(reversed(keys)) == ["b", "a"]
    assert list(reversed(values)) == [2, 1]
    assert list(reversed(items)) == [("b", 2), ("a", 1)]


def test_iteration_passes_over_what_is_deleted_meanwhile(index: Index[Any, Any]):
    index.update({number: number for number in range(10)})
    seen: list[int] = []
    for key, _ in index.items():
        seen.append(key)
        index.pop(key + 1, None)
    assert seen == [0, 2, 4, 6, 8]


# Comparison


@pytest.mark.parametrize("other", [5, None, "ab", [("a", 1)], object()], ids=named)
def test_differs_from_what_is_no_mapping(index: Index[str, int], other: Any):
    index["a"] = 1
    assert not index == other  # noqa: SIM201
    assert index != other


def test_order_counts_only_among_ordered(index: Index[str, int]):
    index.update(a=1, b=2)
    assert index == {"b": 2, "a": 1}
    assert {"b": 2, "a": 1} == index  # noqa: SIM300
    assert index == OrderedDict([("a", 1), ("b", 2)])
    assert index != OrderedDict([("b", 2), ("a", 1)])
    assert index == Index(a=1, b=2)
    assert index != Index(b=2, a=1)
    assert index != {"a": 1}
    assert index != {"a": 1, "b": 3}
    assert index != {"a": 1, "c": 2}


# Nothing is lost


@pytest.mark.parametrize("made_before", [False, True])
def test_an_index_of_a_fanout_cache_evicts_nothing(tmp_path: Path, made_before: bool):
    if made_before:
        with dolium.Cache(str(tmp_path / "index" / "x")):
            pass  # made with a policy that evicts
    with dolium.FanoutCache(str(tmp_path), shards=2, size_limit=100_000, cull_limit=10) as fanout:
        index, deque = fanout.index("x"), fanout.deque("x")
        assert index.cache.eviction_policy == deque.cache.eviction_policy == "none"
        index.cache.reset("size_limit", 100_000)
        deque.cache.reset("size_limit", 100_000)
        for number in range(100):
            index[number] = b"x" * 40_000
            deque.append(b"x" * 40_000)
        assert len(index) == len(list(index.values())) == len(deque) == len(list(deque)) == 100


def test_a_failed_block_changes_nothing(index: Index[Any, Any]):
    index.update(a=LARGE[0], b=LARGE[1])
    for change in (
        lambda: index.pop("a"),
        index.popitem,
        lambda: index.update(a=1, c=2),
        lambda: index.push("x"),
        index.clear,
    ):
        with pytest.raises(ZeroDivisionError):
            undone(index, change)
        assert dict(index) == {"a": LARGE[0], "b": LARGE[1]}


def test_a_vanished_value_file_ends_no_method_in_a_loop(index: Index[Any, Any]):
    index.update(a=LARGE[0], b=1)
    (file,) = value_files(index)
    file.unlink()
    assert dict(index.items()) == {"b": 1}
    assert index.get("a") is None
    assert index.setdefault("a", 2) == 2
    index.update(a=LARGE[0])
    (file,) = value_files(index)
    file.unlink()
    assert index.popitem(last=False) == ("b", 1)
    index.cache.check(fix=True)


def undone(container: Any, change: Callable[[], Any]) -> None:
    """Make a change in a block that fails after it."""
    with container.transact():
        change()
        raise ZeroDivisionError


class Unknown:
    """Something that a stranger's pickle could make."""


def test_a_refused_value_raises_and_stays(index: Index[Any, Any]):
    index.update(a=1, b=2)
    index.cache._sql("UPDATE Cache SET mode = 4, value = ? WHERE key = ?", (pickle.dumps(Unknown()), "b"))
    for access in (
        lambda: index["b"],
        lambda: index.get("b"),
        lambda: index.setdefault("b", 1),
        lambda: index.pop("b"),
        lambda: index.pop("b", None),
        index.popitem,
        index.peekitem,
        lambda: list(index.values()),
        lambda: dict(index),
        lambda: index == {"a": 1, "b": 2},
    ):
        with pytest.raises(dolium.UntrustedValueError):
            access()
        assert len(index) == 2
    assert "b" in index
    assert list(index) == ["a", "b"]
    with pytest.warns(dolium.UntrustedValueWarning):
        assert index.cache.get("b", "a miss") == "a miss"
    index["b"] = 3
    assert dict(index) == {"a": 1, "b": 3}


def test_memoize_keeps_results_under_diskcaches_keys(index: Index[Any, Any]):
    calls: list[int] = []

    @index.memoize(name="double", ignore={"note"})
    def double(number: int, note: str = "") -> int:
        calls.append(number)
        return number * 2

    assert [double(3), double(3, "again"), double(3, note="and again")] == [6, 6, 6]
    assert calls == [3]
    assert dict(index) == {("double", 3, None): 6}
    with pytest.raises(TypeError, match="write @"):
        index.memoize(double)  # type: ignore[arg-type]


KEYS = st.one_of(
    st.integers(0, 6), st.sampled_from("abc"), st.booleans(), st.none(), st.tuples(st.integers(0, 2))
)
VALUES = st.one_of(st.integers(), st.none(), st.text(max_size=3), st.integers(0, 1).map(LARGE.__getitem__))


def identity(key: Any) -> Any:
    """A stand-in for `key` in the model: to a cache, ``1`` and ``True`` are two keys."""
    return (type(key), key)


class IndexMachine(RuleBasedStateMachine):
    """Histories on an `Index` and on an ordered dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="dolium-test-")
        self.index: Index[Any, Any] = Index(self.directory)
        self.model: OrderedDict[Any, Any] = OrderedDict()

    def teardown(self) -> None:
        assert self.index.cache.check() == []
        self.index.cache.close()
        shutil.rmtree(self.directory)

    @initialize(items=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def start(self, items: list[tuple[Any, Any]]) -> None:
        self.update(items)

    @rule(items=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def update(self, items: list[tuple[Any, Any]]) -> None:
        self.index.update(items)
        self.model.update((identity(key), value) for key, value in items)

    @rule(key=KEYS, value=VALUES)
    def set(self, key: Any, value: Any) -> None:
        self.index[key] = value
        self.model[identity(key)] = value

    @rule(key=KEYS)
    def get(self, key: Any) -> None:
        assert (key in self.index) == (identity(key) in self.model)
        assert self.index.get(key, "missing") == self.model.get(identity(key), "missing")

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: Any, value: Any) -> None:
        assert self.index.setdefault(key, value) == self.model.setdefault(identity(key), value)

    @rule(key=KEYS)
    def delete(self, key: Any) -> None:
        if identity(key) in self.model:
            del self.index[key], self.model[identity(key)]
        else:
            with pytest.raises(KeyError):
                del self.index[key]

    @rule(key=KEYS, default=VALUES)
    def pop(self, key: Any, default: Any) -> None:
        assert self.index.pop(key, default) == self.model.pop(identity(key), default)

    @rule(last=st.booleans())
    def popitem(self, last: bool) -> None:
        if self.model:
            (_, key), value = self.model.popitem(last)
            assert self.index.peekitem(last) == self.index.popitem(last) == (key, value)
        else:
            with pytest.raises(KeyError):
                self.index.popitem(last)

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.model.clear()

    @rule(data=st.data())
    def failed_block(self, data: Any) -> None:
        one, other, value = data.draw(KEYS), data.draw(KEYS), data.draw(VALUES)
        with pytest.raises(ZeroDivisionError):
            undone(self.index, lambda: (self.index.update([(one, value)]), self.index.pop(other, None)))

    @rule()
    def reopen(self) -> None:
        state = pickle.dumps(self.index)
        self.index.cache.close()
        self.index = pickle.loads(state)

    @invariant()
    def same(self) -> None:
        expected = [(key, value) for (_, key), value in self.model.items()]
        assert len(self.index) == len(expected)
        found = list(self.index.items())
        assert found == expected
        assert [type(key) for key, _ in found] == [type(key) for key, _ in expected]
        assert list(reversed(self.index.items())) == expected[::-1]


IndexMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestIndexModel = IndexMachine.TestCase
