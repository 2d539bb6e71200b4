"""Writes a generator as the files of a model repository of Hugging Face. Equal checkpoints give equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

from models.config import IMAGE_SIZE
from models.data.catalog import DIGITS
from models.interop import portable_generator
from models.interop.model_card import Source, content, model_card
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.networks.weights import to_bytes
from models.sampling.grid import sheet
from models.sampling.png import encode_png
from models.sampling.sampler import SampleRange, draw_series
from models.version import code_version

CONFIG, WEIGHTS, CODE = portable_generator.CONFIG, portable_generator.WEIGHTS, "generator.py"
PICTURE, CARD = "samples.png", "README.md"
FILES = {  # in the order in which they are written: the config marks the folder of an export that was interrupted
    CONFIG: "architecture, latent size, normalisation and training",
    WEIGHTS: "weights, float32",
    CODE: "the network in torch, and `load_generator`",
    PICTURE: "sample digits",
    CARD: "this card",
}
MODEL_TYPE = "acgan"
SEED, ROWS, SCALE = 4, 8, 2  # of the sample picture
NORMALISATION = {
    "noise": "uniform in [-1, 1)",
    "images": "[-1, 1]",
    "pixels": "round(127.5 * image + 127.5), white on black",
}


def to_files(generator: Generator, folded: FoldedGenerator, source: Source) -> dict[str, bytes]:
    """Return the content of each file of FILES. `folded` is the same generator, prepared to draw."""
    classes = source.classes(generator.classes)
    digits = draw_series(folded, SampleRange(None, ROWS, SEED, classes=generator.classes))
    origin = {"checkpoint": source.name, "acgan": code_version()}
    contents = {
        CONFIG: as_json({**describe(generator, source), **origin}),
        WEIGHTS: with_metadata(to_bytes(generator.float()), {"format": "pt", **origin}),
        CODE: Path(portable_generator.__file__).read_bytes(),
        PICTURE: encode_png(sheet(digits, generator.classes, SCALE)),
        CARD: model_card(source, {**FILES, PICTURE: f"sample {content(classes)}"}, classes).encode(),
    }
    return {name: contents[name] for name in FILES}


def is_export(config: bytes) -> bool:
    """Return whether these are the bytes of a config that `to_files` has made."""
    try:
        fields = json.loads(config)
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("model_type") == MODEL_TYPE


def as_json(fields: Mapping[str, object]) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()


def describe(generator: Generator, source: Source) -> dict[str, object]:
    config = source.config
    return {
        "model_type": MODEL_TYPE,
        "architectures": [type(generator).__name__],
        "latent_size": generator.latent_size,
        "num_classes": generator.classes,
        **({} if (names := source.classes(generator.classes)) == DIGITS else {"class_names": list(names)}),
        "image_size": IMAGE_SIZE,
        "num_channels": 1,
        "torch_dtype": "float32",
        "normalisation": NORMALISATION,
        "recipe": config and config.recipe,
        "epoch": source.epoch,
        "training": config and config.model_dump(mode="json", exclude_none=True),
    }


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Replace the metadata of safetensors bytes. The library writes several entries in a random order."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
