"""Where a function or a class stands in its source: its node in the syntax tree.

A file is cut into its top-level statements, and only those are parsed that hold a wanted line or name, because parsing
a large module takes longer than everything else. The node of a function is the one at its code object's line
(``inspect.getsource`` cuts at the wrong place below a decorator with a lambda). If the file changed after the process
began, or is no file, it is parsed and compiled as a whole, and has to give the code that runs.
"""

from __future__ import annotations

import ast
import bisect
import linecache
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import decode_source
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from . import STARTED
from .changes import Changed, changed, may_change, mentions
from .sameness import AWAIT, codes_in, compiled, same
from .syntax import Definition, Import

# Strings, comments and continued lines, and outside of them the line breaks where a statement may begin. A break in
# brackets leaves pieces that do not parse.
_TOKEN = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^'\\]|\\.|'(?!''))*\'\'\''''
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|#[^\n]*|\\\n|\n(?=[^\s#)\]}])""",
    re.DOTALL,
)
_CONTINUES = re.compile(r"(?:else|elif|except|finally)\b")

# IPython awaits at the top level.
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Found(NamedTuple):
    """A definition in a source."""

    node: Definition
    path: str
    """Its qualified name, as the syntax says."""
    owner: ast.ClassDef | None
    """The class, if it is a method."""
    around: ast.AST
    """The top-level statement around it, or the whole source."""


class Place(NamedTuple):
    node: Definition
    path: str
    owner: ast.ClassDef | None


class Source:
    """One file, or cell of a notebook."""

    def __init__(self, name: str, text: str, stamp: os.stat_result | None) -> None:
        self.name = name
        self.text = text
        self.stamp = stamp
        self.trusted = stamp is not None and max(stamp.st_mtime, stamp.st_ctime) < STARTED - 0.1
        """Whether the file is older than the process, so that it holds what was loaded."""
        # A compiler looks at the imports of the whole module.
        self._chunks = _cut(self.text) if self.trusted else [(1, 0, len(self.text))]
        self._trees: dict[int, ast.Module] = {}
        self._codes: list[CodeType] | None = None
        self._changed: dict[int, Changed] = {}
        self._verdicts: dict[tuple[str, bool, bool], bool] = {}
        self._imports: list[tuple[str, Import]] | None = None

    def forget_trees(self) -> None:
        """Lets the memory of the syntax trees go."""
        self._trees = {}
        self._codes = None

    def codes(self) -> list[CodeType]:
        """The code objects that the source gives."""
        codes = self._codes
        if codes is None:
            whole = self.tree(0) if len(self._chunks) == 1 else _parse(self.text, self.name)
            codes = self._codes = list(codes_in(compiled(whole, self.name)))
        return codes

    def tree(self, index: int) -> ast.Module:
        """Parses one top-level statement, or the whole source if it was cut at a wrong place.

        :raises SyntaxError: if this is no source of Python.
        """
        # In this order, because another thread may find meanwhile that the cut is wrong.
        trees, chunks = self._trees, self._chunks
        found = trees.get(index)
        if found is None:
            line, start, end = chunks[min(index, len(chunks) - 1)]
            try:
                found = _parse("\n" * (line - 1) + self.text[start:end], self.name)
            except SyntaxError:
                if len(chunks) == 1:
                    raise
                self._chunks, self._trees, self._changed = [(1, 0, len(self.text))], {}, {}
                return self.tree(0)
            trees[index] = found
        return found

    def at(self, line: int) -> ast.Module:
        """The tree of the top-level statement with this line."""
        return self.tree(bisect.bisect_right(self._chunks, (line, len(self.text), 0)) - 1)

    def mentioning(self, name: str, *others: str) -> list[int]:
        """The numbers of the top-level statements with this name, and with all other words."""
        chunks = self._chunks
        if not name.isascii():  # other letters may mean the same
            return list(range(len(chunks)))
        starts = [start for _, start, _ in chunks]
        found = sorted({bisect.bisect_right(starts, place) - 1 for place in mentions(self.text, name)})
        return [
            index for index in found if all(self.text.find(word, *chunks[index][1:]) >= 0 for word in others)
        ]

    def changes(self, name: str, *, rebinds: bool, calls: bool) -> bool:
        """Says whether a function of the source changes what a name of the module stands for.

        :param rebinds: only by assigning the name.
        :param calls: also by calling any method.
        :raises SyntaxError: if this is no source of Python.
        """
        asked = name, rebinds, calls
        if asked not in self._verdicts:
            self._verdicts[asked] = self._looks_changed(*asked)
        return self._verdicts[asked]

    def _looks_changed(self, name: str, rebinds: bool, calls: bool) -> bool:
        for index in self.mentioning(name, *(["global"] if rebinds else [])):
            found = self._changed.get(index)
            if found is None:
                chunks = self._chunks
                _, start, end = chunks[min(index, len(chunks) - 1)]
                if not may_change(self.text[start:end], name, calls=calls):
                    continue
                found = self._changed[index] = changed(self.tree(index).body)
            if name in found.names or (calls and name in found.called):
                return True
        return False

    def imports(self) -> list[tuple[str, Import]]:
        """What the module imports from others by name, with ``*``.

        :raises SyntaxError: if this is no source of Python.
        """
        found = self._imports
        if found is None:
            found = list[tuple[str, Import]]()
            for index in self.mentioning("import", "from"):
                for node in _outside_of_functions(self.tree(index).body):
                    if isinstance(node, ast.ImportFrom):
                        found += [
                            (alias.asname or alias.name, Import(node.module or "", node.level, alias.name))
                            for alias in node.names
                        ]
            self._imports = found
        return found


def _outside_of_functions(body: list[Any]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if not isinstance(node, _SCOPES):
            for field in ("body", "orelse", "finalbody", "handlers"):
                yield from _outside_of_functions(getattr(node, field, []))


def _cut(text: str) -> list[tuple[int, int, int]]:
    """First line, begin and end of each top-level statement."""
    starts = [0]
    decorated = text.startswith("@")
    for match in _TOKEN.finditer(text):
        begin = match.end()
        if match[0] == "\n" and not _CONTINUES.match(text, begin):
            if not decorated:
                starts.append(begin)
            decorated = text.startswith("@", begin)
    chunks: list[tuple[int, int, int]] = []
    line = 1
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        chunks.append((line, start, end))
        line += text.count("\n", start, end)
    return chunks


def _parse(text: str, name: str) -> ast.Module:
    try:
        return compile(text, name, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)  # type: ignore[return-value]
    except SyntaxError:
        return compile(text, name, "exec", ast.PyCF_ONLY_AST | AWAIT, dont_inherit=True)  # type: ignore[return-value]


_sources: dict[str, Source] = {}


class _Checked(threading.local):
    """What the walk of a thread has looked at, whose files need no second look."""

    def __init__(self) -> None:
        self.sources: dict[str, Source | None] = {}


_checked = _Checked()


def source(name: str, namespace: dict[str, Any] | None = None, code: CodeType | None = None) -> Source | None:
    """The source with this file name: the file, or what `linecache` has."""
    checked = _checked.sources
    if name not in checked:
        checked[name] = _of_file(name) if os.path.isfile(name) else _of_session(name, namespace, code)
    return checked[name]


def _of_file(name: str) -> Source | None:
    """The source in a file, which is read again if it has changed."""
    try:
        stamp = os.stat(name)
        found = _sources.get(name)
        if found is None or found.stamp is None or _moment(found.stamp) != _moment(stamp):
            with open(name, "rb") as file:
                text = decode_source(file.read())
            found = _kept(Source(name, text if text.endswith("\n") else f"{text}\n", stamp))
    except (OSError, ValueError, SyntaxError):  # the last two where it is no text
        return None
    return found


def _moment(stamp: os.stat_result) -> tuple[int, ...]:
    return stamp.st_mtime_ns, stamp.st_ctime_ns, stamp.st_size, stamp.st_ino


def _of_session(name: str, namespace: dict[str, Any] | None, code: CodeType | None) -> Source | None:
    """The source of a cell, of a line of a session, or of a module that its loader has."""
    lines = _lines(name, namespace)
    if not lines and code is not None and (of_code := getattr(linecache, "_getlines_from_code", None)):
        lines = of_code(code)  # sessions of Python 3.13 and later
    text, found = "".join(lines), _sources.get(name)
    if not text or (found is not None and found.text == text):
        return found if text else None
    return _kept(Source(name, text, None))


def _lines(name: str, namespace: dict[str, Any] | None) -> list[str]:
    for _ in range(3):
        with suppress(KeyError):  # of `linecache`, where another thread drops the entry meanwhile
            return linecache.getlines(name, namespace)
    return []


def _kept(made: Source) -> Source:
    _sources[made.name] = made
    return made


def is_cell(name: str) -> bool:
    """Says whether a file name is that of a cell or a line of a session."""
    return name.startswith("<") or "ipykernel" in name


def forget_trees() -> None:
    """Ends a walk. Another thread that walks parses again what it needs."""
    _checked.sources = {}
    for found in list(_sources.values()):
        found.forget_trees()


def find_function(function: FunctionType) -> tuple[Source, Found] | None:
    """Finds the node of a function or lambda, or returns None if there is no source that is surely its own."""
    code = function.__code__
    origin = source(code.co_filename, function.__globals__, code)
    if origin is None:
        return None
    try:
        tree = origin.at(code.co_firstlineno)
        place = _at_line(origin, tree, code) or (None if origin.trusted else _moved(origin, tree, code))
        return None if place is None else (origin, Found(*place, _around(tree, place.node)))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _around(tree: ast.Module, node: Definition) -> ast.AST:
    for statement in tree.body:
        if _begin(statement) <= _begin(node) and _end(node) <= _end(statement):
            return statement
    return tree  # below a decorator


def _at_line(origin: Source, tree: ast.Module, code: CodeType) -> Place | None:
    line, name = code.co_firstlineno, code.co_name
    places = [
        place
        for place in _places(tree, line)
        if _first_line(place.node) == line and _name(place.node) == name
    ]
    if not places:
        return None
    if len(places) == 1 and origin.trusted:
        return places[0] if _has_parameters(places[0].node, code) else None
    compiled = [found for found in origin.codes() if found.co_firstlineno == line and found.co_name == name]
    if not any(same(found, code) for found in compiled):
        return None
    return places[0] if len(places) == 1 else _one_of(places, compiled, code)


def _one_of(places: list[Place], compiled: list[CodeType], code: CodeType) -> Place | None:
    """Chooses among several on one line: by column, before Python 3.11 by order."""
    columns = getattr(code, "co_positions", None)
    if columns is not None:
        start = code.co_firstlineno, 0  # stands for no place at all
        known = [at for at in columns() if None not in at and (at[0], at[2]) != start]
        if known:
            first, last = min((at[0], at[2]) for at in known), max((at[1], at[3]) for at in known)
            places = [
                place for place in places if _begin(_body(place.node)) <= first and last <= _end(place.node)
            ]
            return max(places, key=lambda place: _begin(place.node), default=None)
    if len(places) == len(compiled):
        for place, found in zip(places, compiled, strict=True):
            if same(found, code) and _has_parameters(place.node, code):
                return place
    return None


def _moved(origin: Source, tree: ast.Module, code: CodeType) -> Place | None:
    """Finds a function whose line is another now, because a comment was added above."""
    lines = {found.co_firstlineno for found in origin.codes() if same(found, code)}
    places = [
        place
        for place in _places(tree)
        if _name(place.node) == code.co_name and _first_line(place.node) in lines
    ]
    return places[0] if len(places) == len(lines) == 1 else None


def find_class(
    kind: type, methods: list[FunctionType], namespace: dict[str, Any]
) -> tuple[Source, Found] | None:
    """Finds the node of a class by its qualified name, and among several by its methods."""
    path = namespace.get("__file__")
    names = [path] if isinstance(path, str) else [method.__code__.co_filename for method in methods[:1]]
    for name in names or [name for name in reversed(list(linecache.cache)) if is_cell(name)]:
        origin = source(name, namespace)
        if origin is None:
            continue
        try:
            found = _class_in(origin, kind, methods)
        except (SyntaxError, ValueError, RecursionError):
            continue
        if found is not None:
            return origin, found
    return None


def _class_in(origin: Source, kind: type, methods: list[FunctionType]) -> Found | None:
    fitting: list[tuple[ast.Module, Place]] = []
    for index in origin.mentioning(kind.__name__, "class"):
        tree = origin.tree(index)
        for place in _places(tree):
            if isinstance(place.node, ast.ClassDef) and place.path == kind.__qualname__:
                fitting.append((tree, place))
    lines = {
        method.__code__.co_firstlineno for method in methods if method.__code__.co_filename == origin.name
    }
    own = [
        (tree, place)
        for tree, place in fitting
        if any(place.node.lineno <= line <= (place.node.end_lineno or 0) for line in lines)
    ]
    if not own and (line := vars(kind).get("__firstlineno__")):
        own = [(tree, place) for tree, place in fitting if _first_line(place.node) == line]
    chosen = (own or fitting)[-1:]
    for tree, place in chosen:
        if methods and not origin.trusted and not _has_methods(place, methods, origin):
            return None
        return Found(*place, _around(tree, place.node))
    return None


def _has_methods(place: Place, methods: list[FunctionType], origin: Source) -> bool:
    """Says whether a class that may have been edited still has the methods that run."""
    assert isinstance(place.node, ast.ClassDef)
    inside = {item.name for item in place.node.body if isinstance(item, _SCOPES)}
    own = [method.__code__ for method in methods if method.__code__.co_filename == origin.name]
    return all(any(same(found, code) for found in origin.codes()) for code in own if code.co_name in inside)


# Nodes.


def _places(tree: ast.Module, line: int | None = None) -> Iterator[Place]:
    """All definitions of a tree, in the order in which their code is compiled, or those whose lines are around one."""
    yield from _within(tree, "", None, line)


def _within(node: ast.AST, prefix: str, owner: ast.ClassDef | None, line: int | None) -> Iterator[Place]:
    is_definition = isinstance(node, (*_SCOPES, ast.Lambda))
    if line is not None and is_definition and not _first_line(node) <= line <= (node.end_lineno or line):
        return
    if isinstance(node, _SCOPES):
        for decorator in node.decorator_list:
            yield from _within(decorator, prefix, None, line)
        path = f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield Place(node, path, None)
            for child in node.body:
                yield from _within(child, f"{path}.", node, line)
            return
        yield from _within(node.args, prefix, None, line)
        yield Place(node, path, owner)
        for child in node.body:
            yield from _within(child, f"{path}.<locals>.", None, line)
    elif isinstance(node, ast.Lambda):
        yield from _within(node.args, prefix, None, line)
        path = f"{prefix}<lambda>"
        yield Place(node, path, owner)
        yield from _within(node.body, f"{path}.<locals>.", None, line)
    else:
        for child in _definitions(node, line):
            yield from _within(child, prefix, owner, line)


def _definitions(node: ast.AST, line: int | None) -> Iterator[ast.AST]:
    """The outermost definitions below a node, in order and without recursion."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (*_SCOPES, ast.Lambda)):
            yield node
        elif (
            line is None
            or not isinstance(node, (ast.stmt, ast.expr))
            or (node.lineno <= line <= (node.end_lineno or line))
        ):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _name(node: Definition) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _first_line(node: Definition) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _body(node: Definition) -> ast.expr | ast.stmt:
    return node.body if isinstance(node, ast.Lambda) else node.body[0]


def _begin(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _has_parameters(node: Definition, code: CodeType) -> bool:
    if isinstance(node, ast.ClassDef):
        return False
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    number = code.co_argcount + code.co_kwonlyargcount
    # Names with two underscores are mangled in a class.
    return len(names) == number and all(
        real.endswith(name) for name, real in zip(names, code.co_varnames[:number], strict=True)
    )
