"""Programs that were written for diskcache, run with dolium in its place."""

from __future__ import annotations

import textwrap
from typing import Any

from .children import run

AS_DISKCACHE = "import os, sys, dolium\ndolium.install_as_diskcache()\n"


def program(body: str, *arguments: object, **options: Any) -> list[str]:
    """Runs code that says `import diskcache`, with dolium in its place."""
    return run(textwrap.dedent(body), *arguments, prelude=AS_DISKCACHE, **options)
