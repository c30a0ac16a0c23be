"""Reads the dashboards from template.yaml: CloudWatch and the report draw the same definition."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gratis_local.deploy import read_template
from gratis_local.options import STACK
from gratis_local.places import shipped
from gratis_local.preview.samples import Dimensions
from gratis_local.stack import Stack

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
    return [
        Dashboard(
            substituted(each["DashboardName"]), widgets_of(substituted(each["DashboardBody"])), _insight_rules(NAMES)
        )
        for each in _resources("AWS::CloudWatch::Dashboard")
    ]


def deployed(stack: Stack, name: str, which: str) -> Dashboard:
    """A dashboard of the stack `name` as CloudWatch has it: `operators` or `business`.

    Rules are the template's, of the stack's log groups, whether or not the stack was deployed with them.
    """
    named = f"{name}-{which}"
    body = stack.client("cloudwatch").get_dashboard(DashboardName=named)["DashboardBody"]
    pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    resources = [each for page in pages for each in page["StackResourceSummaries"]]
    names = {each["LogicalResourceId"]: each.get("PhysicalResourceId", "") for each in resources}
    return Dashboard(named, widgets_of(body), _insight_rules({**names, "AWS::StackName": name}))


def _resources(kind: str) -> list[Mapping[str, Any]]:
    """The properties of each resource of this type in the template, in its order."""
    return [each["Properties"] for each in _template()["Resources"].values() if each["Type"] == kind]


@cache
def _template() -> Any:
    return read_template(shipped("template.yaml"))


def _insight_rules(names: Mapping[str, str]) -> dict[str, Any]:
    return {
        substituted(each["RuleName"], names): json.loads(substituted(each["RuleBody"], names))
        for each in _resources("AWS::CloudWatch::InsightRule")
    }


def substituted(sub: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """The text of a `!Sub`. A reference that is not in `names` becomes its logical id."""
    text, own = (sub["Fn::Sub"], {}) if isinstance(sub["Fn::Sub"], str) else sub["Fn::Sub"]

    def meant(match: re.Match[str]) -> str:
        name = match[1]
        if name in own:
            return _usual(own[name])
        return f"${{{name[1:]}}}" if name.startswith("!") else names.get(name, name.split(".")[0])

    return re.sub(r"\$\{([^}]+)\}", meant, text)


def _usual(value: Any) -> str:
    """The value of an `!If` whose condition does not hold, as with the template's default parameters."""
    chosen = value["Fn::If"][2]
    return substituted(chosen) if "Fn::Sub" in chosen else str(chosen["Ref"])


def widgets_of(body: str) -> tuple[Widget, ...]:
    """The widgets of a dashboard's body, as CloudWatch has it."""
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
        for each in json.loads(body)["widgets"]
    )


def _line(entry: list[Any]) -> Line:
    options = entry[-1] if isinstance(entry[-1], dict) else {}
    named = [part for part in entry if isinstance(part, str)]
    if not named:
        return Line(options)
    namespace, name, *pairs = named
    return Line(options, namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True)))
