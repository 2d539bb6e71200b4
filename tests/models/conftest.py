"""The ways that this machine can compute the same thing."""

import pytest

from models import layers


@pytest.fixture(params=["direct", "fourier"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have every batch convolved directly, or every one by way of Fourier transforms, however small it is."""
    monkeypatch.setattr(layers, "MANY", 1 if request.param == "fourier" else 10**9)
    name: str = request.param
    return name
