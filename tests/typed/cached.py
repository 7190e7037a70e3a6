"""What a type checker must say of wrapped functions. `make types` checks this file; nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any

import dolium
from dolium import Failure, Run, Term
from dolium.functions.results import Entry
from typing_extensions import assert_type

cache = dolium.Cache()
fanout = dolium.FanoutCache()


@cache.cached
def plain(a: int, b: str = "") -> list[str]:
    return [b] * a


assert_type(plain(1, b="x"), list[str])
assert_type(plain.refresh(1), list[str])
assert_type(plain.invalidate(1), bool)
assert_type(plain.entry(1), Entry | None)
assert_type(plain.key(1), tuple[Any, ...])
assert_type(plain.explain(1, "b"), str)
assert_type(plain.clear(), int)
assert_type(plain.clear(old_versions=True), int)
assert_type(plain.version, str)
assert_type(plain.info().hits, int)
plain("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain.refresh(c=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@fanout.cached(
    key={"client": None}, version="1", expire=Term(60, on_error=600), errors={KeyError: 30}, tag="t"
)
def with_options(client: object, a: int) -> dict[str, int]:
    return {"a": a}


assert_type(with_options(object(), 1), dict[str, int])


@cache.cached
async def coroutine(a: int) -> bytes:
    return bytes(a)


@cache.cached(expire=60)
async def coroutine_with_options(a: int) -> bytes:
    return bytes(a)


async def asynchronous() -> None:
    assert_type(await coroutine(1), bytes)
    assert_type(await coroutine_with_options(1), bytes)
    assert_type(await coroutine.refresh(1), bytes)
    assert_type(await coroutine.invalidate(1), bool)
    assert_type(await coroutine.entry(1), Entry | None)
    assert_type(await coroutine.clear(), int)
    assert_type(coroutine.key(1), tuple[Any, ...])
    await coroutine("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for item in async_items(3):
        assert_type(item, int)
    async for item in async_items_with_options(3):
        assert_type(item, int)
    assert_type(await async_items.refresh(3), list[int])


@cache.cached
def items(count: int) -> Iterator[int]:
    yield from range(count)


@cache.cached(version="1")
def items_with_options(count: int) -> Generator[int, None, str]:
    yield from range(count)
    return "end"


for number in items(3):
    assert_type(number, int)
for number in items_with_options(3):
    assert_type(number, int)
assert_type(items.refresh(3), Iterator[int])


@cache.cached
async def async_items(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@cache.cached(version="1")
async def async_items_with_options(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Model:
    @cache.cached
    def predict(self, x: float) -> str:
        return str(x)

    @cache.cached(version="1")
    async def ask(self, question: str) -> str:
        return question

    @cache.cached
    def steps(self, count: int) -> Iterator[float]:
        yield float(count)

    @cache.cached
    async def tokens(self, count: int) -> AsyncIterator[str]:
        yield str(count)


model = Model()
assert_type(model.predict(1.0), str)
assert_type(model.predict.refresh(1.0), str)
assert_type(Model.predict(model, 1.0), str)
assert_type(Model.predict.invalidate(model, 1.0), bool)
model.predict("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_ = assert_type(model.ask("?"), Coroutine[Any, Any, str])
for step in model.steps(3):
    assert_type(step, float)


async def tokens() -> None:
    async for token in model.tokens(3):
        assert_type(token, str)


with dolium.using("only"):
    pass
dolium.using("sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


for result in plain.map([1, 2], ["a", "b"], workers=2):
    assert_type(result, list[str])
assert_type(plain.map([1]), Run[list[str]])
assert_type(plain.map([1], errors="collect"), Run[list[str] | Failure])
assert_type(model.predict.map([1.0], common={}, ordered=False, progress=True), Run[str])
assert_type(items.map([3]), Run[list[int]])
assert_type(plain.map([1]).failures, list[Failure])
plain.map([1], errors="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def mapped() -> None:
    async for result in coroutine.map([1, 2], workers=20):
        assert_type(result, bytes)
    async for answer in model.ask.map(["?"], errors="collect"):
        assert_type(answer, str | Failure)
    async for tokens in async_items.map([3]):
        assert_type(tokens, list[int])
