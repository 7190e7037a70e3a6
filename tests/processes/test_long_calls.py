"""Calls that take long: Ctrl-C ends them at once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import dolium
import pytest


@contextmanager
def alarm(after: float):
    """KeyboardInterrupt in this thread, as by Ctrl-C."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fill(directory: str, entries: int) -> None:
    """Rows that SQLite makes in a moment."""
    dolium.Cache(directory).close()
    with dolium.Cache(directory) as cache:
        cache["first"] = 1
    rows = sqlite3.connect(f"{directory}/cache.db")
    with rows:
        rows.execute(
            "INSERT INTO Cache (key, raw, store_time, access_time, tag, size, mode, value) WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i, 1, 1, 1, 't', 0, 1, 'value' FROM n",
            (entries,),
        )
    rows.close()


WORKS = {
    "check": lambda cache: cache.check(),
    "walk": lambda cache: list(cache.keys(tag="nothing has this tag")),
}


@pytest.mark.parametrize("name", WORKS)
def test_interrupt_ends_a_long_call(tmp_path, name):
    entries = 200_000
    while True:
        directory = str(tmp_path / str(entries))
        fill(directory, entries)
        with dolium.Cache(directory) as cache:
            since = time.perf_counter()
            WORKS[name](cache)
            whole = time.perf_counter() - since
            if whole < 1 and entries < 3_000_000:
                entries *= 2
                continue
            since = time.perf_counter()
            with alarm(whole / 8), pytest.raises(KeyboardInterrupt):
                WORKS[name](cache)
            assert time.perf_counter() - since < whole
            assert len(cache) == entries + 1
            cache["first"] = 2
            assert cache["first"] == 2
        return


def test_interrupt_ends_a_clear_that_waits(tmp_path):
    with dolium.Cache(str(tmp_path)) as cache:
        cache.set_many({number: number for number in range(1000)})
        begun, end = threading.Event(), threading.Event()

        def write():
            with cache.transact():
                begun.set()
                end.wait(60)

        writer = threading.Thread(target=write)
        writer.start()
        begun.wait(60)
        with alarm(0.1), pytest.raises(KeyboardInterrupt):
            cache.clear(retry=True)
        end.set()
        writer.join()
        time.sleep(0.1)
        assert len(cache) == 1000
        assert cache.check() == []


def is_at_work(pid: int) -> bool:
    """Whether a process has the thread that works for `check` or `clear`."""
    return any(comm.read_text() == "dolium-work\n" for comm in Path(f"/proc/{pid}/task").glob("*/comm"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(["clear"], "interrupted while removing all entries; 0 entries removed", id="clear"),
        (
            ["check", "--fix"],
            "interrupted while comparing the entries with the value files, after 0 problems",
        ),
    ],
)
def test_interrupted_command_says_how_far_it_came(tmp_path, command, said):
    with dolium.Cache(str(tmp_path)) as cache:
        cache.set_many({number: number for number in range(1000)})
        begun, end = threading.Event(), threading.Event()

        def write():
            with cache.transact():
                begun.set()
                end.wait(120)

        writer = threading.Thread(target=write)
        writer.start()
        begun.wait(60)
        run = [sys.executable, "-m", "dolium", command[0], str(tmp_path), *command[1:]]
        with subprocess.Popen(run, stderr=subprocess.PIPE, text=True) as child:
            until = time.monotonic() + 60
            while not is_at_work(child.pid) and time.monotonic() < until:
                time.sleep(0.05)
            # Long enough to get from the database to the writer lock.
            time.sleep(1)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=60)
        end.set()
        writer.join()
        assert child.returncode == 130
        assert said in errors, errors
        assert len(cache) == 1000
