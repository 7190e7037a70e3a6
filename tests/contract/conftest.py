"""Runs each contract test on the backends able to meet it; afterwards the cache must be sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .backends import BACKENDS, Backend


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        needs = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
        wanted = [
            backend for backend in BACKENDS if not backend.repeats or metafunc.config.option.all_backends
        ]
        backends = [backend for backend in wanted if needs <= backend.able]
        assert backends, f"no backend is able to run {metafunc.definition.nodeid}"
        metafunc.parametrize("backend", backends, ids=[backend.name for backend in backends])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_cache(backend: Backend, directory: Path) -> Iterator[Callable[..., Any]]:
    """Opens the test's directory (again); what was opened is closed at the end."""
    opened: list[Any] = []

    def open_cache(**settings: Any) -> Any:
        opened.append(backend.open(directory, **settings))
        return opened[-1]

    yield open_cache
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(open_cache: Callable[..., Any]) -> Iterator[Any]:
    cache = open_cache()
    yield cache
    assert [str(problem) for problem in cache.check()] == []
