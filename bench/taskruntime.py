#!/usr/bin/env python3
"""The task runtime beside its peers: the lines that docs/performance.md names.

    taskruntime.py [--rounds N] [--harness DIR] [--only REGEX]

The peers and the measure of the machine (`floor`) come from the harness `peers/taskruntime`, which
lies beside the project; what it lacks is left out, with a word on standard error. Everything takes
turns in N rounds (10), and medians are compared. BUILD names the build folder (build).
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from bench_figures import figure, say

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
HARNESS = os.path.join(os.path.dirname(ROOT), "shared", "peers", "taskruntime")
# With one worker these run a task where it is made: no runtime to compare with.
INLINE = {"serial", "gomp", "libomp"}
LIBRARY = "src/compute/libsynor/libsynor.a"
# What the best of all peers reached, most of which Debian does not ship: docs/performance.md.
PUBLISHED = {"spawn_join": ("Lace", 1.78), "dag_inferred": ("PaRSEC", 1.9), "flat": ("Taskflow", 13.4),
             "dag_rerun": ("Taskflow", 28.6), "prio": ("StarPU dmdas", 6.3)}


class Programs:
    """Compiles the harness, and our adapter in its two forms, in a folder of its own."""

    def __init__(self, harness, folder):
        self.folder = folder
        subprocess.run(["make", "-s", "-C", harness, f"B={folder}", "all"], stdout=sys.stderr, check=False)
        self.peers = {name[5:]: [os.path.join(folder, name)] for name in sorted(os.listdir(folder))
                      if name.startswith("peer_") and not name.endswith(".log")}
        self.floor = os.path.join(folder, "floor")
        self.compile(harness, "ours", "taskruntime_peer.c")
        self.compile(harness, "ours_rerun", "taskruntime_peer.c", "-DSYNOR_RERUN")
        self.compile(harness, "futex", "taskruntime_futex.c")
        self.peers["futex"] = [os.path.join(folder, "futex")]

    def compile(self, harness, name, source, *flags):
        includes = [f"-I{path}" for path in (os.path.join(ROOT, "include"), harness,
                                             os.path.join(ROOT, "src", "base", "include"))]
        subprocess.run(["cc", "-O2", "-march=native", "-std=gnu17", *flags, *includes,
                        os.path.join(ROOT, "bench", source), os.path.join(BUILD, LIBRARY),
                        "-lm", "-ldl", "-lpthread", "-o", os.path.join(self.folder, name)], check=True)


def run(command, env=None, timeout=180):
    quiet = {"STARPU_SILENT": "1", "OMP_MAX_TASK_PRIORITY": "10",
             "HWLOC_COMPONENTS": "-gl,-opencl,-cuda,-nvml,-rsmi,-levelzero"}
    try:
        done = subprocess.run(command, env={**os.environ, **quiet, **(env or {})}, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True)
    except subprocess.TimeoutExpired:
        return {}
    samples = defaultdict(list)
    for line in done.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[0] != "skip":
            samples[fields[0]].append(float(fields[2]))
        elif len(fields) == 4 and fields[0] != "metric":  # floor: best and median
            samples[fields[0]].append(float(fields[3]))
    return samples


def run_twice(command, env=None):
    """The samples of two of them at once: what two cores have for programs that share nothing."""
    samples = defaultdict(list)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: run(command, env), range(2)):
            for metric, values in found.items():
                samples[metric] += values
    return samples


class Samples:
    """All that was measured: (who, workers, metric) to a list."""

    def __init__(self):
        self.values = defaultdict(list)

    def add(self, who, workers, found, prefix=""):
        for metric, values in found.items():
            self.values[who, workers, prefix + metric] += values

    def median(self, who, metric, workers=1):
        values = self.values.get((who, workers, metric))
        return statistics.median(values) if values else None

    def best_peer(self, metric, workers, best, fallback):
        """The best measured peer, or the published one where that is better."""
        found = [(self.median(who, metric, workers), who) for who, count, name in self.values
                 if name == metric and count == workers and who not in {"ours", "floor"} | INLINE]
        value, who = fallback[1], fallback[0] + " (published)"
        for one, name in found:
            if one is not None and one == best(one, value):
                value, who = one, name
        return who, value


def measure(programs, rounds, only):
    samples = Samples()
    ours = [os.path.join(programs.folder, "ours")]
    rerun = [os.path.join(programs.folder, "ours_rerun")]
    jobs = []
    for workers in (1, 2):
        for bench, param in (("fib", "32"), ("flat", "0"), ("dag", "0")):
            jobs.append(("ours", workers, ours + [bench, str(workers), param, "2"], {}, ""))
            jobs += [(name, workers, path + [bench, str(workers), param, "2"], {}, "")
                     for name, path in programs.peers.items()]
        jobs.append(("ours", workers, rerun + ["dag", str(workers), "0", "2"], {}, "again_"))
        jobs.append(("ours", workers, ours + ["flat", str(workers), "0", "2"], {"SYNOR_BATCH": "1000"}, "batch_"))
        jobs.append(("ours", workers, ours + ["fib", str(workers), "37", "1"], {}, "long_"))
    jobs.append(("ours", 1, ours + ["fib", "1", "37", "1"], {}, "twice_"))
    jobs.append(("ours", 1, ours + ["fib", "1", "32", "2"], {"SYNOR_API": "1"}, "api_"))
    for bench in ("warm", "cold", "prio"):
        jobs.append(("ours", 1, ours + [bench, "1", "0", "1"], {}, ""))
        jobs += [(name, 1, path + [bench, "1", "0", "1"], {}, "") for name, path in programs.peers.items()]
    jobs.append(("ours", 1, ours + ["prio", "1", "100000", "1"], {}, "many_"))
    jobs.append(("floor", 1, [programs.floor], {}, ""))
    broken = set()
    for turn in range(rounds):
        for who, workers, command, env, prefix in jobs:
            key = (who, workers, command[1] if len(command) > 1 else "", prefix)
            if key in broken or not re.search(only, who if who in ("ours", "floor") else command[1] + who):
                continue
            found = (run_twice if prefix == "twice_" else run)(command, env)
            if not found:
                broken.add(key)
            samples.add(who, workers, found, prefix)
        say(f"round {turn + 1} of {rounds}, load {os.getloadavg()[0]:.1f}, "
            f"a cache line between the cores {samples.median('floor', 'cache_line_one_way') or 0:.1f} ns")
    return samples


def tell(samples):
    def ours(metric, workers=1):
        return samples.median("ours", metric, workers)

    def floor(metric):
        return samples.median("floor", metric)

    def best(metric):
        """The faster of one and two workers."""
        return max(value for value in (ours(metric, 1), ours(metric, 2)) if value)

    spawn = floor("spawn_unshared")
    who, value = samples.best_peer("fib_spawn", 1, min, PUBLISHED["spawn_join"])
    say(f"spawn and join: best peer {who} {value:.3g} ns")
    figure("spawn_join", ours("fib_spawn"), "ns", "floor", spawn, ours("fib_spawn") / spawn, 1.27,
           ours("fib_spawn") <= 1.27 * spawn)
    figure("spawn_join_api", ours("api_fib_spawn"), "ns", "floor", spawn, ours("api_fib_spawn") / spawn, 7.0,
           ours("api_fib_spawn") <= 7 * spawn)
    gain = ours("long_fib_spawn", 1) / ours("long_fib_spawn", 2)
    most = 2 * ours("long_fib_spawn", 1) / ours("twice_fib_spawn", 1)
    figure("second_worker_gain", gain, "x", "two processes of one worker, same run", most, gain / most, 1.95 / most,
           gain >= 1.95)
    who, value = samples.best_peer("flat", 1, max, PUBLISHED["flat"])
    figure("submit_mtasks", best("flat"), "Mtask/s", who, value, best("flat") / value, 40 / value, best("flat") >= 40)
    figure("submit_batch_mtasks", best("batch_flat"), "Mtask/s", who, value, best("batch_flat") / value,
           100 / value, best("batch_flat") >= 100)
    who, value = samples.best_peer("dag", 1, max, PUBLISHED["dag_inferred"])
    say(f"inferred graph: one worker {ours('dag', 1):.3g}, two {ours('dag', 2):.3g} Mtask/s")
    figure("dag_inferred_mtasks", best("dag"), "Mtask/s", who, value, best("dag") / value, 10 / value,
           best("dag") >= 10 and ours("dag", 2) >= ours("dag", 1))
    who, value = samples.best_peer("dag_rerun", 1, max, PUBLISHED["dag_rerun"])
    figure("dag_rerun_mtasks", best("again_dag_rerun"), "Mtask/s", who, value, best("again_dag_rerun") / value,
           32 / value, best("again_dag_rerun") >= 32)
    warm = ours("warm_p50")
    say(f"warm wake p99 {ours('warm_p99'):.3g} us")
    figure("wake_warm_us", warm, "us", "libgomp (published)", 0.22, warm / 0.22, 0.30 / 0.22,
           warm <= 0.30 and ours("warm_p99") <= 0.6)
    futex = floor("futex_wake_to_run_cold") / 1000
    figure("wake_cold_vs_futex", ours("cold_p50"), "us", "raw futex", futex, ours("cold_p50") / futex, 1.05,
           ours("cold_p50") <= 1.05 * futex)
    idle, bare = ours("idle_cores"), samples.median("futex", "idle_cores")
    figure("idle_cores", idle, "cores", "a thread on a futex, same loop", bare, idle / bare, 0.005 / bare,
           idle <= 0.005)
    who, value = samples.best_peer("prio_start", 1, min, PUBLISHED["prio"])
    say(f"urgent behind 100,000: {ours('many_prio_start'):.3g} us, passed by {ours('many_prio_passed_by'):.3g}; "
        f"best peer {who} {value:.3g} us")
    figure("urgent_start_us", ours("prio_start"), "us", who, value, ours("prio_start") / value, 6 / value,
           ours("prio_start") <= 6 and ours("many_prio_start") <= 6)
    passed = max(ours("prio_passed_by"), ours("many_prio_passed_by"))
    figure("urgent_passed_by", passed, "tasks", "goal", 0, passed, 0, passed == 0)


def forward(program, *args):
    """A benchmark of its own; its lines are ours."""
    subprocess.run([os.path.join(BUILD, "bench", program), *args], check=True, stdout=sys.stdout)


def main():
    parser = argparse.ArgumentParser(description="the task runtime beside its peers")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--harness", default=HARNESS)
    parser.add_argument("--only", default="", help="regular expression: only these peers")
    options = parser.parse_args()
    subprocess.run(["ninja", "-C", BUILD, LIBRARY, "bench/bench_taskengine", "bench/bench_taskplan"],
                   check=True, stdout=sys.stderr)
    if os.path.isdir(options.harness) and shutil.which("make"):
        with tempfile.TemporaryDirectory(prefix="synor-bench-") as folder:
            tell(measure(Programs(options.harness, folder), options.rounds, options.only))
    else:
        say(f"the peers are not there: {options.harness}; lines that need them are left out")
    sys.stdout.flush()
    forward("bench_taskengine")
    forward("bench_taskplan")


if __name__ == "__main__":
    main()
