#!/usr/bin/env python3
"""Interpreters that wait for functions nobody called for a while: what they are given, what they keep
from others, and what becomes of them when their agent is killed."""
import http.client
import json
import pathlib
import signal
import socket
import tempfile
import time

from harness import (Platform, Skip, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)

FUNCTION = ("compute", "function")
PORT = 0
MAIN = """
import os, resource, sys, threading, time
LOADED = sorted(sys.modules)
NAME = os.environ["SYNOR_INSTANCE_ID"]

def total():
    with open("/proc/meminfo") as file:
        return int(file.readline().split()[1]) >> 10

def resolver():
    with open("/etc/resolv.conf") as file:
        return file.read()

def handler(event, context):
    if event["path"].endswith("/fill"):
        return {"bytes": len(b"x" * (900 << 20))}
    try:
        open("/synor/code/more", "w")
        written = True
    except OSError:
        written = False
    return {"instance": os.environ["SYNOR_INSTANCE_ID"], "was": NAME, "modules": LOADED,
            "colour": os.environ.get("COLOUR"), "key": os.environ.get("DOOR_KEY"),
            "left": sorted(os.listdir("/synor/scratch")), "cwd": os.getcwd(), "argv": sys.argv,
            "code": sorted(os.listdir("/synor/code")), "synor": sorted(os.listdir("/synor")),
            "input": sys.stdin.read(), "memory": total(), "waits": "SYNOR_WAITS" in os.environ,
            "written": written, "threads": threading.active_count(), "uid": os.getuid(),
            "environ": sorted(os.environ), "cpus": os.cpu_count(), "dns": resolver()}
"""
NODE = """
import { readFileSync, readdirSync } from 'node:fs';
const { COLOUR, SYNOR_INSTANCE_ID: NAME } = process.env;
export const handler = () => ({ instance: NAME, colour: COLOUR ?? null, cwd: process.cwd(),
  code: readdirSync('/synor/code'), left: readdirSync('/synor/scratch'), argv: process.argv,
  waits: 'SYNOR_WAITS' in process.env, input: readFileSync(0, 'utf8'),
  heap: process.memoryUsage.rss() > 0 });
"""


def request(path, status=200):
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read()
    equal(answer.status, status, path, body)
    return json.loads(body)


def deploy(p, name, main=MAIN, *options, runtime="python3", files=()):
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / {"python3": "main.py", "node": "main.mjs"}[runtime]).write_text(main)
    for file in files:
        (folder / file).write_text("")
    p.cli(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, "--code", folder, "--idle",
          "1s", "--prewarm", "off", "--isolation", "gvisor", "--trigger", f"http:/{name}/{{rest*}}",
          *options, "--yes")


def sandboxes(p):
    """Those made ahead that instances took, and those that wait or are being made."""
    there = {path.name for path in (p.home / "agent" / "spares").iterdir()}
    taken = {path.read_text() for path in (p.home / "agent" / "jobs").glob("*/run")}
    return there & taken, there - taken


def asleep(p):
    wait_until("nobody is called", 30, lambda: not p.instance_folders() and not sandboxes(p)[0])


def waiting(p, count=1):
    """What waits, once the node has said so."""
    wait_until(f"{count} wait", 30, lambda: p.json("node", "list")["items"][0]["status"].get(
        "pool", {}).get("waiting") == count and len(sandboxes(p)[1]) == count)
    return sandboxes(p)[1]


def record(p, name, instance):
    return wait_until("it is on record", 10, lambda: next(
        (row for row in p.json(*FUNCTION, "invocations", name)["items"]
         if row["instance"] == instance and row["way"] != "warm"), None))


def need_pool(p):
    need_sandbox(p)
    need_networks(p)
    if not any(row["name"] == "gvisor" and row["state"] == "ready"
               for row in p.wait_node()["status"]["sandboxes"]):
        raise Skip("no gVisor here")


@case
def an_interpreter_waits_and_is_taken(p):
    p.start()
    need_pool(p)
    p.cli("secret", "set", "door-key", stdin="first\n")
    deploy(p, "one", MAIN, "--env", "COLOUR=blue", "--secret", "door-key", files=("one.txt",))
    cold = request("/one/")
    equal(record(p, "one", cold["instance"])["way"], "cold")
    asleep(p)
    spare = waiting(p)
    pooled = request("/one/")
    row = record(p, "one", pooled["instance"])
    equal(row["way"], "pool", row)
    check({"wait", "create", "initialise", "first_byte"} <= set(row["stages_us"]), row)
    equal(sandboxes(p)[0], spare)
    check(pooled["instance"] != cold["instance"])
    # It is what it would have been: what was loaded before it, what it sees, what it may.
    for key in pooled:
        if key not in ("instance", "was", "dns"):
            equal(pooled[key], cold[key], key, pooled, cold)
    equal((pooled["colour"], pooled["key"], pooled["input"]), ("blue", "first", ""), pooled)
    equal(pooled["code"], ["main.py", "one.txt"])
    equal(pooled["dns"].split("\n")[0], cold["dns"].split("\n")[0])


@case
def nothing_of_one_account_is_there_for_another(p):
    need_pool(p)
    waiting(p)
    asleep(p)
    p.cli("account", "create", "bolt")
    p.cli("account", "deposit", "bolt", "100")
    p.cli("--account", "bolt", *FUNCTION, "list")


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}"))
