"""``python -m dolium``, and the command ``dolium``: the command line in Rust, run in this process."""

from __future__ import annotations

import sys

from . import _dolium


def main() -> int:
    """Run the command line with the arguments of this process; return its exit code."""
    return _dolium._cli(["dolium", *sys.argv[1:]])  # pyright: ignore[reportPrivateUsage]


if __name__ == "__main__":
    sys.exit(main())
