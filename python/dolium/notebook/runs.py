"""One cell, from before it begins until its effect is known: one that runs, or one whose effect was restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from .arguments import Arguments
from .cell import Cell
from .key import Key, fingerprint_of, is_code
from .outputs import Output, Recorder, Shown, replay
from .phrases import age, duration
from .store import Kept, unstorable

__all__ = ["ACTOR", "Restored", "Run"]

ACTOR: Final = "_dolium_cell"
"""The name of what a restored cell calls, as long as it runs."""


class Run:
    """A cell that runs, from before it begins until its effect is known."""

    def __init__(
        self, shell: Any, cell: Cell, arguments: Arguments, key: Key, keep: Callable[[Run, Kept], None]
    ) -> None:
        self._shell = shell
        self._keep = keep
        self._recorder = Recorder(self._shell)
        self._before: dict[str, Any] = {}
        self._began = 0.0
        self.cell = cell
        self.arguments = arguments
        self.key = key

    def begin(self) -> None:
        self._before = dict(self._shell.user_ns)
        self._recorder.begin()
        self._began = time.perf_counter()

    def end(self, result: Any) -> None:
        seconds = time.perf_counter() - self._began
        self._recorder.end()
        if result is None or not result.success or self._recorder.failed:
            return
        self._keep(self, self._effect(seconds))

    def _effect(self, seconds: float) -> Kept:
        after, before = self._shell.user_ns, self._before
        names: dict[str, Any] = {}
        modules: dict[str, str] = {}
        aliases: dict[str, tuple[str, ...]] = {}
        for name in self._bound(after):
            value = after[name]
            if isinstance(value, ModuleType):
                modules[name] = value.__name__
            elif not (name in self.cell.targets and getattr(value, "closed", False) is True):
                names[name] = value
        for name in self.key.variables:
            changed = (
                name in after and after[name] is before[name] and name not in names
            ) and fingerprint_of(name, after[name]) != self.key.variables[name]
            if changed:
                names[name] = after[name]
                others = tuple(
                    other
                    for other in self._visible(before)
                    if other != name and before[other] is before[name]
                )
                if others:
                    aliases[name] = others
        return Kept(
            names=names,
            modules=modules,
            deleted=tuple(sorted(name for name in self._visible(before) if name not in after)),
            aliases=aliases,
            outputs=self._recorder.outputs,
            seconds=seconds,
            since=time.time(),
            **self._result(),
        )

    def _bound(self, after: dict[str, Any]) -> list[str]:
        """The names that the cell has bound: those of its syntax, and those that a magic or `exec` has bound."""
        before, cell, nothing = self._before, self.cell, object()
        changed = {name for name in self._visible(after) if after[name] is not before.get(name, nothing)}
        return sorted(
            (changed | {name for name in cell.bound if name in after})
            - cell.defined
            - set(self.arguments.ignore)
        )

    def _visible(self, space: dict[str, Any]) -> Iterable[str]:
        hidden = self._shell.user_ns_hidden
        return [name for name in space if name not in hidden and not _is_history(name)]

    def _result(self) -> dict[str, Any]:
        """The value of the last expression, if it can be kept."""
        value = self._recorder.result
        can = value is not None and not unstorable_value(value)
        return {"result": value if can else None, "has_result": can}


class Restored:
    """A cell whose effect was restored: it shows what the cell had shown."""

    def __init__(self, shell: Any, kept: Kept) -> None:
        self._shell = shell
        self._kept = kept
        self.shown: Output | None = next((each for each in kept.outputs if each.kind == "result"), None)

    def show(self) -> None:
        kept = self._kept
        names = ", ".join(sorted({*kept.names, *kept.modules})) or "the output"
        print(f"restored {names} (saved {duration(kept.seconds)}, computed {age(time.time() - kept.since)})")
        replay(self._shell, kept.outputs)

    def result(self) -> Any:
        """The value of the last expression, which looks as it did."""
        shown = self.shown
        assert shown is not None
        looks = Shown(shown.data, shown.metadata)
        if not self._kept.has_result:
            return looks

        def as_kept(_: object) -> Shown:
            return looks

        self._shell.displayhook.compute_format_data = as_kept
        return self._kept.result

    def end(self, _: Any) -> None:
        hook: dict[str, Any] = self._shell.displayhook.__dict__
        hook.pop("compute_format_data", None)
        for space in (self._shell.user_ns, self._shell.user_ns_hidden):
            space.pop(ACTOR, None)


def unstorable_value(value: Any) -> str:
    """Says why a value that was displayed cannot be kept; empty if it can."""
    return "it is code" if is_code(value) else unstorable({"it": value}).partition("the cache")[0]


def _is_history(name: str) -> bool:
    """Says whether a name is one of IPython's for former inputs and outputs."""
    return name in ("In", "Out") or name.strip("_") == "" or name.lstrip("_i").isdigit()
