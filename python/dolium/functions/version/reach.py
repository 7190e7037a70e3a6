"""The walk from a function to all that it reaches."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from . import Version, Watched, constant
from .boundary import Boundary, stable_name
from .changes import changed_in_closures
from .constant import IMMUTABLE, described, is_frozen, is_too_large, without_code
from .definition import Definition, called, cells_of, definition_of, methods_of, namespace_of
from .identity import ByIdentity
from .names import Binding, Namespace, defined, imported, sources_of
from .source import find_function, forget_trees
from .subject import NOTHING, attribute, is_module, subject, unwrapped
from .syntax import Import, Read, digest_of

# What a module has of itself: where it lies, not what it does.
SPECIAL = frozenset(
    "__builtins__ __cached__ __dict__ __file__ __loader__ __name__ __package__ __path__ __spec__".split()
)
CODE = (FunctionType, BuiltinFunctionType, MethodType, type, staticmethod, classmethod)
# Says whether code changes a value, also by any of its methods if it is asked with True.
Change = Callable[[bool], bool]

_versions: ByIdentity[tuple[CodeType | None, Version]] = ByIdentity()
_walk: ContextVar[Walk | None] = ContextVar("dolium_walk", default=None)
"""The walk inside of which code runs."""

PATIENCE = 1.0
"""Seconds to wait for the walk of another thread. It may wait for us, with the lock of a module that it imports."""


class _Turn:
    """The lock of the thread that walks: threads that call one function at first find its version once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def begin_again(self) -> None:
        """In a forked child, where no other thread walks."""
        self.lock = threading.Lock()


_turn = _Turn()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.begin_again)


def version_of(function: Any) -> Version:
    """See :func:`dolium.functions.version.reached`."""
    walk = _walk.get()
    if walk is not None:
        # A constant that the walk fingerprints holds this function, so it is one more that is reached.
        return Version(digest_of(walk.follow(function, "")), {})
    known = _known(function)
    if known is not None:
        return known
    turn = _turn.lock
    has_turn = turn.acquire(timeout=PATIENCE)
    try:
        return _known(function) or _found(function)
    finally:
        if has_turn:
            turn.release()


def _known(function: Any) -> Version | None:
    """The version that was found, if it holds."""
    found = _versions.get(function)
    is_known = found is not None and found[0] is getattr(function, "__code__", None) and found[1].holds()
    return found[1] if found is not None and is_known else None


def _found(function: Any) -> Version:
    code = getattr(function, "__code__", None)
    walk = Walk(function)
    token = _walk.set(walk)
    try:
        version = walk.run()
    finally:
        _walk.reset(token)
        forget_trees()
    _versions.put(function, (code, version))
    return version


class Walk:
    """One walk. What is reached goes into a queue, and a set of what is known ends circles."""

    def __init__(self, root: Any) -> None:
        self.root = root
        inner: Any = root
        while isinstance(inner, (functools.partial, MethodType, staticmethod, classmethod)):
            inner = unwrapped(inner)  # type: ignore[reportUnknownArgumentType]
        self.itself = inner
        """The function whose closure is part of the key."""
        self.home = _home(subject(root))
        self.queue: list[Callable[[], None]] = []
        self.known: dict[int, object] = {}
        self.constants: set[str] = set()
        self.parts: dict[str, set[str]] = {}
        self.docs: dict[str, set[str]] = {}
        self.labels: dict[str, str] = {}
        self.unfollowed: dict[str, str] = {}
        self.watched: list[Watched] = []
        self.reads_docs = False
        self.interactive = "IPython" in sys.modules or hasattr(sys, "ps1")

    def run(self) -> Version:
        self.follow(self.root, "")
        while self.queue:
            self.queue.pop()()
        parts: dict[str, str] = {}
        for name in sorted(self.parts):
            digests = sorted(self.parts[name]) + (sorted(self.docs.get(name, ())) if self.reads_docs else [])
            parts[name] = digests[0] if len(digests) == 1 else digest_of(*digests)
        return Version(
            digest=digest_of(*(text for pair in parts.items() for text in pair)),
            parts=parts,
            unfollowed=tuple(sorted(f"{name}: {why}" for name, why in self.unfollowed.items())),
            labels={name: self.labels[name] for name in parts},
            watched=tuple(self.watched),
        )

    def part(self, name: str, digest: str, label: str, docs: str = "") -> None:
        self.parts.setdefault(name, set()).add(digest)
        self.labels.setdefault(name, label)
        if docs:
            self.docs.setdefault(name, set()).add(digest_of(docs))

    def watch(self, where: Any, name: str, value: object, space: Namespace) -> None:
        if self.interactive or "__file__" not in space:
            self.watched.append(Watched(where, name, value))

    # Code.

    def follow(self, value: Any, name: str) -> str:
        """Follows a function or class, and what is inside a wrapper. Returns what it is called."""
        if isinstance(value, ModuleType):
            return stable_name(value.__name__)
        title = called(value) or name
        if id(value) in self.known:
            return title
        self.known[id(value)] = value
        if value is not self.root and attribute(value, "__dolium_version__") is not NOTHING:
            fixed = value.__dolium_version__
            if isinstance(fixed, str):
                self.part(title, digest_of("version", fixed), f"version of `{title.rpartition('.')[2]}`")
                return title
        if isinstance(value, FunctionType):
            self.queue.append(partial(self.function, value))
        elif isinstance(value, type):
            if self.home.owns(value.__module__):
                self.queue.append(partial(self.class_, value))
            return title
        elif value is not self.root:  # the key has what the function itself binds
            self.bound(value, name or title)
        inner = unwrapped(value)
        if inner is None and value is self.root:
            inner = None if isinstance(value, FunctionType) else subject(value)
        if inner is not None:
            self.follow(inner, name)
        if isinstance(value, FunctionType):
            self.registered(value, title)
        return title

    def bound(self, value: Any, name: str) -> None:
        """Follows what a partial, method or callable object holds beside its function."""
        if isinstance(value, (functools.partial, functools.partialmethod)):
            self.value(f"{name}(…)", (value.args, value.keywords), None)  # type: ignore[reportUnknownMemberType]
        elif isinstance(value, MethodType):
            self.value(f"{name}.__self__", value.__self__, None)
        elif self.home.owns(type(value).__module__):
            self.follow(type(value), name)

    def registered(self, function: FunctionType, name: str) -> None:
        """Follows the implementations of a `functools.singledispatch`."""
        registry = getattr(function, "registry", None)
        if (
            not isinstance(registry, Mapping)
            or function.__globals__ is not functools.singledispatch.__globals__
        ):
            return
        items: list[tuple[Any, Any]] = list(registry.items())  # type: ignore[reportUnknownArgumentType]
        for kind, implementation in items:
            to, text = self.follow(implementation, name), called(kind)
            label = f"implementation of `{name.rpartition('.')[2]}` for `{text}`"
            self.part(f"{name}[{text}]", digest_of(to), label)

    def function(self, function: FunctionType) -> None:
        space, cells = function.__globals__, cells_of(function)
        module = space.get("__name__")
        if not self.home.owns(module if isinstance(module, str) else None, function.__code__.co_filename):
            # A wrapper that a package made. What it wraps may be the program's own.
            for name, value in cells.items():
                if isinstance(value, (FunctionType, type)):
                    self.follow(value, name)
            return
        definition = definition_of(function, self.home)
        self.add(definition, is_root=function is self.itself)
        self.watch(function, "__code__", function.__code__, space)
        for read in sorted(definition.facts.reads, key=_order):
            name = read.chain[0]
            if read.imported is not None or name not in cells:
                self.read(read, space)
            elif function is not self.itself or isinstance(cells[name], ModuleType):
                # The key has the closure of the function itself, in which a module is only a name.
                self.cell(read, cells[name], function, definition.name)

    def class_(self, kind: type) -> None:
        definition = definition_of(kind, self.home)
        self.add(definition, is_root=kind is self.itself)
        space = namespace_of(kind)
        cells: dict[str, tuple[Any, FunctionType]] = {}
        for method in methods_of(kind):
            cells.update({name: (value, method) for name, value in cells_of(method).items()})
            self.watch(method, "__code__", method.__code__, space)
        for base in (*kind.__mro__[1:], type(kind)):
            self.follow(base, base.__qualname__)
        for read in sorted(definition.facts.reads, key=_order):
            if read.imported is None and read.chain[0] in cells:
                self.cell(read, *cells[read.chain[0]], definition.name)
            else:
                self.read(read, space)

    def add(self, definition: Definition, *, is_root: bool) -> None:
        self.reads_docs |= definition.facts.reads_docs
        methods: dict[str, list[tuple[str, str]]] = {}
        for piece in definition.facts.pieces:
            methods.setdefault(piece.suffix, []).append((piece.digest, piece.docs))
        word = "class" if definition.is_class else "function" if is_root else "helper"
        for suffix, found in methods.items():
            name, label = definition.name, f"{word} `{definition.path}`"
            if suffix:
                name, label = f"{name}.{suffix}", f"method `{definition.path}.{suffix}`"
            digests = [digest for digest, _ in found]  # several of a property, in order
            digest = digests[0] if len(digests) == 1 else digest_of(*digests)
            docs = "\0".join(docs for _, docs in found if docs)
            self.part(name, digest, f"{label} in {definition.file}", docs)

    # What names stand for.

    def read(self, read: Read, space: Namespace) -> None:
        """Follows a name that a function reads from its module, or that it imports itself."""
        name = read.chain[0]
        if read.imported is not None:
            value = self.imported(read.imported, space)
            title = f"{read.imported.module}.{read.imported.attribute or name}"
            if value is not NOTHING:
                self.chain(value, read, title, None)
            return
        value = space.get(name, NOTHING)
        if name not in SPECIAL and value is not NOTHING:
            self.watch(space, name, value, space)
            self.chain(
                value, read, f"{stable_name(space.get('__name__'), space)}.{name}", Binding(space, name)
            )

    def imported(self, what: Import, space: Namespace) -> Any:
        try:
            return imported(what, space, self.home)
        except Exception as error:
            self.unfollowed[what.module] = f"cannot be imported, because of {type(error).__name__}"
            return NOTHING

    def cell(self, read: Read, value: Any, function: FunctionType, owner: str) -> None:
        """Follows a name that a function reads from the one around it."""
        name = read.chain[0]

        def change(itself: bool) -> bool:
            found = find_function(function)
            if found is None:
                return False
            names = changed_in_closures(found[1].around)
            return name in names.names or (itself and name in names.called)

        if name != "__class__":
            self.chain(value, read, f"{owner}.<cell>.{name}", change)

    def chain(self, value: Any, read: Read, title: str, place: Binding | Change | None) -> None:
        """Goes through the modules at the beginning of a chain, and follows what comes then."""
        for name in (*read.chain[1:], None):
            if not is_module(value):
                break
            if not self.home.owns_module(value) or name in SPECIAL:
                return
            if name is None:
                self.unfollowed[stable_name(value.__name__)] = described(value)
                return
            space = vars(value)
            found = space.get(name, NOTHING)
            if found is NOTHING and read.imported is not None and "__path__" in space:
                found = self.imported(Import(f"{value.__name__}.{name}", 0, None), space)
            if found is NOTHING:
                return
            title, place = f"{stable_name(value.__name__)}.{name}", Binding(space, name)
            self.watch(space, name, found, space)
            value = found
        self.value(title, value, place)

    def value(self, title: str, value: Any, place: Binding | Change | None) -> None:
        """Follows a value, whatever it is. A proxy without its object raises anything."""
        try:
            self.known_value(title, value, place)
        except Exception as error:
            self.unfollowed[title] = f"cannot be looked at, because of {type(error).__name__}"

    def known_value(self, title: str, value: Any, place: Binding | Change | None) -> None:
        """Follows code by its definition, and everything else by its fingerprint."""
        fixed = attribute(value, "__dolium_version__") is not NOTHING
        if isinstance(value, CODE) or fixed or unwrapped(value) is not None:
            self.follow(value, title)
            return
        if isinstance(value, ModuleType):
            return
        own = self.home.owns(type(value).__module__)
        if own:
            self.follow(type(value), title)
        file, change = "", None
        if not isinstance(place, Binding):
            change = place
        elif place.space.get(place.name, NOTHING) is value:
            origin = defined(place, self.home)
            if origin is None:
                return
            change, (space, name) = partial(_changes, place, origin), origin
            title = f"{stable_name(space.get('__name__'), space)}.{name}"
            path = space.get("__file__")
            file = f" in `{os.path.basename(path)}`" if isinstance(path, str) else ""
        if title not in self.constants:
            self.constants.add(title)
            why = self.constant(title, value, file, change, itself=own and not is_frozen(value))
            if why:
                self.unfollowed[title] = why

    def constant(self, title: str, value: Any, file: str, change: Change | None, *, itself: bool) -> str:
        """Notes the fingerprint of a constant, or returns why it is none."""
        if is_too_large(value):
            return "is larger than 1 MiB"
        try:
            digest = constant.fingerprint(without_code(value, lambda code: self.follow(code, title))).hex()
        except Exception:  # a type without a fingerprint, or a `__fingerprint__` that fails
            return f"is {described(value)}"
        if change is not None and change(itself):
            return "changes, because a function assigns it or what it holds"
        self.part(title, digest, f"constant `{title.rpartition('.')[2]}`{file}")
        return ""


def _order(read: Read) -> tuple[str, ...]:
    return read.chain


def _home(inner: Any) -> Boundary:
    """The boundary as the innermost function sees it."""
    while (further := unwrapped(inner)) is not None:
        inner = further
    code = getattr(inner, "__code__", None)
    return Boundary(getattr(inner, "__module__", None), getattr(code, "co_filename", None))


def _changes(place: Binding, origin: Binding, itself: bool) -> bool:
    """Says whether a function of the module that reads a constant, or of that which has it, changes the value."""
    for space, name in (place, origin) if place[0] is not origin[0] else (place,):
        simple = isinstance(space.get(name), IMMUTABLE)
        for source in sources_of(space):
            try:
                if source.changes(name, rebinds=simple, calls=itself):
                    return True
            except (SyntaxError, ValueError, RecursionError):
                continue
    return False
