"""Exceptions that are answers: which ones a cache keeps, and for how long."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

from .term import Lifetime, Term, term

__all__ = ["Errors", "Failures"]

Errors = Mapping[type[Exception], Lifetime]
"""Types of exceptions, each with the lifetime of those that are stored."""


class Failures:
    """The exceptions that are stored and raised again.

    Raises:
        TypeError: a key is no class of exceptions, or a value is no lifetime.
    """

    def __init__(self, errors: Errors) -> None:
        for kind in errors:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"errors: {kind!r} is no class of exceptions; pass {{KeyError: 30}}, say")
        # An exception is fresh or forgotten: no caller is given an old one.
        self._terms = {kind: Term(term(lifetime).fresh) for kind, lifetime in errors.items()}

    def term(self, error: Exception) -> Term | None:
        """How long an exception is stored; None if such exceptions are not."""
        return next((term for kind, term in self._terms.items() if isinstance(error, kind)), None)

    def kept_term(self, error: Exception) -> Term | None:
        """The same; also None if its time is zero, or if it does not come back equal."""
        found = self.term(error)
        return found if found is not None and found.fresh > 0 and _comes_back(error) else None


def _comes_back(error: Exception) -> bool:
    """Whether type, arguments and text of an exception survive being stored."""
    try:
        again = pickle.loads(pickle.dumps(error))
        return bool(type(again) is type(error) and again.args == error.args and str(again) == str(error))
    except Exception:
        return False
