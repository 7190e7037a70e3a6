"""A program that closes all descriptors, as daemons do, finds its own files as it wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import run

CLOSE = """
directory, files = sys.argv[1:]
cache = dolium.Cache(directory, **OPTIONS)
large = b"x" * 100_000
for n in range(300):
    cache[n] = n
    assert cache[n] == n
cache["large"] = large
cache.flush()
BEFORE
os.closerange(3, 256)
opened = [open(f"{files}/{n}", "w+b", buffering=0) for n in range(60)]
for n, file in enumerate(opened):
    file.write(b"%d" % n)
acknowledged = {}
failed = 0
end = time.monotonic() + 1
while time.monotonic() < end:
    n = len(acknowledged) + failed + 1000
    try:
        if n % 10 == 0:
            with cache.transact():
                cache[n] = n
        else:
            cache[n] = large if n % 10 == 5 else n
        acknowledged[n] = cache[n]
    except dolium.StorageError as error:
        assert "closed the descriptors" in str(error), error
        failed += 1
    time.sleep(0.01)
try:
    cache.close()
except dolium.DoliumError as error:
    assert "closed the descriptors" in str(error), error
for n, file in enumerate(opened):
    file.seek(0)
    assert file.read() == b"%d" % n, (n, file.read(100))
    file.write(b".")
with dolium.Cache(directory + "-other") as other:
    other["a"] = large
    assert other["a"] == large
print(failed)
"""

BEFORE = {
    "idle": "",
    "read often": "for n in range(2000): assert len(cache) == 301",
    "just written": "cache['just'] = 1",
    "another face": "reader = dolium.Cache(directory, read_only=True); assert reader['large'] == large",
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("options", [{}, {"hot_size": 0}], ids=["tier", "no tier"])
def test_closing_descriptors_harms_no_file_of_the_program(
    tmp_path: Path, before: str, options: dict[str, int]
) -> None:
    (tmp_path / "files").mkdir()
    body = CLOSE.replace("OPTIONS", repr(options)).replace("BEFORE", BEFORE[before])
    (failed,) = run(body, tmp_path / "cache", tmp_path / "files")
    assert int(failed) > 0, "what cannot be stored is told"
    for n in range(60):
        assert (tmp_path / "files" / str(n)).read_bytes() == b"%d." % n
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        assert [cache[n] for n in range(300)] == list(range(300)) and len(cache["large"]) == 100_000
        assert cache.check() == []
        """,
        tmp_path / "cache",
    )


def test_closing_inside_a_transaction_is_an_error(tmp_path: Path) -> None:
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        try:
            with cache.transact():
                cache["a"] = 1
                os.closerange(3, 256)
                mine = [open(f"{sys.argv[1]}-{n}", "w+b", buffering=0) for n in range(20)]
                cache["b"] = 2
        except dolium.StorageError as error:
            assert "closed the descriptors" in str(error), error
        else:
            raise AssertionError("nothing was raised")
        assert [os.path.getsize(f.name) for f in mine] == [0] * 20
        """,
        tmp_path / "cache",
    )
    run("cache = dolium.Cache(sys.argv[1]); assert len(cache) == 0; cache['a'] = 1", tmp_path / "cache")


def test_a_daemon_uses_a_cache_that_was_opened_before(tmp_path: Path) -> None:
    """It forks first, and nothing of the parent's is open in the child."""
    run(
        """
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = 1
        cache["large"] = b"x" * 100_000
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(3, 256)
            mine = [open(f"{sys.argv[1]}-{n}", "w+b", buffering=0) for n in range(20)]
            assert cache["a"] == 1
            cache["b"] = 2
            cache["large b"] = cache["large"]
            assert cache.incr("b") == 3
            cache.close()
            assert [os.path.getsize(f.name) for f in mine] == [0] * 20
            open(sys.argv[1] + "-done", "x").close()
            os._exit(0)
        os.waitpid(child, 0)
        while not os.path.exists(sys.argv[1] + "-done"):
            time.sleep(0.01)
        assert cache["b"] == 3 and len(cache["large b"]) == 100_000
        """,
        tmp_path / "cache",
    )
