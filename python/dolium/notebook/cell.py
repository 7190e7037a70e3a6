"""What a cell's syntax says: a digest of its code, the names it may read from before, and which statements define.

A name counts as read if a path through the cell may read it before the cell has bound it. Where the order is not
certain (the body of a function, a loop that may not run), it counts: a value too many in the key costs a computation,
one too few would give a wrong result.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ..functions.version.syntax import FUNCTIONS, Definition, Origin, facts_of

__all__ = ["Cell", "Chain", "read_cell"]

Chain = tuple[str, ...]
"""A name with the attributes that follow it: ``("module", "function")``."""

IMPORTS: Final = (ast.Import, ast.ImportFrom)
SUPPRESSING: Final = frozenset({"suppress", "raises", "assertRaises"})
"""Context managers after which the end of their block may not have been reached."""
MAGICS: Final = frozenset({"run_line_magic", "run_cell_magic", "system", "getoutput", "getsystem"})
SETUP: Final = frozenset({"matplotlib", "load_ext", "reload_ext", "config", "autoreload", "pylab"})
"""Line magics that set up the session as an import does."""
WORD: Final = re.compile(r"[^\W\d]\w*")


class Cell(NamedTuple):
    """One cell, read."""

    digest: str
    """Of the code; comments, layout and docstrings do not count."""
    reads: frozenset[Chain]
    """The names that the cell may read before it binds them."""
    definitions: tuple[ast.stmt, ...]
    """Statements that define or import and compute nothing. They run on a hit, too."""
    defined: frozenset[str]
    """The names that these statements bind, where no other statement binds them."""
    bound: frozenset[str]
    """The names that a statement binds. Those that a magic or `exec` may bind are not among them."""
    targets: frozenset[str]
    """The names after ``with … as``: a file that is closed is not kept."""


def read_cell(statements: list[ast.stmt]) -> Cell:
    """Reads the statements of a cell, without running anything."""
    whole = ast.FunctionDef(name="cell", args=_no_arguments(), body=statements, decorator_list=[])
    flow = _Flow()
    flow.block(statements)
    definitions = [statement for statement in statements if is_definition(statement)]
    others: set[str] = set()
    for statement in statements:
        if not is_definition(statement):
            others |= _names_bound(statement)
    defined: set[str] = set()
    for statement in definitions:
        defined |= _names_bound(statement)
    return Cell(
        facts_of(whole, _no_origin).pieces[0].digest,
        frozenset(flow.reads),
        tuple(definitions),
        frozenset(defined - others),
        frozenset(others | defined),
        frozenset(flow.targets),
    )


def is_definition(statement: ast.stmt) -> bool:
    """Says whether a statement imports, defines, or sets up the session, so that it runs on a hit as well."""
    if isinstance(statement, IMPORTS):
        return True
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return not any(isinstance(node, ast.Await) for node in _evaluated(statement))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        name, texts = _magic(statement.value)
        return name == "run_line_magic" and bool(texts) and texts[0] in SETUP
    if isinstance(statement, (ast.If, ast.Try)):  # a choice between imports
        blocks = [statement.body, statement.orelse]
        if isinstance(statement, ast.Try):
            blocks += [statement.finalbody, *(handler.body for handler in statement.handlers)]
        inner = [each for block in blocks for each in block]
        return any(isinstance(each, IMPORTS) for each in inner) and all(
            is_definition(each) or isinstance(each, ast.Pass) or _is_constant(each) for each in inner
        )
    return False


def defines_with(statement: ast.stmt) -> set[str]:
    """The names that a definition reads while it is executed: in decorators, defaults and the body of a class."""
    return {node.id for node in _evaluated(statement) if isinstance(node, ast.Name) and _is_load(node)}


def _evaluated(statement: ast.AST) -> Iterable[ast.AST]:
    """The nodes of a definition that are evaluated when it is executed: not the bodies of functions."""
    if isinstance(statement, (*FUNCTIONS, ast.Lambda)):
        for part in (*getattr(statement, "decorator_list", []), statement.args):
            yield from _evaluated(part)
        return
    yield statement
    for child in ast.iter_child_nodes(statement):
        yield from _evaluated(child)


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)


def _is_load(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def _no_arguments() -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])


def _no_origin(_: ast.expr) -> Origin:
    return "other"


def _names_bound(statement: ast.AST) -> set[str]:
    """The names of the cell that a statement may bind. Those of functions and classes in it are their own."""
    flow = _Flow()
    flow.statement(statement)
    return flow.ever


def _magic(call: ast.Call) -> tuple[str, list[str]]:
    """The method of IPython that a magic or shell command became, and its texts."""
    function = call.func
    if not (
        isinstance(function, ast.Attribute)
        and function.attr in MAGICS
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        return "", []
    texts = [node.value for node in call.args if isinstance(node, ast.Constant)]
    return function.attr, [text for text in texts if isinstance(text, str)]


class _Flow:
    """Goes through statements in the order in which they run, and notes what may be read before it is bound."""

    def __init__(self) -> None:
        self.reads: set[Chain] = set()
        self.bound: set[str] = set()
        """Bound for certain at this point."""
        self.ever: set[str] = set()
        self.targets: set[str] = set()

    def block(self, statements: Iterable[ast.AST]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.AST) -> None:
        special = getattr(self, f"on_{type(node).__name__.lower()}", None)
        if special is not None:
            special(node)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)

    # Names

    def bind(self, *names: str) -> None:
        self.bound.update(names)
        self.ever.update(names)

    def target(self, node: ast.AST) -> None:
        """Binds the names of a target, and reads what a subscript or an attribute in it is of."""
        if isinstance(node, ast.Name):
            self.bind(node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for element in node.elts:
                self.target(element)
        elif isinstance(node, ast.Starred):
            self.target(node.value)
        elif isinstance(node, ast.expr):
            self.expression(_as_load(node))

    def read(self, chain: Chain) -> None:
        if chain[0] not in self.bound:
            self.reads.add(chain)

    def definition(self, node: Definition) -> None:
        for read in facts_of(node, _no_origin).reads:
            if read.imported is None:
                self.read(read.chain)

    def expression(self, node: ast.expr | None) -> None:
        if node is None:
            return
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                name, texts = _magic(inner)
                for text in texts[name.startswith("run_") :]:  # without the name of the magic
                    for word in WORD.findall(text):
                        self.read((word,))
            elif isinstance(inner, ast.NamedExpr):
                # What it binds may be read in the same expression before.
                loads = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and _is_load(name)}
                if inner.target.id in loads:
                    self.read((inner.target.id,))
        self.definition(ast.Lambda(args=_no_arguments(), body=node))
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self.ever.add(inner.target.id)

    # Statements

    def on_assign(self, node: ast.Assign) -> None:
        self.expression(node.value)
        for target in node.targets:
            self.target(target)

    def on_annassign(self, node: ast.AnnAssign) -> None:
        self.expression(node.annotation)
        self.expression(node.value)
        if node.value is not None:
            self.target(node.target)

    def on_augassign(self, node: ast.AugAssign) -> None:
        self.expression(_as_load(node.target))
        self.expression(node.value)
        self.target(node.target)

    def on_delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self.expression(_as_load(target))
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Del):
                    self.bound.discard(name.id)

    def on_functiondef(self, node: Any) -> None:
        self.definition(node)
        self.bind(node.name)

    on_asyncfunctiondef = on_classdef = on_functiondef

    def on_import(self, node: ast.Import) -> None:
        self.bind(*(alias.asname or alias.name.partition(".")[0] for alias in node.names))

    def on_importfrom(self, node: ast.ImportFrom) -> None:
        self.bind(*(alias.asname or alias.name for alias in node.names if alias.name != "*"))

    def on_typealias(self, node: Any) -> None:
        self.bind(node.name.id)

    # Paths

    def paths(self, *blocks: Iterable[ast.AST]) -> None:
        """Goes through blocks of which one runs: what each of them binds is bound."""
        before, after = set(self.bound), list[set[str]]()
        for block in blocks:
            self.bound = set(before)
            self.block(block)
            after.append(self.bound)
        self.bound = set[str].intersection(*after)

    def on_if(self, node: ast.If) -> None:
        self.expression(node.test)
        self.paths(node.body, node.orelse)

    def on_for(self, node: Any) -> None:
        self.expression(node.iter)
        before = set(self.bound)
        self.target(node.target)
        self.block(node.body)
        self.bound = before
        self.paths(node.orelse, ())

    on_asyncfor = on_for

    def on_while(self, node: ast.While) -> None:
        self.expression(node.test)
        self.paths(node.body, node.orelse, ())

    def on_with(self, node: Any) -> None:
        before, sure = set(self.bound), True
        for item in node.items:
            self.expression(item.context_expr)
            call: ast.AST = item.context_expr
            while isinstance(call, ast.Call):
                call = call.func
            sure &= getattr(call, "attr", getattr(call, "id", "")) not in SUPPRESSING
            if item.optional_vars is not None:
                self.target(item.optional_vars)
                if isinstance(item.optional_vars, ast.Name):
                    self.targets.add(item.optional_vars.id)
        self.block(node.body)
        if not sure:
            self.bound = before

    on_asyncwith = on_with

    def on_try(self, node: Any) -> None:
        before = set(self.bound)
        self.block([*node.body, *node.orelse])
        after = [self.bound]
        for handler in node.handlers:
            self.bound = set(before)
            self.expression(handler.type)
            if handler.name:
                self.bind(handler.name)
            self.block(handler.body)
            if handler.name:
                self.bound.discard(handler.name)
            if not handler.body or not isinstance(handler.body[-1], ast.Raise):
                after.append(self.bound)
        self.bound = set(before)
        self.block(node.finalbody)
        self.bound |= set[str].intersection(*after)

    on_trystar = on_try

    def on_match(self, node: ast.Match) -> None:
        self.expression(node.subject)
        before = set(self.bound)
        for case in node.cases:
            self.bound = set(before)
            for inner in ast.walk(case.pattern):
                if isinstance(inner, ast.expr):
                    self.expression(inner)
                name = getattr(inner, "rest" if isinstance(inner, ast.MatchMapping) else "name", None)
                if isinstance(name, str):
                    self.bind(name)
            self.expression(case.guard)
            self.block(case.body)
        self.bound = before


def _as_load(node: ast.expr) -> ast.expr:
    """A target as it is read: `x[i] = 1` reads `x` and `i`."""
    if isinstance(node, ast.Name):
        return ast.Name(id=node.id, ctx=ast.Load())
    return node
