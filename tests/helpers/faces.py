"""A cache behind its asynchronous face: tests call its methods, and one task of an event loop awaits them."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import trio
import uvloop

RUNNERS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "asyncio": lambda main: asyncio.run(main()),
    "uvloop": lambda main: uvloop.run(main()),
    "trio": trio.run,
}
"""What runs a coroutine function, by the name of the event loop."""


class Task:
    """A task in a thread of its own, which awaits what others ask for."""

    def __init__(self, loop: str) -> None:
        self._orders: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=RUNNERS[loop], args=(self._main,), daemon=True)
        self._thread.start()

    async def _main(self) -> None:
        while (order := self._orders.get()) is not None:
            future, make = order
            try:
                future.set_result(await make())
            except BaseException as error:
                future.set_exception(error)
            del order, future, make

    def await_(self, make: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        self._orders.put((future, make))
        return future.result(100)

    def end(self) -> None:
        self._orders.put(None)
        self._thread.join(20)


class Awaited:
    """Looks like the cache, and does everything through its face."""

    def __init__(self, cache: Any, loop: str) -> None:
        self.__dict__.update(_cache=cache, _face=cache.aio, _loop=loop, _tasks=threading.local(), _all=[])

    @property
    def _task(self) -> Task:
        """The task of the calling thread, to which its transactions belong."""
        if not hasattr(self._tasks, "task"):
            self._tasks.task = Task(self._loop)
            self._all.append(self._tasks.task)
        return self._tasks.task

    def __repr__(self) -> str:
        return f"<Awaited {self._cache!r}>"

    def __getstate__(self) -> Any:
        return self._cache.__getstate__()

    def __reduce__(self) -> Any:
        return (Awaited, (self._cache, self._loop))

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._cache, name)
        face = getattr(self._face, name, None)
        if name.startswith("_") or not callable(own) or name in ("memoize", "cached"):
            return own
        if inspect.iscoroutinefunction(face):
            return lambda *args, **kwargs: self._answer(lambda: face(*args, **kwargs))
        if name in ("keys", "items", "values", "iterkeys"):
            return lambda *args, **kwargs: self._walk(lambda: face(*args, **kwargs))
        assert face is not None, f"the face has no {name}"
        return face

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cache, name, value)

    def _answer(self, make: Callable[[], Any]) -> Any:
        value = self._task.await_(make)
        if type(value) is tuple:  # no constant, which is a tuple, too
            return tuple(file_of(item) for item in value)
        return file_of(value)

    def _walk(self, make: Callable[[], Any]) -> Iterator[Any]:
        walk = make()
        while True:
            try:
                yield self._task.await_(walk.__anext__)
            except StopAsyncIteration:
                return

    @contextmanager
    def transact(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        block = self._face.transact(*args, **kwargs)
        self._task.await_(block.__aenter__)
        try:
            yield
        except BaseException as error:
            raised = error
            self._task.await_(lambda: block.__aexit__(type(raised), raised, None))
            raise
        self._task.await_(lambda: block.__aexit__(None, None, None))

    def __getitem__(self, key: Any) -> Any:
        return self._task.await_(lambda: self._face[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._task.await_(lambda: self._face.set(key, value, retry=True))

    def __delitem__(self, key: Any) -> None:
        if not self._task.await_(lambda: self._face.delete(key, retry=True)):
            raise KeyError(key)

    def __contains__(self, key: Any) -> bool:
        return self._task.await_(lambda: self._face.contains(key))

    def __len__(self) -> int:
        return self._task.await_(self._face.len)

    def __iter__(self) -> Iterator[Any]:
        return self._walk(self._face.__aiter__)

    def __reversed__(self) -> Iterator[Any]:
        return self._walk(lambda: reversed(self._face))

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._task.await_(self._face.close)

    def __del__(self) -> None:
        for task in self._all:
            task.end()


def file_of(value: Any) -> Any:
    """The file of an `AsyncFile`, or the value itself."""
    return getattr(value, "_file", value)


def awaited(kind: Callable[..., Any], loop: str) -> Callable[..., Any]:
    """What opens a cache of a kind behind its face."""
    return lambda *args, **kwargs: Awaited(kind(*args, **kwargs), loop)
