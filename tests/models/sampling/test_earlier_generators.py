"""The former generator of the package, trained by the recipe `sharp`, loads and draws the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.networks.weights import generator_from_bytes
from models.registry.manifest import Manifest
from models.registry.store import CheckpointId, CheckpointStore
from models.sampling.grid import sheet
from models.sampling.sampler import SampleRange, draw_series, prepare

EARLIER = Path(__file__).parents[2] / "fixtures" / "bundled_before"
STORE = CheckpointStore(EARLIER)
TOLERANCE = 1  # grey level: float32 sums differ between processors


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return STORE.manifest(CheckpointId("pretrained", 30))


def test_its_manifest_names_the_recipe_and_the_batch_size(manifest: Manifest) -> None:
    assert (manifest.config.recipe, manifest.config.batch_size, manifest.config.epochs) == ("sharp", 100, 30)


def test_it_draws_the_same_pixels(manifest: Manifest) -> None:
    """digits.png was drawn by the package while it contained this generator: ten digits of each class, seed 1."""
    generator = prepare(generator_from_bytes(STORE.read(manifest, manifest.draws)), torch.device("cpu"))
    drawn = sheet(draw_series(generator, SampleRange(None, 10, seed=1)))
    expected = np.asarray(Image.open(EARLIER / "digits.png"))
    assert drawn.shape == expected.shape == (280, 280)
    assert np.abs(drawn.astype(int) - expected).max() <= TOLERANCE
    assert (drawn > 127).mean() > 0.1  # the picture is not empty
