"""Draws lines out of samples as CloudWatch does: by period, statistic and metric math, as far as our widgets use it."""

import ast
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from gratis_local.preview.dashboard import Line, Widget
from gratis_local.preview.periods import start_of
from gratis_local.preview.samples import Dimensions, Sample

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Sum": math.fsum,
    "Average": lambda values: math.fsum(values) / len(values),
    "Maximum": max,
    "SampleCount": len,
}
Points = dict[int, float]
"""A value for each period, by the unix time at which it starts."""
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SEARCH = re.compile(
    r"SEARCH\('\{(?P<namespace>\w+),(?P<dimension>\w+),(?P<fixed>\w+)\} "
    r"MetricName=\"(?P<name>\w+)\" (?P=fixed)=\"(?P<value>[\w-]+)\"', '(?P<stat>\w+)'"
)
_DYNAMIC = re.compile(r"\$\{PROP\('Dim\.(\w+)'\)\}")


@dataclass(frozen=True)
class Drawn:
    """One line of a chart. `right`: its scale is the one on the right; `summed`: its points add up."""

    label: str
    points: Points
    color: str | None = None
    right: bool = False
    summed: bool = False


def lines_of(widget: Widget, samples: Sequence[Sample], period: int) -> list[Drawn]:
    """The widget's visible lines; one without a sample has no points."""
    whole = widget.properties.get("setPeriodToTimeRange", False)
    seconds = 0 if whole else max(period, widget.properties.get("period", period))
    points = {_id(line): _points(line, widget, samples, seconds) for line in widget.lines if line.name}
    drawn: list[Drawn] = []
    for line in widget.lines:
        if line.name and line.options.get("visible", True):
            summed = _stat(line, widget) == "Sum"
            right = line.options.get("yAxis") == "right"
            drawn.append(Drawn(line.options["label"], points[_id(line)], line.options.get("color"), right, summed))
        elif not line.name:
            drawn += _computed(line, points, samples, seconds)
    return drawn


def _computed(line: Line, points: Mapping[str, Points], samples: Sequence[Sample], period: int) -> list[Drawn]:
    label, color = line.options["label"], line.options.get("color")
    expression = line.options["expression"]
    if found := _SEARCH.match(expression):
        return _searched(found, label, samples, period)
    value = _value(ast.parse(expression, mode="eval").body, points)
    return [Drawn(label, value if isinstance(value, dict) else {}, color)]


def _id(line: Line) -> str:
    return str(line.options.get("id") or (line.name, line.dimensions, line.options.get("stat")))


def _points(line: Line, widget: Widget, samples: Iterable[Sample], period: int) -> Points:
    wanted = (line.namespace, line.name, line.dimensions)
    ours = [each for each in samples if (each.namespace, each.name, each.dimensions) == wanted]
    return _summarized(ours, _stat(line, widget), period)


def _stat(line: Line, widget: Widget) -> str:
    return str(line.options.get("stat", widget.properties["stat"]))


def _searched(found: re.Match[str], label: str, samples: Iterable[Sample], period: int) -> list[Drawn]:
    """A line for each value of the dimension, in alphabetical order as CloudWatch lists them."""
    by_value: dict[Dimensions, list[Sample]] = defaultdict(list)
    for each in samples:
        dimensions = dict(each.dimensions)
        wanted = (each.namespace, each.name) == (found["namespace"], found["name"])
        of_stack = dimensions.get(found["fixed"]) == found["value"]
        if wanted and of_stack and dimensions.keys() == {found["dimension"], found["fixed"]}:
            by_value[each.dimensions].append(each)
    return [
        Drawn(
            _labelled(label, dict(dimensions)),
            _summarized(of_one, found["stat"], period),
            summed=found["stat"] == "Sum",
        )
        for dimensions, of_one in sorted(by_value.items(), key=lambda item: sorted(item[0]))
    ]


def _labelled(label: str, dimensions: Mapping[str, str]) -> str:
    return _DYNAMIC.sub(lambda match: dimensions[match[1]], label)


def _summarized(samples: Iterable[Sample], stat: str, period: int) -> Points:
    """The statistic of each period; period 0 is all of the time."""
    values: dict[int, list[float]] = defaultdict(list)
    for each in samples:
        values[start_of(each.when, period) if period else 0] += each.values
    return {start: statistic(stat, found) for start, found in sorted(values.items())}


def statistic(stat: str, values: Sequence[float]) -> float:
    """A statistic by CloudWatch's name for it."""
    if stat.startswith("p"):
        rank = math.ceil(float(stat[1:]) / 100 * len(values))
        return sorted(values)[max(rank, 1) - 1]
    return STATISTICS[stat](values)


def _value(node: ast.expr, points: Mapping[str, Points]) -> Points | float:
    """Metric math: numbers, ids, + - * /, RUNNING_SUM. A period without one of the values has no result."""
    match node:
        case ast.Constant(value=float() | int() as number):
            return float(number)
        case ast.Name(id=name):
            return points[name]
        case ast.BinOp(left, operation, right):
            return _combined(_ARITHMETIC[type(operation)], _value(left, points), _value(right, points))
        case ast.Call(func=ast.Name(id="RUNNING_SUM"), args=[of]):
            summands = _value(of, points)
            if isinstance(summands, dict):
                return dict(zip(summands, accumulate(summands.values()), strict=True))
    return {}


def _combined(
    operation: Callable[[float, float], float], left: Points | float, right: Points | float
) -> Points | float:
    if isinstance(left, dict) and isinstance(right, dict):
        pairs = {start: (left[start], right[start]) for start in left if start in right}
    elif isinstance(left, dict):
        pairs = {start: (value, float(right)) for start, value in left.items()}  # type: ignore[arg-type]
    elif isinstance(right, dict):
        pairs = {start: (left, value) for start, value in right.items()}
    else:
        return operation(left, right)
    divides = operation is operator.truediv
    return {start: operation(*pair) for start, pair in pairs.items() if not (divides and pair[1] == 0)}
