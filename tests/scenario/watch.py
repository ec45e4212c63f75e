#!/usr/bin/env python3
"""--watch: the first state, then every change as it comes, through restarts, until Ctrl-C. The
platform is a server without nodes: jobs wait, and change when they are told to."""
import fcntl
import json
import os
import pty
import queue
import signal
import struct
import termios
import threading
import time

from harness import COUNTER, SYNOR, Platform, case, check, equal, job_folder, run, wait_until

SOON_S = 60
FACTS = {}


class Watcher:
    """A command with --watch, and the lines it has printed so far."""

    def __init__(self, p, *args):
        self.process = p.spawn(*args, "--watch")
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode().rstrip("\n"))

    def line(self, what, matches):
        """The next line that matches; what comes before it is passed over."""
        deadline = time.monotonic() + SOON_S
        while True:
            left = deadline - time.monotonic()
            try:
                line = self.lines.get(timeout=max(left, 0.01))
            except queue.Empty:
                raise AssertionError(f"never printed: {what}; lines: {self.seen}") from None
            self.seen.append(line)
            if matches(line):
                return line

    def document(self, what, matches):
        """The next document that matches; each line is one."""
        def look(line):
            return line.startswith("{") and matches(json.loads(line))
        return json.loads(self.line(what, look))

    def interrupt(self):
        """Ctrl-C ends it at once, with nothing more to say."""
        while not self.lines.empty():
            self.seen.append(self.lines.get())
        self.process.send_signal(signal.SIGINT)
        equal(self.process.wait(timeout=SOON_S), 130, "exit status after SIGINT")
        time.sleep(0.1)
        check(self.lines.empty(), "said on the way out:", list(self.lines.queue))


def create(p, name):
    return p.json("compute", "train", "create", "--framework", "custom", "--model-config",
                  FACTS["folder"] / "model.yaml", "--max-budget", "1", "--yes", "--name", name)


def state(document):
    return document.get("status", {}).get("state")


@case
def status_is_watched_before_there_is_a_platform(p):
    FACTS["folder"] = job_folder(p.home, COUNTER, args=["3"])
    rows = Watcher(p, "status")
    documents = Watcher(p, "status", "--json")
    rows.line("titles", lambda line: line.split()[:2] == ["READY", "NODES"])
    rows.line("that nothing runs", lambda line: line.startswith("no ") and "synor up" in line)
    nothing = documents.document("that nothing runs", lambda said: True)
    equal((nothing["ready"], nothing["code"]), (False, "unavailable"), nothing)
    p.start()
    rows.line("that it runs", lambda line: line.startswith("yes "))
    running = documents.document("that it runs", lambda said: said["ready"])
    equal(running["nodes"], {"ready": 0, "total": 0})
    p.kill()
    rows.line("that it was killed", lambda line: line.startswith("no "))
    documents.document("that it was killed", lambda said: not said["ready"])
    p.start()
    agent = Platform("--server", str(p.home / "synor.sock"), "--token",
                     p.json("account", "token", "provider", "--scope", "join")["token"],
                     command="agent")
    try:
        agent.start()
        documents.document("that a node joined",
                           lambda said: said["ready"] and said["nodes"]["ready"] == 1)
        rows.line("that a node joined", lambda line: "1 of 1 ready" in line)
    finally:
        agent.stop()
    rows.interrupt()
    documents.interrupt()
    # The node's heartbeats were no change.
    check(sum("1 of 1 ready" in line for line in rows.seen) == 1, rows.seen)


@case
def jobs_are_told_from_the_first_to_the_last_change(p):
    p.json("node", "drain", p.json("node", "list")["items"][0]["name"], "--yes")
    first = create(p, "first")["id"]
    rows = Watcher(p, "compute", "train", "list")
    documents = Watcher(p, "compute", "train", "list", "--json")
    one = Watcher(p, "compute", "train", "get", "first", "--json")
    waiting = Watcher(p, "compute", "train", "list", "--json", "--state", "pending")
    rows.line("titles", lambda line: line.split()[:3] == ["NAME", "ID", "STATE"])
    rows.line("the first job", lambda line: first in line and "pending" in line)
    documents.document("the first job", lambda job: job["id"] == first)
    one.document("the first job", lambda job: job["id"] == first)
    second = create(p, "second")["id"]
    rows.line("the second job", lambda line: second in line)
    documents.document("the second job", lambda job: job["id"] == second)
    waiting.document("the second job", lambda job: job["id"] == second)
    for job in (first, second):
        p.json("compute", "train", "stop", job, "--yes", "--wait", code=None)
        rows.line("that it stopped", lambda line: job in line and "stopped" in line)
        documents.document("that it stopped",
                           lambda told: told["id"] == job and state(told) == "stopped")
        waiting.document("that it left", lambda told: told["id"] == job
                         and state(told) in ("stopping", "stopped"))
    p.json("compute", "train", "delete", first, "--yes")
    rows.line("that it was deleted", lambda line: first in line and "deleted" in line)
    equal(documents.document("that it was deleted", lambda told: "deleted" in told),
          {"id": first, "deleted": True})
    said = one.document("that it was deleted", lambda told: "code" in told)
    equal(said["code"], "not-found", said)
    equal(one.process.wait(timeout=SOON_S), 1, "exit status when the only one is gone")
    for watcher in (rows, documents, waiting):
        watcher.interrupt()
    check(all("\033" not in line for line in rows.seen), rows.seen)


@case
def what_a_restart_hid_is_told_afterwards(p):
    documents = Watcher(p, "compute", "train", "list", "--json")
    rows = Watcher(p, "bill", "list")
    gone = documents.document("the second job", lambda job: job.get("name") == "second")["id"]
    rows.line("a bill", lambda line: gone in line)
    documents.process.send_signal(signal.SIGSTOP)
    p.kill()
    p.start()
    p.json("compute", "train", "delete", gone, "--yes")
    third = create(p, "third")["id"]
    documents.process.send_signal(signal.SIGCONT)
    documents.document("that it was deleted meanwhile",
                       lambda told: told == {"id": gone, "deleted": True})
    documents.document("what was made meanwhile", lambda told: told["id"] == third)
    p.json("compute", "train", "stop", third, "--yes", "--wait", code=None)
    documents.document("what came then",
                       lambda told: told["id"] == third and state(told) == "stopped")
    rows.line("the new bill", lambda line: third in line)
    documents.interrupt()
    rows.interrupt()
    equal(sum(gone in line for line in rows.seen), 1, "told again after the restart:", rows.seen)


@case
def money_is_told_when_it_moves(p):
    p.json("account", "create", "watched")
    balance = Watcher(p, "account", "balance", "watched", "--json")
    rows = Watcher(p, "account", "list")
    balance.document("that there is none",
                     lambda told: told["name"] == "watched" and told["status"]["balance"] == "0")
    rows.line("the account", lambda line: line.startswith("watched "))
    p.json("account", "faucet", "watched", "--amount", "12.5")
    balance.document("the grant", lambda told: told["status"]["balance"] == "12.5")
    rows.line("the grant", lambda line: line.startswith("watched ") and " 12.5 " in line)
    p.json("account", "faucet", "operator", "--amount", "1")
    p.json("account", "transfer", "watched", "--amount", "0.5", "--yes")
    balance.document("the transfer", lambda told: told["status"]["balance"] == "13")
    balance.interrupt()
    rows.interrupt()
    check(all(json.loads(line)["name"] == "watched" for line in balance.seen), balance.seen)


@case
def nodes_are_told_when_they_change(p):
    name = p.json("node", "list")["items"][0]["name"]
    rows = Watcher(p, "node", "list")
    one = Watcher(p, "node", "get", name, "--json")
    rows.line("the node", lambda line: line.startswith(name) and "drained" in line)
    one.document("the node", lambda node: node["spec"]["unschedulable"])
    p.json("node", "drain", name, "--off")
    rows.line("that it takes work", lambda line: line.startswith(name) and "drained" not in line)
    one.document("that it takes work", lambda node: not node["spec"]["unschedulable"])
    rows.interrupt()
    one.interrupt()


class Screen:
    """What a terminal shows of what a command draws: enough of one for cursor-up and erase."""

    def __init__(self, p, *args, rows=24, columns=80):
        self.columns, self.lines, self.at, self.raw = columns, [""], 0, b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(SYNOR, [SYNOR, *args, "--watch"], p.environment())
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                part = os.read(self.fd, 65536)
            except OSError:
                return
            self.raw += part

    def shown(self):
        lines, at = [""], 0
        text = self.raw.decode(errors="replace").replace("\r\n", "\n")
        while text:
            if text.startswith("\033["):
                end = next(i for i, c in enumerate(text[2:], 2) if c.isalpha())
                count = int(text[2:end] or 1)
                if text[end] == "A":
                    at = max(at - count, 0)
                elif text[end] == "J":
                    lines = lines[:at] + [""]
                text = text[end + 1:]
            elif text[0] == "\n":
                at += 1
                lines += [""] * (at + 1 - len(lines))
                text = text[1:]
            elif text[0] == "\r":
                text = text[1:]
            else:
                lines[at] += text[0]
                text = text[1:]
        return lines

    def wait(self, what, look):
        def seen():
            lines = self.shown()
            return look(lines) and lines
        return wait_until(f"{what} on the screen", SOON_S, seen)

    def interrupt(self):
        os.write(self.fd, b"\x03")
        _, status = os.waitpid(self.pid, 0)
        equal(os.waitstatus_to_exitcode(status), 130)
        os.close(self.fd)


@case
def a_terminal_shows_one_table(p):
    p.json("node", "drain", p.json("node", "list")["items"][0]["name"], "--yes")
    screen = Screen(p, "compute", "train", "list", rows=8, columns=60)
    screen.wait("the titles", lambda lines: lines[0].startswith("NAME"))
    jobs = []
    for number in range(3):
        jobs.append(create(p, f"job-{number}")["id"])
        lines = screen.wait("the job", lambda lines: any(jobs[-1] in line for line in lines))
    equal([sum(job in line for line in lines) for job in jobs], [1, 1, 1], lines)
    check(lines.index(next(line for line in lines if jobs[2] in line)) == 1, "newest first:", lines)
    check(all(len(line) <= 60 for line in lines), "wider than the terminal:", lines)
    for number in range(3, 10):
        jobs.append(create(p, f"job-{number}")["id"])
    lines = screen.wait("what does not fit", lambda lines: any(
        jobs[-1] in line for line in lines) and any(line.startswith("... and ") for line in lines))
    check(len(lines) <= 8, "higher than the terminal:", lines)
    for job in jobs:
        p.json("compute", "train", "stop", job, "--yes", "--wait", code=None)
        p.json("compute", "train", "delete", job, "--yes")
    lines = screen.wait("the rest", lambda lines: not any("job-" in line for line in lines))
    check(not any("deleted" in line for line in lines), lines)
    screen.interrupt()


@case
def what_cannot_be_watched_says_so(p):
    p.error("compute", "train", "get", "third", "--watch", "--wait", code=2)
    equal(p.error("compute", "train", "get", "nobody", "--watch")["code"], "not-found")
    equal(p.error("node", "get", "nobody", "--watch")["code"], "not-found")
    equal(p.error("account", "balance", "nobody", "--watch")["code"], "not-found")
    p.stop()
    said = p.error("compute", "train", "list", "--watch")
    equal(said["code"], "unavailable", said)
    check("synor up" in said["message"], said)
    p.start()


run(Platform(command="server"))
