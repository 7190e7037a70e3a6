"""get, set, add, touch, delete, pop, contains, len: what is kept, what is returned, what is raised."""

from __future__ import annotations

import io
import time
from pathlib import Path

import dolium
import pytest

# Long enough to be over before any test ends, short enough that none has to wait for it.
GONE, LATER = -1, 1000


def test_empty_cache(cache):
    assert len(cache) == 0
    assert list(cache) == []
    assert "a" not in cache
    assert cache.get("a") is None
    assert cache.delete("a") is False
    assert cache.pop("a") is None
    assert cache.touch("a") is False
    assert cache.clear() == 0
    assert cache.expire() == 0
    assert cache.evict("tag") == 0
    assert cache.cull() == 0


def test_set_returns_true_and_is_read_back(cache):
    assert cache.set("a", 1) is True
    assert cache["a"] == 1
    assert cache.get("a") == 1
    assert "a" in cache
    assert len(cache) == 1


def test_set_item_overwrites(cache):
    cache["a"] = "first"
    cache["a"] = "second" * 10_000
    assert cache["a"] == "second" * 10_000
    cache["a"] = "third"
    assert cache["a"] == "third"
    assert len(cache) == 1


def test_missing_key(cache):
    with pytest.raises(KeyError) as raised:
        cache["nobody"]
    assert raised.value.args == ("nobody",)
    with pytest.raises(KeyError) as raised:
        del cache["nobody"]
    assert raised.value.args == ("nobody",)
    with pytest.raises(KeyError) as raised:
        cache.read("nobody")
    assert raised.value.args == ("nobody",)


def test_get_default(cache):
    assert cache.get("a", 5) == 5
    assert cache.get("a", default=dolium.ENOVAL) is dolium.ENOVAL
    marker = object()
    assert cache.get("a", marker) is marker
    assert cache.get("a", 5, expire_time=True) == (5, None)
    assert cache.get("a", 5, tag=True) == (5, None)
    assert cache.get("a", 5, expire_time=True, tag=True) == (5, None, None)


def test_get_with_expire_time_and_tag(cache):
    before = time.time()
    cache.set("a", 1, expire=LATER, tag="t")
    after = time.time()
    value, expire_time, tag = cache.get("a", expire_time=True, tag=True)
    assert (value, tag) == (1, "t")
    assert before + LATER <= expire_time <= after + LATER
    assert cache.get("a", expire_time=True) == (1, expire_time)
    assert cache.get("a", tag=True) == (1, "t")
    cache.set("b", 2)
    assert cache.get("b", expire_time=True, tag=True) == (2, None, None)


def test_falsy_values_are_found(cache):
    for value in (None, 0, 0.0, "", [], {}, False):
        cache.set("k", value)
        assert "k" in cache
        found = cache.get("k", dolium.ENOVAL)
        assert found == value
        assert type(found) is type(value)


def test_expired_is_missing(cache):
    cache.set("a", 1, expire=GONE)
    assert cache.get("a", 5) == 5
    assert "a" not in cache
    with pytest.raises(KeyError):
        cache["a"]
    with pytest.raises(KeyError):
        del cache["a"]
    assert cache.pop("a", 5) == 5
    assert cache.delete("a") is False
    assert cache.touch("a") is False


def test_expires_with_time(cache):
    cache.set("a", 1, expire=0.05)
    cache.set("b", 1, expire=LATER)
    time.sleep(0.06)
    assert "a" not in cache
    assert "b" in cache


def test_expire_zero_is_over_at_once(cache):
    cache.set("a", 1, expire=0)
    time.sleep(0.001)
    assert "a" not in cache


def test_expire_may_be_float_or_int(cache):
    for expire in (1000, 1000.5):
        cache.set("a", 1, expire=expire)
        assert cache.get("a", expire_time=True)[1] == pytest.approx(time.time() + expire, abs=60)


def test_set_replaces_expire_time_and_tag(cache):
    cache.set("a", 1, expire=LATER, tag="old")
    cache.set("a", 2)
    assert cache.get("a", expire_time=True, tag=True) == (2, None, None)


def test_add_only_if_missing(cache):
    assert cache.add("a", 1, tag="first") is True
    assert cache.add("a", 2, tag="second") is False
    assert cache.get("a", tag=True) == (1, "first")
    assert cache.add("large", "x" * 50_000) is True
    assert cache.add("large", "y" * 50_000) is False
    assert cache["large"] == "x" * 50_000


def test_add_replaces_expired(cache):
    cache.set("a", "old" * 20_000, expire=GONE)
    assert cache.add("a", "new", expire=LATER) is True
    assert cache["a"] == "new"
    assert len(cache) == 1


def test_touch(cache):
    cache.set("a", 1, expire=LATER)
    before = time.time()
    assert cache.touch("a", expire=2 * LATER) is True
    assert cache.get("a", expire_time=True)[1] >= before + 2 * LATER
    assert cache.touch("a") is True
    assert cache.get("a", expire_time=True)[1] is None
    assert cache.touch("a", GONE) is True
    assert "a" not in cache
    assert cache.touch("a", LATER) is False


def test_delete(cache):
    cache.set("a", 1)
    cache.set("large", "x" * 70_000)
    assert cache.delete("a") is True
    assert cache.delete("a") is False
    assert cache.delete("large") is True
    assert len(cache) == 0


def test_delete_item(cache):
    cache["a"] = 1
    del cache["a"]
    assert "a" not in cache
    with pytest.raises(KeyError):
        del cache["a"]


def test_pop(cache):
    cache.set("a", 1, expire=LATER, tag="t")
    value, expire_time, tag = cache.pop("a", expire_time=True, tag=True)
    assert (value, tag) == (1, "t")
    assert expire_time > time.time()
    assert "a" not in cache
    assert cache.pop("a") is None
    assert cache.pop("a", 5) == 5
    assert cache.pop("a", default=5, expire_time=True) == (5, None)
    assert cache.pop("a", default=5, tag=True) == (5, None)
    assert cache.pop("a", default=5, expire_time=True, tag=True) == (5, None, None)


def test_pop_of_a_large_value(cache):
    cache.set("a", "text" * 50_000, tag="t")
    assert cache.pop("a", tag=True) == ("text" * 50_000, "t")
    assert len(cache) == 0


def test_len_counts_expired(cache):
    for n in range(10):
        cache.set(n, n, expire=LATER)
    cache.set("gone", 1, expire=LATER)
    cache.touch("gone", GONE)
    assert len(cache) == 11
    assert "gone" in list(cache)
    assert cache.expire() == 1
    assert len(cache) == 10


def test_clear_returns_the_count(cache):
    for n in range(250):
        cache.set(n, n)
    cache.set("large", "x" * 70_000)
    assert cache.clear() == 251
    assert len(cache) == 0
    assert list(cache) == []
    cache["a"] = 1
    assert cache["a"] == 1


def test_methods_take_keyword_arguments(cache):
    assert cache.set(key="a", value=1, expire=None, read=False, tag=None, retry=False) is True
    assert cache.add(key="a", value=1, expire=None, read=False, tag=None, retry=False) is False
    assert cache.get(key="a", default=None, read=False, expire_time=False, tag=False, retry=False) == 1
    assert cache.touch(key="a", expire=None, retry=False) is True
    assert cache.pop(key="a", default=None, expire_time=False, tag=False, retry=False) == 1
    assert cache.delete(key="a", retry=False) is False
    assert cache.evict(tag="t", retry=False) == 0
    assert cache.expire(retry=False) == 0
    assert cache.cull(retry=False) == 0
    assert cache.clear(retry=False) == 0
    assert cache.check(fix=False, retry=False) == []
    assert cache.stats(enable=False, reset=False) is not None


def test_methods_take_positional_arguments(cache):
    assert cache.set("a", 1, 1000, False, "t", True) is True
    assert cache.add("a", 1, 1000, False, "t", True) is False
    value, expire_time, tag = cache.get("a", None, False, True, True, True)
    assert (value, tag) == (1, "t")
    assert expire_time > time.time()
    assert cache.touch("a", None, True) is True
    assert cache.pop("a", None, True, True, True) == (1, None, "t")
    assert cache.delete("a", True) is False
    assert cache.evict("t", True) == 0


def test_wrong_arguments_raise_type_error(cache):
    with pytest.raises(TypeError):
        cache.get()
    with pytest.raises(TypeError):
        cache.set("a")
    with pytest.raises(TypeError):
        cache.get("a", unknown=1)
    with pytest.raises(TypeError):
        cache.set("a", 1, None, False, None, False, "one too many", 8, 9)


@pytest.mark.needs("counts")
def test_incr_and_decr(cache):
    assert cache.incr("n") == 1
    assert cache.incr("n", 5) == 6
    assert cache.incr("n", delta=-10) == -4
    assert cache.decr("n") == -5
    assert cache.decr("n", 5) == -10
    assert cache["n"] == -10
    assert cache.incr("fresh", default=100) == 101
    assert cache.decr("downwards", default=100) == 99
    assert cache.incr("half", 0.5) == 0.5
    assert cache.incr("half", 1) == 1.5


@pytest.mark.needs("counts")
def test_incr_of_a_missing_key_without_default(cache):
    with pytest.raises(KeyError) as raised:
        cache.incr("n", default=None)
    assert raised.value.args == ("n",)
    with pytest.raises(KeyError):
        cache.decr("n", default=None)
    assert "n" not in cache


@pytest.mark.needs("counts")
def test_incr_of_an_expired_key_starts_again(cache):
    cache.set("n", 50, expire=GONE)
    with pytest.raises(KeyError):
        cache.incr("n", default=None)
    assert cache.incr("n") == 1
    assert cache.get("n", expire_time=True) == (1, None)
    assert len(cache) == 1


@pytest.mark.needs("counts")
def test_incr_keeps_expire_time_and_tag(cache):
    cache.set("n", 1, expire=LATER, tag="t")
    before = cache.get("n", expire_time=True, tag=True)
    assert cache.incr("n") == 2
    assert cache.get("n", expire_time=True, tag=True) == (2, *before[1:])


@pytest.mark.needs("counts")
def test_incr_of_something_else_raises_and_changes_nothing(cache):
    cache.set("s", "text")
    with pytest.raises(TypeError):
        cache.incr("s")
    assert cache["s"] == "text"


def test_a_failed_set_changes_nothing(cache):
    cache.set("a", "old" * 20_000, tag="t")
    with pytest.raises(Exception, match=r"(?i)pickle|json|serializable|generator"):
        cache.set("a", (n for n in range(3)))
    assert cache.get("a", tag=True) == ("old" * 20_000, "t")


def test_read_of_a_file_like_object(cache, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 3000)
    with source.open("rb") as reader:
        assert cache.set("stream", reader, read=True, tag="t") is True
    with cache.read("stream") as handle:
        assert handle.read() == source.read_bytes()
        handle.seek(256)
        assert handle.read(3) == b"\0\1\2"
    handle, tag = cache.get("stream", read=True, tag=True)
    with handle:
        assert tag == "t"
        assert handle.read(2) == b"\0\1"
    with source.open("rb") as reader:
        assert cache.add("stream", reader, read=True) is False
    with source.open("rb") as reader:
        assert cache.add("other", reader, read=True) is True
    with cache.get("other", read=True) as handle:
        assert handle.read() == source.read_bytes()


def test_the_handle_of_a_stream_names_its_file(cache, directory):
    cache.set("stream", io.BytesIO(b"x" * 100), read=True)
    with cache.read("stream") as handle:
        assert Path(handle.name).is_relative_to(directory)
        assert Path(handle.name).read_bytes() == b"x" * 100


def test_a_handle_outlives_its_entry(cache):
    cache.set("stream", io.BytesIO(b"x" * 100_000), read=True)
    with cache.read("stream") as handle:
        cache.set("stream", io.BytesIO(b"y" * 10), read=True)
        cache.delete("stream")
        assert handle.read() == b"x" * 100_000


@pytest.mark.needs("native")
def test_a_stream_reads_back_as_bytes(cache):
    cache.set("stream", io.BytesIO(b"x" * 100), read=True)
    assert cache["stream"] == b"x" * 100


def test_an_empty_stream(cache):
    cache.set("stream", io.BytesIO(b""), read=True)
    with cache.read("stream") as handle:
        assert handle.read() == b""


def test_a_stream_that_fails_changes_nothing(cache):
    class Failing:
        def __init__(self):
            self.parts = [b"x" * 100_000]

        def read(self, size=-1):
            if self.parts:
                return self.parts.pop()
            raise ConnectionResetError("the other side has gone")

    cache.set("a", "old")
    with pytest.raises(ConnectionResetError):
        cache.set("a", Failing(), read=True)
    assert cache["a"] == "old"
