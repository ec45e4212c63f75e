#!/usr/bin/python3
"""Train a small CNN on Fashion-MNIST: alone, under torchrun, or as a Synor Compute job.

    python3 train.py --epochs 5                                   # on this machine
    synor compute train create --model-config model.yaml ...      # on the platform

Every setting in DEFAULTS is a command line option; on the platform the job's hyperparameters
arrive as a JSON file and become the defaults. A run that is stopped (SIGTERM) and started again
continues exactly where it was: same batches, same random numbers, same losses.
"""
import argparse
import json
import math
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

# Before torch loads its BLAS: layers this small run fastest on one thread, and one thread adds up
# in one order, on every machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from fashion import load_split, make_model, normalize, random_flip

DEFAULTS = {
    "epochs": 5,
    "batch_size": 128,  # images per rank and forward pass
    "learning_rate": 0.002,
    "optimizer": "adamw",
    "weight_decay": 0.0,
    "gradient_accumulation": 1,
    "mixed_precision": "no",
    "checkpoint_interval": 200,  # optimizer steps
    "log_interval": 20,  # optimizer steps
    "train_images": 0,  # use only the first N training images; 0: all
    "seed": 0,
    "distributed": "ddp",
}
CHOICES = {"optimizer": "sgd adam adamw", "mixed_precision": "no bf16", "distributed": "ddp none"}
AT_LEAST_ONE = "epochs batch_size gradient_accumulation checkpoint_interval log_interval"


def settings():
    """DEFAULTS, overlaid with the platform's JSON file, overlaid with the command line."""
    config = dict(DEFAULTS)
    if "SYNOR_HYPERPARAMETERS" in os.environ:
        config.update(json.loads(Path(os.environ["SYNOR_HYPERPARAMETERS"]).read_text()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in DEFAULTS.items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(default), default=config[name])
    args = parser.parse_args()
    for name, known in CHOICES.items():
        if getattr(args, name) not in known.split():
            parser.error(f"{name} {getattr(args, name)}: this program knows {known}")
    for name in AT_LEAST_ONE.split():
        if getattr(args, name) < 1:
            parser.error(f"{name} must be at least 1")
    return args


def folder(variable, default):
    path = Path(os.environ.get(variable, default))
    path.mkdir(parents=True, exist_ok=True)
    return path


def make_optimizer(args, parameters):
    options = {"lr": args.learning_rate, "weight_decay": args.weight_decay}
    if args.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options)
    kind = torch.optim.Adam if args.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, **options)


class Trainer:
    """The whole state of a run: how it advances, is saved, and comes back."""

    def __init__(self, args):
        self.args = args
        self.rank = int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        gpu = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
        if gpu:
            torch.cuda.set_device(self.device)
        if self.world > 1:
            if os.environ.get("MASTER_ADDR") in ("127.0.0.1", "localhost", "::1"):
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            dist.init_process_group("nccl" if gpu else "gloo")

        self.stop = False  # becomes True on SIGTERM; the step in progress is finished and saved
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stop", True))
        self.images, self.labels = load_split("train", self.device)
        self.count = min(args.train_images or len(self.labels), len(self.labels))
        self.step_images = args.batch_size * args.gradient_accumulation * self.world
        self.epoch_steps = self.count // self.step_images
        if self.epoch_steps == 0:
            sys.exit(f"one step takes {self.step_images} images, but there are {self.count}")

        torch.manual_seed(args.seed)
        self.model = make_model().to(self.device)
        self.optimizer = make_optimizer(args, self.model.parameters())
        # `shuffle` is the same on every rank, so that they agree on who reads what; torch's own
        # generator, which flips images, differs from rank to rank.
        self.shuffle = torch.Generator().manual_seed(args.seed)
        torch.manual_seed(args.seed + 1 + self.rank)
        self.at = {"step": 0, "epoch": 0, "position": 0, "order": None, "test_accuracy": 0.0}
        self.checkpoints = folder("SYNOR_CHECKPOINT_DIR", "checkpoints")
        self.resume()
        self.net = DistributedDataParallel(self.model) if self.world > 1 else self.model
        self.progress = open(os.environ.get("SYNOR_PROGRESS", os.devnull), "a", buffering=1)

    def all_sum(self, *values):
        """Each value, summed over all ranks."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.all_reduce(total)
        return total.tolist()

    def save(self):
        """Rank 0 writes the checkpoint, under a temporary name until it is complete."""
        random_states = [torch.get_rng_state()] * self.world
        if self.world > 1:
            dist.all_gather_object(random_states, torch.get_rng_state())
        if self.rank != 0:
            return
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state.update(at=self.at, shuffle=self.shuffle.get_state(), random=random_states)
        with open(self.checkpoints / ".saving.tmp", "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self.checkpoints / f"step-{self.at['step']:08d}.pt")
        for old in sorted(self.checkpoints.glob("step-*.pt"))[:-2]:
            old.unlink()

    def resume(self):
        found = sorted(self.checkpoints.glob("step-*.pt"))
        if not found:
            return
        state = torch.load(found[-1], map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.at = state["at"]
        self.shuffle.set_state(state["shuffle"])
        if self.rank < len(state["random"]):  # a rank that is new since then keeps its own seed
            torch.set_rng_state(state["random"][self.rank])
        if self.rank == 0:
            print(f"resuming from {found[-1]}", flush=True)

    def report(self, **metrics):
        if self.rank != 0:
            return
        line = {"step": self.at["step"], "steps_total": self.args.epochs * self.epoch_steps}
        line.update(epoch=self.at["epoch"], epochs_total=self.args.epochs, **metrics)
        self.progress.write(json.dumps(line) + "\n")
        print(*(f"{name} {value:.6g}" for name, value in line.items()), flush=True)

    def precision(self):
        bf16 = self.args.mixed_precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if bf16 else nullcontext()

    def train_step(self):
        """One optimizer step. Returns the mean loss, and whether any rank was asked to stop."""
        parts, stride = self.args.gradient_accumulation, self.args.batch_size * self.world
        done = (self.at["epoch"] + self.at["position"] / self.count) / self.args.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.learning_rate * (1 + math.cos(math.pi * done)) / 2
        self.optimizer.zero_grad()
        losses = 0.0
        for part in range(1, parts + 1):
            start = self.at["position"]
            mine = self.at["order"][start + self.rank : start + stride : self.world].to(self.device)
            images, labels = normalize(random_flip(self.images[mine])), self.labels[mine]
            with nullcontext() if part == parts or self.world == 1 else self.net.no_sync():
                with self.precision():
                    loss = F.cross_entropy(self.net(images), labels)
                (loss / parts).backward()
            losses += loss.item()
            self.at["position"] += stride
        self.optimizer.step()
        self.at["step"] += 1
        total, stops = self.all_sum(losses, self.stop)
        return total / parts / self.world, stops > 0

    def train_epoch(self):
        """The rest of the current epoch. Returns False when asked to stop."""
        at = self.at
        if at["order"] is None:
            at["order"] = torch.randperm(self.count, generator=self.shuffle)
        while at["position"] + self.step_images <= len(at["order"]):
            loss, stop = self.train_step()
            if at["step"] % self.args.log_interval == 0:
                self.report(loss=loss)
            if stop or at["step"] % self.args.checkpoint_interval == 0:
                self.save()
            if stop:
                return False
        at.update(epoch=at["epoch"] + 1, position=0, order=None)
        return True

    @torch.no_grad()
    def test(self):
        images, labels = load_split("t10k", self.device)
        right = 0
        for mine in torch.arange(self.rank, len(labels), self.world).split(1000):
            right += (self.model(normalize(images[mine])).argmax(1) == labels[mine]).sum().item()
        self.at["test_accuracy"] = self.all_sum(right)[0] / len(labels)
        self.report(test_accuracy=self.at["test_accuracy"])

    def leave(self):
        """End what speaks with the other ranks: its threads must not be at work when Python ends."""
        self.net = None
        if self.world > 1:
            dist.destroy_process_group()


def main():
    torch.use_deterministic_algorithms(True)
    trainer = Trainer(settings())
    while trainer.at["epoch"] < trainer.args.epochs:
        if not trainer.train_epoch():
            print(f"stopped at step {trainer.at['step']}, checkpoint saved", flush=True)
            trainer.leave()
            sys.exit(128 + signal.SIGTERM)
        trainer.test()
        trainer.save()
    if trainer.rank == 0:
        output = folder("SYNOR_OUTPUT_DIR", "output")
        torch.save(trainer.model.state_dict(), output / "model.pt")
        result = {name: trainer.at[name] for name in ("test_accuracy", "step", "epoch")}
        (output / "metrics.json").write_text(json.dumps(result) + "\n")
        print(f"test accuracy {result['test_accuracy']:.4f}, model in {output}", flush=True)
    trainer.leave()


if __name__ == "__main__":
    main()
