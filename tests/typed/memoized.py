"""Type checkers know what a memoized function or method is. They read this file; nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING

import dolium

if TYPE_CHECKING:
    from typing_extensions import assert_type

cache = dolium.Cache()
django_like = dolium.FanoutCache()


@cache.memoize(expire=60, ignore={"note"})
def name_of(number: int, note: str = "") -> str:
    return str(number)


@dolium.memoize_stampede(django_like, expire=60)
async def length_of(text: str) -> int:
    return len(text)


class Shop:
    @cache.memoize(typed=True)
    def price(self, item: str, *, discount: float = 0.0) -> float:
        return len(item) - discount

    @cache.memoize()
    async def stock(self, item: str) -> int:
        return len(item)


def functions() -> None:
    assert_type(name_of(1), str)
    assert_type(name_of(number=1, note="x"), str)
    assert_type(name_of.invalidate(1), bool)
    assert_type(name_of.refresh(1), str)
    assert_type(name_of.__wrapped__(1), str)
    name_of("one")  # type: ignore[arg-type]
    name_of.invalidate("one")  # type: ignore[arg-type]


async def coroutine_functions(shop: Shop) -> None:
    assert_type(await length_of("a"), int)
    assert_type(await length_of.invalidate("a"), bool)
    assert_type(await length_of.refresh("a"), int)
    assert_type(await shop.stock("tea"), int)
    assert_type(await shop.stock.invalidate(shop, "tea"), bool)
    assert_type(await Shop.stock.refresh(shop, "tea"), int)


def methods(shop: Shop) -> None:
    assert_type(shop.price("tea"), float)
    assert_type(shop.price("tea", discount=0.5), float)
    assert_type(shop.price.invalidate(shop, "tea"), bool)
    assert_type(Shop.price.invalidate(shop, "tea", discount=0.5), bool)
    assert_type(Shop.price.refresh(shop, "tea"), float)
    shop.price(1)  # type: ignore[arg-type]
    shop.price.invalidate("tea")  # type: ignore[call-arg]
