"""The objectives of models/training/losses.py with their gradients in closed form, for all logits of a step at once.

Logits are (N, 1 + C): D's, then the classes'. Labels are rows of an identity matrix, y (N, K). With p the sigmoid of
D's logit z, t its target and q the softmax of the class logits c:

    generation   mean of -t log p - (1 - t) log (1 - p)     gradient (p - t) / N with respect to z
    auxiliary    mean of -y . log q                         gradient (q - y) / N with respect to c
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.losses import NEARBY, SOFT_ONE


class Score(NamedTuple):
    """A loss: the row (3,) of loss, generation and auxiliary, and the gradient (N, 1 + C) of the logits."""

    row: Tensor
    gradient: Tensor


def score_discriminator(logits: Tensor, real: Tensor, fake: Tensor, gp_weight: float, adc: bool) -> Score:
    """Score B real images followed by B fakes and, if `adc`, by B neighbours of the real images.

    Args:
        logits: (2B, 1 + K), or (3B, 1 + 2K) if `adc`.
        real: one-hot labels of the real images, (B, K).
        fake: of the fakes, (B, K). Ignored unless `adc`.
        gp_weight: weight of the gradient penalty; used with `adc` only.
        adc: whether there are two outputs for each class.
    """
    batch, gradient = len(real), torch.zeros_like(logits)
    targets = logits.new_zeros(2 * batch)
    targets[:batch].fill_(SOFT_ONE)
    generation = tell_apart(logits[: 2 * batch, 0], targets, gradient[: 2 * batch, 0])
    if adc:
        auxiliary = classify(logits[: 2 * batch, 1:], both_sides(real, fake), gradient[: 2 * batch, 1:], batch)
        add_penalty(logits, real, gradient, gp_weight)
    else:
        auxiliary = classify(logits[:batch, 1:], real, gradient[:batch, 1:], batch)
    return Score(make_row(generation, auxiliary), gradient)


def score_generator(logits: Tensor, labels: Tensor, target: float, adc: bool) -> Score:
    """Score N fakes by how real they look, with this target, and whether their class is recognised.

    Args:
        logits: (N, 1 + K), or (N, 1 + 2K) if `adc`.
        labels: one-hot, (N, K).
        target: of D's logit.
        adc: whether the auxiliary term is the mean log-odds of "generated" against "real".
    """
    gradient = torch.empty_like(logits)
    generation = tell_apart(logits[:, 0], torch.full_like(logits[:, 0], target), gradient[:, 0])
    if adc:
        torch.div(torch.cat((-labels, labels), 1), len(labels), out=gradient[:, 1:])
        auxiliary = (logits[:, 1:] * gradient[:, 1:]).sum()
    else:
        auxiliary = classify(logits[:, 1:], labels, gradient[:, 1:], len(labels))
    return Score(make_row(generation, auxiliary), gradient)


# ----------------------------------------------------------------------------
# The terms. Each returns its value and writes its gradient.


def tell_apart(z: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
    torch.div(z.sigmoid() - targets, len(z), out=gradient)
    return F.binary_cross_entropy_with_logits(z, targets)


def classify(c: Tensor, y: Tensor, gradient: Tensor, divisor: int) -> Tensor:
    log_q = c.log_softmax(1)
    torch.div(log_q.exp() - y, divisor, out=gradient)
    return (log_q * y).sum() / -divisor


def both_sides(real: Tensor, fake: Tensor) -> Tensor:
    """One-hot labels (2B, 2K) of two outputs for each class, first the K real ones, then the K generated ones."""
    none = torch.zeros_like(real)
    return torch.cat((torch.cat((real, none), 1), torch.cat((none, fake), 1)))


def add_penalty(logits: Tensor, real: Tensor, gradient: Tensor, weight: float) -> None:
    """Add the gradient of weight / 2 times the mean of |f(x) - f(x')|^2 / NEARBY^2.

    x are the real images, x' their neighbours, and f D's logit and the log-odds of "real" against "generated",
    c[y] - c[K + y].
    """
    batch = len(real)
    signs = torch.cat((real, -real), 1)  # (B, 2K)
    difference = logits[:batch] - logits[2 * batch :]  # (B, 1 + 2K)
    log_odds = (difference[:, 1:] * signs).sum(1, keepdim=True)  # (B, 1)
    slope = torch.cat((difference[:, :1], log_odds * signs), 1)  # (B, 1 + 2K)
    slope *= weight / (batch * NEARBY**2)
    gradient[:batch] += slope
    torch.neg(slope, out=gradient[2 * batch :])


def make_row(generation: Tensor, auxiliary: Tensor) -> Tensor:
    return torch.stack((generation + auxiliary, generation, auxiliary))
