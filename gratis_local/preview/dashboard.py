"""The dashboards that template.yaml deploys: the one definition that CloudWatch and the report draw."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gratis_local.deploy import read_template
from gratis_local.places import shipped
from gratis_local.preview.samples import Dimensions
from gratis_local.stack import STACK

NAMES = {"AWS::StackName": STACK, "AWS::Region": "us-east-1"}
"""What the template's pseudo parameters stand for here."""


@dataclass(frozen=True)
class Line:
    """One entry of a widget: a metric, or (without a name) an expression over others of the widget."""

    options: Mapping[str, Any]
    namespace: str = ""
    name: str = ""
    dimensions: Dimensions = frozenset()


@dataclass(frozen=True)
class Widget:
    """One widget on the grid of 24 columns. `properties`: as CloudWatch's dashboard body has them."""

    kind: str
    x: int
    y: int
    width: int
    height: int
    properties: Mapping[str, Any]
    lines: tuple[Line, ...] = ()

    @property
    def title(self) -> str:
        """What stands above it."""
        return str(self.properties.get("title", ""))


@dataclass(frozen=True)
class Dashboard:
    """A dashboard, and what its Contributor Insights rules are, by name."""

    name: str
    widgets: tuple[Widget, ...]
    rules: Mapping[str, Any] = field(default_factory=dict)


def dashboards() -> list[Dashboard]:
    """Every dashboard of template.yaml, in its order."""
    resources = read_template(shipped("template.yaml"))["Resources"].values()
    rules = {
        substituted(each["Properties"]["RuleName"]): json.loads(substituted(each["Properties"]["RuleBody"]))
        for each in resources
        if each["Type"] == "AWS::CloudWatch::InsightRule"
    }
    return [
        Dashboard(
            substituted(each["Properties"]["DashboardName"]), _widgets(each["Properties"]["DashboardBody"]), rules
        )
        for each in resources
        if each["Type"] == "AWS::CloudWatch::Dashboard"
    ]


def substituted(sub: Mapping[str, Any]) -> str:
    """The text of a `!Sub`: a resource, or an attribute of it, is named by its logical id."""
    text, own = (sub["Fn::Sub"], {}) if isinstance(sub["Fn::Sub"], str) else sub["Fn::Sub"]

    def meant(match: re.Match[str]) -> str:
        name = match[1]
        if name in own:
            return _usual(own[name])
        return f"${{{name[1:]}}}" if name.startswith("!") else NAMES.get(name, name.split(".")[0])

    return re.sub(r"\$\{([^}]+)\}", meant, text)


def _usual(value: Any) -> str:
    """What a condition of the template chooses where no parameter asks for anything else."""
    chosen = value["Fn::If"][2]
    return substituted(chosen) if "Fn::Sub" in chosen else str(chosen["Ref"])


def _widgets(body: Mapping[str, Any]) -> tuple[Widget, ...]:
    return tuple(
        Widget(
            each["type"],
            each["x"],
            each["y"],
            each["width"],
            each["height"],
            each["properties"],
            tuple(map(_line, each["properties"].get("metrics", ()))),
        )
        for each in json.loads(substituted(body))["widgets"]
    )


def _line(entry: list[Any]) -> Line:
    options = entry[-1] if isinstance(entry[-1], dict) else {}
    named = [part for part in entry if isinstance(part, str)]
    if not named:
        return Line(options)
    namespace, name, *pairs = named
    return Line(options, namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))
