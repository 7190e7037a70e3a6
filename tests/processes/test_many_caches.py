"""A process with many caches gives back what those take that rest, and has it again at their next use."""

from __future__ import annotations

import os
import resource
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import dolium
import pytest


@pytest.fixture
def many(tmp_path: Path) -> Iterator[list[dolium.Cache]]:
    """Caches that are so many that those which rest give back what they can, and have done so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 4096, hard))
    before = descriptors()
    caches = [dolium.Cache(tmp_path / f"{n}", hot_size=-1) for n in range(60)]
    for n, cache in enumerate(caches):
        cache["key"] = n
        len(cache)
    until = time.monotonic() + 60
    while descriptors() - before > 60 + 20 * 4 and time.monotonic() < until:
        time.sleep(0.1)
    assert descriptors() - before <= 60 + 20 * 4
    yield caches
    for cache in caches:
        cache.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def opened() -> set[str]:
    """The files that are open. The descriptor that lists them is closed again."""
    return {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_many_caches_that_rest_are_there_at_their_next_use(many: list[dolium.Cache]) -> None:
    assert [cache["key"] for cache in many] == list(range(60))
    assert [len(cache) for cache in many] == [1] * 60
    for cache in many:
        cache["more"] = 1
    assert [len(cache) for cache in many] == [2] * 60


def test_process_forks_while_many_caches_rest(many: list[dolium.Cache]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            found = [cache["key"] for cache in many]
            many[0]["child"] = found
            many[0].close()
            os._exit(0 if found == list(range(60)) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert many[0]["child"] == list(range(60))


def test_database_replaced_while_its_cache_rested_is_read(many: list[dolium.Cache], tmp_path: Path) -> None:
    with dolium.Cache(tmp_path / "other") as other:
        other["key"] = "of the other"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in [n for n in range(60) if str(tmp_path / f"{n}" / "cache.db") not in opened()][:4]:
            cache = many[n]
            shutil.copy(tmp_path / "other" / "cache.db", tmp_path / "copy.db")
            os.replace(tmp_path / "copy.db", tmp_path / f"{n}" / "cache.db")
            until = time.monotonic() + 20
            while cache["key"] == n and time.monotonic() < until:
                time.sleep(0.02)
            assert cache["key"] == "of the other", n
