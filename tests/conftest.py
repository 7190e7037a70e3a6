"""What every test shares: a state directory of its own, so that no test touches the user's signing key."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable

import hypothesis
import pytest

pytest.register_assert_rewrite("helpers")

# Set before a test imports dolium, and inherited by every child.
_state = tempfile.TemporaryDirectory(prefix="dolium-tests-state-")
os.environ["XDG_STATE_HOME"] = _state.name
os.environ.pop("DOLIUM_SIGNING_KEY", None)

# Passed to the plugin before it reads `timeout` in pyproject.toml.
if "DOLIUM_TEST_PATIENCE" in os.environ:
    os.environ.setdefault("PYTEST_TIMEOUT", str(120 * float(os.environ["DOLIUM_TEST_PATIENCE"])))

# A failure must be one on every machine: no deadlines (they measure the machine), no random seeds.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-backends",
        action="store_true",
        help="runs the contract on backends that share their code with another, too",
    )


def pytest_configure(config: pytest.Config) -> None:
    # The workers of one run share a hash seed, because the order of a set is part of the names that they must agree on.
    # The processes that tests start have random ones.
    if hasattr(config, "workerinput"):
        os.environ.pop("PYTHONHASHSEED", None)
    elif config.getoption("numprocesses", None):
        os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))
    config.addinivalue_line("markers", "xdist_group(name): one worker runs all tests of a group")
    config.addinivalue_line("markers", "slow: heavy, but under a minute; runs with everything else")
    config.addinivalue_line(
        "markers", "needs(*abilities): contract tests run on the backends that have these"
    )


def pytest_unconfigure() -> None:
    _state.cleanup()


@pytest.fixture(autouse=True)
def temporary_directories_end_with_the_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache without a directory makes one below the run's base, which pytest removes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def real_diskcache() -> Callable[..., str]:
    """Runs a body with the real diskcache in another process, and returns what it printed."""
    from helpers.real_diskcache import real_diskcache

    return real_diskcache
