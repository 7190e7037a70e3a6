"""Copy the docstrings of the native module into its stub, so that editors show them; ``--check`` only compares.

The docstrings are written once, in Rust. Editors read the stub and never the compiled module. `make types` checks
that both say the same, `make stub` copies.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from dolium import _dolium  # pyright: ignore[reportPrivateUsage]

STUB = Path(__file__).parent.parent / "python/dolium/_dolium.pyi"

Documented: TypeAlias = "ast.ClassDef | ast.FunctionDef"


def is_public(node: ast.AST) -> bool:
    return isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")


def documented(owner: Any, nodes: list[ast.stmt]) -> Iterator[tuple[Documented, str]]:
    """The public classes and functions of the stub, each with the docstring that the native module has."""
    for node in nodes:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and is_public(node):
            native = getattr(owner, node.name)
            yield node, inspect.cleandoc(native.__doc__ or "")
            if isinstance(node, ast.ClassDef):
                yield from documented(native, node.body)


def differing(module: ModuleType, stub: str) -> list[tuple[Documented, str]]:
    """The nodes of a stub whose docstrings are not those of the module, or are nowhere."""
    pairs = documented(module, ast.parse(stub).body)
    return [(node, text) for node, text in pairs if not text or ast.get_docstring(node) != text]


def with_docstring(lines: list[str], node: Documented, text: str) -> list[str]:
    """The lines of a stub in which `node` has the docstring `text`, instead of an old one or of an ellipsis."""
    first = node.body[0]
    is_replaced = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start, end = first.lineno - 1, (first.end_lineno or first.lineno) if is_replaced else first.lineno - 1
    head = lines[start][: first.col_offset].rstrip() if is_replaced else ""
    written = f'{"r" if chr(92) in text else ""}"""{text}' + ('\n"""' if "\n" in text else '"""')
    docstring = textwrap.indent(written, " " * (node.col_offset + 4)).splitlines()
    return [*lines[:start], *filter(None, [head]), *docstring, *lines[end:]]


def main() -> int:
    stub = STUB.read_text()
    found = differing(_dolium, stub)
    if "--check" in sys.argv:
        for node, text in found:
            what = "has another docstring in Rust; run `make stub`" if text else "has no docstring in Rust"
            print(f"{STUB}:{node.lineno}: {node.name} {what}", file=sys.stderr)
        return bool(found)
    lines = stub.splitlines()
    for node, text in sorted(found, key=lambda pair: -pair[0].lineno):
        if text:
            lines = with_docstring(lines, node, text)
    STUB.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
