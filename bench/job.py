#!/usr/bin/env python3
"""From submitting a job to its program's first instruction, beside the bare tool.

    job.py [ROUNDS]            SYNOR names the binary; needs root

Ours: POST /v1/training on an open connection, until the program prints what time it is. Theirs:
`runc run` or `runsc run`, from the exec of the tool until the same program prints its time, on the
bundle of an instance that sleeps meanwhile: same config.json but for the command line and the name,
same root, same flags, inside the same mount namespace. Both in turns. The ratio printed is the one
to what is allowed, 1.5 times theirs and 20 ms: up to 1 is ok.
"""

import ctypes
import json
import os
import shutil
import statistics
import sys
import time

from bench_figures import figure, say
from bench_platform import Platform

ROUNDS = 15
GOAL_FACTOR, GOAL_EXTRA_MS = 1.5, 20.0
PROGRAM = b'exec date +%s%N\n'
SLEEPER = b'exec sleep 600\n'
RESOURCES = {"cpu_millicores": 1000, "memory_bytes": 1 << 30, "scratch_bytes": 1 << 30}
ENDED = ("succeeded", "failed", "stopped")
LIBC = ctypes.CDLL(None, use_errno=True)


def create(platform, isolation, entry):
    """Submit; returns the job and when its request was sent."""
    body = json.dumps({"name": f"bench-{isolation}", "spec": {
        "framework": "custom", "source": "synor://bench/noop", "entry": entry,
        "max_budget": "0.1", "isolation": isolation, **RESOURCES}})
    sent = time.time_ns()
    status, answer = platform.request("POST", "/v1/training", body,
                                      {"Content-Type": "application/json"})
    if status != 201:
        raise SystemExit(f"the job was refused: {answer.decode(errors='replace')}")
    return json.loads(answer)["id"], sent


def ours_ms(platform, isolation):
    job, sent = create(platform, isolation, "now.sh")
    document = platform.wait_for(job, ENDED)
    _, log = platform.request("GET", f"/v1/training/{job}/logs")
    words = [word for word in log.decode().split() if len(word) == 19 and word.isdigit()]
    if document["status"]["state"] != "succeeded" or not words:
        raise SystemExit(f"{job}: {document['status']['message']} {log.decode(errors='replace')}")
    return (int(words[0]) - sent) / 1e6


class Bare:
    """The bare tool on the bundle of a sleeping instance."""

    def __init__(self, platform, isolation):
        self.platform = platform
        self.isolation = isolation
        self.job, _ = create(platform, isolation, "sleep.sh")
        document = platform.wait_for(self.job, ("running",) + ENDED)
        self.instance = document["status"]["instances"][0]
        folder = os.path.join(platform.data, "agent", "instances", self.instance)
        with open(os.path.join(folder, "shim.json"), encoding="utf-8") as file:
            self.namespace = os.open(f"/proc/{json.load(file)['pid']}/ns/mnt", os.O_RDONLY)
        with open(os.path.join(folder, "plan.json"), encoding="utf-8") as file:
            self.plan = json.load(file)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config["process"]["args"][-1] = config["process"]["args"][-1].replace("sleep.sh", "now.sh")
        if "cgroupsPath" in config["linux"]:
            config["linux"]["cgroupsPath"] += "-bare"
        self.bundle = os.path.join(platform.folder, f"bare-{isolation}")
        os.makedirs(os.path.join(self.bundle, "tool"))
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)

    def argv(self, turn):
        flags = []
        if self.plan["gvisor"]:
            flags = [f"--platform={self.plan['platform'] or 'ptrace'}", "--network=none",
                     "--overlay2=none"]
        return [self.plan["tool"], f"--root={self.bundle}/tool", f"--log={self.bundle}/runtime.log",
                "--log-format=json", *flags, "run", "--bundle", self.bundle,
                f"bare-{self.isolation}-{os.getpid()}-{turn}"]

    def run(self, turn, begun, out):
        """In the child: enter the namespace, note the time, become the tool."""
        null = os.open("/dev/null", os.O_RDWR)
        if LIBC.setns(self.namespace, 0) != 0:
            os._exit(125)
        os.dup2(null, 0)
        os.dup2(out, 1)
        argv = self.argv(turn)
        os.write(begun, str(time.time_ns()).encode())
        os.execve(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def ms(self, turn):
        begun, begun_end = os.pipe()
        out, out_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self.run(turn, begun_end, out_end)
            finally:
                os._exit(126)
        os.close(begun_end)
        os.close(out_end)
        with os.fdopen(begun) as file:
            start = file.read()
        with os.fdopen(out) as file:
            text = file.read()
        _, status = os.waitpid(child, 0)
        if status != 0 or not text.strip().isdigit():
            raise SystemExit(f"{self.plan['tool']} run failed ({status}): {text}")
        return (int(text) - int(start)) / 1e6

    def end(self):
        os.close(self.namespace)
        self.platform.call("POST", f"/v1/training/{self.job}/stop", {"grace_ms": 0})
        self.platform.wait_for(self.job, ENDED)
        shutil.rmtree(self.bundle, ignore_errors=True)


def spread(values):
    values = sorted(values)
    return (f"median {statistics.median(values):.1f}, least {values[0]:.1f}, "
            f"most {values[-1]:.1f} ms")


def measure(platform, isolation, rounds):
    tool = "runsc-run" if isolation == "gvisor" else "runc-run"
    bare = Bare(platform, isolation)
    ours, theirs = [], []
    for turn in range(rounds + 1):
        mine, other = ours_ms(platform, isolation), bare.ms(turn)
        if turn > 0:  # the first warms caches
            ours.append(mine)
            theirs.append(other)
    bare.end()
    say(f"{isolation}: ours {spread(ours)}; {tool} {spread(theirs)}")
    allowed = GOAL_FACTOR * statistics.median(theirs) + GOAL_EXTRA_MS
    ratio = statistics.median(ours) / allowed
    figure(f"job_start_{isolation}_ms", f"{statistics.median(ours):.1f}", "ms", tool,
           f"{statistics.median(theirs):.1f}", f"{ratio:.2f}", "1.00", ratio <= 1)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    if os.geteuid() != 0:
        raise SystemExit("job.py: sandboxes need root")
    with Platform() as platform:
        platform.store_folder("bench/noop", {"now.sh": PROGRAM, "sleep.sh": SLEEPER})
        for isolation in platform.sandboxes():
            measure(platform, isolation, rounds)


if __name__ == "__main__":
    main()
