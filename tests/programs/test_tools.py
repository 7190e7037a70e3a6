"""The tools of this repository."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"

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


def test_name_of_each_test_has_at_most_60_characters():
    names = [
        name
        for file in ROOT.glob("tests/**/*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    ]
    assert len(names) > 500
    assert [name for name in names if len(name) > 60] == []


def test_named_python_has_an_environment_of_its_own():
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "VENV", "PYTHON")
    }

    def commands(*arguments: str) -> str:
        make = ["make", "--dry-run", "python-test", *arguments]
        return subprocess.check_output(make, cwd=ROOT, env=environment, text=True)

    own = f".venvs/{platform.python_version()}{sys.abiflags}/bin/python -m pytest"
    assert own in commands(f"PYTHON={sys.executable}")
    assert "\n.venv/bin/python -m pytest" in commands()


@pytest.fixture
def machine(tmp_path):
    """Makes the only directory in PATH, with programs that are not there otherwise: name to script."""

    def machine(**programs: str) -> subprocess.CompletedProcess[str]:
        for name, script in programs.items():
            program = tmp_path / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        command = ["/bin/sh", TOOLS / "programs.sh", "tool:tool-package:the tests of the tool"]
        return subprocess.run(
            command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
        )

    return machine


def test_programs_that_are_there_are_not_installed(machine):
    done = machine(tool="", id="echo 0", apt_get='echo "$@" >&2')
    assert (done.stdout, done.stderr) == ("", "")


def test_install_of_programs_is_announced(machine, tmp_path):
    install = f'echo "$@" >>{tmp_path}/log; : >{tmp_path}/tool; /bin/chmod +x {tmp_path}/tool'
    done = machine(id="echo 0", apt_get=install)
    assert (done.stdout, done.stderr) == ("make setup: installing tool-package with apt-get\n", "")
    assert (tmp_path / "log").read_text() == "update -qq\ninstall -qq -y tool-package\n"


@pytest.mark.parametrize(
    "programs",
    [{"id": "echo 1000", "apt_get": "exit 1"}, {"id": "echo 0"}, {"id": "echo 0", "apt_get": "exit 1"}],
)
def test_programs_that_cannot_be_installed_name_what_is_left_out(machine, programs):
    done = machine(**programs)
    assert done.stderr.endswith(
        "make setup: tool-package is not installed, so this is left out: the tests of the tool\n"
    )
