"""Rows of other programs and systems: their value files are found; no name nor link leads out of the directory."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dolium
import pytest

VALUE = b"x" * 50_000
SECRET = b"s" * 50_000


def made(directory: Path) -> Path:
    """A cache with one large value; the value file."""
    with dolium.Cache(directory) as cache:
        cache["large"] = VALUE
        path = cache.info("large").path
    assert path is not None
    return Path(path)


def name_file(directory: Path, name: str) -> None:
    """Has the row name another file, as another program may."""
    with contextlib.closing(sqlite3.connect(directory / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET filename = ?", (name,))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "dolium", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)


class PlainDisk(dolium.Disk):
    """A user's own, so that Python code finds the files."""


@pytest.mark.parametrize("options", [{}, {"disk": PlainDisk}], ids=["native", "custom"])
def test_value_files_that_windows_named_are_found(tmp_path: Path, options: dict[str, type]) -> None:
    path = made(tmp_path)
    name_file(tmp_path, str(path.relative_to(tmp_path)).replace("/", "\\"))
    with dolium.Cache(tmp_path, **options) as cache:  # pyright: ignore[reportArgumentType]
        assert cache["large"] == VALUE
        with cache.read("large") as reader:
            assert reader.read() == VALUE
        assert cache.check() == []
        assert cache.info("large").path == str(path)
    assert command("path", tmp_path, "large").stdout.strip() == str(path)
    assert command("check", tmp_path).returncode == 0
    with dolium.Cache(tmp_path, **options) as cache:  # pyright: ignore[reportArgumentType]
        del cache["large"]
    assert not path.exists()


OUTSIDE = [
    r"..\secret",
    r"ab\..\..\secret",
    "../secret",
    r"C:\secret",
    r"C:secret\x",
    r"\secret",
    r"\\host\secret",
]


@pytest.mark.parametrize("name", [*OUTSIDE, "/secret"])
@pytest.mark.parametrize("options", [{}, {"disk": PlainDisk}], ids=["native", "custom"])
def test_no_name_in_a_row_leads_out_of_the_directory(
    tmp_path: Path, options: dict[str, type], name: str
) -> None:
    directory = tmp_path / "cache"
    made(directory)
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    name_file(directory, str(secret) if name == "/secret" else name)
    with dolium.Cache(directory, **options) as cache:  # pyright: ignore[reportArgumentType]
        assert cache.get("large") is None
        assert cache.info("large").path is None
        cache.check(fix=True)
        cache.clear()
        cache.flush()
    assert secret.read_bytes() == SECRET


def link_file(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / path.name)


def link_directory(path: Path, outside: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(outside)


def link_first_directory(path: Path, outside: Path) -> None:
    deeper = outside / path.parent.name
    deeper.mkdir()
    (outside / path.name).rename(deeper / path.name)
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    path.parent.parent.symlink_to(outside)


@pytest.mark.parametrize("link", [link_file, link_directory, link_first_directory])
@pytest.mark.parametrize("options", [{}, {"disk": PlainDisk}], ids=["native", "custom"])
def test_no_link_in_place_of_a_value_is_followed(
    tmp_path: Path, options: dict[str, type], link: Callable[[Path, Path], None]
) -> None:
    directory, outside = tmp_path / "cache", tmp_path / "outside"
    path = made(directory)
    outside.mkdir()
    (outside / path.name).write_bytes(SECRET)
    link(path, outside)
    with dolium.Cache(directory, **options) as cache:  # pyright: ignore[reportArgumentType]
        assert cache.get("large") is None
        assert cache.info("large").path is None
        with pytest.raises(KeyError):
            cache.read("large")
        assert any("file not found" in str(problem.message) for problem in cache.check())
        cache.check(fix=True)
        assert "large" not in cache
        cache["large"] = VALUE
        assert cache["large"] == VALUE
        assert cache.check() == []
    (secret,) = outside.rglob("*.val")
    assert secret.read_bytes() == SECRET


def test_the_directory_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    made(tmp_path / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    with dolium.Cache(tmp_path / "link") as cache:
        assert cache["large"] == VALUE
        cache["other"] = VALUE
        assert cache["other"] == VALUE
        assert cache.check() == []
