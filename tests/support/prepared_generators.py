"""Generators that a process of tests has prepared for drawing, which takes half of the start of an API."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from app.inference import model_manager
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.networks.weights import to_bytes
from models.sampling.sampler import prepare

KEPT = 8  # generators, 30 MB each

prepared: dict[bytes, FoldedGenerator] = {}


@contextmanager
def kept() -> Iterator[None]:
    """Within this block, model managers do not prepare the same weights again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_manager, "prepare", prepare_once)
        yield


def prepare_once(generator: Generator, device: torch.device) -> FoldedGenerator:
    key = hashlib.sha256(f"{device}".encode() + to_bytes(generator)).digest()
    if key not in prepared:
        prepared[key] = prepare(generator, device)
    while len(prepared) > KEPT:
        del prepared[next(iter(prepared))]
    return copy.copy(prepared[key])
