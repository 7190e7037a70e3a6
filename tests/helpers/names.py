"""Names of test cases that all workers agree on, for `pytest.mark.parametrize(..., ids=named)`."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """Returns the `repr` of a value without addresses, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:60]
