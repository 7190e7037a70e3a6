"""The age chart: how many of the lines present at each moment were written when.

It owns the choice of cohorts and everything about the look. It knows neither git nor the cache.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

UTC = dt.timezone.utc
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MOST_COHORTS = 14  # more bands than this cannot be told apart


@dataclass(frozen=True)
class Layer:
    """The lines of one commit of the mainline, by the moment they were written at."""

    time: int
    ages: Counter[int]


@dataclass(frozen=True)
class Unit:
    """A length of time that people have a name for."""

    name: str
    label: str  # how strftime shows one
    seconds: float
    months: int = 0

    def start(self, time: int) -> dt.datetime:
        """The beginning of the unit that holds `time`."""
        moment = dt.datetime.fromtimestamp(time, UTC)
        if self.months:
            month = moment.month - 1
            if self.months > 12:
                years = self.months // 12
                return dt.datetime(moment.year - moment.year % years, 1, 1, tzinfo=UTC)
            return dt.datetime(moment.year, month - month % self.months + 1, 1, tzinfo=UTC)
        return dt.datetime.fromtimestamp(time - time % self.seconds, UTC)

    def show(self, start: dt.datetime) -> str:
        if self.months == 3:
            return f"{start.year} Q{start.month // 3 + 1}"
        return start.strftime(self.label)


UNITS = (
    Unit("minute", "%H:%M", MINUTE),
    Unit("five minutes", "%H:%M", 5 * MINUTE),
    Unit("quarter of an hour", "%H:%M", 15 * MINUTE),
    Unit("hour", "%-d %b %H:%M", HOUR),
    Unit("six hours", "%-d %b %H:%M", 6 * HOUR),
    Unit("day", "%-d %b", DAY),
    Unit("week", "%-d %b %Y", 7 * DAY),
    Unit("month", "%b %Y", 30 * DAY, months=1),
    Unit("quarter", "", 91 * DAY, months=3),
    Unit("year", "%Y", 365 * DAY, months=12),
    Unit("two years", "from %Y", 2 * 365 * DAY, months=24),
    Unit("five years", "from %Y", 5 * 365 * DAY, months=60),
)


def unit_for(layers: list[Layer]) -> Unit:
    """The finest unit that cuts the ages of all lines into few enough cohorts."""
    times = {time for layer in layers for time in layer.ages}
    for unit in UNITS:
        if len({unit.start(time) for time in times}) <= MOST_COHORTS:
            return unit
    return UNITS[-1]


def median_time(layer: Layer) -> int:
    """The moment since which half of the lines of the layer were written."""
    left = layer.ages.total() / 2
    for time in sorted(layer.ages, reverse=True):
        left -= layer.ages[time]
        if left <= 0:
            return time
    return layer.time


def show_moment(time: int, now: int) -> str:
    moment = dt.datetime.fromtimestamp(time, UTC)
    return f"{moment:%H:%M}" if now - time < DAY else f"{moment:%-d %B %Y}"


def draw(layers: list[Layer], title: str, remark: str, path: Path) -> Unit:
    """Write the chart as a PNG and say which unit its bands have."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import dates
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter
    from matplotlib.transforms import offset_copy

    unit = unit_for(layers)
    starts = sorted({unit.start(time) for layer in layers for time in layer.ages})
    bands = {start: [0] * len(layers) for start in starts}
    for at, layer in enumerate(layers):
        for time, count in layer.ages.items():
            bands[unit.start(time)][at] += count
    colours = mpl.colormaps["viridis"](
        [0.04 + 0.9 * at / max(len(starts) - 1, 1) for at in range(len(starts))]
    )

    ink, faint = "#222222", "#777777"
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": ink, "axes.edgecolor": faint})
    figure, axes = plt.subplots(figsize=(11, 6.2), layout="constrained")
    moments = [dt.datetime.fromtimestamp(layer.time, UTC) for layer in layers]
    if len({moment.timestamp() for moment in moments}) > 1:
        axes.stackplot(moments, list(bands.values()), colors=colours, edgecolor="none")
        edges = list(
            itertools.accumulate(
                bands.values(), lambda below, band: [x + y for x, y in zip(below, band, strict=True)]
            )
        )
        axes.plot(moments, list(zip(*edges, strict=True)), color="white", linewidth=0.6)
        axes.set_xlim(moments[0], moments[-1])
        locator = dates.AutoDateLocator(maxticks=9, tz=UTC)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    else:  # one moment has no curve
        labels = [unit.show(start) for start in starts]
        axes.bar(
            labels,
            [band[-1] for band in bands.values()],
            color=colours,
            width=min(0.7, 0.1 + 0.1 * len(starts)),
        )
        axes.margins(x=max(0.05, 0.6 - 0.1 * len(starts)))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(colors=faint, labelcolor=ink, length=3)
    axes.grid(axis="y", color="white", alpha=0.35, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("lines")
    axes.set_title(f"{title}\n", loc="left", fontsize=15, fontweight="bold", pad=12)
    axes.text(0, 1, remark, transform=offset_copy(axes.transAxes, figure, y=14, units="points"), color=faint)
    total = max(sum(band[-1] for band in bands.values()), 1)
    handles = [Patch(color=colour) for colour in colours]
    names = [f"{unit.show(start)}   {_share(bands[start][-1] / total)}" for start in starts]
    legend = figure.legend(
        handles[::-1], names[::-1], loc="outside right center", frameon=False, fontsize=9, alignment="left",
        handlelength=1, handleheight=1, title=f"by {unit.name},\nshare of the lines today", title_fontsize=9,
    )  # fmt: skip
    legend.get_title().set_color(faint)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return unit


def _share(part: float) -> str:
    return "–" if not part else "< 1 %" if part < 0.01 else f"{part:.0%}".replace("%", " %")
