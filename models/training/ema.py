"""Average of the generator's weights over its last iterations, which often draws better digits than the last weights.

The average is exponential (Yazici et al. 2018, arXiv 1806.04498). It starts at zero, like Adam's moments, so its bias
is known and is divided out (Kingma and Ba 2014, section 3). Training does not use it.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from models.networks.acgan import Generator

DECAY = 0.998  # per iteration; the average covers about the last 500
SETTLING_BATCHES = 10  # batches from which the moving statistics are computed


class Average:
    """Running average of a network's parameters, updated in place on their device."""

    def __init__(self, network: nn.Module, decay: float = DECAY) -> None:
        self.decay = decay
        self.parameters = dict(network.named_parameters())
        self.sums = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the network's current parameters."""
        torch._foreach_lerp_(
            list(self.sums.values()), list(self.parameters.values()), 1 - self.decay
        )  # as swa_utils does

    def of(self, updates: int) -> dict[str, Tensor]:
        """Return the averaged parameters by name, after this number of updates."""
        return {name: total / (1 - self.decay**updates) for name, total in self.sums.items()}

    def sums_of(self, averages: Mapping[str, Tensor], updates: int) -> dict[str, Tensor]:
        """Return the sums for which `of` returns these averages: its inverse."""
        return {name: averages[name] * (1 - self.decay**updates) for name in self.sums}


@torch.no_grad()
def averaged(
    generator: Generator, average: Average, updates: int, batches: Iterable[tuple[Tensor, Tensor]]
) -> Generator:
    """Return a generator with the averaged weights, in inference mode.

    The moving statistics of `generator` belong to other weights and make the average draw nothing recognisable, so they
    are recomputed from batches of noise (N, L) and labels (N,).
    """
    settled = copy.deepcopy(generator)
    settled.load_state_dict(average.of(updates), strict=False)
    norms = [module for module in settled.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    settled.train()
    for number, (noise, labels) in enumerate(batches, 1):
        for norm in norms:  # equal weight for all batches; momentum=None does that too, but reads from the device
            norm.momentum = 1 / number
        settled(noise, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return settled.eval()
