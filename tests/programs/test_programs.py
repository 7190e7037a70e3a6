"""What the programs that will switch do, each as a small program: as they do it, private names included."""

from __future__ import annotations

import sys
import textwrap

import pytest
from helpers.children import run

AS_DISKCACHE = "import os, sys, dolium\ndolium.install_as_diskcache()\n"


def program(body: str, *arguments: object, **options) -> list[str]:
    """Runs code that says `import diskcache`, with dolium in its place."""
    return run(textwrap.dedent(body), *arguments, prelude=AS_DISKCACHE, **options)


def test_dash_checks_the_class(tmp_path):
    program(
        """
        import diskcache, pickle
        cache = diskcache.Cache(sys.argv[1])
        fanout = diskcache.FanoutCache(sys.argv[1] + "-fan")
        assert isinstance(cache, (diskcache.Cache, diskcache.FanoutCache))
        assert isinstance(fanout, (diskcache.Cache, diskcache.FanoutCache))
        assert diskcache.__name__ in ("diskcache", "dolium")
        for handle in (cache, fanout):
            with handle.transact():
                handle.set("job", b"running")
                assert handle.get("job", "none") == b"running"
            assert handle.touch("job", expire=60) is True
            handle.delete("job")
        def job(cache):
            with diskcache.Lock(cache, "lock"):
                cache.set("progress", 1)
        pid = os.fork()
        if pid == 0:
            job(cache)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert cache["progress"] == 1
        again = pickle.loads(pickle.dumps(cache))
        assert isinstance(again, diskcache.Cache) and again["progress"] == 1
        """,
        tmp_path / "cache",
    )


def test_names_and_modules(tmp_path):
    program(
        """
        import diskcache
        from diskcache import (
            Averager, BoundedSemaphore, Cache, DEFAULT_SETTINGS, Deque, Disk, EVICTION_POLICY, EmptyDirWarning, ENOVAL,
            FanoutCache, Index, JSONDisk, Lock, RLock, Timeout, UNKNOWN, UnknownFileWarning, barrier,
            memoize_stampede, throttle,
        )
        from diskcache.core import (
            DBNAME, METADATA, MODE_BINARY, MODE_NONE, MODE_PICKLE, MODE_RAW, MODE_TEXT, Constant,
            Timeout as T, args_to_key, full_name, ENOVAL as E, UNKNOWN as U, Disk as D,
        )
        from diskcache.fanout import FanoutCache as F
        from diskcache.persistent import Deque as Q, Index as I
        from diskcache.recipes import Averager as A, Lock as L
        import diskcache.core, diskcache.fanout, diskcache.persistent, diskcache.recipes
        ours = (Timeout, ENOVAL, UNKNOWN, Disk, FanoutCache, Deque, Index, Averager, Lock)
        assert (T, E, U, D, F, Q, I, A, L) == ours
        assert (DBNAME, MODE_NONE, MODE_RAW, MODE_BINARY, MODE_TEXT, MODE_PICKLE) == ("cache.db", 0, 1, 2, 3, 4)
        assert repr(ENOVAL) == "ENOVAL" and isinstance(ENOVAL, Constant) and isinstance(ENOVAL, tuple)
        assert set(METADATA) == {"count", "size", "hits", "misses"}
        assert args_to_key(("f",), (1, 2), {"b": 2, "a": 1}, False, {1}) == ("f", 1, None, "a", 1, "b", 2)
        assert args_to_key(("f",), (1,), {}, True, ()) == ("f", 1, None, int)
        assert full_name(full_name).endswith("full_name")
        """,
    )


def test_install_refuses_beside_the_real_one():
    lines = run(
        """
        try:
            dolium.install_as_diskcache()
        except RuntimeError as error:
            print(error)
        """,
        prelude="import diskcache, dolium\n",
    )
    assert "already" in lines[0]


def test_dvc_runs_sql_and_executemany(tmp_path):
    """dvc-data's HashesCache: rows of the table `Cache` read and written in bulk by SQL."""
    program(
        """
        import pickle, diskcache
        from diskcache import Cache as C, Disk, Index, Timeout

        class MyDisk(Disk):
            def __init__(self, *args, type="", **kwargs):
                super().__init__(*args, **kwargs)
                self._type = type
            def put(self, key): return super().put(key)
            def get(self, key, raw): return super().get(key, raw)
            def store(self, value, read, key=diskcache.UNKNOWN): return super().store(value, read, key=key)
            def fetch(self, mode, filename, value, read): return super().fetch(mode, filename, value, read)

        class Cache(C):
            def __init__(self, directory=None, timeout=60, disk=MyDisk, type="", **settings):
                settings.setdefault("disk_pickle_protocol", 4)
                settings.setdefault("cull_limit", 0)
                super().__init__(directory=directory, timeout=timeout, disk=MyDisk, **settings)
                self.disk._type = self._type = type
            def __getstate__(self):
                return (*super().__getstate__(), self._type)

        class HashesCache(Cache):
            SUPPORTS_UPSERT = True
            def is_empty(self):
                return not self._sql("SELECT 1 FROM Cache LIMIT 1").fetchone()
            def get_many(self, keys):
                keys = list(keys)
                marks = ",".join("?" * len(keys))
                query = f"SELECT key, value FROM Cache WHERE key IN ({marks}) and raw = 1"
                yield from self._sql(query, keys).fetchall()
            def set_many(self, items, retry=False):
                insert = (
                    "INSERT INTO Cache(key, raw, store_time, expire_time, access_time, access_count, tag, size, mode,"
                    " filename, value) VALUES (?, 1, ?, NULL, ?, 0, NULL, 0, 1, NULL, ?)"
                    " ON CONFLICT(key, raw) DO UPDATE SET value = excluded.value"
                )
                with self.transact(retry=retry):
                    self._con.executemany(insert, [(key, 1.0, 1.0, value) for key, value in items])

        cache = HashesCache(sys.argv[1])
        assert cache.is_empty()
        cache.set_many((f"path-{n}", f'{{"md5": {n}}}') for n in range(500))
        cache.set_many([("path-1", "changed")])
        assert not cache.is_empty()
        assert dict(cache.get_many(["path-1", "path-2", "nobody"])) == {"path-1": "changed", "path-2": '{"md5": 2}'}
        assert len(cache) == 500, len(cache)
        assert cache["path-499"] == '{"md5": 499}' and cache.check() == []
        assert cache._directory == sys.argv[1]
        cache["other"] = {"a": 1}
        again = pickle.loads(pickle.dumps(cache))
        assert type(again) is HashesCache and again["other"] == {"a": 1}
        ((count,),) = cache._sql("SELECT count(*) FROM Cache WHERE key LIKE 'path-%'").fetchall()
        assert count == 500
        assert [row for row in cache._sql("SELECT key FROM Cache WHERE key = ?", ("path-3",))] == [("path-3",)]
        index = Index.fromcache(Cache(sys.argv[1] + "-index", eviction_policy="none"))
        index["a"] = 1
        assert dict(index) == {"a": 1}
        cache.close()
        """,
        tmp_path / "cache",
    )


def test_metadata_queries(tmp_path):
    """The SELECTs seen in public code."""
    program(
        """
        import diskcache
        cache = diskcache.Cache(sys.argv[1])
        cache.set("a", 1, tag="t")
        cache.set("b", "x" * 50_000)
        assert cache._sql("SELECT COUNT(*) FROM Cache").fetchone() == (2,)
        assert cache._sql("SELECT key FROM Cache WHERE tag = ?", ["t"]).fetchall() == [("a",)]
        ((store_time,),) = cache._sql("SELECT store_time FROM Cache WHERE key = 'a'").fetchall()
        assert store_time > 1e9
        ((filename, size),) = cache._sql("SELECT filename, size FROM Cache WHERE filename IS NOT NULL").fetchall()
        assert os.path.getsize(os.path.join(cache.directory, filename)) == size == 50_000
        cache._sql("DELETE FROM Cache WHERE key = ?", ("a",))
        assert "a" not in cache and len(cache) == 1
        try:
            cache._sql("SELECT nonsense")
        except Exception as error:
            import sqlite3
            assert isinstance(error, sqlite3.OperationalError), type(error).__mro__
        """,
        tmp_path,
    )


def test_dspy_overrides_fetch(tmp_path):
    program(
        """
        import io, pickle, diskcache
        from diskcache import FanoutCache, Disk
        from diskcache.core import MODE_PICKLE

        class Restricted(Disk):
            def fetch(self, mode, filename, value, read):
                if mode == MODE_PICKLE:
                    if value is None:
                        with open(os.path.join(self._directory, filename), "rb") as file:
                            data = file.read()
                    else:
                        data = bytes(value)
                    if b"forbidden" in data:
                        raise pickle.UnpicklingError("forbidden")
                    return pickle.load(io.BytesIO(data))
                return super().fetch(mode, filename, value, read)

        disk = type("Configured", (Restricted,), {})
        cache = FanoutCache(shards=16, timeout=10, directory=sys.argv[1], size_limit=int(3e10), disk=disk)
        cache["k"] = {"answer": [1, 2]}
        cache["large"] = ["x" * 100_000]
        assert cache["k"] == {"answer": [1, 2]} and cache["large"] == ["x" * 100_000]
        cache["bad"] = ["forbidden"]
        try:
            cache.get("bad")
        except pickle.UnpicklingError:
            cache.delete("bad")
        else:
            raise AssertionError("fetch was not asked")
        assert "bad" not in cache and "k" in cache
        assert all(isinstance(shard.disk, Restricted) for shard in cache._shards) and len(cache._shards) == 16
        assert cache._count == 16 and cache._hash("k") % 16 in range(16)
        """,
        tmp_path,
    )


def test_outlines_pickles_otherwise_and_memoizes_async(tmp_path):
    program(
        """
        import asyncio, functools, io, pickle, diskcache
        from diskcache import Cache, Disk
        from diskcache.core import ENOVAL, UNKNOWN, args_to_key, full_name

        class CloudpickleDisk(Disk):
            def __init__(self, directory, compress_level=1, **kwargs):
                self.compress_level = compress_level
                super().__init__(directory, **kwargs)
            def put(self, key): return super().put(pickle.dumps(key))
            def get(self, key, raw): return pickle.loads(super().get(key, raw))
            def store(self, value, read, key=UNKNOWN):
                if not read:
                    value = pickle.dumps(value)
                return super().store(value, read, key=key)
            def fetch(self, mode, filename, value, read):
                data = super().fetch(mode, filename, value, read)
                return data if read else pickle.loads(data)

        memory = Cache(sys.argv[1], eviction_policy="none", cull_limit=0, disk=CloudpickleDisk)
        memory["__version__"] = "1.0"
        def memoize(func):
            base = (full_name(func),)
            def key_of(*args, **kwargs):
                return args_to_key(base, args, kwargs, False, ())
            @functools.wraps(func)
            async def wrapper(*args, **kwargs):
                key = wrapper.__cache_key__(*args, **kwargs)
                result = memory.get(key, default=ENOVAL, retry=True)
                if result is ENOVAL:
                    result = await func(*args, **kwargs)
                    memory.set(key, result, None, retry=True)
                return result
            wrapper.__cache_key__ = key_of
            return wrapper
        calls = []
        @memoize
        async def double(x):
            calls.append(x)
            return x * 2
        assert [asyncio.run(double(4)) for _ in range(3)] == [8, 8, 8] and calls == [4]
        assert set(memory) == {"__version__", double.__cache_key__(4)}
        again = Cache(sys.argv[1], disk=CloudpickleDisk)
        assert again["__version__"] == "1.0" and again.disk.compress_level == 1
        """,
        tmp_path,
    )


def test_connectome_stores_directories(tmp_path):
    """A Disk whose values are directories of the user's making."""
    program(
        """
        import shutil, diskcache
        from pathlib import Path
        from diskcache import Disk, Cache
        from diskcache.core import MODE_BINARY, UNKNOWN

        class Folders(Disk):
            def put(self, key): return key, True
            def get(self, key, raw): raise NotImplementedError
            def store(self, value, read, key=UNKNOWN):
                name = f"folder-{key}"
                folder = Path(self._directory) / name
                folder.mkdir(exist_ok=True)
                for part, text in value.items():
                    (folder / part).write_text(text)
                return sum(map(len, value.values())), MODE_BINARY, name, None
            def fetch(self, mode, filename, value, read):
                assert mode == MODE_BINARY
                return {path.name: path.read_text() for path in (Path(self._directory) / filename).iterdir()}
            def remove(self, filename):
                shutil.rmtree(Path(self._directory) / filename)

        cache = Cache(sys.argv[1], size_limit=float("inf"), cull_limit=0, disk=Folders)
        cache["a"] = {"one": "1", "two": "2"}
        cache["b"] = {"one": "1"}
        assert cache["a"] == {"one": "1", "two": "2"} and "b" in cache
        folder = Path(sys.argv[1]) / "folder-b"
        assert folder.is_dir()
        del cache["b"]
        cache.close()
        assert not folder.exists() and cache["a"]["two"] == "2"
        try:
            list(cache)
        except NotImplementedError:
            pass
        """,
        tmp_path,
    )


def test_old_disks_without_key(tmp_path):
    """`store(value, read)`: written for diskcache 4 and before."""
    program(
        """
        import diskcache, zlib
        class Old(diskcache.Disk):
            def store(self, value, read):
                return super().store(zlib.compress(value.encode()) if not read else value, read)
            def fetch(self, mode, filename, value, read):
                data = super().fetch(mode, filename, value, read)
                return data if read else zlib.decompress(data).decode()
        cache = diskcache.Cache(sys.argv[1], disk=Old)
        cache["k"] = "text"
        cache.push("queued")
        assert cache["k"] == "text" and cache.pull()[1] == "queued"
        """,
        tmp_path,
    )


def test_kolibri_puts_a_fanout_cache_of_its_own(tmp_path):
    program(
        """
        import sqlite3, diskcache
        from diskcache.fanout import FanoutCache
        from diskcache.recipes import Lock
        options = {"disk_pickle_protocol": 4, "size_limit": 10**8}
        cache = FanoutCache(sys.argv[1], 4, 0.010, **options)
        assert cache.disk_pickle_protocol == 4
        with diskcache.Cache(sys.argv[1] + "-lock") as c:
            with Lock(c, "key", expire=10):
                cache.set("a", {"b": 1})
        try:
            assert cache.get("a") == {"b": 1}
        except (sqlite3.OperationalError, AssertionError):
            raise
        """,
        tmp_path / "cache",
    )


def test_aider_catches_errors_and_starts_afresh(tmp_path):
    """Its `except SQLITE_ERRORS` and rmtree are copied into many tools; mostly they are not needed any more."""
    program(
        """
        import shutil, sqlite3, warnings
        from pathlib import Path
        from diskcache import Cache
        warnings.simplefilter("ignore")
        SQLITE_ERRORS = (sqlite3.OperationalError, sqlite3.DatabaseError, OSError)
        path = Path(sys.argv[1])
        cache = Cache(path)
        cache["file.py"] = {"mtime": 1.5, "data": [("tag", 1)]}
        cache.close()
        (path / "cache.db").write_bytes(b"garbage" * 1000)
        try:
            cache = Cache(path)
            value = cache.get("file.py")
            cache["file.py"] = {"mtime": 2.5}
        except SQLITE_ERRORS:
            shutil.rmtree(path)
            cache = Cache(path)
            cache["file.py"] = {"mtime": 2.5}
        assert cache["file.py"] == {"mtime": 2.5} and len(cache) == 1
        shutil.rmtree(path)
        cache = Cache(path)
        cache["a"] = 1
        assert cache["a"] == 1 and len(cache) == 1
        """,
        tmp_path / "cache",
    )


def test_every_error_is_what_callers_of_diskcache_catch():
    import sqlite3

    import dolium

    for name in (
        "DatabaseError",
        "DamagedStoreError",
        "StorageError",
        "StorageFullError",
        "ReadOnlyError",
        "ForkedError",
    ):
        error = getattr(dolium, name)
        assert issubclass(error, dolium.DoliumError)
        assert issubclass(error, (sqlite3.DatabaseError, OSError))
    assert issubclass(dolium.Timeout, dolium.DoliumError)


def test_llama_cpp_keeps_its_own_limit(tmp_path):
    program(
        """
        import diskcache
        cache = diskcache.Cache(sys.argv[1])
        capacity = 500_000
        for n in range(20):
            key = tuple(range(n, n + 50))
            if key in cache:
                del cache[key]
            cache[key] = b"state" * 10_000
            while cache.volume() > capacity and len(cache) > 0:
                del cache[next(iter(cache))]
        keys = list(cache.iterkeys())
        assert all(type(key) is tuple and len(key) == 50 for key in keys) and 1 <= len(keys) < 20
        assert cache.pop(keys[0]) == b"state" * 10_000
        """,
        tmp_path,
    )


def test_litellm_counts_in_a_transaction(tmp_path):
    program(
        """
        import diskcache as dc
        cache = dc.Cache(sys.argv[1])
        cache.set("k", '{"a": 1}', expire=60)
        with cache.transact():
            value = cache.get("n", 0)
            cache.set("n", value + 1)
        assert cache.get("n") == 1 and cache.pop("k") == '{"a": 1}'
        cache.clear()
        """,
        tmp_path,
    )


def test_inkstitch_assigns_the_limit_and_passes_a_wrong_name(tmp_path):
    program(
        """
        import diskcache
        cache = diskcache.Cache(sys.argv[1], size=50 * 2**20)
        cache["a"] = 1
        cache.size_limit = 100 * 2**20
        assert cache.size_limit == 100 * 2**20 and len(cache) == 1
        cache["b"] = 2
        assert cache.check() == [] and len(cache) == 2
        """,
        tmp_path,
    )


def test_py_key_value_gets_with_expiry(tmp_path):
    program(
        """
        from pathlib import Path
        from diskcache import Cache
        class Store:
            def __init__(self, directory):
                self._cache = Cache(directory=Path(directory), eviction_policy="none")
            def __del__(self):
                self._cache.close()
        store = Store(sys.argv[1])
        store._cache.set(key="k", value='{"a": 1}', expire=100)
        value, expires = store._cache.get(key="k", expire_time=True)
        assert value == '{"a": 1}' and expires > 1e9
        assert store._cache.delete(key="k", retry=True) is True
        assert store._cache.get(key="k", expire_time=True) == (None, None)
        """,
        tmp_path,
    )


def test_autogen_uses_a_number_as_directory(tmp_path):
    program(
        """
        import diskcache
        os.chdir(sys.argv[1])
        with diskcache.Cache(41) as cache:
            cache.set("k", {"config": [1]})
            assert cache.get("k", None) == {"config": [1]}
        assert os.path.isdir("41")
        """,
        tmp_path,
    )


def test_cashews_scans_and_counts(tmp_path):
    program(
        """
        import diskcache
        cache = diskcache.Cache(sys.argv[1])
        cache.set("user:1", 1, expire=10)
        assert cache.incr("n", delta=5, retry=True) == 5
        assert [key for key in cache.iterkeys() if key.startswith("user:")] == ["user:1"]
        value, expires = cache.get("user:1", expire_time=True)
        assert cache.touch("user:1", expire=20) and len(cache) == 2
        assert not hasattr(diskcache.FanoutCache(sys.argv[1] + "-fan"), "push")
        """,
        tmp_path / "cache",
    )


def test_pyot_enables_statistics_and_docetl_reopens(tmp_path):
    program(
        """
        import diskcache
        fanout = diskcache.FanoutCache(sys.argv[1] + "-fan", statistics=True)
        fanout.set("a", 1)
        fanout.get("a"); fanout.get("b")
        assert fanout.stats() == (1, 1)
        cache = diskcache.Cache(sys.argv[1])
        cache.close()
        with cache as c:
            c.set("k", 1)
        with cache as c:
            assert c.get("k") == 1
        """,
        tmp_path / "cache",
    )


def test_walkoff_looks_for_the_database_by_name(tmp_path):
    program(
        """
        from diskcache import FanoutCache, DEFAULT_SETTINGS
        from diskcache.core import DBNAME
        cache = FanoutCache(sys.argv[1], **{**DEFAULT_SETTINGS, "cull_limit": 5})
        cache["a"] = 1
        assert any(DBNAME in files for _, _, files in os.walk(sys.argv[1]))
        """,
        tmp_path,
    )


@pytest.mark.parametrize("name", ["create_tag_index", "drop_tag_index"])
def test_tag_indexes_on_shards(tmp_path, name):
    program(
        """
        import diskcache
        cache = diskcache.FanoutCache(sys.argv[1], tag_index=True)
        cache.set("a", 1, tag="t")
        getattr(cache, sys.argv[2])()
        assert cache.evict("t") == 1
        """,
        tmp_path,
        name,
    )
    assert sys.version_info >= (3, 10)
