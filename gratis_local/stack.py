"""A deployed stack, on AWS or on a local engine: its clients, and the outputs of template.yaml."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

from gratis.config import QUICK

LOCAL_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
"""What an AWS client needs to talk to a local engine, where nobody checks who asks."""


class NoStack(Exception):
    """There is no such stack, or nobody who may ask for it."""


@dataclass(frozen=True)
class Stack:
    """`endpoint_url`: of the local engine; None on AWS."""

    endpoint_url: str | None
    outputs: Mapping[str, str]

    def client(self, service: str) -> Any:
        """An AWS client for where the stack is."""
        return client_for(self.endpoint_url, service)

    @property
    def page_url(self) -> str:
        """The root of the HTTP API. The stage `$default` is written without a `$`, which shells would read."""
        if self.endpoint_url is None:
            return f"{self.outputs['ApiUrl']}/"
        return f"{self.endpoint_url}/_aws/execute-api/{self.outputs['ApiId']}/%24default/"

    @property
    def base_url(self) -> str:
        """What every route of the API begins with."""
        return f"{self.page_url}v1"


def local_environment() -> dict[str, str]:
    """The environment without the caller's AWS settings, for what works on a local engine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return inherited | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def stack_of(endpoint_url: str | None, name: str) -> Stack:
    """The deployed stack of this name. Raises NoStack."""
    try:
        described = client_for(endpoint_url, "cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except (ClientError, BotoCoreError) as error:
        raise NoStack(f"the stack {name!r} cannot be read: {error}") from None
    return Stack(endpoint_url, {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])})


def client_for(endpoint_url: str | None, service: str) -> Any:
    """An AWS client: with the caller's own settings, or for a local engine whatever they are. Raises NoStack."""
    if endpoint_url is None:
        return _callers_session().client(service, config=QUICK)  # type: ignore[call-overload]
    if not endpoint_url.startswith(("http://", "https://")):
        raise NoStack(f"--endpoint-url: {endpoint_url!r} is no URL like http://127.0.0.1:4566")
    return _local_session().client(service, endpoint_url=endpoint_url, config=QUICK)  # type: ignore[call-overload]


@cache
def _callers_session() -> boto3.Session:
    session = boto3.Session()
    needed = {
        "a region (AWS_DEFAULT_REGION)": session.region_name,
        "credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)": session.get_credentials(),
    }
    missing = [what for what, found in needed.items() if found is None]
    if missing:
        raise NoStack(f"AWS needs {' and '.join(missing)}; --endpoint-url reaches a running `gratis up` without them")
    return session


@cache
def _local_session() -> boto3.Session:
    """A session that reads neither the caller's environment nor profile, which may be broken."""
    unset = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    no_files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return boto3.Session(
        aws_access_key_id=LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=LOCAL_CREDENTIALS["AWS_DEFAULT_REGION"],
        botocore_session=botocore.session.Session(session_vars=unset | no_files),
    )
