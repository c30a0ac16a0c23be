"""Recognizes Lambda events that carry no usage events, so that an error can name their kind in one line."""

from collections.abc import Mapping
from typing import Any

BY_KEYS: tuple[tuple[str, set[str]], ...] = (
    ("an event of EventBridge", {"detail-type"}),
    ("a batch of CloudWatch logs", {"awslogs"}),
    ("a batch of CloudWatch logs", {"policyLevel", "logEvents"}),
    ("a batch of Firehose", {"deliveryStreamArn", "records"}),
    ("a batch of Firehose or Kinesis Analytics", {"invocationId", "records"}),
    ("a call of an API's authorizer", {"methodArn"}),
    ("a call of an API's authorizer", {"routeArn"}),
    ("a call of an API's authorizer", {"authorizationToken"}),
    ("a call of AppSync", {"info", "identity"}),
    ("a call of AppSync", {"typeName", "fieldName"}),
    ("a call of AppSync", {"typeName", "arguments"}),
    ("an answer to AppSync", {"isAuthorized", "resolverContext"}),
    ("a call of a Bedrock agent", {"agent", "messageVersion"}),
    ("a CloudWatch alarm", {"alarmArn", "alarmData"}),
    ("a widget of a CloudWatch dashboard", {"widgetContext"}),
    ("a request of CloudFormation", {"RequestType", "LogicalResourceId"}),
    ("a job of CodePipeline", {"CodePipeline.job"}),
    ("a trigger of Cognito", {"triggerSource"}),
    ("a trigger of Cognito", {"identityPoolId"}),
    ("a check of AWS Config", {"invokingEvent"}),
    ("a contact of Amazon Connect", {"Name", "Details"}),
    ("an event of the IoT registry", {"eventType", "eventId", "operation"}),
    ("a turn of Lex", {"bot", "messageVersion"}),
    ("a turn of Lex", {"sessionState", "inputTranscript"}),
    ("a request of Alexa", {"version", "session", "request"}),
    ("a request of Alexa", {"header", "payload"}),
    ("a job of S3 Batch", {"invocationSchemaVersion", "tasks"}),
    ("a request of S3 Object Lambda", {"getObjectContext"}),
    ("a request of S3 Object Lambda", {"xAmzRequestId", "userRequest"}),
    ("a rotation of Secrets Manager", {"SecretId", "Step"}),
    ("a login of Transfer Family", {"serverId", "username"}),
    ("a request of VPC Lattice", {"raw_path", "method"}),
    ("a task of SageMaker", {"labelingJobArn"}),
    ("a mail of WorkMail", {"summaryVersion", "envelope"}),
    ("a message of MQ", {"rmqMessagesByQueue"}),
    ("a message of IoT", {"clientId", "topic", "qos"}),
    ("a failure of Step Functions", {"Error", "Cause"}),
)
"""Each kind, and keys that together only it has; no event of ours has all of them."""
BY_SOURCE = {
    "aws:kafka": "a batch of Kafka",
    "SelfManagedKafka": "a batch of Kafka",
    "aws:mq": "a batch of MQ",
    "aws:rmq": "a batch of MQ",
    "aws:docdb": "a batch of DocumentDB",
}
RECORDS = {
    "Sns": "a message of SNS",
    "s3": "a notification of S3",
    "dynamodb": "a batch of a DynamoDB stream",
    "ses": "a mail of SES",
    "cf": "a request of CloudFront",
    "codecommit": "a push of CodeCommit",
}
"""By a key of the entries in `Records`."""


def other_kind(event: Mapping[str, Any]) -> str | None:
    """The kind of a Lambda event that carries no usage events; None if it may carry some, or its kind is unknown."""
    context = event.get("requestContext")
    if isinstance(context, dict) and (kind := _kind_of_request(event, context)):
        return kind
    records = event.get("Records")
    if isinstance(records, list):
        first = records[0] if records and isinstance(records[0], dict) else {}
        return next((kind for name, kind in RECORDS.items() if name in first), None)
    source = event.get("eventSource")
    if isinstance(source, str) and source in BY_SOURCE:
        return BY_SOURCE[source]
    if {"specversion", "data"} & event.keys():
        return None
    return next((kind for kind, names in BY_KEYS if names <= event.keys()), None)


def _kind_of_request(event: Mapping[str, Any], context: Mapping[str, Any]) -> str | None:
    """The kind of a request; None for payload format 2.0, that of an HTTP API and of a function's URL."""
    if "elb" in context:
        return "a request of a load balancer"
    if "serviceNetworkArn" in context:
        return "a request of VPC Lattice"
    if "connectionId" in context:
        return "a message of a WebSocket API"
    if {"methodArn", "routeArn", "authorizationToken"} & event.keys():
        return "a call of an API's authorizer"
    return "a request of a REST API" if "httpMethod" in event else None
