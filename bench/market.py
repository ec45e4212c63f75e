#!/usr/bin/env python3
"""The market beside a neutral reference book: order books, exchange, journal, auctions.

    market.py [--rounds N] [--records N] [--only REGEX]

The workloads and the reference book come from the harness `peers/market`, which lies beside the
project; without it only the figures that need no peer are taken. Books and reference take turns in N
rounds (7), and medians are compared; journal and recovery run N times after `steady`, the auction
five times. MARKET_REPLAY names the program where it is not build/bench/market-replay;
market-auction lies beside it.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict

from bench_figures import figure, say

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.dirname(os.path.abspath(os.environ.get("SYNOR", os.path.join(ROOT, "build", "synor"))))
REPLAY = os.environ.get("MARKET_REPLAY", os.path.join(BUILD, "bench", "market-replay"))
AUCTION = os.path.join(os.path.dirname(REPLAY), "market-auction")
HARNESS = os.path.join(os.path.dirname(ROOT), "shared", "peers", "market", "market.c")
PROFILES = ["steady", "deep", "cross", "multi", "surge", "amend"]
CORE_GOAL, EXCHANGE_GOAL, JOURNAL_GOAL, AUCTION_GOAL = 0.45, 0.25, 2.0, 100.0


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def reference(program, path):
    """Checksum, and millions of records a second."""
    found = re.search(r"checksum ([0-9a-f]+), best ([0-9.]+)", run(program, "ref", path, "1"))
    return found[1], float(found[2])


def replay(*arguments):
    found = dict(re.findall(r"^(\w+) (\S+)$", run(REPLAY, *arguments), re.M))
    return found["checksum"], float(found["mops"])


def must_agree(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"bench-market: {what}: checksum {ours}, not {theirs}: other trades")


def measure(program, folder, profile, options):
    path = os.path.join(folder, profile)
    run(program, "gen", profile, "1", str(options.records), path)
    samples = defaultdict(list)
    for turn in range(options.rounds):
        want, rate = reference(program, path)
        samples["reference"].append(rate)
        for name, arguments in (("core", []), ("exchange", ["--accounts"])):
            checksum, rate = replay(*arguments, path)
            must_agree(f"{profile} {name}", checksum, want)
            samples[name].append(rate)
        say(f"{profile} {turn + 1}: " + ", ".join(f"{name} {rates[-1]:.1f}" for name, rates in samples.items()))
    theirs = statistics.median(samples["reference"])
    for name, goal in (("core", CORE_GOAL), ("exchange", EXCHANGE_GOAL)):
        ours = statistics.median(samples[name])
        figure(f"market_{name}_{profile}", ours, "Mops/s", "reference book", theirs, ours / theirs, goal,
               ours / theirs >= goal)
    return path, want


def journal(path, want, options):
    rates, recoveries = [], []
    for turn in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="synor-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
            checksum, rate = replay("--journal", folder, path)
            must_agree("journal", checksum, want)
            rates.append(rate)
            checksum, rate = replay("--recover", folder)
            must_agree("recovery", checksum, want)
            recoveries.append(rate)
            say(f"journal {turn + 1}: {rates[-1]:.2f}, recovery {recoveries[-1]:.2f}")
    ours = statistics.median(rates)
    figure("market_journal_steady", ours, "Mops/s", "none", "-", "-", JOURNAL_GOAL, ours >= JOURNAL_GOAL)
    figure("market_recover_steady", statistics.median(recoveries), "Mops/s", "none", "-", "-", "-", True)


def auction():
    times = [float(ms) for ms in re.findall(r"^ms (\S+)$", run(AUCTION), re.M)]
    say("call auction: " + ", ".join(f"{ms:.1f} ms" for ms in times))
    ours = statistics.median(times)
    figure("market_call_1m", ours, "ms", "none", "-", "-", AUCTION_GOAL, ours < AUCTION_GOAL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=4000000)
    parser.add_argument("--only", default="", help="of auction, steady, deep, cross, multi, surge, amend, journal")
    options = parser.parse_args()
    if "MARKET_REPLAY" not in os.environ:
        subprocess.run(["ninja", "-C", BUILD, "bench/market-replay", "bench/market-auction"], stdout=sys.stderr,
                       check=True)
    if re.search(options.only, "auction"):
        auction()
    if not os.path.exists(HARNESS):
        say(f"bench-market: no {HARNESS}: nothing to compare with")
        return
    with tempfile.TemporaryDirectory(prefix="synor-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        program = os.path.join(folder, "market")
        subprocess.run(["cc", "-O2", "-o", program, HARNESS], check=True, stdout=sys.stderr)
        for profile in PROFILES:
            if not re.search(options.only, profile) and not (profile == "steady" and options.only == "journal"):
                continue
            path, want = measure(program, folder, profile, options)
            if profile == "steady":
                journal(path, want, options)
            os.unlink(path)


if __name__ == "__main__":
    main()
