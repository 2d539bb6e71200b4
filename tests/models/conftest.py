"""The implementations of a convolution, and the kinds of store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.networks import layers
from models.registry.store import CheckpointStore
from tests.support.s3_endpoint import PATIENT_SECONDS, Endpoint, open_store


@pytest.fixture(params=["direct", "fourier"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Convolve every batch directly, or every batch by Fourier transforms, however small it is."""
    monkeypatch.setattr(layers, "MANY", 1 if request.param == "fourier" else 10**9)
    name: str = request.param
    return name


@pytest.fixture(params=["folder", "s3"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], CheckpointStore]:
    """Opens the same store repeatedly, as several processes do."""
    if request.param == "folder":
        return lambda: CheckpointStore(tmp_path / "store")
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    address = endpoint.address()
    return lambda: open_store(address, tmp_path, seconds=PATIENT_SECONDS)
