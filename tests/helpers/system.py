"""What the system may refuse a process: calls that fail with an error of choice, and other users."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any

NUMBERS = {
    "x86_64": {
        "fallocate": 285,
        "fchmod": 91,
        "fchown": 93,
        "fcntl": 72,
        "linkat": 265,
        "madvise": 28,
        "memfd_create": 319,
        "mmap": 9,
        "openat": 257,
        "openat2": 437,
        "statfs": 137,
    },
    "aarch64": {
        "fallocate": 47,
        "fchmod": 52,
        "fchown": 55,
        "fcntl": 25,
        "linkat": 37,
        "madvise": 233,
        "memfd_create": 279,
        "mmap": 222,
        "openat": 56,
        "openat2": 437,
        "statfs": 43,
    },
}

#: Conditions on arguments: their place, the comparison, the number.
Conditions = list[tuple[int, str, int]]

_LOAD, _RETURN = 0x20, 0x06
_JUMPS = {"==": 0x15, ">=": 0x35, "&": 0x45}
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def refuse(call: str, errno: int, conditions: Conditions) -> None:
    """From now on the system refuses this process a call whose arguments meet all conditions."""
    number = NUMBERS[platform.machine()][call]
    tests = [(0, "==", number)] + [(16 + 8 * place, how, value) for place, how, value in conditions]
    end = 2 * len(tests) + 1
    code: list[tuple[int, int, int, int]] = []
    for offset, how, value in tests:
        code.append((_LOAD, 0, 0, offset))
        code.append((_JUMPS[how], 0, end - len(code) - 1, value))
    code.append((_RETURN, 0, 0, _ERRNO | errno))
    code.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(struct.pack("=HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP" if sys.maxsize > 2**32 else "HxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    place = ctypes.create_string_buffer(header)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(place), 0, 0) == 0, ctypes.get_errno()


def in_child(job: Callable[..., Any], *arguments: Any) -> str:
    """What `job` returns, as text, in a child of its own; `""` is success, the end of a traceback is failure."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = str(job(*arguments) or "")
        except BaseException:
            told = traceback.format_exc()
        try:
            os.write(writer, told.encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return told if status == 0 else f"ended with status {status}; {told}"


def as_user(user: int, groups: list[int], umask: int, job: Callable[..., Any], *arguments: Any) -> str:
    """What `job` returns, done by another user; only root can."""

    def become() -> Any:
        os.umask(umask)
        if user:
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
        return job(*arguments)

    return in_child(become)
