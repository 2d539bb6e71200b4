"""Writes the weights files of Keras 3, `.weights.h5`, for the networks of the original script.

Keras 3 numbers a layer's weights, and finds a layer by its place: the class of each layer in a model, numbered from the
second one on (`_save_container_state` in keras/src/saving/saving_lib.py, Keras 3.0 to 3.15).
"""

from pathlib import Path
from typing import BinaryIO

import h5py

from models.config import NUM_CLASSES
from models.interop.keras import check_classes, to_keras
from models.interop.keras_layers import pair
from models.networks.acgan import Discriminator, Generator

PLACES = {"embedding_1": "layers/embedding", "generation": "layers/dense", "auxiliary": "layers/dense_1"}
VARS = "vars"  # the group of a layer's weights


def save_weights_3(network: Generator | Discriminator, path: str | Path | BinaryIO, classes: int = NUM_CLASSES) -> None:
    """Write a file that `load_weights` of Keras 3 reads into the original script's `build_generator` or
    `build_discriminator`. The same weights always give the same bytes.

    The name of the file has to end in `.weights.h5`, which Keras 3 requires. `classes` and errors are those of
    `models.interop.keras.save_weights`.
    """
    check_classes(network, classes)
    with h5py.File(path, "w") as file:
        file.create_group(VARS)
        for weight, tensor in pair(network, network.state_dict()):
            group = file.require_group(f"{place(weight.layer)}/{VARS}")
            group.create_dataset(str(len(group)), data=to_keras(weight, tensor))


def place(layer: str) -> str:
    """Return the group of a layer. All layers that `PLACES` does not name are in the nested Sequential."""
    if layer in PLACES:
        return PLACES[layer]
    kind, _, number = layer.rpartition("_")
    return f"layers/sequential/layers/{kind}" + (f"_{int(number) - 1}" if int(number) > 1 else "")
