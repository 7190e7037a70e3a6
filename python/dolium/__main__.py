"""``python -m dolium``, and the command ``dolium``: the command line in Rust, run in this process."""

from __future__ import annotations

import signal
import sys

from ._dolium import _cli  # pyright: ignore[reportPrivateUsage]


def main() -> int:
    """Run the command line with the arguments of this process; return its exit code."""
    # There is no Python code to interrupt: Ctrl-C ends the process as it ends the native command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _cli(["dolium", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
