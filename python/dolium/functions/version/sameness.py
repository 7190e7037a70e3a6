"""Code objects of a source, and whether one does the same as a code object that runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final

from .subject import kind_of

AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
"""The flag with which notebooks compile their cells."""


def compiled(tree: ast.Module, name: str) -> CodeType:
    try:
        return compile(tree, name, "exec", dont_inherit=True)
    except SyntaxError:
        return compile(tree, name, "exec", AWAIT, dont_inherit=True)


def codes_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_in(constant)


def same(one: CodeType, other: CodeType) -> bool:
    """Says whether two code objects do the same, wherever they stand."""
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and one.co_cellvars == other.co_cellvars
        and one.co_argcount == other.co_argcount
        and one.co_posonlyargcount == other.co_posonlyargcount
        and one.co_kwonlyargcount == other.co_kwonlyargcount
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same_constant, one.co_consts, other.co_consts))
    )


def _same_constant(one: Any, other: Any) -> bool:
    kind = kind_of(one)
    if kind is not kind_of(other):
        return False
    if kind is CodeType:
        return one.co_name == other.co_name and same(one, other)
    if kind is tuple:
        return len(one) == len(other) and all(map(_same_constant, one, other))
    return one == other if kind is frozenset else repr(one) == repr(other)
