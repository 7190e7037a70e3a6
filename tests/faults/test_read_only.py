"""Opening is not writing; where nothing can be written, everything can still be read."""

from __future__ import annotations

import os
import stat

import dolium
import pytest
from helpers.children import Child, run
from helpers.mounts import needs_mounts, obey_permissions, read_only_mount, snapshot

READ = """
cache = dolium.KIND(sys.argv[1], **OPTIONS)
assert cache["a"] == 1
assert cache.get("large", tag=True) == (b"x" * 100_000, "t")
assert cache["pickled"] == [1, {"two": 3.0}]
assert cache.get("nobody") is None and "nobody" not in cache
assert sorted(cache) == ["a", "large", "pickled"] and len(cache) == 3
assert cache.volume() > 100_000
assert cache.cull_limit == 10
repr(cache)
with cache.read("large") as handle:
    assert handle.read() == b"x" * 100_000
cache.close()
assert cache["a"] == 1
"""

WRITE_FAILS = """
for write in (lambda: cache.set("b", 1), lambda: cache.delete("a"), lambda: cache.clear(),
              lambda: cache.__setitem__("large", "y" * 100_000), lambda: cache.incr("n"),
              lambda: cache.transact().__enter__()):
    try:
        write()
    except (dolium.DoliumError, OSError) as error:
        assert isinstance(error, dolium.DoliumError) and isinstance(error, OSError), type(error).__mro__
        assert sys.argv[1] in str(error), error
    else:
        raise AssertionError("it wrote to what cannot be written")
assert cache["a"] == 1 and len(cache) == 3
"""


def fill(directory, kind):
    cache = kind(directory)
    cache["a"] = 1
    cache.set("large", b"x" * 100_000, tag="t")
    cache["pickled"] = [1, {"two": 3.0}]
    cache.close()


def body(kind, options="{}", *, writes=False):
    return READ.replace("KIND", kind.__name__).replace("OPTIONS", options) + (WRITE_FAILS if writes else "")


KINDS = pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])


@KINDS
def test_opening_writes_nothing(tmp_path, kind):
    """Not even to a directory: nothing is made and removed again."""
    directory = tmp_path / "cache"
    fill(directory, kind)
    before = snapshot(tmp_path)
    run(
        "cache = dolium.KIND(sys.argv[1])\ncache.directory, cache.timeout".replace("KIND", kind.__name__),
        directory,
    )
    assert snapshot(tmp_path) == before


@KINDS
def test_reading_writes_nothing(tmp_path, kind):
    """SQLite may map a `-shm` file for as long as it reads; it is gone afterwards, and nothing else is touched."""
    fill(tmp_path, kind)
    before = snapshot(tmp_path, directories=False)
    run(body(kind), tmp_path)
    assert snapshot(tmp_path, directories=False) == before


@KINDS
def test_opening_with_the_stored_settings_writes_nothing(tmp_path, kind):
    kind(tmp_path, cull_limit=10, statistics=0, disk_min_file_size=2**15).close()
    fill(tmp_path, kind)
    before = snapshot(tmp_path, directories=False)
    run(body(kind, "{'cull_limit': 10, 'statistics': 0, 'disk_min_file_size': 2**15}"), tmp_path)
    assert snapshot(tmp_path, directories=False) == before


def test_opening_what_diskcache_wrote_writes_nothing(tmp_path, real_diskcache):
    real_diskcache("cache = diskcache.Cache(sys.argv[1]); cache['a'] = 1; cache.close()", tmp_path)
    before = snapshot(tmp_path)
    run("assert dolium.Cache(sys.argv[1])['a'] == 1", tmp_path)
    assert snapshot(tmp_path) == before


@KINDS
def test_read_only_leaves_no_trace(tmp_path, kind):
    fill(tmp_path, kind)
    before = snapshot(tmp_path, directories=False)
    run(body(kind, "{'read_only': True}", writes=True), tmp_path)
    assert snapshot(tmp_path, directories=False) == before


@KINDS
def test_a_directory_without_write_permission(tmp_path, kind):
    directory = tmp_path / "cache"
    fill(directory, kind)
    modes = {path: path.stat().st_mode for path in [directory, *directory.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    before = snapshot(directory)
    try:
        run(body(kind, writes=True), directory, preexec_fn=obey_permissions)
        assert snapshot(directory) == before
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_read_only_process_sees_undrained_writes(tmp_path):
    """Without a log, and nowhere to put one, the file was taken for immutable: it is not, when the owner comes back."""
    directory = tmp_path / "cache"
    fill(directory, dolium.Cache)

    def protect(*, protected):
        directory.chmod(0o555 if protected else 0o755)
        for path in directory.glob("cache.*"):
            path.chmod(0o444 if protected else 0o644)

    protect(protected=True)
    body = """
        cache = dolium.Cache(sys.argv[1])
        while True:
            say(cache["a"], cache.get("new"))
            hear()
    """
    try:
        with Child(body, directory, preexec_fn=obey_permissions) as reader:
            reader.line("1 None")
            for turn in range(4):
                protect(protected=False)
                owner = dolium.Cache(directory)
                owner["a"] = turn
                owner["new"] = str(turn) * 5000
                if turn % 2:
                    owner.close()
                protect(protected=True)
                reader.tell()
                reader.line(f"{turn} {str(turn) * 5000}")
                owner.close()
    finally:
        protect(protected=False)


def test_the_child_obeys_permissions(tmp_path):
    """Or the test above would prove nothing."""
    tmp_path.chmod(0o500)
    try:
        lines = run(
            "try: open(sys.argv[1] + '/f', 'w')\nexcept PermissionError: say('refused')",
            tmp_path,
            preexec_fn=obey_permissions,
        )
        assert lines == ["refused"]
    finally:
        tmp_path.chmod(0o700)


@needs_mounts
@KINDS
def test_a_read_only_mount(tmp_path, kind):
    fill(tmp_path, kind)
    run(body(kind, writes=True), tmp_path, prefix=read_only_mount(tmp_path))


@needs_mounts
def test_a_read_only_mount_of_what_a_killed_process_left(tmp_path):
    """With the write-ahead log still there: its commits were acknowledged, so they are read."""
    run("cache = dolium.Cache(sys.argv[1]); cache['a'] = 1; cache['b'] = 'x' * 50_000; os._exit(0)", tmp_path)
    run(
        "cache = dolium.Cache(sys.argv[1]); assert cache['a'] == 1 and cache['b'] == 'x' * 50_000",
        tmp_path,
        prefix=read_only_mount(tmp_path),
    )


@needs_mounts
def test_nothing_in_a_read_only_mount(tmp_path):
    run(
        """
        try:
            cache = dolium.Cache(sys.argv[1] + "/new")
            cache.set("a", 1)
        except OSError as error:
            assert sys.argv[1] in str(error), error
        else:
            raise AssertionError("no error")
        """,
        tmp_path,
        prefix=read_only_mount(tmp_path),
    )


@KINDS
def test_new_directories_and_files_are_private(tmp_path, kind):
    directory = tmp_path / "cache"
    previous = os.umask(0)
    try:
        fill(directory, kind)
        cache = kind(directory, disk_min_file_size=0)
        cache["file"] = "x"
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}
        cache.close()
    finally:
        os.umask(previous)
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if not path.is_dir()} == {0o600}
    assert len(found) > 5


def test_the_mode_of_an_existing_directory_is_left_alone(tmp_path):
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o775)
    fill(directory, dolium.Cache)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o775


def test_the_state_directory_is_private(tmp_path):
    run(
        "cache = dolium.Cache(sys.argv[1] + '/cache'); cache['a'] = [1]",
        tmp_path,
        env={"XDG_STATE_HOME": str(tmp_path / "state")},
    )
    keys = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_values_are_kept_when_the_key_has_no_place(tmp_path):
    """A read-only home: one warning, plain data is read back."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    try:
        run(
            """
            import warnings
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                cache = dolium.Cache(sys.argv[1])
                for n in range(3):
                    cache[n] = [n]
                assert [cache[n] for n in range(3)] == [[0], [1], [2]]
                other = dolium.Cache(sys.argv[1] + "-other")
                other["a"] = (1,)
                assert other["a"] == (1,)
            assert [w.category for w in caught] == [dolium.SigningKeyWarning], [str(w.message) for w in caught]
            """,
            tmp_path / "cache",
            env={"HOME": str(home), "XDG_STATE_HOME": str(home / "state")},
            preexec_fn=obey_permissions,
        )
    finally:
        home.chmod(0o700)
