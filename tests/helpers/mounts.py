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
import tempfile
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


# The least that each mkfs agrees to, or a little more. On a disk this small ext4 would have blocks of 1 KiB, and SQLite
# reserves one block for each 4 KiB of its index that it maps: see docs/design.md.
MKFS = {
    "ext4": "truncate -s 256M image && mkfs.ext4 -q -m 0 -b 4096 image",
    "xfs": "truncate -s 300M image && mkfs.xfs -q image",
    "btrfs": "truncate -s 256M image && mkfs.btrfs -q image",
    "ext3": "truncate -s 64M image && mkfs.ext4 -q -m 0 -O ^extent,^64bit image",
}
# Those that memory may be shared on.
DISKS = ["tmpfs", "ext4", "xfs", "btrfs", "overlay"]

# In memory: a full btrfs waits for its medium at every turn. A loop device ends with its mount. What takes all but the
# room asked for is out of the child's sight.
LOOP = """mount -t tmpfs none "$1" && cd "$1" && { MKFS; } >&2 && mkdir whole && mount -o loop image whole &&
mkdir whole/disk && fallocate -x -l $(($(stat -f -c '%a * %S' whole) - {kilobytes} * 1024)) whole/rest &&
mount --bind whole/disk "$1" && cd / """

TMPFS = 'mount -t tmpfs -o size={kilobytes}k none "$1"'

OVERLAY = """cd "$1" && mkdir lower upper work &&
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none "$1" && cd / """


def small_disk(directory: Path, kilobytes: int, kind: str) -> list[str]:
    """A prefix: the child finds an empty file system with so much room at `directory`."""
    directory.mkdir(exist_ok=True)
    # An overlay is one over a tmpfs unless it says over what.
    below = "tmpfs" if kind == "overlay" else kind.removeprefix("overlay on ")
    script = LOOP.replace("MKFS", MKFS[below]) if below in MKFS else TMPFS
    script = script.replace("{kilobytes}", str(kilobytes))
    return _inside(f"{script} && {OVERLAY}" if kind.startswith("overlay") else script, directory)


@functools.cache
def lacking(kind: str) -> str | None:
    """Why this machine cannot make such a disk, or cannot use it when it is full; None: it can."""
    if _namespace() is None:
        return "this machine lets nobody make a mount namespace"
    if "btrfs" in kind and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 17):
        return "before Linux 6.17 a full btrfs has no room for mapped pages, not even reserved ones"
    with tempfile.TemporaryDirectory() as directory:
        command = [*small_disk(Path(directory) / "disk", 1000, kind), "true"]
        tried = subprocess.run(command, capture_output=True, check=False, text=True)
    return None if tried.returncode == 0 else f"no {kind} here: {tried.stderr.strip()}"


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
