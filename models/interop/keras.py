"""The weights files of the original Keras script: those of Keras 2 and 3 are read, those of Keras 2 are written.

models/interop/keras_3.py writes those of Keras 3.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import h5py
import numpy as np
import torch
from torch import Tensor

from models.bounded_reading import FileFault, printable
from models.config import MOST_CLASSES, NUM_CLASSES
from models.errors import InvalidInput
from models.interop.formats import NotConvertible
from models.interop.hdf5 import ArrayFile, StoredArray, open_arrays
from models.interop.keras_layers import (
    DISCRIMINATOR,
    GENERATOR,
    KerasWeight,
    Stored,
    auxiliary_classes,
    embedding_shape,
    explain,
    keras_shape,
    layers_of,
    match,
    pair,
)
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import LATENT_LIMIT

Network = TypeVar("Network", Generator, Discriminator)


DENSE_UNITS = 3 * 3 * 384  # of the generator's dense layer
DEFAULT_LATENT_SIZE = 100
COPIES_LIMIT = 8  # of the same network in a file


class KerasWeightsError(InvalidInput, code="invalid-keras-weights"):
    """The original script does not write such a file. The message names the file and the reason."""


# ----------------------------------------------------------------------------
# Reading.


def load_generator(path: str | Path) -> Generator:
    """Read a generator of the original script, with latents of 1 to 1000 numbers. Returns it in inference mode.

    The script's `num_classes` may be changed, to 2 to 100 classes.

    Reads files of `save_weights` and `save` of Keras 2 and 3, also of the combined model. Raises KerasWeightsError,
    which names the file.
    """
    with _open(path) as (file, groups):
        return _fill(Generator(*_sizes(file, groups)), file, groups)


def load_discriminator(path: str | Path) -> Discriminator:
    """Read a discriminator of the original script, in inference mode; otherwise as `load_generator`."""
    with _open(path) as (file, groups):
        return _fill(Discriminator(auxiliary_classes(groups, MOST_CLASSES) or NUM_CLASSES), file, groups)


def from_keras(network: Network, weights: Iterable[tuple[str, np.ndarray]]) -> Network:
    """Fill a network from (kind, array) pairs in Keras' layouts, in any order; kind as in `kernel`, `moving_mean`.

    Raises KerasWeightsError if a pair is missing, or if two of the same kind and shape differ.
    """
    arrays: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}
    for kind, array in weights:
        if not np.array_equal(arrays.setdefault((kind, array.shape), array), array, equal_nan=True):
            raise KerasWeightsError(f"there are two different {kind} of shape {array.shape}")
    state = network.state_dict()
    for weight, tensor in pair(network, state):
        shape = keras_shape(weight, tensor)
        if (weight.kind, shape) not in arrays:
            raise KerasWeightsError(f"there is no {weight.kind} of shape {shape} for {weight.ours}")
        state[weight.ours] = _to_torch(weight, arrays[weight.kind, shape])
    network.load_state_dict(state)
    return network.eval()


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[ArrayFile, list[Stored]]]:
    try:
        with open_arrays(Path(path), skip=lambda name: name.startswith("optimizer")) as file:
            groups: dict[str, Stored] = {}
            for array in file.arrays:
                if groups.setdefault(array.group, {}).setdefault(array.name.split(":")[0], array) != array:
                    raise KerasWeightsError(f"{printable(path)} holds two {printable(array.name)} in one layer")
            yield file, [groups[name] for name in sorted(groups)]
    except FileFault as error:
        raise KerasWeightsError(str(error)) from error


def _fill(network: Network, file: ArrayFile, groups: list[Stored]) -> Network:
    """Fill a network layer by layer. Checks all shapes before any array is read."""
    layers = layers_of(network)
    matches = {layer: [found for group in groups if (found := match(layer, group))] for layer in layers}
    if missing := [layer for layer in layers if not matches[layer]]:
        raise KerasWeightsError(f"{printable(file.path)} {explain(network, missing, groups)}")
    state = network.state_dict()
    for layer, candidates in matches.items():
        for number, expected in enumerate(layer):
            array = _read_same(file, [candidate[number] for candidate in candidates])
            state[expected.weight.ours] = _to_torch(expected.weight, array)
    network.load_state_dict(state)
    return network.eval()


def _read_same(file: ArrayFile, stored: list[StoredArray]) -> np.ndarray:
    """Read an array that the file may hold several times. Raises KerasWeightsError if the values differ."""
    first, *others = stored
    array = file.read(first)
    for other in others:
        if len(others) > COPIES_LIMIT or not np.array_equal(array, file.read(other), equal_nan=True):
            raise KerasWeightsError(
                f"{printable(file.path)} holds several networks of one kind: {printable(first.path)} and "
                f"{printable(other.path)}"
            )
    return array


def _sizes(file: ArrayFile, groups: list[Stored]) -> tuple[int, int]:
    """Find the latent size and the number of classes: the shape of the embedding, as wide as the dense layer after it.

    An embedding of ten classes, as in the original script, has priority.
    """
    shapes = {shape for group in groups if (shape := embedding_shape(group)) and 2 <= shape[0] <= MOST_CLASSES}
    dense = {array.shape[0] for group in groups for array in group.values() if array.shape[1:] == (DENSE_UNITS,)}
    counts = sorted({classes for classes, size in shapes if size in dense})
    classes = NUM_CLASSES if NUM_CLASSES in {count for count, _ in shapes} or not counts else counts[0]
    embeddings = {size for count, size in shapes if count == classes}
    sizes = sorted(embeddings & dense or embeddings) or [DEFAULT_LATENT_SIZE]  # later reported as missing
    if classes != NUM_CLASSES and len(counts) > 1:
        raise KerasWeightsError(f"{printable(file.path)} has two generators, with {counts[0]} and {counts[1]} classes")
    if len(embeddings & dense) > 1:
        raise KerasWeightsError(
            f"{printable(file.path)} has two generators, with latent sizes {sizes[0]} and {sizes[1]}"
        )
    if not 1 <= sizes[0] <= LATENT_LIMIT:
        raise KerasWeightsError(
            f"{printable(file.path)} has a generator with latent size {sizes[0]:,}, but only 1 to {LATENT_LIMIT:,} is "
            "supported"
        )
    return sizes[0], classes


def _to_torch(weight: KerasWeight, array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(weight.axes)))


# ----------------------------------------------------------------------------
# Writing, in the layout of Keras 2 `save_weights`: one group for each layer, named in attributes.


def save_weights(network: Generator | Discriminator, path: str | Path | BinaryIO, classes: int = NUM_CLASSES) -> None:
    """Write a file that the original script's `build_generator` or `build_discriminator` reads with `load_weights`.

    `classes` is the number of the training data's classes; the script's `num_classes` must be the same. Raises
    NotConvertible for a discriminator with another number of classes, such as that of the ADC-GAN.
    """
    check_classes(network, classes)
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.2.4"
        layers = list(_keras_layers(network))
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, weights in layers:
            group = file.create_group(name)
            names = [f"{weight.layer}/{weight.kind}:0".encode() for weight, _ in weights]
            group.attrs["weight_names"] = np.asarray(names, dtype="S") if names else np.asarray([], dtype="S1")
            for encoded, (weight, tensor) in zip(names, weights, strict=True):
                group.create_dataset(encoded.decode(), data=to_keras(weight, tensor))


def check_classes(network: Generator | Discriminator, classes: int = NUM_CLASSES) -> None:
    """Raises NotConvertible for a discriminator that was not made for `classes` classes, those of its training data."""
    if isinstance(network, Discriminator) and (heads := network.auxiliary.out_features) != classes:
        raise NotConvertible(f"this discriminator has {heads} classes, and its training data {classes}")


def to_keras(weight: KerasWeight, tensor: Tensor) -> np.ndarray:
    """Return a tensor as float32 in the order of axes that Keras uses."""
    array = tensor.detach().cpu().float().numpy().transpose(np.argsort(weight.axes))
    return np.ascontiguousarray(array)


def _keras_layers(network: Generator | Discriminator) -> Iterator[tuple[str, list[tuple[KerasWeight, Tensor]]]]:
    """Name the original model's layers in order, also those without weights, since Keras pairs them by position."""
    weights = list(pair(network, network.state_dict()))
    if isinstance(network, Generator):
        nested = [pair for pair in weights if pair[0].layer != "embedding_1"]
        still = ("moving_mean", "moving_variance")
        nested.sort(key=lambda pair: pair[0].kind in still)  # Keras lists untrained weights last
        yield "input_2", []
        yield "embedding_1", [pair for pair in weights if pair[0].layer == "embedding_1"]
        yield "input_1", []
        yield "flatten_1", []
        yield "multiply_1", []
        yield "sequential_1", nested
    else:
        yield "input_1", []
        yield "sequential_1", [pair for pair in weights if pair[0].layer.startswith("conv2d")]
        yield "generation", [pair for pair in weights if pair[0].layer == "generation"]
        yield "auxiliary", [pair for pair in weights if pair[0].layer == "auxiliary"]


__all__ = [
    "DISCRIMINATOR",
    "GENERATOR",
    "KerasWeightsError",
    "check_classes",
    "from_keras",
    "load_discriminator",
    "load_generator",
    "save_weights",
    "to_keras",
]
