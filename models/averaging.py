"""An average of the generator's weights over its last iterations, which draws better than the weights of any one.

It is exponential (Yazici et al. 2018, arXiv 1806.04498) and begins at zero, like Adam's moments, so that what it lacks
at the start is known and divided out (Kingma and Ba 2014, section 3). The training never looks at it.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.networks import Generator

DECAY = 0.998  # an iteration; the average reaches back over the last 500 or so
SETTLING_BATCHES = 10  # that settle the moving statistics


class Average:
    """The running average of a network's parameters, in place, beside them on their device."""

    def __init__(self, network: nn.Module, decay: float = DECAY) -> None:
        self.decay = decay
        self.parameters = dict(network.named_parameters())
        self.sums = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network as it is now."""
        torch._foreach_lerp_(
            list(self.sums.values()), list(self.parameters.values()), 1 - self.decay
        )  # as swa_utils does

    def of(self, updates: int) -> dict[str, Tensor]:
        """Return the averaged parameters by name, after so many updates."""
        return {name: total / (1 - self.decay**updates) for name, total in self.sums.items()}


@torch.no_grad()
def averaged(
    generator: Generator, average: Average, updates: int, batches: Iterable[tuple[Tensor, Tensor]]
) -> Generator:
    """Make a generator of averaged weights, in inference mode.

    The moving statistics belong to other weights, and with them it draws nothing at all: they are taken anew from
    batches of noise (N, L) and labels (N,).
    """
    settled = copy.deepcopy(generator)
    settled.load_state_dict(average.of(updates), strict=False)
    norms = [module for module in settled.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    settled.train()
    for number, (noise, labels) in enumerate(batches, 1):
        for norm in norms:  # all batches count alike, as with momentum=None, which reads its counter from the device
            norm.momentum = 1 / number
        settled(noise, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return settled.eval()
