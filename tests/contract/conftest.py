"""Runs each contract test on the faces able to meet it; afterwards the cache must be sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .backends import FACES, Face


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "face" in metafunc.fixturenames:
        needs = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
        faces = [face for face in FACES if needs <= face.able]
        assert faces, f"no face is able to run {metafunc.definition.nodeid}"
        metafunc.parametrize("face", faces, ids=[face.name for face in faces])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_cache(face: Face, directory: Path) -> Iterator[Callable[..., Any]]:
    """Opens the test's directory (again); what was opened is closed at the end."""
    opened: list[Any] = []

    def open_cache(**settings: Any) -> Any:
        opened.append(face.open(directory, **settings))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(open_cache: Callable[..., Any]) -> Iterator[Any]:
    cache = open_cache()
    yield cache
    assert [str(problem) for problem in cache.check()] == []
