#!/usr/bin/env python3
"""A node that runs its instances by containerd (`--runtime container`): a service that outlives a
kill -9 of the agent and of containerd, and what the node says of its sandboxes."""
import os
import pathlib
import json
import shutil
import signal
import subprocess
import sys

from harness import (CASES, SOURCE, Platform, Skip, case, check, equal, need_networks, need_sandbox, run,
                     wait_until)
from service import events, get, process_of, ready, service, wait_ready

CASES.clear()  # those of service.py are not ours

DEPLOY = ["--name", "web", "--image", "synor://images/hello", "--port", 8080, "--replicas", 2,
          "--health-check", "/health", "--health-interval", "200ms", "--health-timeout", "5s",
          "--cpu", "0.1", "--memory", "64mb", "--scratch", "16mb", "--drain", "100ms",
          "--stop-grace", "5s", "--update-deadline", "60s"]


def need_containerd():
    if os.getuid() != 0:
        raise Skip("needs root: sandboxes, cgroups and mounts")
    for name in "containerd", "containerd-shim-runc-v2", "runc", "cc":
        if shutil.which(name) is None:
            raise Skip(f"there is no {name} here")


def containerd(p):
    """The pid of the node's own containerd, once it runs."""
    path = p.home / "agent/runtime/containerd/process.json"

    def look():
        try:
            pid = json.loads(path.read_text())["pid"]
            return pid if b"containerd" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() else 0
        except (OSError, ValueError):
            return 0
    return wait_until("containerd runs", 60, look)


def need(p):
    if not getattr(p, "deployed", False):
        raise Skip("no service was deployed")


@case
def a_node_says_what_it_runs_things_by(p):
    need_containerd()
    p.start()
    node = p.wait_node()
    need_sandbox(p)
    boxes = {box["name"]: box for box in node["status"]["sandboxes"]}
    equal(boxes["runc"]["runtime"], "container", boxes)
    if "gvisor" in boxes and shutil.which("containerd-shim-runsc-v1") is None:
        equal(boxes["gvisor"]["runtime"], "native", boxes)
    equal(node["status"]["default_isolation"], node["status"]["sandboxes"][0]["name"])
    check("containerd" in p.cli("node", "list").out, "it is not told")
    p.works = list(boxes)


@case
def a_class_that_no_node_has_is_refused_with_the_way_to_it(p):
    if "runc" not in getattr(p, "works", ()):
        raise Skip("there is no node")
    if "kata" in p.works:
        raise Skip("there is kata here")
    built = subprocess.run([sys.executable, SOURCE / "examples/hello-service/build-image",
                            p.home / "layout"], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Skip(f"no static program can be built: {built.stderr[-200:]}")
    p.json("storage", "put", p.home / "layout", "--name", "images/hello")
    p.image = True
    said = p.cli("compute", "service", "deploy", *DEPLOY, "--isolation", "kata", "--plan",
                 code=None)
    check("has no kata sandbox ready" in said.out + said.err, said)
    check("containerd-shim-kata-v2" in said.out + said.err, said)


@case
def a_service_is_deployed_and_reached(p):
    if not getattr(p, "image", False):
        raise Skip("there is no image")
    need_networks(p)
    done = p.cli("compute", "service", "deploy", *DEPLOY, "--yes", code=None)
    equal(done.code, 0, done)
    said = wait_until("it has come up, or never will", 90, lambda: next(
        (s for s in [service(p)] if s["status"]["state"] == "running" or events(p, "ended")), None))
    ends = events(p, "ended")
    equal(said["status"]["state"], "running", json.dumps(said["status"], indent=1), ends)
    p.deployed = True
    wait_ready(p, 2)
    for endpoint in ready(p):
        equal((endpoint["isolation"], endpoint["runtime"]), ("runc", "container"), endpoint)
        status, text = get(endpoint)
        equal(status, 200)
        check(endpoint["instance"] in text, text)
    check("in runc by container" in p.cli("compute", "service", "get", "web").out, "not told")


@case
def the_same_replicas_stay_when_agent_and_containerd_are_killed(p):
    need(p)
    before = {e["instance"]: process_of(e["instance"]) for e in ready(p)}
    check(all(before.values()), before)
    first = containerd(p)
    p.kill()
    os.kill(first, signal.SIGKILL)
    p.start()
    wait_ready(p, 2)
    check(containerd(p) != first, "the killed containerd is said to run")
    equal({e["instance"]: process_of(e["instance"]) for e in ready(p)}, before)
    for endpoint in ready(p):
        equal(get(endpoint)[0], 200)
    # And once more, of containerd alone, beside a running agent.
    second = containerd(p)
    os.kill(second, signal.SIGKILL)
    wait_until("another containerd runs", 60, lambda: containerd(p) != second)
    equal({e["instance"]: process_of(e["instance"]) for e in ready(p)}, before)
    equal(events(p, "ended"), [], "none was replaced meanwhile")


@case
def logs_and_usage_come_and_a_killed_replica_returns(p):
    need(p)
    victim = ready(p)[0]["instance"]
    pid = process_of(victim)
    check(pid, "its program is not found")
    os.kill(pid, signal.SIGKILL)
    wait_until("it is gone", 60, lambda: victim not in {e["instance"] for e in ready(p)}, 0.05)
    wait_ready(p, 2)
    check(events(p, "ended"), "it is not told")
    check(p.cli("compute", "service", "logs", "web").out.strip(), "there is no log")


@case
def it_is_stopped_and_nothing_stays(p):
    need(p)
    p.cli("compute", "service", "stop", "web", "--yes", "--wait")
    wait_until("the agent destroys what has ended", 60, lambda: not p.instance_folders())


if __name__ == "__main__":
    run(Platform("--runtime", "container"))
