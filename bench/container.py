#!/usr/bin/env python3
"""Containers: from deploy to the first healthy replica beside the bare calls of the Container
Runtime Interface to the same containerd; how soon a dead one is out of rotation; and what the agent keeps
in memory for each that runs.

    container.py [--turns N] [--replicas N]     SYNOR names the binary, SYNOR_CALLS the bare calls

Turn by turn, so that both meet the same machine: RunPodSandbox, CreateContainer and StartContainer
of a pod with the root and the requests of one of ours, without a network of its own; and a service
of one replica of an image that is on the node, until the server says that it is ready.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from bench_figures import figure, say
from bench_platform import Platform, Refused

TURNS, REPLICAS, FEW, TRIM_S, WAIT_S, PORT = 10, 16, 4, 25, 300, 8080
INTERVAL_MS = 200  # between health checks
GOAL_FACTOR, GOAL_KB, GOAL_OUT_MS = 1.3, 100, 100
SPEC = {"image": "synor://bench/hello", "port": PORT, "cpu_millicores": 50,
        "memory_bytes": 32 << 20, "scratch_bytes": 16 << 20, "drain_ms": 0, "stop_grace_ms": 1000,
        "health": {"kind": "http", "path": "/health", "interval_ms": INTERVAL_MS}}


class Node:
    """An agent alone, so that its memory is its own."""

    def __init__(self, platform):
        self.platform, self.process = platform, None
        self.data = pathlib.Path(platform.folder) / "node"

    def __enter__(self):
        made = subprocess.run([self.platform.synor, "account", "token", "provider", "--scope",
                               "join", "--json"], check=True, capture_output=True, text=True,
                              env={**os.environ, "SYNOR_HOME": self.platform.data})
        with open(os.path.join(self.platform.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [self.platform.synor, "agent", "--runtime", "container", "--data-dir", self.data,
                 "--server", self.platform.socket, "--token", json.loads(made.stdout)["token"]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.platform.wait_until_ready()
        return self

    def __exit__(self, *_):
        """Also when something failed: what runs would outlive us all."""
        for service in self.platform.call("GET", "/v1/services")["items"]:
            if service["status"]["state"] != "stopped":
                self.platform.call("POST", f"/v1/services/{service['id']}/stop", {})
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until and list((self.data / "agent/instances").iterdir()):
            time.sleep(0.1)
        self.process.terminate()
        self.process.wait(60)

    def resident_kb(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1])


class Bare:
    """What makes the bare calls. Its pods are taken for those of an instance without a network."""

    def __init__(self, node, instance):
        runtime = node.data / "agent/runtime"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="synor-bench-bare-", dir="/var/tmp"))
        source = node.data / "agent/instances" / instance
        plan = json.loads((source / "plan.json").read_text(encoding="utf-8"))
        plan = {key: value for key, value in plan.items() if not key.startswith("place_")}
        (self.folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        self.link = runtime / "containerd/pods/bench-bare"
        self.link.symlink_to(self.folder)
        self.process = subprocess.Popen(
            [os.environ.get("SYNOR_CALLS", "build/bench/bench_container_calls"),
             f"unix:{runtime}/containerd/sock", str(source), str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.link.unlink()
        shutil.rmtree(self.folder)
        for root in pathlib.Path("/sys/fs/cgroup").glob("**/synor-bench"):
            for path in sorted(root.glob("**/"), reverse=True):
                path.rmdir()

    def call_ms(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the bare calls failed")
        return float(line)


def deploy(platform, name, replicas=1):
    """Milliseconds until so many are ready; and the endpoints."""
    begun = time.monotonic()
    platform.call("POST", "/v1/services",
                  {"name": name, "spec": {**SPEC, "replicas": replicas}})
    until = begun + WAIT_S
    while time.monotonic() < until:
        status = platform.call("GET", f"/v1/services/{name}")["status"]
        if status.get("replicas", {}).get("ready", 0) >= replicas:
            return 1000 * (time.monotonic() - begun), status["endpoints"]
        time.sleep(0.002)
    raise SystemExit(f"{name} does not come up: {json.dumps(status)}")


def remove(platform, node, name):
    platform.call("POST", f"/v1/services/{name}/stop", {})
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            platform.call("DELETE", f"/v1/services/{name}")
            break
        except Refused:
            time.sleep(0.05)
    while time.monotonic() < until and len(list((node.data / "agent/instances").iterdir())) > 1:
        time.sleep(0.05)


def starts(platform, node, turns):
    _, endpoints = deploy(platform, "first")
    ours, theirs = [], []
    with Bare(node, endpoints[0]["instance"]) as bare:
        bare.call_ms()
        for turn in range(turns):
            theirs.append(bare.call_ms())
            ours.append(deploy(platform, f"turn-{turn}")[0])
            remove(platform, node, f"turn-{turn}")
    for name, values in ("deploy to healthy", ours), ("bare calls", theirs):
        say(f"{name}: {statistics.median(values):.0f} ms "
            f"({min(values):.0f}-{max(values):.0f}), {turns} turns")
    mine, bare_ms = statistics.median(ours), statistics.median(theirs)
    ratio = mine / (GOAL_FACTOR * bare_ms + INTERVAL_MS)
    figure("container_deploy_to_healthy_ms", mine, "ms", "bare-cri", bare_ms, ratio, "1",
           ratio <= 1)
    figure("container_deploy_to_bare", mine / bare_ms, "x", "-", "-", "-", "-", True)


def ready(platform, name):
    status = platform.call("GET", f"/v1/services/{name}")["status"]
    return {one["instance"] for one in status["endpoints"] if one["ready"]}


def deaths(platform, node, turns):
    """From a kill of a replica's program until the server gives it no requests any more."""
    deploy(platform, "mortal", 2)
    took = []
    for _ in range(turns):
        victim = sorted(ready(platform, "mortal"))[0]
        state = node.data / "agent/instances" / victim / "state.json"
        os.kill(json.loads(state.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
        begun = time.monotonic()
        while victim in ready(platform, "mortal"):
            time.sleep(0.002)
        took.append(1000 * (time.monotonic() - begun))
        while len(ready(platform, "mortal")) < 2:
            time.sleep(0.01)
    remove(platform, node, "mortal")
    say(f"dead to out: {statistics.median(took):.0f} ms ({min(took):.0f}-{max(took):.0f})")
    figure("container_dead_to_out_worst_ms", max(took), "ms", "-", "-", "-",
           str(INTERVAL_MS + GOAL_OUT_MS), max(took) <= INTERVAL_MS + GOAL_OUT_MS)


def memory(platform, node, replicas):
    """What so many more cost: what the first ones take for good (libraries, caches) is not counted,
    nor what the allocator has not given back yet, which it does every 20 s."""
    deploy(platform, "many", FEW)
    time.sleep(TRIM_S)
    before = node.resident_kb()
    deploy(platform, "more", replicas)
    time.sleep(TRIM_S)
    each = (node.resident_kb() - before) / replicas
    figure("container_agent_kb_each", each, "kB", "-", "-", "-", str(GOAL_KB), each <= GOAL_KB)


def main():
    parser = argparse.ArgumentParser(description="Containers beside the bare calls")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    given = parser.parse_args()
    if shutil.which("containerd") is None or os.getuid() != 0:
        say("skipped: needs containerd, and root")
        return
    with Platform("server") as platform, Node(platform) as node:
        image = pathlib.Path(platform.folder) / "image"
        example = pathlib.Path(__file__).resolve().parent.parent / "examples/hello-service"
        subprocess.run([sys.executable, example / "build-image", image], check=True)
        platform.store_folder("bench/hello", {
            str(path.relative_to(image)): path.read_bytes()
            for path in image.rglob("*") if path.is_file()})
        say(f"load {os.getloadavg()[0]:.1f}")
        starts(platform, node, given.turns)
        deaths(platform, node, given.turns)
        memory(platform, node, given.replicas)
        say(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
