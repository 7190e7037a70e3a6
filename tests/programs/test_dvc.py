"""dvc-data, which reads and writes the table `Cache` by SQL."""

from __future__ import annotations

from helpers.programs import program


def test_dvc_runs_sql_and_executemany(tmp_path):
    """dvc-data's HashesCache: rows of the table `Cache` read and written in bulk by SQL."""
    program(
        """
        import pickle, diskcache
        from diskcache import Cache as C, Disk, Index, Timeout

        class MyDisk(Disk):
            def __init__(self, *args, type="", **kwargs):
                super().__init__(*args, **kwargs)
                self._type = type
            def put(self, key): return super().put(key)
            def get(self, key, raw): return super().get(key, raw)
            def store(self, value, read, key=diskcache.UNKNOWN): return super().store(value, read, key=key)
            def fetch(self, mode, filename, value, read): return super().fetch(mode, filename, value, read)

        class Cache(C):
            def __init__(self, directory=None, timeout=60, disk=MyDisk, type="", **settings):
                settings.setdefault("disk_pickle_protocol", 4)
                settings.setdefault("cull_limit", 0)
                super().__init__(directory=directory, timeout=timeout, disk=MyDisk, **settings)
                self.disk._type = self._type = type
            def __getstate__(self):
                return (*super().__getstate__(), self._type)

        class HashesCache(Cache):
            SUPPORTS_UPSERT = True
            def is_empty(self):
                return not self._sql("SELECT 1 FROM Cache LIMIT 1").fetchone()
            def get_many(self, keys):
                keys = list(keys)
                marks = ",".join("?" * len(keys))
                query = f"SELECT key, value FROM Cache WHERE key IN ({marks}) and raw = 1"
                yield from self._sql(query, keys).fetchall()
            def set_many(self, items, retry=False):
                insert = (
                    "INSERT INTO Cache(key, raw, store_time, expire_time, access_time, access_count, tag, size, mode,"
                    " filename, value) VALUES (?, 1, ?, NULL, ?, 0, NULL, 0, 1, NULL, ?)"
                    " ON CONFLICT(key, raw) DO UPDATE SET value = excluded.value"
                )
                with self.transact(retry=retry):
                    self._con.executemany(insert, [(key, 1.0, 1.0, value) for key, value in items])

        cache = HashesCache(sys.argv[1])
        assert cache.is_empty()
        cache.set_many((f"path-{n}", f'{{"md5": {n}}}') for n in range(500))
        cache.set_many([("path-1", "changed")])
        assert not cache.is_empty()
        assert dict(cache.get_many(["path-1", "path-2", "nobody"])) == {"path-1": "changed", "path-2": '{"md5": 2}'}
        assert len(cache) == 500, len(cache)
        assert cache["path-499"] == '{"md5": 499}' and cache.check() == []
        assert cache._directory == sys.argv[1]
        cache["other"] = {"a": 1}
        again = pickle.loads(pickle.dumps(cache))
        assert type(again) is HashesCache and again["other"] == {"a": 1}
        ((count,),) = cache._sql("SELECT count(*) FROM Cache WHERE key LIKE 'path-%'").fetchall()
        assert count == 500
        assert [row for row in cache._sql("SELECT key FROM Cache WHERE key = ?", ("path-3",))] == [("path-3",)]
        index = Index.fromcache(Cache(sys.argv[1] + "-index", eviction_policy="none"))
        index["a"] = 1
        assert dict(index) == {"a": 1}
        cache.close()
        """,
        tmp_path / "cache",
    )
