"""The two objectives of the Auxiliary Classifier GAN (Odena, Olah, Shlens 2016, arXiv 1610.09585), as pure functions.

Both work on logits, in float32. D(x) is the probability that x is real, C(x) the distribution over its class.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SOFT_ONE = 0.95  # one-sided label smoothing, Salimans et al. 2016 (arXiv 1606.03498), section 3.4


class Objective(NamedTuple):
    """The two terms of a loss, scalar tensors in nats. Training minimises their sum."""

    generation: Tensor
    auxiliary: Tensor

    @property
    def loss(self) -> Tensor:
        return self.generation + self.auxiliary

    def row(self) -> Tensor:
        """Stack as (3,): loss, generation, auxiliary, in the order of Keras' `metrics_names`."""
        return torch.stack((self.loss, self.generation, self.auxiliary)).detach()


# ----------------------------------------------------------------------------
# Binary cross-entropy between D's logits and one target for all of them.


def real_or_fake(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


# ----------------------------------------------------------------------------
# Discriminator step: distinguish real from fake, and classify the real images.
#     L_D = 1/2 BCE(D(x_real), 0.95) + 1/2 BCE(D(x_fake), 0) + CE(C(x_real), y)
# The class of a fake has weight 0, that of a real image weight 2: over the batch of 2B
# this gives the mean over the B real images.


def discriminator_objective(real_logits: Tensor, class_logits: Tensor, labels: Tensor) -> Objective:
    """Score one batch of real images followed by the same number of fakes.

    Args:
        real_logits: (2B,), the real half first.
        class_logits: (2B, K).
        labels: (2B,) classes; those of the fakes are ignored. (B,), for the real images only, is enough.
    """
    batch = len(real_logits) // 2
    on_class = F.cross_entropy(class_logits[:batch], labels[:batch])
    return Objective(told_apart(real_logits), on_class)


def told_apart(real_logits: Tensor) -> Tensor:
    on_real, on_fake = real_logits.chunk(2)  # (B,), (B,)
    return (real_or_fake(on_real, SOFT_ONE) + real_or_fake(on_fake, 0.0)) / 2


# ----------------------------------------------------------------------------
# Generator step: images pass for real, and are recognised as the requested class.
#     L_G = BCE(D(G(z, y)), 0.95) + CE(C(G(z, y)), y)


def generator_objective(
    real_logits: Tensor, class_logits: Tensor, labels: Tensor, target: float = SOFT_ONE
) -> Objective:
    """Score N fakes by how real they look and whether their class (N,) is recognised.

    The target is 0.95 in training and 1 in evaluation (original: `trick`).
    """
    return Objective(real_or_fake(real_logits, target), F.cross_entropy(class_logits, labels))


# ----------------------------------------------------------------------------
# Evaluation of the discriminator: targets 1 and 0, and the class of every image, real or fake, unweighted.


def discriminator_test_objective(
    real_logits: Tensor, class_logits: Tensor, labels: Tensor, is_real: Tensor
) -> Objective:
    """Score N images with targets `is_real` (N,) in {0, 1} and classes `labels` (N,)."""
    generation = F.binary_cross_entropy_with_logits(real_logits, is_real.float())
    return Objective(generation, F.cross_entropy(class_logits, labels))


# ----------------------------------------------------------------------------
# Two outputs for each class, a real and a generated one (ADC-GAN, Hou et al. 2021, arXiv 2107.10060).
#     L_D = 1/2 BCE(D(x_real), 0.95) + 1/2 BCE(D(x_fake), 0) + CE(C(x_real), y real) + CE(C(x_fake), y generated)
#     L_G = BCE(D(G(z, y)), 1) + log C(y generated | G(z, y)) - log C(y real | G(z, y))
# A generator that only maximises C(x) draws digits that are easy to classify. Here its gradient vanishes if
# real and generated digits of a class are alike. Outputs 0 to K - 1 are the real ones, K to 2 K - 1 the generated ones.


def two_sided_discriminator_objective(real_logits: Tensor, class_logits: Tensor, labels: Tensor) -> Objective:
    """Score B real images followed by B fakes: logits (2B,) and (2B, 2K), labels (2B,)."""
    on_real, on_fake = class_logits.chunk(2)  # (B, 2K), (B, 2K)
    of_real, of_fake = labels.chunk(2)
    auxiliary = F.cross_entropy(on_real, of_real) + F.cross_entropy(on_fake, of_fake + class_logits.shape[1] // 2)
    return Objective(told_apart(real_logits), auxiliary)


def two_sided_generator_objective(
    real_logits: Tensor, class_logits: Tensor, labels: Tensor, target: float = 1.0
) -> Objective:
    """Score N fakes; the auxiliary term is below 0 if they are classified as real digits of their class (N,)."""
    return Objective(real_or_fake(real_logits, target), -real_log_odds(class_logits, labels).mean())


def real_log_odds(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-odds (N,) of "a real y" against "a generated y", from class logits (N, 2K)."""
    real, generated = class_logits.chunk(2, dim=1)
    return (real - generated).gather(1, labels.unsqueeze(1)).squeeze(1)


def two_sided_test_objective(real_logits: Tensor, class_logits: Tensor, labels: Tensor, is_real: Tensor) -> Objective:
    """Score N images with targets `is_real` (N,) in {0, 1} and `labels` (N,): fakes have the outputs from K."""
    sides = labels + torch.where(is_real.bool(), 0, class_logits.shape[1] // 2)
    generation = F.binary_cross_entropy_with_logits(real_logits, is_real.float())
    return Objective(generation, F.cross_entropy(class_logits, sides))


# ----------------------------------------------------------------------------
# Gradient penalty of the discriminator at real images (R1: Mescheder et al. 2018, arXiv 1801.04406): E |grad|^2. It
# keeps the discriminator from winning. Differences estimate it, without second derivatives (Lin et al. 2025, arXiv
# 2501.08316).

NEARBY = 0.02  # standard deviation of the noise that is added to an image to make its neighbour


def slope(here: Tensor, nearby: Tensor) -> Tensor:
    """Estimate a function's mean squared gradient from its values (N,) at images and at their neighbours."""
    return (here - nearby).square().mean() / NEARBY**2


# ----------------------------------------------------------------------------
# The objectives of a recipe.


class Objectives(NamedTuple):
    """The functions that score a batch, and the number of outputs that the auxiliary head has for each class."""

    sides: int
    discriminator: Callable[[Tensor, Tensor, Tensor], Objective]  # logits (2B,) and (2B, C), labels (2B,), real first
    generator: Callable[[Tensor, Tensor, Tensor, float], Objective]  # logits (N,) and (N, C), labels (N,), target
    test: Callable[[Tensor, Tensor, Tensor, Tensor], Objective]  # logits (N,) and (N, C), labels (N,), is_real (N,)


ONE_SIDED = Objectives(1, discriminator_objective, generator_objective, discriminator_test_objective)
TWO_SIDED = Objectives(2, two_sided_discriminator_objective, two_sided_generator_objective, two_sided_test_objective)
