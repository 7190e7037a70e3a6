"""A process without a place for its signing key trusts what it wrote itself, and its forked children do."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import dolium
import pytest

BODY = """
import dataclasses, os, sys, warnings
import dolium

@dataclasses.dataclass
class Answer:
    n: int

calls = []
caught = warnings.catch_warnings(record=True)
shown = caught.__enter__()
warnings.simplefilter("always")
cache = dolium.Cache(sys.argv[1])

@cache.memoize()
def ask(n):
    calls.append(n)
    return Answer(n)
"""


def run(directory: Path, body: str, **variables: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", BODY + textwrap.dedent(body), str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | variables,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["a file", "widened by a platform"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that is unfit for a key."""
    place = tmp_path / "state"
    if request.param == "a file":
        place.write_text("")
    else:
        keys = place / "dolium"
        keys.mkdir(parents=True)
        (keys / "signing.key").write_text("1f" * 32)
        (keys / "signing.key").chmod(0o660)
        keys.chmod(0o2770)
    return str(place)


def test_process_without_a_home_keeps_what_it_memoized(tmp_path: Path, state: str) -> None:
    said = run(
        tmp_path / "cache",
        """
        assert [ask(1), ask(1), ask(1)] == [Answer(1)] * 3 and calls == [1], calls
        cache["large"] = [Answer(n) for n in range(5000)]
        assert len(cache["large"]) == 5000
        print(*(w.message for w in shown), sep="\\n")
        """,
        XDG_STATE_HOME=state,
    )
    (warning,) = said.splitlines()
    assert [part for part in ("DOLIUM_SIGNING_KEY", "key of its own") if part not in warning] == []
    if not Path(state).is_file():
        assert [part for part in ("chmod 700", "volume") if part not in warning] == []


def test_forked_children_trust_each_other_and_their_parent(tmp_path: Path, state: str) -> None:
    """Whoever signs first: the key is the process's from the first opening of a cache."""
    run(
        tmp_path / "cache",
        """
        def wait(child):
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for turn in range(2):
            child = os.fork()
            if child == 0:
                ask(turn); ask(1000)
                os._exit(0 if calls == ([0, 1000] if turn == 0 else [1]) else 1)
            wait(child)
        assert [ask(0), ask(1)] == [Answer(0), Answer(1)] and calls == []
        """,
        XDG_STATE_HOME=state,
    )


def test_another_process_refuses_what_such_a_process_wrote(tmp_path: Path, state: str) -> None:
    run(tmp_path / "cache", "ask(1)", XDG_STATE_HOME=state)
    run(tmp_path / "cache", "ask(1); assert calls == [1], calls", XDG_STATE_HOME=state)
    key = {"XDG_STATE_HOME": state, "DOLIUM_SIGNING_KEY": "a text of many characters"}
    run(tmp_path / "cache", "ask(2); assert not shown", **key)
    run(tmp_path / "cache", "ask(2); assert calls == [], calls", **key)


@pytest.mark.parametrize("key", ["", "short", "long enough to be a key,"])
def test_opening_fails_with_a_key_that_is_too_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("DOLIUM_SIGNING_KEY", key)
    for open_cache in (dolium.Cache, dolium.FanoutCache):
        with pytest.raises(ValueError, match=r"DOLIUM_SIGNING_KEY.*at least 16"):
            open_cache(tmp_path / "cache")


def test_foreign_pickle_is_told_of_the_key_before_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "cache['answer'] = Answer(1)", DOLIUM_SIGNING_KEY="a text of many characters")
    with dolium.Cache(tmp_path) as cache, pytest.warns(dolium.UntrustedValueWarning) as caught:
        assert cache.get("answer") is None
    message = str(caught[0].message)
    assert 0 < message.index("DOLIUM_SIGNING_KEY") < message.index('trust="all"'), message
