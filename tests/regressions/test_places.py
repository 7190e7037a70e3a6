"""A directory is one place: a relative one is made absolute once, when the cache is opened."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import dolium
import pytest

CLASSES = [
    dolium.Cache,
    dolium.FanoutCache,
    dolium.Index,
    lambda directory: dolium.Deque(directory=directory),
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The name of a directory to go to, below the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    return "elsewhere"


@pytest.mark.parametrize("open_it", CLASSES)
@pytest.mark.parametrize("name", ["rel", "./rel", "a/../rel", "rel/", Path("rel")])
def test_the_directory_is_absolute_from_the_start(open_it, name, elsewhere, tmp_path):
    (tmp_path / "a").mkdir()
    opened = open_it(name)
    assert os.path.isabs(opened.directory)
    assert os.path.samefile(opened.directory, tmp_path / "rel")
    os.chdir(elsewhere)
    assert os.path.samefile(opened.directory, tmp_path / "rel")


def test_absolute_directories_are_what_was_passed(tmp_path):
    for name in (f"{tmp_path}/c", f"{tmp_path}/./c", f"{tmp_path}//c/"):
        assert dolium.Cache(name).directory == name


def test_named_parts_stay_after_chdir(elsewhere, tmp_path):
    fanout = dolium.FanoutCache("fan", shards=2)
    os.chdir(elsewhere)
    fanout.cache("c")["a"] = 1
    fanout.deque("d").append(1)
    fanout.index("i")["a"] = 1
    fanout["a"] = fanout._shards[0]["b"] = 1
    assert os.listdir() == []
    parts = (fanout.cache("c"), fanout.deque("d"), fanout.index("i"), fanout._shards[0])
    assert all(part.directory.startswith(f"{tmp_path}/fan/") for part in parts)


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_stay_after_chdir(make_copy, elsewhere):
    cache, fanout = dolium.Cache("rel"), dolium.FanoutCache("fan", shards=2)
    deque, index = dolium.Deque("ab", "deque"), dolium.Index("index", a=1)
    cache["a"] = fanout["a"] = 1
    os.chdir(elsewhere)
    assert make_copy(cache)["a"] == make_copy(fanout)["a"] == 1
    assert list(make_copy(deque)) == list(deque.copy()) == ["a", "b"]
    assert dict(make_copy(index)) == {"a": 1}
    assert os.listdir() == []


def test_a_pickle_from_before_chdir_stays(elsewhere):
    cache = dolium.Cache("rel")
    cache["a"] = 1
    sent = pickle.dumps(cache)
    cache.close()
    os.chdir(elsewhere)
    assert pickle.loads(sent)["a"] == 1


@pytest.mark.parametrize("open_it", [*CLASSES, lambda directory: dolium.Cache(directory, read_only=True)])
def test_an_empty_name_is_an_error_at_once(open_it, elsewhere, monkeypatch):
    monkeypatch.setenv("NOTHING", "")
    for name in ("", "$NOTHING", "${NOTHING}"):
        with pytest.raises(FileNotFoundError, match="the name of the directory is empty") as caught:
            open_it(name)
        assert isinstance(caught.value, dolium.DoliumError)
        assert caught.value.errno == 2
    assert os.listdir() == ["elsewhere"]


def test_django_without_a_location_is_an_error(elsewhere):
    with pytest.raises(FileNotFoundError, match="empty"):
        dolium.DjangoCache("", {})
    assert os.listdir() == ["elsewhere"]


def test_the_command_line_refuses_an_empty_name(elsewhere):
    Path("elsewhere/entries").touch()
    for arguments in (
        ["stats", ""],
        ["set", "", "a", "b"],
        ["info", ""],
        ["import", "", "elsewhere/entries"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "dolium", *arguments], check=False, capture_output=True, text=True
        )
        assert done.returncode == 2, arguments
        assert "is empty" in done.stderr
    assert os.listdir() == ["elsewhere"]
