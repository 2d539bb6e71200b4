"""A small classifier of digits: what judges are, and the pupils that a generator's digits teach."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.acceleration import autocast, settle_precision
from models.config import NUM_CLASSES
from models.data import to_unit_range

Role = Literal["reporting", "choosing"]

# Convolutions as (kernel, stride, channels), each followed by batch normalisation and ReLU; None halves the map.
Layer = tuple[int, int, int] | None
SHAPES: dict[Role, tuple[Layer, ...]] = {
    "reporting": ((3, 1, 16), None, (3, 1, 32), (3, 1, 32), None, (3, 1, 64), (3, 1, 64)),
    "choosing": ((5, 2, 24), (3, 1, 48), None, (3, 1, 96), (3, 1, 64)),
}

EPOCHS = 11
BATCH = 100
PEAK_LR = 4e-3
LOOKING_BATCH = 500


class Classifier(nn.Module):
    """images (N, 1, 28, 28) in [-1, 1] -> features (N, F), after the last ReLU, and class logits (N, 10)."""

    def __init__(self, role: Role = "reporting") -> None:
        super().__init__()
        layers, before = list[nn.Module](), 1
        for shape in SHAPES[role]:
            if shape is None:
                layers.append(nn.MaxPool2d(2))
                continue
            kernel, stride, width = shape
            convolution = nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.look = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(before, NUM_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.look(images)
        return features, self.classify(features)


# ----------------------------------------------------------------------------
# Training. The same recipe makes the judges from real digits and a generator's pupils from its own (GAN-train).


def train(
    classifier: Classifier,
    pixels: Tensor,
    labels: Tensor,
    seed: int,
    epochs: int | None = None,
    batch: int = BATCH,
    augment: bool = True,
) -> Classifier:
    """Teach a classifier digits, uint8 (N, 28, 28), and their classes (N,), on the device that they are on.

    Adam with decoupled weight decay, its rate rising and falling once (Smith and Topin 2017, arXiv 1708.07120), on
    digits that are turned, scaled, slanted and shifted a little.
    """
    device, epochs = pixels.device, epochs or EPOCHS
    precision = settle_precision("auto", device)
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for layer in classifier.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()
    classifier.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = epochs * math.ceil(len(labels) / batch)
    adam = torch.optim.AdamW(classifier.parameters(), lr=PEAK_LR, weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, PEAK_LR, total_steps=steps, pct_start=0.2)
    for _ in range(epochs):
        for here in torch.randperm(len(labels), generator=draws).split(batch):
            images = to_unit_range(pixels[here.to(device)])
            if augment:
                images = warp(images, draws)
            with autocast(precision, device):
                _, logits = classifier(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[here.to(device)].long())
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
    return classifier.eval()


def warp(images: Tensor, draws: torch.Generator) -> Tensor:
    """Turn (15 degrees at most), scale and slant (by 0.15), and shift (by 2 pixels) each image at random."""
    n, device = len(images), images.device
    angle, scale_x, scale_y, slant, x, y = (torch.rand(6, n, generator=draws) * 2 - 1).to(device)
    angle, slant = angle * math.radians(15), slant * 0.15
    cos, sin = torch.cos(angle), torch.sin(angle)
    scale_x, scale_y = 1 + 0.15 * scale_x, 1 + 0.15 * scale_y
    first = torch.stack((scale_x * cos, scale_y * (slant * cos - sin), x / 7), 1)
    second = torch.stack((scale_x * sin, scale_y * (slant * sin + cos), y / 7), 1)
    grid = F.affine_grid(torch.stack((first, second), 1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # what comes in from outside is background


# ----------------------------------------------------------------------------
# Looking.


@dataclass(frozen=True)
class Looks:
    """What a classifier sees: features float32 (N, F) and the probabilities of the classes (N, 10)."""

    features: Tensor
    probabilities: Tensor

    @property
    def classes(self) -> Tensor:
        return self.probabilities.argmax(1)


@torch.inference_mode()
def look(classifier: Classifier, pixels: Tensor) -> Looks:
    """Look at digits, uint8 (N, 28, 28), in float32, so that figures do not hang on a device's precision."""
    device = next(classifier.parameters()).device
    seen = [classifier(to_unit_range(part.to(device))) for part in pixels.split(LOOKING_BATCH)]
    features, logits = (torch.cat(parts).float() for parts in zip(*seen, strict=True))
    return Looks(features, logits.softmax(1))


def accuracy(classifier: Classifier, pixels: Tensor, labels: Tensor) -> float:
    """The share of digits whose class is told right, 0-1."""
    classes = look(classifier, pixels).classes
    return float((classes == labels.to(classes.device)).float().mean())
