"""Code archaeology with a cache: when were the lines of a git repository written?

    python demo/archaeology.py [REPOSITORY]

For commits sampled over the whole history it asks `git blame` about every file. Most files do not change between two
samples, so with the cache git is asked only once about each version. Four acts: a run that is killed half-way, one that
goes on where that one died, one that finds everything, and four processes that serve pages from the same cache.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import chart
import history
import work
from history import History

HERE = Path(__file__).resolve().parent
WORKERS = 4
SAMPLES = 60
GIT_SECONDS = 25.0  # that the first two acts may spend on git together
MOST_VERSIONS = 6_000


@dataclass
class Act:
    """What one or more processes did."""

    seconds: float
    asked: int
    ran: int  # how often git was asked
    hits: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)


def main() -> int:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("repository", nargs="?", default=HERE.parent, type=Path, help="default: this one")
    parser.add_argument("--out", default=HERE / "out", type=Path, help="where the cache and the chart go")
    arguments = parser.parse_args()
    try:
        run(arguments.repository.expanduser().resolve(), arguments.out.resolve())
    except history.GitError as error:
        print(
            f"{arguments.repository}: {error}\nTo look at another repository: make demo REPO=/path",
            file=sys.stderr,
        )
        return 2
    return 0


def run(repository: Path, out: Path) -> None:
    seen = history.read(repository, SAMPLES)
    if not seen.versions():
        raise history.GitError("no commit holds a text file")
    cost = cost_of_a_blame(repository, seen)
    plan = history.thin(seen, max(min(int(GIT_SECONDS / cost), MOST_VERSIONS), 1))
    introduce(repository, seen, plan)
    shutil.rmtree(out / "cache", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    plan.save(out / "plan.json")

    print(f"\n{'':28}{'time':>9}{'asked':>10}{'by cache':>11}{'by git':>9}")
    kill_after = len(plan.versions()) // 2
    killed = killed_half_way(repository, out, kill_after)
    row("first run, killed", killed)
    with work.open_cache(out) as cache:
        found, problems = len(cache), len(cache.check())
    print(
        f"  kill -9 after {kill_after:,} blames: {found:,} in the cache, check() finds {plural(problems, 'problem')}"
    )
    if found < kill_after or problems:
        raise SystemExit("the cache lost what it had taken")
    resumed = whole(repository, out)
    row("second run, resumed", resumed)
    warm = whole(repository, out)
    row("third run, warm", warm)
    served = share(repository, out)
    row(f"{WORKERS} processes, a web site", served)

    with work.open_cache(out) as cache:
        conclude(cache, cost, [killed, resumed], warm, served)
        print(f"cache       {len(cache):,} entries, {readable(cache.volume())} in {shown(out / 'cache')}")
    unit = draw(repository, plan, out)
    print(
        f"chart       {shown(out / 'age.png')}: the lines of each commit by the {unit} they were written in"
    )


def cost_of_a_blame(repository: Path, seen: History) -> float:
    """Seconds, with all processors at work: measured on a few, spread over all of them."""
    versions = seen.versions()
    few = versions[:: max(len(versions) // 24, 1)][:24]
    started = time.perf_counter()
    with ThreadPoolExecutor(work.PROCESSORS) as pool:
        for _ in pool.map(lambda version: history.blame(repository, version.commit, version.path), few):
            pass
    return (time.perf_counter() - started) / len(few)


def introduce(repository: Path, seen: History, plan: History) -> None:
    first, last = (
        dt.datetime.fromtimestamp(time, chart.UTC) for _, time in (seen.commits[0], seen.commits[-1])
    )
    span = (
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if first.date() != last.date() else f"all on {first:%Y-%m-%d}"
    )
    files, all_files = (len({version.path for version in which.versions()}) for which in (plan, seen))
    some = "" if files == all_files else f" of {all_files:,}, taken by the hash of their name"
    print(f"repository  {repository.name}: {plural(len(seen.commits), 'commit')} on the mainline, {span}")
    if seen.shallow:
        print(
            "            its history is cut off (a shallow clone): older lines count as those of its first commit"
        )
    calls = sum(len(sample.files) for sample in plan.samples)
    print(f"sample      {plural(len(plan.samples), 'commit')}, {plural(files, 'file')}{some}:")
    print(
        f"            {plural(calls, 'question')} for git blame, {len(plan.versions()):,} of them different"
    )


def start(repository: Path, out: Path, act: str, *more: str) -> subprocess.Popen[str]:
    """A process of its own group, so that a kill takes its git processes too."""
    command = [sys.executable, str(HERE / "work.py"), act, str(repository), str(out), *more]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
    )
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise SystemExit(f"the {act} process failed with status {child.wait()}")
    return child


def killed_half_way(repository: Path, out: Path, kill_after: int) -> Act:
    """Let a process announce so many blames, then kill it, really."""
    child = start(repository, out, "count")
    assert child.stdout is not None
    started = time.perf_counter()
    announced = 0
    while announced < kill_after and child.stdout.readline() == "blamed\n":
        announced += 1
    seconds = time.perf_counter() - started
    os.killpg(child.pid, signal.SIGKILL)
    with child:
        child.stdout.read()
    # In a repository of a few lines it may have been done before the kill came.
    if announced < kill_after or child.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the first run ended by itself with status {child.returncode}")
    return Act(seconds, 0, announced)


def whole(repository: Path, out: Path) -> Act:
    return end(start(repository, out, "count"))


def share(repository: Path, out: Path) -> Act:
    children = [start(repository, out, "serve", str(seed)) for seed in range(WORKERS)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    acts = [end(child) for child in children]
    return Act(
        max(act.seconds for act in acts),
        sum(act.asked for act in acts),
        sum(act.ran for act in acts),
        sorted(hit for act in acts for hit in act.hits),
        sorted(count for act in acts for count in act.counts),
    )


def end(child: subprocess.Popen[str]) -> Act:
    # Not communicate(): it passes over what readline() has taken in beyond its line.
    assert child.stdout is not None
    with child:
        output = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"a process of the demo failed with status {child.returncode}")
    return Act(**json.loads(output.splitlines()[-1]))


def row(name: str, act: Act) -> None:
    asked = f"{act.asked:>10,}{act.asked - act.ran:>11,}" if act.asked else f"{'':21}"
    print(f"{name:28}{clock(act.seconds):>9}{asked}{act.ran:>9,}")


def conclude(cache: work.dolium.Cache, cost: float, first: list[Act], warm: Act, served: Act) -> None:
    cold = sum(act.seconds for act in first)
    saved = warm.asked * 2 - sum(act.ran for act in first)
    print(
        f"\nspeed-up    {cold / warm.seconds:,.0f} ×: {clock(cold)} with git, {clock(warm.seconds)} without"
    )
    print(
        f"saved       {saved:,} runs of git in runs two and three: {clock(saved * cost)} at {clock(cost)} each"
    )
    rate = served.asked / served.seconds
    print(f"web site    {rate:,.0f} requests/s on {plural(work.PROCESSORS, 'core')}")
    print(f"            a page from the cache: {slowness(served.hits)}")
    print(f"            counting it, a write:  {slowness(served.counts)}")
    counted = cache.get("pages served")
    print(f"            {served.asked:,} pages served, {counted:,} counted in the cache")
    if counted != served.asked:
        raise SystemExit("the cache lost count")
    hits, misses = cache.stats()
    print(f"statistics  {hits:,} hits, {misses:,} misses")


def draw(repository: Path, plan: History, out: Path) -> str:
    layers = [
        chart.Layer(moment, Counter({int(age): lines for age, lines in ages.items()}))
        for moment, ages in json.loads((out / "layers.json").read_text())
    ]
    sampled, commits = len(plan.samples), len(plan.commits)
    which = f"all {plural(commits, 'commit')}" if sampled == commits else f"{sampled} of {commits:,} commits"
    files = plural(len(plan.samples[-1].files), "file")
    half = chart.show_moment(chart.median_time(layers[-1]), layers[-1].time)
    remark = (
        f"{layers[-1].ages.total():,} lines in {files} today, half of them written since {half}; from {which}"
    )
    title = f"{repository.name}: when its lines were written"
    return chart.draw(layers, title, remark, out / "age.png").name


def slowness(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "never"
    cuts = statistics.quantiles(seconds, n=100)
    return f"median {clock(cuts[49])}, 99 % under {clock(cuts[98])}"


def clock(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            digits = 0 if seconds >= 100 * size else 1 if seconds >= 10 * size else 2
            return f"{seconds / size:,.{digits}f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


def readable(size: float) -> str:
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size:.0f} bytes"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
