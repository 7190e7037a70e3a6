"""Small and read-only file systems, each in a mount namespace of its own child: nothing of it outlives the test.

As root the permission bits of files hold nobody back, so read-only directories are tested by a child without
the capability to override them, and by a mount.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@functools.cache
def _namespace() -> tuple[str, ...] | None:
    unshare = shutil.which("unshare")
    for flags in (["-m"], ["-Urm"]) if unshare else ():
        command = (str(unshare), *flags)
        tried = subprocess.run(
            [*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return command
    return None


needs_mounts = pytest.mark.skipif(
    _namespace() is None, reason="this machine lets nobody make a mount namespace"
)


def _inside(script: str, directory: Path) -> list[str]:
    """A command prefix that runs what follows after `script` in a namespace of its own."""
    namespace = _namespace()
    assert namespace is not None
    return [*namespace, "sh", "-c", f'{script} && shift && exec "$@"', "sh", str(directory)]


def small_disk(directory: Path, kilobytes: int) -> list[str]:
    """A prefix: the child finds an empty file system of that size at `directory`."""
    directory.mkdir(exist_ok=True)
    return _inside(f'mount -t tmpfs -o size={kilobytes}k none "$1"', directory)


def read_only_mount(directory: Path) -> list[str]:
    """A prefix: the child finds the directory as it is, and can change nothing in it."""
    return _inside('mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"', directory)


def obey_permissions() -> None:
    """For `preexec_fn`: a child of root loses the power to override permission bits."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP


def snapshot(directory: Path, *, directories: bool = True) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything that a write would change. Never of a live cache in our own process: see the architecture."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_dir() and not directories:
            continue
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (
            status.st_mtime_ns,
            status.st_size,
            status.st_mode,
            content,
        )
    return found


assert sys.platform == "linux", "the faults are made with Linux's means"
