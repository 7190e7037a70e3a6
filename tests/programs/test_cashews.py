"""cashews, which scans keys and counts."""

from __future__ import annotations

from helpers.programs import program


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
