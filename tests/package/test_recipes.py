"""Locks exclude, semaphores count, throttles hold back: between threads, processes and diskcache.

Every test runs on a `Cache` and on a `FanoutCache` where the two could differ. Processes are real ones.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import Averager, BoundedSemaphore, Lock, RLock, barrier, memoize_stampede, throttle
from dolium.functions.background import PATIENCE_AT_EXIT
from dolium.waiting import Line

LOCKS = [Lock, RLock, BoundedSemaphore]


@pytest.fixture(params=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with getattr(dolium, request.param)(str(tmp_path)) as cache:
        yield cache


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Any]:
    with dolium.Cache(str(tmp_path)) as cache:
        yield cache


def run(*programs: str, cache: Any, package: str = "dolium") -> list[subprocess.Popen[str]]:
    """Start a Python process for each program, which finds `cache` and the names of `package`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    start = f"import os, sys, time, {package}\nfrom {package} import *\n"
    start += f"cache = {type(cache).__name__}({cache.directory!r})\n"
    return [
        subprocess.Popen(
            [sys.executable, "-c", start + textwrap.dedent(program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for program in programs
    ]


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    """What the processes printed, once all have ended well."""
    printed: list[str] = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        printed.append(out)
    return printed


def until(condition: Callable[[], Any], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


# Averager


def test_averager_counts_what_all_processes_add(cache: Any):
    average = Averager(cache, "latency")
    assert average.get() is None
    program = "for number in range(50): Averager(cache, 'latency').add(number)"
    finish(*run(program, program, cache=cache))
    assert cache["latency"] == (2450.0, 100)
    assert average.get() == 24.5
    assert average.pop() == 24.5
    assert average.pop() is None
    assert "latency" not in cache


def test_averager_forgets_after_expire(plain: Any):
    average = Averager(plain, "latency", expire=0.05, tag="t")
    average.add(1)
    assert plain.get("latency", tag=True) == ((1.0, 1), "t")
    until(lambda: average.get() is None)


# What the cache holds is what diskcache holds


def test_rows_are_those_of_diskcache(cache: Any):
    lock, rlock = Lock(cache, "lock", tag="t"), RLock(cache, "rlock", tag="t")
    places = BoundedSemaphore(cache, "places", value=3, tag="t")
    me = f"{os.getpid()}-{threading.get_ident()}"

    def rows() -> list[Any]:
        return [cache.get(key, "none", tag=True) for key in ("lock", "rlock", "places")]

    assert rows() == [("none", None)] * 3
    with lock, rlock, places:
        assert rows() == [(None, "t"), ((me, 1), "t"), (2, "t")]
        with rlock, places:
            assert rows() == [(None, "t"), ((me, 2), "t"), (1, "t")]
    assert rows() == [("none", None), ((me, 0), "t"), (3, "t")]


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_is_shared_with_diskcache(cache: Any, kind: Any):
    take = f"""
        lock = {kind.__name__}(cache, "shared")
        print("waiting", flush=True)
        with lock:
            with open(os.path.join(cache.directory, "mark"), "a") as mark:
                mark.write("its")
            time.sleep(0.2)
            with open(os.path.join(cache.directory, "mark"), "a") as mark:
                mark.write(" own ")
    """
    mark = Path(cache.directory, "mark")
    with kind(cache, "shared"):
        processes = run(take, cache=cache, package="diskcache") + run(take, cache=cache)
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "waiting\n"
        time.sleep(0.2)
        assert not mark.exists()
    until(mark.exists)
    with kind(cache, "shared"):
        assert mark.read_text() in ("its own ", "its own its own ")
    finish(*processes)
    assert mark.read_text() == "its own its own "


# Exclusion


@pytest.mark.parametrize("kind", LOCKS)
def test_one_process_at_a_time(cache: Any, kind: Any):
    cache["count"] = 0
    program = f"""
        lock = {kind.__name__}(cache, ("lock", 1))
        for _ in range(40):
            with lock:
                count = cache["count"]
                time.sleep(0.0005)
                cache["count"] = count + 1
    """
    finish(*run(*[program] * 4, cache=cache))
    assert cache["count"] == 160


@pytest.mark.parametrize("kind", LOCKS)
def test_one_thread_at_a_time(plain: Any, kind: Any):
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        lock = kind(plain, "lock")
        for _ in range(25):
            with lock:
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)
                inside -= 1

    threads = [in_thread(work) for _ in range(6)]
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_semaphore_lets_in_as_many_as_it_has_places(plain: Any):
    inside = most = 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with BoundedSemaphore(plain, "places", value=3):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with guard:
                inside -= 1

    threads = [in_thread(work) for _ in range(9)]
    for thread in threads:
        thread.join()
    assert most == 3


def test_locked_tells(cache: Any):
    lock = Lock(cache, "lock")
    assert not lock.locked()
    lock.acquire()
    assert Lock(cache, "lock").locked()
    Lock(cache, "lock").release()  # anybody may
    assert not lock.locked()


@pytest.mark.parametrize(("kind", "message"), [(RLock, "lock"), (BoundedSemaphore, "semaphore")])
def test_release_without_acquire_is_an_error(cache: Any, kind: Any, message: str):
    lock = kind(cache, "lock")
    for _ in range(2):
        with pytest.raises(AssertionError, match=f"cannot release un-acquired {message}"):
            lock.release()
        with lock:
            pass


def test_an_rlock_belongs_to_its_thread(plain: Any):
    lock = RLock(plain, "lock")
    errors: list[BaseException] = []

    def release() -> None:
        try:
            RLock(plain, "lock").release()
        except AssertionError as error:
            errors.append(error)

    with lock:
        in_thread(release).join()
        assert len(errors) == 1
        taken = in_thread(RLock(plain, "lock").acquire)
        with lock, lock:  # again, though another stands in line
            time.sleep(0.05)
        assert taken.is_alive()
    taken.join()


def test_locks_can_be_pickled(plain: Any):
    for kind in LOCKS:
        lock = kind(plain, "lock", expire=60)
        with lock:
            twin = pickle.loads(pickle.dumps(lock))
            assert type(twin) is kind
        with twin:
            pass
        plain.delete("lock")


# Waiting


@pytest.mark.parametrize("kind", LOCKS)
def test_waiting_costs_next_to_nothing(plain: Any, kind: Any):
    def turn() -> None:
        with kind(plain, "lock"):
            pass

    with kind(plain, "lock"):
        waiting = [in_thread(turn) for _ in range(8)]
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.15
    for thread in waiting:
        thread.join()


def test_threads_are_served_in_the_order_they_came(plain: Any):
    lock = Lock(plain, "lock")
    served: list[int] = []

    def work(number: int) -> None:
        with lock:
            served.append(number)

    with lock:
        threads = []
        for number in range(8):
            threads.append(in_thread(lambda number=number: work(number)))
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_thread_that_retakes_a_lock_starves_no_other(plain: Any):
    stop = False

    def hog() -> None:
        while not stop:
            with Lock(plain, "lock"):
                time.sleep(0.001)

    hogs = [in_thread(hog) for _ in range(2)]
    longest = 0.0
    for _ in range(20):
        start = time.monotonic()
        with Lock(plain, "lock"):
            longest = max(longest, time.monotonic() - start)
    stop = True
    for thread in hogs:
        thread.join()
    assert longest < 1


def test_process_that_retakes_a_lock_starves_no_other(cache: Any):
    program = """
        end = time.monotonic() + 2
        waits = []
        while time.monotonic() < end:
            start = time.monotonic()
            with Lock(cache, "lock"):
                waits.append(time.monotonic() - start)
                time.sleep(0.001)
        print(len(waits), max(waits))
    """
    for line in finish(*run(program, program, cache=cache)):
        turns, longest = line.split()
        assert int(turns) > 10
        assert float(longest) < 1.5


@pytest.mark.parametrize("kind", LOCKS)
def test_ctrl_c_ends_the_wait(plain: Any, kind: Any):
    with kind(plain, "lock"):
        (process,) = run(
            f"""
            import signal
            signal.signal(signal.SIGINT, signal.default_int_handler)
            print("waiting", flush=True)
            try:
                {kind.__name__}(cache, "lock").acquire()
            except KeyboardInterrupt:
                print("interrupted")
            """,
            cache=plain,
        )
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert finish(process) == ["interrupted\n"]
    with kind(plain, "lock"):
        pass


def test_ctrl_c_is_never_lost_whenever_it_comes(plain: Any):
    with Lock(plain, "lock"):
        program = """
            import random, signal
            def interrupt(*_):
                raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, interrupt)
            chance, interrupted = random.Random(1), 0
            for _ in range(3000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0003, 0.003))
                    Lock(cache, "lock").acquire()
                except KeyboardInterrupt:
                    interrupted += 1
            print(interrupted)
        """
        assert finish(*run(program, cache=plain)) == ["3000\n"]


def test_process_interrupted_twice_is_not_in_line():
    class Interrupting:
        """A guard that a second Ctrl-C keeps from being taken for the third time: to leave the line."""

        def __init__(self) -> None:
            self.entered = 0

        def __enter__(self) -> None:
            self.entered += 1
            if self.entered == 3:
                raise KeyboardInterrupt

        def __exit__(self, *exc_info: object) -> None: ...

    def interrupted() -> bool:
        raise KeyboardInterrupt

    line = Line()
    guard, line._guard = line._guard, Interrupting()  # type: ignore[assignment]
    # Its traceback holds the frames of the wait, as `sys.last_exc` of an interactive session does.
    with pytest.raises(KeyboardInterrupt) as kept:
        line.wait(interrupted)
    assert line._guard.entered == 3
    line._guard = guard
    waiter = threading.Thread(target=line.wait, args=(lambda: True,), daemon=True)
    waiter.start()
    waiter.join(30)
    assert not waiter.is_alive(), "it waits behind a thread that has gone"
    del kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_does_not_inherit_the_line(plain: Any):
    finish(
        *run(
            """
            import threading
            lock = Lock(cache, "lock")
            lock.acquire()
            threading.Thread(target=lock.acquire, daemon=True).start()
            time.sleep(0.1)
            child = os.fork()
            if child == 0:
                cache.set("child", "waits")
                lock.acquire()  # were there a line, nobody would be at its head
                lock.release()
                os._exit(0)
            while "child" not in cache:
                time.sleep(0.01)
            lock.release()  # the thread has it now
            time.sleep(0.2)
            lock.release()
            assert os.waitpid(child, 0)[1] == 0
            """,
            cache=plain,
        )
    )


# Owners that die, rows that are evicted


@pytest.mark.parametrize("kind", LOCKS)
def test_a_dead_owners_lock_expires(cache: Any, kind: Any):
    (process,) = run(f'{kind.__name__}(cache, "lock", expire=0.5).acquire(); os._exit(0)', cache=cache)
    finish(process)
    start = time.monotonic()
    with kind(cache, "lock", expire=60):
        assert time.monotonic() - start < 5


def test_an_expired_owner_does_not_release_anothers_lock(cache: Any):
    late, next_ = Lock(cache, "lock", expire=0.05), Lock(cache, "lock", expire=60)
    late.acquire()
    holder = in_thread(next_.acquire)
    holder.join()
    late.release()
    assert next_.locked()


@pytest.mark.filterwarnings("ignore::dolium.EvictionWarning")
@pytest.mark.parametrize("policy", ["least-recently-stored", "least-recently-used", "least-frequently-used"])
def test_eviction_spares_what_is_held(tmp_path: Path, policy: str):
    with dolium.Cache(str(tmp_path), size_limit=200_000, eviction_policy=policy) as cache:
        places = BoundedSemaphore(cache, "places", value=3)
        lock, rlock, average = Lock(cache, "lock"), RLock(cache, "rlock"), Averager(cache, "average")
        with lock, rlock, places, places:
            average.add(4)
            rlock.acquire()  # an update of the row
            for number in range(300):
                cache.set(number, b"x" * 10_000)
                for _ in range(3):
                    cache.get(number)
                assert lock.locked()
            assert len(cache) < 50
            assert cache["places"] == 1
            assert cache["rlock"][1] == 2
            assert average.get() == 4
            rlock.release()


# throttle


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def sleep(self, delay: float) -> None:
        assert delay > 0
        self.now += delay


@pytest.mark.parametrize(("count", "seconds"), [(1, 1), (2, 1), (5, 0.3), (3, 7)])
def test_throttle_lets_no_call_too_many_through(cache: Any, count: int, seconds: float):
    clock = Clock()
    calls: list[float] = []

    @throttle(cache, count, seconds, time_func=clock.time, sleep_func=clock.sleep)
    def call() -> None:
        calls.append(clock.now)

    for _ in range(4 * count):
        call()
    for start in calls:
        assert sum(start <= moment < start + seconds for moment in calls) <= count
    assert calls[0] == calls[count - 1]  # at once, as long as there are any left
    assert calls[-1] == pytest.approx(calls[0] + 3 * seconds)


def test_throttle_delays_no_call_below_the_rate(plain: Any):
    clock = Clock()

    @throttle(plain, 4, 1, name="calls", time_func=clock.time, sleep_func=clock.sleep)
    def call() -> float:
        return clock.now

    for _ in range(40):
        clock.now += 0.25
        assert call() == clock.now
    start, left = plain["calls"]
    assert clock.now - 1 < start <= clock.now
    assert 0 <= left < 4


def test_throttle_counts_all_processes_together(cache: Any):
    program = """
        @throttle(cache, 3, 0.5, name="calls")
        def call():
            return time.time()

        print(*[call() for _ in range(6)])
    """
    moments = sorted(
        float(word) for line in finish(*run(program, program, cache=cache)) for word in line.split()
    )
    # Between counting and printing a call may be held up: the ends are blurred by far less than a period.
    for start in range(len(moments) - 3):
        assert moments[start + 3] - moments[start] > 0.4


def test_throttle_writes_nothing_before_the_first_call(plain: Any):
    def decorate() -> Any:
        clock = Clock()
        return throttle(plain, 2, 1, name="calls", time_func=clock.time, sleep_func=clock.sleep)(int)

    decorate()
    assert "calls" not in plain
    decorate()()
    before = plain["calls"]
    decorate()
    assert plain["calls"] == before


def test_throttle_survives_a_lost_row_and_a_clock_set_back(plain: Any):
    clock = Clock()

    @throttle(plain, 1, 10, name="calls", time_func=clock.time, sleep_func=clock.sleep)
    def call() -> float:
        return clock.now

    call()
    del plain["calls"]
    assert call() == clock.now == 1_700_000_000.0
    clock.now -= 3_600
    assert call() == clock.now == 1_700_000_000.0 - 3_600


def test_throttle_and_barrier_pass_arguments_results_and_names(plain: Any):
    @throttle(plain, 100, 1)
    @barrier(plain, RLock, name="turn", expire=5, tag="t")
    def add(one: int, *, other: int) -> int:
        """Adds."""
        assert plain["turn"][1] == 1
        return one + other

    assert add(1, other=2) == 3
    assert add.__doc__ == "Adds."
    assert f"{__name__}.{add.__qualname__}" in plain


@pytest.mark.parametrize("kind", LOCKS)
def test_barrier_lets_in_one_at_a_time(plain: Any, kind: Any):
    inside = most = 0

    @barrier(plain, kind)
    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1

    threads = [in_thread(work) for _ in range(5)]
    for thread in threads:
        thread.join()
    assert most == 1


# memoize_stampede


@pytest.fixture
def luck(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Decides whether the next lookups are to recompute early."""
    import random

    def decide(early: bool) -> None:
        monkeypatch.setattr(random, "random", lambda: 0.5 if early else 0.0)

    decide(False)
    return decide


def test_stampede_keeps_the_result_and_how_long_it_took(cache: Any, luck: Any):
    calls: list[int] = []

    @memoize_stampede(cache, expire=60, name="slow", tag="t", ignore={"note"})
    def slow(number: int, note: str = "") -> int:
        calls.append(number)
        time.sleep(0.02)
        return number * 2

    assert [slow(3), slow(3, "x"), slow(3, note="y")] == [6, 6, 6]
    assert calls == [3]
    key = slow.__cache_key__(3)
    assert key == ("slow", 3, None)
    (result, took), expire_time, tag = cache.get(key, expire_time=True, tag=True)
    assert result == 6
    assert 0.02 <= took < 5
    assert tag == "t"
    assert 50 < expire_time - time.time() <= 60
    assert slow.refresh(3) == 6
    assert slow.invalidate(3)
    assert not slow.invalidate(3)
    assert slow(3) == 6
    assert calls == [3, 3, 3]


def test_stampede_recomputes_early_once_and_in_the_background(plain: Any, luck: Any):
    calls: list[threading.Thread] = []

    @memoize_stampede(plain, expire=60, beta=1e6)
    def slow() -> int:
        calls.append(threading.current_thread())
        time.sleep(0.4)  # as long as the calls below may take together
        return len(calls)

    assert slow() == 1
    luck(True)
    assert [slow() for _ in range(5)] == [1] * 5
    luck(False)
    until(lambda: slow() == 2)
    assert len(calls) == 2
    assert calls[1] is not threading.current_thread()


def test_stampede_reports_what_fails_in_the_background(
    plain: Any, luck: Any, monkeypatch: pytest.MonkeyPatch
):
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    fail = False

    @memoize_stampede(plain, expire=60, beta=1e6)
    def slow() -> int:
        time.sleep(0.01)
        if fail:
            raise LookupError("now")
        return 1

    slow()
    fail = True
    luck(True)
    assert slow() == 1
    until(lambda: reports)
    assert reports[0].exc_type is LookupError
    luck(False)
    assert slow() == 1


def test_stampede_does_not_close_the_cache(plain: Any, luck: Any, monkeypatch: pytest.MonkeyPatch):
    @memoize_stampede(plain, expire=60, beta=1e6)
    def slow() -> int:
        time.sleep(0.01)
        return time.monotonic_ns()

    first = slow()
    with monkeypatch.context() as patch:
        patch.setattr(type(plain), "close", lambda self: pytest.fail("closed"))
        luck(True)
        slow()
        luck(False)
        until(lambda: slow() != first)


def test_stampede_keeps_no_process_from_ending(plain: Any):
    program = """
        import random
        random.random = lambda: 0.5

        @memoize_stampede(cache, expire=60, beta=1e6)
        def slow():
            time.sleep(30 if "started" in cache else 0.01)

        slow()
        cache["started"] = True
        slow()
    """
    start = time.monotonic()
    finish(*run(program, cache=plain))
    assert PATIENCE_AT_EXIT < time.monotonic() - start < 15
    assert plain.check() == []


def test_stampede_without_parentheses_is_an_error(plain: Any):
    with pytest.raises(TypeError, match="write @"):
        memoize_stampede(plain, 60, len)  # type: ignore[arg-type]


def test_stampede_awaits_coroutine_functions(plain: Any, luck: Any):
    calls: list[int] = []

    @memoize_stampede(plain, expire=60, name="slow", beta=1e6)
    async def slow(number: int) -> int:
        calls.append(number)
        # For as long as it took nobody else recomputes it: longer than the calls below need on a busy machine.
        await asyncio.sleep(0.4)
        return number + len(calls)

    async def main() -> None:
        assert await asyncio.gather(*[slow(1) for _ in range(5)]) == [2] * 5
        assert calls == [1]
        luck(True)
        assert [await slow(1) for _ in range(3)] == [2] * 3
        luck(False)
        while await slow(1) == 2:
            await asyncio.sleep(0.01)
        assert await slow(1) == 3
        assert calls == [1, 1]
        assert await slow.refresh(1) == 4
        assert await slow.invalidate(1)
        assert await slow(1) == 5

    asyncio.run(asyncio.wait_for(main(), 20))
    assert plain[("slow", 1, None)][0] == 5
