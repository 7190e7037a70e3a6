"""diskcache on a directory in which dolium keeps dictionaries: it knows nothing of the table, and leaves it alone."""

from __future__ import annotations

from pathlib import Path

import dolium
from helpers.real_diskcache import real_diskcache

# As `sqlite/dictionaries.rs` makes it.
TABLE = """
CREATE TABLE DoliumDictionary (
    number INTEGER PRIMARY KEY, "group" TEXT NOT NULL, adopted REAL NOT NULL, unused REAL, hash BLOB NOT NULL,
    bytes BLOB NOT NULL
)
"""
ROW = "INSERT INTO DoliumDictionary VALUES (7, 'app.page()', 1000.0, NULL, zeroblob(32), x'01')"

LOOK = """
with diskcache.Cache(sys.argv[1]) as cache:
    assert cache.get("key") == 1
    # It takes cache.lock for a file that it does not know.
    found = [warning for warning in cache.check() if warning.category is not diskcache.UnknownFileWarning]
    assert found == []
    cache["other"] = 2
    assert cache.clear() == 2
    print(cache._sql("SELECT count(*) FROM DoliumDictionary").fetchall())
"""


def test_diskcache_leaves_dictionaries_alone(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache["key"] = 1
        for statement in (TABLE, ROW):
            cache._sql(statement)
    assert real_diskcache(LOOK, tmp_path).strip() == "[(1,)]"
    with dolium.Cache(tmp_path) as cache:
        assert len(cache) == 0
        cache["key"] = 1
        assert cache["key"] == 1
