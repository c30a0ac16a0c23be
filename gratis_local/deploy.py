"""Builds the functions and deploys template.yaml on the embedded engine, as SAM does on AWS."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gratis_local.engine import EngineFailed
from gratis_local.options import STACK
from gratis_local.places import ROOT
from gratis_local.stack import Stack, client_for, stack_of

BUCKET = "gratis-artifacts"
REQUIREMENTS = ROOT / "layers/core/requirements.txt"


def deploy(endpoint_url: str, parameters: Mapping[str, str]) -> Stack:
    """Package the template with its code and create the stack. Raises EngineFailed with what went wrong."""
    storage = client_for(endpoint_url, "s3")
    storage.create_bucket(Bucket=BUCKET)
    template = packaged(ROOT / "template.yaml", storage)
    storage.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(template))
    stacks = client_for(endpoint_url, "cloudformation")
    stacks.create_stack(
        StackName=STACK,
        TemplateURL=f"{endpoint_url}/{BUCKET}/template.json",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    try:
        stacks.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except Exception as error:
        raise EngineFailed(f"the stack was not created: {_failures(stacks)}") from error
    return stack_of(endpoint_url, STACK)


def packaged(template: Path, storage: Any) -> Any:
    """The template with every local folder of code in place of an uploaded archive, as `sam package` leaves it."""
    content = read_template(template)
    for name, resource in content["Resources"].items():
        properties = resource.get("Properties", {})
        for field in {"CodeUri", "ContentUri"} & properties.keys():
            archive = (
                layer_archive()
                if resource["Type"] == "AWS::Serverless::LayerVersion"
                else zipped(ROOT / properties[field])
            )
            storage.put_object(Bucket=BUCKET, Key=f"{name}.zip", Body=archive)
            properties[field] = f"s3://{BUCKET}/{name}.zip"
    return content


def read_template(template: Path) -> Any:
    """A template, with CloudFormation's functions in their long form."""
    return yaml.load(template.read_text(encoding="utf-8"), Loader=_Intrinsics)  # noqa: S506 - a SafeLoader


def layer_archive() -> bytes:
    """The layer for this machine's Python: the locked packages and the package gratis."""
    return zipped(layer_packages(), ROOT / "layers/core/gratis", prefix="python")


def layer_packages() -> Path:
    """A folder with the layer's locked packages, installed once for each state of the lock."""
    state = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = Path(sys.prefix) / f"layer-{state}"
    if not folder.is_dir():
        unfinished = Path(tempfile.mkdtemp(prefix="layer-", suffix=".unfinished", dir=sys.prefix))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        arguments = ["--require-hashes", "--no-compile", "-r", str(REQUIREMENTS), "--target", str(unfinished)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            shutil.rmtree(unfinished)
            raise EngineFailed(f"the layer's packages could not be installed:\n{done.stderr[-2000:]}")
        try:
            unfinished.rename(folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(unfinished)
    return folder


def zipped(*folders: Path, prefix: str = "") -> bytes:
    """An archive of what the folders hold; a Python package keeps its own name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for folder in folders:
            base = folder.parent if (folder / "__init__.py").exists() else folder
            for file in sorted(folder.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    target.write(file, Path(prefix) / file.relative_to(base))
    return archive.getvalue()


def _failures(stacks: Any) -> str:
    events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
    reasons = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
        for event in events
        if event["ResourceStatus"].endswith("FAILED")
    ]
    return "; ".join(reasons) or "no reason given"


class _Intrinsics(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions: `!Ref`, `!GetAtt`, `!Sub` and so on."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    value: Any = None
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Intrinsics.add_multi_constructor("!", _intrinsic)
