#!/usr/bin/env python3
"""What the platform costs while nothing happens: CPU and resident memory of `synor up`.

    idle.py [--seconds N]      SYNOR names the binary; needs root

Measured twice over N seconds (60): on a new platform, and with 1,000 finished jobs. As many of
those as fit into 20 s are no-ops that ran in a sandbox; the rest could not be placed and were
stopped while they waited, which leaves the same kinds of documents: job, events, escrow and bill.
"""

import argparse
import os
import time

from bench_figures import figure, say
from bench_platform import Platform, Refused

JOBS, RUN_S, SETTLE_S, SETTLE_MAX_S = 1000, 20, 5, 60
CPU_GOAL_PERCENT, RSS_GOAL_MIB = 1.0, 40.0
ENDED = ("succeeded", "failed", "stopped")
SPEC = {"framework": "custom", "source": "synor://bench/noop", "entry": "noop.sh",
        "max_budget": "0.1", "cpu_millicores": 500, "memory_bytes": 256 << 20,
        "scratch_bytes": 64 << 20}


def cpu_s(pid):
    """User and system time so far: fields 14 and 15 of the stat line."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise SystemExit("the platform is gone")


def settle(pid):
    """Wait until whatever went before is over."""
    until = time.monotonic() + SETTLE_MAX_S
    while time.monotonic() < until:
        before = cpu_s(pid)
        time.sleep(SETTLE_S)
        if cpu_s(pid) - before < 0.05 * SETTLE_S:
            return


def measure(platform, jobs, seconds):
    pid = platform.process.pid
    platform.http.close()  # it would be closed as idle meanwhile; the next call opens another
    settle(pid)
    before, begin = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    percent = 100 * (cpu_s(pid) - before) / (time.monotonic() - begin)
    memory = rss_mib(pid)
    figure(f"idle_cpu_percent_{jobs}_jobs", f"{percent:.2f}", "%", "-", "-", "-",
           f"{CPU_GOAL_PERCENT:.0f}", percent < CPU_GOAL_PERCENT)
    figure(f"idle_rss_mib_{jobs}_jobs", f"{memory:.1f}", "MiB", "-", "-", "-",
           f"{RSS_GOAL_MIB:.0f}", memory < RSS_GOAL_MIB)


def run_some(platform, most):
    """No-ops, two at a time, for RUN_S seconds; how many there were."""
    until = time.monotonic() + RUN_S
    done = 0
    while done < most and time.monotonic() < until:
        pair = [platform.call("POST", "/v1/training", {"name": "noop", "spec": SPEC})["id"]
                for _ in range(min(2, most - done))]
        for job in pair:
            platform.wait_for(job, ENDED)
        done += len(pair)
    return done


def stop_some(platform, count):
    """Jobs for more GPUs than there are, stopped before anything ran."""
    spec = {**SPEC, "gpus": 8}
    last = None
    for _ in range(count):
        last = platform.call("POST", "/v1/training", {"name": "waits", "spec": spec})["id"]
        while True:
            try:
                platform.call("POST", f"/v1/training/{last}/stop", {})
                break
            except Refused:
                time.sleep(0.05)
    if last is not None:
        platform.wait_for(last, ENDED)


def unfinished(platform):
    after, left = "", 0
    while True:
        page = platform.call("GET", f"/v1/training?limit=1000{after}")
        left += sum(job["status"]["state"] not in ENDED for job in page["items"])
        if page["next"] is None:
            return left
        after = f"&after={page['next']}"


def main():
    parser = argparse.ArgumentParser(description="CPU and memory of an idle platform")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with Platform() as platform:
        measure(platform, 0, seconds)
        platform.store_folder("bench/noop", {"noop.sh": b":\n"})
        begin = time.monotonic()
        ran = run_some(platform, JOBS)
        stop_some(platform, JOBS - ran)
        while unfinished(platform) > 0:
            time.sleep(0.5)
        say(f"{ran} jobs ran, {JOBS - ran} were stopped while they waited: "
            f"{time.monotonic() - begin:.0f} s")
        measure(platform, JOBS, seconds)


if __name__ == "__main__":
    main()
