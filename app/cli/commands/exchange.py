"""Conversion of generators to and from other formats: `acgan export`, `import-keras`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.common import (
    AsJson,
    Commands,
    Home,
    check_place,
    errors,
    mistakes_in_a_sentence,
    read_settings,
    tell,
    tell_json,
)

SUFFIXES: dict[str, Literal["onnx", "keras"]] = {".onnx": "onnx", ".hdf5": "keras", ".h5": "keras"}


class NoSuchForm(Exception):
    """Neither `--format` nor the file name determines the format."""


class LibraryMissing(Exception):
    """The library that reads and writes Keras files is not installed."""


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for example digits.onnx.")],
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="`latest`, a checkpoint's id, or a .safetensors file."),
    ] = "latest",
    form: Annotated[
        str | None,
        typer.Option("--format", help="`onnx` or `keras`. If omitted, the suffix decides: .onnx, .hdf5, .h5."),
    ] = None,
    discriminator: Annotated[
        bool, typer.Option("--discriminator", help="Export the discriminator (keras only).")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Write a generator as ONNX, or as a weights file for the original Keras model. Needs no service."""
    settings = read_settings(home=home)
    with mistakes_in_a_sentence(NoSuchForm):
        wanted = form_of(form, out)
    check_place(out)

    from app.cli.local.drawing import NoGenerator
    from app.cli.local.export import export_here
    from models.interop.onnx import OnnxMissing
    from models.networks.weights import InvalidWeights
    from models.registry.store import CheckpointDamaged, CheckpointNotFound

    kinds = (NoGenerator, OnnxMissing, CheckpointDamaged, CheckpointNotFound, InvalidWeights, OSError)
    with mistakes_in_a_sentence(*kinds, *keras_errors(wanted == "keras")):
        exported = export_here(settings, checkpoint, wanted, discriminator, out)
    if as_json:
        tell_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        tell(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def form_of(form: str | None, out: Path) -> Literal["onnx", "keras"]:
    """Raises NoSuchForm."""
    if form is None and out.suffix.lower() in SUFFIXES:
        return SUFFIXES[out.suffix.lower()]
    match form:
        case "onnx" | "keras":
            return form
    message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
    raise NoSuchForm(f"{message}: use --format onnx or --format keras")


def keras_errors(needed: bool) -> tuple[type[Exception], ...]:
    """Return the errors of the Keras reader and writer. Ends the command if its library is not installed."""
    if not needed:
        return ()

    with mistakes_in_a_sentence(LibraryMissing):
        try:
            from models.interop.keras import KerasWeightsError
        except ModuleNotFoundError as error:
            raise LibraryMissing(f"Keras weights need the package {error.name}: pip install 'acgan[keras]'") from None
    return (KerasWeightsError,)


def import_keras(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder with params_generator_epoch_001.hdf5 (.h5, .weights.h5), ..."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the folder's name.")] = None,
    dataset: Annotated[str, typer.Option(help="The training data of the run: `mnist` or `printed`.")] = "mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per checkpoint.")] = False,
    home: Home = None,
) -> None:
    """Convert weights of the original Keras script (Keras 2 and 3) into checkpoints, and serve the last good one."""
    settings = read_settings(home=home)
    kinds = keras_errors(needed=True)

    from pydantic import ValidationError
    from rich.progress import Progress

    from app.cli.local.keras_import import NothingToImport, counts_from_zero, import_here
    from models.config import TrainingConfig
    from models.data.mnist import DatasetUnavailable
    from models.devices import DeviceUnavailable

    with mistakes_in_a_sentence(ValidationError):
        label = TrainingConfig.model_validate({"dataset": dataset, "name": name or folder.resolve().name[:100] or None})
    kinds += (NothingToImport, DatasetUnavailable, DeviceUnavailable, OSError)
    with mistakes_in_a_sentence(*kinds):
        if counts_from_zero(folder):
            errors.print("The files number the epochs from 000: file 000 becomes epoch 1, and so on.", highlight=False)
    with mistakes_in_a_sentence(*kinds), Progress(console=errors, transient=True) as bar:
        reading, writing = bar.add_task("reading", total=None), bar.add_task("judging and publishing", total=None)

        def checked(done: int, total: int) -> None:
            bar.update(reading, completed=done, total=total)
            bar.update(writing, total=total)

        manifests = import_here(
            settings, folder, label.dataset, label.name, checked, lambda done: bar.update(writing, completed=done)
        )
    for manifest in manifests:
        if as_json:
            tell_json(manifest.model_dump(mode="json"))
        else:
            accuracy = manifest.metrics.get("label_accuracy")
            figures = f", {accuracy:.1%} of its digits recognised" if accuracy is not None else ""
            refused = f"; not served: {manifest.refused}" if manifest.refused else ""
            tell(f"{manifest.id}{figures}{refused}")
    if not as_json and any(manifest.refused is None for manifest in manifests):
        last = [manifest.id for manifest in manifests if manifest.refused is None][-1]
        tell(f"draw with the last one: acgan digits 7 --checkpoint {last}")


COMMANDS: Commands = {"export": export, "import-keras": import_keras}
