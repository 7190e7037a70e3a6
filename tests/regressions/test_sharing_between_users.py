"""In a directory that its group may write, all that is made is the group's; in a private one it is private."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dolium
import pytest
from helpers.system import as_user

GROUP = 5000
FIRST, SECOND, STRANGER, ROOT = 1001, 1002, 1003, 0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others can reach: pytest closes its own to them whenever it starts anywhere on the machine."""
    base = Path(tempfile.mkdtemp(prefix="dolium-users-", dir="/tmp"))
    base.chmod(0o755)
    shared = base / "shared"
    shared.mkdir()
    yield shared
    shutil.rmtree(base)


def succeeds(told: str) -> None:
    """All of what went wrong is shown."""
    assert not told, told


def write(directory: Path, name: str) -> None:
    cache = dolium.FanoutCache(directory, shards=2) if "shards" in name else dolium.Cache(directory)
    with cache:
        cache[name] = name
        cache[f"large {name}"] = name * 20_000
        cache[f"pickled {name}"] = (name,)


def work(directory: Path, mine: str, theirs: str) -> str:
    """Reads what another user wrote, changes it, writes more."""
    cache = dolium.FanoutCache(directory, shards=2) if "shards" in mine else dolium.Cache(directory)
    with cache:
        assert cache[theirs] == theirs
        assert cache[f"large {theirs}"] == theirs * 20_000
        assert cache[f"pickled {theirs}"] == (theirs,)
        cache[theirs] = theirs
        cache[f"large {theirs}"] = theirs * 20_000
        write(directory, mine)
        assert cache.check() == []
    return ""


def rights(directory: Path) -> dict[str, tuple[int, int, str]]:
    found = {path: path.lstat() for path in directory.rglob("*")}
    return {
        str(path.relative_to(directory)): (at.st_uid, at.st_gid, oct(stat.S_IMODE(at.st_mode)))
        for path, at in found.items()
    }


def write_and_look(directory: Path, name: str) -> str:
    """While the cache is open, the log and its index are there."""
    cache = dolium.Cache(directory)
    write(directory, name)
    cache["open"] = 1
    cache.flush()
    return repr(rights(directory))


@needs_root
@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
@pytest.mark.parametrize("mode", [0o2775, 0o775, 0o2770])
@pytest.mark.parametrize(
    ("first", "second"),
    [(FIRST, SECOND), (ROOT, SECOND), (FIRST, ROOT)],
    ids=["users", "root first", "root last"],
)
@pytest.mark.parametrize("kind", ["plain", "shards"])
def test_users_of_one_group_share_a_cache(
    place: Path, umask: int, mode: int, first: int, second: int, kind: str
) -> None:
    os.chown(place, FIRST, GROUP)
    place.chmod(mode)
    succeeds(as_user(first, [GROUP], umask, write, place, f"one {kind}"))
    succeeds(as_user(second, [GROUP], umask, work, place, f"two {kind}", f"one {kind}"))
    succeeds(as_user(first, [GROUP], umask, work, place, f"three {kind}", f"two {kind}"))
    told = rights(place)
    assert {group for _, group, _ in told.values()} == {GROUP}, told
    assert {mode for _, _, mode in told.values()} == {"0o660", "0o2770"}, told
    assert ROOT not in {owner for owner, _, _ in told.values()}, told


@needs_root
@pytest.mark.parametrize("user", [FIRST, ROOT])
@pytest.mark.parametrize("mode", [0o2775, 0o775])
def test_log_and_memory_follow_the_directory_too(place: Path, user: int, mode: int) -> None:
    os.chown(place, FIRST, GROUP)
    place.chmod(mode)
    told = eval(as_user(user, [GROUP], 0o077, write_and_look, place, "x"))
    names = {"cache.db", "cache.db-wal", "cache.db-shm", "cache.hot", "cache.lock"}
    assert {name: told.get(name) for name in names} == dict.fromkeys(names, (FIRST, GROUP, "0o660"))


@needs_root
def test_another_group_than_the_directorys_gets_no_rights(place: Path) -> None:
    """A process that is not of the group, but may write all the same, cannot give files to it."""
    os.chown(place, 0, GROUP)
    place.chmod(0o777)
    told = eval(as_user(STRANGER, [], 0, write_and_look, place, "x"))
    assert {mode for _, group, mode in told.values() if group != GROUP} <= {"0o600", "0o700"}, told


@needs_root
def test_what_root_makes_in_a_private_directory_is_its_owners(place: Path) -> None:
    os.chown(place, FIRST, FIRST)
    place.chmod(0o700)
    succeeds(as_user(ROOT, [], 0o022, write, place, "one"))
    succeeds(as_user(FIRST, [], 0o022, work, place, "two", "one"))
    told = rights(place)
    assert {(owner, group) for owner, group, _ in told.values()} == {(FIRST, FIRST)}, told
    assert {mode for _, _, mode in told.values()} == {"0o600", "0o700"}, told


def test_a_group_follows_without_other_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o077)
    try:
        write(tmp_path, "x")
        write(tmp_path / "below", "x")
    finally:
        os.umask(before)
    assert {mode for _, _, mode in rights(tmp_path).values()} == {"0o660", "0o2770"}, rights(tmp_path)


def test_a_private_directory_stays_private(tmp_path: Path) -> None:
    for mode in (0o700, 0o755, 0o1777):
        directory = tmp_path / oct(mode)
        directory.mkdir()
        directory.chmod(mode)
        before = os.umask(0)
        try:
            write(directory / "new", "x")
            if mode != 0o1777:
                write(directory, "x")
        finally:
            os.umask(before)
        assert {mode for _, _, mode in rights(directory).values()} == {"0o600", "0o700"}, rights(directory)


def tell(directory: Path) -> str:
    told: list[str] = []
    for do in (
        lambda: dolium.Cache(directory).get("x"),
        lambda: "x" in dolium.Cache(directory),
        lambda: len(dolium.Cache(directory)),
        lambda: dolium.Cache(directory).set("y", 1),
        lambda: dolium.Cache(directory, read_only=True).get("x"),
    ):
        try:
            told.append(f"RETURNED {do()}")
        except dolium.DoliumError as error:
            told.append(str(error))
    return "\n".join(told)


@needs_root
@pytest.mark.parametrize("directory_mode", [0o700, 0o755, 0o777])
def test_a_user_who_may_not_read_is_told_why(place: Path, directory_mode: int) -> None:
    os.chown(place, FIRST, FIRST)
    place.chmod(0o700)
    succeeds(as_user(FIRST, [], 0o022, write, place, "x"))
    place.chmod(directory_mode)
    told = as_user(STRANGER, [], 0o022, tell, place).splitlines()
    assert len(told) == 5, told
    mode = "0600" if directory_mode & 0o001 else "0700"
    for line in told:
        if "ReadOnly" in line or "read-only" in line:
            continue
        for part in ("Errno 13", f"user {STRANGER}", f"user {FIRST}", f"mode {mode}", "cache.db", "chmod"):
            assert part in line, told
    assert sum("Errno 13" in line for line in told) >= 4, told


def keep_open(directory: Path, ready: int, go: int) -> str:
    """Finds what another user has let the tier grow for, and writes to the file that is that user's."""
    with dolium.Cache(directory, hot_size=-1) as cache:
        cache["mine"] = 1
        os.write(ready, b".")
        os.read(go, 1)
        assert all(cache["theirs", n] == "x" * 100 for n in range(3000))
        cache["mine"] = 2
    return ""


def let_grow(directory: Path) -> str:
    with dolium.Cache(directory, hot_size=-1) as cache:
        assert cache["mine"] == 1
        cache.set_many({("theirs", n): "x" * 100 for n in range(3000)})
        assert cache.stats().hot.capacity > 1 << 20
    return ""


@needs_root
def test_tier_grows_while_two_users_have_it(place: Path) -> None:
    os.chown(place, FIRST, GROUP)
    place.chmod(0o2770)
    (heard, ready), (go, tell) = os.pipe(), os.pipe()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(as_user, FIRST, [GROUP], 0o077, keep_open, place, ready, go)
        os.read(heard, 1)
        second = as_user(SECOND, [GROUP], 0o077, let_grow, place)
        os.write(tell, b".")
        succeeds(second)
        succeeds(first.result())
    told = rights(place)
    assert {group for _, group, _ in told.values()} == {GROUP}, told
    with dolium.Cache(place) as cache:
        assert cache["mine"] == 2
        assert len(cache) == 3001
