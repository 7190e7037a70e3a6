"""An error of the engine is an exception and nothing else: it needs no import, no descriptor and no Python code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

CHILD = textwrap.dedent(
    r"""
    import atexit, gc, json, os, pickle, resource, sys, threading, types, warnings
    import dolium
    from dolium.persistent import Index

    place = sys.argv[1]
    warnings.simplefilter("ignore")

    class NoImports:
        attempts = []
        def find_spec(self, name, path=None, target=None):
            self.attempts.append(name)
            raise ImportError(name)

    def prepare():
        def cache(name, **options):
            return dolium.Cache(os.path.join(place, name), **options)

        busy = cache("busy", hot_size=0, timeout=0.01)
        busy["a"] = 1
        held = threading.Event()
        def hold():
            with busy.transact(retry=True):
                held.set()
                threading.Event().wait()
        threading.Thread(target=hold, daemon=True).start()
        held.wait()

        read_only = cache("busy", read_only=True)
        assert read_only["a"] == 1

        full = cache("full", hot_size=0)
        full["a"] = 1
        full._sql("PRAGMA max_page_count = 1").fetchall()

        damaged = cache("damaged", hot_size=0)
        damaged.set_many({n: "x" * 5000 for n in range(200)})
        damaged.close()
        del damaged
        gc.collect()
        damaged = cache("damaged", read_only=True)
        assert damaged[0]
        database = os.open(os.path.join(place, "damaged", "cache.db"), os.O_RDWR)
        def damage():
            half = os.fstat(database).st_size // 2
            os.pwrite(database, b"\xff" * half, half)
            return damaged[199]

        common = cache("common", hot_size=0)
        common["a"] = {1}
        common._sql("UPDATE Cache SET value = ? WHERE key = 'a'", (pickle.dumps(os.getcwd),))
        index = Index.fromcache(common)
        unopened = cache("denied")
        unopened["a"] = 1
        unopened.close()
        denied_path = os.path.join(place, "denied", "cache.db")
        os.chmod(os.path.dirname(denied_path), 0o755)

        def denied():
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 0)
            else:
                os.chmod(denied_path, 0)
            try:
                return unopened.get("a")
            finally:
                if os.getresuid()[2] == 0:
                    os.setresuid(0, 0, 0)
                else:
                    os.chmod(denied_path, 0o600)

        def forked():
            with common.transact():
                child = os.fork()
                if child == 0:
                    try:
                        common.get("a")
                    except BaseException as error:
                        os._exit(7 if type(error) is dolium.ForkedError else 8)
                    os._exit(9)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            raise dolium.ForkedError if code == 7 else SystemError(code)

        # From Python 3.12 on, an interpreter that exits refuses to fork.
        may_fork = sys.argv[2] == "running" or (sys.argv[2] == "exit" and sys.version_info < (3, 12))
        return {
            "Timeout": lambda: busy.set("b", 1),
            "ReadOnlyError": lambda: read_only.set("b", 1),
            "StorageFullError": lambda: full.set("b", "x" * 30000),
            "DamagedStoreError": damage,
            "DatabaseError": lambda: common._sql("SELECT nothing FROM nowhere"),
            "StorageError": lambda: common.set("large", "x" * 100_000),
            "InvalidArgumentError": lambda: common._sql("BEGIN"),
            "UnstorableError": lambda: common.set("b", 1, tag=[]),
            "UnpicklableError": lambda: common.set("b", lambda: 1),
            "UntrustedValueError": lambda: index["a"],
            "AccessDeniedError": denied,
            "KeyError": lambda: common.incr("nothing", default=None),
            **({"ForkedError": forked} if may_fork else {}),
        }

    def attempt(cases, attempts, write, dumps, dup):
        raised = {}
        for name, case in cases.items():
            try:
                while True:
                    dup(0)
            except OSError:
                pass
            try:
                case()
            except BaseException as error:
                raised[name] = [type(error).__name__, str(error)]
            else:
                raised[name] = ["nothing", ""]
        write(1, dumps([raised, attempts]).encode())

    cases = prepare()
    # Whatever is loaded later is missing now, and the import system says so.
    for name in ("datetime", "dolium.errors", "os", "pathlib", "pickle", "sqlite3", "uuid", "warnings"):
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, NoImports())
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    arguments = cases, NoImports.attempts, os.write, json.dumps, os.dup

    class Last:
        def __init__(self, *arguments):
            self.arguments = arguments
        def __del__(self, attempt=attempt):
            attempt(*self.arguments)

    if sys.argv[2] == "running":
        attempt(*arguments)
    elif sys.argv[2] == "exit":
        atexit.register(attempt, *arguments)
    else:
        # In a module without functions, which is cleared at the very end.
        sys.modules["holder"] = types.ModuleType("holder")
        sys.modules["holder"].last = Last(*arguments)
        del cases, arguments
    """
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach; those of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="dolium-tests-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.mark.parametrize("when", ["running", "exit", "teardown"])
def test_each_error_is_raised_where_nothing_can_be_opened(place: Path, when: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(place), when],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    raised, imports = json.loads(run.stdout)
    if when == "teardown":
        # dolium has closed the caches by then, and to open them again takes descriptors.
        raised = {
            name: [name if kind == "StorageError" else kind, why] for name, (kind, why) in raised.items()
        }
    assert {name: kind for name, (kind, _) in raised.items()} == {name: name for name in raised}, raised
    assert len(raised) >= 12
    assert imports == []
    assert "Too many open files" in raised["StorageError"][1]
