"""What a function is where there is no source: its bytecode and that of the functions inside it.

The digest differs between Python versions, and docstrings count in it.
"""

from __future__ import annotations

from types import CodeType

from .syntax import Facts, Piece, Read, digest_of


def facts_of_code(*codes: CodeType) -> Facts:
    """Reads code objects. The names are those of globals and of attributes, because bytecode keeps them together."""
    names = {name for code in codes for name in _names(code)}
    free = {name for code in codes for name in code.co_freevars}
    reads = {Read((name,)) for name in names | free} | {
        Read((name, other)) for name in names for other in names
    }
    return Facts((Piece("", digest_of(*map(_text, codes)), ""),), frozenset(reads), False)


def _text(code: CodeType) -> str:
    parts = [
        code.co_name,
        code.co_code.hex(),
        getattr(code, "co_exceptiontable", b"").hex(),
        ascii(code.co_names),
        ascii(code.co_varnames),
        ascii(code.co_freevars),
        ascii(code.co_cellvars),
        f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}",
        *map(_constant, code.co_consts),
    ]
    return digest_of(*parts)


def _constant(value: object) -> str:
    if isinstance(value, CodeType):
        return f"code {_text(value)}"
    if isinstance(value, tuple):
        return f"tuple {[_constant(item) for item in value]}"  # type: ignore[reportUnknownVariableType]
    if isinstance(value, frozenset):
        return f"frozenset {sorted(_constant(item) for item in value)}"  # type: ignore[reportUnknownVariableType]
    return hex(value) if type(value) is int else ascii(value)


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
