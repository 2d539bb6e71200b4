"""Files of Keras 3, of combined models, of older scripts, and hostile ones are read exactly, or refused by name."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from models.interop.hdf5 import open_arrays
from models.interop.keras import KerasWeightsError, from_keras, load_discriminator, load_generator, save_weights
from models.networks.acgan import Discriminator, Generator
from tests.models.training.test_parity import PARITY, images, integers, keras_weights

Arrays = dict[str, np.ndarray]  # by layer/kind
KINDS = ("embeddings", "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")  # in Keras' order
TOP = ("embedding", "generation", "auxiliary")  # layers that are not in the nested Sequential


def weights_of(network: str) -> Arrays:
    return {
        str(name): array for name, (_, array) in zip(PARITY[f"names_{network}"], keras_weights(network), strict=True)
    }


def by_layer(weights: Arrays) -> dict[str, list[np.ndarray]]:
    layers: dict[str, list[np.ndarray]] = {}
    for name in sorted(weights, key=lambda name: KINDS.index(name.split("/")[1])):
        layers.setdefault(name.split("/")[0], []).append(weights[name])
    return layers


def write_keras_3(file: h5py.File, weights: Arrays, model: str = "", optimizer: bool = True) -> None:
    """The layout of `save_weights` of Keras 3.15.1 after two training steps, groups without weights included."""
    file.create_group(f"{model}layers/flatten/vars").attrs["name"] = "flatten"
    for layer, arrays in by_layer(weights).items():
        place = f"{model}layers/{layer}" if layer in TOP else f"{model}layers/sequential/layers/{layer}"
        file.create_group(f"{place}/vars").attrs["name"] = layer
        for number, array in enumerate(arrays):
            file[f"{place}/vars/{number}"] = array
    if optimizer:
        file["optimizer/vars/0"], file["optimizer/vars/1"] = np.int64(2), np.float32(2e-4)
        for number, array in enumerate(weights.values()):
            file[f"optimizer/vars/{number + 2}"] = array + 1  # a moment, of the same shape


def write_keras_2(file: h5py.File, weights: Arrays, model: str) -> None:
    for name, array in weights.items():
        file[f"{model}/{name}:0"] = array


def assert_draws_as_keras(path: Path) -> None:
    with torch.no_grad():
        drawn = load_generator(path)(integers("z"), integers("labels"))
    assert (drawn - images("generator_inference")).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["g.weights.h5", "g.hdf5"])
def test_a_generator_of_keras_3_draws_what_keras_drew(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        write_keras_3(file, weights_of("generator"))
    assert_draws_as_keras(tmp_path / name)


@torch.no_grad()
def test_a_discriminator_of_keras_3_judges_as_keras_did(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.weights.h5", "w") as file:
        write_keras_3(file, weights_of("discriminator"))
        file["layers/sequential/layers/dropout/seed_generator/vars/0"] = np.array([7, 8], np.uint32)
    logits, _ = load_discriminator(tmp_path / "d.weights.h5")(images("images"))
    assert np.abs(logits.sigmoid().numpy() - PARITY["disc_real_probability"][:, 0]).max() < 1e-5


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("version", [2, 3])
def test_each_network_of_a_combined_model_gets_its_own_weights(version: int, order: int, tmp_path: Path) -> None:
    """Two biases have the shape (1,): that of the last convolution, and that of `generation`."""
    generator, discriminator = weights_of("generator"), weights_of("discriminator")
    assert generator["conv2d_transpose_2/bias"].shape == discriminator["generation/bias"].shape
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        for weights, model in zip((generator, discriminator), ("model_1", "model_2")[::order], strict=True):
            if version == 2:
                write_keras_2(file, weights, model)
            else:
                write_keras_3(file, weights, f"layers/{model}/", optimizer=False)
    assert_draws_as_keras(tmp_path / "c.hdf5")
    bias = load_discriminator(tmp_path / "c.hdf5").generation.bias
    assert bias.tolist() == discriminator["generation/bias"].tolist()


def test_a_single_bias_is_never_taken_from_another_network(tmp_path: Path) -> None:
    weights = weights_of("generator")
    del weights["conv2d_transpose_2/bias"]
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        write_keras_2(file, weights, "model_1")
        file["model_2/generation/kernel:0"] = np.zeros((12544, 1), np.float32)
        file["model_2/generation/bias:0"] = np.array([2], np.float32)
    with pytest.raises(KerasWeightsError, match=r"c\.hdf5 .* \(5, 5, 1, 96\)"):
        load_generator(tmp_path / "c.hdf5")


def test_two_networks_of_one_kind_are_refused_unless_they_are_equal(tmp_path: Path) -> None:
    weights = weights_of("generator")
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        write_keras_2(file, weights, "model_1")
        write_keras_2(file, weights, "model_2")
    assert_draws_as_keras(tmp_path / "two.hdf5")
    with h5py.File(tmp_path / "two.hdf5", "a") as file:
        file["model_2/dense/bias:0"][5] += 1
    with pytest.raises(KerasWeightsError, match=r"two\.hdf5 holds several .*model_1/dense/bias:0 and model_2/dense"):
        load_generator(tmp_path / "two.hdf5")
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        for size in (30, 40):
            write_shapes(file, {"embedding/embeddings": (10, size), "dense/kernel": (size, 3456)}, f"model_{size}")
    with pytest.raises(KerasWeightsError, match="two generators, with latent sizes 30 and 40"):
        load_generator(tmp_path / "two.hdf5")


def test_pairs_that_differ_are_refused() -> None:
    pairs = [*keras_weights("generator"), ("bias", np.ones(1, np.float32))]
    with pytest.raises(KerasWeightsError, match=r"two different bias of shape \(1,\)"):
        from_keras(Generator(100), pairs)


def test_locks_of_other_programs_and_missing_locks_do_not_matter(tmp_path: Path) -> None:
    save_weights(Generator(10), tmp_path / "g.hdf5")
    with (tmp_path / "g.hdf5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert load_generator(tmp_path / "g.hdf5").latent_size == 10


# ----------------------------------------------------------------------------
# Refusals.

Shapes = dict[str, tuple[int, ...]]
NO_NORM: Shapes = {
    "embedding_1/embeddings": (10, 100),
    "dense_1/kernel": (100, 3456),
    "dense_1/bias": (3456,),
    "conv2d_transpose_1/kernel": (5, 5, 192, 384),
    "conv2d_transpose_1/bias": (192,),
    "conv2d_transpose_2/kernel": (5, 5, 96, 192),
    "conv2d_transpose_2/bias": (96,),
    "conv2d_transpose_3/kernel": (5, 5, 1, 96),
    "conv2d_transpose_3/bias": (1,),
}
UPSAMPLING: Shapes = {
    "embedding_1/embeddings": (10, 100),
    "dense_1/kernel": (100, 1024),
    "dense_2/kernel": (1024, 6272),
    "conv2d_1/kernel": (5, 5, 128, 256),
    "conv2d_2/kernel": (5, 5, 256, 128),
    "conv2d_3/kernel": (2, 2, 128, 1),
}


def write_shapes(file: h5py.File, shapes: Shapes, model: str = "") -> None:
    """Describe arrays of zeros without storing them."""
    for name, shape in shapes.items():
        file.create_dataset(f"{model}/{name}:0", shape, "f4")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (NO_NORM, r"an older version of the script \(no batch normalisation\)"),
        (UPSAMPLING, r"an older version of the script \(Keras 1 to 2\.1\.1"),
        ({"embedding_1/embedding_1_W": (10, 100), "dense_1/dense_1_W": (100, 1024)}, r"Keras 1 to 2\.1\.1"),
        ({"convolution2d_1/convolution2d_1_W": (32, 1, 3, 3)}, "Keras 1 on Theano"),
        ({**NO_NORM, "embedding_1/embeddings": (101, 100)}, "101 classes instead of 2 to 100"),
        ({**NO_NORM, "norm/gamma": (7,), "norm/beta": (7,)}, r"holds no gamma of shape \(192,\)"),
        ({"embedding_1/embeddings": (10, 10**6), "dense_1/kernel": (10**6, 3456)}, "latent size 1,000,000"),
        ({"dense_1/kernel": (100, 10)}, r"it holds no embeddings of shape \(10, 100\)"),
        ({}, "holds no weights"),
    ],
)
def test_a_generator_of_another_script_is_named(shapes: Shapes, words: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "params_generator_epoch_001.hdf5", "w") as file:
        write_shapes(file, shapes)
    with pytest.raises(KerasWeightsError, match=rf"params_generator_epoch_001\.hdf5 .*{words}"):
        load_generator(tmp_path / "params_generator_epoch_001.hdf5")


def test_a_network_in_place_of_the_other_is_named(tmp_path: Path) -> None:
    save_weights(Generator(30), tmp_path / "g.hdf5")
    save_weights(Discriminator(), tmp_path / "d.hdf5")
    with pytest.raises(KerasWeightsError, match=r"d\.hdf5 is not a generator of the original script, but its discr"):
        load_generator(tmp_path / "d.hdf5")
    with pytest.raises(KerasWeightsError, match=r"g\.hdf5 is not a discriminator .*, but its generator"):
        load_discriminator(tmp_path / "g.hdf5")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "a pipe"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00."), "a pickle"),
        (lambda path: path.write_bytes(b"PK\3\4model.weights.h5"), "a zip archive"),
        (lambda path: path.write_bytes(b"hello"), "not an HDF5 file"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 999), "a damaged HDF5 file"),
        (lambda path: os.truncate(path, path.write_bytes(b"\x89HDF\r\n\x1a\n") + (6 << 30)), "6,442,450,952 bytes"),
    ],
)
def test_a_file_that_is_not_hdf5_is_named(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(tmp_path / "x.hdf5")
    with pytest.raises(KerasWeightsError, match=rf"x\.hdf5.* {words}|{words}.*x\.hdf5"):
        load_generator(tmp_path / "x.hdf5")


# ----------------------------------------------------------------------------
# Hostile files.


def external(file: h5py.File, at: Path) -> None:
    (at / "secret").write_bytes(bytes(range(40)))
    file.create_dataset("dense_1/bias:0", (10,), "f4", external=[(str(at / "secret"), 0, 40)])


def virtual(file: h5py.File, at: Path) -> None:
    with h5py.File(at / "secret", "w") as other:
        other["a"] = np.ones(10, np.float32)
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource(at / "secret", "a", (10,))
    file.create_virtual_dataset("dense_1/bias:0", layout)


def external_link(file: h5py.File, at: Path) -> None:
    with h5py.File(at / "secret", "w") as other:
        other["a"] = np.ones(10, np.float32)
    file["dense_1"] = h5py.ExternalLink(str(at / "secret"), "/")


def soft_link(file: h5py.File, at: Path) -> None:
    file["dense_1/bias:0"] = h5py.SoftLink("/elsewhere")


def deep(file: h5py.File, at: Path) -> None:
    group = file
    for _ in range(3000):
        group = group.create_group("g")


def cycle(file: h5py.File, at: Path) -> None:
    for name in "abcdefgh":
        file[name] = file["/"]


def many(file: h5py.File, at: Path) -> None:
    for number in range(3000):
        file.create_group(f"g{number}")


def chunks(file: h5py.File, at: Path) -> None:
    file.create_dataset("dense_1/bias:0", (1,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")


def unknown_filter(file: h5py.File, at: Path) -> None:
    file.create_dataset("dense_1/bias:0", (10,), "f4", chunks=(10,), compression="lzf")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external, "stored in another file"),
        (virtual, "stored in another file"),
        (external_link, "links to another place or file"),
        (soft_link, "links to another place or file"),
        (deep, "nests or holds more"),
        (cycle, "nests or holds more"),
        (many, "nests or holds more"),
        (chunks, "in chunks of more than"),
        (unknown_filter, "compressed in an unknown way"),
    ],
)
def test_a_file_with_external_or_unlimited_content_is_refused(
    make: Callable[[h5py.File, Path], None], words: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        write_shapes(file, {**NO_NORM, "dense_1/bias": (3455,)}, "model")
        make(file, tmp_path)
    with pytest.raises(KerasWeightsError, match=rf"x\.hdf5 .*{words}"):
        load_generator(tmp_path / "x.hdf5")


def test_a_shape_bomb_is_not_read(tmp_path: Path) -> None:
    """An array of 4 TB that no network has is listed by its shape; others are read."""
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        write_keras_2(file, weights_of("generator"), "model")
        file.create_dataset("bomb/kernel:0", (1 << 20, 1 << 20), "f4")
        file.create_dataset("text", data="weights")
        file["integers"] = np.arange(3)
    assert_draws_as_keras(tmp_path / "x.hdf5")
    with open_arrays(tmp_path / "x.hdf5", skip=lambda name: False) as arrays:
        assert ("bomb/kernel:0", (1 << 20, 1 << 20)) in arrays.arrays
        assert not {"text", "integers"} & {array.path for array in arrays.arrays}


def test_a_damaged_byte_at_any_position_raises_only_the_documented_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        write_shapes(file, NO_NORM, "model")
    whole, random = (tmp_path / "x.hdf5").read_bytes(), np.random.default_rng(0)
    for position in random.integers(8, len(whole), 100):
        damaged = bytearray(whole)
        damaged[position] ^= int(random.integers(1, 256))
        (tmp_path / "y.hdf5").write_bytes(damaged)
        with suppress(KerasWeightsError):
            load_generator(tmp_path / "y.hdf5")
