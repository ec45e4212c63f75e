#!/usr/bin/env python3
"""kill -9 of the daemon at random moments: while it starts, while a job runs, while money moves.

`SYNOR_SEED=N tests/scenario/kill.py` repeats a run's moments as far as the machine does."""
import json
import os
import pathlib
import random
import signal
import threading
import time
from decimal import Decimal

from harness import (balance, case, check, conserved, equal, job_folder, need_sandbox, reports_of,
                     run, wait_until, wait_until_empty)

SEED = int(os.environ.get("SYNOR_SEED") or random.randrange(1 << 32))
KILLS = 12
# Numbered lines on both streams, steps and checkpoints, until SIGTERM; then it says how far it came.
TALKER = """#!/bin/sh
trap 'echo last $i; exit 0' TERM
i=0
while :; do
    i=$((i + 1))
    echo out $i
    echo err $i >&2
    [ $((i % 10)) != 0 ] || echo "{\\"step\\": $i}" >>"$SYNOR_PROGRESS"
    [ $((i % 50)) != 0 ] || echo $i >"$SYNOR_CHECKPOINT_DIR/step"
    [ $((i % 5)) != 0 ] || sleep 0.05
done
"""


def kill_at_random(p, rng):
    """Launch and kill, again and again, at any moment of the daemon's life."""
    for _ in range(KILLS):
        p.kill()
        p.launch()
        # From "has not opened its files" to "has been at work for a while".
        time.sleep(rng.choice((rng.uniform(0, 0.1), rng.uniform(0, 0.6), rng.uniform(0.5, 2.5))))
        check(p.process.poll() is None, "it ended by itself:", p.log_tail())
    p.kill()
    p.start()


def numbers(p, job, stream, word):
    lines = p.logs(job, "--stream", stream).splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith(word + " ")]


class Payer(threading.Thread):
    """Moves money all the while; repeats what was not acknowledged, under the same key."""

    def __init__(self, p):
        super().__init__(daemon=True)
        self.p, self.over, self.paid, self.wrong = p, False, [], None

    def run(self):
        asked = False  # a transfer whose answer we never saw may have been made: ask to the end
        while asked or not self.over:
            asked = True
            key = f"kill-moment-{len(self.paid)}"
            try:
                status, _, text = self.p.http(
                    "POST", "/v1/transfers", {"from": "operator", "to": "payee", "amount": "0.001"},
                    {"Idempotency-Key": key}, timeout=5)
            except OSError:
                time.sleep(0.01)
                continue
            except Exception as error:  # http.client tells a cut answer in many ways
                if "http" not in type(error).__module__:
                    raise
                continue
            if status == 201:
                self.paid.append(text)
                asked = False
            elif status not in (409, 503):
                self.wrong = status, text
                return
            time.sleep(0.005)


@case
def a_job_and_its_money_survive_every_kill(p):
    print(f"# SYNOR_SEED={SEED}", flush=True)
    rng = random.Random(SEED)
    p.start()
    need_sandbox(p)
    p.json("account", "create", "payee")
    job = p.create(job_folder(p.home, TALKER), "--stop-grace", "20s", name="talker")["id"]
    p.wait_state(job, "running")
    payer = Payer(p)
    payer.start()
    kill_at_random(p, rng)
    payer.over = True
    payer.join(timeout=60)
    check(not payer.is_alive() and payer.wrong is None, "a transfer failed:", payer.wrong)
    p.cli("compute", "train", "stop", job, "--yes", "--wait")
    ended = p.job(job)["status"]
    equal((ended["state"], ended["reason"]), ("stopped", "user"), ended)
    equal((ended["run"], ended["attempt"], len(ended["instances"])), (1, 1, 1), "started anew")
    last = numbers(p, job, "stdout", "last")
    equal(len(last), 1, "its last words:", last)
    check(last[0] > 100, "it hardly ran:", last)
    for stream, word in (("stdout", "out"), ("stderr", "err")):
        got = numbers(p, job, stream, word)
        # The signal may come between the two lines of one turn.
        check(last[0] - 1 <= len(got) <= last[0], f"{stream}: {len(got)} lines of {last[0]}")
        equal(got, list(range(1, len(got) + 1)), f"{stream}: lines lost, doubled or out of order")
    print(f"# {KILLS + 1} kills, {last[0]} lines a stream, {len(payer.paid)} transfers", flush=True)
    equal(len(payer.paid), len(set(payer.paid)), "one answer for two transfers")
    equal(balance(p, "payee"), Decimal("0.001") * len(payer.paid))


@case
def its_usage_has_no_gap_and_the_bill_agrees(p):
    bill = p.agreed_bill("talker")
    evidence = p.api("GET", f"/v1/bills/{bill['id']}/evidence")
    spans = sorted((r["from_ms"], r["to_ms"]) for r in reports_of(evidence))
    check(spans, "no samples")
    for (_, end), (begin, _) in zip(spans, spans[1:]):
        equal(begin, end, "a gap or an overlap in the usage;", spans)
    check(spans[-1][1] - spans[0][0] > 100 * KILLS, "hardly anything was metered:", spans)
    conserved(p)


@case
def jobs_come_and_go_under_kills(p):
    """Kills while jobs are created, placed, prepared, settled and deleted: each ends once, and
    what was acknowledged is there."""
    rng = random.Random(SEED + 1)
    before = {job["id"] for job in p.json("compute", "train", "list")["items"]}
    folder = job_folder(p.home, "#!/bin/sh\necho once\necho result >$SYNOR_OUTPUT_DIR/r\n")
    made = []
    for number in range(6):
        made.append(p.create(folder, "--memory", "64mb", name=f"short-{number}")["id"])
        time.sleep(rng.uniform(0, 0.8))
        p.kill()
        p.launch()
        time.sleep(rng.uniform(0, 0.3))
        p.kill()
        p.start()
    for job in made:
        ended = p.wait_end(job)["status"]
        equal((ended["state"], ended["attempt"]), ("succeeded", 1), p.events(job), p.log_tail())
        equal(p.logs(job).splitlines().count("once"), 1, "it ran twice, or its words are lost:",
              p.logs(job))
        check(ended["result"]["cid"], ended)
        p.agreed_bill(job)
    equal({job["id"] for job in p.json("compute", "train", "list")["items"]}, before | set(made))
    equal(Decimal(p.json("account", "balance", "operator")["status"]["held"]), 0)
    conserved(p)


# Leaves processes behind in both usual ways, some of which end at once, and goes on.
FORGETTER = """#!/bin/sh
for i in 1 2 3 4; do
    (sleep 300 & true)
    (setsid sleep 300 &)
    (true &)
done
echo forgot
sleep 300
"""


def zombies_of(pid):
    """Children of the process that have ended and that it has not waited for."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (entry / "stat").read_text().rsplit(")", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if state == "Z" and int(parent) == pid:
            found.append(name)
    return found


@case
def orphans_leave_no_zombies(p):
    """What a job forgot comes to the daemon when its supervisor is killed: also that of a job which
    an earlier daemon started."""
    p.process or p.start()
    need_sandbox(p)
    folder = job_folder(p.home, FORGETTER)

    def begin(name):
        job = p.create(folder, "--memory", "64mb", name=name)["id"]
        wait_until("it forgets them", 30, lambda: "forgot" in p.logs(job))
        return job

    def supervisor(job):
        instance = p.job(job)["status"]["instances"][0]
        text = (p.home / "agent/instances" / instance / "shim.json").read_text()
        return json.loads(text)["pid"]

    jobs = [begin("adopted")]
    p.kill()
    p.start()
    jobs.append(begin("own"))
    parent = pathlib.Path(f"/proc/{supervisor(jobs[1])}/stat").read_text().rsplit(")", 1)[1]
    equal(int(parent.split()[1]), p.process.pid, "the daemon is no subreaper: nothing is tested")
    for job in jobs:
        os.kill(supervisor(job), signal.SIGKILL)
    for job in jobs:
        wait_until("the loss is told", 30, lambda: "lost" in str(p.events(job)))
        p.cli("compute", "train", "stop", job, "--grace", "1s", "--yes", "--wait", code=None)
        p.wait_end(job)
        p.agreed_bill(job)
    left = wait_until_empty(lambda: zombies_of(p.process.pid))
    check(not left, "zombies of the daemon:", left)


run()
