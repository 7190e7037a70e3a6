"""py-key-value, which reads the expiry."""

from __future__ import annotations

from helpers.programs import program


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
