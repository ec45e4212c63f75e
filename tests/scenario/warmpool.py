#!/usr/bin/env python3
"""Interpreters that wait for functions nobody called for a while: what they are given, what they keep
from others, and what becomes of them when their agent is killed."""
import json
import pathlib
import socket
import tempfile
import time

from harness import (Platform, Skip, all_accounts, case, check, connected, equal, need_networks,
                     need_sandbox, run, wait_until)

FUNCTION = ("compute", "function")
CPU = 400  # thousandths of a core
OTHER = ("--account", "other")
PORT = 0
MAIN = """
import os, sys, threading, time
LOADED = sorted(sys.modules)
NAME = os.environ["SYNOR_INSTANCE_ID"]

def total():
    with open("/proc/meminfo") as file:
        return int(file.readline().split()[1]) >> 10

def resolver():
    with open("/etc/resolv.conf") as file:
        return file.read()

def handler(event, context):
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


def request(path):
    link = connected(PORT)
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read()
    equal(answer.status, 200, path, body)
    return json.loads(body)


def deploy(p, name, main=MAIN, *options, runtime="python3", files=()):
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / {"python3": "main.py", "node": "main.mjs"}[runtime]).write_text(main)
    for file in files:
        (folder / file).write_text("")
    p.cli(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, "--code", folder, "--idle",
          "1s", "--cpu", "0.4", "--prewarm", "off", "--isolation", "gvisor", "--trigger", f"http:/{name}/{{rest*}}",
          *options, "--yes")


def asleep(p):
    wait_until("nobody is called", 30, lambda: not p.instance_folders())


def waiting(p, program="python3"):
    """What waits, once the node has said so."""
    wait_until(f"a {program} waits", 30, lambda: p.json("node", "list")["items"][0]["status"].get(
        "pool", {"waiting": {}})["waiting"].get(program))
    return p.sandboxes()[1]


def record(p, name, instance, *account):
    return wait_until("it is on record", 10, lambda: next(
        (row for row in p.json(*FUNCTION, "invocations", name, *account)["items"]
         if row["instance"] == instance and row["way"] != "warm"), None))


def quota(spare):
    """Thousandths of a core that its control group may have."""
    root = pathlib.Path("/sys/fs/cgroup")
    for file in [*root.glob(f"synor/{spare}-*/cpu.*"), *root.glob(f"*/synor/{spare}-*/cpu.*")]:
        if file.name == "cpu.max":
            used, period = file.read_text().split()
            return 0 if used == "max" else int(used) * 1000 // int(period)
        if file.name == "cpu.cfs_quota_us":
            return int(file.read_text()) * 1000 // int((file.parent / "cpu.cfs_period_us").read_text())
    return 0


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
    check(p.sandboxes()[0] <= spare)
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
    p.json("account", "create", "other")
    p.json("account", "faucet", "other", "--amount", "10")
    asleep(p)
    before = waiting(p)
    deploy(p, "two", MAIN, *OTHER, files=("two.txt",))  # its first instance takes what waits
    answer = request("/two/")
    row = record(p, "two", answer["instance"], *OTHER)
    equal(row["way"], "pool", row)
    (spare,) = p.sandboxes()[0]
    check(spare in before)
    equal((answer["colour"], answer["key"], answer["code"]), (None, None, ["main.py", "two.txt"]))
    check(not {"COLOUR", "DOOR_KEY"} & set(answer["environ"]), answer)
    equal(answer["dns"].split("\n")[0], "search other.synor")
    network = json.loads((p.home / "agent/net/at" / f"{spare}.json").read_text())
    equal((network["account"], network["guarded"]),
          (next(row["id"] for row in all_accounts(p) if row["name"] == "other"), True), network)
    wait_until("it has the processor that it asked for", 10, lambda: quota(spare) == CPU)
    # What was taken once is never taken again.
    asleep(p)
    waiting(p)
    before = request("/one/")
    equal((before["colour"], before["key"], before["code"]), ("blue", "first", ["main.py", "one.txt"]))


@case
def what_waits_ends_when_the_agent_is_killed(p):
    need_pool(p)
    asleep(p)
    waiting(p)
    request("/one/")
    taken = p.sandboxes()[0]
    before = waiting(p)
    p.kill()
    check(before <= p.sandboxes()[1])
    p.start()
    p.wait_node()
    wait_until("they are gone", 20, lambda: not p.sandboxes()[1] & before)
    equal(request("/one/")["colour"], "blue")
    asleep(p)
    check(not p.sandboxes()[0] | (p.sandboxes()[1] & (before | taken)), p.sandboxes())


def see_metrics(p, program):
    node = p.wait_node()["id"]
    lines = p.http("GET", "/metrics")[2].decode().splitlines()
    for name in (f'synor_node_pool_waiting{{node="{node}",program="{program}"}} ',
                 f'synor_node_pool_bytes{{node="{node}"}} '):
        equal([int(line.split()[1]) > 0 for line in lines if line.startswith(name)], [True], lines)


@case
def node_waits_too(p):
    need_pool(p)
    if not any(row["name"] == "node" for row in p.wait_node()["status"]["languages"]):
        raise Skip("no node here")
    deploy(p, "script", NODE, "--env", "COLOUR=red", runtime="node")
    cold = request("/script/")
    equal(record(p, "script", cold["instance"])["way"], "cold")
    asleep(p)
    waiting(p, "node")
    see_metrics(p, "node")
    pooled = request("/script/")
    equal(record(p, "script", pooled["instance"])["way"], "pool")
    for key in pooled:
        if key != "instance":
            equal(pooled[key], cold[key], key, pooled, cold)


@case
def a_provider_can_do_without(p):
    need_pool(p)
    asleep(p)
    p.stop()
    p.options += ["--warm-pool", "off"]
    p.start()
    p.wait_node()
    for _ in range(2):
        equal(record(p, "one", request("/one/")["instance"])["way"], "cold")
        asleep(p)
    equal(p.sandboxes(), (set(), set()))


@case
def nothing_of_them_stays(p):
    need_pool(p)
    for account in ((), OTHER):
        for function in p.json(*FUNCTION, "list", *account)["items"]:
            p.cli(*FUNCTION, "delete", function["id"], "--yes", "--no-wait", *account)
    wait_until("they are gone", 60, lambda: not p.instance_folders())
    p.stop()
    equal(list((p.home / "agent" / "spares").iterdir()), [])
    equal(list((p.home / "agent" / "net" / "at").iterdir()), [])


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}"))
