"""Sessions of IPython in processes of their own: lists of cells, and what each of them wrote."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from .children import run

BODY = """
import contextlib, io, json, os, sys
os.chdir(sys.argv[1])
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.colors = "NoColor"
shell.run_cell("%load_ext dolium")
texts = []
for cell in json.loads(sys.argv[2]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        shell.run_cell(cell, store_history=True)
    texts.append(out.getvalue())
print(json.dumps(texts), flush=True)
"""


def session(directory: Path, *cells: str, **options: Any) -> list[str]:
    """Runs cells one after another in a new process, and returns what each wrote."""
    texts = [textwrap.dedent(cell).lstrip("\n") for cell in cells]
    found: list[str] = json.loads(run(BODY, directory, json.dumps(texts), **options)[-1])
    return found


def is_restored(text: str) -> bool:
    """Says whether a cell was restored instead of run."""
    return text.startswith("restored ")
