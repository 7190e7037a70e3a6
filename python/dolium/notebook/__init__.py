"""Notebooks: ``%load_ext dolium``, then ``%%cached`` above a cell, whose effect is kept beside the notebook.

The parts: :mod:`.cell` reads the syntax, :mod:`.key` finds what makes two runs the same, :mod:`.outputs` notes what is
displayed, :mod:`.store` keeps it, :mod:`.runs` is one cell from its beginning to its end, and
:mod:`.session` is what IPython calls.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load", "unload"]

_NAME = "_dolium_session"


def load(shell: Any) -> None:
    """Adds ``%%cached`` and ``%cached_dir`` to an IPython; ``%load_ext dolium`` calls it."""
    from .session import Session

    if not hasattr(shell, _NAME):
        session = Session(shell)
        setattr(shell, _NAME, session)
        session.load()


def unload(shell: Any) -> None:
    """Takes them out again; ``%unload_ext dolium`` calls it."""
    attributes: dict[str, Any] = shell.__dict__
    session = attributes.pop(_NAME, None)
    if session is not None:
        session.unload()
