"""`f.map` when processes die: kill -9, workers that end, Ctrl-C, two runs of one job, every start method."""

from __future__ import annotations

import json
import os
import random
import signal
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers.children import Child
from helpers.children import run as run_child
from helpers.groups import ends

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"DOLIUM_TEST_JOBS": str(tmp_path), "PYTHONPATH": str(TESTS)}


def logged(directory: Path) -> Counter[str]:
    return Counter((directory / "log").read_text().splitlines())


# T31, T33: kills


def test_t31_job_killed_at_50_moments_goes_on_where_it_was(env: dict[str, str], tmp_path: Path):
    """kill -9 of the parent, of a worker, or of all. What was stored is not computed again, and no worker is left."""
    body = """
    import random
    from helpers.jobs import double, log
    from helpers.groups import ends, processes_of

    def job(first, count):
        os.setsid()
        for number in double.map(range(first, first + count), common={"seconds": 0.004}, workers=2):
            log(f"got {number // 2}")
        os._exit(0)

    chance = random.Random(int(sys.argv[1]))
    for trial in range(50):
        first = trial // 5 * 1000
        pid = os.fork()
        if not pid:
            job(first, 40)
        time.sleep(chance.uniform(0.01, 0.1))
        victims = processes_of(pid)
        workers = [victim for victim in victims if victim != pid]
        kind = trial % 3
        for victim in {0: [pid], 1: workers[:1], 2: victims}[kind]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        status = os.waitpid(pid, 0)[1]
        if kind == 1:
            assert status == 0, status
        assert ends(pid), "a worker is left"
        say(trial)
    for first in range(0, 10_000, 1000):
        run = double.map(range(first, first + 40), common={"seconds": 0.004}, workers=2)
        assert list(run) == [2 * number for number in range(first, first + 40)]
        assert run.figures.hits > 0
    """
    seed = random.randrange(10**6)
    assert len(run_child(body, seed, env=env, seconds=90)) == 50, seed
    lines = logged(tmp_path)
    again = [line for line in lines if line.startswith("again")]
    assert not again, (seed, again)
    # An item that was handed out had been stored, so it was computed to its end once; a kill may cost more tries.
    assert any(line.startswith("got") for line in lines)


def test_t33_two_runs_of_one_job_share_the_work(env: dict[str, str], tmp_path: Path):
    body = """
    from helpers.jobs import shared
    # It reads eight items ahead. Four of those may be waiting for it in the other run, which has begun two more.
    run = shared.map(range(40), common={"share": 2}, workers=4)
    assert list(run) == [2 * number for number in range(40)]
    say(run.figures.computed)
    """
    with Child(body, env=env) as one, Child(body, env=env) as two:
        computed = [int(child.finish()[0]) for child in (one, two)]
    calls = {line: count for line, count in logged(tmp_path).items() if line.startswith("computed")}
    assert calls == {f"computed {number}": 1 for number in range(40)}
    assert sum(computed) == 40
    assert min(computed) >= 2, "each did a part"


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("how", ["exit", "SIGKILL", "SIGSEGV"])
def test_t33_worker_that_dies_costs_its_item(env: dict[str, str], how: str, ordered: bool):
    body = """
    import faulthandler; faulthandler.disable()
    import dolium
    from helpers.jobs import deadly
    how, ordered = sys.argv[1], sys.argv[2] == "True"
    run = deadly.map(range(12), [5] * 12, common={"how": how}, workers=2, errors="collect", ordered=ordered)
    results = list(run)
    (failure,) = run.failures
    assert isinstance(failure.error, dolium.WorkerDiedError), failure
    assert failure.item == (5, 5)
    sign = None if how == "exit" else getattr(signal, how)
    assert (failure.error.signal, failure.error.status) == (sign, 7 if how == "exit" else None)
    assert how == "exit" or how in str(failure.error)
    if ordered:
        assert results.index(failure) == 5
    results.remove(failure)
    assert sorted(results) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    try:
        list(deadly.map([1, 5], [5, 5], common={"how": how}, workers=2))
    except dolium.WorkerDiedError as error:
        assert error.item == (5, 5)
        said = getattr(error, "__notes__", error.args)
        assert "1 done, 1 left" in said, said
    else:
        raise AssertionError("no error")
    """
    run_child(body, how, ordered, env=env)


def test_worker_without_memory_costs_its_item(env: dict[str, str]):
    body = """
    import resource, dolium
    cache = dolium.Cache()
    @cache.cached(version="1")
    def large(number):
        if number == 2:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            return len(bytearray(1 << 40))
        return number
    failure = list(large.map(range(5), workers=1, errors="collect"))[2]
    assert isinstance(failure.error, MemoryError), failure
    """
    run_child(body, env=env)


def test_worker_that_cannot_start_ends_the_run(tmp_path: Path, env: dict[str, str]):
    """A script without the guard that multiprocessing asks for starts itself again in each worker."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing, dolium
        multiprocessing.set_start_method("spawn", force=True)
        cache = dolium.Cache()
        @cache.cached(version="1")
        def same(number):
            return number
        try:
            list(same.map([1, 2, 3], workers=1))
        except dolium.WorkerDiedError as error:
            assert error.item is None
            assert "__main__" in str(error)
            print("told")
        """)
    )
    body = "import runpy; sys.argv[:] = sys.argv[1:]; os.execv(sys.executable, [sys.executable, sys.argv[0]])"
    assert run_child(body, script, env=env) == ["told"]


def test_workers_end_with_their_parent_while_they_compute(env: dict[str, str], tmp_path: Path):
    """A worker that was forked later has the other ends of the older ones' pipes, so no pipe would tell them."""
    body = """
    from helpers.jobs import double
    list(double.map([1, 2], common={"seconds": 300}, workers=2))
    """
    with Child(body, env=env) as child:
        await_log(tmp_path, "computed 1", "computed 2")
        child.kill()
        assert ends(child.pid), "a worker is left"


# Ctrl-C


def await_log(directory: Path, *lines: str) -> None:
    """Wait until the log has these lines."""
    deadline = time.monotonic() + 30
    while not ((directory / "log").exists() and set(lines) <= set(logged(directory))):
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)


def test_ctrl_c_begins_no_item_that_waits_behind_another(env: dict[str, str], tmp_path: Path):
    """Workers have the next item while they compute, if items are short."""
    body = """
    from helpers.jobs import interrupted
    try:
        list(interrupted.map(range(22), ["at once"] * 20 + ["told"] * 2, workers=1))
    except KeyboardInterrupt:
        say(interrupted.entry(20, "told") is not None, interrupted.entry(21, "told"))
    """
    with Child(body, env=env) as child:
        await_log(tmp_path, "computed 20")
        os.killpg(child.pid, signal.SIGINT)
        assert child.finish() == ["True None"]
    assert "computed 21" not in logged(tmp_path)


def test_t33_ctrl_c_lets_items_finish_and_leaves_no_worker(env: dict[str, str], tmp_path: Path):
    body = """
    from helpers.jobs import interrupted
    try:
        list(interrupted.map(range(9), ["told", "never"] + ["told"] * 7, workers=2))
    except KeyboardInterrupt:
        say(interrupted.entry(0, "told") is not None, interrupted.entry(1, "never"))
    say(len(list(interrupted._calls.cache)))
    import multiprocessing
    assert not multiprocessing.active_children()
    """
    with Child(body, env=env) as child:
        await_log(tmp_path, "computed 0", "computed 1")
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        assert child.finish() == ["True None", "1"]
    assert logged(tmp_path) == {"computed 0": 1, "computed 1": 1}, "no item begins after Ctrl-C"


def test_loop_that_is_left_and_program_that_ends_leave_no_worker(env: dict[str, str]):
    body = """
    import multiprocessing
    from helpers.jobs import double
    for number in double.map(range(99), common={"seconds": 0.05}, workers=2):
        break
    assert not multiprocessing.active_children()
    with double.map(range(200, 299), workers=2) as run:
        next(run)
    assert not multiprocessing.active_children()
    kept = double.map(range(300, 399), common={"seconds": 0.05}, workers=2)
    next(kept)
    assert len(multiprocessing.active_children()) == 2
    """
    with Child(body, env=env) as child:
        child.finish()
        assert ends(child.pid)


# Start methods


METHODS = ["fork", "spawn", "forkserver"]


@pytest.mark.parametrize("method", METHODS)
def test_script_maps_with_every_start_method(env: dict[str, str], tmp_path: Path, method: str):
    """Its functions are called `__mp_main__` in a worker that is not forked, and are the same functions."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys, multiprocessing, dataclasses, dolium
        cache = dolium.Cache(sys.argv[2])

        @dataclasses.dataclass
        class Point:
            number: int

        @cache.cached
        def inner(number):
            return number + 1

        @cache.cached
        def outer(number):
            return Point(inner(number))

        if __name__ == "__main__":
            multiprocessing.set_start_method(sys.argv[1])
            for hits in (0, 6):
                run = outer.map(range(6), workers=2)
                assert [point.number for point in run] == [1, 2, 3, 4, 5, 6]
                assert run.figures.hits == hits
            assert inner.entry(3) is not None, "what a worker stores has the same key here"
            assert outer(5) == Point(6)
            assert outer.info().misses == 6
            # No entry is of another name or version.
            assert {key[:2] for key in cache} == {key[:2] for key in (inner.key(1), outer.key(1))}
            try:
                list(outer.map(["x"], workers=1))
            except TypeError as error:
                print("told")
        """)
    )
    body = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    assert run_child(body, script, method, tmp_path / "kept", env=env) == ["told"]
    check = "import dolium; cache = dolium.Cache(sys.argv[1]); say(len(list(cache)), len(cache.check()))"
    assert run_child(check, tmp_path / "kept", env=env) == ["12 0"]


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_a_notebook_map_with_every_start_method(
    env: dict[str, str], tmp_path: Path, method: str
):
    """No worker can import them: they go by cloudpickle, with the classes of their results."""
    body = """
    import multiprocessing, dataclasses, dolium
    multiprocessing.set_start_method(sys.argv[1])
    cache = dolium.Cache(sys.argv[2])
    offset = 1
    @dataclasses.dataclass
    class Point:
        number: int
    @cache.cached
    def helper(number):
        return number + offset
    @cache.cached
    def factorial(number, step=1):
        return Point(number * factorial(number - step).number if number > 1 else helper(0))
    def local():
        @cache.cached(version="1")
        def inner(number, step=2):
            return inner(number - step) if number > 0 else offset
        return inner
    run = factorial.map([5, 6], workers=2)
    assert [point.number for point in run] == [120, 720]
    assert all(type(point) is Point for point in factorial.map([5, 6], workers=2))
    assert list(local().map([4], workers=1)) == [1]
    say(run.figures.hits)
    """
    for hits in ("0", "2"):
        assert run_child(body, method, tmp_path / "kept", env=env) == [hits]


def test_worker_with_another_version_stores_nothing(env: dict[str, str], tmp_path: Path):
    """The file was edited after the caller had imported it: its results belong to no version of the caller's."""
    (tmp_path / "edited.py").write_text(
        "import dolium\ncache = dolium.Cache()\n@cache.cached\ndef told(number):\n    return 'before'\n"
    )
    body = """
    import multiprocessing, warnings, dolium
    sys.path.insert(0, sys.argv[1])
    import edited
    edited.told.version
    text = open(edited.__file__).read().replace("'before'", "'afterwards'")
    open(edited.__file__, "w").write(text)
    multiprocessing.set_start_method("spawn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(edited.told.map([1], workers=1)) == ["afterwards"]
    assert edited.told.entry(1) is None
    assert "another version" in str(caught[0].message), caught
    assert edited.told(1) == "before"
    """
    run_child(body, tmp_path, env=env)


def test_map_without_cloudpickle_says_what_to_install(env: dict[str, str]):
    body = """
    import multiprocessing, dolium
    sys.modules["cloudpickle"] = sys.modules["tqdm"] = sys.modules["tqdm.auto"] = None
    multiprocessing.set_start_method("spawn")
    cache = dolium.Cache()
    @cache.cached(version="1")
    def same(number):
        return number
    for options in ({}, {"progress": True}):
        try:
            list(same.map([1], workers=1, **options))
        except (dolium.UnpicklableError, ImportError) as error:
            assert "dolium[map]" in str(error), error
        else:
            raise AssertionError(options)
    """
    run_child(body, env=env)


def test_map_imports_optional_packages_only_when_used(env: dict[str, str]):
    body = """
    from helpers.jobs import double
    assert "dolium.jobs" not in sys.modules and "multiprocessing" not in sys.modules
    assert list(double.map([1, 2], workers=1)) == [2, 4]
    late = {"tqdm", "cloudpickle", "asyncio", "numpy"} & set(sys.modules)
    assert not late, late
    """
    run_child(body, env=env)


def test_thread_may_map_and_end_before_its_run(env: dict[str, str]):
    """The workers belong to the process, not to the thread that started them."""
    body = """
    from helpers.jobs import double
    runs = []
    def begin():
        run = double.map(range(30), common={"seconds": 0.01}, workers=2)
        assert next(run) == 0
        runs.append(run)
    thread = threading.Thread(target=begin)
    thread.start(); thread.join()
    assert list(runs[0]) == [2 * number for number in range(1, 30)]
    assert runs[0].figures.failed == 0
    """
    run_child(body, env=env)


def test_figures_of_a_run_are_plain_data(env: dict[str, str]):
    body = """
    import json
    from helpers.jobs import double
    run = double.map([1], workers=1)
    list(run)
    say(json.dumps(run.figures[:6]))
    """
    assert json.loads(run_child(body, env=env)[0]) == [1, 1, 0, 1, 0, 0]
