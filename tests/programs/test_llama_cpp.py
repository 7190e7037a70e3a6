"""llama-cpp-python, which keeps a limit of its own."""

from __future__ import annotations

from helpers.programs import program


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
