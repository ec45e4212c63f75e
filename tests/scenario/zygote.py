"""Functions of isolation namespace: forked from zygotes, which end with the node's agent."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import threading
import time

from harness import (Platform, Skip, case, check, equal, need_networks, run, wait_until)

FUNCTION = ("compute", "function")
OTHER = ("--account", "other")
PORT = 0
FACTS = {}
CODE = """
import os, re, time

def has(pattern):
    # What is looked for is nowhere as it is, or it would be found for that.
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in list(maps):
            place, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            begin, end = (int(part, 16) for part in place.split("-"))
            try:
                memory.seek(begin)
                if pattern.search(memory.read(end - begin)):
                    return True
            except OSError:
                pass
    return False

def handler(event, context):
    what = event["path"].rpartition("/")[2]
    if what == "sleep":
        print("asleep", flush=True)
        time.sleep(20)
    if what == "fill":
        held = []
        while True:
            held.append(bytearray(1 << 20))
    if what == "memory":
        return str(has(re.compile(b"secret[-]of[-]" + event["query"]["of"].encode())))
    return "here"
"""


def need(p):
    need_networks(p)
    if not shutil.which("python3", path="/usr/bin"):
        raise Skip("there is no python3 here")
    found = {row["name"]: row for row in p.wait_node()["status"]["sandboxes"]}
    if found["namespace"]["state"] != "ready":
        raise Skip(f"namespace does not work here: {found['namespace']['message']}")


def call(path, method="GET", timeout=30):
    """Status and body of an answer."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        link.request(method, path)
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def deploy(p, name, *options, code=0):
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home))
    (folder / "main.py").write_text(CODE)
    return p.json(*FUNCTION, "deploy", "--name", name, "--runtime", "python3", "--code", folder,
                  "--isolation", "namespace", "--trigger", f"http:/{name}/{{what}}", "--yes",
                  *options, code=code)


def answers(name):
    """It does, in time: there is somebody to call, and an instance."""
    def look():
        try:
            return call(f"/{name}/x")[0] == 200
        except OSError:
            return False
    wait_until(f"{name} answers", 30, look)


def first_call(p, name):
    """The record of the first call that an instance served, the newest one."""
    def look():
        rows = p.json(*FUNCTION, "invocations", name)["items"]
        return next((row for row in rows if row["way"] != "warm"), None)
    return wait_until("its record is there", 10, look)


def status_of(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def below(parents):
    """Processes that descend from these, these left out."""
    found = {int(entry.name): int(status_of(entry.name).get("PPid", 0))
             for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()}
    mine, grown = set(parents), True
    while grown:
        more = {pid for pid, parent in found.items() if parent in mine} - mine
        grown = bool(more)
        mine |= more
    return mine - set(parents)


def zygotes(p):
    """Their processes."""
    found = []
    for pid in below([p.process.pid]):
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"zygote.py" in line and status_of(pid).get("Uid", "").split()[:1] == ["0"] and len(
                status_of(pid)["NSpid"].split()) == 1:
            found.append(pid)
    return found


def forked(p):
    """Processes of instances."""
    return [pid for pid in below(zygotes(p))
            if int(status_of(pid).get("Uid", "0").split()[0]) > 65536]


@case
def it_is_forked_and_has_all_that_others_have(p):
    p.start()
    need(p)
    deploy(p, "one", "--env", "SECRET=secret-of-one", "--max-instances", "1")
    equal(call("/one/x")[0], 200)
    record = first_call(p, "one")
    equal(record["way"], "zygote", record)
    check({"create", "initialise"} <= set(record["stages_us"]), record)
    equal(len(zygotes(p)), 1)
    node = {row["name"]: row for row in p.wait_node()["status"]["sandboxes"]}["namespace"]
    equal((node["runtime"], node["state"]), ("zygote", "ready"), node)


@case
def another_account_has_a_zygote_of_its_own_and_no_secret_is_shared(p):
    need(p)
    p.json("account", "create", "other")
    p.json("account", "faucet", "other", "--amount", "10")
    deploy(p, "two", "--env", "SECRET=secret-of-two", "--max-instances", "1")
    equal(len(zygotes(p)), 1)
    deploy(p, "three", "--env", "SECRET=secret-of-three", "--max-instances", "1", *OTHER)
    equal(len(zygotes(p)), 2)
    parents = {int(status_of(pid)["PPid"]) for pid in forked(p)}
    equal(sorted(parents), sorted(zygotes(p)))
    uids = [status_of(pid)["Uid"].split()[0] for pid in forked(p)]
    equal((len(uids), len(set(uids))), (3, 3), uids)
    for name, of, has in (("two", "two", True), ("two", "one", False), ("one", "two", False),
                          ("three", "one", False), ("three", "three", True)):
        equal(call(f"/{name}/memory?of={of}"), (200, str(has)), name, of)


@case
def one_that_is_suspended_does_not_run(p):
    need(p)
    before = set(forked(p))
    p.cli(*FUNCTION, "suspend", "one", "--yes")
    wait_until("its instance has ended", 20, lambda: len(before - set(forked(p))) == 1)
    equal(len(forked(p)), 2)
    p.cli(*FUNCTION, "resume", "one")
    answers("one")


@case
def what_uses_too_much_memory_is_told_so(p):
    need(p)
    status, said = call("/two/fill")
    check(status in (502, 503), status, said)
    answers("two")
    events = json.dumps(p.json(*FUNCTION, "events", "two"))
    explained = json.dumps(p.json(*FUNCTION, "explain", "two"))
    check("out of memory" in events + explained, events, explained)


def asleep(p, name):
    """A call that takes long, in a thread; returns once its handler is in it."""
    said = []
    before = p.cli(*FUNCTION, "logs", name).out.count("asleep")
    thread = threading.Thread(target=lambda: said.append(call(f"/{name}/sleep", "POST", 60)))
    thread.start()
    wait_until("the call is under way", 10,
               lambda: p.cli(*FUNCTION, "logs", name).out.count("asleep") > before)
    return thread, said


@case
def an_instance_killed_within_a_call_is_replaced(p):
    need(p)
    thread, said = asleep(p, "one")
    for pid in forked(p):
        os.kill(pid, signal.SIGKILL)
    thread.join(30)
    equal(said[0][0], 502, said)
    for name in ("one", "two", "three"):
        answers(name)
    equal(len(zygotes(p)), 2)


@case
def a_zygote_that_is_killed_takes_its_instances_and_all_come_back(p):
    need(p)
    before = set(zygotes(p))
    children = forked(p)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until("its instances end", 10, lambda: not any(status_of(pid) for pid in children))
    for name in ("one", "two", "three"):
        answers(name)
    check(not before & set(zygotes(p)), before)


def groups():
    return {path.name for path in pathlib.Path("/sys/fs/cgroup").rglob("fork-inst-*")}


@case
def the_agent_killed_takes_all_of_them_and_they_come_back(p):
    need(p)
    old = set(zygotes(p)) | below(zygotes(p))
    FACTS["groups"] = groups()
    p.kill()
    wait_until("nothing of them runs on", 10, lambda: not any(status_of(pid) for pid in old))
    p.start()
    for name in ("one", "two", "three"):
        answers(name)


@case
def nothing_of_them_stays(p):
    for account in ((), OTHER):
        for function in p.json(*FUNCTION, "list", *account)["items"]:
            p.cli(*FUNCTION, "delete", function["id"], "--yes", "--no-wait", *account)
    wait_until("they are gone", 60, lambda: not forked(p))
    wait_until("no folder is left", 30, lambda: not p.instance_folders())
    check(not FACTS["groups"] & groups(), groups())
    mine = set(zygotes(p)) | below(zygotes(p))
    check(mine, "no zygote is there")
    p.stop()
    wait_until("zygotes end with the agent", 10, lambda: not any(status_of(pid) for pid in mine))
    equal(list((p.home / "agent").rglob("zygote.*")), [])


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}", "--allow-namespace-sandbox"))
