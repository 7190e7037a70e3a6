"""Child processes for tests: a body of Python, its output line by line, and never a hang.

A child that fails, or that is still there after its time, fails the test with what it wrote to stderr.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

# How often longer than usual a test may take: on a machine that does much else.
PATIENCE = float(os.environ.get("DOLIUM_TEST_PATIENCE", "1"))

PRELUDE = """\
import os, sys, time, signal, threading
import dolium
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
def say(*words):
    print(*words, flush=True)
def hear():
    return sys.stdin.readline().strip()
"""


class Child:
    """A running child: `line()` waits for its next line, `tell()` sends one, `finish()` waits for its end."""

    def __init__(
        self,
        body: str,
        *arguments: object,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        seconds: float = 60,
        prelude: str = PRELUDE,
        **popen: Any,
    ) -> None:
        self.seconds = seconds * PATIENCE
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *options, "-c", prelude + textwrap.dedent(body), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # so that what it forked can be ended with it
            env={**os.environ, **(env or {})},
            **popen,
        )
        self.pid = self.process.pid
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._errors.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _end(self) -> None:
        """It and all its children, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def line(self, expected: str | None = None) -> str:
        try:
            line = self._lines.get(timeout=self.seconds)
        except queue.Empty:
            self._end()
            raise AssertionError(f"no line within {self.seconds} s\n{self.errors}") from None
        assert line is not None, f"it ended with {self.process.wait()}\n{self.errors}"
        if expected is not None:
            assert line == expected, self.errors
        return line

    def silent(self, seconds: float) -> bool:
        """It writes nothing for so long."""
        time.sleep(seconds)
        return self._lines.empty()

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> list[str]:
        """kill -9; the lines it had written."""
        self.process.kill()
        self.process.wait(self.seconds)
        return self.rest()

    def rest(self) -> list[str]:
        return list(iter(lambda: self._lines.get(timeout=self.seconds), None))

    def wait(self) -> int:
        try:
            return self.process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            self._end()
            raise AssertionError(f"still running after {self.seconds} s\n{self.errors}") from None

    def finish(self, code: int = 0) -> list[str]:
        """Its remaining lines; the exit code must be the one expected."""
        found = self.wait()
        lines = self.rest()
        assert found == code, f"it ended with {found}\n{self.errors}\n" + "\n".join(lines)
        return lines


def run(body: str, *arguments: object, code: int = 0, **options: Any) -> list[str]:
    """Runs a child to its end; the lines it wrote."""
    with Child(body, *arguments, **options) as child:
        return child.finish(code)
