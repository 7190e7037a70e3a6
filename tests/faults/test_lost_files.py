"""Files of the shared memory that are removed, copied or damaged while what was acknowledged waits in them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import dolium
import pytest
from helpers.children import run

KILLED = """
cache = dolium.Cache(sys.argv[1])
cache["drained"] = 1
assert len(cache) == 1
for number in range(100):
    cache[number] = number
os.kill(os.getpid(), signal.SIGKILL)
"""
COUNT = "cache = dolium.Cache(sys.argv[1]); say(len(cache)); cache.close()"
#: Words of the header of cache.hot.
LAST, APPLIED = 49, 66


@pytest.mark.parametrize("name", ["cache.hot", "cache.lock"])
def test_undrained_writes_survive_when_the_hot_file_is_removed(tmp_path: Path, name: str) -> None:
    for number in range(5):
        cache = dolium.Cache(tmp_path / str(number))
        cache["a"] = 1
        time.sleep(0.2 + number * 0.01)  # so that it meets the housekeeper at other moments
        (tmp_path / str(number) / name).unlink()
        cache["b"] = number
        time.sleep(0.4)
        assert cache.get("b") == number
        cache["c"] = number
        cache.close()
        with dolium.Cache(tmp_path / str(number)) as again:
            assert (again.get("b"), again.get("c"), len(again)) == (number, number, 3)


def test_undrained_writes_survive_when_the_lock_file_is_removed(tmp_path: Path) -> None:
    cache = dolium.Cache(tmp_path)
    cache["a"] = 1
    assert len(cache) == 1
    cache["b"] = 2
    (tmp_path / "cache.lock").unlink()
    assert run(
        "cache = dolium.Cache(sys.argv[1]); cache['c'] = 3; say(cache.get('b'), len(cache))", tmp_path
    ) == ["2 3"]
    time.sleep(0.3)
    assert (cache["b"], cache["c"]) == (2, 3)
    cache["d"] = 4
    cache.close()
    assert run(COUNT, tmp_path) == ["4"]


def test_copy_holds_undrained_writes_after_all_were_killed(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    run(KILLED, original, code=-9)
    shutil.copytree(original, copy)
    assert run(COUNT, copy) == ["101"]
    assert run(COUNT, original) == ["101"]


SPOILT = """
import mmap, struct, warnings
warnings.simplefilter("ignore")
cache = dolium.Cache(sys.argv[1], timeout=1)
cache["a"] = 1
assert len(cache) == 1
with open(sys.argv[1] + "/cache.hot", "r+b") as file:
    words = mmap.mmap(file.fileno(), 4096)
    at = 8 * int(sys.argv[2])
    struct.pack_into("<Q", words, at, struct.unpack_from("<Q", words, at)[0] ^ 32)
if sys.argv[3] == "large":
    cache["large"] = b"x" * 3_000_000
elif sys.argv[3] == "transact":
    with cache.transact():
        cache["b"] = 2
cache.close()
"""


@pytest.mark.parametrize("end", ["close", "large", "transact"])
@pytest.mark.parametrize("word", [LAST, APPLIED], ids=["last", "applied"])
def test_close_and_direct_write_end_when_the_header_is_damaged(tmp_path: Path, word: int, end: str) -> None:
    run(SPOILT, tmp_path, word, end, seconds=30)
    with dolium.Cache(tmp_path) as cache:
        assert cache["a"] == 1
