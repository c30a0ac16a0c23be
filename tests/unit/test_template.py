"""template.yaml says the same as the code: keys, permissions, metrics, stream filters, lifetimes."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from gratis.account import event_documents
from gratis.closing.late import LateDays
from gratis.closing.merkle import MerkleTree
from gratis.closing.proof import Differences, Proof
from gratis.closing.statements import Statements
from gratis.closing.sums import statement_of
from gratis.errors import Rejected
from gratis.intake import events
from gratis.intake.sources import SOURCES
from gratis.outbox import bus_entries
from gratis.rules.account import Account
from gratis.rules.receipt import RECORD
from gratis.table import keys, ledger
from gratis.table.accounts import Accounts
from gratis.table.api_keys import LISTING, Holder, Keys
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.quarantine import Quarantine, entry
from gratis_local.deploy import read_template
from gratis_local.engine import TABLE_SCHEMA
from gratis_local.functions import ROOT
from tests.builders.aws import TABLE, moto_table
from tests.builders.events import DAY, RECEIVED, incompressible, message, request, usage
from tests.builders.ledger import Desk, classifier
from tests.builders.organizations import account
from tests.builders.statement_keys import signer
from tests.unit.transformed import ACCOUNT, PSEUDO, STACK, Deployed, as_list, transformed

TEMPLATE: Any = read_template(ROOT / "template.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
PACKAGE = ROOT / "layers/core/gratis"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists())


def of_type(kind: str) -> dict[str, Any]:
    """The properties of each resource of one type, by its logical id."""
    return {name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind}


def function_of(folder: str) -> Any:
    """The properties of the function whose code lies in functions/<folder>."""
    functions = of_type("AWS::Serverless::Function").values()
    (found,) = [each for each in functions if each["CodeUri"] == f"functions/{folder}"]
    return TEMPLATE["Globals"]["Function"] | found


@cache
def deployed() -> Deployed:
    """What a deployment with every parameter's default has."""
    return Deployed()


def logical_id(folder: str) -> str:
    """The logical id of the function whose code lies in functions/<folder>."""
    (found,) = [
        name for name, each in of_type("AWS::Serverless::Function").items() if each["CodeUri"] == f"functions/{folder}"
    ]
    return found


def role_of(folder: str) -> str:
    """The logical id of the role that a function has."""
    return str(RESOURCES[logical_id(folder)]["Properties"]["Role"]["Fn::GetAtt"][0])


@cache
def streaming() -> Deployed:
    """What a deployment has whose events wait in the stream."""
    return Deployed(Intake="stream")


def sources_of_function(folder: str, of: Deployed | None = None) -> list[Any]:
    """What hands a function its batches."""
    mappings = (of or deployed()).of_type("AWS::Lambda::EventSourceMapping").values()
    return [each for each in mappings if each["FunctionName"] == logical_id(folder)]


def test_every_function_has_a_folder_and_every_folder_a_function() -> None:
    deployed = {each["CodeUri"] for each in of_type("AWS::Serverless::Function").values()}
    assert deployed == {f"functions/{name}" for name in FUNCTIONS}


# --- the table -----------------------------------------------------------------------------------------------------


def test_the_table_has_the_keys_that_the_engine_creates() -> None:
    properties = RESOURCES["LedgerTable"]["Properties"]
    assert {name: properties[name] for name in TABLE_SCHEMA} == TABLE_SCHEMA


def test_what_expires_is_the_attribute_that_the_code_writes() -> None:
    assert RESOURCES["LedgerTable"]["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": next(iter(ledger._expiry(DAY, KEEP_DECISIONS))),
        "Enabled": True,
    }


def test_a_decision_is_kept_until_no_repeat_of_it_can_come() -> None:
    waiting = timedelta(seconds=RESOURCES["UsageQueue"]["Properties"]["MessageRetentionPeriod"])
    assert waiting == timedelta(hours=RESOURCES["UsageStream"]["Properties"]["RetentionPeriodHours"])
    assert events.HORIZON + waiting <= ledger.LATEST_DECISION
    assert ledger.LATEST_DECISION + waiting <= KEEP_DECISIONS


# --- permissions: what the code calls, and what it may call ----------------------------------------------------------

ACTIONS = {
    "batch_get_item": "dynamodb:BatchGetItem",
    "batch_write_item": "dynamodb:BatchWriteItem",
    "delete_item": "dynamodb:DeleteItem",
    "get_item": "dynamodb:GetItem",
    "get_public_key": "kms:GetPublicKey",
    "put_item": "dynamodb:PutItem",
    "query": "dynamodb:Query",
    "transact_write_items": "dynamodb:PutItem",
    "update_item": "dynamodb:UpdateItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Update": "dynamodb:UpdateItem",
    "put_events": "events:PutEvents",
    "put_records": "kinesis:PutRecords",
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "sign": "kms:Sign",
    "SecretsProvider": "secretsmanager:GetSecretValue",
}
"""What each call of a client needs, and what a transaction holds beside puts. `SecretsProvider` is Powertools', which
makes its call itself."""
IN_TRANSACTIONS = {"Put", "Update", "Delete", "ConditionCheck"}
SERVICES = ("dynamodb", "events", "kinesis", "kms", "secretsmanager", "sqs")


@dataclass
class Definition:
    """A function, method or class of the package. `owner`: the class of a method.

    `registered_by`: the objects whose methods decorate a function, as routes do: who mentions them may call it.
    """

    name: str
    owner: str | None
    body: list[ast.AST]
    registered_by: frozenset[str] = frozenset()

    def is_in(self, names: set[str]) -> bool:
        """Whether code that mentions these names may call this: a method only as an attribute of its class's object."""
        if self.owner is not None:
            return {self.owner, f".{self.name}"} <= names
        return self.name in names or bool(self.registered_by & names)


@dataclass
class Module:
    """What a source file defines and what it imports of ours while it runs."""

    tree: ast.Module
    definitions: list[Definition] = field(default_factory=list)
    imports: set[Path] = field(default_factory=set)


@cache
def module(path: Path) -> Module:
    found = Module(ast.parse(path.read_text()))
    for node in found.tree.body:
        if isinstance(node, ast.FunctionDef):
            calls = [each.func for each in node.decorator_list if isinstance(each, ast.Call)]
            roots = [each.value for each in calls if isinstance(each, ast.Attribute)]
            registered_by = frozenset(each.id for each in roots if isinstance(each, ast.Name))
            found.definitions.append(Definition(node.name, None, [node], registered_by))
        elif isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
            special = [each for each in methods if each.name.startswith("__") or each.decorator_list]
            rest = [each for each in node.body if each not in methods]
            found.definitions.append(Definition(node.name, None, [*node.decorator_list, *node.bases, *rest, *special]))
            found.definitions += [Definition(each.name, node.name, [each]) for each in methods]
        within = ast.walk(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else [node]
        found.imports |= {each for part in within if isinstance(part, ast.ImportFrom) for each in sources_of(part)}
    texts = {node.value for node in ast.walk(found.tree) if isinstance(node, ast.Constant)}
    named = {text for text in texts if isinstance(text, str) and re.fullmatch(r"gratis(\.\w+)+", text)}
    found.imports |= {source for each in named if (source := source_of(each)).exists()}  # imported by name
    return found


def sources_of(node: ast.ImportFrom) -> set[Path]:
    """The source files of the package that an import names."""
    if (node.module or "").partition(".")[0] != "gratis":
        return set()
    source = source_of(str(node.module)).with_suffix("")
    submodules = {source / f"{alias.name}.py" for alias in node.names} if source.is_dir() else set()
    own = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    return {each for each in submodules if each.exists()} or {own}


def source_of(name: str) -> Path:
    """The source file of a module of the package."""
    return PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")


def imported(path: Path) -> set[Path]:
    """The modules of the package that a file imports, directly or through another."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for source in module(waiting.pop()).imports:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return seen


def names_in(nodes: list[ast.AST]) -> set[str]:
    """Every name and attribute; as `.name` what is called or handed on; the operation of every paginator, and what
    transactions hold.
    """
    found = set()
    for node in (each for root in nodes for each in ast.walk(root)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Call):
            handed_on = node.args if ast.unparse(node.func) in HAND_ON else []
            found |= {f".{each.attr}" for each in (node.func, *handed_on) if isinstance(each, ast.Attribute)}
            if ast.unparse(node.func).endswith(".get_paginator"):
                found |= {each.value for each in node.args if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.Dict):
            held = {each.value for each in node.keys if isinstance(each, ast.Constant)}
            found |= held & IN_TRANSACTIONS
    return found


HAND_ON = {"map", "partial", "filter", "iter", "spread_out"}
"""What calls a function that it is given. (`timedelta.days` is no call of a method `days`.)"""


def mentioned(folder: str) -> set[str]:
    """All names in the code that a function can reach: its own, and whatever of the package is mentioned by name."""
    app = ROOT / "functions" / folder / "app.py"
    names = names_in([module(app).tree])
    waiting = [definition for source in imported(app) for definition in module(source).definitions]
    while True:
        reached = [each for each in waiting if each.is_in(names)]
        if not reached:
            return names
        waiting = [each for each in waiting if each not in reached]
        names |= {name for each in reached for name in names_in(each.body)}


WRITES_ITS_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
READS_ITS_SOURCE = {
    "kinesis": {
        "kinesis:DescribeStream",
        "kinesis:DescribeStreamSummary",
        "kinesis:GetRecords",
        "kinesis:GetShardIterator",
        "kinesis:ListShards",
    },
    "sqs": {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
    "dynamodb": {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"},
}
KEEPS_WHAT_FAILED = {"sqs": {"sqs:SendMessage"}, "s3": {"s3:ListBucket", "s3:PutObject"}}
"""What Lambda does in a function's name, as AWS documents it."""


def done_for(folder: str, of: Deployed | None = None) -> set[str]:
    """What Lambda itself does with a function's role."""
    services = [each["EventSourceArn"].split(":")[2] for each in sources_of_function(folder, of)]
    failed = [each["DestinationConfig"]["OnFailure"]["Destination"] for each in destinations(folder, of)]
    kept = [KEEPS_WHAT_FAILED[each.split(":")[2]] for each in failed]
    return WRITES_ITS_LOG.union(*kept, *(READS_ITS_SOURCE[service] for service in services))


def allowed(folder: str, of: Deployed | None = None) -> set[str]:
    """The actions that a function's role allows."""
    statements = (of or deployed()).statements(role_of(folder))
    assert all(each["Effect"] == "Allow" for each in statements)
    return {action for each in statements for action in as_list(each["Action"])}


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_a_function_may_do_what_its_code_calls_and_nothing_else(folder: str) -> None:
    called = {action for call, action in ACTIONS.items() if call in mentioned(folder)}
    assert allowed(folder, streaming()) == called | done_for(folder, streaming())
    assert allowed(folder) == (called - {"kinesis:PutRecords"}) | done_for(folder)  # there is no stream


def test_a_function_has_a_role_of_its_own_and_no_policy_that_we_did_not_write() -> None:
    """SAM gives a function that has no role one whose managed policies reach every queue of the account."""
    roles = transformed()["Resources"]
    used = [role_of(folder) for folder in FUNCTIONS]
    assert len(set(used)) == len(FUNCTIONS)
    assert {name for name, each in roles.items() if each["Type"] == "AWS::IAM::Role"} <= RESOURCES.keys()
    assert [name for name, each in deployed().of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in each] == []


def test_every_call_of_a_client_in_the_code_is_one_whose_permission_is_known() -> None:
    session = botocore.session.get_session()
    operations = {
        xform_name(name) for service in SERVICES for name in session.get_service_model(service).operation_names
    }
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "functions" / folder / "app.py" for folder in FUNCTIONS)]
    names = {name for source in sources for name in names_in([module(source).tree])}
    assert names & (operations | IN_TRANSACTIONS) - {"create_connection"} == ACTIONS.keys() - {"SecretsProvider"} | {
        "Put"
    }  # a socket's


def test_the_code_that_a_function_reaches_is_found_through_calls_and_not_through_imports() -> None:
    assert {"get_item", "query", "delete_item"} & mentioned("receive_usage") == set()
    assert "query" in names_in([module(PACKAGE / "table/quarantine.py").tree])


@pytest.mark.parametrize("of", [deployed, streaming])
def test_no_role_may_do_everything_or_to_everything(of: Callable[[], Deployed]) -> None:
    roles = of().of_type("AWS::IAM::Role")
    assert len(roles) > len(FUNCTIONS)
    for name in roles:
        for statement in of().statements(name):
            assert all("*" not in action for action in as_list(statement["Action"])), name
            assert all(f":{ACCOUNT}:" in each or ":s3:" in each for each in as_list(statement["Resource"])), name


def test_a_role_is_trusted_to_one_service_on_behalf_of_this_account_only() -> None:
    """Whether Lambda says for which account it asks is not documented: IfExists holds it to that where it does."""
    for name, role in deployed().of_type("AWS::IAM::Role").items():
        (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trusted["Principal"].keys() == {"Service"}
        operator = "StringEqualsIfExists" if "lambda." in trusted["Principal"]["Service"] else "StringEquals"
        assert trusted["Condition"] == {operator: {"aws:SourceAccount": ACCOUNT}}, name


OF_TYPE = {
    "dynamodb": "AWS::DynamoDB::Table",
    "events": "AWS::Events::EventBus",
    "kinesis": "AWS::Kinesis::Stream",
    "kms": "AWS::KMS::Key",
    "secretsmanager": "AWS::SecretsManager::Secret",
    "sqs": "AWS::SQS::Queue",
}
"""What the actions of a service are on."""


@pytest.mark.parametrize("of", [deployed, streaming])
@pytest.mark.parametrize("folder", FUNCTIONS)
def test_what_the_code_calls_it_may_call_on_just_those_resources_that_its_environment_names(
    folder: str, of: Callable[[], Deployed]
) -> None:
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    named = {str(of().resolved(each)) for each in (shared | own_variables(folder)).values()}
    for statement in of().statements(role_of(folder)):
        (service,) = {action.partition(":")[0] for action in as_list(statement["Action"])}
        if set(as_list(statement["Action"])) <= done_for(folder, of()) - {"sqs:SendMessage"}:
            continue
        on = {
            each.rpartition(":")[2]
            .removeprefix("table/")
            .removeprefix("event-bus/")
            .removeprefix("key/")
            .removeprefix("stream/")
            for each in as_list(statement["Resource"])
        }
        kept = {each["DestinationConfig"]["OnFailure"]["Destination"] for each in destinations(folder, of())}
        wanted = {name for name, kind in of().kinds.items() if kind == OF_TYPE[service] and is_named(name, named)}
        assert on - ({each.rpartition(":")[2] for each in kept} - wanted) == wanted


def own_variables(folder: str) -> dict[str, Any]:
    """The environment of a function beside what all of them have."""
    (own,) = [
        each for each in of_type("AWS::Serverless::Function").values() if each["CodeUri"] == f"functions/{folder}"
    ]
    return dict(own.get("Environment", {"Variables": {}})["Variables"])


def is_named(logical_id: str, named: set[str]) -> bool:
    """Whether one of these values of an environment is a resource's name, URL or ARN."""
    return any(re.fullmatch(rf"(.*[:/])?{logical_id}", each) for each in named)


def destinations(folder: str, of: Deployed | None = None) -> list[Any]:
    """The event sources and asynchronous calls of a function that have somewhere to put what failed."""
    configured = [
        each["Properties"]
        for each in (of or deployed()).resources.values()
        if each["Properties"].get("FunctionName") == logical_id(folder)
    ]
    return [each for each in configured if "DestinationConfig" in each]


def test_what_allows_everybody_something_allows_it_from_one_source_only() -> None:
    kinds = ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy")
    policies = [each["PolicyDocument"] for kind in kinds for each in of_type(kind).values()]
    granted = [each for policy in policies for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert [each for each in granted if each["Principal"] == "*" or "aws:SourceArn" not in str(each["Condition"])] == []
    assert [each for each in granted if "aws:SourceAccount" not in str(each["Condition"])] == []
    assert all({"SourceArn", "SourceAccount"} <= each.keys() for each in of_type("AWS::Lambda::Permission").values())


def test_a_condition_on_keys_does_not_hold_for_a_call_that_names_none() -> None:
    """`ForAllValues` is true for an empty set."""
    conditions = [
        statement["Condition"]
        for name in deployed().of_type("AWS::IAM::Role")
        for statement in deployed().statements(name)
        if "Condition" in statement
    ]
    for condition in conditions:
        assert condition["Null"] == dict.fromkeys(condition["ForAllValues:StringLike"], "false")
    assert conditions


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_a_function_is_given_the_environment_that_its_code_reads(folder: str) -> None:
    trees: list[ast.AST] = [module(ROOT / "functions" / folder / "app.py").tree]
    trees += [each for source in imported(ROOT / "functions" / folder / "app.py") for each in [module(source).tree]]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {
        node.slice.value
        for node in nodes
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "os.environ"
        and isinstance(node.slice, ast.Constant)
    }
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"].keys()
    (own,) = [each for each in of_type("AWS::Serverless::Function").values() if each["CodeUri"].endswith(f"/{folder}")]
    given = own.get("Environment", {"Variables": {}})["Variables"].keys()
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert read <= shared | given
    assert given <= texts


# --- the stream ----------------------------------------------------------------------------------------------------


def matches(pattern: Any, value: Any) -> bool:
    """Lambda's event filtering, as far as the template uses it."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(matches(each, value.get(name)) for name, each in pattern.items())
    return any(
        isinstance(value, str) and value.startswith(each["prefix"]) if isinstance(each, dict) else value == each
        for each in pattern
    )


def passes(record: Mapping[str, Any]) -> bool:
    """Whether the stream hands a record to emit_billing."""
    return any(matches(pattern, record) for pattern in stream_filters())


def stream_filters() -> list[Any]:
    (source,) = sources_of_function("emit_billing")
    return [json.loads(each["Pattern"]) for each in source["FilterCriteria"]["Filters"]]


class NoQueue:
    """Takes every message."""

    def send_message_batch(self, **_: Any) -> Any:
        return {"Successful": []}


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An item of every kind that the ledger table holds, by its name."""
    with moto_table() as client:
        Accounts(client, TABLE).put(account())
        classifier(client).classify([message("m1", usage("r1"), usage("e1", kind="usage.eval_run"))])
        large = {"id": "large", "note": incompressible(1_000_000)}
        Quarantine(client, TABLE).put([entry(large, Rejected("invalid_event", "is bad"), RECEIVED, "receive_usage")])
        Keys(client, TABLE).create(Holder("owner", "org_a", "test"), RECEIVED)
        proof = Proof.of(statement_of("org_a", DAY, []), Differences())
        Statements(client, TABLE, signer()).write(proof, MerkleTree(), RECEIVED)
        Statements(client, TABLE).keep("org_a", DAY, {}, RECEIVED)
        LateDays(client, TABLE, NoQueue(), "days").close_again({("org_a", str(DAY))}, RECEIVED)
        found: dict[str, Any] = {}
        for item in client.scan(TableName=TABLE)["Items"]:
            found.setdefault(kind_of(item), item)
        yield found


def kind_of(item: Any) -> str:
    pk, sk = item["pk"]["S"], item["sk"]["S"]
    if pk.startswith("QUARANTINE#"):
        return "quarantine" if sk.count("#") == 2 else "part"
    if pk.startswith("DAY#"):
        return "decision" if sk.startswith("REQ#") else "marker"
    named = {"COUNTER": "counter", "KEY": "key", "KEYS": "listing", "LATE": "late", "STATEMENT-KEYS": "public key"}
    return named.get(pk.partition("#")[0]) or sk.partition("#")[0].lower()


def record(name: str, old: Any, new: Any) -> dict[str, Any]:
    images = {kind: image for kind, image in (("OldImage", old), ("NewImage", new)) if image}
    key = {name: (new or old)[name] for name in ("pk", "sk")}
    return {"eventName": name, "dynamodb": {"Keys": key, "SequenceNumber": "1", **images}}


NEWS = {"decision", "quarantine", "statement", "account"}
"""What goes out when it is new."""


def test_the_filters_let_through_what_goes_out_and_hardly_more(items: dict[str, Any]) -> None:
    carried = {"decision", "quarantine", "part", "statement", "account"}
    aside = {"marker", "counter", "key", "listing", "late", "progress", "statements", "tree", "public key"}
    assert items.keys() == carried | aside
    inserts = {kind: record("INSERT", None, item) for kind, item in items.items()}
    assert {kind for kind, each in inserts.items() if list(bus_entries([each]))} == NEWS
    assert {kind for kind, each in inserts.items() if passes(each)} == NEWS | {"part"}


def texts(pattern: Any) -> set[str]:
    """Every text that a filter compares a part of a key with."""
    if isinstance(pattern, str):
        return {pattern}
    return {text for each in (pattern.values() if isinstance(pattern, dict) else pattern) for text in texts(each)}


def test_filters_and_conditions_name_the_keys_that_the_code_builds() -> None:
    assert texts([each["dynamodb"]["Keys"] for each in stream_filters()]) == {
        keys.REQUEST,
        keys.QUARANTINE,
        keys.STATEMENT,
        keys.ACCOUNT,
    }
    statements = [each for folder in FUNCTIONS for each in deployed().statements(role_of(folder))]
    leading = [each["Condition"]["ForAllValues:StringLike"] for each in statements if "Condition" in each]
    prefixes = {
        keys.COUNTER,
        keys.DAY,
        keys.DUE,
        keys.KEY,
        keys.LATE,
        keys.LIST,
        keys.ORGANIZATION,
        keys.QUARANTINE,
        keys.UNLISTED,
    }
    named = {f"{each}*" for each in prefixes} | {keys.STATEMENT_KEYS, LISTING, f"{keys.DAY}????-??-??#*"}
    assert {text for each in leading for text in each["dynamodb:LeadingKeys"]} == named


def test_of_what_changes_only_accounts_are_let_through(items: dict[str, Any]) -> None:
    changed = {kind: record("MODIFY", item, item) for kind, item in items.items()}
    assert {kind for kind, each in changed.items() if passes(each)} == {"account"}
    shared = account().model_copy(update={"sharing": (*account().sharing, account().sharing[-1])})
    new = items["account"] | {"account": {"S": Account.model_dump_json(shared)}}
    assert len(list(bus_entries([record("MODIFY", items["account"], new)]))) == 1


def test_what_is_removed_or_expires_does_not_go_out(items: dict[str, Any]) -> None:
    removed = [record("REMOVE", item, None) for item in items.values()]
    assert [each for each in removed if list(bus_entries([each]))] == []


def test_the_stream_carries_both_images_and_no_record_stops_it_for_ever() -> None:
    source = deployed().resources["EmitBillingLedger"]["Properties"]
    assert RESOURCES["LedgerTable"]["Properties"]["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert 100 <= source["MaximumRetryAttempts"] <= 10_000
    assert 6 * 3600 <= source["MaximumRecordAgeInSeconds"] <= 12 * 3600  # the stream keeps a record for 24 hours
    assert source["BisectBatchOnFunctionError"] is True
    assert source["DestinationConfig"]["OnFailure"]["Destination"].endswith(":StreamDeadLetters")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["StartingPosition"] == "TRIM_HORIZON"


# --- queues --------------------------------------------------------------------------------------------------------


def dead_letter_queues() -> set[str]:
    """The logical ids of the queues that take what could not be delivered."""
    queues = of_type("AWS::SQS::Queue").values()
    redriven = [each["RedrivePolicy"]["deadLetterTargetArn"] for each in queues if "RedrivePolicy" in each]
    targets = [target for each in of_type("AWS::Events::Rule").values() for target in each["Targets"]]
    undelivered = [each["DeadLetterConfig"]["Arn"] for each in targets]
    failed = [
        each["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]
        for each in transformed()["Resources"].values()
        if "DestinationConfig" in each.get("Properties", {})
    ]
    found = {each["Fn::GetAtt"][0] for each in redriven + undelivered + failed}
    return {each for each in found if RESOURCES[each]["Type"] == "AWS::SQS::Queue"}


def sources() -> list[tuple[Any, Any]]:
    """Each queue that a function reads, with the function."""
    return [
        (RESOURCES[source["EventSourceArn"].rpartition(":")[2]]["Properties"], function_of(folder))
        for folder in FUNCTIONS
        for source in sources_of_function(folder)
        if ":sqs:" in source["EventSourceArn"]
    ]


def test_a_message_stays_invisible_for_six_times_as_long_as_its_function_may_run() -> None:
    assert len(sources()) == 4
    for queue, function in sources():
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]


def test_a_message_is_tried_at_least_five_times_and_then_kept_for_longer_than_it_waited() -> None:
    for queue, _ in sources():
        dead = RESOURCES[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]["Properties"]
        assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
        assert dead["MessageRetentionPeriod"] >= queue["MessageRetentionPeriod"]
        assert dead.get("FifoQueue") == queue.get("FifoQueue")


def test_hours_of_failure_leave_usage_in_its_queue_and_in_order_and_no_message_grows_too_old_in_it() -> None:
    queue = RESOURCES["UsageQueue"]["Properties"]
    seconds = queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"]
    assert 4 * 3600 <= seconds <= queue["MessageRetentionPeriod"] / 10


def schedules_of() -> list[Any]:
    """What is called by the clock."""
    return list(deployed().of_type("AWS::Scheduler::Schedule").values())


def test_the_nightly_call_is_kept_where_it_fails_and_a_large_day_is_not_taken_for_a_loop() -> None:
    (asynchronous,) = deployed().of_type("AWS::Lambda::EventInvokeConfig").values()
    assert asynchronous["FunctionName"] == "CloseDay"
    assert asynchronous["DestinationConfig"]["OnFailure"]["Destination"].endswith(":FailedNights")
    schedules = {each["Target"]["Arn"].rpartition(":")[2]: each for each in schedules_of()}
    assert schedules.keys() == {"CloseDay", "SendWebhooks"}
    schedule = schedules["CloseDay"]
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith(":FailedNights")
    assert schedule["Target"]["RoleArn"].endswith(":AfterMidnightRole")
    assert deployed().resources["CloseDay"]["Properties"]["RecursiveLoop"] == "Allow"


def test_a_function_that_reads_a_queue_answers_for_each_message() -> None:
    for source in deployed().of_type("AWS::Lambda::EventSourceMapping").values():
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_usage_queue_keeps_the_order_of_an_organization_and_drops_repeats_within_it() -> None:
    queue = RESOURCES["UsageQueue"]["Properties"]
    assert queue["FifoQueue"] is True
    assert queue["DeduplicationScope"] == "messageGroup"
    assert queue["FifoThroughputLimit"] == "perMessageGroupId"
    assert "ContentBasedDeduplication" not in queue


def test_dead_letters_are_kept_for_two_weeks() -> None:
    assert {RESOURCES[name]["Properties"]["MessageRetentionPeriod"] for name in dead_letter_queues()} == {14 * 86400}


# --- the HTTP API --------------------------------------------------------------------------------------------------


def test_every_route_of_the_account_has_a_rate_of_its_own_below_that_of_the_webhook() -> None:
    stage = RESOURCES["HttpStage"]
    routes = {
        name: each["RouteKey"]
        for name, each in of_type("AWS::ApiGatewayV2::Route").items()
        if "AccountIntegration" in each["Target"]["Fn::Sub"]
    }
    settings = {
        name: each["Fn::If"][1] if "Fn::If" in each else each
        for name, each in stage["Properties"]["RouteSettings"].items()
    }
    assert settings.keys() == set(routes.values())
    assert set(stage["DependsOn"]) == routes.keys()  # settings of a route that is not there yet fail
    most = TEMPLATE["Parameters"]["RequestsPerSecond"]["Default"]
    for route in settings.values():
        for limit in (route["ThrottlingRateLimit"], route["ThrottlingBurstLimit"]):
            assert (limit if isinstance(limit, int) else TEMPLATE["Parameters"][limit["Ref"]]["Default"]) < most


def test_every_source_has_a_route_and_a_place_in_the_document() -> None:
    posted = {f"/v1/usage-events{each.path}" for each in SOURCES}
    keys = [each["RouteKey"] for each in of_type("AWS::ApiGatewayV2::Route").values()]
    assert {key.removeprefix("POST ") for key in keys if "/usage-events" in key} == posted
    assert event_documents.paths({}).keys() == posted


def test_the_access_log_holds_neither_query_nor_header_nor_address() -> None:
    written = json.loads(RESOURCES["HttpStage"]["Properties"]["AccessLogSettings"]["Format"])
    assert {each.removeprefix("$context.") for each in written.values()} == {
        *("requestId", "requestTime", "routeKey", "status"),
        *("responseLatency", "responseLength", "integrationErrorMessage"),
    }


# --- what must survive ---------------------------------------------------------------------------------------------

KEPT = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SecretsManager::Secret")


def test_what_holds_data_survives_the_stack_and_a_replacement() -> None:
    held = {name for kind in KEPT for name in of_type(kind)} | dead_letter_queues()
    assert len(held) >= 7
    for name in held:
        assert RESOURCES[name].get("DeletionPolicy") == "RetainExceptOnCreate", name
        assert RESOURCES[name].get("UpdateReplacePolicy") == "Retain", name


def test_nothing_is_left_of_a_first_deployment_that_failed() -> None:
    """`Retain` would leave the table, the bucket and the secrets behind, and protection stops the roll-back."""
    policies = {each.get("DeletionPolicy", "Delete") for each in transformed()["Resources"].values()}
    assert policies == {"Delete", "RetainExceptOnCreate"}
    assert deployed().resources["LedgerTable"]["Properties"]["DeletionProtectionEnabled"] is False
    assert deployed().outputs["LedgerProtection"] == "off"


def test_the_ledger_can_be_restored_and_from_the_second_deployment_on_not_be_deleted_by_mistake() -> None:
    second = Deployed(ProtectData="true")
    assert second.resources["LedgerTable"]["Properties"]["DeletionProtectionEnabled"] is True
    assert second.outputs["LedgerProtection"] == "on"
    properties = RESOURCES["LedgerTable"]["Properties"]
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


RESTORED = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/restored.2026/stream/2026-11-28T00:00:00.000"


def test_a_restored_table_takes_the_place_of_the_stacks_own_everywhere() -> None:
    taken_over = Deployed(RestoredStream=RESTORED)
    table = RESTORED.partition("/stream/")[0]
    without_it = {name: each for name, each in taken_over.resources.items() if name != "LedgerTable"}
    assert "LedgerTable" not in re.sub(r'"LedgerTable(Role|Name)?":', "", json.dumps(without_it))
    assert taken_over.resources["EmitBillingLedger"]["Properties"]["EventSourceArn"] == RESTORED
    assert taken_over.outputs["LedgerTableName"] == "restored.2026"
    for folder in FUNCTIONS:
        statements = [each for each in taken_over.statements(role_of(folder)) if "dynamodb:" in str(each["Action"])]
        assert {each["Resource"] for each in statements} <= {table, RESTORED}
    functions = taken_over.of_type("AWS::Lambda::Function").values()
    assert {each["Environment"]["Variables"]["LEDGER_TABLE"] for each in functions} == {"restored.2026"}


# --- two stacks, and what AWS allows -------------------------------------------------------------------------------

NAMES = {"Name", "FunctionName", "RoleName", "LayerName", "QueueName", "TableName", "BucketName", "RuleName"}
NAMES |= {"DashboardName", "AlarmName", "TopicName", "LogGroupName", "ArchiveName", "DeliveryStreamName"}
"""Properties that name a resource, of which an account and region can hold one."""
INSIDE = {"AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"}
"""Their names are those of the function that they belong to."""


def test_no_name_is_one_that_another_stack_of_the_account_would_have_too() -> None:
    other = Deployed()
    other.names = PSEUDO | {"AWS::StackName": "another"}
    for name, resource in deployed().resources.items():
        if resource["Type"] in INSIDE:
            continue
        for named in NAMES & resource["Properties"].keys():
            stated = transformed()["Resources"][name]["Properties"][named]
            if isinstance(stated, dict) and stated.get("Ref") in transformed()["Resources"]:
                continue  # it names another resource
            theirs = other.resolved(stated)
            assert theirs != resource["Properties"][named], (name, named)
    schedules = deployed().of_type("AWS::Scheduler::Schedule").values()
    assert [each for each in schedules if "Name" in each] == []


def test_the_database_has_a_name_that_athena_takes() -> None:
    database = deployed().of_type("AWS::Glue::Database")["RecordsDatabase"]["DatabaseInput"]
    assert re.fullmatch(r"[a-z0-9_]+", database["Name"])
    assert database["Name"].startswith(STACK.replace("-", "_"))


def test_the_template_stays_within_what_cloudformation_takes() -> None:
    """Its quotas: 1 MB, 500 resources, 200 parameters, 200 outputs, descriptions of 1,024 and 4,000 characters."""
    template = transformed()
    assert len(json.dumps(template)) < 1_000_000
    assert len(template["Resources"]) <= 500
    assert len(template["Parameters"]) <= 200
    assert len(template["Outputs"]) <= 200
    assert len(template["Description"]) <= 1024
    assert all(len(each["Description"]) <= 4000 for each in template["Parameters"].values())


def test_what_is_written_into_a_resource_stays_within_what_its_service_takes() -> None:
    for alarm in deployed().of_type("AWS::CloudWatch::Alarm").values():
        assert len(alarm["AlarmDescription"]) <= 1024
    for name in deployed().of_type("AWS::IAM::Role"):
        assert len(json.dumps(deployed().statements(name))) <= 10_240, name  # all inline policies of a role
    for source in deployed().of_type("AWS::Lambda::EventSourceMapping").values():
        assert len(source.get("FilterCriteria", {"Filters": []})["Filters"]) <= 5
    for function in deployed().of_type("AWS::Lambda::Function").values():
        assert len(function["Description"]) <= 256
        assert len(json.dumps(function["Environment"]["Variables"])) <= 4096


def test_a_production_stack_is_not_deployed_without_somebody_to_alarm() -> None:
    for production, email, refused in (("true", "", True), ("true", "ops@example.com", False), ("false", "", False)):
        assert bool(refusals(Deployed(Production=production, AlarmEmail=email))) is refused


def refusals(chosen: Deployed) -> list[str]:
    """What the template's rules say against a deployment with these parameters."""
    return [
        assertion["AssertDescription"]
        for rule in transformed()["Rules"].values()
        for assertion in rule["Assertions"]
        if chosen.resolved(rule["RuleCondition"]) and not chosen.resolved(assertion["Assert"])
    ]


def test_what_holds_data_is_encrypted() -> None:
    tables = deployed().of_type("AWS::DynamoDB::Table").values()
    assert all(each["SSESpecification"] == {"SSEEnabled": True} for each in tables)
    assert all(each["SqsManagedSseEnabled"] is True for each in of_type("AWS::SQS::Queue").values())
    assert all("BucketEncryption" in each for each in of_type("AWS::S3::Bucket").values())


def test_buckets_are_private_and_keep_every_version() -> None:
    for bucket in of_type("AWS::S3::Bucket").values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


def test_buckets_are_reached_through_tls_only() -> None:
    policies = {each["Bucket"]["Ref"]: each for each in of_type("AWS::S3::BucketPolicy").values()}
    assert policies.keys() == of_type("AWS::S3::Bucket").keys()
    for name, policy in policies.items():
        (refused,) = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
        assert refused["Condition"] == {"Bool": {"aws:SecureTransport": False}}
        assert (refused["Principal"], refused["Action"]) == ("*", "s3:*")
        assert refused["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


def test_logs_are_kept_for_as_long_as_the_parameter_says() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert all(each == {"RetentionInDays": {"Ref": "LogRetentionDays"}} for each in groups.values())
    used = {each["LoggingConfig"]["LogGroup"]["Ref"] for each in of_type("AWS::Serverless::Function").values()}
    assert used | {"AccessLog", "RecordsDeliveryLog"} == set(groups)


# --- records in the lake -------------------------------------------------------------------------------------------


def test_the_columns_of_the_lake_are_the_fields_of_a_billing_record() -> None:
    stored = RESOURCES["RecordsTable"]["Properties"]["TableInput"]["StorageDescriptor"]["Columns"]
    fields = ",".join(f"{each.name}:{each.glue}" for each in RECORD)
    assert [(each["Name"], each["Type"]) for each in stored] == [
        ("organization", "string"),
        ("records", f"array<struct<{fields}>>"),
    ]


def test_the_columns_have_the_types_of_what_is_in_them() -> None:
    (decision,) = Desk().decide(request())
    for each in RECORD:
        value = decision.record()[each.name]
        if isinstance(value, dict):
            assert each.glue == f"struct<{','.join(f'{name}:bigint' for name in value)}>"
        elif isinstance(value, int):  # figures are text in the lake: of dollars they are decimals
            assert each.glue == ("string" if each.name in FIGURES else "int")
        else:
            assert value is None or each.glue == "string"


FIGURES = {"quota", "used_before", "reserved_before", "used_after", "running_total"}


def test_records_are_written_one_a_line() -> None:
    destination = RESOURCES["RecordsDelivery"]["Properties"]["ExtendedS3DestinationConfiguration"]
    processing = destination["ProcessingConfiguration"]
    assert processing["Enabled"] is True
    assert [each["Type"] for each in processing["Processors"]] == ["AppendDelimiterToRecord"]


# --- how it is built and deployed ----------------------------------------------------------------------------------


def test_the_layer_is_built_by_a_python_that_has_pip() -> None:
    """Debian's python3 may come without; the environment of the SAM CLI has one."""
    planned = subprocess.run(["make", "-n", "build"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert re.search(r'export PYTHON="\$PWD/\.venv-sam/bin/python"', planned)


def test_every_parameter_of_samconfig_is_one_of_the_templates() -> None:
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    given = " ".join(
        each["deploy"]["parameters"].get("parameter_overrides", "")
        for each in stages.values()
        if isinstance(each, dict) and "deploy" in each
    )
    named = {each.partition("=")[0] for each in given.split()}
    assert {"Production", "AccountConcurrency"} <= named <= TEMPLATE["Parameters"].keys()


# What is there by parameter -----------------------------------------------------------------------------------------

KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0000"


def test_what_is_asked_for_without_a_key_can_be_switched_off_and_the_rest_stays() -> None:
    served, off = Deployed(), Deployed(Pages="off")
    routes = [{each["RouteKey"] for each in of.of_type("AWS::ApiGatewayV2::Route").values()} for of in (served, off)]
    unsigned = {"GET /", "GET /page/{name}", "GET /docs"}
    assert routes[0] - routes[1] == unsigned
    for deployment, expected in ((served, routes[0]), (off, routes[1])):
        (stage,) = deployment.of_type("AWS::ApiGatewayV2::Stage").values()
        assert stage["RouteSettings"].keys() == {each for each in expected if not each.startswith("POST /v1/usage")}


def test_every_function_is_traced_or_none_and_its_role_may_send_traces_only_then() -> None:
    sends = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
    for traced, mode in (("true", "Active"), ("false", "PassThrough")):
        deployment = Deployed(Tracing=traced)
        functions = deployment.of_type("AWS::Lambda::Function")
        assert {each["TracingConfig"]["Mode"] for each in functions.values()} == {mode}
        for folder in FUNCTIONS:
            may = {action for each in deployment.statements(role_of(folder)) for action in as_list(each["Action"])}
            assert (sends <= may, bool(sends & may)) == (traced == "true", traced == "true"), folder


def test_a_key_of_ones_own_encrypts_what_holds_data_and_whoever_reads_it_may_use_it_through_these_services() -> None:
    deployment = Deployed(DataKey=KEY)
    (table,) = deployment.of_type("AWS::DynamoDB::Table").values()
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    assert {each["KmsKeyId"] for each in deployment.of_type("AWS::SecretsManager::Secret").values()} == {KEY}
    (bucket,) = deployment.of_type("AWS::S3::Bucket").values()
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    for role in [*(role_of(folder) for folder in FUNCTIONS if folder != "check_offer"), "RecordsDeliveryRole"]:
        (may,) = [each for each in deployment.statements(role) if each["Resource"] == KEY]
        assert len(may["Condition"]["StringEquals"]["kms:ViaService"]) == 4
    own = Deployed()
    assert own.of_type("AWS::DynamoDB::Table")["LedgerTable"]["SSESpecification"] == {"SSEEnabled": True}
    assert "DataKeyPolicy" not in own.resources


def test_a_budget_is_there_once_it_has_an_amount_and_somebody_to_tell() -> None:
    mail = {"AlarmEmail": "a@example.com"}
    assert Deployed(**mail).of_type("AWS::Budgets::Budget") == {}
    assert Deployed(MonthlyBudget="50").of_type("AWS::Budgets::Budget") == {}
    (budget,) = Deployed(MonthlyBudget="50", **mail).of_type("AWS::Budgets::Budget").values()
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "50", "Unit": "USD"}
    told = [each["Subscribers"] for each in budget["NotificationsWithSubscribers"]]
    assert told == [[{"SubscriptionType": "EMAIL", "Address": "a@example.com"}]] * 2


def test_every_stage_tags_what_it_deploys() -> None:
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    tags = {name: stage["deploy"]["parameters"]["tags"] for name, stage in stages.items() if name != "version"}
    assert tags == {name: f"project=gratis stage={name}" for name in tags}
    assert tags.keys() == {"default", "prod"}


GRADUAL = ("ReceiveUsage", "ClassifyUsage", "EmitBilling", "AccountApi")
"""What a release changes for whoever sends or asks, call by call."""


def gradual() -> Deployed:
    return Deployed(GradualDeployment="Canary10Percent10Minutes")


def test_without_the_parameter_nothing_is_deployed_gradually() -> None:
    kinds = ("AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::CodeDeploy::Application")
    assert [name for kind in kinds for name in deployed().of_type(kind)] == []
    assert "codedeploy" not in json.dumps(deployed().resources)
    assert all("RELEASE" not in each["Environment"]["Variables"] for each in lambdas(deployed()))


def lambdas(deployment: Deployed) -> list[Any]:
    return list(deployment.of_type("AWS::Lambda::Function").values())


def test_gradually_every_call_goes_through_an_alias_that_an_alarm_rolls_back() -> None:
    deployment = gradual()
    aliases = {each["FunctionName"]: name for name, each in deployment.of_type("AWS::Lambda::Alias").items()}
    assert aliases.keys() == set(GRADUAL)
    for name, alias in aliases.items():
        resource = deployment.resources[alias]
        assert resource["Properties"]["FunctionVersion"] == f"{name}Version.Version"
        named = resource["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"]["Ref"]
        group = deployment.resources[named]["Properties"]
        assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent10Minutes"
        rollback = group["AutoRollbackConfiguration"]
        assert (rollback["Enabled"], "DEPLOYMENT_STOP_ON_ALARM" in rollback["Events"]) == (True, True)
        alarms = {each["Name"] for each in group["AlarmConfiguration"]["Alarms"]}
        assert f"{name}ErrorsAlarm" in alarms <= deployment.of_type("AWS::CloudWatch::Alarm").keys()
        assert len(alarms) <= 10  # CodeDeploy's quota
    called = [each["FunctionName"] for kind in CALLS for each in deployment.of_type(kind).values()]
    uris = [each["IntegrationUri"] for each in deployment.of_type("AWS::ApiGatewayV2::Integration").values()]
    assert set(aliases.values()) <= {*called, *uris}
    assert not set(GRADUAL) & {each.rpartition(":")[2] for each in [*called, *uris]}


CALLS = ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission")


def test_the_alarms_that_roll_back_look_at_less_than_the_shortest_shift_takes() -> None:
    allowed = TEMPLATE["Parameters"]["GradualDeployment"]["AllowedValues"]
    shortest = min(shift_minutes(each) for each in allowed if each != "off")
    for group in gradual().of_type("AWS::CodeDeploy::DeploymentGroup").values():
        names = [each["Name"] for each in group["AlarmConfiguration"]["Alarms"]]
        alarms = [gradual().resources[name]["Properties"] for name in names]
        assert any(each["Period"] * each["EvaluationPeriods"] <= 300 for each in alarms)
        assert shortest >= 10


def shift_minutes(configuration: str) -> int:
    """How long CodeDeploy takes until all traffic is on the new release."""
    canary = re.fullmatch(r"Canary10Percent(\d+)Minutes", configuration)
    linear = re.fullmatch(r"Linear10PercentEvery(\d+)Minutes", configuration)
    return int(canary[1]) if canary else 9 * int(linear[1]) if linear else 0


def test_a_release_of_another_name_is_a_new_version_of_every_function_and_shows_in_its_configuration() -> None:
    """Lambda publishes no version of a function that did not change, although its parameters may have."""
    versions = gradual().of_type("AWS::Lambda::Version").values()
    assert {each["Description"] for each in versions} == {"source"}
    assert {each["Environment"]["Variables"]["RELEASE"] for each in lambdas(gradual())} == {"source"}
    planned = subprocess.run(["make", "-n", "build"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert 0 < planned.index("sam build") < planned.index("Id: source")
    assert (ROOT / "template.yaml").read_text().count("Id: source") == 1


def test_who_shifts_traffic_may_move_these_aliases_and_read_alarms() -> None:
    (moves, reads) = gradual().statements("GradualRole")
    assert {each.rpartition(":function:")[2].removesuffix(":*") for each in moves["Resource"]} == set(GRADUAL)
    assert reads["Action"] == "cloudwatch:DescribeAlarms"


EDGE: Any = read_template(ROOT / "edge.yaml")
"""What the parameter Domain adds: a template of its own."""
DOMAIN = {"Domain": "gratis.example.com", "HostedZone": "Z0123"}


def edge(kind: str) -> Any:
    """The properties of the only resource of a type."""
    (found,) = [each["Properties"] for each in EDGE["Resources"].values() if each["Type"] == kind]
    return found


def test_a_domain_puts_cloudfront_and_a_web_acl_before_the_api_and_without_one_there_is_neither() -> None:
    assert (deployed().of_type("AWS::CloudFormation::Stack"), refusals(deployed())) == ({}, [])
    with_domain = Deployed(**DOMAIN)
    (nested,) = with_domain.of_type("AWS::CloudFormation::Stack").values()
    assert (ROOT / nested["TemplateURL"]).exists()
    assert nested["Parameters"].keys() == EDGE["Parameters"].keys()
    assert nested["Parameters"]["ApiId"] == "HttpApi"
    assert with_domain.outputs["ApiUrl"] == "https://gratis.example.com"
    assert refusals(Deployed(Domain="gratis.example.com"))


def test_the_execute_api_endpoint_is_closed_only_where_there_is_a_domain() -> None:
    closed = {"ExecuteApi": "closed"}
    assert deployed().of_type("AWS::ApiGatewayV2::Api")["HttpApi"]["DisableExecuteApiEndpoint"] is False
    assert (
        Deployed(**DOMAIN, **closed).of_type("AWS::ApiGatewayV2::Api")["HttpApi"]["DisableExecuteApiEndpoint"] is True
    )
    assert (bool(refusals(Deployed(**closed))), refusals(Deployed(**DOMAIN, **closed))) == (True, [])


def test_the_edge_hands_everything_on_caches_nothing_and_looks_into_no_body() -> None:
    distribution = edge("AWS::CloudFront::Distribution")["DistributionConfig"]
    assert distribution["WebACLId"] == {"Fn::GetAtt": ["WebAcl", "Arn"]}
    (origin,) = distribution["Origins"]
    assert origin["DomainName"] == {"Ref": "Origin"}
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    behavior = distribution["DefaultCacheBehavior"]
    assert behavior["ViewerProtocolPolicy"] == "https-only"
    assert {"POST", "PUT", "DELETE"} <= set(behavior["AllowedMethods"])
    rules = edge("AWS::WAFv2::WebACL")["Rules"]
    assert "AWSManagedRulesCommonRuleSet" not in str(rules)  # it refuses bodies of more than 8 KB
    assert [each for each in rules if "RateBasedStatement" in each["Statement"]]
    assert edge("AWS::ApiGatewayV2::ApiMapping").keys() == {"ApiId", "DomainName", "Stage"}  # paths stay as they are


SET_BY_UP = {"LocalEngine", "WebhookTargets"}


def test_every_parameter_is_explained_to_whoever_deploys() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {name for name in TEMPLATE["Parameters"] if f"`{name}`" not in readme} == SET_BY_UP
