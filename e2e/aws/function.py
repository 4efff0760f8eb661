"""A Lambda function that does what the header x-do of its request says, as JSON; without one it answers with its event."""

import json
import os
import time


def handler(event, context):
    if "requestContext" not in event:
        return "not called by a gateway"
    headers = {name.lower(): value for name, value in event["headers"].items()}
    todo = json.loads(headers.get("x-do", "{}"))
    if "throw" in todo:
        raise RuntimeError(todo["throw"])
    if "exit" in todo:
        os._exit(todo["exit"])
    time.sleep(todo.get("sleep", 0))
    if "length" in todo:
        return {"statusCode": 200, "body": "x" * todo["length"]}
    if "return" in todo:
        return todo["return"]
    if event["version"] == "2.0":
        return event
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
