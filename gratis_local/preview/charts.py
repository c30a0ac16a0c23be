"""Charts as inline SVG. Text stays text, and its colour is that of the page around it, light or dark."""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gratis_local.preview.series import Drawn, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#3b82c4", "#d97706", "#2a9d8f", "#c2527a", "#7c6fd0", "#8a8f2f", "#a8632d", "#5a7d9a")
MEANING = {"within_quota": "#2ca02c", "over_quota": "#ff7f0e"}
"""As the dashboards colour free and billed."""
INK, RULE = "#010203", "#040506"
"""Stand for the page's colours of text and of lines; they are put in when the chart is done."""
WIDTH, HEIGHT = 460, 210
"""In CSS pixels: as on a phone held upright, so that text is large enough there and not too large elsewhere."""
THINNEST = 90
"""A bar is at least this fraction of the chart wide."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gratis",
    "font.size": 12,
    "axes.spines.top": False,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.axisbelow": True,
}


def color_of(line: Drawn, position: int) -> str:
    """The line's own colour, else that of what it means, else one by its position."""
    return line.color or MEANING.get(line.label) or COLORS[position % len(COLORS)]


def short(value: float, _: Any = None) -> str:
    """A figure with at most a few digits: 1.5M, 20k, 0.25."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def over_time(lines: Sequence[Drawn], period: int, *, stacked: bool) -> str:
    """A chart of lines, or of stacked bars, over the time that their points take."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure()
        left = [(line, color_of(line, position)) for position, line in enumerate(lines) if not line.right]
        right = [(line, color_of(line, position)) for position, line in enumerate(lines) if line.right]
        if stacked:
            _bars(axes, left, period)
        else:
            _curves(axes, left)
        if right:
            other = axes.twinx()
            _curves(other, right)
            other.grid(visible=False)
        starts = [start for line in lines for start in line.points]
        axes.set_xlim(*_times([min(starts) - period, max(starts) + period]))
        locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        return _svg(figure)


def side_by_side(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """Horizontal bars: for each name one of each of the `values`."""
    with mpl.rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure, axes = _figure(height=max(HEIGHT, 40 + 34 * len(names)))
        thickness = 0.8 / len(values)
        for number, of_one in enumerate(values):
            places = [place + number * thickness for place in range(len(names))]
            axes.barh(places, of_one, thickness, color=COLORS[number])
        middle = thickness * (len(values) - 1) / 2
        axes.set_yticks([place + middle for place in range(len(names))], [_plain(name) for name in names])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        return _svg(figure)


def _figure(height: int = HEIGHT) -> tuple[Figure, "Axes"]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines["right"].set_visible(False)
    return figure, axes


def _curves(axes: "Axes", lines: Sequence[tuple[Drawn, str]]) -> None:
    for line, color in lines:
        marker = "o" if len(line.points) <= 60 else ""
        axes.plot(_times(line.points), list(line.points.values()), color=color, linewidth=1.6, marker=marker, ms=3)
    _from_zero(axes)


def _bars(axes: "Axes", lines: Sequence[tuple[Drawn, str]], period: int) -> None:
    starts = sorted({start for line, _ in lines for start in line.points})
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    span = starts[-1] - starts[0] + period if starts else period
    width = max(period, min([span / THINNEST, *gaps])) / 86400
    bottom = dict.fromkeys(starts, 0.0)
    for line, color in lines:
        heights = [line.points.get(start, 0.0) for start in starts]
        axes.bar(_times(starts), heights, width, bottom=list(bottom.values()), color=color, align="edge")
        bottom = {start: bottom[start] + height for start, height in zip(starts, heights, strict=True)}
    _from_zero(axes)


def _from_zero(axes: "Axes") -> None:
    highest = axes.dataLim.y1
    axes.set_ylim(0, highest * 1.05 if highest > 0 else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _times(starts: Points | Sequence[int]) -> list[float]:
    """Matplotlib counts days since the beginning of unix time."""
    return [start / 86400 for start in starts]


def _plain(name: str) -> str:
    """Matplotlib takes what stands between dollar signs for mathematics."""
    return name.replace("$", r"\$")


def _svg(figure: Figure) -> str:
    """The drawing alone, without a prologue and as wide as the page lets it be."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor").replace(RULE, "var(--line)")
    width, height = figure.get_size_inches() * 72
    return drawing.replace(f'width="{width:g}pt" height="{height:g}pt"', 'aria-hidden="true"', 1)
