#!/usr/bin/env python3
"""Functions whose code is an attack: on the node, on the platform, on others, on their own limits.
Each ends in a status for its caller and nothing else; what runs beside it goes on."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import threading
import time

from harness import (Platform, Skip, case, check, equal, need_networks, need_sandbox, run, wait_until)

FUNCTION = ("compute", "function")
PORT = 0
CODE = '''
import ctypes, glob, os, socket, sys, threading, time

def endless():
    while True:
        pass

def memory():
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))

def forks():
    try:
        for n in range(20000):
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
    except OSError as error:
        return {"stopped": n, "why": error.strerror}

def threads():
    for n in range(20000):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

def deep():
    return deep()

def crash():
    ctypes.string_at(1)

def leave():
    os._exit(0)

def huge():
    return b"x" * (9 << 20)

def pours():
    def pieces():
        while True:
            yield b"x" * 65536
    return pieces()

def floods():
    for n in range(200000):
        print("flood", n, "x" * 200)
    return "poured"

def fills():
    with open("/tmp/fill", "wb") as file:
        try:
            while True:
                file.write(b"x" * (1 << 20))
        except OSError as error:
            said = error.strerror
    os.unlink("/tmp/fill")
    return said

def tries(name, attempt):
    try:
        return name, repr(attempt())
    except (OSError, ValueError) as error:
        return name, None

def knock(family, address):
    with socket.socket(family) as link:
        link.settimeout(0.1)
        link.connect(address)
        return "open"

def call(name, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)
    return "done"

def looks(gateway):
    """What it got hold of, by name: nothing of it may be."""
    route = [line.split() for line in open("/proc/net/route")] if os.path.exists("/proc/net/route") else []
    node = next((socket.inet_ntoa(bytes.fromhex(row[2])[::-1]) for row in route if row[1] == "00000000"), "")
    got = [
        tries("itself", lambda: "seen"),
        tries("shadow", lambda: open("/etc/shadow").read()),
        tries("root's home", lambda: os.listdir("/root") or None),
        tries("the node's root", lambda: os.listdir("/proc/1/root/home")),
        tries("the platform's folders", lambda: [glob.glob(f"/{each}/**/synor.sock", recursive=True)
                                               for each in ("run", "tmp", "var", "synor", "root")]),
        tries("its own code", lambda: open("/synor/code/main.py", "a").write("#")),
        tries("the program that calls it", lambda: open("/synor/host.py", "a").write("#")),
        tries("usr", lambda: open("/usr/bin/own", "w").write("#")),
        tries("memory", lambda: open("/dev/mem", "rb").read(1)),
        tries("kernel log", lambda: open("/dev/kmsg", "rb").read(1)),
        tries("cgroup", lambda: [open(f, "w").write("-1")
                                 for name in ("memory.*max", "memory.limit_in_bytes")
                                 for f in glob.glob("/sys/fs/cgroup/**/" + name, recursive=True)]),
        tries("mount", lambda: call("mount", b"none", b"/tmp", b"proc", 0, None)),
        tries("chroot", lambda: call("chroot", b"/tmp")),
        tries("be root", lambda: call("setuid", 0)),
        tries("host name", lambda: call("sethostname", b"own", 3)),
        tries("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
        tries("module", lambda: call("syscall", 313, 0, b"", 0)),
        tries("metadata", lambda: knock(socket.AF_INET, ("169.254.169.254", 80))),
        tries("node's ssh", lambda: knock(socket.AF_INET, (node, 22))),
        tries("node's gateway", lambda: knock(socket.AF_INET, (node, gateway))),
        tries("loopback's gateway", lambda: knock(socket.AF_INET, ("127.0.0.1", gateway))),
        tries("kill its parent", lambda: os.kill(os.getppid(), 9) or "done" if os.getppid() > 0 else None),
    ]
    return {name: what for name, what in got if what is not None and what.strip("[], ") not in ("", "None")}

def handler(event, context):
    what = event["query"]["do"]
    if what == "looks":
        return looks(int(event["query"]["gateway"]))
    if what == "hello":
        return os.getpid()
    return globals()[what]()
'''


def ask(path, method="GET", body=None, timeout=30, headers=None):
    """The answer's status and body by HTTP; a connection that was cut is status 0."""
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    try:
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        return answer.status, answer.read()
    except http.client.IncompleteRead as error:
        return 0, error.partial
    finally:
        link.close()


def attack(name, what):
    """By POST, which is not tried again: what it does to its instance is what its caller sees."""
    return ask(f"/{name}?do={what}", "POST")


def well(p, name, why):
    """It answers again, by a new instance if need be; so does its neighbour, by its old one."""
    wait_until(f"{name} answers after {why}", 30, lambda: attack(name, "hello")[0] == 200)
    equal(attack("neighbour", "hello"), p.neighbour, f"after {why}")


def sandboxes(p):
    return [f"on-{sandbox}" for sandbox in need_sandbox(p)]


@case
def they_are_deployed(p):
    p.start()
    found = need_sandbox(p)
    need_networks(p)
    if not shutil.which("python3", path="/usr/bin"):
        raise Skip("the node has no python3")
    code = p.home / "code"
    code.mkdir()
    (code / "main.py").write_text(CODE)
    for name, sandbox in [("neighbour", found[0])] + [(f"on-{each}", each) for each in found]:
        # Nobody attacks the neighbour: what its calls take is the machine's matter.
        p.cli(*FUNCTION, "deploy", "--name", name, "--runtime", "python3", "--code", code, "--cpu",
              "0.5", "--timeout", "20s" if name == "neighbour" else "2s", "--max-instances", "1",
              "--isolation", sandbox, "--ephemeral-storage", "64", "--trigger", f"http:/{name}", "--yes")
        wait_until("it answers", 20, lambda name=name: attack(name, "hello")[0] == 200)
    p.neighbour = attack("neighbour", "hello")


@case
def they_get_hold_of_nothing(p):
    for name in sandboxes(p):
        status, body = ask(f"/{name}?do=looks&gateway={PORT}")
        equal((status, json.loads(body)), (200, {"itself": "'seen'"}), name)
        well(p, name, "looking around")


@case
def what_breaks_itself_is_an_error(p):
    for name in sandboxes(p):
        status, body = attack(name, "deep")
        equal((status, json.loads(body)["error"]["type"]), (500, "RecursionError"), name)
        for what in ("crash", "leave"):
            equal(attack(name, what)[0], 502, name, what)
            well(p, name, what)
        equal(attack(name, "huge")[0], 502, name)
        status, body = attack(name, "pours")
        check(status in (0, 502) and len(body) <= 6 << 20, name, status, len(body))
        well(p, name, "answers without an end")


@case
def what_wants_everything_gets_its_part(p):
    for name in sandboxes(p):
        equal(attack(name, "endless")[0], 504, name)
        well(p, name, "a loop without an end")
        check(attack(name, "memory")[0] in (500, 502, 504), name)
        well(p, name, "all memory")
        status, body = attack(name, "fills")
        equal((status, body), (200, b"No space left on device"), name)


@case
def bombs_stay_within(p):
    for name in sandboxes(p):
        for what in ("forks", "threads"):
            status, body = attack(name, what)
            check(status in (200, 500, 502, 504), name, what, status, body)
            p.cli(*FUNCTION, "logs", name, "--tail", "1")
            well(p, name, what)


@case
def what_it_floods_is_cut(p):
    for name in sandboxes(p):
        status, body = attack(name, "floods")  # its deadline is near: either may tell
        check(status in (200, 500, 504), name, status, body)
        wait_until("its log is there", 20,
                   lambda name=name: "flood" in p.cli(*FUNCTION, "logs", name, "--tail", "5").out)
        well(p, name, "a flood of lines")


@case
def an_instance_is_killed_in_the_middle(p):
    name = [each for each in sandboxes(p) if each != "on-namespace"][-1]  # zygote.py kills those
    for round_ in range(2):
        found = []
        call = threading.Thread(target=lambda found=found: found.append(attack(name, "endless")))
        call.start()
        time.sleep(0.3)
        own = p.json(*FUNCTION, "get", name)["id"].removeprefix("fn-")
        for pid, line in p.processes():
            if own in line:
                os.kill(pid, 9)
        call.join(30)
        check(found and found[0][0] in (502, 504), found, round_)
        well(p, name, "its instance was killed")


@case
def nothing_of_them_stays(p):
    for function in p.json(*FUNCTION, "list")["items"]:
        p.cli(*FUNCTION, "delete", function["name"], "--yes", "--no-wait")
    wait_until("they are gone", 60, lambda: not p.json(*FUNCTION, "list")["items"])


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        PORT = free.getsockname()[1]
    run(Platform("--function-listen", f"127.0.0.1:{PORT}", "--allow-namespace-sandbox"))
