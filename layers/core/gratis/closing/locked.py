"""Statements in a bucket under S3 Object Lock, where nobody can change or delete them, we included.

What if this dies on the next line, runs twice, or two of it run at once? The stream hands the statement over again. The
object has one name and is written only where there is none, so the first one stays.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.closing.chain import canonical
from gratis.table.dynamo import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THERE_ALREADY = "PreconditionFailed"


class LockedStatements:
    """Writes them. How long each is locked is the bucket's own rule."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def keep(self, stated: Mapping[str, Any]) -> None:
        """Write a statement with its signature, as canonical JSON, unless it is there. Raises Busy."""
        name = f"statements/{stated['organization']}/{stated['day']}.{stated['revision']}.json"
        try:
            self.client.put_object(Bucket=self.bucket, Key=name, Body=canonical(stated), IfNoneMatch="*")
        except (ClientError, BotoCoreError) as error:
            if not isinstance(error, ClientError) or error.response["Error"]["Code"] != THERE_ALREADY:
                raise translated(error) from error
