"""`acgan export`: writes a checkpoint's networks in formats of other programs."""

import io
from pathlib import Path
from typing import Literal, NamedTuple

from app.cli.local.drawing import NoGenerator, find_generator, load_with_manifest, weights_file
from app.settings import AppSettings
from models.atomic_files import write_durably
from models.bounded_reading import FileFault, read_bounded
from models.errors import Conflict
from models.interop import huggingface
from models.interop.model_card import Source
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import discriminator_from_bytes, load_discriminator
from models.registry import bundled
from models.registry.store import DISCRIMINATOR, CheckpointId
from models.sampling.sampler import prepare
from models.torch_device import find_device

Form = Literal["onnx", "keras"]

CONFIG_LIMIT = 1 << 20  # bytes


class FolderNotEmpty(Conflict, code="folder-not-empty"):
    """The folder holds files that are not those of an export."""


class Exported(NamedTuple):
    checkpoint: str
    size: int  # in bytes


def export_here(settings: AppSettings, checkpoint: str, form: Form, discriminator: bool, out: Path) -> Exported:
    """Write a generator as ONNX, or a network as the original script's `.hdf5`. The file is complete or absent.

    Raises NoGenerator, OnnxMissing, KerasWeightsError, OSError, and the errors of a bad checkpoint.
    """
    if discriminator:
        if form == "onnx":
            raise NoGenerator("only generators can be written as ONNX: omit --discriminator, or use --format keras")
        network, name = find_discriminator(settings, checkpoint)
        data = to_hdf5(network)
    else:
        generator, name = find_generator(settings, checkpoint)
        data = to_hdf5(generator) if form == "keras" else to_onnx(generator, name)
    write_durably(out, data)
    return Exported(name, len(data))


def export_folder(settings: AppSettings, checkpoint: str, out: Path) -> Exported:
    """Write a generator as a folder for Hugging Face, in place of an earlier export. Each file is complete or absent.

    Raises FolderNotEmpty, NoGenerator, OSError, and the errors of a bad checkpoint.
    """
    check_folder(out)
    generator, manifest = load_with_manifest(settings, checkpoint)
    if manifest is None:
        source = Source(Path(checkpoint).name, None, None, {})
    else:
        source = Source(manifest.id, manifest.config, manifest.epoch, manifest.metrics)
    files = huggingface.to_files(generator, prepare(generator, find_device(settings.device)), source)
    for name, data in files.items():
        write_durably(out / name, data)
    return Exported(source.name if manifest else checkpoint, sum(map(len, files.values())))


def check_folder(out: Path) -> None:
    """Raise FolderNotEmpty if files could be overwritten that are not those of an earlier export."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        is_ours = huggingface.is_export(read_bounded(out / huggingface.CONFIG, CONFIG_LIMIT))
    except FileFault:
        is_ours = False
    if not is_ours:
        raise FolderNotEmpty(f"{out}/ holds other files: name a new folder, or that of an earlier export")


def to_onnx(generator: Generator, name: str) -> bytes:
    from models.interop.onnx import to_onnx

    return to_onnx(generator, name)


def to_hdf5(network: Generator | Discriminator) -> bytes:
    from models.interop.keras import save_weights

    buffer = io.BytesIO()
    save_weights(network, buffer)
    return buffer.getvalue()


def find_discriminator(settings: AppSettings, name: str) -> tuple[Discriminator, str]:
    """Load a discriminator by name: `latest`, the id of a checkpoint, or a file of weights."""
    if (path := weights_file(name)) is not None:
        return load_discriminator(path), name
    store = settings.open_store()
    checkpoint = store.latest() if name == "latest" else CheckpointId.parse(name)
    if checkpoint is None or checkpoint.job == bundled.JOB:
        raise NoGenerator("the generator that comes with the package has no discriminator: name another checkpoint")
    manifest = store.manifest(checkpoint)
    if DISCRIMINATOR not in manifest.files:
        raise NoGenerator(f"{manifest.id} was imported without a discriminator")
    data = store.read(manifest, DISCRIMINATOR)
    return discriminator_from_bytes(data, f"{DISCRIMINATOR} of {manifest.id}"), manifest.id
