"""A full disk is an error that says so: the old value stays, nothing is torn, and room makes it good again."""

from __future__ import annotations

import dolium
import pytest
from processes.children import run

from .mounts import needs_mounts, small_disk

FILL = """
def value(n):
    return chr(65 + n % 26) * SIZE

ballast = open(sys.argv[1] + "/ballast", "wb", buffering=0)
ballast.write(bytes(4_000_000))
cache = dolium.KIND(sys.argv[1], eviction_policy="none", timeout=60)
cache["first"] = value(0)
written, failures = {"first": value(0)}, []
for n in range(20_000):
    key = n % 9_777
    try:
        cache[key] = value(n)
    except (dolium.DoliumError, OSError) as error:
        failures.append(error)
        # What was there is there.
        assert cache.get(key) == written.get(key), (n, key)
        if len(failures) == 30:
            break
    else:
        written[key] = value(n)
assert len(failures) == 30, n
for error in failures:
    assert isinstance(error, dolium.DoliumError) and isinstance(error, OSError), type(error).__mro__
    assert error.errno in (28, 122) or isinstance(error, dolium.StorageFullError), repr(error)
    assert sys.argv[1] in str(error), str(error)
assert {key: cache[key] for key in cache} == written
cache.close()
cache = dolium.KIND(sys.argv[1], timeout=60)
assert {key: cache[key] for key in cache} == written

# Somebody makes room, and all is well.
ballast.truncate(0)
os.remove(sys.argv[1] + "/ballast")
for key in list(written)[:len(written) // 2]:
    del cache[key]
    del written[key]
cache.flush()
cache["again"] = written["again"] = value(3)
assert {key: cache[key] for key in cache} == written
cache.clear()
cache["after"] = 1
assert [str(problem.message) for problem in cache.check()] == []
cache.close()
say("sound")
"""


@needs_mounts
@pytest.mark.parametrize("size", [2_000, 100_000], ids=["in rows", "in files"])
@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path, kind, size):
    body = FILL.replace("KIND", kind.__name__).replace("SIZE", str(size))
    assert run(body, tmp_path, prefix=small_disk(tmp_path, 16_000)) == ["sound"]


@needs_mounts
@pytest.mark.parametrize("end", ["room", "close", "kill"])
def test_what_the_hot_tier_took_on_a_full_disk_is_kept(tmp_path, end):
    """Small values go on until the tier is full too. Once there is room, all that were taken come to the database."""
    body = """
    directory, end = sys.argv[1], sys.argv[2]

    def fill(tell):
        cache = dolium.Cache(directory, hot_size=1 << 20, eviction_policy="none", timeout=5)
        cache["first"] = "x"
        with open(directory + "/ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                pass
        try:
            for n in range(100_000):
                cache[n] = f"{n}" * 20
                tell(n)
        except OSError as error:
            assert isinstance(error, dolium.DoliumError), repr(error)
        else:
            raise AssertionError("no error")
        return cache

    taken = []
    if end == "kill":
        source, sink = os.pipe()
        if os.fork() == 0:
            fill(lambda n: os.write(sink, b"."))
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(sink)
        with open(source, "rb") as dots:
            taken = list(range(len(dots.read())))
        os.wait()
    else:
        cache = fill(taken.append)
        assert all(cache[n] == f"{n}" * 20 for n in taken)
        if end == "close":
            try:
                cache.close()
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
    assert len(taken) > 1000, len(taken)
    os.truncate(directory + "/ballast", 0)
    if end != "room":
        cache = dolium.Cache(directory)
    cache["again"] = "y"
    expected = {"first": "x", "again": "y", **{n: f"{n}" * 20 for n in taken}}
    assert {key: cache[key] for key in cache} == expected
    os.remove(directory + "/ballast")
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()
    say("kept")
    """
    assert run(body, tmp_path, end, prefix=small_disk(tmp_path, 16_000))[-1] == "kept"


@needs_mounts
def test_a_disk_that_is_full_from_the_start(tmp_path):
    """Even the first write of a new cache fails with a sentence, not with a signal."""
    run(
        """
        os.mkdir(sys.argv[1] + "/cache")
        with open(sys.argv[1] + "/ballast", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        cache = dolium.Cache(sys.argv[1] + "/cache")
        for n in range(3):
            try:
                cache["a"] = "x" * 10_000
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
                assert sys.argv[1] in str(error), error
            else:
                raise AssertionError("no error")
        assert cache.get("a") is None
        os.truncate(sys.argv[1] + "/ballast", 0)
        cache["a"] = 1
        assert cache["a"] == 1
        """,
        tmp_path,
        prefix=small_disk(tmp_path, 512),
    )


@needs_mounts
def test_transactions_on_a_full_disk_are_all_or_nothing(tmp_path):
    run(
        """
        cache = dolium.Cache(sys.argv[1], eviction_policy="none")
        cache.set_many({n: "old" for n in range(10)})
        for size in (100_000, 20_000):
            try:
                with cache.transact():
                    for n in range(1000):
                        cache[n % 10] = "new"
                        cache[("more", n)] = "x" * size
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
            else:
                raise AssertionError("no error")
            assert {key: cache[key] for key in cache} == {n: "old" for n in range(10)}
            try:
                cache.set_many({n: "x" * size for n in range(1000)})
            except OSError:
                pass
            else:
                raise AssertionError("no error")
            assert {key: cache[key] for key in cache} == {n: "old" for n in range(10)}
        """,
        tmp_path,
        prefix=small_disk(tmp_path, 8_000),
    )


@needs_mounts
@pytest.mark.parametrize("size", [2_000, 100_000], ids=["in rows", "in files"])
def test_clear_works_on_a_full_disk(tmp_path, size):
    """It is the way out: whoever fills the disk with this cache must be able to empty it."""
    run(
        """
        cache = dolium.Cache(sys.argv[1], eviction_policy="none")
        try:
            for n in range(20_000):
                cache[n] = "x" * SIZE
        except OSError:
            pass
        else:
            raise AssertionError("no error")
        assert cache.clear() > 20
        assert len(cache) == 0
        for n in range(20):
            cache[n] = "y" * SIZE
        assert [cache[n] for n in range(20)] == ["y" * SIZE] * 20
        """.replace("SIZE", str(size)),
        tmp_path,
        prefix=small_disk(tmp_path, 16_000),
    )


def test_a_file_size_limit(tmp_path):
    """RLIMIT_FSIZE: needs no mount. A value too large for it fails; small ones go on."""
    run(
        """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "old"
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        try:
            cache["a"] = "x" * 3_000_000
        except OSError as error:
            assert isinstance(error, dolium.DoliumError), repr(error)
        else:
            raise AssertionError("no error")
        assert cache["a"] == "old"
        cache["b"] = "x" * 100_000
        assert cache["b"] == "x" * 100_000
        """,
        tmp_path,
    )
    cache = dolium.Cache(tmp_path)
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()


def test_without_descriptors(tmp_path):
    """RLIMIT_NOFILE reached: an error, and afterwards all is well."""
    run(
        """
        import resource
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "x" * 100_000
        cache.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(open("/dev/null"))
        except OSError:
            pass
        for use in (lambda: cache["a"], lambda: cache.set("b", 1)):
            try:
                use()
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
            except dolium.DatabaseError as error:
                assert "open" in str(error), error
            else:
                raise AssertionError("no error")
        del held
        assert cache["a"] == "x" * 100_000
        assert cache.set("b", 1) is True
        """,
        tmp_path,
    )
