#!/usr/bin/env python3
"""The example with real PyTorch on the real data: trained to what it promises, resumed exactly, and
by two workers. Nothing here waits for time to pass: every step waits for what the job reports."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

from harness import SOURCE, TERMINAL, Skip, case, check, equal, need_sandbox, run, wait_until

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
EXAMPLE = SOURCE / "examples/train-fashion"
END_S = 900  # five epochs take half a minute on two quiet cores


def create(p, *options, model=EXAMPLE / "model.yaml"):
    return p.json("compute", "train", "create", "--framework", "pytorch", "--model-config", model,
                  "--dataset", "synor://datasets/fashion-mnist", "--gpus", "0", "--max-budget",
                  "10", "--yes", *options)["id"]


def model_with(p, **hyperparameters):
    """The example's program, unchanged, with hyperparameters of ours: its model.yaml."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=p.home, prefix="fashion-"))
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, folder)
    (folder / "model.yaml").write_text(json.dumps({
        "name": "fashion-part", "source": ".", "entry": "train.py", "include": ["*.py"],
        "hyperparameters": hyperparameters}))  # JSON is YAML
    return folder / "model.yaml"


def succeeded(p, job):
    done = p.wait_end(job, seconds=END_S)
    equal(done["status"]["state"], "succeeded", p.logs(job)[-3000:])
    return done["status"]


def losses(p, job):
    """step -> loss, as the program told them."""
    for metric in p.json("compute", "train", "metrics", job)["items"]:
        if metric["name"] == "loss":
            return {point[0]: point[1] for point in metric["points"]}
    return {}


def accuracy(status):
    return status["progress"]["metrics"]["test_accuracy"]


def stop_in_the_middle(p, job):
    """Stop it at its first steps, by requests that wait for no program to start: what trains does not
    wait for us either. The step at which it will go on."""
    path = f"/v1/training/{job}"

    def status():
        return p.api("GET", path)["status"]
    wait_until("it trains", END_S, lambda: status().get("progress", {}).get("step", 0) > 0, 0.01)
    p.api("POST", f"{path}/stop", {})
    wait_until("it has ended", END_S, lambda: status()["state"] in TERMINAL)
    seen = status()
    equal(seen["state"], "stopped", seen)
    step, total = seen["checkpoint"]["step"], seen["progress"]["steps_total"]
    print(f"# stopped at {step} of {total}", flush=True)
    check(0 < step < total, f"stopped at {step} of {total}: that is not in the middle")
    return step


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
    job = create(p, "--epochs", "5", "--checkpoint-interval", "200", "--name", "undisturbed")
    status = succeeded(p, job)
    check(accuracy(status) >= 0.88, accuracy(status))
    check(status["result"]["size_bytes"] > 0)
    p.agreed_bill(job)


@case
def a_stopped_run_resumes_with_the_same_losses(p):
    if p.process is None:
        raise Skip("the first case could not run")
    model = model_with(p, train_images=12800, epochs=3)
    whole = create(p, "--checkpoint-interval", "25", model=model)
    want = succeeded(p, whole)
    job = create(p, "--checkpoint-interval", "25", model=model)
    at = stop_in_the_middle(p, job)
    p.agreed_bill(job)
    p.cli("compute", "train", "resume", job, "--yes")
    got = succeeded(p, job)
    begun = re.findall(r"resuming from .*/step-(\d+)\.pt", p.logs(job))
    # The program tells its step every 20, so the checkpoint may be a little newer than its record.
    check(len(begun) == 1 and at <= int(begun[0]) < at + 20, "not from the last checkpoint:", at,
          p.logs(job)[-2000:])
    undisturbed, resumed = losses(p, whole), losses(p, job)
    check(any(step > at for step in undisturbed), at, sorted(undisturbed))
    equal(resumed, undisturbed, f"losses of the run that was stopped at {at}")
    equal(accuracy(got), accuracy(want))
    equal(got["result"]["cid"], want["result"]["cid"], "the trained model differs")
    p.agreed_bill(job)


@case
def two_workers_share_the_work(p):
    if p.process is None:
        raise Skip("the first case could not run")
    model = model_with(p, train_images=4480, batch_size=64, log_interval=1, epochs=3)
    options = ("--workers", "2", "--distributed", "ddp", "--memory", "2gb", "--cpus", "0.9",
               "--checkpoint-interval", "10")
    whole = create(p, *options, model=model)
    status = succeeded(p, whole)
    equal(len(status["instances"]), 2)
    # Two ranks of 64 images each take 128 a step: 35 steps an epoch, not 70.
    equal(status["progress"]["steps_total"], 105, status)
    check(accuracy(status) >= 0.6, accuracy(status))
    p.agreed_bill(whole)
    # Both are stopped at the same step, and go on as if nothing had been.
    job = create(p, *options, model=model)
    at = stop_in_the_middle(p, job)
    p.cli("compute", "train", "resume", job, "--yes")
    equal(accuracy(succeeded(p, job)), accuracy(status), f"stopped at {at}")
    equal(losses(p, job), losses(p, whole), f"stopped at {at}")


run()
