"""fork while other threads open and read closed caches: no child inherits a mutex that a thread has at that moment."""

from __future__ import annotations

import dolium
from helpers.children import PATIENCE, run

CACHES = 6

# A thread opens a cache, reads it, and closes it. Half of them read so many keys that they open a connection, and the
# others read the file of the database. Each takes the mutex over the databases that the process has open.
BODY = """
CACHES, CHILDREN, HUNG, TOTAL = int(sys.argv[2]), 90, float(sys.argv[3]), 8
caches = [os.path.join(sys.argv[1], str(number)) for number in range(CACHES)]
shared = dolium.Cache(os.path.join(sys.argv[1], "shared"))
shared["parent"] = "there"
done, failures, turns = threading.Event(), [], [0] * 4

def open_and_read(number, keys):
    with dolium.Cache(caches[number % CACHES]) as cache:
        for key in range(keys):
            assert cache.get(key) == (number % CACHES, key), key

def work(thread):
    try:
        while not done.is_set():
            open_and_read(turns[thread] + thread, 300 if thread % 2 else 3)
            turns[thread] += 1
    except BaseException as error:
        failures.append(repr(error))

def child(number):
    open_and_read(number, 3)
    assert shared["parent"] == "there"
    shared[number] = number
    assert shared[number] == number
    shared.incr("children", retry=True)
    open_and_read(number + 1, 300)

def forked(number):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        child(number)
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)

def joined(pid):
    until = time.monotonic() + HUNG
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
until, forks = time.monotonic() + TOTAL, 0
try:
    # A slow machine makes fewer children, but some.
    while forks < 10 or forks < CHILDREN and time.monotonic() < until:
        pids = [forked(number) for number in range(forks, forks + 3)]
        ends = [joined(pid) for pid in pids]
        assert ends == [0, 0, 0], ends
        forks += 3
finally:
    done.set()
for thread in threads:
    thread.join()
assert not failures, failures
assert min(turns) > 0, turns
assert shared["children"] == forks
assert all(shared[number] == number for number in range(forks))
assert shared.check() == []
say(forks, *turns)
"""


def test_child_works_if_forked_while_caches_open(tmp_path):
    for number in range(CACHES):
        with dolium.Cache(tmp_path / str(number)) as cache:
            cache.set_many({key: (number, key) for key in range(300)})
    [line] = run(BODY, tmp_path, CACHES, 15 * PATIENCE, seconds=120)
    print(line, "forks, and openings of each thread")
