"""What others put into the directory: pickles that run code, rows that cannot be read, settings of no meaning."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import warnings

import dolium
import pytest
from helpers.children import run


class Attack:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


ATTACK = """
class Attack:
    def __reduce__(self):
        return (open, (sys.argv[2], "w"))
"""


@pytest.fixture
def trace(tmp_path):
    """The file that an attack would make; it must not be there at the end."""
    path = tmp_path / "trace"
    yield path
    assert not path.exists(), "the attack ran"


@pytest.fixture(autouse=True)
def refusals_are_expected():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dolium.UntrustedValueWarning)
        yield


def test_the_attack_would_work(tmp_path, real_diskcache):
    """Or the tests below would prove nothing."""
    script = ATTACK + "c = diskcache.Cache(sys.argv[1]); c['k'] = Attack(); c['k']"
    with pytest.raises(Exception, match="exit status"):
        real_diskcache(script + "; raise SystemExit(3)", tmp_path / "cache", tmp_path / "trace")
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("padding", [0, 100_000], ids=["in a row", "in a file"])
@pytest.mark.parametrize("trust", ["signed", "none"])
def test_a_hostile_value_is_a_miss_and_does_not_run(tmp_path, trace, real_diskcache, padding, trust):
    directory = tmp_path / "cache"
    real_diskcache(
        ATTACK
        + f"c = diskcache.Cache(sys.argv[1]); c.set('k', [Attack(), 'x' * {padding}], tag='t')\n"
        + "c['ok'] = [1]; c.push(Attack())",
        directory,
        trace,
    )
    cache = dolium.Cache(directory, trust=trust)
    assert cache.get("k") is None
    assert cache.get("k", "missing", tag=True) == ("missing", None)
    with pytest.raises(KeyError):
        cache["k"]
    assert cache.get_many(["k", "ok"]) == {"ok": [1]}
    assert cache["ok"] == [1]
    assert len(cache) == 3  # the rows are kept, for whoever trusts them
    assert list(cache)[:2] == ["k", "ok"]
    for use in (cache.peek, cache.pull, cache.peekitem, lambda: cache.pop("k")):
        with contextlib.suppress(KeyError, dolium.UntrustedValueError):
            use()
    cache.incr("n")
    assert cache.check() == []
    cache["k"] = "replaced"
    assert cache["k"] == "replaced"
    cache.clear()
    cache.close()


def test_a_refused_value_is_told_once(tmp_path, trace, real_diskcache):
    real_diskcache(
        ATTACK + "c = diskcache.Cache(sys.argv[1]); c[1] = Attack(); c[2] = Attack()", tmp_path / "c", trace
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = dolium.Cache(tmp_path / "c")
        for _ in range(3):
            assert (cache.get(1), cache.get(2)) == (None, None)
        cache.close()
    assert [warning.category for warning in caught] == [dolium.UntrustedValueWarning]
    assert "trust" in str(caught[0].message)


def test_a_hostile_key_does_not_run(tmp_path, trace, real_diskcache):
    directory = tmp_path / "cache"
    real_diskcache(
        ATTACK + "c = diskcache.Cache(sys.argv[1]); c[Attack()] = 1; c['ok'] = 2; c.close()", directory, trace
    )
    cache = dolium.Cache(directory)
    assert len(cache) == 2
    for use in (lambda: list(cache), lambda: list(reversed(cache)), lambda: list(cache.iterkeys()),
                lambda: cache.peekitem(last=False), lambda: list(cache.keys())):  # fmt: skip
        with contextlib.suppress(KeyError, dolium.UntrustedValueError):
            use()
    assert cache["ok"] == 2
    assert cache.check() == []
    assert cache.clear() == 2
    cache.close()


def test_a_hostile_tag_does_not_run(tmp_path, trace):
    """Tags are columns: a pickle there is only bytes."""
    cache = dolium.Cache(tmp_path / "cache")
    attack = pickle.dumps(Attack(trace))
    cache.set("k", 1, tag=attack)
    assert cache.get("k", tag=True) == (1, attack)
    assert cache.evict(attack) == 1
    with pytest.raises(TypeError):
        cache.set("k", 1, tag=Attack(trace))
    cache.close()


@pytest.mark.parametrize("kind", ["Deque", "Index"])
def test_deques_and_indexes_raise_instead_of_losing(tmp_path, trace, real_diskcache, kind):
    directory = tmp_path / "cache"
    fill = (
        "d = diskcache.Deque([Attack()], sys.argv[1])"
        if kind == "Deque"
        else "d = diskcache.Index(sys.argv[1]); d[0] = Attack()"
    )
    real_diskcache(ATTACK + fill, directory, trace)
    if kind == "Deque":
        deque = dolium.Deque(directory=str(directory))
        for use in (lambda: deque[0], deque.pop, deque.popleft, deque.peek, lambda: list(deque)):
            with pytest.raises(dolium.UntrustedValueError):
                use()
        assert len(deque) == 1
        deque.cache.close()
    else:
        index = dolium.Index(str(directory))
        for use in (lambda: index[0], lambda: index.pop(0), index.popitem, lambda: list(index.values())):
            with pytest.raises(dolium.UntrustedValueError):
                use()
        assert len(index) == 1
        index.cache.close()


class Mine:
    """A class of the program's own: more than plain data."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Mine) and other.number == self.number

    def __hash__(self):
        return hash(self.number)


def test_what_we_wrote_ourselves_is_loaded(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["mine"], cache["large"] = Mine(5), [Mine(6), "x" * 100_000]
    assert (cache["mine"], cache["large"][0]) == (Mine(5), Mine(6))
    cache.close()
    assert dolium.Cache(tmp_path)["mine"] == Mine(5)
    none = dolium.Cache(tmp_path, trust="none")
    assert none.get("mine", "refused") == "refused"
    none.close()


WRITE_MINE = (
    "import collections; c = diskcache.Cache(sys.argv[1]); c['k'] = collections.UserDict(a=1); c.close()"
)


def test_trust_all_loads_what_others_wrote(tmp_path, real_diskcache):
    real_diskcache(WRITE_MINE, tmp_path)
    refusing, trusting = dolium.Cache(tmp_path), dolium.Cache(tmp_path, trust="all")
    assert refusing.get("k") is None
    assert trusting["k"].data == {"a": 1}
    assert refusing.get("k") is None
    refusing.close()
    trusting.close()
    with pytest.raises(ValueError, match="trust"):
        dolium.Cache(tmp_path, trust="some")


def test_the_real_diskcache_reads_what_we_signed(tmp_path, real_diskcache):
    cache = dolium.Cache(tmp_path)
    cache["k"] = {"a": {1, 2}}
    cache.close()
    assert real_diskcache("print(diskcache.Cache(sys.argv[1])['k'])", tmp_path) == "{'a': {1, 2}}\n"


def test_a_signature_is_bound_to_its_key(tmp_path, real_diskcache):
    """Who can write to the directory can not put a value of ours under another key."""
    cache = dolium.Cache(tmp_path)
    cache["a"], cache["b"] = Mine(1), Mine(2)
    cache.close()
    real_diskcache(
        """
        c = diskcache.Cache(sys.argv[1])
        c._sql("UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'a') WHERE key = 'b'")
        """,
        tmp_path,
    )
    cache = dolium.Cache(tmp_path)
    assert cache["a"] == Mine(1)
    assert cache.get("b") is None
    cache.close()


def test_a_signature_of_another_user_counts_for_nothing(tmp_path):
    body = """
    import collections
    cache = dolium.Cache(sys.argv[1])
    cache["k"] = collections.UserDict(a=1)
    """
    run(body, tmp_path, env={"DOLIUM_SIGNING_KEY": "11" * 32})
    cache = dolium.Cache(tmp_path)
    assert cache.get("k") is None
    cache.close()
    read = "import collections\ncache = dolium.Cache(sys.argv[1])\nassert cache['k'] == collections.UserDict(a=1)"
    run(read, tmp_path, env={"DOLIUM_SIGNING_KEY": "11" * 32})


def test_every_forged_trailer_is_refused(tmp_path, trace, real_diskcache):
    """Each bit of the trailer turned; a trailer of ours behind another pickle; only a part of it."""
    cache = dolium.Cache(tmp_path / "cache")
    cache["k"] = Mine(1)
    cache.close()
    real_diskcache(
        """
        import pickle
        c = diskcache.Cache(sys.argv[1])
        class Attack:
            def __reduce__(self):
                return (open, (sys.argv[2], "w"))
        ((value,),) = c._sql("SELECT value FROM Cache").fetchall()
        value = bytes(value)
        body, trailer = value[:-24], value[-24:]
        attack = pickle.dumps(Attack())
        forged = [attack + trailer, attack + trailer[:-1], attack + trailer * 2, value + attack, attack, b"", b".",
                  trailer, attack + bytes(24)]
        for n in range(24 * 8):
            at = len(value) - 24 + n // 8
            forged.append(value[:at] + bytes([value[at] ^ 1 << n % 8]) + value[at + 1:])
        for number, blob in enumerate(forged):
            c["k", number] = 1
            c._sql("UPDATE Cache SET value = ?, mode = 4 WHERE rowid = (SELECT MAX(rowid) FROM Cache)", (blob,))
            c._sql("INSERT OR REPLACE INTO Cache (key, raw, mode, value) VALUES (?, 1, 4, ?)", (f"f{number}", blob))
        print(len(forged))
        """,
        tmp_path / "cache",
        trace,
    )
    cache = dolium.Cache(tmp_path / "cache")
    assert cache["k"] == Mine(1)
    for key in list(cache):
        if key != "k":
            assert cache.get(key, "refused") == "refused", key
    cache.close()


# -- Rows and settings -----------------------------------------------------------------------------

ROWS = [
    ("a mode of the future", "mode = 99"),
    ("a negative mode", "mode = -1"),
    ("no mode", "mode = NULL"),
    ("a mode of text", "mode = 'x'"),
    ("text where bytes belong", "mode = 4, value = 'text'"),
    ("a number where a pickle belongs", "mode = 4, value = 5"),
    ("nothing where a pickle belongs", "mode = 4, value = NULL"),
    ("a file without a name", "mode = 2, filename = NULL, value = NULL"),
    ("a text file without a name", "mode = 3, filename = NULL, value = NULL"),
    ("a name of bytes", "mode = 2, filename = x'ff00'"),
    ("an empty name", "mode = 2, filename = ''"),
    ("a name with a null", "mode = 2, filename = CAST(x'610062' AS TEXT)"),
    ("a tag of bytes", "tag = x'ff'"),
    ("times of text", "store_time = 'x', access_time = 'y', access_count = 'z'"),
    ("times of nothing", "store_time = NULL, access_time = NULL, access_count = NULL"),
    ("an expiry of text", "expire_time = 'never'"),
    ("a size of text", "size = 'x'"),
    ("a negative size", "size = -5"),
    ("invalid UTF-8", "value = CAST(x'ff' AS TEXT)"),
    ("infinity", "value = 9e999"),
    ("a truncated pickle", "mode = 4, value = x'80059501'"),
    ("an endless pickle", "mode = 4, value = x'8005'"),
    ("a pickle of an enormous length", "mode = 4, value = x'80058effffffffffffff7f'"),
]


@pytest.mark.parametrize(("what", "change"), ROWS, ids=[what for what, _ in ROWS])
def test_an_unreadable_row_harms_no_other(tmp_path, real_diskcache, what, change):
    real_diskcache(
        """
        c = diskcache.Cache(sys.argv[1])
        c.set('bad', 'value'); c.set('ok', [1], tag='t'); c.push('first'); c.push('second')
        c._sql("UPDATE Cache SET " + sys.argv[2] + " WHERE key IN ('bad', 500000000000000)")
        """,
        tmp_path,
        change,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = dolium.Cache(tmp_path)
        cache.get("bad")
        cache.get("bad", expire_time=True, tag=True)
        "bad" in cache  # noqa: B015
        cache.info("bad")
        cache.touch("bad", 100)
        assert cache["ok"] == [1]
        assert list(cache)[:2] == ["bad", "ok"]
        cache.get_many(["bad", "ok"])
        cache.volume(), len(cache)
        cache.peek()
        cache.cull()
        cache.pull()
        cache.check()
        cache.check(fix=True)
        cache["bad"] = "good"
        assert cache["bad"] == "good"
        assert cache.evict("t") == 1
        cache.set("bad", "again")
        assert cache.pop("bad") == "again"
        cache.clear()
        assert [str(problem.message) for problem in cache.check()] == []
        cache.close()


SETTINGS = [
    ("unknown", "INSERT INTO Settings VALUES ('no_such_setting', 'x')"),
    ("unknown of bytes", "INSERT INTO Settings VALUES ('other', x'ff')"),
    ("of a newer dolium", "INSERT INTO Settings VALUES ('dolium_from_the_future', 5)"),
    ("count of text", "UPDATE Settings SET value = 'x' WHERE key = 'count'"),
    ("size of nothing", "UPDATE Settings SET value = NULL WHERE key = 'size'"),
    ("no count", "DELETE FROM Settings WHERE key = 'count'"),
    ("no settings", "DELETE FROM Settings"),
    ("limit of text", "UPDATE Settings SET value = 'x' WHERE key = 'size_limit'"),
    ("limit of a float", "UPDATE Settings SET value = 1e9 WHERE key = 'size_limit'"),
    ("unlimited", "UPDATE Settings SET value = 9e999 WHERE key = 'size_limit'"),
    ("negative", "UPDATE Settings SET value = -1 WHERE key = 'cull_limit'"),
    ("no index", "DROP INDEX Cache_key_raw"),
    ("no triggers", "DROP TRIGGER Settings_count_insert"),
]


@pytest.mark.parametrize(("what", "change"), SETTINGS, ids=[what for what, _ in SETTINGS])
def test_strange_settings_do_no_harm(tmp_path, real_diskcache, what, change):
    real_diskcache(
        "c = diskcache.Cache(sys.argv[1]); c['a'] = 1; c._sql(sys.argv[2]); c.close()", tmp_path, change
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = dolium.Cache(tmp_path)
        assert cache["a"] == 1
        cache["b"] = "x" * 50_000
        cache["b"] = 2
        assert cache["b"] == 2
        len(cache)
        cache.volume()
        cache.stats()
        cache.check(fix=True)
        assert len(cache) == 2
        assert [str(problem.message) for problem in cache.check()] == []
        cache.close()


@pytest.mark.parametrize("size", [1_000, 100_000, 20_000_000])
def test_huge_keys(tmp_path, size):
    cache = dolium.Cache(tmp_path)
    for key in ("k" * size, b"k" * size, ("k" * size, 1)):
        cache[key] = "value"
        assert cache[key] == "value"
        assert key in cache
        assert cache.delete(key) is True
    cache["k" * size] = 1
    assert [len(key) for key in cache] == [size]
    cache.close()


def test_a_key_too_large_for_sqlite_is_an_error(tmp_path):
    """1 GB is the limit of a column. The attempt changes nothing."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = 1_000_000_001 if available > 6_000_000_000 else None
    cache = dolium.Cache(tmp_path)
    cache["a"] = 1
    if size:
        with pytest.raises((dolium.DoliumError, OverflowError, ValueError)):
            cache[bytes(size)] = 1
    assert cache["a"] == 1
    assert len(cache) == 1
    cache.close()


def test_deeply_nested_keys_and_values(tmp_path):
    cache = dolium.Cache(tmp_path)
    nested = ()
    for _ in range(300):
        nested = (nested,)
    cache[nested] = nested
    assert cache[nested] == nested
    endless: list = []
    endless.append(endless)
    cache["endless"] = endless
    found = cache["endless"]
    assert found[0] is found
    for _ in range(200_000):
        nested = (nested,)
    with pytest.raises((RecursionError, pickle.PicklingError)):
        cache["too deep"] = nested
    with pytest.raises((RecursionError, pickle.PicklingError)):
        cache[nested] = 1
    assert "too deep" not in cache
    while nested:  # Python itself must not recurse when it frees it
        (nested,) = nested
    cache.close()


def test_times_of_no_meaning(tmp_path):
    cache = dolium.Cache(tmp_path)
    for expire in (float("inf"), 1e300, 10**30):
        cache.set("k", 1, expire=expire)
        assert cache.get("k") == 1
    cache.set("k", 1, expire=float("-inf"))
    assert cache.get("k") is None
    cache.set("k", 1, expire=-1e300)
    assert cache.get("k") is None
    with pytest.raises((TypeError, ValueError)):
        cache.set("k", 1, expire="soon")
    assert struct.calcsize("d") == 8
    cache.close()


def test_row_that_a_users_constraint_refuses_is_lost_alone(tmp_path):
    cache = dolium.Cache(tmp_path, hot_size=1 << 20)
    cache.set("first", 1, tag="t")
    cache._sql("CREATE UNIQUE INDEX mine ON Cache (tag)")

    def store() -> None:
        cache.set("second", 2, tag="t")
        cache.set("third", 3)
        cache.close()

    with pytest.warns(dolium.RefusedEntryWarning, match="unique"):
        store()
    assert list(cache) == ["first", "third"]
    assert cache.stats().hot.refused == 0
    cache.set("fourth", 4, tag="t")
    assert len(cache) == 2
    assert cache.stats().hot.refused == 1
    with cache.transact():
        assert len(cache) == 2  # makes it a transaction of SQLite
        with pytest.raises(dolium.DatabaseError):
            cache.set("fifth", 5, tag="t")
    assert cache.check(fix=True) == []
    assert cache.clear() == 2
