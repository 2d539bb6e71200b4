"""The candidates: `sharp`, and `sharp` with one change or several.

A change replaces fields of the recipe, of the configuration or of the objectives, the iteration, or the generator. The
product's own code does everything else.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import NUM_CLASSES
from models.networks.acgan import Generator
from models.training.ema import Average
from models.training.iteration import Iteration
from models.training.losses import (
    Objective,
    real_log_odds,
    real_or_fake,
    told_apart,
    two_sided_generator_objective,
)
from models.training.optimizers import set_rate

TRANSLATION = 3  # pixels, at most, in each direction
BACKGROUND = -1.0
SMOOTHING = 0.1
DIVERSITY = 0.1  # weight of the term
MOST_WEIGHT = 3.0  # of an image, and the inverse of the least
LATE = 0.85  # of the first rate: in the last two fifths of a run
LONG_DECAY = 0.9995  # the average covers about the last 2,000 iterations


class Candidate(NamedTuple):
    about: str
    recipe: dict[str, Any] = {}  # noqa: RUF012 - never changed
    objectives: dict[str, Any] = {}  # noqa: RUF012 - never changed
    iteration: type[Iteration] = Iteration
    generator: Callable[..., Generator] = Generator
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed


# ----------------------------------------------------------------------------
# The discriminator sees translated images (DiffAugment, Zhao et al. 2020, arXiv 2006.10738).


def translate(images: Tensor, offsets: Tensor) -> Tensor:
    """Move images (N, 1, H, W) by offsets (N, 2), rows and columns in pixels of at most TRANSLATION each."""
    size = images.shape[-1]
    padded = F.pad(images, [TRANSLATION] * 4, value=BACKGROUND)
    steps = torch.arange(size, device=images.device)
    rows, columns = (TRANSLATION + steps + offsets[:, axis, None] for axis in (0, 1))
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[numbers, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


class Translated(Iteration):
    """Translates all images that the discriminator sees in training; an image's neighbour moves with it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.offsets: Tensor | None = None  # of the images of this discriminator step
        self.discriminator.register_forward_pre_hook(self._translate)

    def _translate(self, network: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        if not network.training:
            return None
        images = args[0]
        if self.offsets is None or len(self.offsets) < len(images):
            shape = len(images), 2
            self.offsets = torch.randint(-TRANSLATION, TRANSLATION + 1, shape, device=images.device)
        return (translate(images, self.offsets[: len(images)]),)

    def discriminator_step(self, images: Tensor, labels: Tensor, noise: Tensor, fake_labels: Tensor) -> Tensor:
        self.offsets = None
        return super().discriminator_step(images, labels, noise, fake_labels)

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        self.offsets = None
        return super().generator_step(noise, labels)


# ----------------------------------------------------------------------------
# Other generators.


class AdditiveGenerator(Generator):
    """Adds a second embedding of the class to the product, so that a class also has a place of its own."""

    def __init__(self, latent_size: int = 100, classes: int = NUM_CLASSES) -> None:
        super().__init__(latent_size, classes)
        self.place = nn.Embedding(classes, latent_size)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """(N, L), (N,) -> (N, 1, 28, 28)."""
        return decode(self, noise * self.embedding(labels) + self.place(labels))


class ConditionalNormGenerator(Generator):
    """Scales and shifts the normalised maps for each class (de Vries et al. 2017, arXiv 1707.00683)."""

    def __init__(self, latent_size: int = 100, classes: int = NUM_CLASSES) -> None:
        super().__init__(latent_size, classes)
        self.scale_7, self.shift_7 = nn.Embedding(classes, 192), nn.Embedding(classes, 192)
        self.scale_14, self.shift_14 = nn.Embedding(classes, 96), nn.Embedding(classes, 96)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """(N, L), (N,) -> (N, 1, 28, 28)."""
        factors = [1 + self.scale_7(labels), 1 + self.scale_14(labels)]
        return decode(self, noise * self.embedding(labels), factors, [self.shift_7(labels), self.shift_14(labels)])


def decode(
    generator: Generator, h: Tensor, factors: list[Tensor] | None = None, terms: list[Tensor] | None = None
) -> Tensor:
    """Upsample latents (N, L) to images (N, 1, 28, 28) as `Generator.forward`; `factors` and `terms` are (N, C)."""
    h = F.relu(generator.dense(h)).view(-1, 3, 3, 384).permute(0, 3, 1, 2)
    layers = ((generator.upsample_7, generator.norm_7), (generator.upsample_14, generator.norm_14))
    for number, (upsample, norm) in enumerate(layers):
        h = norm(F.relu(upsample(h)))
        if factors is not None and terms is not None:
            h = h * factors[number][:, :, None, None] + terms[number][:, :, None, None]
    return torch.tanh(generator.upsample_28(h))


# ----------------------------------------------------------------------------
# Other objectives and rates.


def smoothed(real_logits: Tensor, class_logits: Tensor, labels: Tensor) -> Objective:
    """The discriminator's objective with smoothed labels of both sides: (2B,), (2B, 2K), (2B,)."""
    targets = torch.cat((labels.chunk(2)[0], labels.chunk(2)[1] + class_logits.shape[1] // 2))
    of_all = F.cross_entropy(class_logits, targets, label_smoothing=SMOOTHING)
    return Objective(told_apart(real_logits), 2 * of_all)  # the mean over 2B, for the sum of two means over B


class Diverse(Iteration):
    """Rewards distance between two images of a class by distance of their noise (Mao et al. 2019, arXiv 1903.05628)."""

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        half = len(labels) // 2
        labels = torch.cat((labels[:half], labels[:half]))
        noise = noise[: 2 * half]
        self.generator.train()
        self.discriminator.train().requires_grad_(False)
        self.generator_adam.zero_grad()
        with self.autocast():
            images = self.generator(noise, labels)
            real_logits, class_logits = self.discriminator(images)
        objective = two_sided_generator_objective(real_logits, class_logits, labels, self.recipe.target)
        apart = (images[:half] - images[half:]).abs().mean((1, 2, 3)) / (noise[:half] - noise[half:]).abs().mean(1)
        (objective.loss - DIVERSITY * apart.float().mean()).backward()
        self.generator_adam.step()
        self.discriminator.requires_grad_(True)
        return objective.row()


def only_class(real_logits: Tensor, class_logits: Tensor, labels: Tensor, target: float = 1.0) -> Objective:
    """The generator's objective without the real-or-fake head: (N,), (N, 2K), (N,)."""
    whole = two_sided_generator_objective(real_logits, class_logits, labels, target)
    return Objective(0 * real_or_fake(real_logits, target), whole.auxiliary)


def covering(real_logits: Tensor, class_logits: Tensor, labels: Tensor, target: float = 1.0) -> Objective:
    """The generator's objective with more weight on images that look more real than others: (N,), (N, 2K), (N,).

    With equal weights, it minimises the reverse KL divergence, which tolerates missing images. Weights in proportion to
    the odds would make it the forward one (Poole et al. 2016, arXiv 1612.02780); here they are bounded.
    """
    odds = real_log_odds(class_logits, labels)
    weights = (odds - odds.mean()).detach().exp().clamp(1 / MOST_WEIGHT, MOST_WEIGHT)
    weights = weights / weights.mean()
    realness = F.binary_cross_entropy_with_logits(real_logits, torch.full_like(real_logits, target), weights)
    return Objective(realness, -(weights * odds).mean())


class LateBatches(Iteration):
    """Joins two batches to one once the rate is below LATE of its first value: fewer, less noisy steps."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.is_late = False
        self.first: tuple[Tensor, Tensor] | None = None

    def set_rate(self, lr: float) -> None:
        super().set_rate(lr)
        self.is_late = lr < LATE * self.config.adam_lr * self.recipe.lr_scale

    def __call__(self, pixels: Tensor, classes: Tensor) -> None:
        if not self.is_late:
            return super().__call__(pixels, classes)
        if self.first is None:
            self.first = pixels, classes
            return None
        joined = [torch.cat(pair) for pair in zip(self.first, (pixels, classes), strict=True)]
        self.first = None
        super().__call__(*joined)
        self.average.update()  # once for each batch: the average covers the same number of images as before
        return None


class LongAverage(Iteration):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.average = Average(self.generator, LONG_DECAY)


class TwoRates(Iteration):
    """The discriminator's rate is twice the generator's (Heusel et al. 2017, arXiv 1706.08500)."""

    def set_rate(self, lr: float) -> None:
        set_rate(self.generator_adam, lr)
        set_rate(self.discriminator_adam, 2 * lr)


CANDIDATES = {
    "sharp": Candidate("the recipe as it is"),
    "translation": Candidate(
        f"the discriminator sees images moved by up to {TRANSLATION} pixels", iteration=Translated
    ),
    "additive": Candidate("an additive embedding beside the product", generator=AdditiveGenerator),
    "conditional norm": Candidate("class-conditional batch normalisation", generator=ConditionalNormGenerator),
    "long average": Candidate("an average over about 2,000 iterations", iteration=LongAverage),
    "covering": Candidate(
        "a generator's objective closer to the forward KL divergence", objectives={"generator": covering}
    ),
    "small batches": Candidate("batches of 50 images: the number of steps doubles", config={"batch_size": 50}),
    "doubled rate": Candidate("twice the rate of both networks", {"lr_scale": 4.0}),
    "late batches": Candidate("batches of twice the size in the last two fifths", iteration=LateBatches),
    "flatness 0.03": Candidate("three times the gradient penalty", {"flatness": 0.03}),
    "flatness 0.003": Candidate("a third of the gradient penalty", {"flatness": 0.003}),
    "diversity": Candidate("a term for the distance of two images of a class", iteration=Diverse),
    "two rates": Candidate("a doubled rate of the discriminator", iteration=TwoRates),
    "smoothing": Candidate(
        f"labels of the two-sided head smoothed by {SMOOTHING}", objectives={"discriminator": smoothed}
    ),
    "class head only": Candidate("no realness term in the generator's step", objectives={"generator": only_class}),
    "distortion": Candidate(
        "half of the real images are rotated, scaled, slanted and shifted a little",
        {"distorted_share": 0.5, "most_distortion": (0.8, 0.8, 0.8, 0.8, 0.4, 0.4)},
    ),
    "doubled fakes": Candidate("two batches of fakes in a generator step", {"generator_batches": 2}),
}


def candidate(name: str) -> Candidate:
    """Return a candidate, or several in one: `small batches + covering` has both changes.

    Raises ValueError if a name is unknown, or if two candidates change the same thing.
    """
    names = name.split(" + ")
    if unknown := [each for each in names if each not in CANDIDATES]:
        raise ValueError(f"{unknown[0]!r} is no candidate: choose from {', '.join(CANDIDATES)}")
    return functools.reduce(_together, (CANDIDATES[each] for each in names))


def _together(first: Candidate, second: Candidate) -> Candidate:
    fields: dict[str, Any] = {}
    for field in ("recipe", "objectives", "config"):
        changes = getattr(first, field), getattr(second, field)
        if changes[0].keys() & changes[1].keys():
            raise ValueError(f"both change the {field}: {first.about}; {second.about}")
        fields[field] = changes[0] | changes[1]
    for field, unchanged in (("iteration", Iteration), ("generator", Generator)):
        kinds = {getattr(first, field), getattr(second, field)} - {unchanged}
        if len(kinds) > 1:
            raise ValueError(f"both change the {field}: {first.about}; {second.about}")
        fields[field] = kinds.pop() if kinds else unchanged
    return Candidate(f"{first.about}; {second.about}", **fields)
