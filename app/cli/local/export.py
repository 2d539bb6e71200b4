"""`acgan export`: writes a checkpoint's networks in formats of other programs."""

from pathlib import Path
from typing import NamedTuple

from app.cli.local.drawing import NoGenerator, load_with_manifest, weights_file
from app.settings import AppSettings
from models.atomic_files import write_output
from models.config import NUM_CLASSES
from models.interop.exports import to_format
from models.interop.formats import FORMATS, Form
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import discriminator_from_bytes, load_discriminator, load_generator
from models.registry import bundled
from models.registry.serving_policy import newest_drawn
from models.registry.store import DISCRIMINATOR, CheckpointId, Manifest


class Exported(NamedTuple):
    checkpoint: str
    size: int  # in bytes


def export_here(settings: AppSettings, checkpoint: str, form: Form, discriminator: bool, out: Path) -> Exported:
    """Write a generator, or a discriminator for Keras, in a format of another program. The file is complete or absent.

    Raises NoGenerator, ExtraMissing, NotConvertible, OSError, and the errors of a bad checkpoint.
    """
    if discriminator and "discriminator" not in FORMATS[form].networks:
        raise NoGenerator("only generators can be written as ONNX: omit --discriminator, or use --format keras")
    network, manifest = (find_discriminator if discriminator else load_with_manifest)(settings, checkpoint)
    name = checkpoint if manifest is None else manifest.id
    classes = len(manifest.class_names) if manifest else classes_of(network, Path(checkpoint))
    data = to_format(network, form, name, classes)
    write_output(out, data)
    return Exported(name, len(data))


def classes_of(network: Generator | Discriminator, path: Path) -> int:
    """Return the number of classes of a network from a file.

    The outputs of a discriminator leave it open, because that of the ADC-GAN has two for each class. The file of its
    generator beside it decides. Without that file, ten outputs are taken for the ten digits. Raises NoGenerator if
    there are other outputs, and the errors of a bad file.
    """
    if isinstance(network, Generator):
        return network.classes
    beside = path.with_name(path.name.replace("discriminator", "generator"))
    if beside != path and beside.exists():
        return load_generator(beside).classes
    if (outputs := network.auxiliary.out_features) != NUM_CLASSES:
        names = str(beside) if beside != path else "generator.safetensors beside discriminator.safetensors"
        raise NoGenerator(
            f"this discriminator has {outputs} classes, or half as many with two outputs for each. Its generator's "
            f"file says which, and is expected as {names}"
        )
    return NUM_CLASSES


def find_discriminator(settings: AppSettings, name: str) -> tuple[Discriminator, Manifest | None]:
    """Load a discriminator by name: `latest`, the id of a checkpoint, or a file of weights; with its manifest."""
    if (path := weights_file(name)) is not None:
        return load_discriminator(path), None
    store = settings.open_store()
    checkpoint = newest_drawn(store) if name == "latest" else CheckpointId.parse(name)
    if checkpoint is None or checkpoint.job == bundled.JOB:
        raise NoGenerator("the generator that comes with the package has no discriminator: name another checkpoint")
    manifest = store.manifest(checkpoint)
    if DISCRIMINATOR not in manifest.files:
        raise NoGenerator(f"{manifest.id} was imported without a discriminator")
    data = store.read(manifest, DISCRIMINATOR)
    return discriminator_from_bytes(data, f"{DISCRIMINATOR} of {manifest.id}"), manifest
