"""The part of IPython: it finds cells that begin with ``%%cached``, and runs or restores them.

The first line becomes a call that the syntax tree of the cell keeps; the tree is looked at right before it runs. So a
cell that runs is run by IPython as ever: with top-level await, magics, shell commands and its own tracebacks.
"""

from __future__ import annotations

import ast
import linecache
import sys
from importlib import import_module
from typing import Any, Final

from ..errors import DoliumError
from ..functions.version.constant import IMMUTABLE
from .arguments import USAGE, Arguments, parse
from .cell import Cell, defines_with, read_cell
from .key import Key, UnidentifiedError, key_of
from .runs import ACTOR, Restored, Run
from .store import Kept, Store, default_directory, unstorable

__all__ = ["Session"]

MAGIC: Final = "%%cached"


class Session:
    """What `%load_ext dolium` adds to one IPython."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._store: Store | None = None
        self._directory: str | None = None
        self._raw = ""
        self._ending: Any = None

    # Loading

    def load(self) -> None:
        shell = self._shell
        shell.input_transformers_cleanup.append(self.marked)
        shell.ast_transformers.append(self)
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)
        shell.register_magic_function(self.cached, "line_cell", "cached")
        shell.register_magic_function(self.cached_dir, "line", "cached_dir")

    def unload(self) -> None:
        shell = self._shell
        shell.input_transformers_cleanup.remove(self.marked)
        shell.ast_transformers.remove(self)
        shell.events.unregister("pre_run_cell", self.before)
        shell.events.unregister("post_run_cell", self.after)
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop("cached", None)
        shell.magics_manager.magics["line"].pop("cached_dir", None)
        self._forget()

    # Magics

    def cached(self, line: str, cell: str | None = None) -> None:
        """Keeps what a cell computes, and restores it when the cell runs again: here, or in a new kernel.

            %%cached [name] [--expire 1d] [--version v] [--files a.csv ...] [--ignore name ...] [--again]

        A cell runs again if its code has changed, a variable that it reads, or a function or class of the notebook that
        it uses. Comments and layout do not count. Kept are the variables that it binds or changes, and all that it
        displays. Imports and definitions run each time.

        * `name` is what the result is called in the cache.
        * `--expire`: the result is forgotten after that time (90s, 10min, 6h, 1d, 2w).
        * `--version`: another text is another result.
        * `--files`: the contents of these files count, too.
        * `--ignore`: these variables neither count nor are kept.
        * `--again`: the cell runs whatever is kept.
        """
        if cell is None:
            raise DoliumError(f"%cached needs a cell below it. Write {USAGE}")
        self._shell.run_cell(f"{MAGIC} {line}\n{cell}")

    def cached_dir(self, line: str) -> str:
        """Says where the results of cells are, or puts them into another directory: `%cached_dir path`."""
        if line.strip():
            self._forget()
            self._directory = line.strip()
        return self._open().directory

    def _open(self) -> Store:
        if self._store is None:
            self._store = Store(self._directory or default_directory())
        return self._store

    def _forget(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    # One cell

    def marked(self, lines: list[str]) -> list[str]:
        """Turns a first line of ``%%cached`` into a call. It is asked for cells that do not run, too."""
        if not lines or not lines[0].startswith(MAGIC) or lines[0][len(MAGIC) :].strip().endswith("?"):
            return lines
        if lines[0][len(MAGIC) :][:1].strip():
            return lines  # another magic, whose name begins alike
        words = lines[0][len(MAGIC) :].strip()
        body: list[str] = lines[1:]
        if body and body[0].startswith("%%"):
            transformer: Any = import_module("IPython.core.inputtransformer2")
            body = transformer.cell_magic(body)
        return [f"get_ipython().run_line_magic('cached', {words!r})\n", *body]

    def before(self, info: Any) -> None:
        """Notes the text of the cell that comes, and ends what a cell without an end has left."""
        self._end(None)
        self._raw = info.raw_cell

    def visit(self, tree: ast.Module) -> ast.Module:
        """Looks at a cell before it runs. Nothing that goes wrong here keeps the cell from running."""
        line = _line_of(tree)
        if line is None:
            return tree
        tree.body = tree.body[1:]
        if not self._raw.startswith(MAGIC):
            self.tell("not cached: %%cached is no first line here. Put it above other magics")
            return tree
        try:
            return self._looked_at(tree, parse(line))
        except Exception as error:
            self.fail(error)
        return tree

    def _looked_at(self, tree: ast.Module, arguments: Arguments) -> ast.Module:
        shell, cell, store = self._shell, read_cell(tree.body), self._open()
        key = key_of(cell, arguments, shell.user_ns, shell.user_ns_hidden)
        if not arguments.again and store.find(arguments.name, key.digest):
            kept = self._restored(cell, store, arguments, key)
            if kept is not None:
                return self._replayed(kept)
        self._ending = Run(shell, cell, arguments, key, self.kept)
        self._ending.begin()
        return tree

    def _restored(self, cell: Cell, store: Store, arguments: Arguments, key: Key) -> Kept | None:
        """Runs the definitions, and binds what was kept; None if it cannot be read."""
        space, name = self._shell.user_ns, self._name()
        # A default or a class variable may be a variable that the cell binds or changes: that comes first.
        changing = {name for name in key.variables if not isinstance(space.get(name), IMMUTABLE)}
        changing |= cell.bound - cell.defined
        later = [each for each in cell.definitions if defines_with(each) & changing]
        for definition in cell.definitions:
            if definition not in later:
                _execute(definition, name, space)
        kept = store.read(arguments.name, key.digest)
        if kept is None:
            return None
        modules = {name: import_module(module) for name, module in kept.modules.items()}
        for changed, others in kept.aliases.items():
            old = space.get(changed)
            for other in others:
                if other in space and space[other] is old:
                    space[other] = kept.names[changed]
        space.update(modules)
        space.update(kept.names)
        for gone in kept.deleted:
            space.pop(gone, None)
        for definition in later:
            _execute(definition, name, space)
        space.update({name: value for name, value in kept.names.items() if name not in cell.defined})
        return kept

    def _replayed(self, kept: Kept) -> ast.Module:
        """A cell that shows what was kept."""
        space, hidden = self._shell.user_ns, self._shell.user_ns_hidden
        actor = Restored(self._shell, kept)
        space[ACTOR] = hidden[ACTOR] = actor
        self._ending = actor
        calls = [f"{ACTOR}.show()"]
        if actor.shown is not None:
            calls.append(f"{ACTOR}.result()")
        return ast.parse("\n".join(calls))

    def _name(self) -> str:
        """The file name of the cell that is about to run, under which its source can be found."""
        shell = self._shell
        text = shell.transform_cell(self._raw)
        count = shell.execution_count
        for number in (count - 1, count):
            name: str = shell.compile.get_code_name(self._raw, text, number)
            if name in linecache.cache:
                return name
        return "<cached cell>"

    def after(self, result: Any) -> None:
        """Ends the cell. `result` says whether it went well."""
        self._end(result)

    def _end(self, result: Any) -> None:
        ending, self._ending, self._raw = self._ending, None, ""
        if ending is None:
            return
        try:
            ending.end(result)
        except Exception as error:
            self.fail(error)

    def kept(self, run: Run, kept: Kept) -> None:
        """Stores what a run has computed, and says so if it cannot be."""
        if not self._open().keep(run.arguments.name, run.key.digest, kept, run.arguments.expire):
            self.tell(f"not cached: {unstorable(kept.names)}. Name it after --ignore if it is not needed")

    def fail(self, error: Exception) -> None:
        """Says why a cell is not cached."""
        if isinstance(error, UnidentifiedError):
            self.tell(f"not cached: {error} Name it after --ignore if it does not count")
        else:
            self.tell(f"not cached: {type(error).__name__}: {error}")

    def tell(self, text: str) -> None:
        """One line below the cell."""
        print(text, file=sys.stderr)


def _line_of(tree: ast.Module) -> str | None:
    """The words after ``%%cached``, if that is what a cell begins with."""
    first = tree.body[0] if tree.body else None
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Call):
        return None
    arguments = [node.value for node in first.value.args if isinstance(node, ast.Constant)]
    is_magic = getattr(first.value.func, "attr", "") == "run_line_magic" and arguments[:1] == ["cached"]
    return str(arguments[1]) if is_magic and len(arguments) == 2 else None


def _execute(statement: ast.stmt, name: str, space: dict[str, Any]) -> None:
    exec(compile(ast.Module(body=[statement], type_ignores=[]), name, "exec"), space)
