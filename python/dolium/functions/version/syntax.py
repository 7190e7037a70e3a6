"""A definition's syntax tree as text that every Python writes alike, and the names that the definition reads.

The text has the nodes' names and their fields, sorted by name; empty fields, contexts and positions are left out, so a
field that a later Python adds is no change. Statements without effect (docstrings, other bare constants, ``pass``),
annotations and decorators of dolium are left out as well. There are two exceptions, because code reads these at run
time: annotations in the body of a class that is decorated or derived, and docstrings and annotations of what an
installed package decorates or derives (a model, a prompt).
"""

from __future__ import annotations

import ast
from _blake2 import blake2b  # what `hashlib` has, which loads OpenSSL first
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# What a decorator or a base class is: dolium's, of an installed package, or anything else.
Origin = Literal["dolium", "package", "other"]


class Import(NamedTuple):
    """What a name that a function imports stands for: ``from <dots><module> import <attribute>``."""

    module: str
    level: int
    attribute: str | None


class Read(NamedTuple):
    """A name that is read, with the attributes that follow it."""

    chain: tuple[str, ...]
    imported: Import | None = None


class Piece(NamedTuple):
    """A function, a method, or what a class is beside its methods."""

    suffix: str
    """The method's name, otherwise empty."""
    digest: str
    docs: str
    """All docstrings."""


class Facts(NamedTuple):
    """What the syntax of one definition says."""

    pieces: tuple[Piece, ...]
    reads: frozenset[Read]
    reads_docs: bool
    """Whether the code reads docstrings, so that they count."""


def digest_of(*texts: str) -> str:
    """The first 160 bits of BLAKE2b over texts, each with its length, in hexadecimal digits."""
    digest = blake2b(digest_size=20)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def chain_of(node: ast.AST) -> tuple[str, ...] | None:
    """``("a", "b", "c")`` for ``a.b.c``."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        return (node.id, *reversed(attributes))
    return None


def facts_of(node: Definition, origin: Callable[[ast.expr], Origin]) -> Facts:
    """Reads one definition. `origin` says whose a decorator or a base class is."""
    reader = _Reader(origin)
    return reader.read(node)


class _Scope:
    """The names of one function, class or comprehension."""

    __slots__ = ("bound", "globals", "imports", "kind", "later", "nonlocals", "open", "outer", "reads")

    def __init__(self, kind: str, outer: _Scope | None, *, open: bool = False) -> None:
        self.kind = kind
        self.outer = outer
        self.open = open
        """Whether annotations count."""
        self.bound: set[str] = set()
        self.later: set[str] = set()
        """What a statement of a class binds is visible to the next one: ``LIMIT = LIMIT`` reads the module's."""
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.imports: dict[str, Import] = {}
        self.reads: set[Read] = set()


class _Reader:
    def __init__(self, origin: Callable[[ast.expr], Origin]) -> None:
        self.origin = origin
        self.out: list[str] = []
        self.docs: list[str] = []
        self.reads_docs = False
        self.scope = _Scope("module", None)
        self.top: ast.AST | None = None
        self.pieces: list[Piece] = []

    def read(self, node: Definition) -> Facts:
        self.top = node
        self.visit(node)
        self.pieces.insert(0, self.piece(""))
        return Facts(tuple(self.pieces), frozenset(self.scope.reads), self.reads_docs)

    def piece(self, suffix: str) -> Piece:
        return Piece(suffix, digest_of("".join(self.out)), "\0".join(self.docs))

    # The text.

    def visit(self, node: ast.AST) -> None:
        kind = type(node)
        special = SPECIAL.get(kind)
        if special is None:
            self.plain(node)
        else:
            special(self, node)

    def plain(self, node: ast.AST) -> None:
        """Writes a node: its name, and its fields that are not empty."""
        out = self.out
        out.append(f"({type(node).__name__}")
        for name in _sorted.get(type(node)) or _fields(type(node)):
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            out.append(f" {name}=")
            if isinstance(value, ast.AST):
                self.visit(value)
            elif isinstance(value, list):
                self.each(value)  # type: ignore[reportUnknownArgumentType]
            else:
                out.append(_literal(value))
        out.append(")")

    def each(self, items: Iterable[Any]) -> None:
        self.out.append("[")
        for item in items:
            if isinstance(item, ast.AST):
                self.visit(item)
            else:
                self.out.append(f"{_literal(item)} ")
        self.out.append("]")

    def part(self, name: str, node: ast.AST | list[Any] | None) -> None:
        if node is None or node == []:
            return
        self.out.append(f" {name}=")
        if isinstance(node, list):
            self.each(node)
        else:
            self.visit(node)

    def body(self, statements: list[ast.stmt]) -> None:
        out = self.out
        out.append(" body=[")
        for statement in statements:
            self.visit(statement)
        out.append("]")

    def expression(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.plain(node)

    def nothing(self, node: ast.AST) -> None:
        """Leaves out a statement without effect."""

    def constant(self, node: ast.Constant) -> None:
        if node.value == "__doc__":
            self.reads_docs = True
        self.out.append(f"(Constant {_literal(node.value)})")

    def binary(self, node: ast.BinOp) -> None:
        """Writes a sum of many terms, whose tree is as deep as it has terms."""
        terms: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            terms.append(left)
            left = left.left
        self.out.append("(BinOp " * len(terms))
        self.visit(left)
        for term in reversed(terms):
            self.out.append(f" {type(term.op).__name__} ")
            self.visit(term.right)
            self.out.append(")")

    def joined(self, node: ast.JoinedStr) -> None:
        """Writes an f-string, whose constants Pythons cut differently."""
        self.out.append("(JoinedStr ")
        text = ""
        for value in node.values:
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            if text:
                self.out.append(f"{text!a} ")
                text = ""
            self.visit(value)
        if text:
            self.out.append(ascii(text))
        self.out.append(")")

    def formatted(self, node: ast.FormattedValue) -> None:
        self.out.append(f"(FormattedValue {node.conversion} ")
        self.visit(node.value)
        if isinstance(node.format_spec, ast.JoinedStr) and node.format_spec.values:
            self.visit(node.format_spec)
        self.out.append(")")

    # Names.

    def name(self, node: ast.Name) -> None:
        self.out.append(f"(Name {node.id!a})")
        if isinstance(node.ctx, ast.Load):
            self.note((node.id,))
        else:
            self.bind(node.id)

    def attribute(self, node: ast.Attribute) -> None:
        if node.attr in READS_DOCS:
            self.reads_docs = True
        chain = chain_of(node)
        if chain is None:
            self.plain(node)
            return
        self.out.append(f"(Attribute {' '.join(map(ascii, chain))})")
        self.note(chain)

    def note(self, chain: tuple[str, ...]) -> None:
        scope = self.scope
        # The body of a class runs from top to bottom: what it has bound so far is its own.
        if not (scope.kind == "class" and chain[0] in scope.bound):
            scope.reads.add(Read(chain))

    def bind(self, name: str | None, *, walrus: bool = False) -> None:
        scope = self.scope
        while walrus and scope.kind == "comprehension" and scope.outer is not None:
            scope = scope.outer
        if name is not None:
            (scope.later if scope.kind == "class" else scope.bound).add(name)

    def augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.note((node.target.id,))
        self.plain(node)

    def walrus(self, node: ast.NamedExpr) -> None:
        self.out.append(f"(NamedExpr {node.target.id!a} ")
        self.visit(node.value)
        self.out.append(")")
        self.bind(node.target.id, walrus=True)

    def binder(self, node: Any) -> None:
        """Writes a node that binds the name in its field `name` or `rest`."""
        self.plain(node)
        self.bind(getattr(node, "rest", None) if isinstance(node, ast.MatchMapping) else node.name)

    def declares(self, node: ast.Global | ast.Nonlocal) -> None:
        self.plain(node)
        (self.scope.globals if isinstance(node, ast.Global) else self.scope.nonlocals).update(node.names)

    def imports(self, node: ast.Import) -> None:
        self.plain(node)
        for alias in node.names:
            top = alias.name.partition(".")[0]
            name = alias.asname or top
            self.bind(name)
            self.scope.imports[name] = Import(alias.name if alias.asname else top, 0, None)

    def imports_from(self, node: ast.ImportFrom) -> None:
        self.plain(node)
        for alias in node.names:
            name = alias.asname or alias.name
            self.bind(name)
            self.scope.imports[name] = Import(node.module or "", node.level, alias.name)

    def enter(self, kind: str, *, open: bool = False) -> None:
        self.scope = _Scope(kind, self.scope, open=open)

    def leave(self) -> None:
        """Hands the reads of the scope that ends to those around it, as far as it does not bind them."""
        scope = self.scope
        outer = scope.outer
        assert outer is not None
        self.scope = outer
        module = outer
        while module.outer is not None:
            module = module.outer
        if scope.kind == "function":
            while outer.kind == "class" and outer.outer is not None:
                outer = outer.outer  # a function does not see the names of the class around it
        for read in scope.reads:
            name = read.chain[0]
            if read.imported is not None or name in scope.globals:
                module.reads.add(read)
            elif name in scope.nonlocals or scope.kind == "class" or name not in scope.bound:
                if not (outer.kind == "class" and name in outer.bound):
                    outer.reads.add(read)
            elif name in scope.imports:
                module.reads.add(Read(read.chain, scope.imports[name]))

    # Definitions.

    def decorators(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
        """Writes decorators, dolium's left out, and says whether one is of an installed package."""
        origins = [(decorator, self.origin(decorator)) for decorator in node.decorator_list]
        self.part("decorators", [decorator for decorator, origin in origins if origin != "dolium"])
        return any(origin == "package" for _, origin in origins)

    def docstring(self, node: Any, *, open: bool) -> None:
        text = ast.get_docstring(node, clean=False)
        if text is None:
            return
        if open:
            self.out.append(f" doc={text!a}")
        else:
            self.docs.append(text)

    def arguments(self, node: ast.arguments, *, open: bool) -> list[str]:
        """Writes parameters and defaults, which belong to the scope around the function. Returns the names."""
        names: list[str] = []
        for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            found: Any = getattr(node, kind)
            args: list[ast.arg] = [found] if isinstance(found, ast.arg) else found or []
            if args:
                self.out.append(f" {kind}={[ascii(arg.arg) for arg in args]}")
            names += [arg.arg for arg in args]
            for arg in args if open else ():
                self.part("annotation", arg.annotation)
        self.part("defaults", node.defaults)
        self.part("kw_defaults", node.kw_defaults)
        return names

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.out.append(f"({type(node).__name__} {node.name!a}")
        open = self.decorators(node)
        names = self.arguments(node.args, open=open)
        if open:
            self.part("returns", node.returns)
        self.docstring(node, open=open)
        if node is not self.top:
            self.bind(node.name)
        self.enter("function")
        self.scope.bound.update(names)
        self.body(node.body)
        self.leave()
        self.out.append(")")

    def lambda_(self, node: ast.Lambda) -> None:
        self.out.append("(Lambda")
        names = self.arguments(node.args, open=False)
        self.enter("function")
        self.scope.bound.update(names)
        self.part("body", node.body)
        self.leave()
        self.out.append(")")

    def class_(self, node: ast.ClassDef) -> None:
        self.out.append(f"(ClassDef {node.name!a}")
        made = self.decorators(node)
        bases: list[ast.expr] = [*node.bases, *(keyword.value for keyword in node.keywords)]
        open = made or any(self.origin(base) == "package" for base in bases)
        self.part("bases", node.bases)
        self.part("keywords", node.keywords)
        self.docstring(node, open=open)
        if node is not self.top:
            self.bind(node.name)
        self.enter("class", open=bool(open or node.decorator_list or bases))
        self.out.append(" body=[")
        for statement in node.body:
            self.member(statement, apart=node is self.top)
        self.out.append("]")
        self.leave()
        self.out.append(")")

    def member(self, statement: ast.stmt, *, apart: bool) -> None:
        """Writes a statement of a class. Methods of the class that is read get a piece each."""
        scope = self.scope
        if apart and isinstance(statement, FUNCTIONS):
            out, docs = self.out, self.docs
            self.out, self.docs = [], []
            self.visit(statement)
            self.pieces.append(self.piece(statement.name))
            self.out, self.docs = out, docs
        else:
            self.visit(statement)
        scope.bound |= scope.later
        scope.later.clear()

    def annotated(self, node: ast.AnnAssign) -> None:
        """Writes ``x: int = 1`` like ``x = 1``, unless a class may make fields of its annotations."""
        if self.scope.kind == "class" and self.scope.open:
            self.plain(node)
        elif node.value is not None:
            self.out.append("(Assign targets=[")
            self.visit(node.target)
            self.out.append("] value=")
            self.visit(node.value)
            self.out.append(")")
        elif isinstance(node.target, ast.Name):
            self.bind(node.target.id)

    def comprehension(self, node: ast.AST) -> None:
        self.enter("comprehension")
        self.plain(node)
        self.leave()


# Contexts follow from where a node stands, the rest is layout or for type checkers.
LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores", "type_params", "simple"}
READS_DOCS = {"__doc__", "getdoc"}
_sorted: dict[type[ast.AST], tuple[str, ...]] = {}


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    found = _sorted[kind] = tuple(sorted(set(kind._fields) - LEFT_OUT))
    return found


def _literal(value: Any) -> str:
    """A constant or an identifier. Not by `repr`, which follows the Unicode tables and refuses huge integers."""
    if type(value) is int:
        return hex(value)
    return ascii(value)


SPECIAL: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.Expr: _Reader.expression,
    ast.Pass: _Reader.nothing,
    ast.Constant: _Reader.constant,
    ast.BinOp: _Reader.binary,
    ast.JoinedStr: _Reader.joined,
    ast.FormattedValue: _Reader.formatted,
    ast.Name: _Reader.name,
    ast.Attribute: _Reader.attribute,
    ast.AugAssign: _Reader.augmented,
    ast.NamedExpr: _Reader.walrus,
    ast.ExceptHandler: _Reader.binder,
    ast.MatchAs: _Reader.binder,
    ast.MatchStar: _Reader.binder,
    ast.MatchMapping: _Reader.binder,
    ast.Global: _Reader.declares,
    ast.Nonlocal: _Reader.declares,
    ast.Import: _Reader.imports,
    ast.ImportFrom: _Reader.imports_from,
    ast.FunctionDef: _Reader.function,
    ast.AsyncFunctionDef: _Reader.function,
    ast.Lambda: _Reader.lambda_,
    ast.ClassDef: _Reader.class_,
    ast.AnnAssign: _Reader.annotated,
    ast.ListComp: _Reader.comprehension,
    ast.SetComp: _Reader.comprehension,
    ast.DictComp: _Reader.comprehension,
    ast.GeneratorExp: _Reader.comprehension,
}
