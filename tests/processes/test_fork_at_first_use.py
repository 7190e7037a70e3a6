"""fork while another thread looks up what it needs first: the child looks it up, and waits for no thread."""

from __future__ import annotations

import dolium
from helpers.children import run

# `io.BytesIO` is looked up by the first `get(read=True)` of a value without a file. The thread stops there.
BODY = """
import builtins, io

importing = builtins.__import__
looks_up, goes_on = threading.Event(), threading.Event()

def slow(name, *rest, **named):
    if name == "io" and threading.current_thread() is not threading.main_thread():
        looks_up.set()
        assert goes_on.wait(120)
    return importing(name, *rest, **named)

cache = dolium.Cache(sys.argv[1])
builtins.__import__ = slow
read = []
thread = threading.Thread(target=lambda: read.append(cache.get("key", read=True).read()))
thread.start()
assert looks_up.wait(60)
pid = os.fork()
if not pid:
    signal.alarm(60)
    os._exit(0 if cache.get("key", read=True).read() == b"value" else 1)
_, status = os.waitpid(pid, 0)
goes_on.set()
thread.join()
assert read == [b"value"], read
say(os.waitstatus_to_exitcode(status))
"""


def test_child_looks_up_what_a_thread_was_looking_up(tmp_path):
    with dolium.Cache(tmp_path) as cache:
        cache["key"] = b"value"
    assert run(BODY, tmp_path, seconds=150) == ["0"]
