"""Networks with another number of classes than ten, in the formats of Keras, ONNX and Hugging Face."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models.config import TrainingConfig
from models.data.catalog import DATASETS, LETTERS
from models.interop import huggingface, portable_generator
from models.interop.exports import to_format
from models.interop.formats import NotConvertible
from models.interop.keras import load_discriminator, load_generator
from models.interop.model_card import Source
from models.interop.onnx import to_onnx
from models.networks.acgan import Discriminator, Generator
from models.sampling.sampler import draw_digits, latents, prepare

CPU = torch.device("cpu")
NAMES = {"keras": "network.hdf5", "keras3": "network.weights.h5"}
CLASS_COUNTS = [2, 26, 47, 100]


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in expected.state_dict().items())


@pytest.mark.parametrize("form", ["keras", "keras3"])
@pytest.mark.parametrize("classes", CLASS_COUNTS)
def test_networks_written_for_keras_are_read_back(classes: int, form: str, tmp_path: Path) -> None:
    path, generator, discriminator = tmp_path / NAMES[form], Generator(12, classes), Discriminator(classes)
    path.write_bytes(to_format(generator, "keras3" if form == "keras3" else "keras", "x", classes))
    assert load_generator(path).classes == classes
    assert_same(load_generator(path), generator)
    path.write_bytes(to_format(discriminator, "keras3" if form == "keras3" else "keras", "x", classes))
    assert_same(load_discriminator(path), discriminator)


@pytest.mark.parametrize("heads", [10, 52])
def test_a_discriminator_with_two_heads_a_class_is_not_written_for_keras(heads: int) -> None:
    with pytest.raises(NotConvertible, match=f"this discriminator has {heads} classes, and its training data 26"):
        to_format(Discriminator(heads), "keras", "x", 26)


def test_onnx_draws_every_class_as_torch_does() -> None:
    generator = Generator(12, 26).eval()
    session = onnxruntime.InferenceSession(to_onnx(generator, "letters"))
    noise, labels = latents(3, 0, 4, 12), torch.tensor([0, 9, 10, 25])
    images, _ = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    with torch.inference_mode():
        assert np.abs(images - generator(noise, labels).numpy()).max() < 1e-5


# ----------------------------------------------------------------------------
# Hugging Face.


def written(folder: Path, generator: Generator, source: Source) -> str:
    for name, data in huggingface.to_files(generator, prepare(generator, CPU), source).items():
        (folder / name).write_bytes(data)
    return (folder / "README.md").read_text()


def source_of(dataset: str) -> Source:
    metrics = {"label_accuracy": 0.9, "frechet_distance": 1.5}
    return Source("run-e001", TrainingConfig(dataset=dataset), 1, metrics, DATASETS[dataset].classes)


def test_a_folder_of_letters_draws_the_last_letter_and_names_all(tmp_path: Path) -> None:
    generator = Generator(12, 26).eval()
    text = written(tmp_path, generator, source_of("printed_letters"))
    assert "maps a label from 0 to 25" in text
    assert all(f"`{name}`" in text for name in LETTERS)
    assert not re.search("digit", text)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_classes"], config["class_names"]) == (26, list(LETTERS))
    drawn = portable_generator.load_generator(tmp_path).draw(25, n=3, seed=4, index=2).numpy()
    expected = draw_digits(prepare(generator, CPU), 25, 3, 4, 2)
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_ten_classes_that_are_not_digits_are_not_called_digits(tmp_path: Path) -> None:
    text = written(tmp_path, Generator(12).eval(), source_of("fashion_mnist"))
    assert "`ankle-boot`" in text
    assert "digit" not in text
    assert 'datasets:\n- "fashion_mnist"' in text.replace("  - ", "- ")


def test_weights_of_unknown_origin_have_numbered_classes(tmp_path: Path) -> None:
    text = written(tmp_path, Generator(12, 3).eval(), Source("mine", None, None, {}))
    assert "The labels are: `0`, `1`, `2`." in text
    assert "generator.draw(2, n=8, seed=4)" in text
