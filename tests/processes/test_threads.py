"""Threads of one process on one object, on several objects, closing it under each other, and finalizers."""

from __future__ import annotations

import gc
import threading
import time

import dolium
import pytest
from helpers.children import run


def together(*functions):
    """Runs them in threads; whatever one raises."""
    errors: list[BaseException] = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
def test_closing_in_one_thread_while_others_work(tmp_path, kind):
    cache = kind(tmp_path)
    cache["large"] = "x" * 100_000
    cache.set("n", 0)
    stop = threading.Event()

    def close():
        for _ in range(100):
            cache.close()
        stop.set()

    def read():
        while not stop.is_set():
            assert cache["large"] == "x" * 100_000
            assert "n" in cache
            assert sorted(map(str, cache)) == ["large", "n"]

    def write():
        while not stop.is_set():
            cache.incr("n", retry=True)
            with cache.transact(retry=True):
                before = cache["n"]
                cache.incr("n", retry=True)
                assert cache["n"] == before + 1

    together(close, read, read, write)
    assert cache.check() == []
    cache.close()


def test_threads_write_and_read_their_own(tmp_path):
    cache = dolium.Cache(tmp_path)

    def work(number):
        for n in range(150):
            value = [number, n, "x" * (n % 3 * 20_000)]
            cache.set((number, n % 5), value)
            assert cache[(number, n % 5)] == value

    together(*[lambda number=number: work(number) for number in range(6)])
    assert len(cache) == 30
    assert cache.check() == []
    cache.close()


def test_transactions_of_threads_exclude_each_other(tmp_path):
    """Also through two objects on one directory, which share what is below them."""
    one, two = dolium.Cache(tmp_path), dolium.Cache(tmp_path)
    one["n"] = 0

    def work(cache):
        for _ in range(100):
            with cache.transact():
                before = cache["n"]
                time.sleep(0)
                cache["n"] = before + 1

    together(*[lambda cache=cache: work(cache) for cache in (one, two, one, two)])
    assert one["n"] == 400
    one.close()
    two.close()


def test_a_thread_in_transact_lets_others_run(tmp_path):
    """The GIL is free while one waits for the other, so the other can end what is waited for."""
    cache = dolium.Cache(tmp_path)
    inside = threading.Event()

    def hold():
        with cache.transact():
            inside.set()
            time.sleep(0.2)
            cache["a"] = "held"

    def write():
        inside.wait(50)
        cache.set("a", "after")

    together(hold, write, write)
    assert cache["a"] == "after"
    cache.close()


def test_many_short_threads(tmp_path):
    cache = dolium.Cache(tmp_path)
    for n in range(100):
        together(lambda n=n: cache.set(n, n), lambda n=n: cache.get(n))
    assert len(cache) == 100
    cache.close()


class Dying:
    """Sets a value when it dies, whenever that is."""

    def __init__(self, cache, key):
        self.cache, self.key, self.itself = cache, key, self

    def __del__(self):
        self.cache.set(self.key, "died", retry=True)


def test_a_finalizer_that_sets_never_hangs(tmp_path):
    """The collector may run in the middle of any of our calls that allocates."""
    cache = dolium.Cache(tmp_path)
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for n in range(100):
            Dying(cache, n)
            cache.set("k", [n, {"n": (n, [n])}])
            cache.get("k")
            with cache.transact():
                Dying(cache, ("transact", n))
                cache.set("l", [(), [n]])
                list(cache.iterkeys())
            cache.set_many({("many", n): [n]})
            cache.get_many([("many", n), "k"])
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert all(cache[n] == "died" for n in range(100))
    assert all(cache[("transact", n)] == "died" for n in range(100))
    cache.close()


def test_pickling_that_uses_the_cache_never_hangs(tmp_path):
    cache = dolium.Cache(tmp_path, trust="all")
    stored = cache

    class Recursive:
        def __reduce__(self):
            stored.set("inner", "set while pickling")
            return (str, ("outer",))

    assert cache.set("outer", Recursive()) is True
    assert (cache["inner"], cache["outer"]) == ("set while pickling", "outer")
    assert cache.get(Recursive(), "no such key") == "no such key"
    cache.close()


def test_a_reader_that_uses_the_cache_never_hangs(tmp_path):
    cache = dolium.Cache(tmp_path)

    class Reader:
        def __init__(self):
            self.left = 5

        def read(self, size=-1):
            self.left -= 1
            cache.set("inner", self.left)
            return b"x" * 50_000 if self.left > 0 else b""

    assert cache.set("outer", Reader(), read=True) is True
    assert cache["outer"] == b"x" * 200_000
    assert cache["inner"] == 0
    cache.close()


def test_finalizers_at_exit(tmp_path):
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        class Closing:
            def __del__(self):
                cache.set("died", 1)
                cache.close()
        keep = Closing()
        sys.keep = Closing()
        import atexit
        atexit.register(lambda: cache.set("atexit", 1))
        """,
        tmp_path,
    )
    assert dolium.Cache(tmp_path)["atexit"] == 1
