"""Runs the real diskcache, always in a process of its own: two copies of SQLite must not share a live file."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def real_diskcache(body: str, *arguments: object) -> str:
    """Runs a body of Python with diskcache imported, and returns what it printed."""
    return subprocess.run(
        [sys.executable, "-c", "import diskcache, sys\n" + textwrap.dedent(body), *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
