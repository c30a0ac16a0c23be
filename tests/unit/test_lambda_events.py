"""Files that hold another kind of Lambda event are refused in one line that says which; ours are none of those."""

import json
from pathlib import Path
from typing import Any

import pytest

from gratis_local.lambda_events import other_kind
from gratis_local.places import shipped
from gratis_local.sources import Unusable, read_events

RECORD = {"eventVersion": "1.0", "awsRegion": "us-east-1"}
OTHERS: dict[str, dict[str, Any]] = {
    "a message of SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]},
    "a notification of S3": {"Records": [RECORD | {"eventSource": "aws:s3", "s3": {"bucket": {}, "object": {}}}]},
    "a batch of a DynamoDB stream": {"Records": [RECORD | {"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {}}}]},
    "a mail of SES": {"Records": [{"eventSource": "aws:ses", "ses": {"mail": {}}}]},
    "a request of CloudFront": {"Records": [{"cf": {"request": {"uri": "/"}}}]},
    "an event of EventBridge": {"version": "0", "id": "a", "detail-type": "t", "source": "aws.ec2", "detail": {}},
    "a batch of CloudWatch logs": {"awslogs": {"data": "H4sI"}},
    "a batch of Firehose": {"invocationId": "a", "deliveryStreamArn": "arn", "region": "r", "records": [{"data": ""}]},
    "a request of a load balancer": {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "POST",
        "body": "",
    },
    "a request of a REST API": {"requestContext": {"stage": "p"}, "httpMethod": "POST", "path": "/", "body": "[]"},
    "a message of a WebSocket API": {"requestContext": {"connectionId": "c", "routeKey": "$connect"}, "body": "{}"},
    "a request of VPC Lattice": {"raw_path": "/", "method": "GET", "body": "e30=", "is_base64_encoded": True},
    "a call of an API's authorizer": {"type": "TOKEN", "authorizationToken": "t", "methodArn": "arn"},
    "a call of AppSync": {"arguments": {}, "identity": None, "info": {"fieldName": "f"}, "request": {}},
    "a call of a Bedrock agent": {"messageVersion": "1.0", "agent": {"name": "a"}, "inputText": "t"},
    "a CloudWatch alarm": {
        "source": "aws.cloudwatch",
        "alarmArn": "arn",
        "alarmData": {},
        "time": "2025-03-11T09:00:00Z",
    },
    "a request of CloudFormation": {"RequestType": "Create", "LogicalResourceId": "L", "StackId": "s"},
    "a job of CodePipeline": {"CodePipeline.job": {"id": "1"}},
    "a trigger of Cognito": {"version": "1", "triggerSource": "PreSignUp_SignUp", "userPoolId": "p", "request": {}},
    "a check of AWS Config": {"invokingEvent": "{}", "ruleParameters": "{}", "version": "1.0"},
    "a contact of Amazon Connect": {"Name": "ContactFlowEvent", "Details": {}},
    "an event of the IoT registry": {"eventType": "THING_EVENT", "eventId": "e", "operation": "CREATED"},
    "a batch of Kafka": {"eventSource": "aws:kafka", "records": {"topic-0": []}},
    "a batch of MQ": {"eventSource": "aws:mq", "messages": [{"data": "e30="}]},
    "a job of S3 Batch": {"invocationSchemaVersion": "1.0", "job": {}, "tasks": []},
    "a request of S3 Object Lambda": {"xAmzRequestId": "r", "getObjectContext": {}, "userRequest": {}},
    "a rotation of Secrets Manager": {"SecretId": "arn", "ClientRequestToken": "t", "Step": "createSecret"},
    "a login of Transfer Family": {"username": "u", "password": "p", "serverId": "s", "protocol": "SFTP"},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_lambda_event_is_named_as_what_it_is(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(OTHERS[kind]))
    with pytest.raises(Unusable) as refusal:
        read_events([str(file)])
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"{file}: is {kind}: no usage events come in that way")


def test_of_what_ships_only_the_ledger_s_own_stream_is_another_kind() -> None:
    samples = [json.loads(file.read_bytes()) for file in shipped("events").glob("*.json")]
    events = [event for each in samples for event in (each if isinstance(each, list) else [each])]
    assert len(events) > 50
    kinds = [other_kind(event) for event in events if isinstance(event, dict)]
    assert [kind for kind in kinds if kind] == ["a batch of a DynamoDB stream"]


def test_a_function_s_url_hands_over_what_an_http_api_does(tmp_path: Path) -> None:
    context = {"http": {"method": "POST", "path": "/v1/usage-events"}, "domainName": "x.lambda-url.eu-west-1.on.aws"}
    sent = {"version": "2.0", "routeKey": "$default", "rawPath": "/v1/usage-events", "requestContext": context}
    (tmp_path / "event.json").write_text(json.dumps(sent | {"headers": {}, "body": '[{"id": "a"}]'}))
    assert read_events([str(tmp_path / "event.json")]) == [{"id": "a"}]
