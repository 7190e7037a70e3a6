"""`%%cached`: which cells run, which are restored, and that a restored session is as one that ran."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from dolium.errors import InvalidArgumentError
from dolium.notebook.arguments import parse
from dolium.notebook.cell import read_cell
from helpers.sessions import is_restored, session

SLOW = """
    %%cached
    print("computing")
    data = [number * factor for number in range(4)]
"""
SHOW = "print(data)"


def last(directory, *cells, **options) -> str:
    return session(directory, *cells, **options)[-1]


def reads(text: str) -> set[str]:
    return {".".join(chain) for chain in read_cell(ast.parse(text).body).reads}


# What a cell reads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = y", {"y"}),
        ("x = 1\nz = x", set()),
        ("x = x + 1", {"x"}),
        ("x += 1", {"x"}),
        ("a.b.c(d)", {"a.b.c", "d"}),
        ("a.b = 1", {"a.b"}),
        ("a[i] = 1", {"a", "i"}),
        ("if c:\n  x = 1\nx", {"c", "x"}),
        ("if c:\n  x = 1\nelse:\n  x = 2\nx", {"c"}),
        ("for i in r:\n  t = i\nt", {"r", "t"}),
        ("for i in r:\n  t = i\n  u = t", {"r"}),
        ("while c:\n  x = 1\nx", {"c", "x"}),
        ("with o() as f:\n  x = f\nx", {"o"}),
        ("with suppress(E):\n  x = f()\nx", {"suppress", "E", "f", "x"}),
        ("try:\n  x = f()\nexcept E as e:\n  x = e\nx", {"f", "E"}),
        ("try:\n  x = f()\nexcept E:\n  pass\nx", {"f", "E", "x"}),
        ("try:\n  x = f()\nexcept E:\n  raise\nx", {"f", "E"}),
        ("def g(a, b=d):\n  return a + k", {"d", "k"}),
        ("k = 1\ndef g():\n  return k", set()),
        ("@deco\nclass C(base):\n  y = z\n  def m(self): return w", {"deco", "base", "z", "w"}),
        ("[v * s for v in vs if v]", {"s", "vs"}),
        ("lambda q: q + r", {"r"}),
        ("(n := n + 1)", {"n"}),
        ("import m\nm.f(x)", {"x"}),
        ("from m import f as g\ng()", set()),
        ("del x", {"x"}),
        ("x = 1\ndel x\nx", {"x"}),
        ("match s:\n  case [a, *b]:\n    c = a\nc", {"s", "c"}),
        ("f'{x!r:{w}}'", {"x", "w"}),
        ("x: T = v", {"T", "v"}),
        ("get_ipython().run_line_magic('time', 'y = fit(data)')", {"get_ipython", "y", "fit", "data"}),
        ("o = get_ipython().getoutput('ls {path}')", {"get_ipython", "ls", "path"}),
    ],
)
def test_a_name_counts_as_read_if_it_may_be(text, expected):
    assert reads(text) == expected


def test_a_digest_counts_code_and_nothing_else():
    def digest(text: str) -> str:
        return read_cell(ast.parse(text).body).digest

    assert digest("x = 1  # one\n") == digest("\n# two\nx  =  1\n")
    assert digest("def f():\n  'doc'\n  return 1") == digest("def f(): return 1")
    assert digest("x = 1") != digest("x = 2")
    assert digest("x = 1") != digest("x = 1.0")


# The page


def test_the_examples_of_the_page_run_and_are_restored(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "guide" / "notebooks.md").read_text()
    cells = re.findall(r"```ipython\n(.*?)```", page, re.DOTALL)
    assert len(cells) == 2
    first, second = session(tmp_path, *cells), session(tmp_path, *cells)
    assert not any(map(is_restored, first))
    assert all(map(is_restored, second))
    assert "computed 20\nOut[1]: 2470" in first[0]
    assert [text.partition("\n")[2] for text in second] == first


# The line


def test_the_line_is_read():
    found = parse("model --expire 1.5d --version v2 --files a.csv b.csv,c.csv --ignore x,y z --again")
    assert (found.name, found.expire, found.version) == ("model", 129600, "v2")
    assert (found.files, found.ignore, found.again) == (
        ("a.csv", "b.csv", "c.csv"),
        ("x", "y", "z"),
        True,
    )


@pytest.mark.parametrize("line", ["a b", "--what", "--expire", "--expire soon", "--files --again", "'open"])
def test_a_line_that_is_wrong_is_refused_with_its_usage(line):
    with pytest.raises(InvalidArgumentError, match=r"%%cached .*--expire"):
        parse(line)


def test_a_cell_with_a_wrong_line_runs(tmp_path):
    assert last(tmp_path, "%%cached --what\nprint(6 * 7)") == (
        "not cached: InvalidArgumentError: %%cached: '--what' is no option. Write %%cached [name] [--expire 1d] "
        "[--version v] [--files a.csv ...] [--ignore name ...] [--again]\n42\n"
    )


# Which cells run


def test_a_cell_is_restored_in_a_new_session(tmp_path):
    assert session(tmp_path, "factor = 3", SLOW, SHOW)[1:] == ["computing\n", "[0, 3, 6, 9]\n"]
    _, restored, shown = session(tmp_path, "factor = 3", SLOW, SHOW)
    assert restored.startswith("restored data (saved ")
    assert restored.endswith("computed just now)\ncomputing\n")
    assert shown == "[0, 3, 6, 9]\n"
    assert (tmp_path / ".dolium" / ".gitignore").read_text() == "*\n"


def test_a_cell_runs_if_a_variable_that_it_reads_has_changed(tmp_path):
    session(tmp_path, "factor = 3", SLOW)
    assert session(tmp_path, "factor = 4", SLOW, SHOW)[1:] == ["computing\n", "[0, 4, 8, 12]\n"]
    assert session(tmp_path, "factor = 3.0", SLOW, SHOW)[1:] == ["computing\n", "[0.0, 3.0, 6.0, 9.0]\n"]
    assert is_restored(session(tmp_path, "factor, other = 3, 1", SLOW)[1])


def test_a_cell_runs_if_a_function_or_class_has_changed(tmp_path):
    def run(function: str, kind: str) -> str:
        definitions = f"""
            LIMIT = 2
            def inner(x): return x {function}
            def clean(x): return inner(x) + LIMIT
            class Model:
                def fit(self): return {kind}
            model = Model()
        """
        return session(tmp_path, definitions, "%%cached\nfitted = clean(1), Model().fit()", "print(fitted)")[
            1
        ]

    assert not is_restored(run("* 2", "7"))
    assert is_restored(run("* 2  # twice", "7"))
    assert not is_restored(run("* 3", "7"))
    assert not is_restored(run("* 3", "8"))


def test_a_cell_runs_if_a_module_beside_the_notebook_has_changed(tmp_path):
    module = tmp_path / "prep.py"
    cells = ("import sys; sys.path.insert(0, '.'); import prep", "%%cached\nx = prep.clean(1)", "print(x)")
    module.write_text("def clean(x): return x + 1\ndef other(): return 1\n")
    assert session(tmp_path, *cells)[1:] == ["", "2\n"]
    module.write_text("def clean(x): return x + 1\ndef other(): return 2\n")
    assert is_restored(session(tmp_path, *cells)[1])
    module.write_text("def clean(x): return x + 2\ndef other(): return 2\n")
    assert session(tmp_path, *cells)[1:] == ["", "3\n"]


def test_options_decide_what_counts(tmp_path):
    (tmp_path / "a.csv").write_text("1")

    def runs(line: str, client: str = "1") -> bool:
        return not is_restored(session(tmp_path, f"client = {client}", f"%%cached {line}\nx = client")[1])

    assert runs("--files *.csv --ignore client")
    assert not runs("--files *.csv --ignore client", "2")
    (tmp_path / "a.csv").write_text("2")
    assert runs("--files *.csv --ignore client")
    assert runs("--version 2 --ignore client")
    assert not runs("--version 2 --ignore client")
    assert runs("--version 2 --ignore client --again")
    assert runs("name --version 2 --ignore client")
    assert runs("--expire 0.01s")
    assert runs("--expire 0.01s")


def test_a_cell_that_raises_keeps_nothing(tmp_path):
    cell = "%%cached\nprint('computing')\n{}"
    for body in ("1 / 0", "%%time\n1 / 0", "raise SystemExit", "%time 1 / 0"):
        text = cell.format(body) if not body.startswith("%%") else f"%%cached\n{body}"
        for _ in range(2):
            assert not is_restored(last(tmp_path, text)), body


# What is restored


def test_everything_that_a_cell_binds_is_restored(tmp_path):
    cell = """
        %%cached
        import math as maths, os.path
        from collections import OrderedDict
        try:
            import tomllib
        except ImportError:
            tomllib = None
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int = START
        def move(point, by=BY):
            return Point(point.x + by[0])
        async def later(): return 1
        origin = Point()
        moved = same = move(origin)
        for number in range(3): square = number ** 2
        with open("/dev/null") as handle: text = handle.read()
        (walrus := 5)
        exec("made = 1")
        %time timed = maths.sqrt(16)
        listed = !echo one; echo two
        import json as jay
        decoder = jay
        del removed
        BY.append(1)
    """
    show = """
        print(maths.pi, os.path.sep, OrderedDict, tomllib is not None, origin, moved is same, move(origin))
        print(type(moved) is Point, number, square, text, walrus, made, timed, list(listed), decoder.dumps(1))
        print("removed" in dir(), "handle" in dir(), BY, move.__defaults__[0] is BY, alias is BY)
    """
    setup = "START, BY, removed = 1, [2], 3\nalias = BY"
    _, first, expected = session(tmp_path, setup, cell, show)
    _, second, restored = session(tmp_path, setup, cell, show)
    assert not is_restored(first)
    assert is_restored(second)
    # The file that the cell had left closed is the only thing that is not there.
    assert restored == expected.replace("False True [2, 1]", "False False [2, 1]")
    assert "Point(x=1) True Point(x=3)" in restored
    assert restored.endswith("[2, 1] True True\n")


def test_a_variable_that_is_changed_in_place_is_restored(tmp_path):
    cell = "%%cached\ntable.update(new=len(table))"
    setup = "table = {'old': 1}"
    session(tmp_path, setup, cell)
    _, restored, shown = session(tmp_path, setup, cell, "print(table)")
    assert restored.startswith("restored table (")
    assert shown == "{'old': 1, 'new': 1}\n"


def test_outputs_are_shown_again_in_their_order(tmp_path):
    cell = """
        %%cached
        import sys
        from IPython.display import HTML, clear_output, display
        print("first")
        print("to stderr", file=sys.stderr)
        display(HTML("<b>bold</b>"), 1.5)
        print("last")
        [1, 2]
    """
    expected = last(tmp_path, cell)
    restored = last(tmp_path, cell)
    assert is_restored(restored)
    assert restored.partition("\n")[2] == expected
    assert "first\nto stderr\n<IPython.core.display.HTML object>\n1.5\nlast\nOut[1]: [1, 2]" in expected


def test_the_last_value_is_the_result_again(tmp_path):
    cells = ("%%cached\n{'a': [1, 2]}", "print(_['a'], Out)")
    expected = session(tmp_path, *cells)[1]
    assert session(tmp_path, *cells)[1] == expected
    quiet = "%%cached quiet\n6 * 7;"
    assert (last(tmp_path, quiet), "42" in last(tmp_path, quiet)) == ("", False)


def test_a_cell_awaits_at_its_top_level(tmp_path):
    cell = """
        %%cached
        import asyncio
        await asyncio.sleep(0)
        async def double(x):
            await asyncio.sleep(0)
            return 2 * x
        found = await double(4)
        found
    """
    assert "Out[1]: 8" in last(tmp_path, cell)
    restored, shown = session(tmp_path, cell, "print(found, await double(1))")
    assert is_restored(restored)
    assert shown == "8 2\n"


# What cannot be kept


def test_a_variable_without_fingerprint_is_named(tmp_path):
    _, text = session(tmp_path, "client = object()", "%%cached\nprint(type(client).__name__)")
    assert text.startswith(
        "not cached: the cell reads client, and the value is an object, which has no fingerprint."
    )
    assert text.endswith("object\n")


def test_a_variable_that_cannot_be_stored_is_named(tmp_path):
    cell = "%%cached\nimport threading\ngood, lock = 1, threading.Lock()"
    for _ in range(2):
        text, shown = session(tmp_path, cell, "print(good, lock.locked())")
        assert text.startswith("not cached: lock cannot be pickled: ")
        assert text.endswith("Name it after --ignore if it is not needed\n")
        assert shown == "1 False\n"
    assert last(tmp_path, cell.replace("%%cached", "%%cached --ignore lock")) == ""


def test_a_class_of_another_cell_that_is_gone_makes_the_cell_run(tmp_path):
    make = "class Made:\n    def __eq__(self, other): return True\ndef build(): return Made()"
    cell = "%%cached --version 1\nprint('computing')\nexec('thing = ' + how)"
    session(tmp_path, make, "how = 'build()'", cell)
    _, text = session(tmp_path, "how = 'build()'\ndef build(): return 1", cell)
    assert text == "computing\n"


def test_below_another_magic_a_cell_runs_and_says_so(tmp_path):
    text = last(tmp_path, "%%time\n%%cached\nprint(1)")
    assert "not cached: %%cached is no first line here" in text
    assert "\n1\n" in text


def test_a_damaged_store_keeps_no_cell_from_running(tmp_path):
    session(tmp_path, "factor = 3", SLOW)
    for name in ("cache.db", "cache.hot"):
        if (path := tmp_path / ".dolium" / name).exists():
            path.write_bytes(b"no database" * 1000)
    assert session(tmp_path, "factor = 3", SLOW, SHOW)[2] == "[0, 3, 6, 9]\n"
    (tmp_path / "file").write_text("")
    dir_cell = "%cached_dir file/below"
    refused, _, shown = session(tmp_path, dir_cell, "factor = 3", SLOW)
    assert "NotADirectoryError" in refused
    assert shown.startswith("not cached: NotADirectoryError: ")
    assert shown.endswith("computing\n")


def test_the_directory_can_be_chosen(tmp_path):
    other = tmp_path / "elsewhere"
    cells = (f"%cached_dir {other}", "factor = 3", SLOW)
    session(tmp_path, *cells)
    assert is_restored(session(tmp_path, *cells)[2])
    assert not (tmp_path / ".dolium").exists()


def test_it_is_unloaded_without_a_trace(tmp_path):
    text = last(
        tmp_path,
        "%unload_ext dolium",
        "ip = get_ipython(); print(len(ip.ast_transformers), 'cached' in ip.magics_manager.magics['cell'])",
    )
    assert text == "0 False\n"


def test_help_is_shown(tmp_path):
    assert "--ignore" in last(tmp_path, "%%cached?") or "--ignore" in last(tmp_path, "?%%cached")
