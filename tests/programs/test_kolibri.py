"""Kolibri, which gives Django a FanoutCache of its own."""

from __future__ import annotations

from helpers.programs import program


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
