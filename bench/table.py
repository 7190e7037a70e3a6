"""The figures of a run as Markdown: the promises first, then every row, those that dolium loses included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from measure import BULKS, FULL, QUICK

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    factor: float = 1.0  # from the figure to what is shown
    rate: bool = False  # operations per second: more is better


@dataclass(frozen=True)
class Promise:
    title: str
    key: str
    times: float
    rival: str = "diskcache"
    rate: bool = False
    rival_key: str | None = None
    rival_factor: float = 1.0


MANY = FULL.many
BULK_CALLS = {
    "fill_many": "new keys in the fastest way offered",
    "set_many": "old keys in the fastest way offered",
    "set_each": "old keys by set",
    "get_many": "keys by get_many",
    "get_each": "keys by get",
    "add_many": "old keys by add_many",
    "delete_many": "keys by delete_many",
    "delete_each": "keys by delete",
}
ROWS = (
    Row("get", "get, hit, 100 bytes, one of 2,000 keys in use"),
    Row("get_bare", "the bare call through PyO3"),
    Row("get_beside", "get, hit, in turn with the bare call"),
    Row("get_rust", "get, hit, from Rust"),
    Row("get_wide", "get, hit, 100 bytes, any key of the stock, just opened"),
    Row("get_miss", "get, miss"),
    Row("get_tuple", "get, a tuple as a memoized function makes it"),
    Row("get_lru", "get, least recently used"),
    Row("get_lfu", "get, least frequently used"),
    Row("get_cold", "get, hit, a key that was not read since opening"),
    Row("get_again", "the same key again"),
    Row("memoize", "call of a memoized function"),
    Row("get_many", "get_many of 1,000"),
    Row("get_large", "get, 300 kB"),
    Row("set", "set, 100 bytes, over an old value"),
    Row("set_burst", f"set, {MANY:,} in a row after a pause"),
    Row("page", "the first store to a page of memory after such a pause"),
    Row("set_new", "set, 100 bytes, a new key"),
    Row("set_sustained", f"set, {FULL.sustained:,} new keys until all are in files"),
    Row("set_large", "set, 300 kB"),
    Row("set_many", f"set {MANY:,} in the fastest way offered"),
    Row("set_new", f"set {MANY:,} one by one", MANY),
    Row("incr", "incr"),
    Row("delete", "delete"),
    Row("iterate", "iterate over 100,000 keys", 100_000),
    Row("open", "open and close a cache of 100,000"),
    Row("open_get", "the same with one get"),
    Row("import", "import"),
    Row("lock", "Lock, taken and released"),
    Row("rlock", "RLock, taken and released"),
    Row("lock_rate", "8 processes on one Lock, acquires per second", rate=True),
    Row("counter_rate", "8 processes, increments of one counter per second", rate=True),
    Row("push", "push, 100 bytes"),
    Row("pull", "pull"),
    Row("peek", "peek"),
    Row("deque_append", "append to a Deque"),
    Row("deque_append_full", "append to a Deque at its maxlen"),
    Row("deque_popleft", "popleft from a Deque"),
    Row("deque_at", "an item of a Deque of 1,000, by position"),
    Row("transact_two", "a transaction of a set and an incr"),
    Row("evict_ten", "ten sets with a tag, and evict of the tag"),
    *(
        Row(f"set_{state}_{policy}{worst}", f"set, {title}, {order}{', the worst' if worst else ''}")
        for policy, order in (
            ("stored", "least recently stored"),
            ("used", "least recently used"),
            ("read", "least frequently used"),
        )
        for state, worst, title in (
            ("below", "", "far below the size limit"),
            ("full", "", "at the size limit"),
            ("full", "_worst", "at the size limit"),
        )
    ),
    Row("queue_rate", "8 processes that push and pull one queue, operations per second", rate=True),
    Row("mix_rate", "8 processes, operations per second", rate=True),
    Row("mix_set_p50", "8 processes, set, median"),
    Row("mix_set_p99", "8 processes, set, 99 % under"),
    Row("mix_set_p999", "8 processes, set, 99.9 % under"),
    *(
        Row(f"{key}_{count}", f"{count:,} {title}, each")
        for key, title in BULK_CALLS.items()
        for count in BULKS
    ),
)
LMDB = "py-lmdb, unsynced"
PROMISES = (
    Promise("get, hit", "get", 40),
    Promise("get, hit", "get", 15, rival="pysciqlop-cache"),
    Promise("get, hit", "get", 4, rival=LMDB),
    Promise(
        "get, hit, against a bare call that copies the bytes",
        "get_beside",
        1 / 1.6,
        "dolium",
        rival_key="get_bare",
    ),
    Promise("get from Rust, hit, against a dict in Python", "get_rust", 1 / 2, "dict", rival_key="get"),
    Promise("get of a memoize-like tuple key", "get_tuple", 60),
    Promise("get, least recently used, against get", "get_lru", 1 / 1.15, "dolium", rival_key="get"),
    Promise("get, least frequently used, against get", "get_lfu", 1 / 1.15, "dolium", rival_key="get"),
    Promise("get of a key that only the database has", "get_cold", 3),
    Promise("set, a burst", "set_burst", 150),
    Promise("set, a burst", "set_burst", 60, rival="pysciqlop-cache"),
    Promise("set, a burst", "set_burst", 5, rival=LMDB),
    Promise(f"set, {FULL.sustained:,} new keys", "set_sustained", 12),
    Promise(f"set_many of {MANY:,}, against sets", "set_many", 15, rival_key="set_new", rival_factor=MANY),
    Promise("Lock, taken and released", "lock", 10),
    Promise("RLock, taken and released", "rlock", 10),
    Promise("8 processes on one Lock", "lock_rate", 10, rate=True),
    Promise("8 processes, increments of one counter", "counter_rate", 30, rate=True),
    Promise("8 processes, 90 % get 9 % set 1 % delete", "mix_rate", 20, rate=True),
    Promise("8 processes, 90 % get 9 % set 1 % delete", "mix_rate", 3, rival=LMDB, rate=True),
    Promise("8 processes, 99.9 % of sets under", "mix_set_p999", 20),
    Promise("get of a missing key", "get_miss", 1 / 0.8, rival=LMDB),
    Promise("call of a memoized function", "memoize", 40),
    *(
        Promise(
            f"set at the size limit, {policy}, against far below",
            f"set_full_{policy}",
            0.5,
            "dolium",
            rival_key=f"set_below_{policy}",
        )
        for policy in ("stored", "used", "read")
    ),
    *(
        Promise(
            f"{call}_many of {count:,}, against a loop",
            f"{call}_many_{count}",
            1 / 0.8,
            "dolium",
            rival_key=f"{call}_each_{count}",
        )
        for call in ("get", "set")
        for count in BULKS
    ),
    Promise("push", "push", 10),
    Promise("pull", "pull", 10),
    Promise("Deque append", "deque_append", 10),
    Promise("Deque append at its maxlen", "deque_append_full", 10),
    Promise("Deque popleft", "deque_popleft", 10),
    Promise("an item of a Deque by position", "deque_at", 50),
    Promise("a transaction of a set and an incr", "transact_two", 10),
    Promise("ten sets and evict of their tag", "evict_ten", 15),
    Promise("8 processes that push and pull one queue", "queue_rate", 10, rate=True),
    Promise("opening an existing cache", "open", 20),
)


def markdown(run: dict[str, Any]) -> str:
    machine, rounds = run["machine"], len(run["rounds"])
    mixes = sum("mix_rate" in figures.get("dolium", {}) for figures in run["rounds"])
    head = [
        f"# dolium beside other caches, {run['date'][:10]}, commit {run['commit']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"{machine['filesystem']}, Python {machine['python']}; load before the run {machine['load_before']:.1f}.",
        f"Medians of {rounds} rounds (of 8 processes: {mixes}), turn by turn, each cache in processes of its own; "
        "`make bench` made it"
        f"{', with --quick: ' + format(QUICK.stock, ',') + ' entries instead of 100,000' if run['quick'] else ''}.",
        "",
    ]
    return "\n".join([*head, *promises(run), "", *everything(run), "", *remarks(run), ""])


def promises(run: dict[str, Any]) -> list[str]:
    medians: dict[str, Figures] = run["medians"]
    lines = ["| promise | dolium | | rival | times better | at least | |", "|---|--:|---|--:|--:|--:|---|"]
    for promise in PROMISES:
        ours = medians.get("dolium", {}).get(promise.key)
        theirs = medians.get(promise.rival, {}).get(promise.rival_key or promise.key)
        if ours is None or theirs is None:
            continue
        theirs *= promise.rival_factor
        ratio = ours / theirs if promise.rate else theirs / ours
        shown = [f"{figure:,.0f}" if promise.rate else clock(figure) for figure in (ours, theirs)]
        verdict = "kept" if ratio >= promise.times else "**missed**"
        whose = "" if promise.rival == "dolium" else promise.rival
        lines.append(
            f"| {promise.title} | {shown[0]} | {whose} | {shown[1]} | {ratio:.3g} | {promise.times:.2g} | {verdict} |"
        )
    opening = run["opening"]
    if opening.get("dolium") and opening.get("diskcache"):
        ours, theirs = opening["dolium"]["open"], opening["diskcache"]["open"]
        verdict = "kept" if not ours else "**missed**"
        lines.append(f"| writes to files on opening | {ours} | diskcache | {theirs} | | 0 | {verdict} |")
    return lines


def everything(run: dict[str, Any]) -> list[str]:
    medians: dict[str, Figures] = run["medians"]
    names = list(medians)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for row in ROWS:
        found = {name: medians[name][row.key] * row.factor for name in names if row.key in medians[name]}
        rivals = [figure for name, figure in found.items() if name != "dict"]
        best = (max if row.rate else min)(rivals, default=None)
        cells: list[str] = []
        for name in names:
            figure = found.get(name)
            text = "–" if figure is None else f"{figure:,.0f}" if row.rate else clock(figure)
            cells.append(f"**{text}**" if figure == best and figure is not None else text)
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    cells = [writes(run["opening"].get(name)) for name in names]
    lines.append("| writes to files, on open + on close | " + " | ".join(cells) + " |")
    for key, title in (("mix_errors", "calls that raised"), ("counter_lost", "increments that were lost")):
        counts = [medians[name].get(key) for name in names]
        if any(counts):
            cells = ["–" if count is None else f"{count:,.0f}" for count in counts]
            lines.append(f"| 8 processes, {title} | " + " | ".join(cells) + " |")
    return lines


def remarks(run: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)
    lines = [
        f"Versions: {versions}.",
        "",
        "Bold: the best of the caches that processes share (dict is there for scale). A dash: not offered.",
        "py-lmdb has a transaction for each call and neither expiry nor eviction; synced, it waits for the disk at",
        "each write, which no other does. Redis keeps nothing on disk here. `one by one` is the time of one set,",
        "multiplied. Writes are system calls; SQLite's index in shared memory, the file -shm, is left out for all.",
        "diskcache_rs overwrites in two steps, between which readers in other processes miss. The bare call is one",
        "through PyO3 (bench/bare) that finds the same bytes in a mapped table of one process and copies them.",
        "A burst stores to some 700 pages of shared memory, and to the interpreter's own. If the first store to a page",
        "after a pause takes microseconds, the machine is a virtual one whose host watches which memory is written.",
    ]
    lines += [f"\n{name} could not be measured: {why}" for name, why in run["failed"].items()]
    return lines


def writes(counts: dict[str, int] | None) -> str:
    return "–" if counts is None else f"{counts['open']} + {counts['close']}"


def clock(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            number = seconds / size
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
