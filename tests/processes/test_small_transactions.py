"""Transactions of a few keys, which live in the hot tier: of several processes, with readers, forks and kills."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import dolium
import pytest

ACCOUNTS = [f"account {number}" for number in range(6)]
TOTAL = 100 * len(ACCOUNTS)

spawn = multiprocessing.get_context("spawn")


def filled(directory: Path) -> dolium.Cache:
    cache = dolium.Cache(directory, timeout=60)
    for account in ACCOUNTS:
        cache[account] = 100
    return cache


def transfer(directory: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    with dolium.Cache(directory, timeout=60) as cache:
        for _ in range(count):
            one, other = chance.sample(ACCOUNTS, 2)
            amount = chance.randrange(10)
            with cache.transact(retry=True):
                cache[one] = cache[one] - amount
                if chance.random() < 0.02:
                    len(cache)  # from here on it is a transaction of SQLite
                cache.incr(other, amount, retry=True)


def processes(directory: Path, count: int, transfers: int) -> list[multiprocessing.process.BaseProcess]:
    started = [spawn.Process(target=transfer, args=(directory, seed, transfers)) for seed in range(count)]
    for process in started:
        process.start()
    return started


def balance(cache: dolium.Cache) -> int:
    return sum(cache.get_many(ACCOUNTS).values())


def test_no_money_is_lost_between_processes_that_transfer_it(tmp_path: Path):
    cache = filled(tmp_path)
    started = processes(tmp_path, 4, 300)
    looks = 0
    while any(process.is_alive() for process in started):
        assert balance(cache) == TOTAL
        looks += 1
    for process in started:
        process.join()
        assert process.exitcode == 0
    assert looks > 3
    assert balance(cache) == TOTAL
    assert cache.check() == []
    cache.close()


def test_no_money_is_lost_when_processes_are_killed(tmp_path: Path):
    cache = filled(tmp_path)
    for round_ in range(4):
        started = processes(tmp_path, 2, 1_000_000)
        end = time.monotonic() + 10
        before = cache.stats().hot.sets
        while cache.stats().hot.sets < before + 50 and time.monotonic() < end:
            assert balance(cache) == TOTAL
        for process in started:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            assert balance(cache) == TOTAL
        for process in started:
            process.join()
        assert balance(cache) == TOTAL
        if round_ % 2:
            cache.close()
            assert sum(cache[account] for account in ACCOUNTS) == TOTAL
    assert cache.check() == []
    cache.close()


def test_fork_inside_a_small_transaction_leaves_it_to_the_parent(tmp_path: Path):
    cache = filled(tmp_path)
    with cache.transact():
        cache["account 0"] = 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                cache.get("account 0")
            except dolium.ForkedError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        cache.incr("account 1")
        assert cache["account 0"] == 1
    assert (cache["account 0"], cache["account 1"]) == (1, 101)
    cache.close()


@pytest.mark.parametrize("many", [False, True])
def test_a_transaction_that_raises_changes_nothing(tmp_path: Path, many: bool):
    cache = filled(tmp_path)

    @cache.transact()
    def change() -> None:
        cache["account 0"] = 0
        del cache["account 1"]
        cache["new"] = 1
        if many:
            assert sorted(cache) == sorted({*ACCOUNTS, "new"} - {"account 1"})
        cache["absent"]

    with pytest.raises(KeyError, match="absent"):
        change()
    assert balance(cache) == TOTAL
    assert "new" not in cache
    cache.close()


def test_other_calls_inside_a_small_transaction_belong_to_it(tmp_path: Path):
    cache = filled(tmp_path)

    @cache.transact()
    def change() -> None:
        cache["account 0"] = 0
        with dolium.Lock(cache, "lock"):
            assert cache["account 0"] == 0
        cache.push("item")
        cache.set_many({"account 1": 0, "new": 1})
        assert cache.pull()[1] == "item"
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        change()
    assert balance(cache) == TOTAL
    assert len(cache) == len(ACCOUNTS)
    cache.close()


def test_recipes_that_use_transactions_go_on(tmp_path: Path):
    cache = dolium.Cache(tmp_path)
    averager = dolium.Averager(cache, "average")
    for value in (1, 2, 3):
        averager.add(value)
    assert averager.get() == 2
    before = cache.stats().hot.direct
    for value in (4, 5):
        averager.add(value)
    assert averager.pop() == 3
    assert cache.stats().hot.direct == before, "these are small"
    cache.close()
