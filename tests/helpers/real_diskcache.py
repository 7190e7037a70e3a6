from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def real_diskcache() -> Callable[..., str]:
    """Runs a body with the real diskcache in another process, and gives what it printed."""

    def run(body: str, *arguments: object) -> str:
        return subprocess.run(
            [sys.executable, "-c", "import diskcache, sys\n" + textwrap.dedent(body), *map(str, arguments)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    return run
