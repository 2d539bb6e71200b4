"""The layers of the original Keras script as Keras stores them, and how a file's groups of arrays are matched to them.

Keras numbers the layers of a process, nests them in models and lists trainable weights first or not, so neither names
nor order identify a layer. But one group holds all weights of a layer, and no two layers have the same kinds and
shapes. Keras 2, and `save` of Keras 3, name a layer's weights by kind (.../dense_1/kernel:0); `save_weights` of
Keras 3 numbers them (.../dense/vars/0).
"""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from models.config import MOST_CLASSES, NUM_CLASSES
from models.interop.hdf5 import StoredArray
from models.networks.acgan import Discriminator, Generator


class KerasWeight(NamedTuple):
    """A tensor's layer and kind in Keras, and the order of its axes: ours = theirs.transpose(axes)."""

    ours: str
    layer: str
    kind: str
    axes: tuple[int, ...]


DENSE = (1, 0)  # (in, out) -> (out, in)
CONV = (3, 2, 0, 1)  # (height, width, in, out) -> (out, in, height, width)
CONV_TRANSPOSE = (3, 2, 0, 1)  # (height, width, out, in) -> (in, out, height, width)
VECTOR = (0,)


def _layer(ours: str, keras: str, kernel_axes: tuple[int, ...]) -> list[KerasWeight]:
    return [
        KerasWeight(f"{ours}.weight", keras, "kernel", kernel_axes),
        KerasWeight(f"{ours}.bias", keras, "bias", VECTOR),
    ]


def _norm(ours: str, keras: str) -> list[KerasWeight]:
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return [KerasWeight(f"{ours}.{name}", keras, kind, VECTOR) for name, kind in names.items()]


GENERATOR = [
    KerasWeight("embedding.weight", "embedding_1", "embeddings", (0, 1)),
    *_layer("dense", "dense_1", DENSE),
    *_layer("upsample_7", "conv2d_transpose_1", CONV_TRANSPOSE),
    *_norm("norm_7", "batch_normalization_1"),
    *_layer("upsample_14", "conv2d_transpose_2", CONV_TRANSPOSE),
    *_norm("norm_14", "batch_normalization_2"),
    *_layer("upsample_28", "conv2d_transpose_3", CONV_TRANSPOSE),
]

DISCRIMINATOR = [
    *_layer("conv_1", "conv2d_1", CONV),
    *_layer("conv_2", "conv2d_2", CONV),
    *_layer("conv_3", "conv2d_3", CONV),
    *_layer("conv_4", "conv2d_4", CONV),
    *_layer("generation", "generation", DENSE),
    *_layer("auxiliary", "auxiliary", DENSE),
]


class Expected(NamedTuple):
    weight: KerasWeight
    shape: tuple[int, ...]  # in Keras


Layer = tuple[Expected, ...]  # its weights in Keras' order
Stored = dict[str, StoredArray]  # a group's arrays by kind, or by number

OLDER = "is of an older version of the script"
UPSAMPLING_UNITS = 1024  # of the first dense layer in the script of Keras 1 to 2.1.1
SQUARES = ((3, 3), (5, 5))  # the script's kernels


def pair(network: nn.Module, state: dict[str, Tensor]) -> Iterator[tuple[KerasWeight, Tensor]]:
    """List a network's tensors with their Keras weights, in Keras' order."""
    for weight in GENERATOR if isinstance(network, Generator) else DISCRIMINATOR:
        yield weight, state[weight.ours]


def keras_shape(weight: KerasWeight, tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[axis] for axis in np.argsort(weight.axes))


def layers_of(network: nn.Module) -> list[Layer]:
    pairs = [Expected(weight, keras_shape(weight, tensor)) for weight, tensor in pair(network, network.state_dict())]
    return [tuple(layer) for _, layer in groupby(pairs, key=lambda expected: expected.weight.layer)]


def match(layer: Layer, group: Stored) -> list[StoredArray] | None:
    """Return a group's arrays in the order of the layer's weights; None if the group is not this layer."""
    by_kind = [group.get(expected.weight.kind) for expected in layer]
    by_number = [group.get(str(number)) for number in range(len(layer))]
    for candidates in (by_kind, by_number if len(group) == len(layer) else []):
        arrays = [array for array in candidates if array is not None]
        if [array.shape for array in arrays] == [expected.shape for expected in layer]:
            return arrays
    return None


def embedding_shape(group: Stored) -> tuple[int, int] | None:
    """Return (classes, latent size) if the group may be an embedding."""
    array = group.get("embeddings") or (group.get("0") if len(group) == 1 else None)
    return (array.shape[0], array.shape[1]) if array is not None and len(array.shape) == 2 else None


def auxiliary_classes(groups: list[Stored], most: int) -> int | None:
    """Return the classes of the discriminator's layer `auxiliary`, 2 to `most`; None if no group may be this layer."""
    features = Discriminator().auxiliary.in_features
    shapes = {array.shape for group in groups for array in group.values()}
    counts = [shape[1] for shape in shapes if shape[:1] == (features,) and len(shape) == 2 and 2 <= shape[1] <= most]
    return NUM_CLASSES if NUM_CLASSES in counts else min(counts, default=None)


# ----------------------------------------------------------------------------
# Explanation of why a file is refused.


def explain(network: nn.Module, missing: list[Layer], groups: list[Stored]) -> str:
    """Return why a file's groups are not this network, as a phrase that follows the file's name."""
    shapes = {array.shape for group in groups for array in group.values()}
    kinds = {kind for group in groups for kind in group}
    name, other = ("generator", Discriminator()) if isinstance(network, Generator) else ("discriminator", Generator())
    if not shapes:
        return "holds no weights"
    if any(len(shape) == 2 and UPSAMPLING_UNITS in shape for shape in shapes):
        return f"{OLDER} (Keras 1 to 2.1.1: it upsamples instead of transposed convolutions), whose networks differ"
    if any(len(shape) == 4 and shape[2:] in SQUARES and shape[:2] not in SQUARES for shape in shapes):
        return f"{OLDER} (Keras 1 on Theano: another order of axes)"
    if all(layer[0].weight.kind == "gamma" for layer in missing) and "beta" not in kinds:
        return f"{OLDER} (no batch normalisation), whose networks differ"
    if shapes & kernels_of(other) and not shapes & kernels_of(network):
        return f"is not a {name} of the original script, but its {type(other).__name__.lower()}"
    classes = {group["embeddings"].shape[0] for group in groups if "embeddings" in group}
    if isinstance(network, Generator) and classes and not any(2 <= count <= MOST_CLASSES for count in classes):
        return (
            f"is not a generator of the original script: it has {min(classes)} classes instead of 2 to {MOST_CLASSES}"
        )
    weight, shape = missing[0][0]
    return f"is not a {name} of the original script: it holds no {weight.kind} of shape {shape} for {weight.ours}"


def kernels_of(network: nn.Module) -> set[tuple[int, ...]]:
    return {expected.shape for layer in layers_of(network) for expected in layer if len(expected.shape) == 4}
