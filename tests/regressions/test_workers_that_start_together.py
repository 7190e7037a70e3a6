"""Workers that start together on a new directory see one cache: one layout, one limit, one policy, nothing lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest

pytest.importorskip("django")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpers.django_settings")

import django

from . import together

django.setup()

TORTURE = bool(os.environ.get("DOLIUM_TORTURE"))
ROUNDS = 200 if TORTURE else 12
CROWDS = [4, 16] if TORTURE else [4]
TESTS = Path(__file__).parent.parent

SETTINGS: list[dict[str, Any]] = [
    {},
    {"size_limit": 20_000_000},
    {"size_limit": 30_000_000, "eviction_policy": "least-recently-used", "cull_limit": 3},
    {"eviction_policy": "least-frequently-used", "disk_min_file_size": 500},
]


class Crew:
    """Interpreters that take part in rounds."""

    def __init__(self, method: str, number: int) -> None:
        self.method = method
        self.workers = [self._start() for _ in range(number if method == "spawn" else 1)]
        for worker in self.workers:
            assert worker.stdout.readline() == "ready\n"  # type: ignore[union-attr]

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "regressions.together", self.method, str(TESTS)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=TESTS, stdin=pipe, stdout=pipe, text=True)

    def run(self, round_: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers of those that were not killed."""
        answers: list[dict[str, Any]] = []
        for index, worker in enumerate(self.workers):
            assert worker.stdin is not None
            worker.stdin.write(json.dumps({**round_, "index": index}) + "\n")
            worker.stdin.flush()
        for place, worker in enumerate(self.workers):
            assert worker.stdout is not None
            for line in worker.stdout:
                if line == "done\n":
                    break
                answers.append(json.loads(line))
                if self.method == "spawn":
                    break
            else:
                worker.wait()
                self.workers[place] = self._start()
                assert self.workers[place].stdout.readline() == "ready\n"  # type: ignore[union-attr]
        return answers

    def end(self) -> None:
        for worker in self.workers:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.close()
            worker.wait()
            worker.stdout.close()


@pytest.fixture(params=["fork", "spawn"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CROWDS)
def crew(request: pytest.FixtureRequest, method: str) -> Iterator[Crew]:
    crew = Crew(method, request.param)
    crew.number = request.param  # type: ignore[attr-defined]
    yield crew
    crew.end()


def round_of(crew: Any, directory: Path, face: str, chance: random.Random, **rest: Any) -> dict[str, Any]:
    number: int = crew.number
    jitter = chance.choice([0, 0, 0.003, 0.03, 0.3])
    (directory.parent / f"{directory.name}-opened").mkdir()
    return {
        "directory": str(directory),
        "face": face,
        "settings": {},
        "own": [{}] * number,
        "delays": [chance.uniform(0, jitter) for _ in range(number)],
        "start": time.monotonic() + 0.02,
        "kills": [None] * number,
        "waits": False,
        **rest,
    }


def alike(round_: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    """What all workers, and this process, take for settled; nothing of what the workers stored is lost."""
    assert not [answer["failed"] for answer in answers if "failed" in answer]
    # A killed worker may have left a new cache that the next opener has to complete.
    store = together.open_store(round_["face"], round_["directory"], 4, {})
    number = len(round_["own"])
    settled = together.settled(store)
    assert [answer["found"] for answer in answers] == [settled] * len(answers)
    counters, kept = together.contents(store, number)
    survivors = {answer["index"] for answer in answers}
    assert survivors <= set(kept)
    assert all(len(survivors) <= count <= number for count in counters), counters
    cache = together.inner(store)
    assert [str(problem.message) for problem in cache.check() if "empty directory" not in str(problem)] == []
    cache.close()
    return settled


def stored_in_each_shard(directory: str, name: str) -> set[Any]:
    cache = dolium.FanoutCache(directory)
    query = f"SELECT value FROM Settings WHERE key = '{name}'"
    values = [shard._sql(query).fetchall() for shard in cache._shards]
    cache.close()
    return {value for rows in values for (value,) in rows}


@pytest.mark.timeout(3600 if TORTURE else 120)
def test_workers_that_start_together_see_one_cache(tmp_path: Path, crew: Crew):
    chance = random.Random(7)
    faces = together.CACHES * 2 + together.CONTAINERS
    for number in range(ROUNDS):
        settings = SETTINGS[number % len(SETTINGS)]
        face = faces[number % len(faces)]
        round_ = round_of(crew, tmp_path / str(number), face, chance, settings=settings)
        answers = crew.run(round_)
        assert len(answers) == len(round_["own"])
        settled = alike(round_, answers)
        assert not [answer["told"] for answer in answers if answer["told"]]
        if face in together.CACHES:
            assert {name: settled[name] for name in settings} == settings
            assert settled["shards"] == (4 if face in ("FanoutCache", "DjangoCache") else 1)
        if face == "FanoutCache" and settings:
            for name, value in settings.items():
                share = value / 4 if name == "size_limit" else value
                assert stored_in_each_shard(round_["directory"], name) == {share}


@pytest.mark.timeout(3600 if TORTURE else 120)
def test_workers_that_pass_other_limits_and_shards_agree(tmp_path: Path, crew: Crew):
    chance = random.Random(8)
    for number in range(ROUNDS // 2):
        workers: int = crew.number  # type: ignore[attr-defined]
        limits = [20_000_000 + 1_000_000 * index for index in range(workers)]
        own: list[dict[str, Any]] = [{"shards": chance.choice([2, 4, 8])} for _ in limits]
        if number % 2:
            own = [{**each, "size_limit": limit} for each, limit in zip(own, limits, strict=True)]
        face = ["FanoutCache", "DjangoCache", "FanoutCache.cache"][number % 3]
        round_ = round_of(crew, tmp_path / str(number), face, chance, own=own, waits=True)
        settled = alike(round_, crew.run(round_))
        assert settled["size_limit"] in (limits if number % 2 else [2**30])
        if face != "FanoutCache.cache":
            assert settled["shards"] in {each["shards"] for each in own}


@pytest.mark.timeout(3600 if TORTURE else 120)
def test_a_killed_creator_leaves_what_the_next_completes(tmp_path: Path, crew: Crew):
    chance = random.Random(9)
    faces = together.CACHES * 2 + together.CONTAINERS
    killed = 0
    for number in range(ROUNDS):
        settings = SETTINGS[number % len(SETTINGS)]
        face = faces[number % len(faces)]
        workers: int = crew.number  # type: ignore[attr-defined]
        victims = chance.sample(range(workers), 1 if crew.method == "spawn" else workers // 2)
        kills = [chance.uniform(0.0005, 0.03) if index in victims else None for index in range(workers)]
        round_ = round_of(crew, tmp_path / str(number), face, chance, settings=settings, kills=kills)
        answers = crew.run(round_)
        killed += workers - len(answers)
        assert {answer["index"] for answer in answers} >= set(range(workers)) - set(victims)
        settled = alike(round_, answers)
        if face in together.CACHES:
            assert {name: settled[name] for name in settings} == settings
            assert settled["shards"] == (4 if face in ("FanoutCache", "DjangoCache") else 1)
    assert killed > 0
