"""Writes the seeds of the fuzz targets: what the tests of the package read, a file for each.

Those of the target `tier_records` are logs that the hot tier wrote. Run `python fuzz/seeds.py` in the environment
of the tests.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import struct
import sys
import tempfile
from pathlib import Path

import dolium

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from package.test_trust import CONTAINERS, OPCODES, PLAIN  # noqa: E402


def write(target: str, seeds: set[bytes]) -> None:
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def pickles() -> set[bytes]:
    shared = (("ab",) * 3, frozenset(range(3)))
    values = [*PLAIN, PLAIN[:20], (shared, shared), [{1: {2: {3, 4}}}], frozenset(map(str, range(40)))]
    seeds = {pickle.dumps(value, protocol) for value in values for protocol in (0, 5)}
    seeds |= {pickletools.optimize(pickle.dumps(shared, protocol)) for protocol in (4, 5)}
    seeds |= {b"\x80\x05" + value + b"." for value in CONTAINERS.values()} | set(OPCODES.values())
    # A set in two batches, and a list that doubles with each level.
    seeds |= {pickle.dumps((set(range(1200)),), 5), b"\x80\x05](K\x01e\x94" + b"](h\0h\0e\x94" * 9 + b"."}
    return {seed for seed in seeds if len(seed) < 4096}


def frames() -> set[bytes]:
    """The stored bytes of one value by each codec."""
    from dolium.codecs import Codec
    from package.test_codecs import FILTERS, VALUES

    found: set[bytes] = set()
    with (
        tempfile.TemporaryDirectory() as directory,
        dolium.Cache(directory, disk_min_file_size=1 << 30) as cache,
    ):
        for encoder, values in VALUES.values():
            for filters in FILTERS.values():
                cache._keep_result(
                    "key", values[-1], expire=None, fresh_until=1e9, seconds=1, tag=None, raised=False, since=None,
                    codec=Codec(encoder, *filters),
                )  # fmt: skip
                ((stored,),) = cache._sql("SELECT value FROM Cache").fetchall()
                found.add(bytes(stored))
    return {seed for seed in found if len(seed) < 4096}


def messages() -> set[bytes]:
    def head(code: int, size: str, number: float) -> bytes:
        return struct.pack(">B" + size, code, number)

    numbers = [b"\0", b"\x7f", b"\xe0", b"\xff"]
    numbers += [head(0xCC + at, "BHIQ"[at], 2 ** (8 << at) - 1) for at in range(4)]
    numbers += [head(0xD0 + at, "bhiq"[at], -(2 ** ((8 << at) - 1))) for at in range(4)]
    numbers += [head(0xCA, "f", 1.5), head(0xCB, "d", 1.5)]
    texts = [b"\xa3abc", b"\xd9\3abc", b"\xda\0\3abc", b"\xdb\0\0\0\3abc", b"\xa1\xff"]
    texts += [b"\xc4\3abc", b"\xc5\0\3abc", b"\xc6\0\0\0\3abc"]
    plain = [*numbers, *texts, b"\xc0", b"\xc2", b"\xc3"]
    arrays = [
        b"\x90",
        b"\x9d" + b"".join(plain[:13]),
        b"\xdc\0\2\1\2",
        b"\xdd\0\0\0\2\1\2",
        b"\x91" * 99 + b"\1",
    ]
    maps = [b"\x80", b"\x82\xa1a\1\2\x91\3", b"\xde\0\1\x91\1\2", b"\xdf\0\0\0\1\1\2"]
    damaged = [
        b"\xc1",
        b"\xd4\1\2",
        b"\xc7\1\2\3",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\1",
        b"\xc6\xff",
    ]
    return {*plain, *arrays, *maps, *damaged}


def logs() -> set[bytes]:
    """What `fuzz_records` takes: the form, fields of the header, the index, and the log of a real tier."""
    seeds: set[bytes] = set()
    for count in range(1, 9):
        with tempfile.TemporaryDirectory() as directory:
            cache = dolium.Cache(directory, hot_size=64 << 10)
            for number in range(count):
                cache.set(f"key {number}", [number, "text" * number, 1.5 * number, b"x" * 90][number % 4])
                cache.set(number, "tagged", expire=60 * number, tag=[None, "tag", 5][number % 3])
            cache.delete("key 0")
            content = (Path(directory) / "cache.hot").read_bytes()
            cache.close()
        log = content[-(64 << 10) :]
        log = log[: len(log.rstrip(b"\0")) // 16 * 16 + 16]
        units = 64 + 0x1C0
        applied = int.from_bytes(log[24:30], "little") - 1
        form = struct.pack("<Q", count & 3 | (units - 64) << 8 | applied << 32)
        head = units + len(log) // 16
        fields = struct.pack("<8Q", head, units, units, applied + 2 * count + 1, applied, 0, 0, 1)
        seeds.add(form + fields + bytes(64 << (count & 3)) + log)
    return seeds


if __name__ == "__main__":
    write("pickle", pickles())
    write("frame", frames())
    write("msgpack", messages())
    write("tier_records", logs())
