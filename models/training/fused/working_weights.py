"""Parameters in the form that a training step on a GPU uses: in its precision, padded with zeros, or joined.

Autocast converts each weight whenever it is used, in 59 small kernels an iteration. Here one kernel converts all
weights of a network after they have changed, and one kernel converts all gradients back.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from types import EllipsisType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Index = tuple[EllipsisType | slice, ...]
WHOLE: Index = (...,)
PADDED: Index = (..., slice(1, None), slice(1, None))


class Part(NamedTuple):
    """`tensors[name][where]` holds the values of `parameter`."""

    name: str
    where: Index
    parameter: nn.Parameter


class WorkingWeights:
    """Tensors by name, which a step differentiates with respect to; `refresh` copies the parameters into them.

    Args:
        network: its parameters keep their precision, layout and names.
        dtype: of the working tensors.
        full_precision: modules whose parameters are used as they are.
        padded: convolutions whose kernels (..., k, k) become (..., k + 1, k + 1), with zeros above and on the left.
        joined: linear layers that become one layer, "joined", in full precision, by concatenating their rows.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        full_precision: Collection[str] = (),
        padded: Collection[str] = (),
        joined: Collection[str] = (),
    ) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.parts: list[Part] = []
        for name, parameter in network.named_parameters():
            module, _, kind = name.rpartition(".")
            if module in joined:
                continue
            if module in padded and kind == "weight":
                kernel = F.pad(parameter.detach().to(dtype), (1, 0, 1, 0))
                self.add(name, kernel.clone(memory_format=torch.channels_last), [Part(name, PADDED, parameter)])
            elif module in full_precision or parameter.dtype == dtype:
                self.tensors[name] = parameter
                self.parts.append(Part(name, WHOLE, parameter))
            else:
                self.add(name, parameter.detach().to(dtype), [Part(name, WHOLE, parameter)])
        for kind in ("weight", "bias") if joined else ():
            name, rows = f"joined.{kind}", [network.get_parameter(f"{module}.{kind}") for module in joined]
            starts = [sum(len(row) for row in rows[:i]) for i in range(len(rows))]
            parts = [Part(name, (slice(start, start + len(p)),), p) for start, p in zip(starts, rows, strict=True)]
            self.add(name, torch.cat([row.detach() for row in rows]), parts)
        self.gradients = {part.parameter: torch.zeros_like(part.parameter) for part in self.parts}

    def add(self, name: str, working: Tensor, parts: list[Part]) -> None:
        self.tensors[name] = working.requires_grad_()
        self.parts += parts

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def detached(self) -> dict[str, Tensor]:
        """Return the working tensors as constants, for a step that does not train this network."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the parameters' values into the working tensors."""
        changed = [part for part in self.parts if self.tensors[part.name] is not part.parameter]
        copy_all((self.tensors[part.name][part.where], part.parameter) for part in changed)

    @torch.no_grad()
    def differentiate(self, outputs: Tensor, gradient: Tensor) -> None:
        """Set every parameter's `grad`, given the loss's gradient with respect to the outputs."""
        found = dict(
            zip(self.tensors, torch.autograd.grad(outputs, list(self.tensors.values()), gradient), strict=True)
        )
        copies = []
        for part in self.parts:
            gradient = found[part.name][part.where]
            if gradient.dtype == part.parameter.dtype and gradient.stride() == part.parameter.stride():
                part.parameter.grad = gradient
            else:
                part.parameter.grad = self.gradients[part.parameter]
                copies.append((part.parameter.grad, gradient))
        copy_all(copies)


def copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy the second tensor of each pair into the first, in one kernel for pairs of the same precision and layout."""
    groups: dict[object, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for target, source in pairs:
        same_layout = target.stride() == source.stride()
        groups[target.dtype, source.dtype, same_layout or id(target)].append((target, source))
    for group in groups.values():
        if len(group) == 1:
            group[0][0].copy_(group[0][1])
        else:
            targets, sources = zip(*group, strict=True)
            torch._foreach_copy_(targets, sources)
