import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from models.bounded_reading import FileTooLarge
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import (
    InvalidWeights,
    discriminator_from_bytes,
    generator_from_bytes,
    load_generator,
    to_bytes,
)


@pytest.mark.parametrize("latent_size", [100, 7])
def test_a_generator_is_restored_with_its_latent_size(latent_size: int) -> None:
    generator = Generator(latent_size).eval()
    again = generator_from_bytes(to_bytes(generator))
    noise, labels = torch.rand(3, latent_size), torch.tensor([1, 2, 3])
    assert torch.equal(again(noise, labels), generator(noise, labels))
    assert not again.training


def test_a_discriminator_is_restored() -> None:
    discriminator = Discriminator()
    again = discriminator_from_bytes(to_bytes(discriminator))
    assert torch.equal(again.conv_4.weight, discriminator.conv_4.weight)


def test_weights_of_another_network_are_refused() -> None:
    good = load(to_bytes(Generator(10)))
    wrong = {
        "a pickle": b"\x80\x04pickle",
        "not a safetensors file": b"weights",
        "embedding": to_bytes(Discriminator()),
        "missing: dense.bias": save({name: tensor for name, tensor in good.items() if name != "dense.bias"}),
        "unexpected": save({**good, "more": torch.zeros(1)}),
        "shape": save({**good, "dense.bias": torch.zeros(5)}),
        "not finite": save({**good, "dense.bias": torch.full((3456,), float("nan"))}),
    }
    for reason, data in wrong.items():
        with pytest.raises(InvalidWeights, match=reason):
            generator_from_bytes(data)


def test_the_same_weights_are_the_same_bytes() -> None:
    generator = Generator(10)
    assert len({to_bytes(generator) for _ in range(20)}) == 1


def test_a_refusal_names_the_file_and_what_it_is(tmp_path: Path) -> None:
    for name, data, words in (
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git lfs pull"),
        ("pickle", b"\x80\x02}q\x00.", r"a pickle \(PyTorch's \.pt\)"),
        ("discriminator", to_bytes(Discriminator()), "holds no generator"),
        ("torn", to_bytes(Generator(10))[:-9], "ends early"),
        ("more", to_bytes(Generator(10)) + b"9", "follow its last tensor"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(InvalidWeights, match=rf"{path.name}\S* .*{words}"):
            load_generator(path)


@pytest.mark.parametrize("latent_size", [0, 1001, 4_200_000])
def test_impossible_latent_sizes_are_refused_before_a_network_is_built(latent_size: int) -> None:
    """An embedding of 4.2 million numbers is a file of 42 MB in bytes, and would need a dense layer of 58 GB."""
    size = 10 * latent_size
    text = f'{{"embedding.weight":{{"dtype":"U8","shape":[10,{latent_size}],"data_offsets":[0,{size}]}}}}'.encode()
    with pytest.raises(InvalidWeights, match="its latents have"):
        generator_from_bytes(struct.pack("<Q", len(text)) + text + bytes(size))


def test_numbers_of_an_unsupported_type_are_refused() -> None:
    good = load(to_bytes(Generator(10)))
    for bias, words in (
        (torch.zeros(3456, dtype=torch.int32), "numbers of type I32"),
        (torch.full((3456,), 1e300, dtype=torch.float64), "not finite"),
    ):
        with pytest.raises(InvalidWeights, match=words):
            generator_from_bytes(save({**good, "dense.bias": bias}))
    double = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in good.items()}
    assert torch.equal(generator_from_bytes(save(double)).dense.weight, good["dense.weight"])


def test_a_sparse_file_in_place_of_weights_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "g.safetensors").open("wb") as file:
        file.truncate(6 << 30)
    with pytest.raises(FileTooLarge, match=r"g\.safetensors has 6,442,450,944 bytes"):
        load_generator(tmp_path / "g.safetensors")
