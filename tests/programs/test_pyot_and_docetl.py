"""Pyot, which enables statistics, and DocETL, which reopens a closed cache."""

from __future__ import annotations

from helpers.programs import program


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
