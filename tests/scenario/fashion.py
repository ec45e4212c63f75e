#!/usr/bin/env python3
"""The example with real PyTorch on the real data: trained, resumed exactly, and by two workers.

Two epochs a run; SYNOR_FULL=1 trains the five that the example promises 0.88 for."""
import os
import pathlib
import subprocess

from harness import SOURCE, Skip, case, check, equal, need_sandbox, run, wait_until

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
FULL = os.environ.get("SYNOR_FULL") == "1"
EPOCHS = 5 if FULL else 2  # two, so that a stop during the first leaves something to resume


def create(p, *options):
    return p.json("compute", "train", "create", "--framework", "pytorch", "--model-config",
                  SOURCE / "examples/train-fashion/model.yaml", "--dataset",
                  "synor://datasets/fashion-mnist", "--gpus", "0", "--max-budget", "10", "--yes",
                  *options)["id"]


def losses(p, job):
    """step -> loss, as the program told them."""
    for metric in p.json("compute", "train", "metrics", job)["items"]:
        if metric["name"] == "loss":
            return {point[0]: point[1] for point in metric["points"]}
    return {}


def accuracy(p, job):
    return p.job(job)["status"]["progress"]["metrics"]["test_accuracy"]


@case
def trains_to_the_promised_accuracy(p):
    if not DATA.is_dir():
        raise Skip(f"{DATA} is missing: apt install dataset-fashion-mnist")
    if subprocess.run(["/usr/bin/python3", "-c", "import torch"], capture_output=True,
                      check=False).returncode:
        raise Skip("/usr/bin/python3 has no torch: apt install python3-torch")
    p.start()
    need_sandbox(p)
    p.json("storage", "put", DATA, "--name", "datasets/fashion-mnist")
    job = create(p, "--epochs", EPOCHS, "--checkpoint-interval", "200",
                 "--name", "undisturbed")
    done = p.wait_end(job, seconds=900)
    equal(done["status"]["state"], "succeeded", p.logs(job)[-2000:])
    check(accuracy(p, job) >= (0.88 if FULL else 0.78), accuracy(p, job))
    check(done["status"]["result"]["size_bytes"] > 0)
    p.agreed_bill(job)


@case
def a_stopped_run_resumes_with_the_same_losses(p):
    if not FULL:
        raise Skip("two epochs may end before the stop: SYNOR_FULL=1 trains longer")
    if p.process is None:
        raise Skip("the first case could not run")
    job = create(p, "--epochs", EPOCHS, "--checkpoint-interval", "20")
    p.wait_state(job, "running")
    wait_until("it has saved", 300, lambda: p.job(job)["status"]["checkpoint"])
    p.cli("compute", "train", "stop", job, "--yes", "--wait")
    at = p.job(job)["status"]["checkpoint"]["step"]
    p.cli("compute", "train", "resume", job, "--yes")
    equal(p.wait_end(job, seconds=900)["status"]["state"], "succeeded", p.logs(job)[-2000:])
    want, got = losses(p, "undisturbed"), losses(p, job)
    after = [step for step in want if step > at and step in got]
    check(after, "no step after the resume is known to both runs", at, sorted(got), sorted(want))
    for step in after:
        equal(got[step], want[step], f"loss at step {step}, resumed at {at}")
    equal(accuracy(p, job), accuracy(p, "undisturbed"))


@case
def two_workers_share_the_work(p):
    if not FULL:
        raise Skip("takes minutes on a busy machine: SYNOR_FULL=1 runs it")
    if p.process is None:
        raise Skip("the first case could not run")
    job = create(p, "--epochs", "1", "--workers", "2", "--distributed", "ddp", "--memory", "2gb",
                 "--cpus", "0.5")
    done = p.wait_end(job, seconds=900)
    equal(done["status"]["state"], "succeeded", p.logs(job)[-3000:])
    check(accuracy(p, job) >= 0.7, accuracy(p, job))
    p.agreed_bill(job)


run()
