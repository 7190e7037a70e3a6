"""The hot tier is an accelerator: what the system refuses it, the cache does without, and says so."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import sys
from pathlib import Path

import dolium
import pytest
from helpers.children import Child
from helpers.system import NUMBERS, Conditions, in_child, refuse

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in NUMBERS, reason="filters system calls of Linux"
)

_SHARED = 1
_SQLITE_MAPS = 0x8000
_OFD_GETLK, _OFD_SETLK = 36, 37
_O_TMPFILE = 0x400000

#: Calls of attaching, with what tells them from those of SQLite, and whether the tier can do without.
CALLS: dict[str, tuple[str, Conditions, bool]] = {
    "map the tier": ("mmap", [(3, "==", _SHARED), (1, ">=", 0x10000)], False),
    "map anything but the log's index": (
        "mmap",
        [(3, "==", _SHARED), (2, "==", 3), (1, ">=", 0x8001)],
        False,
    ),
    "ask for a lock": ("fcntl", [(1, "==", _OFD_GETLK)], False),
    "take a lock": ("fcntl", [(1, "==", _OFD_SETLK)], False),
    "reserve blocks": ("fallocate", [], False),
    "change a mode": ("fchmod", [], True),
    "change an owner": ("fchown", [], True),
    "make a nameless file": ("openat", [(2, "&", _O_TMPFILE)], True),
    "name a file": ("linkat", [], True),
    "map ahead": ("madvise", [(2, "==", 23)], True),
    "watch descriptors": ("memfd_create", [], True),
    "open below a directory": ("openat2", [], True),
}
ERRNOS = [
    errno.ENOMEM,
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOSPC,
    errno.EMFILE,
    errno.EOPNOTSUPP,
]

#: How sandboxes refuse a call that they do not know.
UNKNOWN = [errno.EPERM, errno.ENOSYS, errno.EINVAL]


def shared_directory(path: Path) -> str:
    """A group may write it, so that what is made in it needs other rights than it is made with."""
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, -1, 5000)
    path.chmod(0o2775)
    return str(path)


def use(cache: dolium.Cache) -> None:
    """Everything that writes takes another way to the database."""
    cache["number"] = 1
    cache["text"] = "x"
    cache["large"] = b"x" * 100_000
    cache["pickled"] = {1, 2}
    cache.incr("number")
    with cache.transact():
        cache["a"] = 1
        cache["b"] = 2
    cache.set_many({f"many {n}": n for n in range(50)})
    assert cache.pop("a") == 1
    assert [cache["number"], cache["text"], cache["pickled"]] == [2, "x", {1, 2}]
    assert cache["large"] == b"x" * 100_000
    assert len(cache) == len(list(cache)) == 55
    assert cache.check() == []


def use_without(directory: str, call: str, code: int) -> str:
    name, conditions, _ = CALLS[call]
    os.umask(0o077)
    refuse(name, code, conditions)
    cache = dolium.Cache(directory)
    use(cache)
    missing = cache.stats().hot.missing
    cache.close()
    return missing or ""


@pytest.mark.parametrize("call", CALLS)
def test_cache_works_whatever_attaching_is_refused(tmp_path: Path, call: str) -> None:
    for code in UNKNOWN if CALLS[call][0] == "openat2" else ERRNOS:
        directory = shared_directory(tmp_path / f"{code}")
        told = in_child(use_without, directory, call, code)
        if CALLS[call][2]:
            assert told == "", (errno.errorcode[code], told)
        else:
            assert os.strerror(code) in told, (errno.errorcode[code], told)
            assert "Traceback" not in told, (errno.errorcode[code], told)
        with dolium.Cache(directory) as cache:
            assert [cache["number"], len(cache)] == [2, 55]
            cache["number"] = 3
            assert cache.stats().hot.missing is None, "the next process has a tier again"


def test_cache_works_with_little_address_space(tmp_path: Path) -> None:
    def use_little() -> str:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (8 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        cache = dolium.Cache(str(tmp_path), hot_size=16 << 20)
        use(cache)
        return str(cache.stats().hot.missing)

    assert "Cannot allocate memory" in in_child(use_little)


def test_cache_works_without_a_descriptor_to_spare(tmp_path: Path) -> None:
    def use_last() -> str:
        cache = dolium.Cache(str(tmp_path))
        assert cache.get("a") is None
        with dolium.Cache(str(tmp_path), size_limit=1 << 20) as made:
            made["a"] = 1
        # SQLite opens three, the sentinel is one. Earlier tests have left gaps among the numbers.
        unused = (number for number in itertools.count() if not Path(f"/proc/self/fd/{number}").exists())
        limit = list(itertools.islice(unused, 4))[-1] + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        cache["number"] = 1
        assert [cache.incr("number"), cache["number"]] == [2, 2]
        return str(cache.stats().hot.missing)

    assert "Too many open files" in in_child(use_last)


def test_info_tells_other_processes_why(tmp_path: Path) -> None:
    refused = Child(
        REFUSED, tmp_path, errno.ENOMEM, "mmap", "[(3, '==', 1), (1, '>=', 65536)]", prelude=PRELUDE
    )
    with refused as child:
        child.line("1")
        told = in_child(lambda: dolium.Cache(str(tmp_path)).stats().hot.missing)
        assert "Cannot allocate memory" in told, told
        child.tell()
        child.line("None")


PRELUDE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import dolium
from helpers.system import refuse
def say(*words):
    print(*words, flush=True)
def hear():
    return sys.stdin.readline().strip()
"""

REFUSED = """
directory, code, call, conditions = sys.argv[1:]
refuse(call, int(code), eval(conditions))
cache = dolium.Cache(directory)
def tried(do):
    try:
        return do()
    except dolium.DoliumError as error:
        return f"{type(error).__name__}: {error}"
say(tried(lambda: [cache.set("mine", 1), cache["mine"]][1]))
hear()
say(tried(lambda: cache.get("theirs")))
say(tried(lambda: cache.set("mine", 2)))
hear()
say(tried(lambda: [cache.set("mine", 3), cache.get("theirs")]))
"""


@pytest.mark.parametrize(
    ("call", "conditions"), [("mmap", "[(3, '==', 1), (1, '>=', 65536)]"), ("fallocate", "[]")]
)
def test_processes_without_memory_see_the_others(tmp_path: Path, call: str, conditions: str) -> None:
    """Whoever comes while one of them is here does without memory as well."""
    with Child(REFUSED, tmp_path, errno.ENOMEM, call, conditions, prelude=PRELUDE) as child:
        child.line("1")
        with dolium.Cache(tmp_path) as cache:
            cache["theirs"] = "here"
            child.tell()
            child.line("here")
            child.line("True")
            assert cache["mine"] == 2
            child.tell()
            child.line("[True, 'here']")
            assert cache["mine"] == 3


def test_no_process_writes_around_the_tier_of_others(tmp_path: Path) -> None:
    """A process that can neither share memory nor lock is told so while others have a tier."""
    with Child(REFUSED, tmp_path, errno.EINVAL, "fcntl", "[(1, '==', 37)]", prelude=PRELUDE) as child:
        child.line("1")
        with dolium.Cache(tmp_path) as cache:
            cache["theirs"] = "here"
            assert cache.stats().hot.missing is None
            child.tell()
            for _ in range(2):
                told = child.line()
                assert [
                    part for part in ("StorageError", "memory", "Invalid argument") if part not in told
                ] == []
            assert cache["mine"] == 1
        child.tell()
        child.line("[True, 'here']")
    assert dolium.Cache(tmp_path)["mine"] == 3


def test_entries_left_in_memory_are_never_passed_over(tmp_path: Path) -> None:
    """All who had a tier were killed: who cannot read what they left there does not go on without it."""
    with Child(
        "cache = dolium.Cache(sys.argv[1]); cache['left'] = 1; say('done'); hear()", tmp_path
    ) as child:
        child.line("done")
        child.process.kill()
    conditions = "[(3, '==', 1), (1, '>=', 65536)]"
    with Child(REFUSED, tmp_path, errno.ENOMEM, "mmap", conditions, prelude=PRELUDE) as child:
        told = child.line()
        assert [part for part in ("Cannot allocate memory", "StorageError") if part not in told] == []
    assert dolium.Cache(tmp_path)["left"] == 1
