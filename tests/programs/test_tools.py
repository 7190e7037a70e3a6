"""The tools of this repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

GOOD = "Refuse empty keys\n\nA key file without bytes signed everything.\n"


def checked(message: str, file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(message, encoding="utf-8")
    command = [sys.executable, TOOLS / "hooks" / "commit-msg", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "message",
    [
        GOOD,
        "# what git says\n" + GOOD,
        "Address what review found\n\nIt was right.",
        "fixup! whatever was there",
        "Merge branch 'work'",
    ],
)
def test_commit_message_that_keeps_the_rules_passes(tmp_path, message):
    done = checked(message, tmp_path / "message")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", "the message is empty"),
        ("Refuse empty keys", "no body follows"),
        ("Refuse empty keys\nand say so", "no body follows"),
        ("Refuse " + "very " * 14 + "empty keys\n\nWhy.", "the subject has 87 characters"),
        ("Refuse empty keys.\n\nWhy.", "ends with a full stop"),
        ("Refused empty keys\n\nWhy.", 'begins with "Refused"'),
        ("Refuses empty keys\n\nWhy.", 'begins with "Refuses"'),
        ("refuse empty keys\n\nWhy.", 'begins with "refuse"'),
        ("The key may not be empty\n\nWhy.", 'begins with "The"'),
        ("keys: refuse empty ones\n\nWhy.", 'begins with "keys:"'),
    ],
)
def test_commit_message_that_breaks_a_rule_is_refused(tmp_path, message, fault):
    done = checked(message, tmp_path / "message")
    assert done.returncode == 1
    assert fault in done.stderr


def test_list_of_pythons_names_one_for_each_version():
    done = subprocess.run([sys.executable, TOOLS / "pythons.py"], capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()
    tell = "import sys; print(sys.version_info[:2] >= (3, 10), sys.version_info[1])"
    answers = [subprocess.check_output([path, "-c", tell], text=True).split() for path in found]
    assert all(is_supported == "True" for is_supported, _ in answers)
    assert len({minor for _, minor in answers}) == len(found)
