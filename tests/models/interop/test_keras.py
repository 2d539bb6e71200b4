"""Files as Keras 2 writes them: other names, other order, nested or not, and back."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from models.interop.keras import KerasWeightsError, from_keras, load_discriminator, load_generator, save_weights
from models.networks.acgan import Discriminator, Generator
from tests.models.training.test_parity import PARITY, images, integers, keras_weights


def write_like_keras(path: Path, network: str, prefix: str) -> None:
    """Nest the weights as Keras 2 does, with the layer numbers of a process that built other models before."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_9", b"sequential_4"]
        file.create_group("input_9").attrs["weight_names"] = np.asarray([], dtype="S1")
        group = file.create_group("sequential_4")
        names = [f"{prefix}{name}_7:0" for name in PARITY[f"names_{network}"]]
        names = [name.replace("_7:0", ":0") if index % 2 else name for index, name in enumerate(names)]
        group.attrs["weight_names"] = [name.encode() for name in names]
        arrays = list(keras_weights(network))
        for name, (kind, array) in reversed(list(zip(PARITY[f"names_{network}"], arrays, strict=True))):
            group.create_dataset(f"{prefix}{name.split('/')[0]}_7/{kind}:0", data=array)


@pytest.mark.parametrize("prefix", ["", "sequential_4/"])
@torch.no_grad()
def test_an_original_generator_file_draws_what_keras_drew(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "params_generator_epoch_001.hdf5"
    write_like_keras(path, "generator", prefix)
    drawn = load_generator(path)(integers("z"), integers("labels"))
    assert (drawn - images("generator_inference")).abs().max() < 1e-5


@torch.no_grad()
def test_an_original_discriminator_file_judges_as_keras_did(tmp_path: Path) -> None:
    path = tmp_path / "params_discriminator_epoch_001.hdf5"
    write_like_keras(path, "discriminator", "")
    real_logits, _ = load_discriminator(str(path))(images("images"))
    assert np.abs(real_logits.sigmoid().numpy() - PARITY["disc_real_probability"][:, 0]).max() < 1e-5


def test_weights_written_for_keras_are_read_back(tmp_path: Path) -> None:
    generator = from_keras(Generator(100), keras_weights("generator"))
    discriminator = from_keras(Discriminator(), keras_weights("discriminator"))
    save_weights(generator, tmp_path / "g.hdf5")
    save_weights(discriminator, tmp_path / "d.hdf5")
    for before, after in (
        (generator, load_generator(tmp_path / "g.hdf5")),
        (discriminator, load_discriminator(tmp_path / "d.hdf5")),
    ):
        assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())


def test_another_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write_like_keras(tmp_path / "d.hdf5", "discriminator", "")
    (tmp_path / "text.hdf5").write_text("hello")
    with pytest.raises(KerasWeightsError, match=r"d\.hdf5 is not a generator of the original script"):
        load_generator(tmp_path / "d.hdf5")
    with pytest.raises(KerasWeightsError, match=r"text\.hdf5 is not an HDF5 file"):
        load_generator(tmp_path / "text.hdf5")
    with pytest.raises(KerasWeightsError, match=r"there is no file .*none\.hdf5"):
        load_discriminator(tmp_path / "none.hdf5")
    save_weights(Generator(100), tmp_path / "g.hdf5")
    with pytest.raises(KerasWeightsError, match=r"g\.hdf5 is not a discriminator"):
        load_discriminator(tmp_path / "g.hdf5")
