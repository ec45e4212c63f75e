#!/usr/bin/env python3
"""Functions that go on from snapshots: what is kept in them, what is renewed, and what happens to
one that is damaged."""
import concurrent.futures
import http.client
import json
import pathlib
import socket
import tempfile
import time

from harness import (Platform, Skip, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)

FUNCTION = ("compute", "function")
PORT = 0
MAIN = """
import os, random, socket, ssl, time
LOADED = os.urandom(8).hex()  # kept in the snapshot
SECRET = os.environ["DOOR_KEY"]  # as it was when it was loaded
NAME = os.environ["SYNOR_INSTANCE_ID"]

def handler(event, context):
    time.sleep(0.7)
    return {"loaded": LOADED, "secret": SECRET, "now": os.environ["DOOR_KEY"],
            "instance": os.environ["SYNOR_INSTANCE_ID"], "was": NAME, "time": time.time(),
            "drawn": [random.random(), os.urandom(8).hex(), ssl.RAND_bytes(8).hex()],
            "left": sorted(os.listdir("/synor/scratch")), "snapshot": "SYNOR_SNAPSHOT" in os.environ}
"""


def call(name="kept"):
    """What it answered, and the record of the call."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    link.request("GET", f"/{name}")
    answer = link.getresponse()
    body = answer.read()
    equal(answer.status, 200, body)
    return json.loads(body)


def burst(count=3, name="kept"):
    """Answers of so many instances, which serve one call at a time."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: call(name), range(count)))


def firsts(p, name="kept"):
    """The records of the first calls of instances, by how these came."""
    return [row for row in p.json(*FUNCTION, "invocations", name)["items"] if row["way"] != "warm"]


def kept(p):
    return [path for path in (p.home / "agent" / "snapshots").glob("b*")]


def deploy(p, name, main, *options, code=0):
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / "main.py").write_text(main)
    return p.cli(*FUNCTION, "deploy", "--name", name, "--runtime", "python3", "--code", folder,
                 "--cpu", "0.4", "--idle", "1s", "--trigger", f"http:/{name}", *options, "--yes",
                 code=code)


@case
def what_cannot_be_saved_is_refused(p):
    p.start()
    for more, word in ((("--isolation", "runc"), "needs isolation gvisor"),):
        refused = p.error(*FUNCTION, "deploy", "--name", "no", "--runtime", "python3", "--code",
                          "synor://none", "--snapstart", *more, "--yes", code=2)["message"]
        check(refused.startswith("--snapstart: ") and word in refused, refused)
    refused = p.error(*FUNCTION, "deploy", "--name", "no", "--runtime", "node", "--code",
                      "synor://none", "--snapstart", "--yes", code=2)["message"]
    check("python3 alone" in refused, refused)


@case
def instances_go_on_from_a_snapshot(p):
    need_sandbox(p)
    need_networks(p)
    p.cli("secret", "set", "door-key", stdin="first\n")
    deploy(p, "kept", MAIN, "--snapstart", "--secret", "door-key")
    wait_until("a snapshot is made", 40, lambda: kept(p))
    answers = burst()
    time.sleep(1)
    print("#", json.dumps(firsts(p), indent=1).replace("\n", "\n#"))
    print(p.log_tail().replace("\n", "\n#"))
    print("#", json.dumps(answers, indent=1).replace("\n", "\n#"))


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}"))
