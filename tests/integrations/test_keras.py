"""Keras 3 itself loads the weights that are exported, and draws and judges what our networks do."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.interop.exports import to_format
from models.interop.formats import FORMATS, Form
from models.networks.acgan import Discriminator, Generator

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras 3.15 with torch
]
LATENT = 10


def load_keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def build_generator(keras: Any) -> Any:
    """The model of the original script (keras-team/keras, examples/mnist_acgan.py), with the names of Keras 3."""
    layers = keras.layers
    cnn = keras.Sequential(
        [
            layers.Dense(3 * 3 * 384, activation="relu"),
            layers.Reshape((3, 3, 384)),
            layers.Conv2DTranspose(192, 5, strides=1, padding="valid", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(96, 5, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(1, 5, strides=2, padding="same", activation="tanh"),
        ]
    )
    latent, image_class = keras.Input((LATENT,)), keras.Input((1,), dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(10, LATENT)(image_class))
    return keras.Model([latent, image_class], cnn(layers.multiply([latent, embedded])))


def build_discriminator(keras: Any) -> Any:
    layers = keras.layers
    cnn = keras.Sequential()
    for filters, stride in ((32, 2), (64, 1), (128, 2), (256, 1)):
        cnn.add(layers.Conv2D(filters, 3, padding="same", strides=stride))
        cnn.add(layers.LeakyReLU(negative_slope=0.2))
        cnn.add(layers.Dropout(0.3))
    cnn.add(layers.Flatten())
    image = keras.Input((28, 28, 1))
    features = cnn(image)
    fake = layers.Dense(1, activation="sigmoid", name="generation")(features)
    return keras.Model(image, [fake, layers.Dense(10, activation="softmax", name="auxiliary")(features)])


def written(network: Generator | Discriminator, form: Form, folder: Path) -> str:
    path = folder / f"weights{FORMATS[form].suffix}"
    path.write_bytes(to_format(network, form, "a checkpoint"))
    return str(path)


@pytest.mark.parametrize("form", ["keras", "keras3"])
@torch.no_grad()
def test_keras_draws_what_the_generator_draws(form: Form, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours, theirs = Generator(LATENT).eval(), build_generator(load_keras())
    for norm in (ours.norm_7, ours.norm_14):
        for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5)  # so that an exchanged statistic is noticed
    theirs.load_weights(written(ours, form, tmp_path))
    noise, labels = torch.rand(5, LATENT) * 2 - 1, torch.arange(5)
    drawn = theirs.predict([noise.numpy(), labels.numpy()[:, None]], verbose=0)
    expected = ours(noise, labels).numpy()[:, 0]
    assert expected.std() > 0.05
    assert np.abs(drawn[..., 0] - expected).max() < 1e-4


@pytest.mark.parametrize("form", ["keras", "keras3"])
@torch.no_grad()
def test_keras_judges_what_the_discriminator_judges(form: Form, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours, theirs = Discriminator().eval(), build_discriminator(load_keras())
    theirs.load_weights(written(ours, form, tmp_path))
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    fake, classes = theirs.predict(images.numpy()[:, 0, :, :, None], verbose=0)
    logits, auxiliary = ours(images)
    assert np.abs(fake[:, 0] - logits.sigmoid().numpy().ravel()).max() < 1e-5
    assert np.abs(classes - torch.softmax(auxiliary, 1).numpy()).max() < 1e-5
