"""A full disk is an error that says so: the old value stays, nothing is torn, and room makes it good again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dolium
import pytest
from helpers.children import run
from helpers.mounts import DISKS, lacking, small_disk

# One worker makes the file systems, one after the other: each takes up to 300 MB of memory.
pytestmark = pytest.mark.xdist_group("disks")

Run = Callable[..., list[str]]


@pytest.fixture(params=DISKS)
def run_on_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a body that finds a small disk of its own at `sys.argv[1]`. A cache on it makes its own directory."""
    kind = request.param
    if reason := lacking(kind):
        pytest.skip(reason)

    def run_on_disk(body: str, *arguments: object, kilobytes: int) -> list[str]:
        directory = tmp_path / "disk"
        body = body.replace("KIND_OF_DISK", repr(kind))
        return run(body, directory, *arguments, prefix=small_disk(directory, kilobytes, kind))

    return run_on_disk


FILL = """
def value(n):
    return chr(65 + n % 26) * SIZE

directory = sys.argv[1] + "/cache"
ballast = open(sys.argv[1] + "/ballast", "wb", buffering=0)
ballast.write(bytes(4_000_000))
cache = dolium.KIND(directory, eviction_policy="none", timeout=60)
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
    assert directory in str(error), str(error)
assert {key: cache[key] for key in cache} == written
cache.close()
try:
    cache = dolium.KIND(directory, timeout=60)
    assert {key: cache[key] for key in cache} == written
except dolium.StorageFullError:
    # SQLite reads with an index beside the log. Where its name finds room but its content none, it is in the way.
    assert KIND_OF_DISK == "btrfs"

# Somebody makes room, and all is well.
ballast.truncate(0)
cache = dolium.KIND(directory, timeout=60)
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


@pytest.mark.parametrize("size", [2_000, 40_000, 100_000], ids=["in rows", "in files later", "in files"])
@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
def test_a_full_disk_is_an_error_and_changes_nothing(run_on_disk, kind, size):
    body = FILL.replace("dolium.KIND(", f"dolium.{kind.__name__}(").replace("SIZE", str(size))
    assert run_on_disk(body, kilobytes=16_000) == ["sound"]


@pytest.mark.parametrize("size", [2_000, 100_000], ids=["in rows", "in files"])
def test_a_cached_function_returns_on_a_full_disk(run_on_disk, size):
    """One warning says that results are not kept. What was kept is found, and room lets results be kept again."""
    body = """
    import warnings

    directory = sys.argv[1] + "/cache"
    ballast = open(sys.argv[1] + "/ballast", "wb", buffering=0)
    ballast.write(bytes(4_000_000))
    cache = dolium.Cache(directory, eviction_policy="none", timeout=60)
    computed = []

    @cache.cached(version="1", name="letters()")
    def letters(n):
        computed.append(n)
        return chr(65 + n % 26) * SIZE

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", dolium.UnstoredResultWarning)
        for n in range(20_000):
            assert letters(n) == chr(65 + n % 26) * SIZE, n
            if told and n % 10 == 0:
                break
        assert told, n
        last = n
        kept = [n for n in range(last + 1) if letters.entry(n) is not None]
        assert len(kept) > 20, kept
        assert kept != list(range(last + 1))
        del computed[:]
        assert all(letters(n) == chr(65 + n % 26) * SIZE for n in kept)
        assert computed == []
    unstored = [warning for warning in told if warning.category is dolium.UnstoredResultWarning]
    assert len(unstored) == 1, [str(warning.message) for warning in told]
    assert directory in str(unstored[0].message)
    ballast.truncate(0)
    os.remove(sys.argv[1] + "/ballast")
    cache.clear()
    letters(7)
    del computed[:]
    assert letters(7) == "H" * SIZE
    assert computed == []
    assert [str(problem.message) for problem in cache.check()] == []
    say("sound")
    """.replace("SIZE", str(size))
    assert run_on_disk(body, kilobytes=16_000) == ["sound"]


@pytest.mark.parametrize(("times", "hot_size"), [(100, 1 << 19), (20_000, 1 << 22)], ids=["rows", "files"])
@pytest.mark.parametrize("end", ["room", "close", "kill"])
def test_what_the_hot_tier_took_on_a_full_disk_is_kept(run_on_disk, end, times, hot_size):
    """Values go on until the tier is full too. Once there is room, all that were taken come to rows or files."""
    body = """
    directory, ballast, end = sys.argv[1] + "/cache", sys.argv[1] + "/ballast", sys.argv[2]

    def value(n):
        return f"{n:02}" * TIMES

    def fill(tell):
        cache = dolium.Cache(directory, hot_size=HOT_SIZE, eviction_policy="none", timeout=5)
        cache["first"] = "x"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        try:
            for n in range(100_000):
                cache[n] = value(n)
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
        assert all(cache[n] == value(n) for n in taken)
        if end == "close":
            try:
                cache.close()
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
    assert len(taken) > LEAST, len(taken)
    os.truncate(ballast, 0)
    if end != "room":
        cache = dolium.Cache(directory)
    cache["again"] = "y"
    expected = {"first": "x", "again": "y", **{n: value(n) for n in taken}}
    assert {key: cache[key] for key in cache} == expected
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()
    say("kept")
    """
    body = body.replace("HOT_SIZE", str(hot_size)).replace("TIMES", str(times))
    body = body.replace("LEAST", str(300 if times == 100 else 50))
    assert run_on_disk(body, end, kilobytes=16_000)[-1] == "kept"


def test_a_disk_that_is_full_from_the_start(run_on_disk):
    """Even the first write of a new cache fails with a sentence, not with a signal."""
    run_on_disk(
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
        kilobytes=512,
    )


def test_transactions_on_a_full_disk_are_all_or_nothing(run_on_disk):
    run_on_disk(
        """
        cache = dolium.Cache(sys.argv[1] + "/cache", eviction_policy="none")
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
        kilobytes=5_000,
    )


@pytest.mark.parametrize("size", [2_000, 100_000], ids=["in rows", "in files"])
def test_clear_works_on_a_full_disk(run_on_disk, size):
    """It is the way out: whoever fills the disk with this cache must be able to empty it."""
    run_on_disk(
        """
        cache = dolium.Cache(sys.argv[1] + "/cache", eviction_policy="none")
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
        kilobytes=16_000,
    )


def test_processes_that_write_to_the_hot_tier_of_a_full_disk(run_on_disk):
    """The tier is as large as one in use, and its pages are clean: each writer to one asks the file system again."""
    body = """
    os.environ["DOLIUM_HOT_SIZE"] = str(16 << 20)  # also where all else is tested without a tier
    directory, ballast = sys.argv[1] + "/cache", sys.argv[1] + "/ballast"
    def work(worker, sink, start):
        cache = dolium.Cache(directory, timeout=20)
        assert cache["old", worker] == "old" * 100
        cache[worker] = "here"
        len(cache)
        os.write(sink, b"here\\n")
        os.read(start, 1)
        refused = 0
        # A full btrfs looks everywhere for room before it writes a page in place: some ms for each call.
        for n in range(100 if KIND_OF_DISK == "btrfs" else 1200):
            try:
                cache[worker, n % 300] = f"{worker} {n} " * 40
                os.write(sink, b"%d %d\\n" % (worker, n))
                # Long ones go to the database at once, and the disk has no room for them.
                if n % 20 == 0:
                    cache["old", worker] = str(n) * 80_000
            except OSError as error:
                assert isinstance(error, dolium.DoliumError), repr(error)
                assert error.errno == 28 and directory in str(error), repr(error)
                refused += 1
            assert cache["old", worker] == "old" * 100
        assert refused > 1
        # Two leave in good order, as far as the disk lets them. One just ends.
        if worker == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            cache.close()
        except dolium.StorageFullError:
            pass

    cache = dolium.Cache(directory, eviction_policy="none", timeout=20)
    old = {("old", n): "old" * 100 for n in range(1000)}
    cache.set_many(old)
    cache["first"] = "x"
    assert os.path.getsize(directory + "/cache.hot") > 1 << 17
    source, sink = os.pipe()
    start, go = os.pipe()
    children = []
    for worker in range(3):
        children.append(os.fork())
        if children[-1] == 0:
            os.close(source)
            try:
                work(worker, sink, start)
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
            os._exit(1)
    os.close(sink)
    lines = open(source)
    assert [next(lines) for _ in children] == ["here\\n"] * 3
    assert len(cache) == 1004

    with open(ballast, "wb", buffering=0) as file:
        size, end = 1 << 24, 0
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), end, size)
                end += size
            except OSError:
                size //= 2
        file.seek(end)
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    os.sync()
    os.write(go, b"...")
    written = {}
    for count, line in enumerate(lines):
        worker, n = map(int, line.split())
        written[worker, n % 300] = f"{worker} {n} " * 40
        if count % 50 == 0:
            os.sync()
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert ends == [0, 0, signal.SIGKILL], ends
    assert len(written) > 100, len(written)
    assert all(cache[key] == value for key, value in {**old, **written}.items())

    os.truncate(ballast, 0)
    cache["again"] = "y"
    expected = {**old, **written, "first": "x", "again": "y", **dict.fromkeys(range(3), "here")}
    assert {key: cache[key] for key in cache} == expected
    cache.close()
    cache = dolium.Cache(directory)
    assert {key: cache[key] for key in cache} == expected
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()
    say("kept")
    """
    assert run_on_disk(body, kilobytes=90_000) == ["kept"]


@pytest.mark.parametrize("kind", ["btrfs", "overlay on btrfs"])
@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "compressed"])
def test_what_is_mapped_on_btrfs_is_overwritten_in_place(tmp_path, kind, is_compressed):
    """A copy on write needs room for each write, and a mapped page without it is a SIGBUS."""
    if reason := lacking(kind):
        pytest.skip(reason)
    body = """
    import subprocess
    os.environ["DOLIUM_HOT_SIZE"] = "-1"  # also where all else is tested without a tier
    if sys.argv[2] == "True":
        # What is made in it is to be compressed, which excludes being overwritten in place.
        subprocess.run(["chattr", "+c", sys.argv[1]], check=True)
    os.mkdir(sys.argv[1] + "/theirs")

    def flags(path):
        return subprocess.run(["lsattr", path], check=True, capture_output=True, text=True).stdout.split()[0]

    for name, files in (("ours", ("cache.hot", "cache.db-shm")), ("theirs", ("cache.hot",))):
        cache = dolium.Cache(sys.argv[1] + "/" + name)
        cache["a"] = 1
        assert cache["a"] == 1 and len(cache) == 1
        for file in files:
            assert "C" in flags(sys.argv[1] + "/" + name + "/" + file), (name, file)
        assert os.path.getsize(sys.argv[1] + "/" + name + "/cache.hot") > 1 << 17
        cache.close()
    """
    directory = tmp_path / "disk"
    run(body, directory, is_compressed, prefix=small_disk(directory, 90_000, kind))


def test_where_no_blocks_can_be_reserved_nothing_is_shared(tmp_path):
    """ext3 has no such call: no hot tier, but a cache for several processes all the same."""
    if reason := lacking("ext3"):
        pytest.skip(reason)
    body = """
    cache = dolium.Cache(sys.argv[1] + "/cache")
    cache["a"] = 1
    if os.fork() == 0:
        cache["a"] += 1
        cache.close()
        os._exit(0)
    assert os.wait()[1] == 0
    assert cache["a"] == 2 and len(cache) == 1
    assert not os.path.exists(sys.argv[1] + "/cache/cache.hot")
    cache.close()
    """
    directory = tmp_path / "disk"
    run(body, directory, prefix=small_disk(directory, 30_000, "ext3"))


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
