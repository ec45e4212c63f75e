#!/usr/bin/env python3
"""Functions that go on from snapshots: what is kept in them, what is renewed, and what happens to
one that is damaged."""
import concurrent.futures
import json
import pathlib
import socket
import tempfile
import time

from harness import (Platform, Skip, case, check, connected, equal, need_networks, need_sandbox,
                     run, wait_until)

FUNCTION = ("compute", "function")
PORT = 0
MAIN = """
import os, random, socket, ssl, time
LOADED = os.urandom(8).hex()  # kept in the snapshot
SECRET = os.environ["DOOR_KEY"]  # as it was when it was loaded
NAME = os.environ["SYNOR_INSTANCE_ID"]

def handler(event, context):
    time.sleep(0.4)
    return {"loaded": LOADED, "secret": SECRET, "now": os.environ["DOOR_KEY"],
            "instance": os.environ["SYNOR_INSTANCE_ID"], "was": NAME, "time": time.time(),
            "drawn": [random.random(), os.urandom(8).hex(), ssl.RAND_bytes(8).hex()],
            "left": sorted(os.listdir("/synor/scratch")), "snapshot": "SYNOR_SNAPSHOT" in os.environ}
"""

# What Node draws ahead, and each generator, is in the snapshot.
NODE = """
import crypto, { randomInt, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
const bytes = promisify(crypto.randomBytes);
const many = async () => (await Promise.all(Array.from({ length: 8 }, () => bytes(8))))
  .map((one) => one.toString('hex'));
const draw = () => [crypto.randomBytes(8).toString('hex'), randomUUID(), randomInt(2 ** 47),
  Math.random(), crypto.webcrypto.randomUUID(),
  String(crypto.webcrypto.getRandomValues(new Uint32Array(2))),
  crypto.generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x];
const LOADED = [draw(), await many()][0][0];
const { DOOR_KEY: SECRET, SYNOR_INSTANCE_ID: NAME } = process.env;
export const handler = async () => {
  await new Promise((resolve) => { setTimeout(resolve, 400); });
  return { loaded: LOADED, secret: SECRET, now: process.env.DOOR_KEY, was: NAME,
    instance: process.env.SYNOR_INSTANCE_ID, time: Date.now() / 1000, drawn: draw(),
    more: await many(), left: (await import('node:fs')).readdirSync('/synor/scratch'),
    snapshot: 'SYNOR_SNAPSHOT' in process.env };
};
"""
WORKER = """
import { Worker } from 'node:worker_threads';
new Worker('setInterval(() => 0, 1000)', { eval: true }).unref();
export const handler = () => 'ok';
"""
ADDON = """
import { copyFileSync } from 'node:fs';
copyFileSync('/synor/renew.node', '/tmp/own.node'); // it stands for any
process.dlopen({ exports: {} }, '/tmp/own.node');
export const handler = () => 'ok';
"""


def call(name="kept"):
    """What it answered, and the record of the call."""
    link = connected(PORT)
    link.request("GET", f"/{name}")
    answer = link.getresponse()
    body = answer.read()
    equal(answer.status, 200, body)
    return json.loads(body)


def burst(count=3, name="kept"):
    """Answers of so many instances, which serve one call at a time."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: call(name), range(count)))


def until_instances(count, seconds=25, name="kept"):
    """One answer of each of so many instances."""
    found, ends = {}, time.monotonic() + seconds
    while len(found) < count and time.monotonic() < ends:
        found.update({each["instance"]: each for each in burst(count + 1, name)})
    return list(found.values())


def firsts(p, name="kept"):
    """The records of the first calls of instances, by how these came."""
    return [row for row in p.json(*FUNCTION, "invocations", name)["items"] if row["way"] != "warm"]


def kept(p):
    return [path for path in (p.home / "agent" / "snapshots").glob("b*")]


def deploy(p, name, main, *options, runtime="python3", code=0):
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / {"python3": "main.py", "node": "main.mjs"}[runtime]).write_text(main)
    return p.cli(*FUNCTION, "deploy", "--name", name, "--runtime", runtime, "--code", folder,
                 "--cpu", "0.4", "--idle", "1s", "--prewarm", "off", "--trigger", f"http:/{name}", *options, "--yes",
                 code=code)


@case
def what_cannot_be_saved_is_refused(p):
    p.start()
    for more, word in ((("--isolation", "runc"), "needs isolation gvisor"),):
        refused = p.error(*FUNCTION, "deploy", "--name", "no", "--runtime", "python3", "--code",
                          "synor://none", "--snapstart", *more, "--yes", code=2)["message"]
        check(refused.startswith("--snapstart: ") and word in refused, refused)
    refused = p.error(*FUNCTION, "deploy", "--name", "no", "--runtime", "ruby", "--code",
                      "synor://none", "--snapstart", "--yes", code=2)["message"]
    check("python3 and node alone" in refused, refused)


def need_snapshots(p):
    need_sandbox(p)
    need_networks(p)
    if not any(row.get("snapshots") for row in p.wait_node()["status"]["sandboxes"]):
        raise Skip("no gVisor here restores snapshots: scripts/gvisor gets one")


@case
def instances_go_on_from_a_snapshot(p):
    need_snapshots(p)
    p.cli("secret", "set", "door-key", stdin="first\n")
    deploy(p, "kept", MAIN, "--snapstart", "--secret", "door-key")
    wait_until("a snapshot is made", 40, lambda: kept(p))
    answers = until_instances(3)
    check_gone_on(p, answers, "kept", "first")


def check_gone_on(p, answers, name, secret):
    """They share what was loaded, and nothing else."""
    gone_on = [each for each in answers if each["was"] != each["instance"]]
    check(len(gone_on) >= 2, answers)
    equal(len({each["loaded"] for each in gone_on}), 1, answers)
    check(all(each["loaded"] != gone_on[0]["loaded"] for each in answers if each not in gone_on))
    for drawn in zip(*(each["drawn"] for each in answers)):
        equal(len(set(drawn)), len(answers), answers)
    for each in answers:
        check(abs(each["time"] - time.time()) < 120, each)
        equal((each["secret"], each["now"], each["left"], each["snapshot"]),
              (secret, secret, [], False), each)
    ways = {row["instance"]: row for row in wait_until("it is on record", 10, lambda: next(
        (rows for rows in [firsts(p, name)] if len(rows) >= len(answers)), None))}
    for each in gone_on:
        row = ways[each["instance"]]
        equal(row["way"], "snapshot", row)
        check(row["stages_us"]["restore"] > 0 and "create" not in row["stages_us"], row)


@case
def a_secret_that_was_changed_is_in_no_snapshot(p):
    need_snapshots(p)
    before = kept(p)
    p.cli("secret", "set", "door-key", stdin="second\n")
    wait_until("nobody calls it", 30, lambda: not p.instance_folders() and not p.sandboxes()[0])
    answer = call()
    equal((answer["secret"], answer["now"]), ("second", "second"), answer)
    wait_until("another snapshot is made", 40, lambda: set(kept(p)) - set(before))
    wait_until("that with the first one is gone", 10, lambda: not set(kept(p)) & set(before))
    answers = until_instances(2)
    check(any(each["was"] != each["instance"] for each in answers), answers)
    equal({(each["secret"], each["now"]) for each in answers}, {("second", "second")}, answers)


@case
def what_waits_ends_when_the_agent_is_killed(p):
    need_snapshots(p)
    wait_until("nobody calls it", 30, lambda: not p.instance_folders() and not p.sandboxes()[0])
    wait_until("sandboxes wait", 30, lambda: len(p.sandboxes()[1]) == 2)
    before = p.sandboxes()[1]
    answer = call()
    check(answer["was"] != answer["instance"], answer)
    check(before & p.sandboxes()[0], before, p.sandboxes())
    p.kill()
    p.start()
    p.wait_node()
    wait_until("they are gone", 20, lambda: not p.sandboxes()[1] & before)
    answer = call()
    equal(answer["now"], "second", answer)


@case
def what_is_damaged_starts_cold(p):
    need_snapshots(p)
    wait_until("nobody calls it", 30, lambda: not p.instance_folders() and not p.sandboxes()[0])
    for folder in kept(p):
        with open(folder / "image" / "pages.img", "r+b") as file:
            file.seek(5 << 20)
            file.write(b"damage")
    answer = call()
    equal((answer["secret"], answer["was"]), ("second", answer["instance"]), answer)
    check("snapshot.damaged" in p.log.read_text() and "was damaged" in p.log.read_text(),
          p.log_tail())
    row = wait_until("it is on record", 10, lambda: next(
        (row for row in firsts(p) if row["instance"] == answer["instance"]), None))
    equal(row["way"], "cold", row)


@case
def what_writes_files_starts_cold(p):
    need_snapshots(p)
    had = len(kept(p))
    deploy(p, "writes", "open('/tmp/model', 'w').close()\n" + MAIN, "--snapstart", "--secret",
           "door-key")
    wait_until("it is said", 40, lambda: "it writes files" in p.log.read_text())
    wait_until("nobody calls it", 30, lambda: not p.instance_folders() and not p.sandboxes()[0])
    answer = call("writes")
    equal(answer["was"], answer["instance"])
    check(len(kept(p)) <= had + 1, kept(p))  # the other function's is made anew


@case
def what_has_random_numbers_of_its_own_starts_cold(p):
    need_snapshots(p)
    deploy(p, "own", "import sys\nsys.modules['cryptography.hazmat.bindings._rust'] = sys\n" + MAIN,
           "--snapstart", "--secret", "door-key")
    wait_until("it is said", 40, lambda: "cryptography draws random" in p.log.read_text())


def need_node(p):
    need_snapshots(p)
    if not any(row["name"] == "node" for row in p.wait_node()["status"]["languages"]):
        raise Skip("no node here")


@case
def node_goes_on_from_a_snapshot(p):
    need_node(p)
    before = kept(p)
    deploy(p, "script", NODE, "--snapstart", "--secret", "door-key", runtime="node")
    wait_until("a snapshot is made", 40, lambda: set(kept(p)) - set(before))
    answers = until_instances(3, name="script")
    check_gone_on(p, answers, "script", "second")
    drawn = [one for each in answers for one in each["more"]]  # by threads, each with its generator
    equal(len(set(drawn)), len(drawn), answers)


@case
def node_with_random_numbers_of_its_own_starts_cold(p):
    need_node(p)
    for name, main, why in (("workers", WORKER, "it has started workers"),
                            ("addon", ADDON, "own.node is compiled and may draw random")):
        deploy(p, name, main, "--snapstart", runtime="node")
        wait_until("it is said", 40, lambda why=why: why in p.log.read_text())


@case
def what_is_ready_while_another_is_saved_is_saved_next(p):
    need_snapshots(p)
    before = kept(p)
    for name in ("one", "two", "three"):
        deploy(p, name, f"NAME = '{name}'\n" + MAIN, "--snapstart", "--secret", "door-key",
               "--no-wait")
    wait_until("each has a snapshot", 60, lambda: len(set(kept(p)) - set(before)) == 3)


@case
def nothing_of_them_stays(p):
    for function in p.json(*FUNCTION, "list")["items"]:
        p.cli(*FUNCTION, "delete", function["name"], "--yes", "--no-wait")
    wait_until("they are gone", 60, lambda: not p.json(*FUNCTION, "list")["items"])
    folders = [path.name for path in (p.home / "agent" / "runtime").glob("probe-*")]
    equal(folders, [])


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}"))
