import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from models.networks.acgan import Generator, initialize
from models.networks.inference import FoldedGenerator
from models.sampling.animation import back_and_forth, encode_film
from models.sampling.interpolation import Ends, morph, spherical
from models.sampling.sampler import draw, draw_digits, latents, prepare


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    untaught = Generator()
    initialize(untaught, torch.Generator().manual_seed(1))
    return prepare(untaught.eval(), torch.device("cpu"))


def film(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Read the grey frames of an animation, and the duration of each."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["loop"] == 0
        frames = [(np.asarray(frame.convert("L")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
    return np.stack([picture for picture, _ in frames]), [milliseconds for _, milliseconds in frames]


@pytest.mark.parametrize("ends", [Ends((3, 8), (4, 4)), Ends((3, 3), (4, 5)), Ends((0, 9), (4, 5), index=7)])
def test_the_ends_are_the_digits_of_their_addresses(generator: FoldedGenerator, ends: Ends) -> None:
    there, stations = morph(generator, ends, 9)
    way = draw(there, *stations.cut(0, 9, generator.latent_size))
    for place, label, seed in zip((0, -1), ends.labels, ends.seeds, strict=True):
        assert np.array_equal(way[place], draw_digits(generator, label, 1, seed, ends.index)[0])
    assert len({digit.tobytes() for digit in way}) == 9


def test_no_step_is_a_jump(generator: FoldedGenerator) -> None:
    there, stations = morph(generator, Ends((3, 8), (4, 5)), 30)
    way = draw(there, *stations.cut(0, 30, generator.latent_size)).astype(float)
    steps = np.abs(np.diff(way, axis=0)).mean((1, 2))
    assert steps.max() < 3 * steps.mean()


def test_the_generator_is_not_changed(generator: FoldedGenerator) -> None:
    before = generator.embedding.clone()
    there, _ = morph(generator, Ends((3, 8), (4, 4)), 5)
    assert torch.equal(generator.embedding, before)
    assert there.first is generator.first


def test_interpolated_latents_have_the_distribution_of_latents() -> None:
    """Uniform in [-1, 1): deciles contain a tenth each. On a straight line the middle would contain more."""
    first, last = latents(1, 0, 1, 40_000)[0], latents(2, 0, 1, 40_000)[0]
    way = spherical(first, last, 5)
    assert torch.equal(way[0], first)
    assert torch.equal(way[-1], last)
    for latent in way:
        assert latent.min() >= -1
        assert latent.max() <= 1
        shares = torch.histc(latent, 10, -1, 1) / len(latent)
        assert (shares - 0.1).abs().max() < 0.006


def test_the_extremes_of_a_latents_range_can_be_interpolated() -> None:
    first, last = torch.tensor([-1.0, 1 - 2.0**-23]), torch.tensor([1 - 2.0**-23, 0.0])
    assert spherical(first, last, 7).isfinite().all()


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_an_animation_is_lossless(form: str) -> None:
    pictures = np.random.default_rng(1).integers(256, size=(5, 28, 28), dtype=np.uint8)
    seen, durations = film(encode_film(back_and_forth(pictures), form, 80))
    assert np.array_equal(seen, pictures[[0, 1, 2, 3, 4, 3, 2, 1]])
    assert durations == [80] * 8
