"""dolium beside other caches, in one run: rounds in turn, medians, a table, the raw figures.

    python bench/compare.py [--quick] [--only NAME ...] --rivals PYTHON

Every cache runs in processes of its own: two copies of SQLite in one process would drop each other's locks. It owns the
order of the runs and the files under bench/results/; what is measured is in measure.py, and the tables are in table.py.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import table
from faces import FACES
from queues import TOOK

HERE = Path(__file__).resolve().parent
MIX_ROUNDS = 3
PHASES = ("round", "limit", "rust", "mix", "counter", "locks", "queues", "full", "sustained")
COUNTERS = (
    "dolium",
    "diskcache",
    "diskcache-community",
    "diskcache_rs",
    "pysciqlop-cache",
    "Redis, loopback",
)
LOCKERS = ("dolium", "diskcache")
WRITING = (
    "write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename,renameat,"
    "renameat2,mkdir,mkdirat,chmod,fchmod,fchmodat,copy_file_range,sendfile"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rivals", default=sys.executable, help="the Python in which the rivals are installed"
    )
    parser.add_argument(
        "--native", type=Path, help="where cargo has put the bare limit and the program `speed`"
    )
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    parser.add_argument("--rounds", type=int, help="default: 7, or 3 when quick")
    parser.add_argument("--only", nargs="+", choices=FACES, help="only these caches")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    with redis_server() as port, tempfile.TemporaryDirectory(prefix="dolium-bench-") as directory:
        runner = Runner(arguments.rivals, Path(directory), arguments.quick, port, arguments.native)
        run = runner.compare(arguments.only or list(FACES), rounds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = f"{run['date'][:10]}-{run['commit']}" + ("-quick" if arguments.quick else "")
    text = table.markdown(run)
    (arguments.out / f"{stem}.json").write_text(json.dumps(run, indent=1) + "\n")
    (arguments.out / f"{stem}.md").write_text(text)
    print(text)
    print(f"{os.path.relpath(arguments.out / stem)}.md and .json", file=sys.stderr)


class Runner:
    def __init__(
        self, rivals: str, directory: Path, quick: bool, port: int | None, native: Path | None
    ) -> None:
        self.rivals, self.directory, self.quick, self.port = rivals, directory, quick, port
        self.native = native
        # A key of the bench's own, and no trace of it in the user's files.
        self.environment = os.environ | {
            "BENCH_REDIS_PORT": str(port or 0),
            "XDG_STATE_HOME": str(directory / "state"),
            "BENCH_BARE": str(native / "libbare.so" if native else ""),
        }

    def command(self, name: str, what: str) -> list[str]:
        python = sys.executable if name == "dolium" else self.rivals
        place = self.directory / re.sub(r"\W+", "-", name)
        return [python, str(HERE / "measure.py"), name, str(place), what, *(["quick"] if self.quick else [])]

    def ask(self, name: str, what: str) -> dict[str, Any]:
        """What a process of that cache measured, or {"failed": why}."""
        try:
            done = subprocess.run(
                self.command(name, what),
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failed": "took longer than 15 minutes"}
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
        return json.loads(done.stdout.splitlines()[-1])

    def compare(self, wanted: list[str], rounds: int) -> dict[str, Any]:
        run: dict[str, Any] = about(self.directory) | {
            "quick": self.quick,
            "rounds": [],
            "versions": {},
            "failed": {},
        }
        for name in wanted:
            answer = {"failed": "no redis-server here"} if self.absent(name) else self.ask(name, "version")
            if "failed" not in answer:
                run["versions"][name] = answer["version"]
                answer = self.ask(name, "prepare")
            if "failed" in answer:
                run["failed"][name] = answer["failed"]
                say(f"{name}: {answer['failed']}")
        names = [name for name in wanted if name not in run["failed"]]
        run["opening"] = {name: self.writes(name) for name in names if FACES[name].opens}
        for number in range(rounds):
            figures: dict[str, dict[str, Any]] = {name: {} for name in names}
            turned = names[number % len(names) :] + names[: number % len(names)]
            for what in PHASES:
                for name in turned:
                    if not self.is_due(what, name, number):
                        continue
                    say(f"round {number + 1} of {rounds}: {name}, {what}")
                    answer = self.from_rust() if what == "rust" else self.ask(name, what)
                    if "failed" in answer:
                        run["failed"][name] = answer.pop("failed")
                    figures[name] |= answer
            run["rounds"].append(figures)
        run["medians"] = {name: medians([figures[name] for figures in run["rounds"]]) for name in names}
        return run

    def is_due(self, what: str, name: str, number: int) -> bool:
        """Whether a phase is for this cache, and in this round."""
        face = FACES[name]
        if what in ("limit", "rust"):
            return name == "dolium" and self.native is not None
        if what == "sustained":
            return face.sustains and number == 0
        if what == "locks":
            return name in LOCKERS and number < MIX_ROUNDS
        if what in ("queues", "full"):
            return name in TOOK
        if what in ("mix", "counter"):
            return face.shared and number < MIX_ROUNDS and (what == "mix" or name in COUNTERS)
        return True

    def from_rust(self) -> dict[str, Any]:
        """What a get costs a program in Rust."""
        assert self.native is not None
        speed = [str(self.native / "speed"), "get, hit"]
        done = subprocess.run(speed, env=self.environment, capture_output=True, text=True, check=True)
        return {"get_rust": float(done.stdout.split()[-2]) / 1e6}

    def absent(self, name: str) -> bool:
        return name.startswith("Redis") and self.port is None

    def writes(self, name: str) -> dict[str, int] | None:
        """System calls that change files of the cache, while it is opened and while it is closed.

        Without -shm, which is memory that has a name: SQLite fills it anew whenever the first process opens a database.
        """
        if not shutil.which("strace"):
            return None
        trace, place = self.directory / "strace", self.command(name, "open")[3]
        command = [
            "strace",
            "-f",
            "-y",
            "-e",
            f"trace={WRITING}",
            "-o",
            str(trace),
            *self.command(name, "open"),
        ]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        counts = {"open": 0, "close": 0}
        phase = ""
        for line in trace.read_text(errors="replace").splitlines():
            if mark := re.search(r"MARK (\w+)", line):
                phase = mark[1]
            elif phase in counts and place in line and "-shm" not in line and " = -1 " not in line:
                counts[phase] += 1
        return counts


def medians(rounds: list[dict[str, Any]]) -> dict[str, float]:
    rows = dict.fromkeys(row for figures in rounds for row in figures)
    return {row: statistics.median(figures[row] for figures in rounds if row in figures) for row in rows}


def about(directory: Path) -> dict[str, Any]:
    """Of the machine what explains figures, and nothing that names it."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    git = ["git", "-C", str(HERE)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ":/crates", ":/python", ":/Cargo.lock"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True
    )
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() + ("-changed" if changed.stdout else ""),
        "machine": {
            "processor": cpu[1] if cpu else platform.machine(),
            "cores": os.cpu_count(),
            "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
            "filesystem": kind.stdout.strip(),
            "python": platform.python_version(),
            "load_before": os.getloadavg()[0],
        },
    }


@contextlib.contextmanager
def redis_server() -> Iterator[int | None]:
    """A server of our own on a free port of loopback that keeps nothing, if one is installed."""
    server = shutil.which("redis-server")
    if server is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def say(what: str) -> None:
    print(f"\r\x1b[K{what}" if sys.stderr.isatty() else what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
