#!/usr/bin/python3
"""Tests of train.py, each run as the platform runs it: in folders of its own, settings as JSON.

    test_train.py          # small runs, under a minute
    test_train.py --full   # all the data, five epochs: at least 0.88 on the test images

Prints TAP. Every subtest needs torch and the dataset; without them the whole plan is skipped.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATASET = Path("/usr/share/datasets/fashion-mnist")
SMALL = {"train_images": 4000, "epochs": 2, "batch_size": 64, "log_interval": 1}
DEADLINE_S = 240


def lacking():
    """Why nothing here can run, or None."""
    if subprocess.run([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode:
        return "python3-torch is not installed"
    if not DATASET.is_dir():
        return "dataset-fashion-mnist is not installed"
    return None


class Job:
    """One training job: its folders stay, its processes may be started more than once."""

    def __init__(self, root, name, world=1, **hyperparameters):
        self.root, self.world = Path(root) / name, world
        for part in ("checkpoints", "output", "scratch"):
            (self.root / part).mkdir(parents=True)
        settings = {**SMALL, **hyperparameters}
        (self.root / "hyperparameters.json").write_text(json.dumps(settings))

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [self.start_rank(rank, port) for rank in range(self.world)]

    def start_rank(self, rank, port):
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "scratch"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_WORLD_SIZE": str(self.world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "SYNOR_DATASET_DIR": str(DATASET),
            "SYNOR_CHECKPOINT_DIR": str(self.root / "checkpoints"),
            "SYNOR_OUTPUT_DIR": str(self.root / "output"),
            "SYNOR_HYPERPARAMETERS": str(self.root / "hyperparameters.json"),
            "SYNOR_PROGRESS": str(self.root / "progress.jsonl"),
        }
        with open(self.root / f"log-{rank}", "a") as log:
            command = [sys.executable, str(HERE / "train.py")]
            return subprocess.Popen(command, cwd=HERE, env=env, stdout=log, stderr=log)

    def wait(self, processes, expected=0):
        try:
            for rank, process in enumerate(processes):
                code = process.wait(DEADLINE_S)
                log = (self.root / f"log-{rank}").read_text()
                assert code == expected, f"rank {rank} ended with {code}, not {expected}:\n{log}"
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def run(self, expected=0):
        self.wait(self.start(), expected)
        return self

    def progress(self):
        """Every complete line so far."""
        path = self.root / "progress.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def losses(self):
        return [(line["step"], line["loss"]) for line in self.progress() if "loss" in line]

    def accuracies(self):
        return [line["test_accuracy"] for line in self.progress() if "test_accuracy" in line]

    def stop_after(self, step, ranks):
        """Run until `step` is reported, then send SIGTERM to `ranks`."""
        processes = self.start()
        deadline = time.monotonic() + DEADLINE_S
        while not any(line["step"] >= step for line in self.progress()):
            assert time.monotonic() < deadline and processes[0].poll() is None, "never got there"
            time.sleep(0.005)
        for rank in ranks:
            processes[rank].send_signal(signal.SIGTERM)
        self.wait(processes, expected=128 + signal.SIGTERM)

    def checkpoint_names(self):
        return sorted(path.name for path in (self.root / "checkpoints").iterdir())

    def model(self):
        import torch

        return torch.load(self.root / "output" / "model.pt")


def same_model(one, other):
    import torch

    a, b = one.model(), other.model()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def check_stop_and_resume(root, world, stopped_ranks):
    """A run that is stopped in its second epoch and resumed equals one that is left alone."""
    whole = Job(root, f"whole-{world}", world).run()
    parts = Job(root, f"parts-{world}", world)
    steps = len(whole.losses())
    parts.stop_after(steps * 5 // 8, stopped_ranks)
    stopped_at = parts.losses()[-1][0]
    assert steps // 2 < stopped_at < steps, f"stopped at {stopped_at} of {steps}"
    assert parts.checkpoint_names()[-1] == f"step-{stopped_at:08d}.pt", parts.checkpoint_names()
    assert not any((parts.root / "output").iterdir()), "a stopped run left a result"
    parts.run()
    assert parts.losses() == whole.losses(), "losses differ after the resume"
    assert parts.accuracies() == whole.accuracies()
    assert same_model(parts, whole), "weights differ after the resume"


def test_accuracy_improves(root):
    job = Job(root, "improves").run()
    first, last = job.accuracies()
    assert first < last and last > 0.7, f"accuracy {first} then {last}"
    result = json.loads((job.root / "output" / "metrics.json").read_text())
    assert result == {"test_accuracy": last, "step": 124, "epoch": 2}, result
    assert all(line["steps_total"] == 124 for line in job.progress())


def test_sigterm_saves_and_resume_is_exact(root):
    check_stop_and_resume(root, world=1, stopped_ranks=[0])


def test_two_ranks_stop_together_and_resume_exactly(root):
    check_stop_and_resume(root, world=2, stopped_ranks=[1])


def test_resume_with_more_epochs(root):
    job = Job(root, "more", epochs=1, train_images=1000, checkpoint_interval=4).run()
    assert job.checkpoint_names() == ["step-00000012.pt", "step-00000015.pt"]
    settings = {**SMALL, "epochs": 2, "train_images": 1000}
    (job.root / "hyperparameters.json").write_text(json.dumps(settings))
    job.run()
    assert [step for step, _ in job.losses()] == list(range(1, 31))
    assert len(job.accuracies()) == 2


def test_accumulation_takes_fewer_steps(root):
    options = {"epochs": 1, "train_images": 1600, "gradient_accumulation": 5}
    job = Job(root, "accumulation", **options).run()
    assert [step for step, _ in job.losses()] == [1, 2, 3, 4, 5], job.losses()


def test_optimizers_and_precision(root):
    seen = set()
    for options in ({"optimizer": "sgd"}, {"optimizer": "adam"}, {"mixed_precision": "bf16"}):
        name = "-".join(options.values())
        job = Job(root, name, epochs=1, train_images=640, learning_rate=0.01, **options).run()
        losses = [loss for _, loss in job.losses()]
        assert losses[-1] < losses[0], f"{name}: {losses}"
        seen.add(losses[-1])
    assert len(seen) == 3, "two settings gave the same loss"


def test_refuses_what_it_does_not_know(root):
    for options, word in (
        ({"optimizer": "lamb"}, "sgd adam adamw"),
        ({"mixed_precision": "fp16"}, "no bf16"),
        ({"distributed": "fsdp"}, "ddp"),
        ({"epochs": 0}, "at least 1"),
    ):
        job = Job(root, f"refuse-{next(iter(options))}", **options).run(expected=2)
        assert word in (job.root / "log-0").read_text()


def full_accuracy(root):
    job = Job(root, "full", train_images=0, epochs=5, batch_size=128, log_interval=20)
    begin = time.monotonic()
    job.run()
    accuracy = job.accuracies()[-1]
    print(f"# test accuracy {accuracy:.4f} after 5 epochs, {time.monotonic() - begin:.1f} s")
    assert accuracy >= 0.88, f"accuracy {accuracy}"


def main():
    reason = lacking()
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    if "--full" in sys.argv[1:]:
        tests = [full_accuracy]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="train-fashion-") as root:
            try:
                test(root)
                print(f"ok {number} - {test.__name__}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"not ok {number} - {test.__name__}", flush=True)
                print("\n".join("# " + line for line in str(error).splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
