"""The caches that are compared, each behind one small face.

A face hands out the cache's own bound methods wherever it can, so that a measured call is the library's call and not
ours. What a cache cannot do is None, and the table says so with a dash. Nothing here measures.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

STORED, USED, READ = "least-recently-stored", "least-recently-used", "least-frequently-used"
TUPLE = ("package.module.function", 17, "name", 2.5, None, "flag", True)
Pairs = list[tuple[Any, bytes]]


class Face:
    """One cache, open on one directory."""

    name: ClassVar[str]
    package: ClassVar[str | None] = None
    module: ClassVar[str]
    shared: ClassVar[bool] = True  # by several processes
    tuples: ClassVar[bool] = True  # as keys
    policies: ClassVar[tuple[str, ...]] = (USED, READ)  # by which it evicts, beside that by time of writing
    sustains: ClassVar[bool] = False  # is worth the minutes that millions of sets take
    opens: ClassVar[bool] = True  # is opened from a directory

    get: Callable[[Any], Any]
    set: Callable[[Any, bytes], Any]
    delete: Callable[[Any], Any]
    incr: Callable[[Any], Any] | None = None
    memoize: Callable[[], Callable[[Callable[..., Any]], Callable[..., Any]]] | None = None
    get_many: Callable[[list[Any]], Any] | None = None
    add_many: Callable[[Pairs], Any] | None = None
    delete_many: Callable[[list[Any]], Any] | None = None

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        raise NotImplementedError

    @staticmethod
    def key(name: str) -> Any:
        """The name as the type of key that costs this cache least."""
        return name

    def set_many(self, pairs: Pairs) -> None:
        """In the fastest way that the cache offers."""
        raise NotImplementedError

    def walk(self) -> Iterable[Any]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version(cls.package or cls.module)

    @classmethod
    def import_(cls) -> None:
        __import__(cls.module)


class DiskcacheLike(Face):
    """What has the methods of diskcache."""

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        self.adopt(__import__(self.module).Cache(str(directory), eviction_policy=policy))

    def adopt(self, cache: Any) -> None:
        self.cache = cache
        self.get, self.set, self.delete = cache.get, cache.set, cache.delete
        self.incr, self.memoize, self.close = cache.incr, cache.memoize, cache.close

    def set_many(self, pairs: Pairs) -> None:
        with self.cache.transact():
            for key, value in pairs:
                self.cache.set(key, value)

    def walk(self) -> Iterable[Any]:
        return iter(self.cache)


class Dolium(DiskcacheLike):
    name = module = "dolium"
    sustains = True

    def adopt(self, cache: Any) -> None:
        super().adopt(cache)
        self.get_many, self.add_many, self.delete_many = cache.get_many, cache.add_many, cache.delete_many

    def set_many(self, pairs: Pairs) -> None:
        self.cache.set_many(pairs)


class Diskcache(DiskcacheLike):
    name = module = "diskcache"
    sustains = True


class Community(DiskcacheLike):
    name, module, package = "diskcache-community", "diskcache_community", "diskcache-community"


class DiskcacheRs(DiskcacheLike):
    name = module = "diskcache_rs"
    tuples = False  # set() returns False and stores nothing
    policies = ()  # the setting is accepted and ignored

    def set_many(self, pairs: Pairs) -> None:
        self.cache.set_many(dict(pairs))

    def walk(self) -> Iterable[Any]:
        return self.cache.iterkeys()


class Pysciqlop(DiskcacheLike):
    name, module, package = "pysciqlop-cache", "pysciqlop_cache", "pysciqlop-cache"
    policies = (USED,)
    sustains = True

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        # It evicts the least recently used, always.
        self.adopt(__import__(self.module).Cache(str(directory)))

    def walk(self) -> Iterable[Any]:
        return self.cache.iterkeys()


class Lmdb(Face):
    """A transaction for each call, as a cache would have it. It has neither expiry, eviction, nor typed keys."""

    name, module, package = "py-lmdb, synced", "lmdb", "lmdb"
    tuples = False
    policies = ()
    options: ClassVar[dict[str, Any]] = {"map_size": 1 << 31}

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        import lmdb

        directory.mkdir(parents=True, exist_ok=True)
        environment = lmdb.open(str(directory), **self.options)
        begin = environment.begin

        def get(key: bytes) -> bytes | None:
            with begin() as transaction:
                return transaction.get(key)

        def put(key: bytes, value: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.put(key, value)

        def delete(key: bytes) -> None:
            with begin(write=True) as transaction:
                transaction.delete(key)

        def get_many(keys: list[bytes]) -> list[tuple[bytes, bytes]]:
            with begin() as transaction, transaction.cursor() as cursor:
                return cursor.getmulti(keys)

        self.environment = environment
        self.get, self.set, self.delete, self.get_many = get, put, delete, get_many
        self.close = environment.close

    @staticmethod
    def key(name: str) -> bytes:
        return name.encode()

    def set_many(self, pairs: Pairs) -> None:
        with self.environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(pairs)

    def walk(self) -> Iterator[bytes]:
        with self.environment.begin() as transaction, transaction.cursor() as cursor:
            yield from cursor.iternext(keys=True, values=False)


class LmdbUnsynced(Lmdb):
    name = "py-lmdb, unsynced"
    options: ClassVar[dict[str, Any]] = {"map_size": 1 << 31, "sync": False}
    sustains = True


class Redis(Face):
    """A server on loopback that keeps nothing on disk. A directory becomes one of its databases."""

    name, module, package = "Redis, loopback", "redis", "redis"
    tuples = opens = False
    policies = ()

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        import redis

        numbers = {"stock": 1, "mix": 2}
        self.client = redis.Redis(port=int(os.environ["BENCH_REDIS_PORT"]), db=numbers.get(directory.name, 0))
        self.get, self.set, self.delete = self.client.get, self.client.set, self.client.delete
        self.incr, self.get_many, self.close = self.client.incr, self.client.mget, self.client.close

    def set_many(self, pairs: Pairs) -> None:
        self.client.mset(dict(pairs))

    def walk(self) -> Iterator[Any]:
        return self.client.scan_iter(count=1000)

    @classmethod
    def version(cls) -> str:
        import redis

        with contextlib.closing(redis.Redis(port=int(os.environ["BENCH_REDIS_PORT"]))) as client:
            return f"{client.info('server')['redis_version']}, redis-py {super().version()}"


class Dict(Face):
    """For scale: one process, no file."""

    name, module = "dict", "builtins"
    shared = opens = False
    policies = ()

    def __init__(self, directory: Path, policy: str = STORED) -> None:
        self.data: dict[Any, bytes] = {}
        self.get, self.set, self.delete = self.data.get, self.data.__setitem__, self.data.__delitem__

    def set_many(self, pairs: Pairs) -> None:
        self.data.update(pairs)

    def walk(self) -> Iterable[Any]:
        return iter(self.data)

    def close(self) -> None:
        pass

    @classmethod
    def version(cls) -> str:
        return ""


FACES: dict[str, type[Face]] = {
    face.name: face
    for face in (Dolium, Diskcache, Community, DiskcacheRs, Pysciqlop, Lmdb, LmdbUnsynced, Redis, Dict)
}


def fresh(face: type[Face], directory: Path, policy: str = STORED) -> Face:
    """An empty cache."""
    shutil.rmtree(directory, ignore_errors=True)
    opened = face(directory, policy)
    if isinstance(opened, Redis):
        opened.client.flushdb()
    return opened
