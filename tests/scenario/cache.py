#!/usr/bin/env python3
"""What a node keeps of what it fetched: within its limit, never less than what runs."""
import json
import os

from harness import Platform, case, check, equal, job_folder, need_sandbox, run, wait_until

MIB = 1 << 20
SLEEPER = "#!/bin/sh\nwhile :; do sleep 0.2; done\n"
COUNTER = "#!/bin/sh\nwc -c < \"$SYNOR_DATASET_DIR/data\"\n"


def dataset(p, name, size):
    """Random bytes under a name; returns the CID."""
    folder = p.home / f"dataset-{name}"
    folder.mkdir()
    (folder / "data").write_bytes(os.urandom(size))
    return p.json("storage", "put", folder, "--name", f"datasets/{name}")["cid"]


def train(p, name, script=COUNTER):
    return p.create(job_folder(p.home, script), "--dataset", f"synor://datasets/{name}")["id"]


def cached(p):
    return {entry.name for entry in (p.home / "agent/cache").iterdir()}


def bytes_of(path):
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:  # it went since its folder was read
        return 0


def cache_bytes(p):
    total = 0
    for top in ("cache", "images", "content"):
        for folder, _, files in os.walk(p.home / "agent" / top):
            total += sum(bytes_of(os.path.join(folder, file)) for file in files)
    return total


@case
def oldest_content_makes_room(p):
    p.start()
    need_sandbox(p)
    cids = {name: dataset(p, name, 6 * MIB) for name in "abc"}
    for name in "abc":
        job = train(p, name)
        p.wait_end(job)
        equal(p.job(job)["status"]["state"], "succeeded", p.logs(job))
        check(str(6 * MIB) in p.logs(job), p.logs(job))
        check(cache_bytes(p) <= 20 * MIB, cache_bytes(p))
    check(cids["a"] not in cached(p), "the oldest is still there")
    check(cids["c"] in cached(p), "the newest is gone")


@case
def what_runs_stays_and_the_rest_is_refused(p):
    cids = {name: dataset(p, name, 5 * MIB) for name in "de"}
    dataset(p, "large", 15 * MIB)
    runs = train(p, "d", SLEEPER)
    p.wait_state(runs, "running")
    job = train(p, "e")
    p.wait_end(job)
    equal(p.job(job)["status"]["state"], "succeeded", p.logs(job))
    job = train(p, "large")
    p.wait_end(job)
    status = p.job(job)["status"]
    equal(status["reason"], "start-failed", status)
    check("--cache-limit" in json.dumps(status), status)
    check(cids["d"] in cached(p), "what runs was evicted")
    p.cli("compute", "train", "stop", runs, "--yes", "--wait")


@case
def restarted_agent_keeps_what_runs(p):
    held = dataset(p, "held", 6 * MIB)
    dataset(p, "other", 6 * MIB)
    runs = train(p, "held", SLEEPER)
    p.wait_state(runs, "running")
    p.kill()
    p.start()
    wait_until("it is adopted", 30, lambda: p.job(runs)["status"]["state"] == "running")
    job = train(p, "other")
    p.wait_end(job)
    equal(p.job(job)["status"]["state"], "succeeded", p.logs(job))
    check(held in cached(p), "what runs was evicted")
    p.cli("compute", "train", "stop", runs, "--yes", "--wait")


if __name__ == "__main__":
    run(Platform("--cache-limit", "20mib"))
