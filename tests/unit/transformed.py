"""template.yaml as CloudFormation gets it: transformed by SAM, and resolved under chosen parameters."""

import copy
import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from samtranslator.translator.transform import transform

from gratis_local.deploy import read_template
from gratis_local.functions import ROOT

ACCOUNT, REGION, STACK = "123456789012", "us-east-1", "gratis-test"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": STACK,
}
ABSENT = object()
"""What `AWS::NoValue` stands for."""


@cache
def transformed() -> dict[str, Any]:
    """The template after SAM's transform. Nothing of it may be changed."""
    content = copy.deepcopy(read_template(ROOT / "template.yaml"))
    for resource in content["Resources"].values():
        properties = resource.get("Properties", {})
        for field in {"CodeUri", "ContentUri"} & properties.keys():
            properties[field] = f"s3://artifacts/{properties[field]}"
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        found: dict[str, Any] = transform(content, {}, SimpleNamespace(load=dict))
    return found


class Deployed:
    """The resources, outputs and policies that a deployment with these parameters has."""

    def __init__(self, **parameters: str) -> None:
        self.template = transformed()
        defaults = {name: str(each.get("Default", "")) for name, each in self.template["Parameters"].items()}
        assert parameters.keys() <= defaults.keys()
        self.names = PSEUDO | defaults | parameters
        wanted = {
            name: each
            for name, each in self.template["Resources"].items()
            if "Condition" not in each or self.condition(each["Condition"])
        }
        self.kinds = {name: each["Type"] for name, each in wanted.items()}
        self.resources = {
            name: each | {"Properties": self.resolved(each.get("Properties", {}))} for name, each in wanted.items()
        }
        self.outputs = {name: self.resolved(each["Value"]) for name, each in self.template["Outputs"].items()}

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of each resource of one type, by its logical id."""
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == kind}

    def statements(self, role: str) -> list[Any]:
        """What the role of this logical id may do: the statements of its policies, and of those attached to it."""
        attached = [each for each in self.of_type("AWS::IAM::ManagedPolicy").values() if role in each["Roles"]]
        own = self.resources[role]["Properties"]["Policies"]
        return [each for policy in [*own, *attached] for each in policy["PolicyDocument"]["Statement"]]

    def condition(self, name: str) -> bool:
        """Whether a condition of the template holds."""
        return bool(self.resolved(self.template["Conditions"][name]))

    def resolved(self, value: Any) -> Any:
        """A value without functions; a resource is named by its logical id, its ARN ends in it."""
        if isinstance(value, list):
            return [each for each in map(self.resolved, value) if each is not ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function in ("Ref", "Condition") or function.startswith("Fn::"):
                return self._called(function, argument)
        found = {name: self.resolved(each) for name, each in value.items()}
        return {name: each for name, each in found.items() if each is not ABSENT}

    def _called(self, function: str, argument: Any) -> Any:
        lazily: dict[str, Callable[[Any], Any]] = {
            "Ref": lambda name: ABSENT if name == "AWS::NoValue" else self._ref(name),
            "Condition": self.condition,
            "Fn::If": lambda parts: self.resolved(parts[1 if self.condition(parts[0]) else 2]),
            "Fn::Sub": self._substituted,
        }
        if function in lazily:
            return lazily[function](argument)
        return CALLED[function](self, self.resolved(argument))

    def _ref(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        assert name in self.template["Resources"], name
        kind = self.kinds.get(name, "")
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        if kind in ("AWS::SNS::Topic", "AWS::SecretsManager::Secret"):
            return self._attribute(name, "Arn")
        return name

    def _attribute(self, name: str, attribute: str) -> str:
        assert name in self.template["Resources"], name
        if not attribute.endswith("Arn"):
            return f"{name}.{attribute}" if attribute != "QueueName" else name
        kind = self.kinds.get(name, "")
        arn = f"arn:aws:{SERVICES.get(kind, 'service')}:{REGION}:{ACCOUNT}:{PREFIXES.get(kind, '')}{name}"
        return arn + {"StreamArn": "/stream/2026"}.get(attribute, ":*" if kind == "AWS::Logs::LogGroup" else "")

    def _substituted(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else (argument[0], self.resolved(argument[1]))

        def meant(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(own[name])
            return str(self._attribute(*name.split(".")) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", meant, text)


CALLED: dict[str, Callable[[Deployed, Any], Any]] = {
    "Fn::GetAtt": lambda deployed, named: deployed._attribute(*named),
    "Fn::FindInMap": lambda deployed, keys: deployed.template["Mappings"][keys[0]][keys[1]][keys[2]],
    "Fn::Select": lambda _, chosen: chosen[1][int(chosen[0])],
    "Fn::Split": lambda _, text: text[1].split(text[0]),
    "Fn::Join": lambda _, parts: parts[0].join(parts[1]),
    "Fn::Equals": lambda _, sides: str(sides[0]) == str(sides[1]),
    "Fn::Not": lambda _, value: not value[0],
    "Fn::And": lambda _, values: all(values),
    "Fn::Or": lambda _, values: any(values),
}
"""Functions of which all arguments are worked out first."""
SERVICES = {
    "AWS::DynamoDB::Table": "dynamodb",
    "AWS::Events::EventBus": "events",
    "AWS::KMS::Key": "kms",
    "AWS::KinesisFirehose::DeliveryStream": "firehose",
    "AWS::Kinesis::Stream": "kinesis",
    "AWS::Lambda::Function": "lambda",
    "AWS::Logs::LogGroup": "logs",
    "AWS::S3::Bucket": "s3",
    "AWS::SNS::Topic": "sns",
    "AWS::SQS::Queue": "sqs",
    "AWS::SecretsManager::Secret": "secretsmanager",
}
PREFIXES = {
    "AWS::DynamoDB::Table": "table/",
    "AWS::Events::EventBus": "event-bus/",
    "AWS::KMS::Key": "key/",
    "AWS::Kinesis::Stream": "stream/",
    "AWS::Lambda::Function": "function:",
    "AWS::Logs::LogGroup": "log-group:",
    "AWS::SecretsManager::Secret": "secret:",
}


def as_list(value: Any) -> list[Any]:
    """A value that may stand alone or in a list."""
    return value if isinstance(value, list) else [value]


def allowed(statements: list[Any], action: str, resource: str, keys: Mapping[str, list[str]]) -> bool:
    """Whether IAM would allow a call under these statements. `keys`: the condition keys that the call has."""
    return any(
        statement["Effect"] == "Allow"
        and action in as_list(statement["Action"])
        and any(_like(resource, each) for each in as_list(statement["Resource"]))
        and all(_holds(operator, tests, keys) for operator, tests in statement.get("Condition", {}).items())
        for statement in statements
    )


def _holds(operator: str, tests: Mapping[str, Any], keys: Mapping[str, list[str]]) -> bool:
    if operator == "Null":
        return all((name not in keys) == (wanted == "true") for name, wanted in tests.items())
    assert operator == "ForAllValues:StringLike", operator
    return all(
        any(_like(value, each) for each in wanted) for name, wanted in tests.items() for value in keys.get(name, ())
    )


def _like(value: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value) is not None
