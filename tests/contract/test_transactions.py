"""transact: all or nothing, nested, of one thread; others wait to write and read the old state."""

from __future__ import annotations

import contextlib
import threading

import pytest


class StopError(Exception):
    """Raised on purpose."""


@contextlib.contextmanager
def rolled_back(cache, error=StopError):
    """A transaction that ends with an exception."""

    def run():
        with cache.transact():
            yield
            raise error

    steps = run()
    next(steps)
    yield
    with pytest.raises(error):
        next(steps)


def test_commit(cache):
    with cache.transact():
        cache["a"] = 1
        cache.set("large", "x" * 100_000)
        assert cache["a"] == 1
        assert cache["large"] == "x" * 100_000
    assert cache["a"] == 1
    assert cache["large"] == "x" * 100_000


def test_rollback_restores_everything(cache, directory):
    cache.set("small", 1, expire=1000, tag="t")
    cache["large"] = "old" * 50_000
    cache["gone"] = 1
    cache["popped"] = "old" * 50_000
    before = {key: cache.get(key, expire_time=True, tag=True) for key in cache}
    with rolled_back(cache):
        cache["small"] = 2
        cache["large"] = "new" * 50_000
        cache["fresh"] = "new" * 50_000
        del cache["gone"]
        assert cache.pop("popped") == "old" * 50_000
        cache.touch("small", 5)
        cache.evict("t")
    assert {key: cache.get(key, expire_time=True, tag=True) for key in cache} == before
    assert len(cache) == 4
    assert "fresh" not in cache


@pytest.mark.needs("one")
def test_rollback_of_queues(cache):
    cache.push("a" * 50_000)
    cache.push("b")
    with rolled_back(cache):
        assert cache.pull()[1] == "a" * 50_000
        cache.push("c")
    assert [cache.pull()[1] for _ in range(3)] == ["a" * 50_000, "b", None]


@pytest.mark.needs("counts")
def test_rollback_of_counters(cache):
    cache.incr("n", 5)
    with rolled_back(cache):
        cache.incr("n")
        cache.incr("fresh")
    assert (cache["n"], cache.get("fresh")) == (5, None)


def test_rollback_of_clear(cache):
    for n in range(20):
        cache[n] = "x" * 40_000
    with rolled_back(cache):
        assert cache.clear() == 20
        assert len(cache) == 0
    assert len(cache) == 20
    assert all(cache[n] == "x" * 40_000 for n in range(20))


def test_nested(cache):
    with cache.transact():
        cache["a"] = 1
        with cache.transact():
            cache["b"] = 2
            with cache.transact():
                cache["c"] = 3
        cache["d"] = 4
    assert sorted(cache) == ["a", "b", "c", "d"]


def test_an_inner_exception_that_is_caught_rolls_nothing_back(cache):
    with cache.transact():
        cache["a"] = 1
        with rolled_back(cache):
            cache["b"] = 2
        cache["c"] = 3
    assert sorted(cache) == ["a", "b", "c"]


def test_an_outer_exception_rolls_the_inner_back(cache):
    with rolled_back(cache), cache.transact():
        cache["b"] = 2
    assert len(cache) == 0


def test_usable_again_after_rollback(cache):
    for _ in range(3):
        with rolled_back(cache):
            cache["a"] = 1
    with cache.transact():
        cache["a"] = 2
    assert cache["a"] == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_every_exception_rolls_back(cache, error):
    with rolled_back(cache, error):
        cache["a"] = 1
    assert "a" not in cache


def test_failed_operation_leaves_the_transaction_usable(cache):
    with cache.transact():
        cache["a"] = 1
        with pytest.raises(KeyError):
            del cache["nobody"]
        with pytest.raises(Exception, match=r"(?i)pickle|json|serializable|generator"):
            cache["b"] = (n for n in range(3))
        cache["c"] = 3
    assert sorted(cache) == ["a", "c"]


def test_retry_is_accepted(cache):
    with cache.transact(retry=True):
        cache["a"] = 1
    with cache.transact(True):
        assert cache["a"] == 1


def test_as_a_decorator(cache):
    @cache.transact()
    def both():
        cache["a"] = 1
        cache["b"] = 2

    both()
    assert sorted(cache) == ["a", "b"]


def in_thread(function):
    """Calls it in a thread; what it returns."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return result[0]


def test_other_threads_read_the_old_state(cache):
    cache["a"] = "old"
    with cache.transact():
        cache["a"] = "new"
        cache["b"] = "new"
        assert in_thread(lambda: (cache["a"], cache.get("b"))) == ("old", None)
    assert in_thread(lambda: (cache["a"], cache.get("b"))) == ("new", "new")


def test_other_threads_wait_to_write(cache):
    wrote = threading.Event()

    def write():
        cache.set("b", 2, retry=True)
        wrote.set()

    thread = threading.Thread(target=write)
    with cache.transact():
        cache["a"] = 1
        thread.start()
        assert not wrote.wait(0.1)
        cache["a"] = 2
    thread.join(30)
    assert (cache["a"], cache["b"]) == (2, 2)


@pytest.mark.needs("one")
def test_a_writer_that_waits_too_long_times_out(cache, open_cache):
    import dolium

    impatient = open_cache(timeout=0.05)

    def attempt():
        with pytest.raises(dolium.Timeout):
            impatient.set("a", 2)
        with pytest.raises(dolium.Timeout):
            impatient.delete("a")
        with pytest.raises(dolium.Timeout):
            impatient.incr("n")
        with pytest.raises(dolium.Timeout):
            impatient.touch("a", 5)
        with pytest.raises(dolium.Timeout):
            impatient.add("b", 5)
        with pytest.raises(dolium.Timeout):
            impatient.pop("a")
        with pytest.raises(dolium.Timeout):
            impatient.push(1)
        with pytest.raises(dolium.Timeout), impatient.transact():
            pass
        with pytest.raises(dolium.Timeout) as raised:
            impatient.clear()
        return raised.value.args[0]

    cache["a"] = 1
    with cache.transact():
        cache["a"] = 3
        assert in_thread(attempt) == 0
    assert cache["a"] == 3
    assert impatient.set("a", 4) is True


@pytest.mark.needs("sharded")
def test_a_sharded_cache_swallows_timeouts(cache, open_cache):
    impatient = open_cache(timeout=0.02)

    def attempt():
        return [
            impatient.set("a", 2), impatient.add("b", 2), impatient.delete("a"), impatient.touch("a", 5),
            impatient.pop("a", "default"), impatient.incr("n"), impatient.decr("n"),
        ]  # fmt: skip

    cache["a"] = 1
    with cache.transact():
        cache["a"] = 3
        assert in_thread(attempt) == [False, False, False, False, "default", None, None]
    assert cache["a"] == 3


@pytest.mark.needs("sharded")
def test_a_sharded_cache_insists_on_retry(cache):
    with pytest.raises(AssertionError), cache.transact(retry=False):
        pass


@pytest.mark.parametrize(
    "word", ["BEGIN IMMEDIATE", "COMMIT", " end", "/* */ rollback", "SAVEPOINT a", "RELEASE a"]
)
def test_raw_sql_leaves_transactions_alone(cache, word):
    """It would end the transaction under `transact()`, or leave one open that nobody closes."""
    with pytest.raises(ValueError, match="transact"):
        cache._sql(word)
    with rolled_back(cache):
        cache["a"] = 1
        with pytest.raises(ValueError, match="transact"):
            cache._sql(word)
        cache["b"] = 2
    assert ("a" in cache, "b" in cache) == (False, False)
    with cache.transact():
        cache["a"] = 1
    assert cache["a"] == 1


def test_a_transaction_decorates_a_function(cache):
    """As what `contextlib` makes does: each call is a transaction of its own."""

    @cache.transact(retry=True)
    def put(value, *, fails=False):
        cache["a"] = value
        if fails:
            raise StopError
        return value

    assert put(1) == 1
    with pytest.raises(StopError):
        put(2, fails=True)
    assert cache["a"] == 1
    assert put(3) == 3
    assert cache["a"] == 3
