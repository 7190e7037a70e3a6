"""aider, which catches SQLite's errors and starts afresh."""

from __future__ import annotations

from helpers.programs import program


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
