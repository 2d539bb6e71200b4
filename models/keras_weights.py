"""The seed's `.hdf5` weight files (Keras 2 `save_weights`), both ways.

Keras numbers its layers anew in every process, nests them in models and lists trainable weights first or not, so
neither names nor order can be trusted. What identifies a weight is its kind and its shape: no two share both.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from models.config import NUM_CLASSES
from models.networks import Discriminator, Generator

Network = TypeVar("Network", Generator, Discriminator)


class KerasWeightsError(Exception):
    """The file is not what the seed writes. The message says what is missing."""


class KerasWeight(NamedTuple):
    """Where one of our tensors lives in Keras, and how its axes turn: ours = theirs.transpose(axes)."""

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


# ----------------------------------------------------------------------------
# Reading.


def load_generator(path: str | Path) -> Generator:
    """Read `params_generator_epoch_*.hdf5`, of any latent size, in inference mode. Raises KerasWeightsError."""
    weights = _read(path)
    latent_sizes = [array.shape[1] for kind, array in weights if kind == "embeddings" and array.ndim == 2]
    if not latent_sizes:
        raise KerasWeightsError(f"{path} holds no class embedding: it is not a generator of the seed script")
    return from_keras(Generator(latent_sizes[0]), weights)


def load_discriminator(path: str | Path) -> Discriminator:
    """Read `params_discriminator_epoch_*.hdf5`, in inference mode. Raises KerasWeightsError."""
    return from_keras(Discriminator(), _read(path))


def from_keras(network: Network, weights: Iterable[tuple[str, np.ndarray]]) -> Network:
    """Fill a network from (kind, array) pairs in Keras' layouts, in any order; kind as in `kernel`, `moving_mean`."""
    arrays = {(kind, array.shape): array for kind, array in weights}
    state = network.state_dict()
    for weight, tensor in _pair(network, state):
        shape = _keras_shape(weight, tensor)
        array = arrays.get((weight.kind, shape))
        if array is None:
            raise KerasWeightsError(
                f"no {weight.kind} of shape {shape} for {weight.ours}: this is no {type(network).__name__} of the seed"
            )
        state[weight.ours] = torch.from_numpy(np.ascontiguousarray(array.transpose(weight.axes)))
    network.load_state_dict(state)
    return network.eval()


def _read(path: str | Path) -> list[tuple[str, np.ndarray]]:
    """List every (kind, array) in the file, wherever Keras nested it."""
    found: list[tuple[str, np.ndarray]] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer_weights" not in name:
            kind = name.rsplit("/", 1)[-1].split(":")[0]
            found.append((kind, np.asarray(item, dtype=np.float32)))

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except FileNotFoundError:
        raise KerasWeightsError(f"{path} does not exist") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # what h5py raises of damaged files
        raise KerasWeightsError(f"{path} is not an HDF5 file, or damaged: {error}") from error
    return found


# ----------------------------------------------------------------------------
# Writing, in the layout of Keras 2 `save_weights`: a group a layer, named in attributes.


def save_weights(network: Generator | Discriminator, path: str | Path | BinaryIO) -> None:
    """Write a file that the seed's `build_generator` or `build_discriminator` model loads with `load_weights`.

    Raises KerasWeightsError for a discriminator that tells more classes apart than the seed's.
    """
    if isinstance(network, Discriminator) and network.auxiliary.out_features != NUM_CLASSES:
        classes = network.auxiliary.out_features
        raise KerasWeightsError(f"this discriminator tells {classes} classes apart, and the seed's {NUM_CLASSES}")
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
                array = tensor.detach().cpu().numpy().transpose(np.argsort(weight.axes))
                group.create_dataset(encoded.decode(), data=np.ascontiguousarray(array))


def _keras_layers(network: Generator | Discriminator) -> Iterator[tuple[str, list[tuple[KerasWeight, Tensor]]]]:
    """Name the seed's model layers in order, the weightless ones too, since Keras pairs them by position."""
    weights = list(_pair(network, network.state_dict()))
    if isinstance(network, Generator):
        nested = [pair for pair in weights if pair[0].layer != "embedding_1"]
        still = ("moving_mean", "moving_variance")
        nested.sort(key=lambda pair: pair[0].kind in still)  # Keras lists what is not trained last
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


# ----------------------------------------------------------------------------
# What both directions share.


def _pair(network: nn.Module, state: dict[str, Tensor]) -> Iterator[tuple[KerasWeight, Tensor]]:
    for weight in GENERATOR if isinstance(network, Generator) else DISCRIMINATOR:
        yield weight, state[weight.ours]


def _keras_shape(weight: KerasWeight, tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[axis] for axis in np.argsort(weight.axes))
