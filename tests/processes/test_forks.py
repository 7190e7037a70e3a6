"""fork: while threads work, inside a transaction, again and again; the child is a process like any other."""

from __future__ import annotations

import sys

import dolium
import pytest
from helpers.children import run

# What every body here uses: a child that must end well.
FORK = """
def forked(function):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid

def joined(*pids):
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(codes), codes
"""


def run_forking(body: str, *arguments: object, **options) -> list[str]:
    import textwrap

    return run(FORK + textwrap.dedent(body), *arguments, **options)


def test_parent_and_child_go_on_with_the_same_object(tmp_path):
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        cache["before"] = "x" * 50_000
        def child():
            assert cache["before"] == "x" * 50_000
            for _ in range(200):
                cache.incr("n", retry=True)
                cache[os.getpid()] = "small"
            cache["child"] = "y" * 50_000
            cache.close()
        pids = [forked(child) for _ in range(3)]
        for _ in range(200):
            cache.incr("n", retry=True)
            cache[os.getpid()] = "small"
        joined(*pids)
        assert cache["n"] == 800
        assert [cache[pid] for pid in (*pids, os.getpid())] == ["small"] * 4
        assert cache["child"] == "y" * 50_000
        assert cache.check() == []
        """,
        tmp_path,
    )


@pytest.mark.parametrize("operation", ["cache.get('n')", "cache.incr('n', 0)"])
def test_a_child_sees_what_other_programs_change(tmp_path, operation):
    """The parent has just asked whether any has; that is not known to be so in the child for ever."""
    run_forking(
        """
        import sqlite3
        cache = dolium.Cache(sys.argv[1])
        cache["n"] = 1
        assert len(cache) == 1
        time.sleep(0.3)
        assert cache["n"] == 1
        def child():
            assert cache["n"] == 1
            time.sleep(0.3)
            assert cache["n"] == 1
            other = sqlite3.connect(sys.argv[1] + "/cache.db", isolation_level=None)
            other.execute("UPDATE Cache SET value = 100 WHERE key = 'n'")
            other.close()
            time.sleep(0.5)
            assert eval(sys.argv[2], {"cache": cache}) == 100
        joined(forked(child))
        """,
        tmp_path,
        operation,
    )


@pytest.mark.slow
def test_fork_while_threads_work(tmp_path):
    """A storm: nothing that a thread of the parent holds may hang a child, and nothing is lost."""
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        stop = threading.Event()
        errors, counts = [], []
        def work(number):
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    cache.incr("parent", retry=True)
                    cache.set(number, str(n % 10) * 60_000, retry=True)
                    value = cache[number]
                    assert value == value[:1] * 60_000
            except BaseException as error:
                errors.append(error)
            counts.append(n)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads: thread.start()
        def child():
            cache.incr("child", retry=True)
            with cache.transact(retry=True):
                cache.incr("child", retry=True)
            value = cache.get(0)
            assert value is None or value == value[:1] * 60_000
        for _ in range(40):
            joined(forked(child))
        stop.set()
        for thread in threads: thread.join()
        assert errors == [], errors
        assert cache["child"] == 80
        assert cache["parent"] == sum(counts)
        assert cache.check() == []
        """,
        tmp_path,
    )


def test_fork_inside_a_transaction(tmp_path):
    """The child has no part in it: its handle refuses, leaving the block does nothing, the parent commits."""
    run_forking(
        """
        from dolium.errors import DoliumError
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "old"
        pid = None
        try:
            with cache.transact():
                cache["a"] = "new"
                pid = os.fork()
                if pid == 0:
                    for use in (lambda: cache["a"], lambda: cache.set("a", "child"), lambda: cache.incr("n")):
                        try:
                            use()
                        except DoliumError:
                            pass
                        else:
                            os._exit(3)
                else:
                    joined(pid)
                    cache["b"] = 1
            if pid == 0:
                os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(5)
        assert (cache["a"], cache["b"]) == ("new", 1)
        """,
        tmp_path,
    )
    assert dolium.Cache(tmp_path)["a"] == "new"


def test_new_objects_tell_a_child_forked_in_a_transaction(tmp_path):
    """It inherited SQLite's notion of the locks on that directory; other directories are not concerned."""
    run_forking(
        """
        cache, other = dolium.Cache(sys.argv[1]), dolium.Cache(sys.argv[1] + "-other")
        cache["a"] = other["a"] = "old"
        def child():
            try:
                dolium.Cache(sys.argv[1])["a"]
            except dolium.ForkedError as error:
                assert sys.argv[1] in str(error), error
            else:
                raise AssertionError("no error")
            other["a"] = "child"
        with cache.transact():
            cache["a"] = "new"
            joined(forked(child))
        assert (cache["a"], other["a"]) == ("new", "child")
        """,
        tmp_path / "cache",
    )


def test_fork_while_another_thread_is_in_a_transaction(tmp_path):
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        inside, leave = threading.Event(), threading.Event()
        def hold():
            with cache.transact():
                cache["a"] = 1
                inside.set()
                leave.wait(50)
                cache["b"] = 2
        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(50)
        def child():
            try:
                assert cache.get("a") is None
                assert cache.set("child", 1, retry=True) is True
            except dolium.ForkedError:
                say("refused")  # also well: no hang, no harm
        pid = forked(child)
        leave.set()
        thread.join()
        joined(pid)
        assert (cache["a"], cache["b"]) == (1, 2)
        assert cache.check() == []
        """,
        tmp_path,
    )


def test_fork_between_the_transactions_of_other_threads(tmp_path):
    """A threaded server forks: it waits for the transactions under way, so that the child can use the cache."""
    run_forking(
        """
        cache, shards = dolium.Cache(sys.argv[1]), dolium.FanoutCache(sys.argv[1] + "-shards", shards=3)
        stop = threading.Event()
        errors, counts = [], []
        def work():
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    with cache.transact(retry=True), shards.transact(retry=True):
                        cache.incr("n")
                        time.sleep(0.003)
                        shards.incr("n")
            except BaseException as error:
                errors.append(error)
            counts.append(n)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        def child():
            assert cache["n"] > 0 and shards["n"] > 0
            with cache.transact(retry=True):
                cache.incr("children", retry=True)
        while cache.get("n", 0) < 3:
            time.sleep(0.01)
        for _ in range(25):
            joined(forked(child))
        stop.set()
        for thread in threads: thread.join()
        assert errors == [], errors
        assert cache["children"] == 25
        assert cache["n"] == shards["n"] == sum(counts)
        """,
        tmp_path / "cache",
    )


def test_fork_does_not_wait_for_ever_nor_for_nothing(tmp_path):
    run_forking(
        """
        cache, other = dolium.Cache(sys.argv[1]), dolium.Cache(sys.argv[1] + "-other")
        inside, leave = threading.Event(), threading.Event()
        def hold():
            with cache.transact():
                inside.set()
                leave.wait(50)
        def refused():
            try:
                cache.get("a")
            except dolium.ForkedError:
                other["child"] = 1
            else:
                os._exit(3)
        def timed(child):
            start = time.monotonic()
            joined(forked(child))
            return time.monotonic() - start
        other["a"] = cache["a"] = 1
        with other.transact():
            assert timed(lambda: cache.incr("a")) < 1
        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(50)
        assert 1 < timed(refused) < 10
        leave.set()
        thread.join()
        with cache.transact():
            cache.incr("a")
        assert (cache["a"], other["child"]) == (3, 1)
        """,
        tmp_path / "cache",
    )


def test_grandchildren(tmp_path):
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        def descend(depth):
            cache.incr("n", retry=True)
            if depth:
                joined(forked(lambda: descend(depth - 1)), forked(lambda: descend(depth - 1)))
            cache.incr("n", retry=True)
        descend(4)
        assert cache["n"] == 2 * (2 ** 5 - 1), cache["n"]
        """,
        tmp_path,
    )


def test_a_child_that_ends_normally_harms_nothing(tmp_path):
    """It runs its exit handlers and finalizers (sys.exit, not os._exit) on what it inherited."""
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        fanout = dolium.FanoutCache(sys.argv[1] + "-fan")
        cache["a"] = fanout["a"] = 1
        for n in range(5):
            pid = os.fork()
            if pid == 0:
                if n % 2:
                    cache["child"] = n
                sys.exit(0)
            joined(pid)
            cache.set("a", n)
            assert fanout.set("a", n, retry=True) is True
        assert (cache["a"], fanout["a"]) == (4, 4)
        assert cache.check() == []
        """,
        tmp_path,
    )


def test_an_iterator_survives_a_fork(tmp_path):
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        for n in range(500):
            cache[n] = n
        keys = iter(cache)
        assert next(keys) == 0
        def child():
            assert list(keys) == list(range(1, 500))
        joined(forked(child))
        assert list(keys) == list(range(1, 500))
        """,
        tmp_path,
    )


def test_subprocess_and_exec_inherit_no_descriptor(tmp_path):
    run(
        """
        import subprocess
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "x" * 50_000
        cache["a"]
        listing = "import os; print([os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd')" \
                  " if os.path.exists('/proc/self/fd/' + n)])"
        found = subprocess.run([sys.executable, "-c", listing], close_fds=False, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        assert sys.argv[1] not in found.stdout, found.stdout
        """,
        tmp_path,
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python warns of forks with threads from 3.12 on")
def test_forking_warns_of_no_thread_of_ours(tmp_path):
    run_forking(
        """
        cache = dolium.Cache(sys.argv[1])
        for n in range(100):
            cache[n] = "x" * 50_000
        for _ in range(3):
            joined(forked(lambda: cache.set("child", 1, retry=True)))
            cache["a"] = 1
        """,
        tmp_path,
        options=["-W", "error"],
    )
