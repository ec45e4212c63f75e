#!/usr/bin/env python3
"""Functions in Python and JavaScript through the gateway: the first call of one that sleeps, calls of
one that is awake, and a thousand at once on one that sleeps.

    function_pool.py [TURNS]      SYNOR names the binary; needs root

Instances are gVisor's where it works, of 1 GiB and nine tenths of a core. The handler does nothing, so all of
the time is ours. Cold: everything is on the node's disk, nothing of the function runs; from sending
the request to having its answer. Snapshot: the same with --snapstart, while a sandbox made
ahead waits; and of that, from the sandbox that waits to the instance that is ready. Awake: one connection,
one call after the other. Forked: cold as isolation namespace has it, in turns with the
same function under runc. Taken: out of the warm pool, in turns with the same function that has a
variable which interpreters read when they start, and so takes none that waits.
"""

import contextlib
import http.client
import os
import pathlib
import statistics
import sys
import threading
import time
import urllib.parse

from bench_figures import figure, say
from bench_platform import Platform
from bench_restore import Bare

TURNS, CALLS, BURST, WAIT_S = 7, 1000, 1000, 120
GOAL_COLD_MS, GOAL_P50_MS, GOAL_P99_MS, GOAL_FORKED_R = 1000, 1, 10, 0.5
GOAL_RESTORED_MS = 100
GOAL_TAKEN_R = 0.5
COLD = {"PYTHONUTF8": "1", "NODE_NO_WARNINGS": "1"}  # what interpreters read when they start
LANGUAGES = {
    "python": ("python3", "main.py", b"def handler(event, context):\n    return 'hello'\n"),
    "node": ("node", "main.mjs", b"export const handler = () => 'hello';\n"),
}


def call(where, path, link=None):
    """Seconds of one call."""
    begun = time.perf_counter()
    link = link or http.client.HTTPConnection(*where, timeout=WAIT_S)
    link.request("GET", path)
    answer = link.getresponse()
    if (answer.read(), answer.status) != (b"hello", 200):
        raise SystemExit(f"{path}: {answer.status}")
    return time.perf_counter() - begun


def wait_until(what, true):
    until = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > until:
            raise SystemExit(f"not within {WAIT_S} s: {what}")
        time.sleep(0.05)


def taken(agent):
    """The sandboxes made ahead that instances took, by instance."""
    found = {}
    for path in agent.glob("jobs/*/run"):
        with contextlib.suppress(FileNotFoundError):
            found[path.parent.name] = path.read_text()
    return found


def runs(platform, own):
    agent = pathlib.Path(platform.data) / "agent"
    return any(own in path.name for path in agent.glob("instances/*")) or any(
        own in instance and (agent / "spares" / run).exists() for instance, run in taken(agent).items())


def spares(platform):
    """Sandboxes made ahead: those that instances took, and those that wait."""
    agent = pathlib.Path(platform.data) / "agent"
    there = set(os.listdir(agent / "spares"))
    used = set(taken(agent).values())
    return there & used, there - used


def deploy(platform, name, isolation, language=None, **more):
    """Its id's own part, and where it is."""
    runtime, file, source = LANGUAGES[language or name]
    platform.store_folder(f"bench-{name}", {file: source})
    made = platform.call("POST", "/v1/functions", {"name": name, "spec": {
        "runtime": runtime, "code": f"synor://bench-{name}", "memory_bytes": 1 << 30,
        "cpu_millicores": 900, "idle_ms": 1000, "prewarm": "off", "max_instances": 2,
        "timeout_ms": 60000,
        "isolation": isolation, **more, "triggers": [{"type": "http", "path": f"/{name}"}]}})
    path = f"/v1/functions/{made['id']}"

    def ready():
        status = platform.call("GET", path)["status"]
        if status["state"] == "failed":
            raise SystemExit(f"{name}: {status['message']}")
        return status["state"] == "active" and status.get("urls")
    wait_until(f"{name} is active", ready)
    url = urllib.parse.urlsplit(platform.call("GET", path)["status"]["urls"][0])
    return made["id"].removeprefix("fn-"), (url.hostname, url.port)


def burst(where, path):
    """How many of a thousand calls at once failed."""
    failed = []

    def one():
        try:
            call(where, path)
        except (SystemExit, OSError, http.client.HTTPException) as error:
            failed.append(str(error))
    threads = [threading.Thread(target=one) for _ in range(BURST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in sorted(set(failed))[:3]:
        say(f"burst: {text}")
    return len(failed)


def bench(platform, name, isolation, turns):
    own, where = deploy(platform, name, isolation, env=COLD)
    path = f"/{name}"
    wait_until("it answers", lambda: call(where, path) > 0)
    cold = []
    for _ in range(turns):
        wait_until("it sleeps", lambda: not runs(platform, own))
        cold.append(call(where, path) * 1000)
    middle = statistics.median(cold)
    say(f"{name}, {isolation}: cold {min(cold):.0f} to {max(cold):.0f} ms")
    figure(f"function_cold_{name}_ms", middle, "ms", "-", "-", "-", GOAL_COLD_MS,
           middle <= GOAL_COLD_MS)
    link = http.client.HTTPConnection(*where, timeout=WAIT_S)
    awake = sorted(call(where, path, link) * 1000 for _ in range(CALLS))
    p50, p99 = awake[CALLS // 2], awake[CALLS * 99 // 100]
    figure(f"function_awake_{name}_p50_ms", p50, "ms", "-", "-", "-", GOAL_P50_MS,
           p50 <= GOAL_P50_MS)
    figure(f"function_awake_{name}_p99_ms", p99, "ms", "-", "-", "-", GOAL_P99_MS,
           p99 <= GOAL_P99_MS)
    wait_until("it sleeps", lambda: not runs(platform, own))
    begun = time.perf_counter()
    failed = burst(where, path)
    say(f"{name}: {BURST} at once took {time.perf_counter() - begun:.1f} s")
    figure(f"function_burst_{name}_failed", failed, "calls", "-", "-", "-", 0, failed == 0)
    platform.call("DELETE", f"/v1/functions/fn-{own}")
    wait_until("it is gone", lambda: not runs(platform, own))


def bench_snapshot(platform, name, turns):
    """Beside the same by gVisor's commands alone, in turns."""
    others = spares(platform)[1]
    own, where = deploy(platform, name, "gvisor", snapstart=True)
    path = f"/{name}"
    wait_until("it answers", lambda: call(where, path) > 0)
    took, alone = [], []
    with Bare(name, *LANGUAGES[name][1:]) as bare:
        for _ in range(turns):
            wait_until("it sleeps", lambda: not runs(platform, own) and not spares(platform)[0])
            wait_until("sandboxes wait", lambda: len(spares(platform)[1] - others) == 2)
            took.append(call(where, path) * 1000)
            alone.append(bare.turn())
    middle = statistics.median(took)
    say(f"{name}, snapshot: {min(took):.0f} to {max(took):.0f} ms")
    figure(f"function_snapshot_{name}_ms", middle, "ms", "-", "-", "-", "-", True)

    def records():
        return [row["stages_us"] for row in platform.call(
            "GET", f"/v1/functions/fn-{own}/invocations")["items"] if row["way"] == "snapshot"]
    wait_until("they are on record", lambda: len(records()) >= turns)
    restored = [sum(row[stage] for stage in ("restore", "initialise", "first_byte")) / 1000 for row in records()]
    ours, theirs = statistics.median(restored), statistics.median(alone)
    say(f"{name}, restored: {min(restored):.0f} to {max(restored):.0f} ms; alone: {min(alone):.0f} to {max(alone):.0f}")
    figure(f"function_restored_{name}_ms", ours, "ms", "runsc alone", theirs, ours / theirs, GOAL_RESTORED_MS,
           ours <= GOAL_RESTORED_MS)
    platform.call("DELETE", f"/v1/functions/fn-{own}")
    wait_until("it is gone", lambda: not spares(platform)[0])


def bench_taken(platform, name, turns):
    """Cold and out of the pool, in turns."""
    made = {f"{name}-{way}": deploy(platform, f"{name}-{way}", "gvisor", name, env=env)
            for way, env in (("taken", {}), ("made", COLD))}
    took = {way: [] for way in made}
    for _ in range(turns + 1):
        for way, (own, where) in made.items():
            wait_until("it sleeps", lambda own=own: not runs(platform, own) and not spares(platform)[0])
            wait_until("one waits", lambda: platform.call("GET", "/v1/nodes")["items"][0]["status"].get(
                "pool", {}).get("waiting") or not took[way])
            time.sleep(1)  # nothing is made any more
            took[way].append(call(where, f"/{way}") * 1000)
    for way in made:
        del took[way][0]  # with it the pool begins
        say(f"{way}: {min(took[way]):.0f} to {max(took[way]):.0f} ms")
    ours, theirs = (statistics.median(took[way]) for way in made)
    own = made[f"{name}-taken"][0]

    def records():
        return [row["stages_us"] for row in platform.call(
            "GET", f"/v1/functions/fn-{own}/invocations")["items"] if row["way"] == "pool"]
    wait_until("they are on record", lambda: len(records()) >= turns)
    for stage in ("schedule", "fetch", "create", "initialise", "first_byte"):
        say(f"{name}, {stage}: {statistics.median(row.get(stage, 0) for row in records()) / 1000:.0f} ms")
    figure(f"function_taken_{name}_ms", ours, "ms", "cold", theirs, ours / theirs, GOAL_TAKEN_R,
           ours / theirs <= GOAL_TAKEN_R)
    for own, _ in made.values():
        platform.call("DELETE", f"/v1/functions/fn-{own}")
    wait_until("it is gone", lambda: not spares(platform)[0])


def bench_forked(platform, turns):
    made = {name: deploy(platform, name, isolation, "python")
            for name, isolation in (("forked", "namespace"), ("contained", "runc"))}
    took = {name: [] for name in made}
    for _ in range(turns):
        for name, (own, where) in made.items():
            wait_until("it sleeps", lambda own=own: not runs(platform, own))
            took[name].append(call(where, f"/{name}") * 1000)
    ours, theirs = (statistics.median(took[name]) for name in made)
    for name, all_ms in took.items():
        say(f"{name}: cold {min(all_ms):.0f} to {max(all_ms):.0f} ms")
    figure("function_cold_forked_ms", ours, "ms", "runc", theirs, ours / theirs, GOAL_FORKED_R,
           ours / theirs <= GOAL_FORKED_R)
    for own, _ in made.values():
        platform.call("DELETE", f"/v1/functions/fn-{own}")


def main():
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    with Platform(options=("--function-listen", "127.0.0.1:0",
                           "--allow-namespace-sandbox")) as platform:
        isolation = "gvisor" if "gvisor" in platform.sandboxes() else "auto"
        there = {row["name"] for row in platform.call(
            "GET", "/v1/nodes")["items"][0]["status"]["languages"]}
        for name in LANGUAGES:
            if name in there:
                bench(platform, name, isolation, turns)
            else:
                say(f"{name}: this machine has none")
        for name in LANGUAGES:
            if name in there and isolation == "gvisor":
                bench_taken(platform, name, turns)
        if any(row.get("snapshots") for row in platform.call(
                "GET", "/v1/nodes")["items"][0]["status"]["sandboxes"]):
            for name in LANGUAGES:
                if name in there:
                    bench_snapshot(platform, name, turns)
        if "python" in there and {"namespace", "runc"} <= set(platform.sandboxes()):
            bench_forked(platform, turns)


main()
