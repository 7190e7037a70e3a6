"""DSPy, whose Disk overrides `fetch`."""

from __future__ import annotations

from helpers.programs import program


def test_dspy_overrides_fetch(tmp_path):
    program(
        """
        import io, pickle, diskcache
        from diskcache import FanoutCache, Disk
        from diskcache.core import MODE_PICKLE

        class Restricted(Disk):
            def fetch(self, mode, filename, value, read):
                if mode == MODE_PICKLE:
                    if value is None:
                        with open(os.path.join(self._directory, filename), "rb") as file:
                            data = file.read()
                    else:
                        data = bytes(value)
                    if b"forbidden" in data:
                        raise pickle.UnpicklingError("forbidden")
                    return pickle.load(io.BytesIO(data))
                return super().fetch(mode, filename, value, read)

        disk = type("Configured", (Restricted,), {})
        cache = FanoutCache(shards=16, timeout=10, directory=sys.argv[1], size_limit=int(3e10), disk=disk)
        cache["k"] = {"answer": [1, 2]}
        cache["large"] = ["x" * 100_000]
        assert cache["k"] == {"answer": [1, 2]} and cache["large"] == ["x" * 100_000]
        cache["bad"] = ["forbidden"]
        try:
            cache.get("bad")
        except pickle.UnpicklingError:
            cache.delete("bad")
        else:
            raise AssertionError("fetch was not asked")
        assert "bad" not in cache and "k" in cache
        assert all(isinstance(shard.disk, Restricted) for shard in cache._shards) and len(cache._shards) == 16
        assert cache._count == 16 and cache._hash("k") % 16 in range(16)
        """,
        tmp_path,
    )
