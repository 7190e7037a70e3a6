"""A package of 30 modules is edited in one place after another: exactly the functions that reach the place change.

Which ones these are is computed from the graph that the modules are written from.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
from dolium.functions.version import Version, constant, reached
from helpers import stand_in

MODULES = 30
ROOT = Path(__file__).parents[2]

MODULE = '''
"""Module {i}."""

import logging

from . import m{up:02} as above
from .m{side:02} import helper_{side} as aside, Shape_{base} as Base, LIMIT_{side}

log = logging.getLogger("log {i}")
# A comment.
LIMIT_{i}: int = 100 + {i}
TABLE_{i} = {{"key": [{i}, 2]}}
CACHE_{i} = {{"filled": 0}}
count_{i} = 0


class Shape_{i}(Base):
    """A shape."""

    size = 10 + {i}

    def __init__(self, x: int = 0) -> None:
        """Takes x."""
        self.x = x

    @property
    def area(self) -> int:
        return self.x * LIMIT_{i}


def helper_{i}(x: int = 1) -> int:
    """Helps."""
    {circle}return x + TABLE_{i}["key"][0] + again_{i}(x - 1)


def again_{i}(x):
    return helper_{i}(x) if x > 3000 + {i} else x


def fill_{i}(x):
    CACHE_{i}[x] = 5000 + {i}


def main_{i}(x: int) -> "int":
    """Does the work."""
    global count_{i}
    count_{i} += 1
    log.info("called")
    value = CACHE_{i}.get(x, 4000 + {i}) + aside(x, LIMIT_{side})
    {shape}return value + above.main_{up}(x)
'''
TOP = """
class Shape_0: pass
LIMIT_0 = 1
def helper_0(x=1, y=2): return x
def main_0(x): return helper_0(x)
"""


def neighbours(i: int) -> dict[str, int]:
    return {"up": i // 2, "side": (7 * i + 3) % i, "base": (7 * i + 3) % i}


def module(i: int) -> str:
    if i == 0:
        return TOP
    # Modules 10 and 11 need each other, so one imports inside of its function.
    circle = {
        10: "from .m11 import helper_11\n    helper_11(x)\n    ",
        11: "from . import m10\n    m10.helper_10(x)\n    ",
    }
    shape = f"value += Shape_{i}(x).area\n    " if i % 3 == 0 else ""
    return MODULE.format(i=i, circle=circle.get(i, ""), shape=shape, **neighbours(i))


def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {
        "main_0": {"helper_0"},
        "helper_0": set(),
        "Shape_0": set(),
        "LIMIT_0": set(),
    }
    for i in range(1, MODULES):
        near = neighbours(i)
        edges[f"main_{i}"] = {f"helper_{near['side']}", f"LIMIT_{near['side']}", f"main_{near['up']}"}
        if i % 3 == 0:
            edges[f"main_{i}"].add(f"Shape_{i}")
        edges[f"helper_{i}"] = {f"TABLE_{i}", f"again_{i}"} | {10: {"helper_11"}, 11: {"helper_10"}}.get(
            i, set()
        )
        edges[f"again_{i}"] = {f"helper_{i}"}
        edges[f"Shape_{i}"] = {f"Shape_{near['base']}", f"LIMIT_{i}"}
    return edges


def closure(start: str) -> set[str]:
    edges, found, stack = graph(), set[str](), [start]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += edges.get(name, ())
    return found


def roots() -> list[str]:
    return [f"{kind}_{i}" for i in range(MODULES) for kind in ("main", "helper")]


# What is replaced by what, and whose version that is, if it is one.
EDITS: dict[str, tuple[str, str, str | None]] = {
    "constant": ("100 + {i}", "7", "LIMIT_{i}"),
    "table": ("[{i}, 2]", "[{i}, 3]", "TABLE_{i}"),
    "class": ("10 + {i}\n", "9\n", "Shape_{i}"),
    "method": ("self.x = x", "self.x = x + 1", "Shape_{i}"),
    "property": ("self.x * LIMIT_{i}", "LIMIT_{i} * self.x", "Shape_{i}"),
    "helper": ('["key"][0] +', '["key"][1] +', "helper_{i}"),
    "other helper": ("3000 + {i}", "3000", "again_{i}"),
    "function": ("4000 + {i}", "4000", "main_{i}"),
    "code that is not reached": ("5000 + {i}", "5000", None),
    "comment": ("# A comment.", "# Another one,\n# and longer.", None),
    "docstring of the module": ('"""Module {i}."""', '"""This is {i}."""', None),
    "docstring of the class": ('"""A shape."""', '"""No shape."""', None),
    "docstring of the method": ('"""Takes x."""', "", None),
    "docstring of the function": ('"""Does the work."""', '"""Is idle."""', None),
    "annotations": ("x: int", "x: float", None),
    "annotation of a constant": (": int = 100", " = 100", None),
    "blank lines": ("\n\n", "\n\n\n\n", None),
    "layout": ("    value = ", "    value = \\\n        ", None),
    "logger": ('"log {i}"', '"logger {i}"', None),
    "dict that fills up": ('"filled": 0', '"filled": 1', None),
    "counter": ("count_{i} = 0", "count_{i} = 1", None),
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "generated"
    write(folder)
    monkeypatch.setattr(constant, "fingerprint", stand_in.fingerprint)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would tell edits apart by the second
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    forget()


def write(folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    for i in range(MODULES):
        (folder / f"m{i:02}.py").write_text(module(i))


def importers(i: int) -> set[int]:
    """The modules that an edit of one makes stale, itself included."""
    found, stack = set[int](), [i]
    while stack:
        one = stack.pop()
        if one not in found:
            found.add(one)
            stack += [j for j in range(1, MODULES) if one in (neighbours(j)["up"], neighbours(j)["side"])]
            stack += {10: [11], 11: [10]}.get(one, [])
    return found


def forget(modules: Iterable[int] = range(MODULES)) -> None:
    package = sys.modules.get("generated")
    for name in [f"m{i:02}" for i in modules]:
        if sys.modules.pop(f"generated.{name}", None) and package:
            delattr(package, name)
    if modules == range(MODULES):
        sys.modules.pop("generated", None)
    importlib.invalidate_caches()


def versions() -> dict[str, Version]:
    found: dict[str, Version] = {}
    for root in roots():
        loaded = importlib.import_module(f"generated.m{int(root.partition('_')[2]):02}")
        found[root] = reached(getattr(loaded, root))
    return found


def changed_by(package: Path, edit: str, modules: Collection[int], before: dict[str, Version]) -> set[str]:
    """Makes an edit in modules, takes it back, and returns whose versions it changed."""
    old, new, _ = EDITS[edit]
    again = set[int]().union(*map(importers, modules))
    for i in modules:
        edited = module(i).replace(old.format(i=i), new.format(i=i))
        assert edited != module(i)
        (package / f"m{i:02}.py").write_text(edited)
    forget(again)
    after = versions()
    for i in modules:
        (package / f"m{i:02}.py").write_text(module(i))
    forget(again)
    return {root for root in before if before[root].digest != after[root].digest}


@pytest.mark.parametrize("edit", [edit for edit, (*_, node) in EDITS.items() if node])
def test_versions_change_where_an_edit_is_reached(package: Path, edit: str) -> None:
    before = versions()
    # helper_10 and helper_11 reach each other, and so the same.
    assert len({version.digest for version in before.values()}) == len(before) - 1
    node = EDITS[edit][2]
    assert node is not None
    for i in range(1, MODULES):
        expected = {root for root in before if node.format(i=i) in closure(root)}
        assert changed_by(package, edit, [i], before) == expected, i


@pytest.mark.parametrize("edit", [edit for edit, (*_, node) in EDITS.items() if not node])
def test_versions_stay_after_an_edit_without_effect(package: Path, edit: str) -> None:
    assert changed_by(package, edit, range(1, MODULES), versions()) == set()


def test_parts_are_what_is_reached(package: Path) -> None:
    for root, version in versions().items():
        parts = {name.split(".")[2] for name in version.parts}
        assert parts == closure(root), root


def test_unfollowed_names_are_listed_with_reasons(package: Path) -> None:
    unfollowed = versions()["main_1"].unfollowed
    assert any(text.startswith("generated.m01.log: is a logging.Logger") for text in unfollowed)
    assert any(text.startswith("generated.m01.CACHE_1: changes") for text in unfollowed)
    assert any(text.startswith("generated.m01.count_1: changes") for text in unfollowed)
    assert len(unfollowed) == 3


PROGRAM = """
import json, sys, types

root, folder, helpers = sys.argv[1:]
# Without the native module, which is built for one Python only.
package = types.ModuleType("dolium")
package.__path__ = [root]
sys.modules["dolium"] = package
sys.path[:0] = [folder, helpers]
import importlib
from helpers import stand_in
from dolium.functions.version import constant, reached
constant.fingerprint = stand_in.fingerprint
found = {}
for i in range(30):
    module = importlib.import_module(f"generated.m{i:02}")
    for name in (f"main_{i}", f"helper_{i}"):
        version = reached(getattr(module, name))
        found[name] = [version.digest, dict(version.parts), list(version.unfollowed)]
import syntaxes
for name in syntaxes.__all__:
    version = reached(getattr(syntaxes, name))
    found[name] = [version.digest, dict(version.parts), list(version.unfollowed)]
print(json.dumps(found))
"""

# What Pythons parse or compile differently.
SYNTAXES = (
    '''
__all__ = ["strings", "scopes", "patterns", "lambdas", "Record", "coroutine", "numbers", "one", "two", "inner"]
from dataclasses import dataclass

WIDTH = 3

def strings(x):
    u"a docstring"
    a = f"a{{b}}" "c" f"{x!r:>{WIDTH}}" f"{x = }" f"" rf"\\d{x:}" u"u" 'é\\ud800'
    return a, "in" """pieces""", b"bytes", f"{x:%Y-{WIDTH}}"

def scopes(items):
    global LATER
    LATER = [y for x in items if (y := x) for x in x]
    class Inner:
        WIDTH = WIDTH
        values = [WIDTH for _ in range(3)]
        def method(self): return __class__, WIDTH
    def inner():
        nonlocal items
        items = ()
        return {k: v for k, v in items}, {*items}, (i for i in items)
    return Inner, inner

def patterns(x):
    match x:
        case {"a": [1, *rest], **more} | [rest, more]: return rest, more
        case str(kind) as name if name: return kind
        case -1 | 1j | None: pass
        case _: return WIDTH

one, two, inner = lambda x: x + 1, lambda x: x + 2, (lambda x: lambda y: (x, y, lambda: y))(1)
lambdas = (lambda f: f)(lambda x, *, y=(lambda: WIDTH)(): [x for x in y])

@dataclass
class Record:
    """A record."""
    a: int
    b: "str" = "x"
    c: list = None
    def method(self, x: int, /, y: int = WIDTH, *args: int, z: int = 3, **kwargs: int) -> None: ...

async def coroutine(x):
    async with x as y, y as z:
        async for w in z: yield await w
    try: raise ValueError from None
    except (TypeError, ValueError) as error: assert error, "text"
    finally: del x

def numbers():
    return 10**5000, 1e999, -0.0, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF, 1_000, ..., 3.5j, '''
    + "9" * 5000
    + "\n"
)


def test_versions_are_equal_on_every_python(tmp_path: Path) -> None:
    write(tmp_path / "generated")
    # Python 3.11 and later parse no decimal of 5,000 digits, so this one is hexadecimal.
    (tmp_path / "syntaxes.py").write_text(SYNTAXES.replace("9" * 5000, "0x" + "f" * 5000), encoding="utf-8")
    listed = subprocess.run(
        [sys.executable, ROOT / "tools/pythons.py"], capture_output=True, text=True, check=True
    )
    arguments = [ROOT / "python/dolium", tmp_path, ROOT / "tests"]
    results: dict[str, str] = {}
    for python in {sys.executable, *listed.stdout.split()}:
        done = subprocess.run(
            [python, "-I", "-B", "-c", textwrap.dedent(PROGRAM), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr
        results[python] = done.stdout
    expected = json.loads(results[sys.executable])
    assert len(expected) == 70
    assert len({digest for digest, *_ in expected.values()}) == 69  # helper_10 and helper_11 reach each other
    assert "syntaxes.WIDTH" in expected["lambdas"][1]
    for python, result in results.items():
        assert json.loads(result) == expected, python
