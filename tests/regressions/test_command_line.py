"""The command line on a terminal, and on what only Python writes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import dolium
import pytest

DOLIUM = [sys.executable, "-m", "dolium"]

TAKE = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run(*arguments: str) -> str:
    done = subprocess.run([*DOLIUM, *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("settings", [{}, {"disk_compress_level": 6}], ids=["default", "level"])
def test_command_line_reads_a_json_disk(tmp_path: Path, settings: dict[str, int]) -> None:
    directory = str(tmp_path / "cache")
    with dolium.Cache(directory, disk=dolium.JSONDisk, **settings) as cache:
        cache["user:1"] = {"name": "Ada"}
        cache[7] = "text"
        cache[["a", None]] = [1, 2.5]
        cache["large"] = {"bytes": os.urandom(60_000).hex()}
        assert run("list", directory).splitlines() == [
            "user:1",
            "--int=7",
            "\"--literal=['a', None]\"",
            "large",
        ]
        assert run("get", directory, "user:1") == '{"name":"Ada"}'
        assert run("get", directory, "--int", "7") == "text"
        assert run("get", directory, "--literal=('a', None)") == "[1,2.5]"
        assert len(run("get", directory, "large")) > 120_000
        assert "JSONDisk" in run("info", directory)
        run("delete", directory, "user:1")
        assert "user:1" not in cache
        copy = str(tmp_path / "copy")
        assert cache.backup(copy) == 3
    with dolium.Cache(copy, disk=dolium.JSONDisk) as made:
        assert made[7] == "text"


class Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        # A terminal has to be the child's own for its keys to be the child's.
        self.child = subprocess.Popen(
            [sys.executable, "-c", TAKE, *DOLIUM, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        self.seen = ""

    def shows(self, text: str) -> None:
        until = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096).decode()

    def types(self, keys: bytes) -> None:
        self.seen = ""
        os.write(self.master, keys)

    def ends(self) -> int:
        until = time.monotonic() + 60
        while self.child.poll() is None:
            assert time.monotonic() < until, "it does not end"
            # Else its last words might find no room.
            if select.select([self.master], [], [], 0.05)[0]:
                os.read(self.master, 4096)
        assert termios.tcgetattr(self.slave)[3] == self.before[3], "the terminal is as it was"
        return self.child.returncode

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.master)
        os.close(self.slave)


def test_top_explains_its_columns_and_leaves_on_q(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path / "cache", eviction_policy="least-recently-used") as cache:
        cache["a"] = 1
        with Terminal("top", str(tmp_path / "cache"), "--interval", "50ms") as terminal:
            for line in ("least-recently-used", "1.0 GiB", "q leaves, ? explains"):
                terminal.shows(line)
            terminal.types(b"?")
            terminal.shows("transactions that wrote to the database without the shared memory")
            terminal.types(b"x")
            terminal.shows("q leaves, ? explains")
            terminal.types(b"q")
            assert terminal.ends() == 0


def test_top_leaves_the_terminal_in_order_on_ctrl_c(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path / "cache") as cache:
        cache["a"] = 1
        with Terminal("top", str(tmp_path / "cache"), "--interval", "50ms") as terminal:
            terminal.shows("q leaves, ? explains")
            terminal.types(b"\x03")
            assert terminal.ends() == 0
