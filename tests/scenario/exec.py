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
           "head", "pwd"]
PORT = 8080
DEPLOY = ["--name", "box", "--image", "synor://images/box", "--port", PORT, "--replicas", 2,
          "--cpu", "0.2", "--memory", "64mb", "--scratch", "64mb", "--stop-grace", "1s", "--yes"]


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
    layout = p.home / "layout"
    image_layout(layout, "", layer())
    p.json("storage", "put", layout, "--name", "images/box")
    p.wait_node()
    p.cli("compute", "service", "deploy", *DEPLOY, "--isolation", "runc" if "runc" in works else
          "gvisor")
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
    check("no-such" in within(p, "/no-such-program", code=127).err)
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
    terminal.type("sleep 1000\n")
    terminal.expect("sleep 1000")
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


run()
