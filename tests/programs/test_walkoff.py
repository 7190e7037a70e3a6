"""WALKOFF, which looks for the database by its name."""

from __future__ import annotations

from helpers.programs import program


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
