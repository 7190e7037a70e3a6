"""Names of test cases that all workers agree on, for `pytest.mark.parametrize(..., ids=named)`."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """Returns the `repr` of a value without what differs from process to process: addresses, the order of a set."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(named, value))})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:60]
