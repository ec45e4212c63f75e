#!/usr/bin/env python3
"""Being within a replica: programs with and without a terminal, files both ways, its ports."""
import fcntl
import hashlib
import io
import json
import os
import pathlib
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time

from harness import SYNOR, Skip, case, check, equal, image_layout, need_sandbox, run, wait_until

BUSYBOX = pathlib.Path("/bin/busybox")
APPLETS = ["sh", "cat", "tar", "test", "sleep", "stty", "id", "echo", "httpd", "mkdir", "ls", "env",
           "head", "pwd", "readlink", "grep"]
PORT = 8080
DEPLOY = ["--name", "box", "--image", "synor://images/box", "--port", PORT, "--replicas", 2,
          "--cpu", "0.2", "--memory", "64mb", "--scratch", "64mb", "--stop-grace", "1s", "--yes"]


# Archives of an instance that means us harm, each by the name that is asked for.
HARM = {
    "dotdot": [("dotdot/../../escaped", tarfile.REGTYPE, "")],
    "absolute": [("/tmp/synor-escaped", tarfile.REGTYPE, "")],
    "other": [("other", tarfile.DIRTYPE, ""), ("others/file", tarfile.REGTYPE, "")],
    "through": [("through", tarfile.DIRTYPE, ""), ("through/up", tarfile.SYMTYPE, "down"),
                ("through/up/escaped", tarfile.REGTYPE, "")],
}
LEFT_OUT = [("loot", tarfile.DIRTYPE, ""), ("loot/file", tarfile.REGTYPE, ""),
            ("loot/away", tarfile.SYMTYPE, "/etc/passwd"),
            ("loot/up", tarfile.SYMTYPE, "../../secret"), ("loot/device", tarfile.CHRTYPE, ""),
            ("loot/pipe", tarfile.FIFOTYPE, ""), ("loot/hard", tarfile.LNKTYPE, "/etc/passwd")]


def harmful(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o6777
            info.devmajor, info.devminor = (1, 3) if kind == tarfile.CHRTYPE else (0, 0)
            tar.addfile(info, io.BytesIO(b""))
    return out.getvalue()


def layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o755):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
            tar.addfile(info, io.BytesIO(data))
        add("bin", tarfile.DIRTYPE)
        add("bin/busybox", data=BUSYBOX.read_bytes())
        for name in APPLETS:
            add(f"bin/{name}", tarfile.SYMTYPE, link="busybox")
        add("hello", data=f"#!/bin/sh\nexec /bin/httpd -f -p {PORT} -h /www\n".encode())
        add("evil", tarfile.DIRTYPE)
        add("evil/tar", data=b"#!/bin/sh\nfor last; do :; done\nexec cat /evil/$last.archive\n")
        for name, entries in [*HARM.items(), ("loot", LEFT_OUT)]:
            add(f"evil/{name}.archive", data=harmful(entries), mode=0o644)
        add("www", tarfile.DIRTYPE)
        add("www/index.html", data=b"within\n", mode=0o644)
    return out.getvalue()


def service(p):
    return p.json("compute", "service", "get", "box")


def replicas(p):
    return [e for e in service(p)["status"]["endpoints"] if e["ready"]]


@case
def a_service_of_busybox_is_deployed(p):
    if not BUSYBOX.exists():
        raise Skip("needs a static busybox: apt-get install busybox-static")
    p.start()
    works = need_sandbox(p)
    p.runc = "runc" in works
    p.gvisor = "gvisor" in works
    layout = p.home / "layout"
    image_layout(layout, "", layer())
    p.json("storage", "put", layout, "--name", "images/box")
    p.wait_node()
    p.cli("compute", "service", "deploy", *DEPLOY, "--isolation", "runc" if p.runc else
          "gvisor")
    evil = [{"box": "evil", 2: 1}.get(word, word) for word in DEPLOY]
    p.cli("compute", "service", "deploy", *evil, "--env", "PATH=/evil:/bin", "--isolation",
          "gvisor" if p.gvisor else "runc")
    wait_until("two replicas are ready", 90, lambda: len(replicas(p)) == 2, 0.2)
    p.deployed = True


def need(p):
    if not getattr(p, "deployed", False):
        raise Skip("no service was deployed")


def within(p, *words, options=(), **more):
    return p.cli("compute", "service", "exec", "box", *options, "--", *words, **more)


@case
def a_program_runs_within(p):
    need(p)
    done = within(p, "sh", "-c", "echo out; echo err >&2; id -u; echo $COLOUR; pwd; exit 7",
                  options=["--env", "COLOUR=green", "--workdir", "/tmp"], code=7)
    equal(done.out, "out\n1000\ngreen\n/tmp\n")
    equal(done.err, "err\n")
    equal(within(p, "sh", "-c", "kill -9 $$", code=137).out, "")
    if p.runc:  # and where the instance is, in every respect
        same = "for n in net mnt pid user uts ipc cgroup; do [ $(readlink /proc/self/ns/$n) = " \
               "$(readlink /proc/1/ns/$n) ] || echo $n; done; grep -E 'NoNewPrivs|Seccomp:|CapEff' " \
               "/proc/self/status; cat /proc/self/cgroup"
        said = within(p, "sh", "-c", same).out.split()
        equal(said[:6], ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"])
        check(".." not in said[6], said)
    said = within(p, "/no-such-program", code=127).err
    check("no-such" in said and len(said.splitlines()) == 1, said)
    if p.gvisor:  # which has told it on the program's own errors
        wait_until("the other is ready", 90, lambda: any(
            e["ready"] for e in p.json("compute", "service", "get", "evil")["status"]["endpoints"]), 0.2)
        said = p.cli("compute", "service", "exec", "evil", "--", "/no-such-program", code=127).err
        check("no-such" in said and len(said.splitlines()) == 1, said)
    names = {within(p, "sh", "-c", "echo $SYNOR_INSTANCE_ID",
                    options=["--replica", e["replica"]]).out.strip(): e["instance"]
             for e in replicas(p)}
    equal(len(names), 2)
    check(all(inside == outside for inside, outside in names.items()), names)
    equal(within(p, "true", options=["--replica", 77], code=None).code, 1)
    told = [e for e in p.json("compute", "service", "events", "box")["items"]
            if e["type"] == "session"]
    check(told and any("no-such" in e["message"] for e in told), told)


@case
def ten_megabytes_go_in_and_come_out_unchanged(p):
    need(p)
    data = os.urandom(10 << 20)
    done = subprocess.run([SYNOR, "compute", "service", "exec", "box", "-i", "--", "cat"],
                          input=data, capture_output=True, env=p.environment(), timeout=120,
                          check=False)
    equal(done.returncode, 0, done.stderr)
    equal(hashlib.sha256(done.stdout).hexdigest(), hashlib.sha256(data).hexdigest())
    # Who reads only the beginning ends it, and nothing hangs.
    done = subprocess.run([SYNOR, "compute", "service", "exec", "box", "-i", "--", "head", "-c", "5"],
                          input=data, capture_output=True, env=p.environment(), timeout=120,
                          check=False)
    equal((done.returncode, done.stdout), (0, data[:5]))


@case
def who_reads_slowly_gets_all_of_it(p):
    """The program has ended long before its last words are taken."""
    need(p)
    size, got = 4 << 20, 0
    with subprocess.Popen([SYNOR, "compute", "service", "exec", "box", "--", "head", "-c", str(size),
                           "/dev/zero"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          env=p.environment(), bufsize=0) as slow:
        while more := slow.stdout.read(65536):
            got += len(more)
            time.sleep(0.01)
    equal((slow.returncode, got), (0, size))


class Terminal:
    def __init__(self, p, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(SYNOR, [SYNOR, "compute", "service", "exec", "box", "-it", "--", *words],
                      p.environment())
        self.seen = ""

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text):
        until = time.monotonic() + 60
        while text not in self.seen:
            check(time.monotonic() < until, f"{text!r} did not come:", self.seen)
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    check(text in self.seen, f"{text!r} did not come:", self.seen)
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


@case
def a_terminal_is_one(p):
    need(p)
    terminal = Terminal(p, "sh")
    terminal.expect("$ ")
    terminal.type("test -t 1 && echo is-a-$((1+0))-terminal\n")
    terminal.expect("is-a-1-terminal")
    terminal.size(31, 91)
    terminal.type("until [ \"$(stty size)\" = '31 91' ]; do sleep 0.1; done; echo told-$((3+0))\n")
    terminal.expect("told-3")
    terminal.type("sh -c 'echo begun-$((1+0)); sleep 1000'\n")
    terminal.expect("begun-1")
    terminal.type("\x03")
    terminal.type("echo still-$((2+0))\n")
    terminal.expect("still-2")
    terminal.type("exit 5\n")
    equal(terminal.end(), 5)


@case
def a_hang_up_ends_the_program(p):
    need(p)
    terminal = Terminal(p, "sh", "-c", "echo begun; exec sleep 98765")
    terminal.expect("begun")
    os.kill(terminal.pid, signal.SIGKILL)
    os.waitpid(terminal.pid, 0)
    os.close(terminal.fd)
    left = "for f in /proc/[0-9]*/cmdline; do cat $f | { read l; case $l in *98765*) echo $l;; esac; }; done"
    wait_until("it has ended", 60, lambda: "sleep" not in within(p, "sh", "-c", left).out, 0.3)


@case
def twenty_connections_go_through_a_forwarded_port(p):
    need(p)
    forward = p.spawn("compute", "service", "port-forward", "box", f":{PORT}")
    try:
        line = forward.stdout.readline().decode()
        port = int(line.split(":")[1].split()[0])
        held = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(20)]
        for connection in reversed(held):  # all at once, and none waits for another
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
        for connection in held:
            said = b"".join(iter(lambda c=connection: c.recv(65536), b""))
            check(said.endswith(b"within\n"), said)
            connection.close()
    finally:
        forward.send_signal(signal.SIGINT)
        said = forward.communicate(timeout=60)[0]
    equal(forward.returncode, 0, said)
    equal(p.cli("compute", "service", "port-forward", "box", "x:y", code=None).code, 2)


def copy(p, *words, **more):
    return p.cli("compute", "service", "cp", *words, **more)


@case
def files_and_folders_are_copied_both_ways(p):
    need(p)
    tree = p.home / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/run").write_bytes(os.urandom(3 << 20))
    (tree / "deep/er/run").chmod(0o750)
    (tree / ("n" * 150)).write_text("long")
    (tree / "deep/link").symlink_to("er/run")
    (tree / "empty").mkdir()
    copy(p, tree, "box:0:/tmp")
    equal(within(p, "sh", "-c", "ls /tmp/tree/deep/er", options=["--replica", 0]).out, "run\n")
    copy(p, "box:0:/tmp/tree", p.home / "back")
    back = p.home / "back"
    equal(sorted(str(f.relative_to(tree)) for f in tree.rglob("*")),
          sorted(str(f.relative_to(back)) for f in back.rglob("*")))
    equal((back / "deep/er/run").read_bytes(), (tree / "deep/er/run").read_bytes())
    equal((back / "deep/er/run").stat().st_mode & 0o7777, 0o750)
    equal(os.readlink(back / "deep/link"), "er/run")
    copy(p, tree / ("n" * 150), "box:/tmp/named")
    copy(p, "box:/tmp/named", p.home / "named")
    equal((p.home / "named").read_text(), "long")
    for words in (["box:/no/such", "."], ["box:/tmp", "box:/tmp"], ["/etc/hostname", "/tmp/x"],
                  ["/no/such", "box:/tmp"], ["box:/tmp/", "/no/such/folder"]):
        check(copy(p, *words, code=None, cwd=p.home).code in (1, 2), words)


@case
def an_archive_does_not_lead_out(p):
    need(p)
    wait_until("it is ready", 90, lambda: any(
        e["ready"] for e in p.json("compute", "service", "get", "evil")["status"]["endpoints"]), 0.2)
    into = p.home / "into" / "below"
    into.mkdir(parents=True)
    for name in HARM:
        done = copy(p, f"evil:/{name}", into, code=None)
        check(done.code == 1, name, done)
    left = {str(f.relative_to(p.home / "into")) for f in (p.home / "into").rglob("*")}
    check(not any("escaped" in f or "others" in f for f in left), left)
    check(not os.path.exists("/tmp/synor-escaped"))
    done = copy(p, "evil:/loot", into)
    equal(os.listdir(into / "loot"), ["file"])
    equal((into / "loot/file").stat().st_mode & 0o7777, 0o777)
    equal(done.err.count("left out"), 5, done)


@case
def a_replica_is_inspected(p):
    need(p)
    said = p.json("compute", "service", "inspect", "box", "--replica", 0)
    equal(len(said["instances"]), 1)
    instance = said["instances"][0]
    text = p.cli("compute", "service", "inspect", instance["id"]).out
    for word in (instance["id"], instance["spec"]["node"], "memory_bytes", "running", "isolation"):
        check(word in text, word, text)
    # Its pid is that of a process of this machine, which is the node.
    status = pathlib.Path(f"/proc/{instance['status']['pid']}/status").read_text()
    check("Name:" in status, status)

    def used():
        rows = p.json("compute", "service", "stats", "box")["replicas"]
        return rows if rows and all(r["memory_bytes"] and r["cpu_millicores"] is not None for r in rows) else None

    rows = wait_until("its node has reported what it uses", 60, used, 0.3)
    row = next(r for r in rows if r["instance"] == instance["id"])
    equal((row["replica"], row["node"], row["restarts"]), (0, instance["spec"]["node"], 0))
    check(row["memory_bytes"] < row["memory_max"] == instance["spec"]["resources"]["memory_bytes"], row)
    text = p.cli("compute", "service", "stats", "box").out
    for word in ("MEMORY", "RESTARTS", instance["id"]):
        check(word in text, word, text)
    watching = p.spawn("compute", "service", "stats", "box", "--watch", "--json")
    equal(len(json.loads(watching.stdout.readline())["replicas"]), len(rows))
    watching.send_signal(signal.SIGINT)
    equal(watching.wait(timeout=30), 130)


@case
def another_account_is_refused(p):
    need(p)
    p.json("account", "create", "stranger")
    token = p.json("account", "token", "stranger", "--scope", "tenant")["token"]
    instance = replicas(p)[0]["instance"]
    ask = {"argv": ["sh"]}
    upgrade = {"Connection": "Upgrade", "Upgrade": "synor-session",
               "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    status, _, said = p.http("POST", f"/v1/instances/{instance}/sessions", ask, upgrade)
    equal(status, 404, said)
    del upgrade["Upgrade"], upgrade["Authorization"]
    equal(p.http("POST", f"/v1/instances/{instance}/sessions", ask, upgrade)[0], 400)
    for bad in ({}, {"argv": []}, {"kind": "forward"}, {"argv": ["x"], "env": ["x"]}):
        upgrade["Upgrade"] = "synor-session"
        equal(p.http("POST", f"/v1/instances/{instance}/sessions", bad, upgrade)[0], 400, bad)


@case
def a_killed_platform_is_told_and_leaves_nothing(p):
    need(p)
    left = "for f in /proc/[0-9]*/cmdline; do cat $f | { read l; case $l in *87654*) echo $l;; " \
           "esac; }; done"
    before = {e["instance"] for e in replicas(p)}
    talk = subprocess.Popen([SYNOR, "compute", "service", "exec", "box", "-i", "--replica", "0", "--",
                             "sh", "-c", "echo begun; exec sleep 87654"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=p.environment())
    equal(talk.stdout.readline(), b"begun\n")
    p.kill()
    said = talk.communicate(timeout=60)[1]
    equal(talk.returncode, 1, said)
    check(b"broke off" in said, said)
    p.start()
    wait_until("the same replicas are ready", 90,
               lambda: {e["instance"] for e in replicas(p)} == before, 0.2)

    def is_gone():  # the node may not have come back to the server yet
        done = within(p, "sh", "-c", left, options=["--replica", 0], code=None)
        return done.code == 0 and "sleep" not in done.out
    wait_until("the program has ended", 60, is_gone, 0.3)


run()
