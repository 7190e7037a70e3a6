"""Keys of calls: what the arguments of a call become, by the signature and by rules."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import types
from operator import attrgetter
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import UnkeyableError, fingerprint
from dolium.functions.binding import compile_binding
from dolium.functions.key import file_content, file_stamp, function_name, module_name, stored_key
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(code=lambda function: function.__qualname__)
    monkeypatch.setitem(sys.modules, "dolium.functions.version", module)


def key(function: Any, *args: Any, rule: Any = None, **kwargs: Any) -> tuple[Any, ...]:
    binding = compile_binding(function, rule)
    return stored_key(function_name(function), "1", binding.bind(*args, **kwargs), binding.labels)


# Binding


def of_every_kind(a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any, e: Any = 5, **more: Any) -> Any:
    return a, b, c, rest, d, e, more


@given(st.lists(st.integers(), max_size=5), st.dictionaries(st.sampled_from("abcdefg"), st.integers()))
@settings(deadline=None)
def test_binding_does_what_a_call_does(args: list[int], kwargs: dict[str, int]) -> None:
    bind = compile_binding(of_every_kind).bind
    try:
        expected = of_every_kind(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(TypeError, match=f"^{re.escape(str(error))}$"):
            bind(*args, **kwargs)
    else:
        assert bind(*args, **kwargs) == expected


def test_t04_every_signature_binds() -> None:
    def none() -> None: ...
    def only_keyword(*, a: Any) -> None: ...
    def only_position(a: Any, /) -> None: ...
    def position_then_keyword(a: Any, /, *, b: Any = 1) -> None: ...
    def odd_names(_0: Any, _1: Any = 2, bind: Any = 3, *, _2: Any = 4) -> None: ...

    assert compile_binding(none).bind() == ()
    assert compile_binding(only_keyword).bind(a=1) == (1,)
    assert compile_binding(only_position).bind(1) == (1,)
    assert compile_binding(position_then_keyword).bind(2) == (2, 1)
    assert compile_binding(odd_names, {"bind": lambda x: -x}).bind(1) == (1, 2, -3, 4)
    assert compile_binding(lambda x: 0).bind(1) == (1,)


def test_t04_mutable_default_counts_as_it_is() -> None:
    def collect(item: Any, into: Any = []) -> Any:  # noqa: B006
        into.append(item)

    before = key(collect, 1)
    assert key(collect, 1, []) == before
    collect(5)
    assert key(collect, 1) == key(collect, 1, [5]) != before


def test_calls_of_one_meaning_share_a_key() -> None:
    def f(a: Any, b: Any = 2, **more: Any) -> None: ...

    assert key(f, 1) == key(f, a=1) == key(f, 1, 2) == key(f, b=2, a=1)
    assert key(f, 1, x=1, y=2) == key(f, 1, y=2, x=1) != key(f, 1, x=2, y=1)


def test_calls_of_equal_numbers_have_keys_of_their_own() -> None:
    def f(a: Any) -> None: ...

    with dolium.Cache() as cache:
        different = (1, 1.0, True, "1", 0.0, -0.0, 0, False, None)
        for number, value in enumerate(different):
            cache[key(f, value)] = number
        assert [cache[key(f, value)] for value in different] == [*range(len(different))]


def test_partials_keep_what_they_bound() -> None:
    def f(a: Any, b: Any = 2, *, c: Any = 3) -> None: ...

    assert key(functools.partial(f, 1)) == key(f, 1)
    assert key(functools.partial(f, 1, c=4), 5) == key(f, 1, 5, c=4)
    assert key(functools.partial(f, 1, c=4), c=5) == key(f, 1, c=5)
    assert key(functools.partial(functools.partial(f, 1), b=7)) == key(f, 1, 7)


class Reader:
    def __init__(self, root: str) -> None:
        self.root = root

    def __fingerprint__(self) -> object:
        return self.root

    def read(self, name: str) -> str:
        return self.root + name

    def __call__(self, name: str) -> str:
        return self.read(name)

    @classmethod
    def open(cls, name: str) -> None: ...

    @staticmethod
    def check(name: str) -> None: ...


def test_methods_bind_the_object() -> None:
    one = Reader("/a")
    assert key(one.read, "x") == key(Reader.read, one, "x") == key(Reader("/a").read, name="x")
    assert key(one.read, "x") != key(Reader("/b").read, "x")
    assert key(functools.partial(one.read, "x")) == key(one.read, "x")
    assert compile_binding(one).bind("x") == (one, "x")
    assert compile_binding(Reader.read, {"self": attrgetter("root")}).bind(one, "x") == ("/a", "x")
    with pytest.raises(TypeError, match=r"^Reader\.read\(\) missing"):
        compile_binding(one.read).bind()


def test_class_and_static_methods_bind_in_any_form() -> None:
    assert compile_binding(Reader.open).bind("x") == (Reader, "x")
    assert compile_binding(vars(Reader)["open"]).bind(Reader, "x") == (Reader, "x")
    assert (
        compile_binding(vars(Reader)["check"]).bind("x") == compile_binding(Reader.check).bind("x") == ("x",)
    )


def test_wrapper_of_anything_has_the_inner_signature() -> None:
    @functools.wraps(of_every_kind)
    def anything(*args: Any, **kwargs: Any) -> None: ...
    @functools.wraps(of_every_kind)
    def narrower(a: Any) -> None: ...

    assert compile_binding(anything).bind(1, d=4) == compile_binding(of_every_kind).bind(1, d=4)
    assert compile_binding(narrower).bind(1) == (1,)
    assert compile_binding(functools.lru_cache(Reader.read)).names == ("self", "name")


def test_function_without_a_signature_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="does not say which parameters it has; pass a function as key"):
        compile_binding(dict)
    assert compile_binding(dict, lambda *args, **kwargs: sorted(kwargs)).bind(b=1, a=2) == (["a", "b"],)


# Rules


def test_rule_leaves_out_or_replaces() -> None:
    def f(client: Any, x: Any, model: Any = None) -> None: ...

    rule = {"client": None, "x": lambda x: round(x, 6), "model": attrgetter("name")}
    binding = compile_binding(f, rule)
    assert binding.names == ("x", "model")
    assert binding.bind(object(), 1.00000000004, types.SimpleNamespace(name="m")) == (1.0, "m")


def test_rule_for_the_rest_of_the_arguments() -> None:
    assert compile_binding(of_every_kind, {"rest": len, "more": None}).bind(1, 2, 3, 4, 5, d=6, z=7) == (
        1,
        2,
        3,
        2,
        6,
        5,
    )


@pytest.mark.parametrize("rule", [{"nobody": None}, {"a": "name"}, {"args": None}])
def test_rule_for_no_parameter_is_refused_at_once(rule: Any) -> None:
    def f(a: Any) -> None: ...

    with pytest.raises(TypeError, match=f"key: .*{next(iter(rule))!r}"):
        compile_binding(f, rule)


def test_one_rule_stands_for_all_arguments() -> None:
    assert compile_binding(of_every_kind, lambda a, d: a + d).bind(1, d=2) == (3,)


# Closures


def make(factor: Any, client: Any = None) -> Any:
    def scale(x: Any) -> Any:
        return x * factor, client, scale

    return scale


def test_free_variables_count_like_arguments() -> None:
    assert key(make(2), 1) == key(make(2), 1) != key(make(3), 1)
    assert compile_binding(make(2), {"client": None, "factor": str, "scale": None}).bind(1) == (1, "2")
    with pytest.raises(TypeError, match=r"'other' is no parameter of make\.<locals>\.scale"):
        compile_binding(make(2), {"other": None})


def test_free_variable_counts_as_it_is_at_the_call() -> None:
    def outer() -> Any:
        count = 0

        def read() -> int:
            return count

        def more() -> None:
            nonlocal count
            count += 1

        return read, more

    read, more = outer()
    bind = compile_binding(read).bind
    assert bind() == (0,)
    more()
    assert bind() == (1,)


def test_wrapper_in_its_own_closure_is_the_function() -> None:
    def outer() -> Any:
        def inner(n: int) -> Any:
            return cached(n - 1)

        @functools.wraps(inner)
        def cached(n: int) -> Any:
            return inner(n)

        return inner

    assert key(outer(), 1) == key(outer(), 1)


def test_method_with_super_has_no_part_for_its_class() -> None:
    class Below(Reader):
        def read(self, name: str) -> str:
            return super().read(name)

    assert compile_binding(Below.read).names == ("self", "name")


# The stored key


def test_short_parts_are_stored_as_they_are() -> None:
    plain = (None, True, 0, -(2**63), 2**63 - 1, 1.5, float("-inf"), "", "ä" * 32, "x" * 64)
    assert stored_key("m.f()", "v", plain) == ("m.f()", "v", *plain)
    nan, other = stored_key("m.f()", "v", (float("nan"),))[2], stored_key("m.f()", "v", (-float("nan"),))[2]
    cache = dolium.Cache()
    cache["m.f()", nan] = 1
    assert cache["m.f()", other] == 1
    cache.close()


@pytest.mark.parametrize("part", [2**63, "x" * 65, "ä" * 33, "\ud800", b"", 1j, (), [1], {"a": 1}, range(1)])
def test_all_else_is_stored_as_its_fingerprint(part: Any) -> None:
    assert stored_key("m.f()", "v", (1, part)) == ("m.f()", "v", 1, fingerprint(part))


def test_bytes_never_look_like_a_fingerprint() -> None:
    assert stored_key("m.f()", "v", ([1],)) != stored_key("m.f()", "v", (fingerprint([1]),))


def test_refusal_names_the_argument_and_the_rule() -> None:
    class Client: ...

    Client.__module__, Client.__qualname__ = "httpx", "Client"

    def features(options: Any) -> None: ...

    with pytest.raises(UnkeyableError) as caught:
        key(features, {"client": Client()})
    assert str(caught.value) == (
        "features() cannot tell calls apart: argument 'options'['client'] is an httpx.Client. Leave it out with "
        'key={"options": ...}, register its type, or give it __fingerprint__.'
    )
    with pytest.raises(
        UnkeyableError, match=r"scale\(\) cannot tell calls apart: free variable 'client' is an httpx"
    ):
        key(make(1, Client()), 1)


# Names


def test_name_of_a_function_has_brackets() -> None:
    name = f"{__name__}.Reader.read()"
    assert function_name(Reader.read) == function_name(Reader("").read) == name
    assert function_name(functools.partial(Reader.read, 1)) == name
    assert function_name(Reader("")) == f"{__name__}.Reader()"


PROGRAM = """
import sys
from dolium.functions.key import function_name
from dolium import fingerprint
class Card(str): pass
def f(): ...
if __name__ == "__main__": print(function_name(f), fingerprint(Card("x")).hex())
"""


def test_script_and_its_import_share_names(tmp_path: Path) -> None:
    (tmp_path / "cards.py").write_text(PROGRAM)
    importer = "import cards; print(cards.function_name(cards.f), cards.fingerprint(cards.Card('x')).hex())"
    commands = (["cards.py"], ["-m", "cards"], ["-c", importer])
    found = {
        subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for command in commands
    }
    assert len(found) == 1
    assert found.pop().startswith("cards.f() ")


def test_session_without_a_file_stays_main(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    assert module_name("__main__") == "__main__"
    assert module_name("a.b") == "a.b"


# Files


def test_file_content_counts_bytes_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x" * 600_000)
    other.write_bytes(b"x" * 600_000)
    assert file_content(one) == file_content(str(other)) == file_content(os.fsencode(other))
    other.write_bytes(b"x" * 599_999 + b"y")
    assert file_content(one) != file_content(other)
    assert file_content(None) is None


def test_file_stamp_counts_path_and_change(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    before = file_stamp(one)
    assert before == file_stamp(one) != file_stamp(other)
    os.utime(one, ns=(1, 1))
    assert file_stamp(one) != before
    assert file_stamp(None) is None


@pytest.mark.parametrize("how", [file_content, file_stamp])
def test_missing_files_count_by_their_paths(how: Any, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert how(one) == how(one) != how(other)
    assert how(one) != how(None)
    missing = how(one)
    one.write_bytes(b"")
    assert how(one) != missing
    with pytest.raises(TypeError):
        how(3.5)


# The acceptance tests of public threads


def test_t10_call_that_cannot_be_told_has_no_key() -> None:
    def f(a: Any, b: Any) -> None: ...

    with pytest.raises(UnkeyableError, match="argument 'b' is an object"):
        key(f, 1, object())


def test_t16_everything_counts_unless_a_rule_says_otherwise() -> None:
    def ask(model: str, prompt: str, temperature: float = 0.0, **options: Any) -> None: ...

    calls = [
        key(ask, "a", "x"),
        key(ask, "b", "x"),
        key(ask, "a", "y"),
        key(ask, "a", "x", 0.5),
        key(ask, "a", "x", seed=1),
        key(ask, "a", "x", seed=2),
    ]
    assert len(set(calls)) == len(calls)


def test_t16_method_of_an_unknown_object_is_refused() -> None:
    class Model:
        def answer(self, prompt: str) -> None: ...

    with pytest.raises(UnkeyableError, match="argument 'self' is a"):
        key(Model().answer, "x")
