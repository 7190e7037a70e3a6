"""Ink/Stitch, which assigns the limit and passes a wrong name."""

from __future__ import annotations

from helpers.programs import program


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
