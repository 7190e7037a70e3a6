"""`Deque` behaves as `collections.deque` does, and as a list under slices; what it holds survives.

The state machine at the end compares long random histories with the models; the tests before it each
name one promise, most of them one that diskcache breaks.
"""

from __future__ import annotations

import contextlib
import copy
import operator
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import deque as Model
from collections.abc import Callable, MutableSequence
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import Deque
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

LARGE = [b"\x00\xffl" * 20_000, "grün\r\n" * 10_000, [list(range(9_000))]]
"""Values that are kept in files."""


@pytest.fixture
def deque(tmp_path: Path):
    deque = Deque(directory=str(tmp_path / "deque"))
    yield deque
    assert deque.cache.check() == []
    deque.cache.close()


def value_files(deque: Deque[Any]) -> list[Path]:
    return sorted(Path(deque.directory).rglob("*.val"))


def test_is_a_mutable_sequence(deque: Deque[int]):
    assert isinstance(deque, MutableSequence)


def test_contents_survive_reopening(deque: Deque[Any]):
    deque.extend([1, "two", *LARGE])
    deque.appendleft(None)
    deque.cache.close()
    assert list(Deque(directory=deque.directory)) == [None, 1, "two", *LARGE]


def test_constructor_appends_to_what_is_there(deque: Deque[int]):
    deque.extend([1, 2])
    again = Deque([3], directory=deque.directory, maxlen=2)
    assert list(again) == [2, 3]


def test_without_directory_each_is_its_own():
    one, other = Deque([1]), Deque[int]()
    try:
        assert one.directory != other.directory
        assert list(other) == []
    finally:
        for deque in (one, other):
            deque.cache.close()
            shutil.rmtree(deque.directory)


def test_fromcache_uses_the_cache_given(tmp_path: Path):
    with dolium.Cache(str(tmp_path), eviction_policy="none") as cache:
        deque = Deque.fromcache(cache, [1, 2, 3], maxlen=2)
        assert deque.cache is cache
        assert deque.directory == cache.directory == str(tmp_path)
        assert list(deque) == [2, 3]


@pytest.mark.parametrize("maxlen", [None, 2])
def test_pickle_copy_and_deepcopy_share_the_contents(deque: Deque[Any], maxlen: int | None):
    deque.maxlen = maxlen
    deque.extend("ab")
    twins = [deque.copy(), copy.copy(deque), pickle.loads(pickle.dumps(deque))]
    for number, twin in enumerate(twins):
        assert type(twin) is Deque
        assert twin.directory == deque.directory
        assert twin.maxlen == deque.maxlen
        twin.append(number)
        assert list(deque) == list(twin)
        assert deque.peek() == number


class Backwards(dolium.Disk):
    """Stores text from its end to its beginning."""

    def store(self, value: Any, read: bool, key: Any = dolium.UNKNOWN) -> Any:
        return super().store(value[::-1], read, key=key)

    def fetch(self, *args: Any) -> Any:
        return super().fetch(*args)[::-1]


def test_a_pickled_deque_keeps_its_disk_class(tmp_path: Path):
    cache = dolium.Cache(str(tmp_path), disk=Backwards, eviction_policy="none")
    deque = Deque.fromcache(cache, ["abc"])
    for twin in (pickle.loads(pickle.dumps(deque)), deque.copy()):
        assert list(twin) == ["abc"]
        assert type(twin.cache.disk) is Backwards
    cache.close()


def test_repr_shows_class_and_directory(deque: Deque[int]):
    assert repr(deque) == f"Deque(directory={deque.directory!r})"


def test_is_not_hashable(deque: Deque[int]):
    with pytest.raises(TypeError):
        hash(deque)


# Ends


@pytest.mark.parametrize("method", ["pop", "popleft", "peek", "peekleft"])
def test_ends_of_an_empty_deque_raise_index_error(deque: Deque[int], method: str):
    with pytest.raises(IndexError, match=f"{method.removesuffix('left')} from an empty deque"):
        getattr(deque, method)()


def test_none_is_a_value_like_others(deque: Deque[None]):
    deque.append(None)
    assert deque.peek() is None
    assert deque.peekleft() is None
    assert deque[0] is None
    assert deque.pop() is None
    assert len(deque) == 0


def test_maxlen_drops_at_the_other_end(deque: Deque[int]):
    deque.maxlen = 3
    deque.extend(range(5))
    assert list(deque) == [2, 3, 4]
    deque.appendleft(1)
    assert list(deque) == [1, 2, 3]
    deque.extendleft([0, -1])
    assert list(deque) == [-1, 0, 1]


def test_maxlen_can_be_lifted_again(deque: Deque[int]):
    assert deque.maxlen == float("inf")
    deque.maxlen = 1
    deque.extend("abc")
    deque.maxlen = None
    assert deque.maxlen == float("inf")
    deque.extend("abc")
    assert list(deque) == list("cabc")


def test_maxlen_zero_keeps_nothing(deque: Deque[int]):
    deque.maxlen = 0
    deque.append(1)
    deque.extendleft([2, 3])
    assert list(deque) == []


def test_dropped_values_leave_no_files(deque: Deque[Any]):
    deque.maxlen = 2
    deque.extend(LARGE * 3)
    assert list(deque) == LARGE[1:]
    deque.cache.check(fix=True)
    # The thread for upkeep may be removing them at this moment.
    end = time.monotonic() + 30
    while len(value_files(deque)) > 2:
        assert time.monotonic() < end, value_files(deque)
        time.sleep(0.01)


def test_extend_keeps_what_came_before_an_error(deque: Deque[int]):
    def values():
        yield 1
        yield 2
        raise LookupError

    with pytest.raises(LookupError):
        deque.extend(values())
    assert list(deque) == [1, 2]


def test_extend_shows_each_value_as_it_comes(deque: Deque[int]):
    def values():
        for number in range(3):
            assert list(deque) == list(range(number))
            yield number

    deque.extend(values())


@pytest.mark.parametrize("maxlen", [None, 0, 1, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 3, 150])
@pytest.mark.parametrize("alias", [False, True])
@pytest.mark.parametrize("method", ["__iadd__", "extend", "extendleft"])
def test_extending_a_deque_by_itself_ends(
    deque: Deque[int], method: str, alias: bool, size: int, maxlen: int | None
):
    model = Model(range(size), maxlen)
    deque.maxlen = maxlen
    deque.extend(range(size))
    getattr(deque, method)(deque.copy() if alias else deque)
    getattr(model, method)(model)
    assert list(deque) == list(model)


# Positions


@pytest.mark.parametrize("gap", [False, True])
def test_every_index_in_range(deque: Deque[int], gap: bool):
    deque.extend(range(-1, 12))
    model = list(range(-1, 12))
    if gap:
        del deque[5], model[5]
    for index in range(-len(model), len(model)):
        assert deque[index] == model[index]
        deque[index] = model[index] = model[index] * 10
    assert list(deque) == model
    while model:
        index = len(model) // 2
        del deque[index], model[index]
        assert list(deque) == model


@pytest.mark.parametrize("index", [3, -4, 10**20])
def test_an_index_out_of_range_is_an_index_error(deque: Deque[str], index: int):
    deque.extend("abc")
    with pytest.raises(IndexError):
        deque[index]
    with pytest.raises(IndexError):
        deque[index] = "x"
    with pytest.raises(IndexError):
        del deque[index]
    assert list(deque) == list("abc")


@pytest.mark.parametrize("index", ["a", 1.0, None])
def test_an_index_must_be_an_integer_or_slice(deque: Deque[str], index: Any):
    deque.append("a")
    with pytest.raises(TypeError):
        deque[index]


SLICES = [
    slice(None),
    slice(1, 3),
    slice(3, 1),
    slice(-2, None),
    slice(None, -2),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(4, 1, -2),
    slice(5, 99),
    slice(-99, 1),
]


@pytest.mark.parametrize("where", SLICES, ids=str)
def test_slices_read_and_delete_as_of_a_list(deque: Deque[int], where: slice):
    model = list(range(6))
    deque.extend(model)
    assert deque[where] == model[where]
    del deque[where], model[where]
    assert list(deque) == model


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("where", SLICES, ids=str)
def test_slices_are_assigned_as_of_a_list(deque: Deque[int], where: slice, count: int):
    model = list(range(6))
    deque.extend(model)
    values = [100 + number for number in range(count)]
    try:
        model[where] = values
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)):
            deque[where] = values
    else:
        deque[where] = iter(values)
    assert list(deque) == model


def test_a_slice_cannot_be_made_longer_than_maxlen(deque: Deque[int]):
    deque.maxlen = 4
    deque.extend(range(4))
    with pytest.raises(IndexError, match="maximum size"):
        deque[1:2] = [10, 11]
    assert list(deque) == [0, 1, 2, 3]
    deque[1:3] = [10, 11]
    assert list(deque) == [0, 10, 11, 3]


def test_insert_into_a_full_deque_raises_as_in_collections(deque: Deque[int]):
    deque.maxlen = 2
    deque.extend([1, 2])
    with pytest.raises(IndexError, match="deque already at its maximum size"):
        deque.insert(1, 9)
    assert list(deque) == [1, 2]


def test_remove_and_index_name_what_is_missing(deque: Deque[str]):
    deque.extend("abc")
    with pytest.raises(ValueError, match="not in deque"):
        deque.remove("x")
    with pytest.raises(ValueError, match="'x' is not in deque"):
        deque.index("x")
    with pytest.raises(ValueError, match="not in deque"):
        deque.index("a", 1)


# Order


@pytest.mark.parametrize("steps", range(-7, 8))
def test_rotate_moves_large_values_unharmed(deque: Deque[Any], steps: int):
    model = Model([1, *LARGE, 2])
    deque.extend(model)
    deque.rotate(steps)
    model.rotate(steps)
    assert list(deque) == list(model)


def test_rotate_wants_an_integer(deque: Deque[int]):
    with pytest.raises(TypeError, match="integer argument expected, got float"):
        deque.rotate(0.5)  # type: ignore[arg-type]
    deque.rotate()
    assert list(deque) == []


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_reverse(deque: Deque[Any], size: int):
    values = (LARGE + list(range(9)))[:size]
    deque.extend(values)
    deque.reverse()
    assert list(deque) == values[::-1]
    assert list(reversed(deque)) == values


RELATIONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("other", [[], [1], [1, 2, 3], [1, 2, 4], [1, 3], [0, 2, 3, 4]], ids=str)
@pytest.mark.parametrize("relation", RELATIONS)
def test_compares_as_a_sequence(deque: Deque[int], relation: Any, other: list[int]):
    deque.extend([1, 2, 3])
    assert relation(deque, other) is relation([1, 2, 3], other)
    assert relation(deque, Model(other)) is relation([1, 2, 3], other)


def test_differs_from_what_is_no_sequence(deque: Deque[int]):
    assert deque != 5
    assert deque != {1}
    assert deque != None  # noqa: E711
    assert not deque == 5  # noqa: SIM201
    with pytest.raises(TypeError):
        deque < 5  # type: ignore[operator]  # noqa: B015


# Damage and refusal


def test_a_vanished_value_file_ends_no_method_in_a_loop(deque: Deque[Any]):
    deque.extend([*LARGE[:1], 1, 2])
    (file,) = value_files(deque)
    file.unlink()
    assert list(deque) == [1, 2]
    assert deque.peekleft() == 1
    assert deque.popleft() == 1
    assert deque.pop() == 2
    deque.cache.check(fix=True)


def test_a_vanished_value_file_stops_no_reordering(deque: Deque[Any]):
    for change in (Deque.reverse, Deque.rotate, lambda deque: deque.insert(1, 0)):
        deque.clear()
        deque.cache.check(fix=True)
        deque.extend([1, 2, LARGE[0], 3, 4])
        (file,) = value_files(deque)
        file.unlink()
        change(deque)
        assert sorted(value for value in deque if value) == [1, 2, 3, 4]
        deque.cache.check(fix=True)


def test_a_failed_block_changes_nothing(deque: Deque[Any]):
    deque.extend([1, *LARGE])
    for change in (
        lambda: deque.rotate(2),
        deque.reverse,
        deque.pop,
        deque.popleft,
        deque.clear,
        lambda: deque.__setitem__(slice(0, 2), [7, 8, 9]),
        lambda: setattr(deque, "maxlen", 1),
    ):
        with pytest.raises(ZeroDivisionError):
            undone(deque, change)
        assert list(deque) == [1, *LARGE]
        deque.maxlen = None


def undone(container: Any, change: Callable[[], Any]) -> None:
    """Make a change in a block that fails after it."""
    with container.transact():
        change()
        raise ZeroDivisionError


class Unknown:
    """Something that a stranger's pickle could make."""


def test_a_refused_value_raises_and_stays(deque: Deque[Any]):
    deque.extend([1, 2, 3])
    plant(deque, 500_000_000_000_002, Unknown())
    refusals = [
        lambda: list(deque),
        deque.peek,
        deque.pop,
        lambda: deque[2],
        lambda: deque.rotate(1),
        deque.reverse,
        lambda: deque.remove("x"),
        lambda: deque.insert(3, 0) or deque.pop() or deque.pop(),
    ]
    for refusal in refusals:
        with pytest.raises(dolium.UntrustedValueError), deque.transact():
            refusal()
        assert len(deque) == 3
    assert deque.popleft() == 1
    deque.clear()
    assert len(deque) == 0


def plant(deque: Deque[Any], key: Any, value: Any) -> None:
    """Put a pickle into the row of `key` that dolium did not sign."""
    deque.cache._sql(
        "UPDATE Cache SET mode = 4, filename = NULL, value = ? WHERE key = ?",
        (pickle.dumps(value), key),
    )


# Many at once


def test_threads_lose_and_double_nothing(deque: Deque[int]):
    taken: list[int] = []

    def produce(start: int) -> None:
        for number in range(start, start + 100):
            deque.append(number)

    def consume() -> None:
        while len(taken) < 400:
            with contextlib.suppress(IndexError):
                taken.append(deque.popleft())

    threads = [threading.Thread(target=produce, args=(n * 100,)) for n in range(4)]
    threads += [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(400))


def python(program: str, deque: Deque[Any]) -> subprocess.Popen[str]:
    """Start a process in which `deque` is this one."""
    start = f"import dolium, time\ndeque = dolium.Deque(directory={deque.directory!r})\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", start + textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_lose_and_double_nothing(deque: Deque[int]):
    produce = "for number in range(200): deque.append(number)"
    consume = """
        taken = []
        while "stop" not in taken:
            try:
                taken.append(deque.popleft())
            except IndexError:
                time.sleep(0.001)
        print(*taken[:-1])
    """
    producers = [python(produce, deque) for _ in range(2)]
    consumers = [python(consume, deque) for _ in range(2)]
    for producer in producers:
        assert producer.wait(60) == 0
    deque.extend(["stop", "stop"])
    taken = " ".join(consumer.communicate(timeout=60)[0] for consumer in consumers).split()
    assert sorted(map(int, taken)) == sorted([*range(200), *range(200)])
    assert len(deque) == 0


@pytest.mark.parametrize("change", ["rotate(1)", "rotate(-3)", "reverse()", "insert(3, deque.pop())"])
def test_process_killed_while_it_reorders_loses_nothing(deque: Deque[Any], change: str):
    values = [[number, LARGE[1][number:]] for number in range(6)]
    deque.extend(values)
    change = f"deque.{change}"
    if "pop" in change:
        change = f"with deque.transact(): {change}"
    for delay in (0.01, 0.03, 0.05):
        process = python(f"print('begun', flush=True)\nwhile True:\n    {change}", deque)
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert sorted(deque) == values
        # What it was about to write may lie about; nothing that is needed is missing.
        for warning in deque.cache.check(fix=True):
            assert issubclass(warning.category, (dolium.EmptyDirWarning, dolium.UnknownFileWarning))


VALUES = st.one_of(
    st.integers(0, 5),
    st.none(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.tuples(st.integers(0, 3)),
    st.integers(0, 1).map(LARGE.__getitem__),
)
INDEXES = st.integers(-12, 12)
BOUNDS = st.none() | INDEXES
WHERE = st.builds(slice, BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, -1, -3]))


class DequeMachine(RuleBasedStateMachine):
    """Histories on a `Deque` and on a `collections.deque` (a list where that has no answer)."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="dolium-test-")
        self.deque: Deque[Any] = Deque(directory=self.directory)
        self.model: Model[Any] = Model()

    def teardown(self) -> None:
        assert self.deque.cache.check() == []
        self.deque.cache.close()
        shutil.rmtree(self.directory)

    def both(self, action: Any) -> None:
        """The same result, or the same kind of exception."""
        try:
            expected = action(self.model)
        except (IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                action(self.deque)
        else:
            result = action(self.deque)
            assert result == expected
            assert type(result) is type(expected) or isinstance(result, Deque)

    def as_list(self, action: Any) -> None:
        items = list(self.model)
        try:
            expected = action(items)
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)):
                action(self.deque)
        else:
            if self.model.maxlen is not None and len(items) > self.model.maxlen:
                with pytest.raises(IndexError):
                    action(self.deque)
            else:
                assert action(self.deque) == expected
                self.model = Model(items, self.model.maxlen)

    @initialize(maxlen=st.none() | st.integers(0, 8), values=st.lists(VALUES, max_size=6))
    def start(self, maxlen: int | None, values: list[Any]) -> None:
        self.deque.maxlen = maxlen
        self.deque.extend(values)
        self.model = Model(values, maxlen)

    @rule(value=VALUES, method=st.sampled_from(["append", "appendleft", "remove", "count"]))
    def one_value(self, value: Any, method: str) -> None:
        self.both(lambda deque: getattr(deque, method)(value))

    @rule(value=VALUES, start=INDEXES, stop=st.none() | INDEXES)
    def index(self, value: Any, start: int, stop: int | None) -> None:
        bounds = (start,) if stop is None else (start, stop)
        self.both(lambda deque: deque.index(value, *bounds))
        self.both(lambda deque: value in deque)

    @rule(
        values=st.lists(VALUES, max_size=5),
        method=st.sampled_from(["extend", "extendleft"]),
        lazily=st.booleans(),
    )
    def extend(self, values: list[Any], method: str, lazily: bool) -> None:
        self.both(lambda deque: getattr(deque, method)(iter(values) if lazily else values))

    @precondition(lambda self: len(self.model) < 20)
    @rule(method=st.sampled_from(["extend", "extendleft"]))
    def extend_by_itself(self, method: str) -> None:
        self.both(lambda deque: getattr(deque, method)(deque))

    @rule(method=st.sampled_from(["pop", "popleft", "reverse"]))
    def no_argument(self, method: str) -> None:
        self.both(lambda deque: getattr(deque, method)())

    @rule(steps=st.integers(-20, 20))
    def rotate(self, steps: int) -> None:
        self.both(lambda deque: deque.rotate(steps))

    @rule(index=INDEXES, value=VALUES)
    def position(self, index: int, value: Any) -> None:
        self.both(lambda deque: deque[index])
        self.both(lambda deque: deque.__setitem__(index, value))

    @rule(index=INDEXES)
    def delete(self, index: int) -> None:
        self.both(lambda deque: deque.__delitem__(index))

    @rule(index=INDEXES, value=VALUES)
    def insert(self, index: int, value: Any) -> None:
        self.both(lambda deque: deque.insert(index, value))

    @rule(where=WHERE)
    def read_slice(self, where: slice) -> None:
        self.as_list(lambda items: items[where])

    @rule(where=WHERE)
    def delete_slice(self, where: slice) -> None:
        self.as_list(lambda items: items.__delitem__(where))

    @rule(where=WHERE, values=st.lists(VALUES, max_size=4))
    def assign_slice(self, where: slice, values: list[Any]) -> None:
        self.as_list(lambda items: items.__setitem__(where, values))

    @rule(maxlen=st.none() | st.integers(0, 8))
    def change_maxlen(self, maxlen: int | None) -> None:
        self.deque.maxlen = maxlen
        self.model = Model(self.model, maxlen)

    @rule()
    def clear(self) -> None:
        self.both(lambda deque: deque.clear())

    @rule()
    def reopen(self) -> None:
        state = pickle.dumps(self.deque)
        self.deque.cache.close()
        self.deque = pickle.loads(state)

    @invariant()
    def same(self) -> None:
        assert len(self.deque) == len(self.model)
        assert list(self.deque) == list(self.model)
        assert list(reversed(self.deque)) == list(reversed(self.model))
        if self.model:
            assert self.deque.peek() == self.model[-1]
            assert self.deque.peekleft() == self.model[0]


DequeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDequeModel = DequeMachine.TestCase


@pytest.mark.parametrize("hot_size", [-1, 0])
def test_a_fraction_beside_a_hole_moves_no_position(tmp_path: Path, hot_size: int) -> None:
    first = 500_000_000_000_000
    cache = dolium.Cache(tmp_path, eviction_policy="none", hot_size=hot_size)
    for key, value in ((first, "a"), (first + 2, "b"), (first + 2.5, "c"), (first + 3, "d")):
        cache.set(key, value)
    deque = dolium.Deque.fromcache(cache)
    assert [deque[position] for position in range(-4, 4)] == list("abcdabcd")
    deque[2] = "C"
    assert list(deque) == list("abCd")
    del deque[1]
    with deque.transact():
        assert [deque[position] for position in range(3)] == list("aCd")
