"""What many programs do with diskcache, private names included."""

from __future__ import annotations

import pytest
from helpers.children import run
from helpers.programs import program


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
