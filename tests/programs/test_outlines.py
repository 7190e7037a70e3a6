"""Outlines, which pickles otherwise and memoizes coroutines."""

from __future__ import annotations

from helpers.programs import program


def test_outlines_pickles_otherwise_and_memoizes_async(tmp_path):
    program(
        """
        import asyncio, functools, io, pickle, diskcache
        from diskcache import Cache, Disk
        from diskcache.core import ENOVAL, UNKNOWN, args_to_key, full_name

        class CloudpickleDisk(Disk):
            def __init__(self, directory, compress_level=1, **kwargs):
                self.compress_level = compress_level
                super().__init__(directory, **kwargs)
            def put(self, key): return super().put(pickle.dumps(key))
            def get(self, key, raw): return pickle.loads(super().get(key, raw))
            def store(self, value, read, key=UNKNOWN):
                if not read:
                    value = pickle.dumps(value)
                return super().store(value, read, key=key)
            def fetch(self, mode, filename, value, read):
                data = super().fetch(mode, filename, value, read)
                return data if read else pickle.loads(data)

        memory = Cache(sys.argv[1], eviction_policy="none", cull_limit=0, disk=CloudpickleDisk)
        memory["__version__"] = "1.0"
        def memoize(func):
            base = (full_name(func),)
            def key_of(*args, **kwargs):
                return args_to_key(base, args, kwargs, False, ())
            @functools.wraps(func)
            async def wrapper(*args, **kwargs):
                key = wrapper.__cache_key__(*args, **kwargs)
                result = memory.get(key, default=ENOVAL, retry=True)
                if result is ENOVAL:
                    result = await func(*args, **kwargs)
                    memory.set(key, result, None, retry=True)
                return result
            wrapper.__cache_key__ = key_of
            return wrapper
        calls = []
        @memoize
        async def double(x):
            calls.append(x)
            return x * 2
        assert [asyncio.run(double(4)) for _ in range(3)] == [8, 8, 8] and calls == [4]
        assert set(memory) == {"__version__", double.__cache_key__(4)}
        again = Cache(sys.argv[1], disk=CloudpickleDisk)
        assert again["__version__"] == "1.0" and again.disk.compress_level == 1
        """,
        tmp_path,
    )
