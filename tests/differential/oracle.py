"""The real diskcache 5.6.3 in a child process, driven over a pipe.

The parent holds an :class:`Oracle`; run as a program, this file is the child. Calls and results are
pickled (test data, of plain types). Exceptions come back as the names of their classes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO


class Raised(Exception):
    """A call raised: `args` are the names of the exception's classes, and its arguments."""

    def __init__(self, names: list[str], arguments: tuple[Any, ...]) -> None:
        super().__init__(names, arguments)
        self.names, self.arguments = names, arguments


def _send(pipe: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message)
    pipe.write(struct.pack("!Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    header = pipe.read(8)
    if len(header) < 8:
        raise EOFError("the other side has gone")
    return pickle.loads(pipe.read(struct.unpack("!Q", header)[0]))


class Oracle:
    """Makes diskcache's objects in the child and calls their methods.

    >>> with Oracle() as oracle:                    # doctest: +SKIP
    ...     cache = oracle.open("Cache", directory)
    ...     cache.set("a", 1)
    True
    """

    def __init__(self) -> None:
        found = importlib.util.find_spec("diskcache")
        assert found is not None, "diskcache 5.6.3 is a test dependency"
        assert found.origin is not None
        self._child = subprocess.Popen(
            [sys.executable, __file__, str(Path(found.origin).parent.parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait(30)

    def request(self, *message: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        _send(self._child.stdin, message)  # type: ignore[arg-type]
        kind, result = _receive(self._child.stdout)  # type: ignore[arg-type]
        if kind == "raised":
            raise Raised(*result)
        return result

    def open(self, kind: str, directory: Path | str, **settings: Any) -> Foreign:
        """An object of diskcache's class `kind`; `disk` is given by name."""
        return Foreign(self, self.request("open", kind, str(directory), settings))

    def now(self, moment: float | None) -> None:
        """Stops the child's clock at `moment`, or lets it run."""
        self.request("now", moment)


class Foreign:
    """An object in the child: every method call goes there; iteration and indexing through their methods."""

    def __init__(self, oracle: Oracle, number: int) -> None:
        self._oracle, self._number = oracle, number

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._oracle.request("call", self._number, name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self.call("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.call("__setitem__", key, value)

    def __len__(self) -> int:
        return self.call("__len__")

    def __contains__(self, key: Any) -> bool:
        return self.call("__contains__", key)

    def __iter__(self) -> Any:
        return iter(self.call("__iter__"))

    def attribute(self, name: str) -> Any:
        return self._oracle.request("attribute", self._number, name)

    def sql(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self._oracle.request("sql", self._number, statement, arguments)

    def begin(self) -> None:
        self._oracle.request("begin", self._number)

    def commit(self) -> None:
        self._oracle.request("commit", self._number)

    def roll_back(self) -> None:
        self._oracle.request("roll_back", self._number)

    def check(self) -> list[str]:
        return self._oracle.request("check", self._number)


def _serve() -> None:
    """The child: answers until the pipe ends."""
    sys.path = [path for path in sys.path if path != str(Path(__file__).parent)]
    sys.path.insert(0, sys.argv[1])
    import time

    import diskcache

    assert diskcache.__version__ == "5.6.3", diskcache.__version__
    real_time = time.time
    objects: list[Any] = []
    transactions: list[Any] = []

    def attend(action: str, *rest: Any) -> Any:
        if action == "now":
            moment = rest[0]
            time.time = real_time if moment is None else lambda: moment
            return None
        if action == "open":
            kind, directory, settings = rest
            if "disk" in settings:
                settings["disk"] = getattr(diskcache, settings["disk"])
            if kind == "Deque":
                made = diskcache.Deque(directory=directory, **settings)
            else:
                made = getattr(diskcache, kind)(directory, **settings)
            objects.append(made)
            return len(objects) - 1
        subject = objects[rest[0]]
        if action == "attribute":
            return getattr(subject, rest[1])
        if action == "sql":
            return [
                tuple(bytes(column) if isinstance(column, memoryview) else column for column in row)
                for row in subject._sql(rest[1], rest[2]).fetchall()
            ]
        if action == "begin":
            transaction = subject.transact()
            transaction.__enter__()
            transactions.append(transaction)
            return None
        if action == "commit":
            transactions.pop().__exit__(None, None, None)
            return None
        if action == "roll_back":
            error = ZeroDivisionError()
            with contextlib.suppress(ZeroDivisionError):
                transactions.pop().__exit__(ZeroDivisionError, error, None)
            return None
        if action == "check":
            return [str(problem.message) for problem in subject.check()]
        _, name, args, kwargs = rest
        result = getattr(subject, name)(*args, **kwargs)
        if name == "read" or (kwargs.get("read") is True and name == "get"):
            with result:
                return result.read()
        if hasattr(result, "__next__"):
            return list(result)
        return result

    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            message = _receive(requests)
        except EOFError:
            return
        try:
            answer = ("result", attend(*message))
        except Exception as error:
            answer = ("raised", ([kind.__name__ for kind in type(error).__mro__], error.args))
        try:
            _send(answers, answer)
        except Exception:
            _send(answers, ("raised", (["Unpicklable"], (repr(answer),))))


if __name__ == "__main__":
    _serve()
