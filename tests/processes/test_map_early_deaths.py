"""`f.map` when workers end before their first item: by signals, which may miss the next one, and by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import run as run_child

TESTS = Path(__file__).resolve().parents[1]

# Forks are counted, and those for which `dies` holds end before a worker can say that it is ready.
PRELUDE = """
import os, sys, signal, multiprocessing, dolium
multiprocessing.set_start_method("fork")
from helpers.jobs import double
say = lambda *words: print(*words, flush=True)
born, dies, how = 0, lambda number: False, lambda: os.kill(os.getpid(), signal.SIGKILL)
def before():
    global born
    born += 1
def in_child():
    if dies(born):
        how()
os.register_at_fork(before=before, after_in_child=in_child)
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"DOLIUM_TEST_JOBS": str(tmp_path), "PYTHONPATH": str(TESTS)}


@pytest.mark.parametrize(("workers", "killed"), [(1, 3), (8, 8)])
def test_workers_killed_before_their_first_item_cost_nothing(env: dict[str, str], workers: int, killed: int):
    """One after the other, and all at once."""
    body = """
    workers, killed = int(sys.argv[1]), int(sys.argv[2])
    dies = lambda number: number <= killed
    run = double.map(range(20), workers=workers)
    assert list(run) == [2 * number for number in range(20)]
    assert run.figures.failed == 0 and born > killed, (run.figures, born)
    """
    run_child(body, workers, killed, env=env, prelude=PRELUDE)


def test_run_goes_on_with_the_workers_that_are_not_killed(env: dict[str, str]):
    """As where memory suffices for one worker."""
    body = """
    dies = lambda number: number > 1
    run = double.map(range(30), common={"seconds": 0.02}, workers=3)
    assert list(run) == [2 * number for number in range(30)]
    assert 1 < born < 20, born
    """
    run_child(body, env=env, prelude=PRELUDE)


@pytest.mark.parametrize("workers", [1, 3])
def test_run_ends_if_no_worker_lives_to_be_ready(env: dict[str, str], workers: int):
    body = """
    dies = lambda number: True
    try:
        list(double.map(range(20), workers=int(sys.argv[1])))
    except dolium.WorkerDiedError as error:
        assert (error.item, error.signal, error.status) == (None, signal.SIGKILL, None)
        assert "memory" in str(error) and "__main__" not in str(error), error
        say(born)
    """
    (born,) = run_child(body, workers, env=env, prelude=PRELUDE)
    assert 4 <= int(born) <= 4 * workers


def test_worker_that_ends_by_itself_ends_the_run_at_once(env: dict[str, str]):
    body = """
    dies, how = lambda number: True, lambda: os._exit(3)
    try:
        list(double.map(range(20), workers=1))
    except dolium.WorkerDiedError as error:
        assert (error.item, error.signal, error.status) == (None, None, 3)
        assert "__main__" in str(error), error
        say(born)
    """
    assert run_child(body, env=env, prelude=PRELUDE) == ["1"]


def test_idle_worker_that_is_killed_is_missed_by_no_item(env: dict[str, str]):
    body = """
    import time
    run = double.map(range(9), workers=2)
    assert next(run) == 0
    while double.entry(3) is None:  # it reads four items ahead
        time.sleep(0.01)
    for victim in multiprocessing.active_children():
        os.kill(victim.pid, signal.SIGKILL)
    assert list(run) == [2 * number for number in range(1, 9)]
    assert run.figures.failed == 0
    """
    run_child(body, env=env, prelude=PRELUDE)


def test_suspect_that_no_worker_began_is_tried_alone_again(env: dict[str, str]):
    """An item of which a worker died takes no other item with it, even if the next worker is killed early."""
    body = """
    from dolium.jobs.outcome import DIED, KEPT, SKIPPED, Report
    run = double.map(range(3), workers=3)
    schedule = run._schedule
    for _ in range(3):
        schedule.read()
    first, second, third = schedule.next(), schedule.next(), schedule.next()
    schedule.settle(first, Report(DIED, (9, None)))
    schedule.settle(second, Report(KEPT))
    schedule.settle(third, Report(SKIPPED))
    for _ in range(2):
        assert schedule.next() is first
        assert schedule.next() is None, "another item beside it"
        schedule.settle(first, Report(SKIPPED))
    """
    run_child(body, env=env, prelude=PRELUDE)
