"""A function in Python.

    synor compute function deploy --name hello --runtime python3 --code examples/functions/python \
        --trigger 'http:/hello/{name}'
"""
import os

GREETING = os.environ.get("GREETING", "Hello")  # --env; what stands here runs once an instance


def handler(event, context):
    """JSON in, JSON out: by HTTP `event` is the request, of other triggers their payload."""
    if context.trigger != "http":
        return {"got": event}
    name = event["path"].rsplit("/", 1)[-1]
    return {"greeting": f"{GREETING}, {name}!", "version": context.version,
            "left_ms": context.remaining_ms()}


def count(event, context):
    """A stream: --handler main.count. Each piece is sent as it comes."""
    for number in range(int(event["query"].get("to", "3"))):
        yield f"{number}\n"


def invert(event, context):
    """Bytes in, bytes out: --handler main.invert."""
    return {"status": 200, "headers": {"content-type": "application/octet-stream"},
            "body": bytes(255 - byte for byte in context.body)}
