"""LiteLLM, which counts in a transaction."""

from __future__ import annotations

from helpers.programs import program


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
