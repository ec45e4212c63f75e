#!/usr/bin/env python3
"""The placement core beside the published schedulers: the rows of bench/README.md.

    placement.py [--seeds A-B] [--traces a,b] [--runs N] [--data DIR] [--judge FILE.c]

Allocation is judged by the reference judge beside the project, compiled here: it sends one pod at a
time to bench/openb-place and refuses full cards and pods turned away though they fit. The peer, named
"FGD (published)", is not run: it is `published_alloc.csv`, and means are over the seeds that it has of a
trace. Cards powered are the judge's own run of FGD.
Decisions a second and times are medians of N runs (5) of bench_placementrate, on the node list taken
1, 8 and 82 times; the peer is the same core weighing every node, run once, and not on the largest,
where that takes many minutes. BUILD names the build folder.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

from bench_figures import figure, say

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
SHARED = os.path.join(os.path.dirname(ROOT), "shared")
PLACE = os.path.join(BUILD, "bench", "openb-place")
RATE = os.path.join(BUILD, "bench", "bench_placementrate")
GOAL = {1: 150000, 8: 100000, 82: 50000}
NODES = {1: "1.2k", 8: "9.7k", 82: "99k"}


def judge(program, data, trace, seed, *options):
    """Allocation at 130 % and GPUs powered at 50 % of arrivals."""
    text = subprocess.run([program, "judge", data, trace, str(seed), PLACE, *options],
                          capture_output=True, text=True, check=False).stdout
    found = re.search(r"alloc@130 ([0-9.]+)(?s:.*) 50% \d+/(\d+)(?s:.*)\nVALID", text)
    if not found:
        sys.exit(f"placement.py: {trace} {seed} {options}: {text.strip() or 'no answer'}")
    return float(found[1]), int(found[2])


def fgd_powered(program, data):
    """GPUs that the judge's FGD has powered at 50 % of arrivals."""
    text = subprocess.run([program, "run", data, "default", "fgd", "42"], capture_output=True, text=True,
                          check=True).stdout
    return int(re.search(r" 50% \d+/(\d+)", text)[1])


def allocation(args, program, published):
    for name, margin, options in (("told", 0.3, ["--mix"]), ("learnt", 0.0, ["--learn"])):
        means, theirs = [], []
        for trace in args.traces:
            extra = [os.path.join(args.data, f"openb_pod_list_{trace}.csv")] if options == ["--mix"] else []
            seeds = [seed for seed in args.seeds if (trace, seed) in published]
            if not seeds:
                say(f"{trace}: no published run of these seeds")
                continue
            ours = [judge(program, args.data, trace, seed, *options, *extra)[0] for seed in seeds]
            fgd = [published[trace, seed] for seed in seeds]
            means.append(statistics.mean(ours))
            theirs.append(statistics.mean(fgd))
            figure(f"place_alloc_{name}_{trace}", means[-1], "%", "FGD (published)", theirs[-1],
                   means[-1] - theirs[-1], -0.1, means[-1] - theirs[-1] >= -0.1)
            say(f"  {trace}: {min(ours):.2f} to {max(ours):.2f}")
        if means:
            gain = statistics.mean(means) - statistics.mean(theirs)
            figure(f"place_alloc_{name}", statistics.mean(means), "%", "FGD (published)",
                   statistics.mean(theirs), gain, margin, gain >= margin)


def rate(args, what, copies):
    lists = [os.path.join(args.data, f) for f in ("openb_node_list_gpu_node.csv", "openb_pod_list_default.csv")]
    text = subprocess.run([RATE, *lists, what, str(copies), str(42)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(text.stdout)


def rates(args):
    for copies in (1, 8, 82):
        runs = [rate(args, "rates", copies) for _ in range(args.runs)]
        ours = statistics.median(run["rate"] for run in runs)
        scan = rate(args, "scan", copies) if copies < 82 else None
        figure(f"place_rate_{NODES[copies]}", ours, "decisions/s", "full scan" if scan else "none",
               scan["rate"] if scan else "-", ours / scan["rate"] if scan else "-", GOAL[copies],
               ours >= GOAL[copies], digits=6)
        say(f"  {min(r['rate'] for r in runs):.0f} to {max(r['rate'] for r in runs):.0f}, {runs[0]['buckets']} buckets")
        if copies == 8:
            p99 = statistics.median(run["p99_us"] for run in runs)
            figure("place_p99_9.7k", p99, "us", "none", "-", "-", 100, p99 < 100)
        if scan:
            loss = scan["allocation"] - runs[0]["allocation"]
            figure(f"place_index_loss_{NODES[copies]}", loss, "points", "full scan", scan["allocation"], loss,
                   0.05, loss <= 0.05)
    gangs = [rate(args, "gang", 8) for _ in range(args.runs)]
    mean = statistics.median(run["mean_us"] for run in gangs) / 1000
    figure("place_gang_1024", mean, "ms", "none", "-", "-", 10, mean < 10)
    queued = statistics.median(rate(args, "queue", 8)["us"] for _ in range(args.runs))
    figure("place_queue_10k", queued, "us", "none", "-", "-", 500, queued < 500)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.path.join(SHARED, "data", "openb"))
    parser.add_argument("--judge", default=os.path.join(SHARED, "peers", "openb", "openb.c"))
    parser.add_argument("--traces", default="")
    parser.add_argument("--seeds", default="42-51")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if not os.path.exists(args.judge) or not os.path.isdir(args.data):
        say(f"placement.py: no judge or no trace beside the project ({args.judge}, {args.data}): nothing measured")
        return
    first, _, last = args.seeds.partition("-")
    args.seeds = range(int(first), int(last or first) + 1)
    published, traces = {}, set()
    with open(os.path.join(args.data, "published_alloc.csv"), encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["policy"] == "fgd":
                published[row["trace"], int(row["seed"])] = float(row["alloc_at_130"])
                traces.add(row["trace"])
    args.traces = args.traces.split(",") if args.traces else sorted(traces)
    subprocess.run(["ninja", "-C", BUILD, "bench/openb-place", "bench/bench_placementrate"], stdout=sys.stderr,
                   check=True)
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "judge")
        subprocess.run(["cc", "-O2", "-w", "-o", program, args.judge, "-lm"], check=True)
        allocation(args, program, published)
        powered = judge(program, args.data, "default", 42, "--learn", "--policy", "energy")[1]
        theirs = fgd_powered(program, args.data)
        figure("place_powered_gpus", powered, "GPUs", "FGD", theirs, powered / theirs, 3230, powered <= 3230)
    rates(args)


if __name__ == "__main__":
    main()
