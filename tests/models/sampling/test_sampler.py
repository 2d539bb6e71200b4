import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.networks.acgan import Generator, initialize
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import (
    BATCH,
    STEP,
    SampleRange,
    draw_digits,
    draw_series,
    is_steady,
    latents,
    prepare,
    to_pixels,
)


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    return prepare(trained(), torch.device("cpu"))


def trained() -> Generator:
    """A generator whose every weight and statistic matters."""
    random = torch.Generator().manual_seed(4)
    generator = Generator()
    initialize(generator, random)
    for norm in (generator.norm_7, generator.norm_14):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5, generator=random)
    return generator.eval()


@given(
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**40),
    st.integers(0, 30),
    st.integers(1, 20),
    st.sampled_from([1, 7, 100]),
)
def test_a_latent_depends_on_its_address_alone(seed: int, index: int, offset: int, n: int, latent_size: int) -> None:
    together = latents(seed, index, offset + n, latent_size)
    assert torch.equal(latents(seed, index + offset, n, latent_size), together[offset:])


def test_latents_are_uniform_and_differ() -> None:
    noise = latents(0, 0, 1000, 100)
    assert noise.dtype == torch.float32
    assert -1 <= noise.min() < -0.999
    assert 0.999 < noise.max() < 1
    assert abs(noise.mean()) < 0.01
    assert noise.std().item() == pytest.approx(3**-0.5, rel=0.01)
    assert len(noise.unique()) > 99_000
    assert not torch.equal(latents(1, 0, 1, 100), latents(0, 0, 1, 100))


@pytest.mark.parametrize(
    ("n", "offset"),
    [
        (1, 0),
        (1, 13),
        (2, 3),
        (3, 60),
        (5, 2),
        (7, 0),
        (8, 8),
        (9, 0),
        (23, 41),
        (40, 3),
        (63, 1),
        (64, 0),
        (65, 64),
        (100, 900),
        (127, 5),
        (128, 0),
        (333, 7),
        (999, 1),
        (1000, 0),
    ],
)
def test_a_digit_is_the_same_in_any_batch(generator: FoldedGenerator, n: int, offset: int) -> None:
    together = draw_digits(generator, 7, 1000, seed=5)
    assert np.array_equal(draw_digits(generator, 7, n, seed=5, index=offset), together[offset : offset + n])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_digit_is_the_same_on_any_number_of_threads(generator: FoldedGenerator, threads: int) -> None:
    expected = draw_digits(generator, 7, 200, seed=5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert np.array_equal(draw_digits(generator, 7, 200, seed=5), expected)
    finally:
        torch.set_num_threads(before)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), st.integers(0, 1000))
def test_one_index_of_a_seed_is_one_latent_for_every_label(generator: FoldedGenerator, label: int, index: int) -> None:
    noise, labels = SampleRange(label, 1, 3, index).cut(0, 1, 100)
    assert torch.equal(noise, latents(3, index, 1, 100))
    assert labels.tolist() == [label]
    everything = draw_series(generator, SampleRange(None, 1, 3, index))
    assert np.array_equal(everything[label], draw_digits(generator, label, 1, seed=3, index=index)[0])


@given(st.integers(0, 40), st.integers(1, 30))
def test_a_part_of_a_series_equals_that_part_of_the_whole(start: int, length: int) -> None:
    for series in (SampleRange(None, 8, 5, 2), SampleRange(4, 80, 5, 2)):
        noise, labels = series.cut(0, series.digits, 10)
        some, their_labels = series.cut(start, start + length, 10)
        assert torch.equal(some, noise[start : start + length])
        assert torch.equal(their_labels, labels[start : start + length])


def test_a_generator_whose_rounding_depends_on_the_batch_draws_in_batches_of_one_length(
    generator: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_steady(generator)
    assert generator.step == STEP
    exact = FoldedGenerator.__call__

    def by_length(self: FoldedGenerator, noise: Tensor, labels: Tensor) -> Tensor:
        return exact(self, noise, labels) * (1 - 1e-6 * len(noise))

    monkeypatch.setattr(FoldedGenerator, "__call__", by_length)
    assert prepare(trained(), torch.device("cpu")).step == BATCH


def test_pixels_round_to_nearest() -> None:
    values = torch.tensor([-1.0, 1.0, 0.0, (200.4 - 127.5) / 127.5, (200.6 - 127.5) / 127.5]).view(5, 1, 1, 1)
    assert to_pixels(values).flatten().tolist() == [0, 255, 128, 200, 201]
