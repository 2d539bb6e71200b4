"""`acgan export --format huggingface`: writes a generator as a folder for Hugging Face."""

from pathlib import Path

from app.cli.local.drawing import load_with_manifest
from app.cli.local.export import Exported
from app.settings import AppSettings
from models.atomic_files import write_output
from models.bounded_reading import FileFault, read_bounded
from models.errors import Conflict
from models.interop import huggingface
from models.interop.model_card import Source
from models.sampling.sampler import prepare
from models.torch_device import find_device

CONFIG_LIMIT = 1 << 20  # bytes


class FolderNotEmpty(Conflict, code="folder-not-empty"):
    """The folder holds files that are not those of an export."""


def export_folder(settings: AppSettings, checkpoint: str, out: Path) -> Exported:
    """Write a generator as a folder for Hugging Face, in place of an earlier export. Each file is complete or absent.

    The sample picture is drawn on the CPU, so that it is the same with and without a GPU.

    Raises FolderNotEmpty, NoGenerator, OSError, and the errors of a bad checkpoint.
    """
    check_folder(out)
    generator, manifest = load_with_manifest(settings, checkpoint)
    if manifest is None:
        source = Source(Path(checkpoint).name, None, None, {})
    else:
        source = Source(manifest.id, manifest.config, manifest.epoch, manifest.metrics, manifest.class_names)
    files = huggingface.to_files(generator, prepare(generator, find_device("cpu")), source)
    for name, data in files.items():
        write_output(out / name, data)
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
