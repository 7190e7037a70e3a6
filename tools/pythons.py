"""Lists the interpreters of this machine that dolium supports: one path for each minor version.

Looks at `python3.10` and later names in PATH, and at what pyenv and uv have installed. Free-threaded builds are left
out, because dolium is not tested on them yet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

MINORS = range(10, 15)

# The two imports are what an environment needs. `sys.executable` is the interpreter behind a shim of pyenv.
QUESTION = (
    "import ensurepip, platform, sys, sysconfig, venv;"
    "free_threaded = sysconfig.get_config_var('Py_GIL_DISABLED') or 0;"
    "print(platform.python_implementation(), sys.version_info[1], free_threaded, sys.executable)"
)


def candidates() -> Iterator[str]:
    """Yields every path that may be a supported interpreter, the preferred ones first."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python"))
    for minor in MINORS:
        name = f"python3.{minor}"
        if found := shutil.which(name):
            yield found
        for folder in (pyenv, uv):
            yield from map(str, sorted(folder.glob(f"*/bin/{name}"), reverse=True))


def ask(path: str) -> tuple[int, str] | None:
    """Returns minor version and real path of a CPython with a GIL, else None: a shim of pyenv may lead nowhere."""
    done = subprocess.run([path, "-c", QUESTION], capture_output=True, text=True, check=False)
    match done.stdout.strip().split(maxsplit=3):
        case ["CPython", minor, "0", executable]:
            return int(minor), executable
    return None


def main() -> None:
    found: dict[int, str] = {}
    for path in candidates():
        if answer := ask(path):
            found.setdefault(*answer)
    print(*(found[minor] for minor in sorted(found)), sep="\n")


if __name__ == "__main__":
    main()
