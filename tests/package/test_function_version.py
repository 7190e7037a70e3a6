"""The version of one function: what counts, what does not, and how its source is found.

Most tests write modules of which two differ in one place, import both, and compare. Notebooks are cells in `linecache`.
`test_version_of_a_package.py` edits a whole package.
"""

from __future__ import annotations

import functools
import gc
import importlib
import linecache
import math
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium.functions import version as versions
from dolium.functions.version import Version, boundary, check, code, constant, history, reach, reached, source
from helpers import stand_in

Load = Callable[..., Any]


@pytest.fixture(autouse=True)
def plain_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant, "fingerprint", stand_in.fingerprint)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Writes modules, imports them anew, and returns the first one."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: set[str] = set()

    def load(text: str, **others: str) -> Any:
        for name, content in {"tried": text, **others}.items():
            names.add(name)
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(content), encoding="utf-8")
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("tried")

    yield load
    for name in names:
        sys.modules.pop(name, None)


def digests(load: Load, *texts: str, **others: str) -> list[str]:
    return [code(load(text, **others).f) for text in texts]


def differ(load: Load, text: str, old: str, new: str) -> bool:
    assert old in text
    one, other = digests(load, text, text.replace(old, new))
    return one != other


# What counts.

BODY = '''
def f(x: int, y: int = 3) -> int:
    """Adds."""
    # A comment.
    total: int = x + y
    return total
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# A comment.", "pass"),
        ('"""Adds."""', ""),
        ("x: int", "x: 'float'"),
        (" -> int", ""),
        ("total: int", "total"),
        ("x + y", "(x\n        + y)"),
        ("\n    return", "\n\n\n    return"),
        ("return total", 'return total\n    "a string that is used as a comment"'),
        ("\ndef", "\n\n\n# Above\ndef"),
    ],
)
def test_layout_comments_and_annotations_do_not_count(load: Load, old: str, new: str) -> None:
    assert not differ(load, BODY, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= 3", "= 4"),
        ("x + y", "y + x"),
        ("y: int = 3", "*, y: int = 3"),
        ("+ y", "+ 1"),
        ("def f", "async def f"),
    ],
)
def test_code_and_defaults_count(load: Load, old: str, new: str) -> None:
    assert differ(load, BODY, old, new)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "1.0"), ("1", "True"), ("'a'", "b'a'"), ("0.0", "-0.0"), ("f'{x}'", "f'{x!r}'")]
)
def test_constants_in_code_count_with_their_types(load: Load, one: str, other: str) -> None:
    assert differ(load, f"def f(x): return {one}", one, other)


def test_docstrings_count_where_code_reads_them(load: Load) -> None:
    text = 'def f(): return g.__doc__\ndef g(): "old"'
    assert differ(load, text, "old", "new")
    assert differ(load, text.replace("g.__doc__", "getattr(g, '__doc__')"), "old", "new")
    assert not differ(load, text.replace("__doc__", "__name__"), "old", "new")


def test_annotations_count_where_a_class_makes_fields_of_them(load: Load) -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\ndef f(): return A()"
    assert differ(load, text, "x: int", "x: str")
    assert not differ(load, text.replace("@dataclass", ""), "x: int", "x: str")


@pytest.mark.parametrize(
    "decorator",
    [
        "@cache.cached",
        "@cache.cached(key={'x': None}, expire=3)",
        "@cache.memoize(tag='x')",
        "@dolium.throttle(cache, 1, 1)",
        "@holder.cache.cached",
        "@remembered",
        "@unknown().cached(expire=3)",
    ],
)
def test_decorators_of_dolium_do_not_count(
    load: Load, decorator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = classmethod(lambda cls, *args, **kwargs: args[0] if args and callable(args[0]) else lambda f: f)
    monkeypatch.setattr(dolium.Cache, "cached", passing, raising=False)
    monkeypatch.setattr(dolium.Cache, "memoize", passing)
    monkeypatch.setattr(dolium, "throttle", lambda *args: lambda f: f)
    before = """
        import dolium, types
        cache = dolium.Cache()
        holder = types.SimpleNamespace(cache=cache)
        remembered = cache
        unknown = lambda: cache
        type(cache).__call__ = lambda self, f: f
        """
    try:
        with_, without = digests(
            load, textwrap.dedent(before) + decorator + "\ndef f(x): return x", "def f(x): return x"
        )
    finally:
        del dolium.Cache.__call__  # type: ignore[attr-defined]
    assert with_ == without


def test_decorators_of_others_count(load: Load) -> None:
    text = "import functools\n@functools.lru_cache(maxsize=3)\ndef f(x): return x"
    assert differ(load, text, "maxsize=3", "maxsize=4")


# What is reached.


@pytest.mark.parametrize(
    "use",
    [
        "import other\ndef f(): return other.g()",
        "from other import g\ndef f(): return g()",
        "from other import g as h\ndef f(): return [h() for _ in range(3)]",
        "from other import *\ndef f(): return g()",
        "def f():\n    import other\n    return other.g()",
        "def f():\n    from other import g as h\n    def inner(): return h()\n    return inner()",
        "from other import g\ndef f(x=g()): return x",
        "from other import g\nclass A:\n    g = g\ndef f(): return A.g()",
        "from other import g\nf = lambda: g()",
        "from other import g\nasync def f(): return g()",
        "from other import g\ndef f(): yield g()",
        "from other import g\nTABLE = {'g': [g]}\ndef f(): return TABLE['g'][0]()",
        "import functools\nfrom other import g\nh = functools.partial(g, 1)\ndef f(): return h()",
        "import functools\nfrom other import g\nh = functools.cache(g)\ndef f(): return h()",
        "import functools\nfrom other import g\nf = functools.partial(g)",
        "import contextlib\nfrom other import g\nh = contextlib.contextmanager(g)\ndef f(): return h()",
        "from other import g\ndef deco(f):\n    def wrapper(): return f()\n    return wrapper\nh = deco(g)\n"
        "def f(): return h()",
        "from other import g\nclass A:\n    def m(self): return self.n()\n    def n(self): return g()\nf = A().m",
        "from other import g\nclass A:\n    @property\n    def p(self): return g()\ndef f(): return A().p",
        "from other import g\nclass A:\n    @classmethod\n    def m(cls): return g()\nf = A.m",
        "from other import g\nclass A:\n    def __call__(self): return g()\na = A()\ndef f(): return a()",
        "from other import g\nclass Base:\n    def n(self): return g()\nclass A(Base): pass\ndef f(): return A()",
        "import types\nfrom other import g\nclass Base:\n    def n(self): return g()\n"
        "space = types.SimpleNamespace(Base=Base)\nclass A(space.Base): pass\ndef f(): return A()",
        "import functools\nfrom other import g\n@functools.singledispatch\ndef h(x): pass\n"
        "@h.register\ndef _(x: int): return g()\ndef f(): return h(1)",
        "from other import g\nfrom dataclasses import dataclass, field\n@dataclass\nclass A:\n"
        "    x: int = field(default_factory=g)\ndef f(): return A()",
        "from other import g\ndef f(x):\n    match x:\n        case 1 if g(): return 2",
    ],
)
def test_T07_helper_is_reached_however_it_is_named(load: Load, use: str) -> None:
    helper = "LIMIT = {value}\ndef g(x=0):\n    return LIMIT + 1"
    one, other, third = (
        code(load(use, other=helper.format(value=value) + end).f)
        for value, end in [(1, ""), (2, ""), (1, " + 1")]
    )
    assert len({one, other, third}) == 3


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("LIMIT = 1\ndef f(): return LIMIT", "1", "2"),
        ("LIMIT: int = 1\ndef f(x=LIMIT): return x", "= 1", "= 2"),
        ("TABLE = {'a': [1]}\ndef f(): return TABLE", "[1]", "[2]"),
        ("TABLE = {}\nTABLE['a'] = 1\ndef f(): return TABLE", "= 1", "= 2"),
        ("TABLE = []\ndef other(TABLE): TABLE.append(1)\ndef f(): return TABLE", "[]", "[1]"),
        ("class A:\n    LIMIT = 1\ndef f(): return A.LIMIT", "1", "2"),
        ("import enum\nclass A(enum.Enum):\n    X = 1\ndef f(): return A.X", "1", "2"),
        (
            "from collections import namedtuple\nA = namedtuple('A', 'x y')\ndef f(): return A(1, 2)",
            "x y",
            "x z",
        ),
        (
            "def make(n):\n    def g(): return n\n    return g\nh = make(1)\ndef f(): return h()",
            "make(1)",
            "make(2)",
        ),
        ("import functools\nh = functools.partial(int, base=2)\ndef f(): return h('1')", "=2", "=3"),
        (
            "class A:\n    def __init__(self): pass\n    def m(self): return 1\ndef f(): return A()",
            "return 1",
            "return 2",
        ),
    ],
)
def test_T07_constant_is_reached_however_it_is_read(load: Load, text: str, old: str, new: str) -> None:
    assert differ(load, text, old, new)


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ("{}", "X['k'] = 1"),
        ("{}", "X.update(k=1)"),
        ("{}", "del X['k']"),
        ("{'a': []}", "X['a'].append(1)"),
        ("[]", "X.append(1)"),
        ("[]", "X.sort()"),
        ("[]", "X[0], y = 1, 2"),
        ("[]", "heapq.heappush(X, 1)"),
        ("[0]", "X[0] += 1"),
        ("0", "global X; X += 1"),
        ("None", "global X; X = object()"),
        ("None", "global X; import sys as X"),
        ("[]", "lambda: X.append(1)"),
        ("[]", "[X.append(i) for i in ()]"),
        ("[]", "setattr(X, 'a', 1)"),
        ("[]", "for X[0] in (): pass"),
        ("types.SimpleNamespace()", "X.a = 1"),
        ("logging.getLogger()", "X.info('')"),
        ("threading.Lock()", "X.acquire()"),
        ("open(os.devnull)", "X.read()"),
    ],
)
def test_what_changes_is_no_constant_and_no_miss(load: Load, start: str, change: str) -> None:
    text = (
        "import heapq, logging, os, threading, types\nX = {start}\ndef g():\n    {change}\ndef f(): return X"
    )
    module = load(text.format(start=start, change=change))
    version = reached(module.f)
    assert list(version.parts) == ["tried.f"]
    assert [text.partition(":")[0] for text in version.unfollowed] == ["tried.X"]


def test_object_that_changes_itself_is_no_constant(load: Load) -> None:
    text = """
        from dataclasses import dataclass
        @dataclass
        class Counter:
            n: int = 0
            def up(self): self.n += 1
        counter = Counter()
        def g(): counter.up()
        def f(): return counter
        """
    version = reached(load(text).f)
    assert {"tried.Counter", "tried.Counter.up"} < set(version.parts)
    assert version.unfollowed == ("tried.counter: changes, because a function assigns it or what it holds",)


def test_large_constant_is_not_followed(load: Load) -> None:
    version = reached(
        load("X = [bytes(600_000), bytes(600_000)]\nY = bytes(600_000)\ndef f(): return X, Y").f
    )
    assert version.unfollowed == ("tried.X: is larger than 1 MiB",)
    assert "tried.Y" in version.parts


def test_imported_constant_is_named_after_its_module(load: Load) -> None:
    version = reached(
        load("from other import A as B\ndef f(): return B", other="from third import A", third="A = [1]").f
    )
    assert set(version.parts) == {"tried.f", "third.A"}
    assert version.labels["third.A"] == "constant `A` in `third.py`"


def test_module_that_changes_what_it_exports_has_no_constant(load: Load) -> None:
    version = reached(load("from other import A\ndef f(): return A", other="A = [1]\ndef g(): A.append(1)").f)
    assert [text.partition(":")[0] for text in version.unfollowed] == ["other.A"]


def test_circles_of_functions_and_constants_end(load: Load) -> None:
    text = """
        from dataclasses import dataclass
        from typing import Any
        @dataclass(frozen=True)
        class Holder:
            function: Any
        def f(x): return g(x)
        def g(x): return f(x) if x else TABLE
        TABLE = {"f": f, "all": [g]}
        """
    assert set(reached(load(text).f).parts) == {"tried.f", "tried.g", "tried.TABLE"}


def test_function_within_a_fingerprint_is_reached(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint asks for the version of a function in an object, while that function's constant is the object."""
    monkeypatch.setattr(constant, "fingerprint", lambda value: code(value.function).encode())
    text = """
        class Holder: pass
        def f(x): return HOLDER
        def g(x): return HOLDER
        HOLDER = Holder()
        HOLDER.function = g
        """
    assert set(reached(load(text).f).parts) == {"tried.f", "tried.g", "tried.Holder", "tried.HOLDER"}
    assert differ(load, textwrap.dedent(text), "def g(x): return", "def g(x): return 1,")


def test_fixed_version_of_a_helper_stands_for_its_code(load: Load) -> None:
    text = (
        "class W:\n    def __call__(self): return 1\nh = W()\nh.__dolium_version__ = '3'\ndef f(): return h()"
    )
    assert not differ(load, text, "return 1", "return 2")
    assert differ(load, text, "'3'", "'4'")


def test_object_that_cannot_be_looked_at_is_no_error(load: Load) -> None:
    text = """
        class Proxy:
            @property
            def __class__(self): raise RuntimeError("outside of a request")
            def __getattr__(self, name): raise RuntimeError("outside of a request")
        request = Proxy()
        def f(): return request.x
        """
    version = reached(load(text).f)
    assert version.unfollowed == ("tried.request: cannot be looked at, because of RuntimeError",)


def test_deep_syntax_is_read(load: Load) -> None:
    text = f"def f(): return {' + '.join(['g()'] * 900)}\ndef g(): return 1"
    assert set(reached(load(text).f).parts) == {"tried.f", "tried.g"}
    assert differ(load, text, "return 1", "return 2")


def test_where_a_module_lies_does_not_count(load: Load, tmp_path: Path) -> None:
    assert set(reached(load("def f(): return __name__, __file__, __spec__").f).parts) == {"tried.f"}


# Boundaries.


def test_installed_packages_are_not_followed(load: Load) -> None:
    version = reached(
        load("import json, pytest\nfrom math import pi\ndef f(): return json.loads, pytest.raises, pi").f
    )
    assert set(version.parts) == {"tried.f"}
    assert not version.unfollowed


def test_package_sees_itself_and_nothing_else_installed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    import pluggy._hooks

    version = reached(pluggy._hooks.HookCaller.__call__)
    assert {name.partition(".")[0] for name in version.parts} == {"pluggy"}
    assert len(version.parts) > 10
    assert {name.partition(".")[0] for name in reached(textwrap.dedent).parts} == {"textwrap"}


def test_sides_follow_sysconfig() -> None:
    assert boundary.side_of("json", None) == "standard"
    assert boundary.side_of("pytest", None) == "package"
    assert boundary.side_of("dolium.core", None) == "dolium"
    assert boundary.side_of("x", "/home/x/project/x.py") == "own"
    assert boundary.side_of("x", "/usr/lib/python3/dist-packages/x.py") == "package"
    assert boundary.side_of("sys", None) == "standard"
    for scheme in sysconfig.get_scheme_names():
        if scheme.startswith(os.name) and scheme != "posix_home":  # which no installer takes
            paths = sysconfig.get_paths(scheme)
            for kind in ("purelib", "platlib"):
                assert boundary.side_of("x", f"{paths[kind]}/x.py") == "package", scheme
            if not scheme.endswith("_user"):  # a user has no standard library
                assert boundary.side_of("x", f"{paths['stdlib']}/x.py") == "standard", scheme


# Finding the source.


def test_T09_functions_are_found_by_line(load: Load) -> None:
    """`inspect.getsource` stops at the lambda of the decorator, and takes another lambda of the line."""
    text = """
        def deco(*args): return lambda f: f
        @deco(
            lambda x: x
        )
        @deco(lambda: 1, lambda: 2)
        def f(x):
            return x + 1
        a, b, c = lambda x: x + 1, lambda x: x + 2, lambda x: (lambda: x + 3)
        d = [lambda: y for y in (1, 2)]; e = lambda: 5
        if a(1) == 2:
            def g(): return 1
        else:
            def g(): return 2
        s = '''
        def g(): return 3
        '''
        class A:
            def g(self): return 4
        """
    module = load(text)
    found = [module.f, module.a, module.b, module.c, module.c(1), module.d[0], module.e, module.g, module.A.g]
    nodes = [source.find_function(function) for function in found]
    import ast

    texts = [ast.unparse(place[1].node).splitlines()[-1] for place in nodes if place]
    # Python 3.10 writes a blank there.
    texts = [text.replace("lambda :", "lambda:") for text in texts]
    assert texts == [
        "    return x + 1",
        "lambda x: x + 1",
        "lambda x: x + 2",
        "lambda x: lambda: x + 3",
        "lambda: x + 3",
        "lambda: y",
        "lambda: 5",
        "    return 1",
        "    return 4",
    ]
    paths = [place[1].path for place in nodes if place]
    assert paths[4:6] == ["<lambda>.<locals>.<lambda>", "<lambda>"]
    assert paths[-1] == "A.g"


def test_T05_two_definitions_of_one_name_are_two_functions() -> None:
    spaces: list[dict[str, Any]] = []
    for number, body in enumerate(("x + 1", "x + 2", "x + 1  # again")):
        spaces.append(run_cell(f"def f(x):\n    return {body}", f"<notebook-{number}>", {}))
    one, two, again = (code(space["f"]) for space in spaces)
    assert one == again != two


def run_cell(text: str, name: str, space: dict[str, Any]) -> dict[str, Any]:
    """Runs a cell as IPython does: compiled with a name under which `linecache` has the text."""
    lines = text.splitlines(keepends=True)
    linecache.cache[name] = (len(text), None, lines, name)
    space.setdefault("__name__", "__main__")
    exec(compile(text, name, "exec"), space)
    return space


def test_T08_cell_that_runs_again_has_a_new_version() -> None:
    space = run_cell("LIMIT = 3\ndef g(x): return x + 1", "<ipython-input-1>", {})
    run_cell("def f(x): return g(x) + LIMIT", "<ipython-input-2>", space)
    first = reached(space["f"])
    assert set(first.parts) == {"__main__.f", "__main__.g", "__main__.LIMIT"}
    assert reached(space["f"]) is first
    run_cell("def g(x): return x + 2", "<ipython-input-3>", space)
    assert not first.holds()
    second = reached(space["f"])
    assert history.changes(first, second) == ["helper `g` in a cell changed"]
    run_cell("LIMIT = 4", "<ipython-input-4>", space)
    assert history.changes(second, reached(space["f"])) == ["constant `LIMIT` changed"]


def test_class_of_a_cell_is_found_in_its_newest_cell() -> None:
    """It has no method whose code says in which cell it is."""
    text = "class Box:\n    size = {size}\ndef f(): return Box"
    space = run_cell(text.format(size=1), "<ipython-input-11>", {"__name__": "tried_cells"})
    first = reached(space["f"])
    run_cell(text.format(size=2), "<ipython-input-12>", space)
    assert history.changes(first, reached(space["f"])) == ["class `Box` in a cell changed"]


def test_T08_code_without_source_has_a_version() -> None:
    spaces: list[dict[str, Any]] = [{"__name__": "made"} for _ in range(4)]
    for space, body in zip(spaces, ("x + 1", "x + 1", "x + 2", "(lambda: x + 2)()"), strict=True):
        exec(f"def f(x): return {body} + g()\ndef g(): return LIMIT\nLIMIT = 3", space)
    one, same, two, three = (code(space["f"]) for space in spaces)
    assert one == same
    assert len({one, two, three}) == 3
    assert set(reached(spaces[0]["f"]).parts) == {"made.f", "made.g", "made.LIMIT"}


def test_source_that_is_not_what_runs_is_not_believed(load: Load, tmp_path: Path) -> None:
    module = load("def f(x): return x + 1\ndef g(x): return x + 2")
    right, other = code(module.f), code(module.g)
    for text in ("def f(x): return x + 9\ndef g(x): return x + 2", "# One\n# more\ndef g(x): return x + 2"):
        (tmp_path / "tried.py").write_text(text)
        reach._versions.__init__()
        definitions = sys.modules["dolium.functions.version.definition"]
        definitions._definitions.__init__()
        old = code(module.f)
        assert old != right  # its bytecode counts
        assert code(module.g) == other  # found where it stands now
        sys.modules.pop("tried")
        assert old != code(getattr(importlib.import_module("tried"), "f", module.g))


def test_code_that_is_replaced_has_a_new_version(load: Load) -> None:
    module = load("def f(x): return x + 1\ndef g(x): return x + 2")
    first = code(module.f)
    module.f.__code__ = module.g.__code__
    assert code(module.f) != first


@pytest.mark.parametrize("value", [math.sin, len, [].append, object(), 3, functools.partial(len)])
def test_T08_callable_without_code_asks_for_a_version(value: Any) -> None:
    with pytest.raises(TypeError, match=r"has no Python code .* pass version="):
        check(value)
    with pytest.raises(TypeError, match="pass version="):
        reached(value)


def test_submodule_that_a_function_imports_is_followed(load: Load, tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    (tmp_path / "family/__init__.py").touch()
    (tmp_path / "family/child.py").write_text("def g(): return 1")
    (tmp_path / "family/other.py").write_text("def g(): return 1")
    text = "def f():\n    from family import child\n    import family.other\n    return child.g(), family.other.g()"
    try:
        version = reached(load(text).f)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "family"]:
            del sys.modules[name]
    assert set(version.parts) == {"tried.f", "family.child.g", "family.other.g"}
    assert not version.unfollowed


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"], ["-m", "family.script"]])
def test_main_and_import_of_a_script_have_one_version(tmp_path: Path, how: list[str]) -> None:
    program = textwrap.dedent(
        """
        import sys, types
        package = types.ModuleType("dolium"); package.__path__ = [sys.argv[1]]; sys.modules["dolium"] = package
        from dolium.functions.version import constant, reached
        constant.fingerprint = lambda value: repr(value).encode()
        LIMIT = 3
        class A:
            def m(self): return f(0)
        def f(x): return x + LIMIT, A
        if __name__ == "__main__":
            import importlib
            script = importlib.import_module(__spec__.name if __spec__ else "script")
            assert script.f is not f
            assert reached(script.f).parts == reached(f).parts, (reached(script.f), reached(f))
            print(*reached(f).parts)
        """
    )
    (tmp_path / "family").mkdir()
    for path in ("script.py", "family/script.py"):
        (tmp_path / path).write_text(program)
    root = Path(dolium.__file__).parent
    done = subprocess.run(
        [sys.executable, "-B", *how, root], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    name = how[-1].removesuffix(".py")
    assert done.stdout.split() == [f"{name}.{part}" for part in ("A", "A.m", "LIMIT", "f")], done.stderr


# The result.


def test_version_is_found_once_and_dies_with_its_function(load: Load) -> None:
    module = load("def f(x): return x")
    assert reached(module.f) is reached(module.f)
    gone = weakref.ref(module.f)
    del module.f
    sys.modules.pop("tried")
    gc.collect()
    assert gone() is None


def test_threads_find_one_version(load: Load) -> None:
    module = load("LIMIT = [1]\nclass A:\n    def m(self): return LIMIT\ndef f(x): return A().m()")
    found: list[Version] = []
    barrier = threading.Barrier(8)

    def find() -> None:
        barrier.wait()
        found.append(reached(module.f))

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version.digest for version in found}) == 1
    assert len(found) == 8
    assert set(found[0].parts) == {"tried.f", "tried.A", "tried.A.m", "tried.LIMIT"}


def test_code_is_the_digest_of_the_version(load: Load) -> None:
    module = load("def f(x): return x")
    assert dolium.code(module.f) == reached(module.f).digest
    assert len(dolium.code(module.f)) == 40


def test_importing_dolium_imports_no_part_of_versions() -> None:
    program = "import dolium, sys; print([name for name in sys.modules if name.startswith('dolium.functions.version')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_cannot_be_seen_is_documented() -> None:
    assert versions.__doc__
    assert "What cannot be seen" in versions.__doc__


# The history.


class Shelf(dict[str, bytes]):
    """A store in memory that counts its writes."""

    writes = 0

    def load(self, name: str, /) -> bytes | None:
        return self.get(name)

    def save(self, name: str, data: bytes, /) -> None:
        self.writes += 1
        self[name] = data


def named(**parts: str) -> Version:
    return Version(
        "-".join(parts.values()), parts, labels={name: f"helper `{name}` in `prep.py`" for name in parts}
    )


def test_history_keeps_the_last_eight_versions() -> None:
    shelf = Shelf()
    for number in range(20):
        history.remember(shelf, "m.f()", named(f=str(number)), float(number))
    kept = history.recall(shelf, "m.f()")
    assert [version.parts["f"] for version in kept] == [str(number) for number in range(12, 20)]
    assert [version.seen for version in kept] == [float(number) for number in range(12, 20)]
    assert history.recall(shelf, "m.g()") == []
    assert kept[0] == history.remember(Shelf(), "m.f()", named(f="12"), 12.0)


def test_history_is_written_when_the_version_changes() -> None:
    shelf = Shelf()
    for version, now, writes in [("1", 1, 1), ("1", 2, 1), ("2", 3, 2), ("2", 4, 2), ("1", 5, 3)]:
        history.remember(shelf, "m.f()", named(f=version), float(now))
        assert shelf.writes == writes
    assert [(version.parts["f"], version.seen) for version in history.recall(shelf, "m.f()")] == [
        ("2", 3.0),
        ("1", 5.0),
    ]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"format":2}', b'{"format":1,"versions":[{}]}', b"\xff"]
)
def test_damaged_history_is_an_empty_one(data: bytes) -> None:
    shelf = Shelf({"function m.f()": data})
    assert history.recall(shelf, "m.f()") == []
    history.remember(shelf, "m.f()", named(f="1"), 1.0)
    assert len(history.recall(shelf, "m.f()")) == 1


def test_changes_name_what_changed_and_since_when(load: Load) -> None:
    text = "from prep import clean\nfrom config import LIMIT\ndef f(x): return clean(x) + LIMIT"
    shelf = Shelf()
    prep, noon = "import logging\ndef clean(x): return x", 1_795_176_000.0  # 2026-11-20, 12:00 UTC
    old = history.remember(shelf, "tried.f()", reached(load(text, prep=prep, config="LIMIT = 1").f), noon)
    new = reached(load(text, prep=prep.replace("return x", "return -x"), config="LIMIT = 1").f)
    assert history.changes(old, new) == ["helper `clean` in `prep.py` changed since 2026-11-20"]
    assert history.changes(history.recall(shelf, "tried.f()")[0], new) == history.changes(old, new)
    new = reached(load(text, prep=prep, config="LIMIT = 2").f)
    assert history.changes(old, new) == ["constant `LIMIT` in `config.py` changed since 2026-11-20"]
    new = reached(load(text, prep=prep, config="LIMIT = 1\ndef g():\n    global LIMIT\n    LIMIT += 1").f)
    assert history.changes(old, new) == [
        "constant `LIMIT` in `config.py` is no longer followed: it changes, because a function assigns it "
        "or what it holds"
    ]
    new = reached(load(text.replace(" + LIMIT", ""), prep=prep + "\ndef g(): pass", config="LIMIT = 1").f)
    assert history.changes(old, new) == [
        "constant `LIMIT` in `config.py` is no longer reached since 2026-11-20",
        "function `f` in `tried.py` changed since 2026-11-20",
    ]
    assert history.changes(old, old) == []


def test_history_can_hold_every_name() -> None:
    shelf = Shelf()
    history.remember(shelf, "m.é\ud800()", named(**{"m.é\ud800": "1"}), 1.0)
    assert list(history.recall(shelf, "m.é\ud800()")[0].parts) == ["m.é\ud800"]
