"""Fashion-MNIST and a small CNN for it: 28 x 28 grey images of ten kinds of clothing."""
import gzip
import os
from pathlib import Path

import torch
from torch import nn


def load_split(prefix, device):
    """One half of the dataset: images uint8 [n,1,28,28], labels int64 [n]."""
    root = Path(os.environ.get("SYNOR_DATASET_DIR", "/usr/share/datasets/fashion-mnist"))

    def idx(kind, header):
        with gzip.open(root / f"{prefix}-{kind}-ubyte.gz") as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)[header:].to(device)

    return idx("images-idx3", 16).view(-1, 1, 28, 28), idx("labels-idx1", 8).long()


def normalize(images):
    return ((images.float() / 255 - 0.286) / 0.353).contiguous(memory_format=torch.channels_last)


def random_flip(images):
    mirrored = (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
    return torch.where(mirrored, images.flip(3), images)


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
    ).to(memory_format=torch.channels_last)
