"""Networks to safetensors bytes and back. What comes back has been checked: names, shapes, finite values."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from models.config import NUM_CLASSES
from models.networks import Discriminator, Generator

Network = TypeVar("Network", bound=nn.Module)


class InvalidWeights(Exception):
    """The bytes are not the weights of the network that was asked for. The message says what is wrong with them."""


def to_bytes(network: nn.Module) -> bytes:
    """Serialise all weights and moving statistics as safetensors, in their own precision; equal ones to equal bytes."""
    return state_to_bytes(snapshot(network))


def state_to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Serialise what `snapshot` returned: the bytes of `to_bytes` at that time. Uses no device."""
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


def generator_from_bytes(data: bytes) -> Generator:
    """Rebuild a generator, of whatever latent size it was trained with, in inference mode. Raises InvalidWeights."""
    state = _parse(data)
    embedding = state.get("embedding.weight")
    if embedding is None or embedding.ndim != 2 or embedding.shape[0] != NUM_CLASSES:
        raise InvalidWeights("these are not the weights of a generator: the embedding of the ten classes is missing")
    return _fill(Generator(latent_size=embedding.shape[1]), state)


def discriminator_from_bytes(data: bytes) -> Discriminator:
    """Rebuild a discriminator in inference mode. Raises InvalidWeights."""
    state = _parse(data)
    head = state.get("auxiliary.weight")
    if head is None or head.ndim != 2 or len(head) not in (NUM_CLASSES, 2 * NUM_CLASSES):
        raise InvalidWeights("these are not the weights of a discriminator: its auxiliary head is missing")
    return _fill(Discriminator(len(head)), state)


def _parse(data: bytes) -> dict[str, Tensor]:
    try:
        return load(data)
    except SafetensorError as error:
        raise InvalidWeights(f"not a safetensors file: {error}") from error


def _fill(network: Network, state: dict[str, Tensor]) -> Network:
    expected = network.state_dict()
    if missing := expected.keys() - state.keys():
        raise InvalidWeights(f"weights are missing: {', '.join(sorted(missing))}")
    if unexpected := state.keys() - expected.keys():
        raise InvalidWeights(f"unexpected weights: {', '.join(sorted(unexpected))}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise InvalidWeights(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}")
        if not torch.isfinite(tensor).all():
            raise InvalidWeights(f"{name} holds values that are not finite")
    network.load_state_dict(state)
    return network.eval()
