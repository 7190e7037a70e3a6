"""Random operations on dolium and on diskcache 5.6.3: the same answers, and the same rows at the end."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .differences import DIFFERENCES, Call, known
from .oracle import Foreign, Oracle, Raised

FAR = 100.0
"""Expiry times are a multiple of ten times this apart, so the time a run takes cannot matter."""

EXPIRE = st.sampled_from([None, None, None, -10 * FAR, 10 * FAR, 20 * FAR])
TAGS = st.sampled_from([None, None, "t", "u", "", b"t", 1, 1.5])
KEYS = st.sampled_from(
    [
        "a",
        "b",
        "",
        "\0",
        "ü",
        b"a",
        b"",
        0,
        1,
        2,
        -5,
        2**62,
        2**70,
        1e20,  # (beyond the range of queues: diskcache counts on from 1.5 to 2.5)
        -1.5,
        True,
        None,
        (1, "a"),
        ("f", None, (2.5,)),
    ]
)
PREFIXES = st.sampled_from([None, "q", "q-r", ""])
DELTAS = st.sampled_from([1, 5, -2, 0.5, 2**63 - 1])
SIDES = st.sampled_from(["front", "back"])
SMALL = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(), st.binary(max_size=20),
    st.text(max_size=20).map(lambda text: text.encode(errors="ignore").decode()),
    st.lists(st.integers(), max_size=3), st.tuples(st.text("ab"), st.none()),
    st.dictionaries(st.text("ab", max_size=2), st.integers(), max_size=3),
)  # fmt: skip
LARGE = st.sampled_from(
    ["x" * 300, "a\r\nb\n\rc" * 50, b"\r\n\0" * 100, [list(range(100))], "ü" * 100, b"", 5, {"k": "v" * 500}]
)


def call(
    name: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), st.tuples(*args), st.fixed_dictionaries({}, optional=kwargs))


YES = st.booleans()


def operations(values: st.SearchStrategy[Any], *, single: bool) -> st.SearchStrategy[Any]:
    """Calls; those of `single` need one directory."""
    items = {"expire_time": YES, "tag": YES}
    common = [
        call("set", KEYS, values, expire=EXPIRE, tag=TAGS),
        call("set", KEYS, values, expire=EXPIRE, tag=TAGS),
        call("__setitem__", KEYS, values),
        call("add", KEYS, values, expire=EXPIRE, tag=TAGS),
        call("get", KEYS, default=st.just("default"), **items),
        call("__getitem__", KEYS),
        call("__contains__", KEYS),
        call("touch", KEYS, expire=EXPIRE),
        call("delete", KEYS),
        call("__delitem__", KEYS),
        call("pop", KEYS, default=st.just("default"), **items),
        call("incr", KEYS, delta=DELTAS, default=st.sampled_from([0, None, 7, 1.5])),
        call("decr", KEYS, delta=st.integers(-2, 2)),
        call("evict", TAGS),
        call("expire"),
        call("__len__"),
        call("__iter__"),
        call("__reversed__"),
        st.tuples(st.sampled_from(["clear", "stats"]), st.just(()), st.just({})),
    ]  # fmt: skip
    queues = [
        call("push", values, prefix=PREFIXES, side=SIDES, expire=EXPIRE, tag=TAGS),
        call("push", values, prefix=PREFIXES, side=SIDES),
        call("pull", prefix=PREFIXES, side=SIDES, default=st.just("default"), **items),
        call("peek", prefix=PREFIXES, side=SIDES, **items),
        call("peekitem", last=YES, **items),
        call("iterkeys", reverse=YES),
    ]
    return st.one_of(*common, *(queues if single else ()))


def attempt(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        result = function(*args, **kwargs)
        return list(result) if hasattr(result, "__next__") else result
    except Raised as raised:
        return raised
    except Exception as error:
        return Raised([kind.__name__ for kind in type(error).__mro__], error.args)


def same(theirs: Any, ours: Any) -> bool:
    """Equal and of equal types; times of expiry roughly; ours may be a subclass of their exception."""
    if isinstance(theirs, Raised) or isinstance(ours, Raised):
        return (
            isinstance(theirs, Raised)
            and isinstance(ours, Raised)
            and theirs.names[0] in ours.names
            and (theirs.names[0] != "KeyError" or same(theirs.arguments, ours.arguments))
        )
    if isinstance(theirs, tuple) and isinstance(ours, tuple):
        return len(theirs) == len(ours) and all(map(same, theirs, ours))
    if isinstance(theirs, float) and isinstance(ours, float) and 1e9 < theirs < 1e10:
        return abs(theirs - ours) < FAR  # a time of expiry
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(same, theirs, ours))
    return type(theirs) is type(ours) and theirs == ours


class Pair:
    """The same cache twice."""

    def __init__(self, oracle: Oracle, kind: str, directory: Path, **settings: Any) -> None:
        self.oracle, self.kind, self.settings, self.directory = oracle, kind, settings, directory
        self.theirs = oracle.open(kind, directory / "theirs", **settings)
        self.ours = getattr(dolium, kind)(directory / "ours", **settings)
        self.seen: list[str] = []

    def run(self, name: str, args: Any, kwargs: Any) -> None:
        theirs = attempt(getattr(self.theirs, name), args, kwargs)
        ours = attempt(getattr(self.ours, name), args, kwargs)
        if name == "__delitem__" and theirs is True:
            theirs = None  # a `del` shows no answer
        if not same(theirs, ours):
            title = known(Call(name, args, kwargs, theirs, ours))
            self.seen.append(f"{name}{args}{kwargs}")
            assert title is not None, f"{name}{args}{kwargs}: diskcache {theirs!r}, dolium {ours!r}"
            if isinstance(theirs, Raised) is not isinstance(ours, Raised):
                # One of them has changed something that the other has not.
                self.theirs.delete(args[0])
                self.ours.delete(args[0])

    def compare_directories(self) -> None:
        """What dolium left, as diskcache reads it."""
        assert self.ours.check() == []
        self.ours.close()
        again = self.oracle.open(self.kind, self.directory / "ours", **self.settings)
        keys = list(self.theirs)
        assert same(keys, list(again)) or known(Call("__iter__", (), {}, keys, list(again)))
        for key in keys:
            theirs = attempt(self.theirs.get, (key,), {"expire_time": True, "tag": True})
            ours = attempt(again.get, (key,), {"expire_time": True, "tag": True})
            assert same(theirs, ours) or known(Call("get", (key,), {}, theirs, ours)), (
                f"{key!r}: {theirs} {ours}"
            )
        assert len(self.theirs) == len(again)
        unexpected = [line for line in again.check() if "cache.hot" not in line and "cache.lock" not in line]
        assert unexpected == []
        again.close()
        self.theirs.close()


@contextlib.contextmanager
def pair(oracle: Oracle, kind: str, **settings: Any) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("error")
        both = Pair(oracle, kind, Path(directory), **settings)
        yield both
        both.compare_directories()


CONFIGURATIONS = [
    pytest.param("Cache", {}, SMALL, id="small values"),
    pytest.param("Cache", {"disk_min_file_size": 50}, LARGE, id="values in files"),
    pytest.param("Cache", {"eviction_policy": "least-recently-used", "cull_limit": 0}, SMALL, id="lru"),
    pytest.param(
        "Cache", {"statistics": True, "eviction_policy": "least-frequently-used"}, SMALL, id="lfu, statistics"
    ),
    pytest.param("FanoutCache", {"shards": 3, "timeout": 60}, SMALL, id="shards"),
    pytest.param("FanoutCache", {"timeout": 60, "disk_min_file_size": 50}, LARGE, id="shards, files"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options", "values"), CONFIGURATIONS)
def test_same_answers(oracle, kind, options, values):
    @settings(max_examples=40)
    @given(st.lists(operations(values, single=kind == "Cache"), min_size=1, max_size=40))
    def compare(calls):
        with pair(oracle, kind, **options) as both:
            for name, args, kwargs in calls:
                both.run(name, args, kwargs)

    compare()


# Not with values in files: diskcache unlinks what it overwrote before it rolls back.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Cache", "FanoutCache"])
def test_same_answers_with_transactions(oracle, kind):
    steps = operations(SMALL.filter(lambda value: value == value), single=kind == "Cache")

    @settings(max_examples=40)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["begin", "commit", "roll_back", "", ""]), steps),
            min_size=1,
            max_size=30,
        )
    )
    def compare(calls):
        with pair(oracle, kind, timeout=60) as both:
            open_transactions: list[Any] = []

            def end(commit: bool) -> None:
                if commit:
                    both.theirs.commit()
                    open_transactions.pop().__exit__(None, None, None)
                else:
                    both.theirs.roll_back()
                    with contextlib.suppress(ZeroDivisionError):
                        open_transactions.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)

            for step, (name, args, kwargs) in calls:
                if step == "begin" and len(open_transactions) < 3:
                    both.theirs.begin()
                    open_transactions.append(both.ours.transact())
                    open_transactions[-1].__enter__()
                elif step in ("commit", "roll_back") and open_transactions:
                    end(step == "commit")
                both.run(name, args, kwargs)
            while open_transactions:
                end(commit=True)

    compare()


def test_every_difference_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "differences.md").read_text()
    assert [difference.title for difference in DIFFERENCES if difference.title not in text] == []


def test_the_comparison_can_fail(oracle, tmp_path, monkeypatch):
    """A wrong answer of either side is seen, and so is a wrong row."""
    both = Pair(oracle, "Cache", tmp_path)
    both.run("set", ("a", 1), {})
    monkeypatch.setattr(both, "ours", {"a": 2})
    with pytest.raises(AssertionError, match="diskcache 1, dolium 2"):
        both.run("__getitem__", ("a",), {})
    monkeypatch.undo()
    both.ours["b"] = 1
    with pytest.raises(AssertionError):
        both.compare_directories()
    assert isinstance(both.theirs, Foreign)


@pytest.mark.parametrize("title", [difference.title for difference in DIFFERENCES])
def test_every_difference_still_exists(oracle, tmp_path, title):
    """An entry that no call shows any more would hide the next bug."""
    shown = {
        "NaN comes back as NaN": [("set", ("k", float("nan"))), ("get", ("k",))],
        "Text comes back byte for byte": [("set", ("k", "\r\n" * 50)), ("get", ("k",))],
        "`incr` and `decr` work on integers of any size": [("set", ("k", 2**63 - 1)), ("incr", ("k",))],
        "An entry that is written again after it has expired keeps its place": [
            *[("set", (key, 1)) for key in "ab"],
            ("touch", ("a", -1000)),
            *[("incr", (key,)) for key in "ca"],
            ("__iter__", ()),
        ],
        "`stats()` without `enable` changes nothing": [("get", ("k",)), ("stats", ())],
    }
    both = Pair(oracle, "Cache", tmp_path, disk_min_file_size=50)
    for name, args in shown[title]:
        both.run(name, args, {})
    assert both.seen
    both.ours.close()
