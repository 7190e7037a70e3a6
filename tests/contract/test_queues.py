"""push, pull and peek: queues by prefix, from both sides."""

from __future__ import annotations

import io
import threading

import pytest

pytestmark = pytest.mark.needs("one")

FIRST = 500_000_000_000_000


def test_keys_count_from_the_middle(cache):
    assert cache.push("a") == FIRST
    assert cache.push("b") == FIRST + 1
    assert cache.push("c", side="front") == FIRST - 1
    assert cache.push("d", prefix="q") == f"q-{FIRST}"
    assert cache.push("e", prefix="q", side="front") == f"q-{FIRST - 1}"
    assert cache.push("f", "q") == f"q-{FIRST + 1}"
    assert len(cache) == 6


def test_first_in_first_out(cache):
    for letter in "abc":
        cache.push(letter)
    assert [cache.pull() for _ in range(4)] == [
        (FIRST, "a"), (FIRST + 1, "b"), (FIRST + 2, "c"), (None, None),
    ]  # fmt: skip
    assert cache.push("d") == FIRST  # an empty queue begins again


def test_from_the_other_side(cache):
    for letter in "abc":
        cache.push(letter)
    assert cache.pull(side="back") == (FIRST + 2, "c")
    cache.push("z", side="front")
    assert cache.pull() == (FIRST - 1, "z")
    assert cache.peek(side="back") == (FIRST + 1, "b")
    assert cache.peek() == (FIRST, "a")
    assert len(cache) == 2


def test_a_side_that_does_not_exist(cache):
    with pytest.raises(KeyError):
        cache.push("a", side="middle")
    with pytest.raises(KeyError):
        cache.pull(side="middle")
    with pytest.raises(KeyError):
        cache.peek(side="middle")
    assert len(cache) == 0


def test_prefixes_are_apart(cache):
    cache.push(1, prefix="a")
    cache.push(2, prefix="ab")
    cache.push(3, prefix="a-b")
    cache.push(4)
    cache.push(5, prefix="")
    assert cache.pull(prefix="ab") == (f"ab-{FIRST}", 2)
    assert cache.pull(prefix="a-b")[1] == 3
    assert cache.pull("a")[1] == 1
    assert cache.pull("a") == (None, None)
    assert cache.pull("") == (f"-{FIRST}", 5)
    assert cache.pull()[1] == 4


def test_other_keys_are_left_alone(cache, backend):
    cache["q-word"] = 1
    cache["q"] = 2
    if "native" in backend.able:
        cache[5 * FIRST] = 3
        cache[-5] = 4
    assert cache.pull("q") == (None, None)
    assert cache.pull() == (None, None)
    assert cache.peek() == (None, None)
    assert cache.push("x", "q") == f"q-{FIRST}"
    assert cache.pull("q") == (f"q-{FIRST}", "x")


@pytest.mark.needs("native")
def test_a_queue_entry_is_an_entry(cache):
    key = cache.push("a", expire=1000, tag="t")
    assert cache.get(key, tag=True) == ("a", "t")
    assert cache.delete(key) is True
    assert cache.pull() == (None, None)


def test_expire_time_and_tag(cache):
    key = cache.push("a", expire=1000, tag="t")
    (found, value), expire_time, tag = cache.peek(expire_time=True, tag=True)
    assert (found, value, tag) == (key, "a", "t")
    assert cache.peek(expire_time=True) == ((key, "a"), expire_time)
    assert cache.peek(tag=True) == ((key, "a"), "t")
    assert cache.pull(expire_time=True, tag=True) == ((key, "a"), expire_time, "t")
    assert cache.pull(expire_time=True, tag=True) == ((None, None), None, None)
    assert cache.peek(expire_time=True) == ((None, None), None)
    assert cache.pull(default="nothing", tag=True) == ("nothing", None)
    assert cache.pull(default="nothing") == "nothing"
    assert cache.peek(default="nothing") == "nothing"


def test_expired_entries_are_passed_over(cache):
    for n in range(3):
        cache.push(n, expire=-1, prefix="q")
    cache.push("alive", prefix="q")
    assert cache.peek("q")[1] == "alive"
    assert cache.pull("q")[1] == "alive"
    assert cache.pull("q") == (None, None)
    assert len(cache) == 0


def test_large_values_and_streams(cache):
    cache.push("x" * 100_000)
    key = cache.push(io.BytesIO(b"stream" * 20_000), read=True)
    assert cache.peek()[1] == "x" * 100_000
    assert cache.pull()[1] == "x" * 100_000
    cache.push("small")
    assert key == FIRST + 1


@pytest.mark.needs("native")
def test_a_pushed_stream_is_pulled_as_bytes(cache):
    cache.push(io.BytesIO(b"stream" * 20_000), read=True)
    assert cache.pull()[1] == b"stream" * 20_000


def test_each_entry_is_pulled_by_one_thread(cache):
    for n in range(200):
        cache.push(n)
    got, lock = [], threading.Lock()

    def work():
        while True:
            key, value = cache.pull(retry=True)
            if key is None:
                return
            with lock:
                got.append(value)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == list(range(200))


def test_keyword_arguments(cache):
    cache.push(value=1, prefix=None, side="back", expire=None, read=False, tag=None, retry=False)
    assert cache.peek(prefix=None, default=(None, None), side="front", expire_time=False, tag=False,
                      retry=False) == (FIRST, 1)  # fmt: skip
    assert cache.pull(prefix=None, default=(None, None), side="front", expire_time=False, tag=False,
                      retry=False) == (FIRST, 1)  # fmt: skip
    cache["a"] = 1
    assert cache.peekitem(last=True, expire_time=False, tag=False, retry=False) == ("a", 1)
