"""Processes that share a directory: nothing is lost, nothing is seen half, nobody is told "locked"."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import subprocess
import sys
import textwrap

import dolium
import pytest
from helpers.children import Child, run

# Forks `sys.argv[2]` workers that wait for each other, so that all begin at once. A worker that raises says so.
CROWD = """
directory, crowd = sys.argv[1], int(sys.argv[2])
gate_read, gate_write = os.pipe()
children = []
for number in range(crowd):
    pid = os.fork()
    if pid == 0:
        os.close(gate_write)
        os.read(gate_read, 1)
        code = 1
        try:
            work(directory, number)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    children.append(pid)
os.close(gate_write)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert codes == [0] * crowd, codes
"""


def crowd(work: str, directory: object, number: int, seconds: float = 60) -> None:
    """Runs `def work(directory, number)` in `number` processes at once."""
    run(textwrap.dedent(work) + CROWD, directory, number, seconds=seconds)


@contextlib.contextmanager
def opened(directory, **settings):
    cache = dolium.Cache(directory, **settings)
    yield cache
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()


OPEN_AND_WRITE = """
def work(directory, number):
    cache = KIND(directory)
    cache.set(number, "x" * (50_000 if number % 10 == 0 else 10), tag="t", retry=True)
    assert cache.get(number)[:2] == "xx"
    cache.incr("total", retry=True)
    cache.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False], ids=["a new directory", "an old directory"])
def test_200_processes_open_and_write_at_once(tmp_path, new):
    if not new:
        dolium.Cache(tmp_path / "cache").set("before", 1)
    crowd(OPEN_AND_WRITE.replace("KIND", "dolium.Cache"), tmp_path / "cache", 200)
    with opened(tmp_path / "cache") as cache:
        assert cache["total"] == 200
        assert len(cache) == (201 if new else 202)
        assert all(cache[n][:2] == "xx" for n in range(200))


@pytest.mark.slow
def test_200_processes_open_and_write_shards_at_once(tmp_path):
    crowd(OPEN_AND_WRITE.replace("KIND", "dolium.FanoutCache"), tmp_path, 200)
    cache = dolium.FanoutCache(tmp_path)
    assert cache["total"] == 200
    assert len(cache) == 201
    assert cache.check() == []
    cache.close()


@pytest.mark.slow
def test_8_processes_increment_one_counter_10000_times_each(tmp_path):
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            for _ in range(10_000):
                cache.incr("n", retry=True)
        """,
        tmp_path,
        8,
        seconds=110,
    )
    with opened(tmp_path) as cache:
        assert cache["n"] == 80_000


def test_threads_of_processes_increment_one_counter(tmp_path):
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            def count():
                for _ in range(100):
                    cache.incr("n", retry=True)
            threads = [threading.Thread(target=count) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        """,
        tmp_path,
        4,
    )
    with opened(tmp_path) as cache:
        assert cache["n"] == 1600


def test_one_process_wins_each_add(tmp_path):
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            won = sum(cache.add(n, number, retry=True) for n in range(200))
            cache.incr("won", won, retry=True)
        """,
        tmp_path,
        4,
    )
    with opened(tmp_path) as cache:
        assert cache["won"] == 200
        assert len(cache) == 201


def test_each_queue_entry_is_pulled_once(tmp_path):
    with opened(tmp_path) as cache:
        for n in range(400):
            cache.push(n, prefix="work")
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            while True:
                key, value = cache.pull("work", retry=True)
                if key is None:
                    break
                cache.push(value, prefix="done", retry=True)
        """,
        tmp_path,
        4,
    )
    with opened(tmp_path) as cache:
        assert len(cache) == 400
        assert sorted(cache.pull("done")[1] for _ in range(400)) == list(range(400))


def test_each_key_is_popped_once(tmp_path):
    with opened(tmp_path) as cache:
        for n in range(200):
            cache[n] = "x" * 40_000 if n % 20 == 0 else 1
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            got = sum(cache.pop(n, retry=True) is not None for n in range(200))
            cache.incr("got", got, retry=True)
        """,
        tmp_path,
        4,
    )
    with opened(tmp_path) as cache:
        assert cache["got"] == 200


@pytest.mark.parametrize("kind", ["Cache", "FanoutCache"])
def test_transact_is_atomic_and_isolated(tmp_path, kind):
    """Money moves between three accounts; nobody ever sees a sum other than what there was."""
    crowd(
        """
        def work(directory, number):
            import random
            chance = random.Random(number)
            cache = dolium.KIND(directory)
            names = ["a", "b", "c"]
            with cache.transact(retry=True):
                for name in names:
                    cache.add(name, 100, retry=True)
            for n in range(100):
                if number % 2:
                    with cache.transact(retry=True):
                        one, two = chance.sample(names, 2)
                        cache.set(one, cache[one] - 7, retry=True)
                        cache.set(two, cache[two] + 7, retry=True)
                else:
                    with cache.transact(retry=True):
                        assert sum(cache[name] for name in names) == 300
        """.replace("KIND", kind),
        tmp_path,
        4,
    )
    cache = getattr(dolium, kind)(tmp_path)
    assert cache["a"] + cache["b"] + cache["c"] == 300
    cache.close()


def test_get_many_sees_one_moment(tmp_path):
    crowd(
        """
        def work(directory, number):
            cache = dolium.Cache(directory)
            with cache.transact(retry=True):
                cache.add("a", 100, retry=True)
                cache.add("b", 100, retry=True)
            for n in range(300):
                if number:
                    found = cache.get_many(["a", "b"])
                    assert found["a"] + found["b"] == 200, found
                else:
                    cache.set_many({"a": 100 - n, "b": 100 + n}, retry=True)
        """,
        tmp_path,
        3,
    )


def test_others_see_acknowledged_writes(tmp_path):
    """Set, told through a pipe, read elsewhere: for small values, large ones, deletions, expiry and tags."""
    with (
        opened(tmp_path) as cache,
        Child(
            """
            cache = dolium.Cache(sys.argv[1])
            while True:
                key = hear()
                if key == "end":
                    break
                value, tag = cache.get(key, "missing", tag=True)
                say(len(value) if isinstance(value, str) else value, tag)
            """,
            tmp_path,
        ) as reader,
    ):

        def seen(key: str) -> str:
            reader.tell(key)
            return reader.line()

        for n in range(50):
            cache.set("small", n, tag="t")
            assert seen("small") == f"{n} t"
            cache.set("large", "x" * (40_000 + n), tag="t")
            assert seen("large") == f"{40_000 + n} t"
        cache.touch("small", -1)
        assert seen("small") == "7 None"  # len("missing")
        assert cache.evict("t") == 2
        assert seen("large") == "7 None"
        cache.incr("n", 5)
        assert seen("n") == "5 None"
        cache.clear()
        assert seen("n") == "7 None"
        reader.tell("end")
        reader.finish()


READ_WHILE_OVERWRITTEN = """
cache = dolium.Cache(sys.argv[1])
read = 0
say("reading")
while "end" not in cache:
    value = cache.get("k", "missing")
    assert value != "missing", read
    assert len(value) == SIZE and value == value[:1] * SIZE, (read, len(value), set(value))
    read += 1
    if read == 21:
        say("enough")
assert read > 20, read
"""


def is_silent(child: Child) -> bool:
    return child.silent(0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [20_000, 300_000])
def test_overwriting_is_atomic_for_readers(tmp_path, size):
    """diskcache misses 0.4 to 5 % of such reads: it unlinks the old file as the new row appears."""
    with opened(tmp_path) as cache:
        cache.set("k", "0" * size)
        with contextlib.ExitStack() as stack:
            body = READ_WHILE_OVERWRITTEN.replace("SIZE", str(size))
            readers = [stack.enter_context(Child(body, tmp_path)) for _ in range(2)]
            for reader in readers:
                reader.line("reading")
            for n in itertools.takewhile(
                lambda n: n < 600 or any(map(is_silent, readers)), itertools.count()
            ):
                cache.set("k", str(n % 10) * size)
            cache.set("end", 1)
            for reader in readers:
                reader.finish()


@pytest.mark.slow
def test_overwriting_by_two_processes_is_atomic_for_readers(tmp_path):
    with opened(tmp_path) as cache:
        cache.set("k", "0" * 300_000)
        with (
            Child(READ_WHILE_OVERWRITTEN.replace("SIZE", "300_000"), tmp_path) as reader,
            Child(
                """
                cache = dolium.Cache(sys.argv[1])
                for n in range(200):
                    cache.set("k", "abc"[n % 3] * 300_000, retry=True)
                """,
                tmp_path,
            ) as writer,
        ):
            reader.line("reading")
            for n in itertools.takewhile(lambda n: n < 200 or is_silent(reader), itertools.count()):
                cache.set("k", "def"[n % 3] * 300_000, retry=True)
            writer.finish()
            cache.set("end", 1)
            reader.finish()


def test_a_pickled_cache_works_in_another_process(tmp_path):
    with opened(tmp_path / "one", timeout=7) as cache:
        cache["a"] = 1
        for given in (cache, dolium.FanoutCache(tmp_path / "fan", shards=3)):
            lines = run(
                """
                import pickle
                cache = pickle.loads(bytes.fromhex(sys.argv[1]))
                cache.set("from child", os.getpid(), retry=True)
                say(type(cache).__name__, cache.timeout)
                """,
                pickle.dumps(given).hex(),
            )
            assert lines == [f"{type(given).__name__} {given.timeout}"]
            assert "from child" in given
            given.close()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(tmp_path, method):
    """The Cache is an argument of the worker, as Dash's and many others' is."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, sys
            import dolium

            def work(cache, number):
                cache.set(number, "x" * 40_000 * (number % 2), retry=True)
                with cache.transact():
                    cache.incr("total", retry=True)

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[2])
                cache = dolium.Cache(sys.argv[1])
                cache["total"] = 0
                workers = [context.Process(target=work, args=(cache, n)) for n in range(4)]
                for worker in workers: worker.start()
                for worker in workers: worker.join()
                assert [worker.exitcode for worker in workers] == [0] * 4
                assert cache["total"] == 4 and len(cache) == 5, list(cache)
                with context.Pool(2) as pool:
                    pool.starmap(work, [(cache, n) for n in range(4, 12)])
                assert cache["total"] == 12 and len(cache) == 13, list(cache)
            """
        )
    )
    subprocess.run([sys.executable, script, tmp_path / "cache", method], check=True, timeout=60)


def test_exit_without_close_loses_nothing(tmp_path):
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        for n in range(100):
            cache.set(n, "x" * 40_000 if n % 10 == 0 else n)
        """,
        tmp_path,
    )
    with opened(tmp_path) as cache:
        assert sorted(cache) == list(range(100))
    run("cache = dolium.Cache(sys.argv[1]); cache['last'] = 1; os._exit(0)", tmp_path)
    with opened(tmp_path) as cache:
        assert cache["last"] == 1


def test_exit_while_a_daemon_thread_works(tmp_path):
    """The interpreter ends under threads that set and get: no hang, no crash."""
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        def work():
            n = 0
            while True:
                n += 1
                cache.set(n % 10, "x" * 1000 * (n % 50))
                cache.get(n % 7)
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        while len(cache) < 10:
            time.sleep(0.001)
        """,
        tmp_path,
    )
    with opened(tmp_path) as cache:
        assert len(cache) == 10
