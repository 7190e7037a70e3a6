"""What every test shares: a state directory of its own, so that no test touches the user's signing key."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from fnmatch import fnmatch
from pathlib import Path

import hypothesis
import pytest

# Before anything imports dolium, and inherited by every child.
_state = tempfile.TemporaryDirectory(prefix="dolium-tests-state-")
os.environ["XDG_STATE_HOME"] = _state.name
os.environ.pop("DOLIUM_SIGNING_KEY", None)

# A failure must be one on every machine: no deadlines (they measure the machine), no random seeds.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: heavy, but under a minute; runs with everything else")
    config.addinivalue_line("markers", "needs(*abilities): contract tests run on the faces that have these")


# What is known to fail is run and reported, but does not hide what fails newly.
KNOWN_FAILURES = [
    line
    for line in (Path(__file__).parent / "known_failures.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and any(fnmatch(item.nodeid, pattern) for pattern in KNOWN_FAILURES):
        report.outcome = "skipped"
        report.wasxfail = "tests/known_failures.txt"
    return report


def pytest_unconfigure() -> None:
    _state.cleanup()


@pytest.fixture(autouse=True)
def temporary_directories_end_with_the_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is given no directory makes one: below the run's base, which pytest clears away."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))
