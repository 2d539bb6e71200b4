"""The two objectives of the Auxiliary Classifier GAN (Odena, Olah, Shlens 2016, arXiv 1610.09585), as pure functions.

Both work on logits. D(x) is the probability that x is real, C(x) the distribution over its class.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SOFT_ONE = 0.95  # one-sided label smoothing, Salimans et al. 2016 (arXiv 1606.03498), section 3.4


class Objective(NamedTuple):
    """The two terms of a loss, scalar tensors in nats; what is minimised is their sum."""

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
# Discriminator step: tell real from fake, and name the class of what is real.
#     L_D = 1/2 BCE(D(x_real), 0.95) + 1/2 BCE(D(x_fake), 0) + CE(C(x_real), y)
# The class of a fake has weight 0, that of a real image weight 2: over the whole
# batch of 2B that is the mean over the B real images.


def discriminator_objective(real_logits: Tensor, class_logits: Tensor, labels: Tensor) -> Objective:
    """Score one batch of real images followed by as many fakes.

    Args:
        real_logits: (2B,), the real half first.
        class_logits: (2B, 10).
        labels: (B,) classes of the real images, 0-9.
    """
    batch = labels.shape[0]
    on_real, on_fake = real_logits.float().split(batch)  # (B,), (B,)
    generation = (real_or_fake(on_real, SOFT_ONE) + real_or_fake(on_fake, 0.0)) / 2
    return Objective(generation, F.cross_entropy(class_logits[:batch].float(), labels))


# ----------------------------------------------------------------------------
# Generator step: be taken for real, and be recognised as the class that was asked for.
#     L_G = BCE(D(G(z, y)), 0.95) + CE(C(G(z, y)), y)


def generator_objective(
    real_logits: Tensor, class_logits: Tensor, labels: Tensor, target: float = SOFT_ONE
) -> Objective:
    """Score N fakes by how real they look and whether their class (N,) is recognised.

    The target is 0.95 in training and 1 in evaluation (seed: `trick`).
    """
    return Objective(real_or_fake(real_logits.float(), target), F.cross_entropy(class_logits.float(), labels))


# ----------------------------------------------------------------------------
# Evaluation of the discriminator: targets 1 and 0, and the class of every image, real or fake, unweighted.


def discriminator_test_objective(
    real_logits: Tensor, class_logits: Tensor, labels: Tensor, is_real: Tensor
) -> Objective:
    """Score N images with targets `is_real` (N,) in {0, 1} and classes `labels` (N,)."""
    generation = F.binary_cross_entropy_with_logits(real_logits.float(), is_real.float())
    return Objective(generation, F.cross_entropy(class_logits.float(), labels))
