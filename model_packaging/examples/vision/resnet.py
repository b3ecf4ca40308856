"""A small residual network built by code. Its weights come from a fixed seed: it shows packaging, it knows nothing.

Its normalisation layers take their statistics from the samples, as training would have left them, so that activations
are of the size that they have in a trained network, and quantization is judged on realistic ranges.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from model_packaging.sources import Entry

CLASSES = 10
WIDTHS = (16, 32, 64, 128)
SEED = 20


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        same = before == after and stride == 1
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.first(image)) + self.skip(image))


class ResNet(nn.Module):
    """FP32 images [batch, 3, 96, 96] of 0 to 1 → LOGITS [batch, 10] and FEATURES [batch, 128]."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
        pairs = zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        self.body = nn.Sequential(stem, *(Block(before, after, 1 if before == after else 2) for before, after in pairs))
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(image).mean(dim=(2, 3))
        return self.head(features), features


def build() -> Entry:
    with np.load(Path(__file__).parent / "samples.npz", allow_pickle=False) as loaded:
        images = torch.from_numpy(loaded["image"]).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = ResNet()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = None
            model.train()(images)
    return Entry(model.eval(), [{"image": image.unsqueeze(0)} for image in images], output=("LOGITS", "FEATURES"))
