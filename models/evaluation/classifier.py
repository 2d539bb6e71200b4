"""A small classifier of images. Judges are such classifiers, and so are the pupils trained on generated digits."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import NUM_CLASSES
from models.data.dataset import to_unit_range
from models.data.distortion import DISTORTIONS, warp
from models.networks.cuda_graph import CudaGraphStep
from models.networks.precision import autocast, settle_precision

Role = Literal["reporting", "choosing"]
Check = Callable[[], None]  # raises if the training must stop

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
    """Maps images (N, 1, 28, 28) in [-1, 1] to features (N, F), after the last ReLU, and class logits (N, K)."""

    def __init__(self, role: Role = "reporting", classes: int = NUM_CLASSES) -> None:
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
        self.classify = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.look(images)
        return features, self.classify(features)


# ----------------------------------------------------------------------------
# Training. The same recipe trains judges on real digits and pupils on generated ones (GAN-train).


def train(
    classifier: Classifier,
    pixels: Tensor,
    labels: Tensor,
    seed: int,
    epochs: int | None = None,
    batch: int = BATCH,
    augment: bool = True,
    check: Check = lambda: None,
) -> Classifier:
    """Train a classifier on digits, uint8 (N, 28, 28), and their classes (N,), on the device of the digits.

    Uses AdamW with a learning rate that rises and falls once (Smith and Topin 2017, arXiv 1708.07120). With `augment`,
    each digit is rotated, scaled, slanted and shifted a little. `seed` determines weights and random numbers. Before
    each batch, `check` is called; what it raises ends the training.
    """
    training = ClassifierTraining(classifier, pixels, labels, seed, epochs or EPOCHS, batch, augment)
    for _ in range(training.epochs):
        training.train_epoch(check)
    training.graphs.clear()  # otherwise garbage collection frees this cycle, possibly during another capture
    return classifier.eval()


class ClassifierTraining:
    """The training of one classifier; see `train`.

    On a GPU the forward and backward passes of a batch are one CUDA graph, one for each length of batch. AdamW's step
    follows the graph as a separate kernel: the schedule changes learning rate and momentum at every step, and a graph
    would keep the momentum of its capture.
    """

    def __init__(
        self, classifier: Classifier, pixels: Tensor, labels: Tensor, seed: int, epochs: int, batch: int, augment: bool
    ) -> None:
        self.classifier, self.pixels, self.labels = classifier, pixels, labels
        self.epochs, self.batch, self.augment = epochs, batch, augment
        self.device = pixels.device
        self.precision = settle_precision("auto", self.device)
        self.random = torch.Generator().manual_seed(seed)  # on the CPU: the same numbers for every device
        initialize(classifier, seed)
        classifier.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.parameters = list(classifier.parameters())
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.adam = torch.optim.AdamW(self.parameters, lr=PEAK_LR, weight_decay=0.01, fused=True)
        steps = epochs * math.ceil(len(labels) / batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.adam, PEAK_LR, total_steps=steps, pct_start=0.2)
        self.uses_graphs = self.device.type == "cuda"
        self.graphs: dict[int, CudaGraphStep] = {}  # by length of batch: an epoch's last may be shorter

    def train_epoch(self, check: Check = lambda: None) -> None:
        for batch in self.draw_batches():
            check()
            self.step(*batch)

    def draw_batches(self) -> list[tuple[Tensor, ...]]:
        """Draw an epoch: for each batch the indices (n,) of its digits and, with `augment`, their distortions (6, n).

        The numbers are drawn on the CPU and moved to the device once.
        """
        order = torch.randperm(len(self.labels), generator=self.random)
        batches = [order.to(self.device).split(self.batch)]
        if self.augment:
            sizes = [len(part) for part in order.split(self.batch)]
            distortions = [torch.rand(DISTORTIONS, size, generator=self.random) * 2 - 1 for size in sizes]
            batches.append(torch.cat(distortions, 1).to(self.device).split(self.batch, 1))
        return list(zip(*batches, strict=True))

    def step(self, *batch: Tensor) -> None:
        """Train on one batch of `draw_batches`."""
        self.gradients_of(len(batch[0]))(*batch)
        self.adam.step()
        self.schedule.step()

    def gradients_of(self, length: int) -> Callable[..., None]:
        """Return `compute_gradients`, as a CUDA graph if there is a GPU."""
        if not self.uses_graphs:
            return self.compute_gradients
        if length not in self.graphs:
            changes = [*self.classifier.buffers(), *self.gradients]
            self.graphs[length] = CudaGraphStep(self.compute_gradients, changes, self.device)
        return self.graphs[length]

    def compute_gradients(self, indices: Tensor, distortions: Tensor | None = None) -> None:
        """Compute the gradients of the mean loss over digits `indices` (n,), into the parameters' `grad`."""
        images = to_unit_range(self.pixels[indices])
        if distortions is not None:
            images = warp(images, distortions)
        with autocast(self.precision, self.device):
            _, logits = self.classifier(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), self.labels[indices].long())
        torch._foreach_copy_(self.gradients, torch.autograd.grad(loss, self.parameters))

    @property
    def gradients(self) -> list[Tensor]:
        """The parameters' gradients, which keep their addresses: graphs write to them."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]


def initialize(classifier: Classifier, seed: int) -> None:
    """Reset all weights to random values that depend on the seed only."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for layer in classifier.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()


# ----------------------------------------------------------------------------
# Classification.


@dataclass(frozen=True)
class Looks:
    """Output of a classifier: features, float32 (N, F), and the probabilities of the classes (N, K)."""

    features: Tensor
    probabilities: Tensor

    @property
    def classes(self) -> Tensor:
        return self.probabilities.argmax(1)


@torch.inference_mode()
def look(classifier: Classifier, pixels: Tensor, check: Callable[[], None] = lambda: None) -> Looks:
    """Classify digits, uint8 (N, 28, 28), on the classifier's device, always in float32."""
    device = next(classifier.parameters()).device
    seen = []
    for part in pixels.to(device).split(LOOKING_BATCH):
        check()
        seen.append(classifier(to_unit_range(part)))
    features, logits = (torch.cat(parts).float() for parts in zip(*seen, strict=True))
    return Looks(features, logits.softmax(1))


def accuracy(classifier: Classifier, pixels: Tensor, labels: Tensor, check: Callable[[], None] = lambda: None) -> float:
    """Return the share of digits that are classified correctly, 0-1."""
    classes = look(classifier, pixels, check).classes
    return float((classes == labels.to(classes.device)).float().mean())
