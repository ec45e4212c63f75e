#!/usr/bin/env python3
"""Training jobs with real sandboxes: every way to end, budgets, resume, and a daemon that dies."""
import json
import shutil
import time

from harness import (COUNTER, SOURCE, case, check, equal, job_folder, need_sandbox, reports_of, run,
                     steps_in, wait_until, went_on)

def types(p, job):
    return [event["type"] for event in p.events(job)]


def reason(p, job):
    status = p.job(job)["status"]
    check(status["message"], "a state without a sentence:", status)
    return status["state"], status["reason"]


@case
def hello_job_from_start_to_bill(p):
    p.start()
    need_sandbox(p)
    job = p.create(SOURCE / "examples/hello-job", name="hello")["id"]
    done = p.wait_end(job)
    equal(reason(p, job), ("succeeded", "completed"))
    check(f"hello world, from job {job}, rank 0 of 1" in p.logs(job))
    equal(steps_in(p.logs(job).replace(" of 3", "")), [1, 2, 3])
    out = p.home / "greeting"
    p.json("storage", "get", f"synor://{done['status']['result']['cid']}", out)
    equal((out / "greeting.txt").read_text(), "hello world, counted to 3\n")
    kept = p.json("compute", "train", "checkpoints", job)["items"]
    kept.sort(key=lambda one: one["created_at"])
    check(kept and kept[-1]["step"] == 3, kept)
    saved = p.home / "saved"
    p.json("storage", "get", f"synor://{kept[-1]['cid']}", saved)
    equal((saved / "step").read_text(), "3\n")
    check(done["status"]["isolation"] in ("gvisor", "runc"), done["status"])
    seen = types(p, job)
    for one in ("created", "placed", "started", "succeeded", "settled"):
        check(one in seen, one, seen)
    bill = p.agreed_bill(job)
    check(float(bill["status"]["total"]) > 0, bill)
    equal(p.job("hello")["id"], job, "a job is found by its name")


@case
def failing_program(p):
    job = p.create(job_folder(p.home, "#!/bin/sh\necho bye >&2\nexit 7\n"))["id"]
    equal(p.wait_end(job)["status"]["exit_code"], 7)
    equal(reason(p, job), ("failed", "exit-nonzero"))
    check("bye" in p.logs(job, "--stream", "stderr"))
    told = p.json("compute", "train", "explain", job)
    check(told["why"] and told["fix"], told)
    p.agreed_bill(job)
    job = p.create(job_folder(p.home, "#!/bin/sh\nexit 7\n"), "--retries", "2")["id"]
    p.wait_end(job)
    equal(p.job(job)["status"]["attempt"], 3)
    equal(p.create(job_folder(p.home, "#!/bin/sh\n"), "--wait", code=None)["status"]["state"],
          "succeeded")


@case
def programs_of_the_source_may_be_executed(p):
    """Content has no modes; an entry without suffix, and what it calls, run all the same."""
    folder = job_folder(p.home, "#!/bin/sh\ncd \"$SYNOR_CODE_DIR\" && ./tool\n", entry="start",
                        include=["start", "tool"])
    (folder / "tool").write_text("#!/bin/sh\necho the tool ran\n")
    job = p.create(folder)["id"]
    equal(p.wait_end(job)["status"]["state"], "succeeded")
    check("the tool ran" in p.logs(job))


@case
def program_that_does_not_start(p):
    job = p.create(job_folder(p.home, "#!/no/such/interpreter\n"))["id"]
    p.wait_end(job)
    state, why = reason(p, job)
    equal(state, "failed")
    check(why in ("start-failed", "exit-nonzero"), why)
    p.agreed_bill(job)


@case
def memory_limit_is_named(p):
    hungry = "import os\nblocks = []\nwhile True:\n    blocks.append(bytearray(b'x' * (8 << 20)))\n"
    job = p.create(job_folder(p.home, "#!/usr/bin/python3\n" + hungry), "--memory", "128mb")["id"]
    p.wait_end(job)
    equal(reason(p, job), ("failed", "oom-killed"))
    told = p.json("compute", "train", "explain", job)
    check(any("the limit is 128 MiB, the peak was" in row["message"] for row in told["why"]), told)
    check(any("--memory" in fix for fix in told["fix"]), told)
    p.agreed_bill(job)


@case
def time_limit_is_named(p):
    job = p.create(job_folder(p.home, "#!/bin/sh\nsleep 600\n"), "--time-limit", "2s",
                   "--stop-grace", "1s")["id"]
    p.wait_end(job)
    equal(reason(p, job), ("failed", "time-limit"))
    p.agreed_bill(job)


@case
def scratch_quota_is_named(p):
    fill = "dd if=/dev/zero of=$SYNOR_SCRATCH_DIR/fill bs=1M count=200"
    for script in (fill, f"{fill} || {{ rm $SYNOR_SCRATCH_DIR/fill; exit 3; }}"):
        job = p.create(job_folder(p.home, f"#!/bin/sh\n{script}\n"), "--scratch", "32mb")["id"]
        p.wait_end(job)
        equal(reason(p, job), ("failed", "scratch-full"))
        check("No space left" in p.logs(job), p.logs(job))
        told = p.json("compute", "train", "explain", job)
        check("--scratch" in json.dumps(told), told)


@case
def stop_saves_and_resume_goes_on(p):
    job = p.create(job_folder(p.home, COUNTER, args=["8", "until-asked"]))["id"]
    p.wait_state(job, "running")
    wait_until("it counts", 30, lambda: (p.job(job)["status"]["progress"]["step"] or 0) >= 2)
    p.cli("compute", "train", "stop", job, "--yes", "--wait")
    equal(reason(p, job), ("stopped", "user"))
    at = max(steps_in(p.logs(job)))
    check(f"asked to stop at {at}" in p.logs(job), p.logs(job))
    first = p.agreed_bill(job)
    p.cli("compute", "train", "resume", job, "--yes")
    p.wait_end(job)
    equal(reason(p, job), ("succeeded", "completed"))
    text = p.logs(job)
    check(f"from {at}\n" in text, text)
    went_on(text, 8)
    equal(p.job(job)["status"]["run"], 2)
    second = p.agreed_bill(job)
    check(first["id"] != second["id"], "a run has a bill of its own")


@case
def a_program_that_saves_all_the_time_is_saved_while_it_runs(p):
    # Ten times a second a new file, and only the newest stays; one that never changes beside it.
    saver = ("#!/bin/sh\ncd $SYNOR_CHECKPOINT_DIR\nkept=$(ls | grep step- | tail -n 1)\n"
             "step=${kept#step-}; step=${step:-100}; echo from $step; echo all >config\n"
             "while :; do step=$((step + 1)); echo $step >.new; mv .new step-$step\n"
             "    rm -f step-$((step - 1)); echo \"{\\\"step\\\": $step}\" >>$SYNOR_PROGRESS\n"
             "    [ ! -e $SYNOR_CODE_DIR/never ] || exit; sleep 0.1; done\n")
    job = p.create(job_folder(p.home, saver))["id"]
    p.wait_state(job, "running")
    first = wait_until("its first checkpoint", 30, lambda: p.job(job)["status"]["checkpoint"])
    wait_until("a newer one", 30,
               lambda: p.job(job)["status"]["checkpoint"]["step"] > first["step"])
    saved = p.job(job)["status"]["checkpoint"]
    out = p.home / "saved-at-once"
    p.json("storage", "get", f"synor://{saved['cid']}", out)
    names = sorted(file.name for file in out.iterdir())
    # One moment: a step by itself, or with the next, between its rename and the older one's end.
    steps = [int(name.removeprefix("step-")) for name in names if name.startswith("step-")]
    check(len(steps) in (1, 2) and steps == list(range(steps[0], steps[-1] + 1)) and
          names[0] == "config" and len(names) == 1 + len(steps),
          "not the folder at one moment:", names)
    # The record may be behind, by seconds on a busy machine: progress and folder are read one after
    # the other. It is never ahead.
    check(0 <= steps[0] - saved["step"] <= 50, names, saved)
    p.cli("compute", "train", "stop", job, "--grace", "1s", "--yes", "--wait")


@case
def stop_kills_after_the_grace(p):
    deaf = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n"
    job = p.create(job_folder(p.home, deaf), "--stop-grace", "1s")["id"]
    p.wait_state(job, "running")
    started = time.monotonic()
    p.cli("compute", "train", "stop", job, "--yes", "--wait")
    check(time.monotonic() - started < 30, "a grace of one second took as long as that of who says none")
    equal(reason(p, job), ("stopped", "user"))


@case
def what_cannot_be_placed_waits_and_says_why(p):
    folder = job_folder(p.home, "#!/bin/sh\n")
    node = p.wait_node()
    plan = p.json("compute", "train", "create", "--framework", "custom", "--model-config",
                  folder / "model.yaml", "--gpus", "8", "--gpu-type", "h100", "--max-budget", "1",
                  "--plan", code=3)
    equal(plan["placeable"], False)
    job = p.json("compute", "train", "create", "--framework", "custom", "--model-config",
                 folder / "model.yaml", "--gpus", "8", "--gpu-type", "h100", "--max-budget", "1",
                 "--yes")["id"]
    wait_until("it was tried", 30, lambda: reason(p, job) == ("pending", "no-gpu"))
    told = p.json("compute", "train", "explain", job)
    rows = [row for row in told["why"] if row["dimension"] == "gpus" and
            row["node"] in (node["id"], node["name"])]
    check(rows, "no row names node and dimension:", told)
    check("8" in str(rows[0]["need"]) and rows[0]["message"], rows)
    check(told["fix"], "no way out:", told)
    p.cli("compute", "train", "stop", job, "--yes", "--wait", code=None)
    equal(p.wait_end(job)["status"]["state"], "stopped")
    equal(p.job(job)["status"]["cost"]["spent"], "0")


@case
def a_plan_costs_nothing_and_creates_nothing(p):
    before = len(p.json("compute", "train", "list")["items"])
    plan = p.json("compute", "train", "create", "--framework", "custom", "--model-config",
                  job_folder(p.home, "#!/bin/sh\n") / "model.yaml", "--max-budget", "1", "--plan")
    equal(plan["placeable"], True)
    check(float(plan["rate_hour"]) > 0 and plan["budget_lasts_ms"] > 0, plan)
    equal(len(p.json("compute", "train", "list")["items"]), before)


@case
def bad_inputs_are_told(p):
    good = job_folder(p.home, "#!/bin/sh\n")
    base = ["compute", "train", "create", "--model-config", good / "model.yaml", "--yes"]
    for extra, word in (
            ([], "--max-budget"), (["--max-budget", "-1"], "max-budget"),
            (["--max-budget", "0.0000000001"], "max-budget"),
            (["--max-budget", "1", "--workers", "0"], "workers"),
            (["--max-budget", "1", "--workers", "65"], "workers"),
            (["--max-budget", "1", "--framework", "caffe"], "framework"),
            (["--max-budget", "1", "--memory", "lots"], "memory"),
            (["--max-budget", "1", "--env", "RANK=1"], "RANK"),
            (["--max-budget", "1", "--mixed-precision", "fp4"], "mixed-precision"),
            (["--max-budget", "1", "--learning-rate", "fast"], "learning-rate"),
            (["--max-budget", "1", "--time-limit", "soon"], "time-limit")):
        result = p.cli(*base, *extra, code=2)
        check(word in result.err, f"the message does not name {word}:", result)
    bad = job_folder(p.home, "#!/bin/sh\n", entrry="x")
    result = p.cli("compute", "train", "create", "--model-config", bad / "model.yaml",
                   "--max-budget", "1", "--yes", code=2)
    check("entrry" in result.err, result)
    (bad / "model.yaml").write_text("entry: missing.py\n")
    result = p.cli("compute", "train", "create", "--model-config", bad / "model.yaml",
                   "--max-budget", "1", "--yes", code=2)
    check("missing.py" in result.err and "Uploading" not in result.err, result)
    (bad / "model.yaml").write_text("a: &x [1]\nb: *x\n")
    p.cli("compute", "train", "create", "--model-config", bad / "model.yaml", "--max-budget", "1",
          "--yes", code=2)
    equal(p.error("compute", "train", "get", "train-nosuchjob1")["code"], "not-found")
    said = p.error("compute", "train", "create", "--framework", "custom", "--model-config",
                   good / "model.yaml", "--dataset", "synor://no/such", "--max-budget", "1",
                   "--yes", code=None)
    check("no/such" in said["message"], said)
    said = p.error("compute", "train", "create", "--framework", "custom", "--model-config",
                   good / "model.yaml", "--max-budget", "999999", "--yes", code=4)
    equal(said["code"], "insufficient-funds", said)


@case
def budget_runs_out_and_more_of_it_goes_on(p):
    # At the prices of the built-in book the default worker costs about 0.0000094 SYNOR a second.
    job = p.create(job_folder(p.home, COUNTER, args=["24"]), "--stop-grace", "5s",
                   budget="0.00004")["id"]
    p.wait_end(job, seconds=180)
    equal(reason(p, job), ("stopped", "budget"))
    seen = types(p, job)
    places = [seen.index(one) for one in ("budget-50", "budget-80", "budget-100")]
    equal(places, sorted(places))
    at = max(steps_in(p.logs(job)))
    check(f"asked to stop at {at}" in p.logs(job), "it was not asked to save")
    bill = p.agreed_bill(job)
    check(float(bill["status"]["charge"]) <= 0.00004, "more than the budget was charged:", bill)
    p.cli("compute", "train", "resume", job, "--max-budget", "1", "--yes")
    p.wait_end(job, seconds=180)
    equal(reason(p, job), ("succeeded", "completed"))
    equal(steps_in(p.logs(job)), list(range(1, 25)))
    p.agreed_bill(job)


@case
def a_killed_daemon_loses_nothing(p):
    talker = ("#!/bin/sh\ni=0\n"
              "while [ $i -lt 80 ]; do i=$((i + 1)); echo line $i; sleep 0.1; done\n")
    job = p.create(job_folder(p.home, talker))["id"]
    p.wait_state(job, "running")
    wait_until("it talks", 30, lambda: "line 10\n" in p.logs(job))
    for _ in range(2):
        p.kill()
        time.sleep(1.5)
        p.start()
        time.sleep(1)
    done = p.wait_end(job)
    equal(reason(p, job), ("succeeded", "completed"))
    equal((done["status"]["run"], done["status"]["attempt"]), (1, 1), "it was started anew")
    lines = [line for line in p.logs(job).splitlines() if line.startswith("line")]
    equal(lines, [f"line {i}" for i in range(1, 81)])
    bill = p.agreed_bill(job)
    evidence = p.api("GET", f"/v1/bills/{bill['id']}/evidence")
    spans = sorted((r["from_ms"], r["to_ms"]) for r in reports_of(evidence))
    check(spans, "no samples:", json.dumps(evidence)[:2000])
    for (_, end), (begin, _) in zip(spans, spans[1:]):
        equal(begin, end, "a gap or an overlap in the usage;", spans)
    lived = (spans[-1][1] - spans[0][0]) / 1000
    check(lived > 8, f"only {lived} s of more than 8 were metered")


@case
def job_that_ends_while_the_daemon_is_away(p):
    job = p.create(job_folder(p.home, COUNTER, args=["6"]))["id"]
    p.wait_state(job, "running")
    p.kill()
    wait_until("it has ended, with nobody there to hear of it", 60, lambda: not [
        line for _, line in p.processes() if "containerd/config.toml" not in line])
    p.start()
    done = p.wait_end(job)
    equal(reason(p, job), ("succeeded", "completed"))
    equal(steps_in(p.logs(job)), list(range(1, 7)))
    out = p.home / "while-away"
    p.json("storage", "get", f"synor://{done['status']['result']['cid']}", out)
    equal((out / "result").read_text(), "done\n")
    p.agreed_bill(job)


@case
def two_workers_are_a_gang(p):
    ranks = "#!/bin/sh\necho rank $RANK of $WORLD_SIZE at $MASTER_ADDR\n" \
            "[ $RANK = 0 ] || exit ${1:-0}\nsleep 2\n"
    job = p.create(job_folder(p.home, ranks), "--workers", "2", "--memory", "256mb",
                   "--cpus", "0.5")["id"]
    done = p.wait_end(job)
    equal(reason(p, job), ("succeeded", "completed"))
    equal(len(done["status"]["instances"]), 2)
    for rank in (0, 1):
        check(f"rank {rank} of 2" in p.logs(job, "--rank", rank), p.logs(job))
    p.agreed_bill(job)
    job = p.create(job_folder(p.home, ranks, args=["9"]), "--workers", "2", "--memory", "256mb",
                   "--cpus", "0.5")["id"]
    p.wait_end(job)
    equal(reason(p, job)[0], "failed")


@case
def metrics_events_and_deletion(p):
    job = p.job("hello")["id"]
    ended = p.create(job_folder(p.home, COUNTER, args=["3"]))["id"]
    p.wait_end(ended)
    series = {m["name"]: m["points"] for m in p.json("compute", "train", "metrics", ended)["items"]}
    equal([point[1] for point in series["loss"]], [0.1, 0.2, 0.3])
    bill = p.job(job)["status"]["bill"]
    p.json("compute", "train", "delete", job, "--yes")
    equal(p.error("compute", "train", "get", job)["code"], "not-found")
    p.json("bill", "show", bill)


if not shutil.which("runsc") and not shutil.which("runc"):
    print("# neither runsc nor runc is installed")
run()
