"""A `cache.hot` of each layout is kept under `fixtures/hot`. One of the present layout is used, others are ignored."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from fixtures.make_hot import ENTRIES, EPOCH, LAYOUT, SIZE
from helpers.children import run

LAYOUTS = sorted((Path(__file__).parents[1] / "fixtures" / "hot").iterdir())
PRESENT = LAYOUTS[-1]

READ = """
sys.path.insert(0, sys.argv[2])
from fixtures.make_hot import ENTRIES, SIZE
import warnings
warnings.simplefilter("error")
with dolium.Cache(sys.argv[1], hot_size=SIZE, trust="all") as cache:
    cache["of the next"] = 1  # attaches
    tier = cache.stats().hot
    assert tier.missing is None, tier
    for key, value in ENTRIES.items():
        assert cache[key] == value, key
    say(tier.keys, cache.stats().hot.fills)
    assert cache.check() == []
with dolium.Cache(sys.argv[1], hot_size=0, trust="all") as cache:
    assert {key: cache[key] for key in ENTRIES} == ENTRIES
"""


def read(directory: Path) -> tuple[int, int]:
    """Let a process read all entries. Return how many its tier knew, and how many came from the database."""
    said = run(READ, directory, Path(__file__).parents[1])
    known, fills = said[-1].split()
    return int(known), int(fills)


def copied(layout: Path, directory: Path) -> Path:
    """A copy of a fixture."""
    shutil.copytree(layout, directory)
    return directory / "cache.hot"


def patch(file: Path, offset: int, form: str, value: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(struct.pack(form, value))


def settle(directory: Path) -> None:
    """Make a copy of a tier that rests look as if it had come to rest here, since this system started."""
    hot = directory / "cache.hot"
    patch(hot, 32, "<Q", (directory / "cache.lock").stat().st_ino)
    patch(hot, 48, "<Q", hot.stat().st_ino)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:16]
    database = sqlite3.connect(directory / "cache.db")
    (rest,) = database.execute("SELECT value FROM Dolium WHERE key = 'rest'").fetchone()
    rest = rest[:24] + struct.pack("<Q", int(boot, 16))
    with database:
        database.execute("UPDATE Dolium SET value = ? WHERE key = 'rest'", (rest,))
    database.close()


def version(hot: Path) -> int:
    return int.from_bytes(hot.read_bytes()[8:12], "little")


def test_the_newest_layout_of_the_hot_tier_is_kept():
    assert PRESENT.name == str(LAYOUT) == str(version(PRESENT / "cache.hot"))


def test_tier_of_the_present_layout_answers(tmp_path: Path):
    copied(PRESENT, tmp_path / "cache")
    settle(tmp_path / "cache")
    known, fills = read(tmp_path / "cache")
    # A few share a bucket of the index with eight others.
    assert known > len(ENTRIES) - 8
    assert fills < 8


def test_tier_of_another_system_is_not_used(tmp_path: Path):
    copied(PRESENT, tmp_path / "cache")
    assert read(tmp_path / "cache")[0] == 1


@pytest.mark.parametrize("older", LAYOUTS[:-1], ids=[path.name for path in LAYOUTS[:-1]])
def test_tier_of_an_older_layout_is_replaced(tmp_path: Path, older: Path):
    hot = copied(older, tmp_path / "cache")
    assert version(hot) == int(older.name) < LAYOUT
    assert read(tmp_path / "cache")[0] == 1
    assert not hot.exists() or version(hot) == LAYOUT


def test_tier_of_a_future_layout_is_replaced(tmp_path: Path):
    hot = copied(PRESENT, tmp_path / "cache")
    settle(tmp_path / "cache")
    patch(hot, 8, "<I", LAYOUT + 1)
    assert read(tmp_path / "cache")[0] == 1
    assert not hot.exists() or version(hot) == LAYOUT


REFUSED = """
try:
    with dolium.Cache(sys.argv[1]) as cache:
        cache["key 1"] = -1
except dolium.errors.StorageError as error:
    say(error)
"""


@pytest.mark.parametrize("other", [2, LAYOUT + 1])
def test_other_layout_that_the_database_names_is_refused(tmp_path: Path, other: int):
    """It may hold changes that the database lacks, which only that version reads."""
    hot = copied(LAYOUTS[1], tmp_path / "cache")
    patch(hot, 8, "<I", other)
    database = sqlite3.connect(tmp_path / "cache" / "cache.db")
    with database:
        row = struct.pack("<QQQ", EPOCH, 1, 0)
        database.execute("DELETE FROM Dolium WHERE key = 'rest'")
        database.execute("INSERT INTO Dolium (key, value) VALUES ('tier', ?)", (row,))
    database.close()
    (said,) = run(REFUSED, tmp_path / "cache")
    assert f"layout {other}" in said
    assert version(hot) == other


@pytest.mark.parametrize("damage", ["header", "index", "log", "all", "short", "empty"])
def test_damaged_tier_of_the_present_layout_loses_nothing(tmp_path: Path, damage: str):
    hot = copied(PRESENT, tmp_path / "cache")
    settle(tmp_path / "cache")
    found = bytearray(hot.read_bytes())
    places = {
        "header": range(56, 4096, 8),
        "index": range(4096, len(found) - SIZE, 8),
        "log": range(len(found) - SIZE, len(found), 24),
        "all": range(12, len(found), 40),
    }
    for place in places.get(damage, ()):
        found[place] ^= 0x55
    hot.write_bytes(found[: {"short": len(found) // 2, "empty": 0}.get(damage, len(found))])
    read(tmp_path / "cache")
