"""The names of a module whose values functions of the module change, so that they are no constants.

These count, inside a function, method or lambda for which the name is not a local one:

* ``global NAME`` (``nonlocal`` for a closure's) together with anything that binds ``NAME``;
* assignment, augmented assignment, ``del``, ``for`` and ``with`` to an attribute or item: ``NAME[k] = v``,
  ``NAME.x += 1``, ``NAME[k].x[0] = v``;
* a call of a method in :data:`MUTATORS`, or with ``inplace=True``, also on an item or attribute: ``NAME.append(v)``,
  ``NAME[k].update(v)``; of any method if the value is an object of the program's own, which may change itself;
* passing ``NAME`` first to a function in :data:`CHANGERS`: ``heappush(NAME, v)``, ``setattr(NAME, "x", v)``.

Code outside of functions does not count, because it builds the constant when the module is imported. Neither does
what a function does with another name for the same value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MUTATORS = frozenset(
    """
    __delitem__ __setattr__ __setitem__ add append appendleft byteswap clear difference_update discard extend
    extendleft fill insert insert_column intersection_update itemset move_to_end partition pop popitem popleft put
    remove resize reverse rotate setdefault setfield setflags sort subtract symmetric_difference_update update
    """.split()
)
CHANGERS = frozenset(
    """
    copyto delattr delitem heapify heappop heappush heappushpop heapreplace insort insort_left insort_right place put
    put_along_axis putmask setattr setitem shuffle fill_diagonal
    """.split()
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


_ANYWHERE = re.compile(rf"\b(?:global|nonlocal|del)\b|\b(?:{'|'.join(CHANGERS)})\s*\(")
_BEFORE = re.compile(r"\bfor\b(?:(?!\bin\b).)*$|\bas\b[^:]*$")
_AFTER = re.compile(rf"(?<![=!<>])=(?!=)|\.\s*(?:{'|'.join(MUTATORS)})\s*\(|\\$")


_PART = re.compile(r"\s*[.\[]")


def mentions(text: str, name: str) -> Iterator[int]:
    """Where a text has a name, which is ASCII. An expression of its own for each name takes much longer."""
    place = text.find(name)
    while place >= 0:
        around = text[place - 1 : place] + text[place + len(name) : place + len(name) + 1]
        if not any(map(_is_word, around)):
            yield place
        place = text.find(name, place + 1)


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def may_change(text: str, name: str, *, calls: bool) -> bool:
    """Says whether it takes a syntax tree to tell if functions in `text` change a name.

    Most read it only, and that can be seen line by line: nothing is assigned or called behind the name.
    """
    if not name.isascii() or _ANYWHERE.search(text):
        return True
    for place in mentions(text, name):
        match = _PART.match(text, place + len(name))
        if match is None:
            continue
        begin = text.rfind("\n", 0, place) + 1
        end = text.find("\n", match.end())
        rest = text[match.end() - 1 : end if end >= 0 else len(text)]
        if calls or _AFTER.search(rest) or _BEFORE.search(text[begin:place]):
            return True
        if sum(map(rest.count, "([{")) > sum(map(rest.count, ")]}")):
            return True  # the line does not show it all
    return False


class Changed(NamedTuple):
    """Names that functions change."""

    names: frozenset[str]
    called: frozenset[str]
    """Names of which a method is called, whatever it does."""


def changed(nodes: Iterable[ast.AST]) -> Changed:
    """The names that functions in `nodes` change, and that are no local names of theirs."""
    names, called = set[str](), set[str]()
    for function in _functions(nodes):
        _collect(function, names, called)
    return Changed(frozenset(names), frozenset(called))


def changed_in_closures(node: ast.AST) -> Changed:
    """The names that a function changes, and that are local in one around it, both of them in `node`."""
    names, called = set[str](), set[str]()
    for function in _functions([node]):
        _collect(function, set[str](), set[str](), (names, called))
    return Changed(frozenset(names), frozenset(called))


def _collect(
    function: Function,
    names: set[str],
    called: set[str],
    inner: tuple[set[str], set[str]] | None = None,
) -> None:
    own, own_called = set[str](), set[str]()
    bound, free, nested = _parameters(function), set[str](), list[Function]()
    for node in _inside([function.body] if isinstance(function, ast.Lambda) else function.body):
        if isinstance(node, _FUNCTIONS):
            nested.append(node)
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            free.update(node.names)
        bound.update(_bound(node))
        _mutated(node, own, own_called)
    own |= free & bound
    for other in nested:
        found, found_called = set[str](), set[str]()
        _collect(other, found, found_called, inner)
        own |= found
        own_called |= found_called
        if inner is not None:
            inner[0].update(found)
            inner[1].update(found_called)
    local = bound - free
    names |= own - local
    called |= own_called - local


def _functions(nodes: Iterable[ast.AST]) -> Iterator[Function]:
    """The functions among nodes and below them that are in no other function."""
    for node in _inside(nodes):
        if isinstance(node, _FUNCTIONS):
            yield node


def _inside(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes, but not those of functions among them, of which only the function itself."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            stack.extend(ast.iter_child_nodes(node))


def _parameters(function: Function) -> set[str]:
    args = function.args
    return {
        arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg) if arg
    }


def _bound(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    name = None
    if isinstance(node, BINDERS):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return (name,) if name else ()


BINDERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def _mutated(node: ast.AST, names: set[str], called: set[str]) -> None:
    root = None
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        root = None if isinstance(node.ctx, ast.Load) else _root(node)
    elif isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and (owner := _root(function.value)) is not None:
            called.add(owner)
            if function.attr in MUTATORS or any(keyword.arg == "inplace" for keyword in node.keywords):
                names.add(owner)
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in CHANGERS and node.args:
            root = _root(node.args[0])
    if root is not None:
        names.add(root)


def _root(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
