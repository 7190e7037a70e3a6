"""What is told how far a run is: a callable of the user's, or a bar of tqdm."""

from __future__ import annotations

from typing import Any

from .figures import Figures, Progress


def teller(progress: bool | Progress, name: str, total: int | None) -> Teller | None:
    """What is told of each item that is done; None if nothing is."""
    if progress is True:
        return Bar(name, total)
    if callable(progress):
        return Teller(progress)
    if progress:
        raise TypeError(f"map: progress={progress!r} is neither True nor a function of the figures")
    return None


class Teller:
    """Tells a callable."""

    def __init__(self, call: Progress) -> None:
        self.tell = call

    def close(self) -> None:
        """The run is over."""


class Bar(Teller):
    """A bar of tqdm, in a terminal or a notebook. Its estimate comes from items that were computed."""

    def __init__(self, name: str, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm  # pyright: ignore[reportMissingModuleSource]
        except ImportError as error:
            raise ImportError(
                "map: progress=True needs tqdm; install dolium[map], or pass a function"
            ) from error
        base: Any = tqdm

        class Meter(base):
            rate: float | None = None

            @property
            def format_dict(self) -> dict[str, Any]:
                above: Any = super()
                found: dict[str, Any] = above.format_dict
                # Without a rate tqdm would make one from the hits, unless none of them came since it began.
                return {**found, "rate": self.rate, "initial": self.n}

        self._bar: Any = Meter(total=total, desc=name, unit="item")

    def tell(self, figures: Figures) -> None:
        bar = self._bar
        bar.rate = figures.rate
        counts = {"hits": figures.hits, "failed": figures.failed}
        bar.set_postfix({name: count for name, count in counts.items() if count}, refresh=False)
        bar.update(figures.done - bar.n)

    def close(self) -> None:
        self._bar.close()
