"""Files or objects that change after their publication: the served checkpoint stays, and `trouble` gives the reason."""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from app.inference.model_manager import ModelManager
from models.registry.store import GENERATOR, MANIFEST, POINTER, CheckpointStore
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW, OLD, damage_inside, inside
from tests.support import prepared_generators
from tests.support.s3_endpoint import PATIENT_SECONDS, Endpoint, open_store

Bytes = bytearray
RANDOM = random.Random(15)


def flip(data: Bytes, at: int) -> Bytes:
    data[at] ^= 1 << RANDOM.randrange(8)
    return data


def zero(data: Bytes, at: int) -> Bytes:
    changed = Bytes(data)
    changed[at : at + 512] = bytes(len(data[at : at + 512]))
    return changed if changed != data else flip(data, at)


def truncate(data: Bytes, at: int) -> Bytes:
    return data[:at]


def append(data: Bytes, _at: int) -> Bytes:
    return data + b"more"


def scramble(data: Bytes, at: int) -> Bytes:
    data[at : at + 64] = RANDOM.randbytes(len(data[at : at + 64]))
    return data


CHANGES: list[Callable[[Bytes, int], Bytes]] = [flip, zero, truncate, append, scramble]

REGIONS: dict[str, Callable[[int, int], int]] = {  # of a file of this size, with a header of this size
    "the header's length": lambda _size, _header: 3,
    "the header's beginning": lambda _size, _header: 9,
    "the header's middle": lambda _size, header: header // 2,
    "the header's end": lambda _size, header: header + 7,
    "the first tensor": lambda _size, header: header + 8,
    "a tensor in the middle": lambda size, _header: size // 2,
    "the last tensor": lambda size, _header: size - 100,
    "the last byte": lambda size, _header: size - 1,
}


@pytest.fixture(scope="module", autouse=True)
def kept_generators() -> Iterator[None]:
    with prepared_generators.kept():
        yield


@pytest.fixture
def store(tmp_path: Path, place: Endpoint | None) -> CheckpointStore:
    store = (
        open_store(place.address(), tmp_path, seconds=PATIENT_SECONDS)
        if place
        else CheckpointStore(tmp_path / "checkpoints")
    )
    publish(store, OLD, 1, seed=1)
    return store


@pytest.fixture
def model_manager(store: CheckpointStore) -> ModelManager:
    """A model manager that serves the old checkpoint."""
    model_manager = ModelManager(store, torch.device("cpu"), cached=2)
    asyncio.run(model_manager.refresh())
    return model_manager


@pytest.mark.parametrize("region", list(REGIONS))
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_generator_is_never_served(
    store: CheckpointStore, model_manager: ModelManager, region: str, change: Callable[[Bytes, int], Bytes]
) -> None:
    old = model_manager.served
    publish(store, NEW, 1, seed=2)
    name = f"{NEW}/001/{GENERATOR}"
    data = Bytes(inside(store, name))
    changed = change(data, REGIONS[region](len(data), int.from_bytes(data[:8], "little")))
    damage_inside(store, name, bytes(changed))
    asyncio.run(model_manager.refresh())
    assert model_manager.served is old
    assert model_manager.trouble is not None
    assert NEW in model_manager.trouble


def test_the_generator_of_another_checkpoint_is_never_served(
    store: CheckpointStore, model_manager: ModelManager
) -> None:
    old = model_manager.served
    publish(store, NEW, 1, seed=2)
    damage_inside(store, f"{NEW}/001/{GENERATOR}", inside(store, f"{OLD}/001/{GENERATOR}"))
    asyncio.run(model_manager.refresh())
    assert model_manager.served is old
    assert model_manager.trouble is not None


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [MANIFEST, POINTER])
def test_for_any_damage_to_manifest_or_pointer_a_complete_generator_is_served(
    store: CheckpointStore, model_manager: ModelManager, name: str, change: Callable[[Bytes, int], Bytes], part: float
) -> None:
    assert model_manager.served is not None
    sums = {model_manager.served.model.checksum}
    publish(store, NEW, 1, seed=2)
    fresh = ModelManager(store, torch.device("cpu"), cached=2)
    asyncio.run(fresh.refresh())
    assert fresh.served is not None
    sums.add(fresh.served.model.checksum)
    path = POINTER if name == POINTER else f"{NEW}/001/{MANIFEST}"
    data = Bytes(inside(store, path))
    damage_inside(store, path, bytes(change(data, int(part * len(data)))))
    for each in (model_manager, ModelManager(store, torch.device("cpu"), cached=2)):
        asyncio.run(each.refresh())
        assert each.served is not None, each.trouble
        assert each.served.model.checksum in sums
