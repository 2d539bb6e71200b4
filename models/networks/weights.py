"""Converts networks to safetensors bytes and back. Loading checks names, shapes and finite values."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from models.bounded_reading import FileFault, printable, read_bounded
from models.config import MOST_CLASSES
from models.errors import InvalidInput
from models.networks.acgan import Discriminator, Generator
from models.networks.safetensors_header import Header, read_header

FILE_LIMIT = 64 << 20  # bytes; a generator with the largest latents in double precision has 47 MB
LATENT_LIMIT = 1000  # numbers, as in TrainingConfig
LISTED = 300  # maximum length of a list of names in a message, in characters
FLOATS = ("F16", "BF16", "F32", "F64")
INTEGERS = ("I32", "I64", "U32", "U64")

Network = TypeVar("Network", bound=nn.Module)


class InvalidWeights(InvalidInput, code="invalid-weights"):
    """The bytes are not the weights of the requested network. The message gives the reason."""


def to_bytes(network: nn.Module) -> bytes:
    """Serialise all weights and moving statistics as safetensors, in their precision. Equal weights, equal bytes."""
    return state_to_bytes(snapshot(network))


def state_to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Serialise a result of `snapshot` to the bytes that `to_bytes` returns at that time. Uses no device."""
    return save(dict(state), metadata={"format": "pt"})


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Copy all weights and moving statistics to the host, by name. Later training does not change the copies."""
    return to_host(network.state_dict())


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors of one device to the host, contiguous, in one transfer for each dtype."""
    copies: dict[str, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors.values()}:
        named = {name: tensor.detach() for name, tensor in tensors.items() if tensor.dtype == dtype}
        flat = torch.cat([tensor.reshape(-1) for tensor in named.values()]).cpu()
        parts = flat.split([tensor.numel() for tensor in named.values()])
        copies |= {name: part.view(named[name].shape) for name, part in zip(named, parts, strict=True)}
    return {name: copies[name] for name in tensors}


def load_generator(path: Path) -> Generator:
    """Read a generator's file, in inference mode. Raises InvalidWeights or FileFault, both naming the file."""
    return generator_from_bytes(read_bounded(path, FILE_LIMIT), str(path))


def load_discriminator(path: Path) -> Discriminator:
    """Read a discriminator's file, in inference mode. Raises InvalidWeights or FileFault, both naming the file."""
    return discriminator_from_bytes(read_bounded(path, FILE_LIMIT), str(path))


def generator_from_bytes(data: bytes, name: str = "the file") -> Generator:
    """Rebuild a generator with 2 to 100 classes and a latent size of 1 to 1000, in inference mode.

    `name` is the file's, for messages.

    Raises InvalidWeights.
    """
    header = _read_header(data, name)
    embedding = header.tensors.get("embedding.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise InvalidWeights(f"{printable(name)} holds no generator: the embedding of the classes is missing")
    classes, latent_size = embedding.shape
    if not 2 <= classes <= MOST_CLASSES:
        raise InvalidWeights(
            f"{printable(name)} holds no generator: it has {classes:,} classes, instead of 2 to {MOST_CLASSES}"
        )
    if not 1 <= latent_size <= LATENT_LIMIT:
        raise InvalidWeights(
            f"{printable(name)} holds no generator: its latents have {latent_size:,} numbers, instead of 1 to "
            f"{LATENT_LIMIT:,}"
        )
    return _fill(lambda: Generator(latent_size, classes), data, header, name)


def discriminator_from_bytes(data: bytes, name: str = "the file") -> Discriminator:
    """Rebuild a discriminator in inference mode; `name` is the file's, for messages. Raises InvalidWeights."""
    header = _read_header(data, name)
    head = header.tensors.get("auxiliary.weight")
    if head is None or len(head.shape) != 2 or not 2 <= head.shape[0] <= 2 * MOST_CLASSES:
        raise InvalidWeights(f"{printable(name)} holds no discriminator: its auxiliary head is missing")
    classes = head.shape[0]
    return _fill(lambda: Discriminator(classes), data, header, name)


def _read_header(data: bytes, name: str) -> Header:
    try:
        return read_header(data, name)
    except FileFault as error:
        raise InvalidWeights(str(error)) from error


def _fill(make: Callable[[], Network], data: bytes, header: Header, name: str) -> Network:
    """Check names, types and shapes against the network before any tensor is read, and the values afterwards."""
    network = make()
    expected = network.state_dict()
    if missing := expected.keys() - header.tensors.keys():
        raise InvalidWeights(f"{printable(name)}: weights are missing: {', '.join(sorted(missing))}")
    if unexpected := sorted(header.tensors.keys() - expected.keys()):
        listed = printable(", ".join(unexpected))[:LISTED]
        raise InvalidWeights(f"{printable(name)}: {len(unexpected)} unexpected weights: {listed}")
    for key, entry in header.tensors.items():
        if entry.shape != tuple(expected[key].shape):
            raise InvalidWeights(
                f"{printable(name)}: {key} has shape {entry.shape}, expected {tuple(expected[key].shape)}"
            )
        if entry.dtype not in (FLOATS if expected[key].is_floating_point() else INTEGERS):
            raise InvalidWeights(f"{printable(name)}: {key} has numbers of type {entry.dtype}")
    try:
        network.load_state_dict(load(data))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidWeights(f"{printable(name)} is not a safetensors file: {printable(error)}") from error
    for key, tensor in network.state_dict().items():  # in the network's precision, which may be less than the file's
        if not torch.isfinite(tensor).all():
            raise InvalidWeights(f"{printable(name)}: {key} holds values that are not finite")
    return network.eval()
