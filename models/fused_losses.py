"""The objectives of `losses` with their gradients in closed form, for all logits of a step at once.

Logits are (N, 1 + C): D's, then the classes'. Labels are rows of an identity matrix, y (N, 10). With p the sigmoid of
D's logit z, t its target and q the softmax of the class logits c:

    generation   mean of -t log p - (1 - t) log (1 - p)     gradient (p - t) / N with respect to z
    auxiliary    mean of -y . log q                         gradient (q - y) / N with respect to c
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses import NEARBY, SOFT_ONE


class Score(NamedTuple):
    """A loss: the row (3,) of loss, generation and auxiliary, and the gradient (N, 1 + C) of the logits."""

    row: Tensor
    gradient: Tensor


def discriminator_score(logits: Tensor, real: Tensor, fake: Tensor, gp_weight: float) -> Score:
    """Score B real images, then B fakes, whose classes do not count: logits (2B, 11), real and fake labels (B, 10)."""
    batch, gradient = len(real), torch.zeros_like(logits)
    generation = discriminate(logits, batch, gradient)
    auxiliary = classify(logits[:batch, 1:], real, gradient[:batch, 1:])
    return Score(make_row(generation, auxiliary), gradient)


def generator_score(logits: Tensor, labels: Tensor, target: float) -> Score:
    """Score N fakes that should pass for real and for their class: logits (N, 11), labels (N, 10)."""
    gradient = torch.empty_like(logits)
    generation = tell_apart(logits[:, 0], torch.full_like(logits[:, 0], target), gradient[:, 0])
    return Score(make_row(generation, classify(logits[:, 1:], labels, gradient[:, 1:])), gradient)


# ----------------------------------------------------------------------------
# Two classes for each digit, a real and a generated one (ADC-GAN), and the penalty on the slope at real images:
# mean of |f(x) - f(x')|^2 / NEARBY^2 over neighbours x' of real images x, with f D's logit and the real log-odds
# c[y] - c[10 + y].


def adc_discriminator_score(logits: Tensor, real: Tensor, fake: Tensor, gp_weight: float) -> Score:
    """Score B real images, B fakes and B neighbours of the real ones: logits (3B, 21), labels (B, 10) each."""
    batch, gradient = len(real), torch.zeros_like(logits)
    generation = discriminate(logits, batch, gradient)
    none = torch.zeros_like(real)
    sides = torch.cat((torch.cat((real, none), 1), torch.cat((none, fake), 1)))  # (2B, 20)
    auxiliary = classify(logits[: 2 * batch, 1:], sides, gradient[: 2 * batch, 1:], batch)

    signs = torch.cat((real, -real), 1)  # (B, 20)
    difference = logits[:batch] - logits[2 * batch :]  # (B, 21)
    log_odds = (difference[:, 1:] * signs).sum(1, keepdim=True)  # (B, 1)
    slope = torch.cat((difference[:, :1], log_odds * signs), 1)  # (B, 21)
    slope *= gp_weight / (batch * NEARBY**2)
    gradient[:batch] += slope
    torch.neg(slope, out=gradient[2 * batch :])
    return Score(make_row(generation, auxiliary), gradient)


def adc_generator_score(logits: Tensor, labels: Tensor, target: float) -> Score:
    """Score N fakes: logits (N, 21), labels (N, 10). The auxiliary term is the mean log-odds of "generated"."""
    gradient = torch.empty_like(logits)
    generation = tell_apart(logits[:, 0], torch.full_like(logits[:, 0], target), gradient[:, 0])
    torch.div(torch.cat((-labels, labels), 1), len(labels), out=gradient[:, 1:])
    auxiliary = (logits[:, 1:] * gradient[:, 1:]).sum()
    return Score(make_row(generation, auxiliary), gradient)


# ----------------------------------------------------------------------------
# The terms. Each returns its value and writes its gradient.


def discriminate(logits: Tensor, batch: int, gradient: Tensor) -> Tensor:
    """Mean cross-entropy of B real images against 0.95 and B fakes against 0."""
    targets = logits.new_zeros(2 * batch)
    targets[:batch].fill_(SOFT_ONE)
    return tell_apart(logits[: 2 * batch, 0], targets, gradient[: 2 * batch, 0])


def tell_apart(z: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
    torch.div(z.sigmoid() - targets, len(z), out=gradient)
    return F.binary_cross_entropy_with_logits(z, targets)


def classify(c: Tensor, y: Tensor, gradient: Tensor, divisor: int = 0) -> Tensor:
    """Cross-entropy of classes, summed over the rows and divided by `divisor`, or else by their number."""
    log_q, n = c.log_softmax(1), divisor or len(y)
    torch.div(log_q.exp() - y, n, out=gradient)
    return (log_q * y).sum() / -n


def make_row(generation: Tensor, auxiliary: Tensor) -> Tensor:
    return torch.stack((generation + auxiliary, generation, auxiliary))
