"""Damaged stores are set aside, damaged entries are misses, and repairs work on what is damaged."""

from __future__ import annotations

import contextlib
import random
import shutil
import warnings
from pathlib import Path

import dolium
import pytest
from helpers.children import Child, run


def fill(directory: Path, kind=dolium.Cache) -> None:
    cache = kind(directory)
    for n in range(300):
        cache.set(n, f"value {n} " * 20, tag="t")
    cache["large"] = "x" * 100_000
    cache["pickled"] = {"a": [1, 2]}
    cache.close()


def aside(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if "corrupt" in path.name)


DAMAGES = {
    "garbage": lambda data: b"this is not a database" * 1000,
    "text": lambda data: b"hello\n",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut within a page": lambda data: data[: len(data) // 2 + 100],
    "header only": lambda data: data[:100],
    "header overwritten": lambda data: bytes(100) + data[100:],
    "first page overwritten": lambda data: data[:100] + b"\xff" * 3996 + data[4096:],
    "all but the header": lambda data: data[:4096] + b"\xaa" * (len(data) - 4096),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_set_aside(tmp_path, damage):
    """A warning names what it was renamed to, nothing raises, and the cache works."""
    fill(tmp_path)
    path = tmp_path / "cache.db"
    damaged = DAMAGES[damage](path.read_bytes())
    path.write_bytes(damaged)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = dolium.Cache(tmp_path)
        for n in range(300):
            value = cache.get(n)
            assert value is None or value == f"value {n} " * 20
        cache["new"] = "value"
        cache["large"] = "y" * 100_000
        assert (cache["new"], cache["large"]) == ("value", "y" * 100_000)
        list(cache)
        cache.cull()
        cache.expire()
        cache.evict("t")
    renamed = aside(tmp_path)
    assert renamed, [str(warning.message) for warning in caught]
    assert any("cache.db.corrupt-" in name for name in renamed)
    assert any(renamed[0] in str(warning.message) for warning in caught)
    kept = [tmp_path / name for name in renamed if (tmp_path / name).stat().st_size == len(damaged)]
    assert kept, "what was there is kept for whoever wants to rescue it"
    cache.close()


@pytest.mark.slow
def test_flipped_bits_never_raise_and_never_crash(tmp_path):
    """At any place of the file: either it is not noticed, or the store is set aside. Never a wrong crash."""
    fill(tmp_path / "original")
    size = (tmp_path / "original" / "cache.db").stat().st_size
    chance = random.Random(3)
    run(
        """
        import random, shutil, warnings
        warnings.simplefilter("ignore")
        seed, size = int(sys.argv[2]), int(sys.argv[3])
        chance = random.Random(seed)
        for turn in range(60):
            directory = f"{sys.argv[1]}/turn-{turn}"
            shutil.copytree(sys.argv[1] + "/original", directory)
            with open(directory + "/cache.db", "r+b") as file:
                for _ in range(chance.choice([1, 1, 10, 200])):
                    at = chance.randrange(100) if turn % 4 == 0 else chance.randrange(size)
                    file.seek(at)
                    byte = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([byte ^ 1 << chance.randrange(8)]))
            cache = dolium.Cache(directory)
            for n in range(0, 300, 7):
                cache.get(n)
            for n in range(0, 300, 11):
                cache.set(n, "new")
                cache.delete(n + 1)
            list(cache)
            cache.evict("t")
            cache.check()
            cache.check(fix=True)
            cache.clear()
            cache["works"] = "again"
            assert cache["works"] == "again", turn
            cache.close()
            assert dolium.Cache(directory)["works"] == "again"
            shutil.rmtree(directory)
        """,
        tmp_path,
        chance.randrange(1000),
        size,
    )


def test_clear_and_check_work_on_a_damaged_store(tmp_path):
    for number, repair in enumerate([lambda cache: cache.clear(), lambda cache: cache.check(fix=True)]):
        directory = tmp_path / str(number)
        fill(directory)
        data = (directory / "cache.db").read_bytes()
        (directory / "cache.db").write_bytes(data[:8192] + b"\xaa" * (len(data) - 8192))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cache = dolium.Cache(directory)
            repair(cache)
            cache["new"] = 1
            assert cache["new"] == 1
            cache.check(fix=True)
            assert [str(problem.message) for problem in cache.check() if "corrupt" not in str(problem)] == []
        cache.close()


@pytest.mark.parametrize("shard", range(3))
def test_one_damaged_shard_costs_only_its_own_keys(tmp_path, shard):
    cache = dolium.FanoutCache(tmp_path, shards=3)
    for n in range(300):
        cache[n] = n
    cache.close()
    (tmp_path / f"{shard:03}" / "cache.db").write_bytes(b"garbage" * 5000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = dolium.FanoutCache(tmp_path, shards=3)
        found = [n for n in range(300) if cache.get(n, retry=True) == n]
        cache["new"] = 1
    assert any("corrupt" in str(warning.message) for warning in caught)
    assert 100 < len(found) < 299
    assert cache["new"] == 1
    cache.close()


def test_an_empty_database_is_a_new_one(tmp_path):
    fill(tmp_path)
    (tmp_path / "cache.db").write_bytes(b"")
    for leftover in ("cache.db-wal", "cache.db-shm"):
        (tmp_path / leftover).unlink(missing_ok=True)
    cache = dolium.Cache(tmp_path)
    assert cache.get(1) is None
    cache["new"] = 1
    assert cache["new"] == 1
    cache.close()


def test_a_database_of_something_else_is_not_destroyed(tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "cache.db")
    connection.execute("CREATE TABLE mine (precious)")
    connection.execute("INSERT INTO mine VALUES ('data')")
    connection.commit()
    connection.close()
    cache = dolium.Cache(tmp_path)
    cache["a"] = 1
    assert cache["a"] == 1
    cache.close()
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("cache.db") and path.stat().st_size]
    assert any(b"precious" in path.read_bytes() for path in kept)


def test_damage_while_in_use_is_noticed(tmp_path):
    """Another program writes over the file under a live process: errors or misses, no crash, then a fresh store."""
    fill(tmp_path)
    with Child(
        """
        import warnings
        warnings.simplefilter("ignore")
        cache = dolium.Cache(sys.argv[1])
        assert cache[5] is not None
        say("open")
        hear()
        for n in range(300):
            for use in (lambda: cache.get(n), lambda: cache.set(n, "new"), lambda: cache.get(n)):
                try:
                    use()
                except dolium.DoliumError:
                    pass
        say("alive")
        """,
        tmp_path,
    ) as child:
        child.line("open")
        size = (tmp_path / "cache.db").stat().st_size
        with (tmp_path / "cache.db").open("r+b") as file:
            file.write(b"\xaa" * size)
        child.tell()
        child.line("alive")
        child.finish()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = dolium.Cache(tmp_path)
        cache["a"] = 1
        assert cache["a"] == 1
    cache.close()


def test_truncation_while_in_use_is_no_bus_error(tmp_path):
    fill(tmp_path)
    with Child(
        """
        import warnings
        warnings.simplefilter("ignore")
        cache = dolium.Cache(sys.argv[1])
        for n in range(300):
            assert cache[n]
        say("open")
        hear()
        for n in range(300):
            for use in (lambda: cache.get(n), lambda: cache.set(n, "x" * 5000), lambda: len(cache)):
                try:
                    use()
                except dolium.DoliumError:
                    pass
        say("alive")
        """,
        tmp_path,
    ) as child:
        child.line("open")
        with (tmp_path / "cache.db").open("r+b") as file:
            file.truncate(5000)
        child.tell()
        child.line("alive")
        child.finish()


# -- Value files -----------------------------------------------------------------------------------


def value_file(directory: Path) -> Path:
    (path,) = directory.rglob("*.val")
    return path


@pytest.fixture(params=["x" * 100_000, b"\0" * 100_000, ["x" * 100_000]], ids=["text", "bytes", "pickle"])
def large(request, tmp_path):
    """A cache with one value in a file, closed, and the value."""
    cache = dolium.Cache(tmp_path)
    cache.set("large", request.param, tag="t")
    cache["small"] = 1
    cache.close()
    return request.param


def is_a_miss(directory):
    cache = dolium.Cache(directory)
    assert cache.get("large", "missing") == "missing"
    with pytest.raises(KeyError):
        cache["large"]
    assert cache.get("large", "missing", tag=True) == ("missing", None)
    assert cache.pop("large", "missing") == "missing"
    assert cache["small"] == 1
    cache["large"] = "again" * 20_000
    assert cache["large"] == "again" * 20_000
    cache.check(fix=True)
    cache.check(fix=True)
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()


def test_a_missing_value_file_is_a_miss(tmp_path, large):
    value_file(tmp_path).unlink()
    is_a_miss(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 50_000, 99_999])
def test_a_short_value_file_is_a_miss(tmp_path, large, length):
    path = value_file(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    is_a_miss(tmp_path)


def test_a_long_value_file_is_a_miss(tmp_path, large):
    path = value_file(tmp_path)
    path.write_bytes(path.read_bytes() + b"more")
    is_a_miss(tmp_path)


def test_a_directory_in_place_of_a_value_file_is_a_miss(tmp_path, large):
    path = value_file(tmp_path)
    path.unlink()
    path.mkdir()
    cache = dolium.Cache(tmp_path)
    assert cache.get("large", "missing") == "missing"
    cache["large"] = 1
    assert cache["large"] == 1
    cache.close()


def test_bytes_that_are_no_text_are_a_miss(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["large"] = "x" * 100_000
    cache["small"] = 1
    cache.close()
    value_file(tmp_path).write_bytes(b"\xff" * 100_000)
    is_a_miss(tmp_path)


def test_a_changed_pickle_is_a_miss(tmp_path):
    """Its signature does not fit any more, and it is more than plain data, so it is not loaded."""
    cache = dolium.Cache(tmp_path)
    cache["large"] = [Path("x" * 50_000), complex, "y" * 50_000]
    cache["small"] = 1
    assert cache["large"][1] is complex
    cache.close()
    path = value_file(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_a_miss(tmp_path)


def test_queues_pass_over_missing_files(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.push("x" * 100_000)
    cache.push("alive")
    value_file(tmp_path).unlink()
    assert cache.peek()[1] == "alive"
    assert cache.pull()[1] == "alive"
    assert cache.pull() == (None, None)
    cache["k"] = "x" * 100_000
    value_file(tmp_path).unlink()
    with pytest.raises(KeyError):
        cache.peekitem()
    cache.close()


def test_file_name_that_leaves_the_directory_is_not_followed(tmp_path, real_diskcache):
    """A row is data, not a licence to read, or unlink, any file of the user."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    directory = tmp_path / "cache"
    for name in ("../secret.txt", str(secret), "aa/../../secret.txt"):
        real_diskcache(
            """
            cache = diskcache.Cache(sys.argv[1])
            cache.set("k", "x" * 50_000)
            cache._sql("UPDATE Cache SET filename = ?, size = 6", (sys.argv[2],))
            cache.close()
            """,
            directory,
            name,
        )
        cache = dolium.Cache(directory)
        assert cache.get("k", "missing") == "missing"
        assert cache.pop("k", "missing") == "missing"
        cache["k"] = 1
        cache.delete("k")
        cache.check(fix=True)
        cache.clear()
        cache.close()
        assert secret.read_text() == "secret"
        shutil.rmtree(directory)


# -- What others do to the directory ---------------------------------------------------------------


def quietly(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def test_the_database_is_removed_while_in_use(tmp_path):
    """`rm cache.db`: the process notices, starts afresh, and others see what it writes from then on."""
    fill(tmp_path)
    with Child(
        """
        import warnings
        warnings.simplefilter("ignore")
        cache = dolium.Cache(sys.argv[1])
        assert cache[5]
        say("open")
        hear()
        deadline = time.monotonic() + 30
        n = 0
        while time.monotonic() < deadline:
            n += 1
            try:
                cache["new"] = n
                cache["large"] = "y" * 50_000
            except dolium.DoliumError:
                continue
            if os.path.exists(sys.argv[1] + "/cache.db"):
                break
            time.sleep(0.01)
        cache["last"] = "x"
        assert cache["last"] == "x"
        cache.close()
        """,
        tmp_path,
    ) as child:
        child.line("open")
        for name in ("cache.db", "cache.db-wal", "cache.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        child.tell()
        child.finish()
    cache = quietly(lambda: dolium.Cache(tmp_path))
    assert cache["last"] == "x"
    cache.close()


def test_the_directory_is_removed_while_in_use(tmp_path):
    directory = tmp_path / "cache"
    run(
        """
        import shutil, warnings
        warnings.simplefilter("ignore")
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "x" * 50_000
        for turn in range(3):
            while os.path.exists(sys.argv[1]):
                try:
                    shutil.rmtree(sys.argv[1])
                except FileNotFoundError:
                    pass  # the housekeeper, which unlinks what was overwritten, was quicker with this one
                except OSError as error:
                    if error.errno != 39:  # ENOTEMPTY: the housekeeper has just made a file of the store
                        raise
            deadline = time.monotonic() + 30
            is_back = False
            while not is_back and time.monotonic() < deadline:
                # What is written before may go to the store that is gone.
                is_back = os.path.exists(sys.argv[1] + "/cache.db")
                try:
                    cache.get("a")
                    cache["new"] = turn
                    cache["large"] = "y" * 50_000
                except (dolium.DoliumError, OSError):
                    is_back = False
                time.sleep(0.01)
            assert cache["new"] == turn
        cache.close()
        """,
        directory,
    )
    cache = quietly(lambda: dolium.Cache(directory))
    assert cache["new"] == 2
    cache.close()


def test_the_directory_is_removed_and_made_again_as_aider_does(tmp_path):
    directory = tmp_path / "cache"
    cache = dolium.Cache(directory)
    cache["a"] = 1
    shutil.rmtree(directory)
    again = quietly(lambda: dolium.Cache(directory))
    quietly(lambda: again.set("b", 2))
    assert again["b"] == 2
    assert "a" not in again
    again.close()
    cache.close()


def test_each_file_is_removed_while_processes_work(tmp_path):
    """Whatever is lost is what was in the file; nobody hangs, nobody crashes, all end on one store."""
    body = """
    import warnings
    warnings.simplefilter("ignore")
    cache = dolium.Cache(sys.argv[1], timeout=20)
    cache.set("ready", 1, retry=True)
    say("working")
    stop = threading.Event()
    threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
    n = 0
    while not stop.is_set():
        n += 1
        try:
            cache.set((os.getpid(), n % 20), "x" * (n % 3 * 30_000))
            cache.get((os.getpid(), n % 20))
            cache.incr("n")
        except dolium.DoliumError:
            pass
    deadline = time.monotonic() + 30
    while True:
        try:
            cache.set(sys.argv[2], n)
            break
        except dolium.DoliumError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    """
    names = ["cache.db", "cache.db-wal", "cache.db-shm", "cache.hot", "cache.lock"]
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(body, tmp_path, name)) for name in "abcd"]
        for child in children:
            child.line("working")
        for name in names:
            (tmp_path / name).unlink(missing_ok=True)
            assert children[0].silent(0.3)
        for child in children:
            child.tell()
        for child in children:
            child.finish()
    cache = quietly(lambda: dolium.Cache(tmp_path))
    quietly(lambda: cache.set("works", 1))
    assert cache["works"] == 1
    assert [name for name in "abcd" if name not in cache] == []
    cache.close()
