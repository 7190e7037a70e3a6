"""Every example that a reader can copy runs: in README, the documents, docstrings and `examples/`.

In Markdown the blocks marked `python` of one file run in order and share their names, as a reader would type them;
those with `>>>` also check what is printed. A block that cannot run is marked `python no-run`, which is not shown.
In blocks marked `console` each line with `$` runs in a shell, in order, and the lines below it are what it prints.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dolium
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^([ \t]*)```python[ \t]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# They need something that is optional: Django, and for its backend a settings module.
OPTIONAL = {"dolium.djangocache": "django"}


def examples(page: Path) -> list[tuple[int, str]]:
    """The blocks of a page with the numbers of their first lines."""
    text = page.read_text()
    found: list[tuple[int, str]] = []
    for block in BLOCK.finditer(text):
        code = "\n".join(line.removeprefix(block[1]) for line in block[2].splitlines()) + "\n"
        found.append((text.count("\n", 0, block.start(2)) + 1, code))
    return found


def modules() -> list[str]:
    names = ["dolium"]
    names += [found.name for found in pkgutil.walk_packages(dolium.__path__, "dolium.")]
    return sorted(name for name in names if not name.endswith(("__main__", "._dolium")))


def check(test: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    if report:
        pytest.fail("".join(report), pytrace=False)


def names_of_diskcache() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "diskcache"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Examples name directories as users do, and put dolium in the place of diskcache: neither outlasts the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    for name in names_of_diskcache():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in names_of_diskcache():
        del sys.modules[name]


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_page(page: Path) -> None:
    module = ModuleType("__main__")
    names = module.__dict__
    for line, code in examples(page):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line - 1)
            check(test)
            # A DocTest works on a copy.
            names.update(test.globs)
        else:
            # Line numbers of the page, so that a failure points there.
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if CONSOLE.search(page.read_text())], ids=lambda page: page.name
)
def test_console(page: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for block in CONSOLE.finditer(page.read_text()):
        for command, expected in COMMAND.findall(block[1]):
            done = subprocess.run(
                command,
                shell=True,
                check=False,
                env=os.environ | {"PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            )
            # A value is printed without a line end unless a person reads it.
            assert done.stdout.split() == expected.split(), f"{page.name}: {command}"


@pytest.mark.parametrize(
    "program", sorted(ROOT.glob("examples/python/*.py")), ids=lambda program: program.name
)
def test_program_of_examples_runs(program: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", modules())
def test_docstrings(name: str) -> None:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        check(test)


def test_the_readme_has_examples() -> None:
    """So that the tests above cannot pass by finding nothing."""
    assert examples(ROOT / "README.md")
    assert list(ROOT.glob("examples/python/*.py"))


def test_docstrings_of_the_native_store_run() -> None:
    from dolium import _dolium

    for name, value in inspect.getmembers(_dolium):
        if inspect.isclass(value) and value.__module__.startswith("dolium"):
            finder = doctest.DocTestFinder(exclude_empty=True)
            for test in finder.find(value, f"_dolium.{name}", module=False, globs={"dolium": dolium}):
                check(test)
