"""Makes what the routes of services.yaml use, in moto; or says what has come of their calls. Prints JSON.

From `make` on moto refuses whoever signs wrongly or may not: it computes each signature again, with botocore.

usage: services.py ENDPOINT make
       services.py ENDPOINT seen KEY SECRET EXECUTION
"""

import io
import json
import sys
import zipfile

import boto3
import requests

endpoint, command, *rest = sys.argv[1:]
key, secret = rest[:2] if rest else ("test", "test")


def client(service):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def tell_moto(path, body):
    requests.post(endpoint + path, data=body.encode()).raise_for_status()


def user(name, actions):
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}


sqs, kinesis, states = client("sqs"), client("kinesis"), client("stepfunctions")
if command == "make":
    iam, events, functions = client("iam"), client("events"), client("lambda")
    # Functions answer with their event, without Docker.
    tell_moto("/moto-api/config", json.dumps({"lambda": {"use_docker": False}}))
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ["orders", "events"]}
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    assume = {"Version": "2012-10-17", "Statement": []}
    role = iam.create_role(RoleName="gateway", AssumeRolePolicyDocument=json.dumps(assume))["Role"]["Arn"]
    machine = states.create_state_machine(
        name="ship",
        roleArn=role,
        definition=json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}),
    )["stateMachineArn"]
    events.create_event_bus(Name="shop")
    events.put_rule(Name="sold", EventBusName="shop", EventPattern=json.dumps({"source": ["shop.orders"]}))
    target = sqs.get_queue_attributes(QueueUrl=queues["events"], AttributeNames=["QueueArn"])
    target = {"Id": "events", "Arn": target["Attributes"]["QueueArn"]}
    events.put_targets(Rule="sold", EventBusName="shop", Targets=[target])
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("function.py", "def handler(event, context): return event")
    function = functions.create_function(
        FunctionName="echo",
        Runtime="python3.13",
        Role=role,
        Handler="function.handler",
        Code={"ZipFile": code.getvalue()},
    )["FunctionArn"]
    every = ["sqs:*", "kinesis:*", "states:*", "events:*", "lambda:*"]
    made = {
        "queue": queues["orders"],
        "machine": machine,
        "function": function,
        "user": user("gateway", every),
        "nobody": user("nobody", ["sqs:GetQueueUrl"]),
    }
    tell_moto("/moto-api/reset-auth", "0")
    print(json.dumps(made))
else:
    [execution] = rest[2:]
    queue = sqs.get_queue_url(QueueName="events")["QueueUrl"]
    shard = kinesis.get_shard_iterator(StreamName="clicks", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
    records = kinesis.get_records(ShardIterator=shard["ShardIterator"])["Records"]
    described = states.describe_execution(executionArn=execution)
    seen = {
        "events": [json.loads(message["Body"]) for message in sqs.receive_message(QueueUrl=queue).get("Messages", [])],
        "records": [[record["PartitionKey"], record["Data"].decode()] for record in records],
        "execution": {name: described.get(name) for name in ["name", "input", "status"]},
    }
    print(json.dumps(seen))
