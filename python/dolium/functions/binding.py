"""How the arguments of a call become the values of parameters: a function that is compiled once, from the signature.

`inspect.Signature.bind` takes 6 µs for a call. A function with the same signature lets the interpreter bind,
in a tenth of that, and its errors are those of the call itself.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from .standard import EMPTY, content

__all__ = ["Binding", "Rule", "compile_binding"]

Rule = Mapping[str, Callable[[Any], object] | None] | Callable[..., object] | None
"""How the arguments of a call count: ``None`` leaves a parameter out, a function replaces its value.
One function for all takes the arguments of the call, and returns what stands for them."""


class Binding:
    """The parameters of a function that count, and how a call gives them values."""

    __slots__ = ("bind", "labels", "names", "straight")

    bind: Callable[..., tuple[Any, ...]]
    """Takes the arguments of a call, and returns what counts of each, in order of the names."""
    names: tuple[str, ...]
    labels: tuple[str, ...]
    """What errors call the values."""
    straight: int | None
    """So many positional arguments are already what `bind` returns for them; None if there is no such number."""

    def __init__(
        self,
        bind: Callable[..., tuple[Any, ...]],
        names: tuple[str, ...],
        labels: tuple[str, ...],
        straight: int | None = None,
    ) -> None:
        self.bind = bind
        self.names = names
        self.labels = labels
        self.straight = straight


def compile_binding(function: Callable[..., Any], rule: Rule = None) -> Binding:
    """Compile what binds the arguments of `function`, with the values of its free variables behind them.

    What a `functools.partial` or a bound method has bound counts as if the caller had passed it. Of a
    `classmethod` or `staticmethod` the function inside is bound, so that a class method takes its class first.

    >>> def area(width, height=1, *, unit="m"): ...
    >>> compile_binding(area).bind(2, unit="cm")
    (2, 1, 'cm')
    >>> compile_binding(area, {"unit": None, "width": round}).bind(2.4)
    (2, 1)

    Raises:
        TypeError: the rule names what is no parameter, or the signature is not known.
    """
    if callable(rule):
        return Binding(_by_function(rule), ("arguments",), ("what the rule makes of the arguments",))
    rules = dict(rule or {})
    for name, how in rules.items():
        if how is not None and not callable(how):
            raise TypeError(
                f"key: the rule for {name!r} is {how!r}; pass a function, or None to leave it out"
            )
    parts, bound = _unwrap(function)
    binding = _compile(parts, rules)
    if bound[0] or bound[1]:
        binding.bind, binding.straight = functools.partial(binding.bind, *bound[0], **bound[1]), None
    return binding


def _by_function(rule: Callable[..., object]) -> Callable[..., tuple[Any, ...]]:
    return lambda *args, **kwargs: (rule(*args, **kwargs),)


_partial: Any = functools.partial

Bound = tuple[tuple[Any, ...], dict[str, Any]]


def _unwrap(function: Any) -> tuple[Any, Bound]:
    """The function inside partials and methods, and the arguments that these have bound."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    while True:
        if isinstance(function, functools.partial):
            # `partial` merges what two of them bind, and knows placeholders.
            merged = _partial(function, *args, **kwargs)
            if merged.func is function:
                # It does not merge with one that has attributes of its own.
                merged = _partial(
                    _partial(function.func, *function.args, **function.keywords), *args, **kwargs
                )
            function, args, kwargs = merged.func, merged.args, merged.keywords
        elif isinstance(function, types.MethodType):
            args, function = (function.__self__, *args), function.__func__
        elif isinstance(function, (classmethod, staticmethod)):
            function = _inside(function)
        elif isinstance(function, type) or (callable(function) and _is_instance(function)):
            call: Any = None if isinstance(function, type) else type(function).__call__
            if not isinstance(call, types.FunctionType):
                return function, (args, kwargs)
            args, function = (function, *args), call
        else:
            return function, (args, kwargs)


def _inside(method: Any) -> Any:
    return method.__func__


def _is_instance(function: Any) -> bool:
    """Whether an object is called that is no function."""
    return not isinstance(function, (types.FunctionType, types.BuiltinFunctionType)) and not hasattr(
        function, "__wrapped__"
    )


def _parameters(function: Any) -> list[Any]:
    """The parameters of a function, its own. One that takes anything is asked for those of the function it wraps."""
    import inspect

    inner = getattr(function, "__wrapped__", None)
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError as error:
        if inner is not None:
            return _parameters(inner)
        raise TypeError(
            f"{function!r} does not say which parameters it has; pass a function as key"
        ) from error
    parameters = [*signature.parameters.values()]
    anything = [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    takes_anything = [parameter.kind for parameter in parameters] == anything
    return _parameters(inner) if inner is not None and takes_anything else parameters


def _compile(function: Any, rules: dict[str, Callable[[Any], object] | None]) -> Binding:
    parameters = _parameters(function)
    cells = dict(_free_variables(function))
    known = [*(parameter.name for parameter in parameters), *cells]
    for name in rules:
        if name not in known:
            raise TypeError(
                f"key: {name!r} is no parameter of {_shown(function)}(); it has {', '.join(known) or 'none'}"
            )
    names = tuple(name for name in known if rules.get(name, ...) is not None)
    labels = tuple(f"free variable {name!r}" if name in cells else f"argument {name!r}" for name in names)
    source = _Source(set(known))
    values: list[str] = []
    for name in names:
        value = f"{source.constant(_read(cells[name], function))}()" if name in cells else name
        how = rules.get(name)
        values.append(value if how is None else f"{source.constant(how)}({value})")
    body = "".join(f"{value}, " for value in values)
    code = f"def bind({_signature(parameters, source)}): return ({body})"
    exec(code, source.constants)
    bind: Any = source.constants["bind"]
    bind.__name__, bind.__qualname__ = _shown(function).rpartition(".")[2], _shown(function)
    is_straight = not cells and not rules and all(map(_is_one_by_position, parameters))
    return Binding(bind, names, labels, len(parameters) if is_straight else None)


def _is_one_by_position(parameter: Any) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)


def _shown(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


class _Source:
    """The constants of a function that is compiled, under names that its parameters do not have."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.constants: dict[str, Any] = {"__builtins__": {}}

    def constant(self, value: object) -> str:
        number = len(self.constants)
        while f"_{number}" in self.taken:
            number += 1
        self.constants[f"_{number}"] = value
        self.taken.add(f"_{number}")
        return f"_{number}"


def _signature(parameters: list[Any], source: _Source) -> str:
    """The text of a signature whose defaults are the same objects."""
    parts: list[str] = []
    last: Any = None
    for parameter in parameters:
        kind = parameter.kind
        if last is not None and last == last.POSITIONAL_ONLY != kind:
            parts.append("/")
        if kind == kind.KEYWORD_ONLY and (last is None or last < kind.VAR_POSITIONAL):
            parts.append("*")
        stars = {kind.VAR_POSITIONAL: "*", kind.VAR_KEYWORD: "**"}.get(kind, "")
        has_default = parameter.default is not parameter.empty
        default = f"={source.constant(parameter.default)}" if has_default else ""
        parts.append(f"{stars}{parameter.name}{default}")
        last = kind
    if last is not None and last == last.POSITIONAL_ONLY:
        parts.append("/")
    return ", ".join(parts)


_CLASS: Final = "__class__"
"""The free variable of methods that use ``super``: the version follows the class."""


def _free_variables(function: Any) -> Iterator[tuple[str, types.CellType]]:
    if isinstance(function, types.FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != _CLASS:
                yield name, cell


class _Itself:
    """Stands for a function, or what wraps it, among its own free variables."""

    def __fingerprint__(self) -> object:
        return None


_ITSELF: Final = _Itself()


def _read(cell: types.CellType, function: Any) -> Callable[[], object]:
    """What reads a free variable at each call."""

    def read() -> object:
        value: Any = content(cell)
        if value is EMPTY:
            return value
        inner = value
        while inner is not function:
            inner = getattr(inner, "__wrapped__", None)
            if inner is None:
                return value
        return _ITSELF

    return read
