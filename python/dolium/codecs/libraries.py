"""Optional libraries, imported when a codec uses them. They bring no types along that a checker could rely on."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["library"]


def library(name: str) -> Any:
    """The module of that name."""
    return import_module(name)
