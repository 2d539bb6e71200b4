"""`acgan export`: writes a generator as ONNX or as Keras weights."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.errors import check_output_file, fail_on, keras_errors, read_settings
from app.cli.options import AsJson, Home
from app.cli.output import print_json, print_sentence

SUFFIXES: dict[str, Literal["onnx", "keras"]] = {".onnx": "onnx", ".hdf5": "keras", ".h5": "keras"}


class NoSuchForm(Exception):
    """Neither `--format` nor the file name determines the format."""


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
    with fail_on(NoSuchForm):
        wanted = form_of(form, out)
    check_output_file(out)

    from app.cli.local.drawing import NoGenerator
    from app.cli.local.export import export_here
    from models.interop.onnx import OnnxMissing
    from models.networks.weights import InvalidWeights
    from models.registry.store import CheckpointDamaged, CheckpointNotFound

    kinds = (NoGenerator, OnnxMissing, CheckpointDamaged, CheckpointNotFound, InvalidWeights, OSError)
    with fail_on(*kinds, *keras_errors(wanted == "keras")):
        exported = export_here(settings, checkpoint, wanted, discriminator, out)
    if as_json:
        print_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        print_sentence(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def form_of(form: str | None, out: Path) -> Literal["onnx", "keras"]:
    """Raises NoSuchForm."""
    if form is None and out.suffix.lower() in SUFFIXES:
        return SUFFIXES[out.suffix.lower()]
    match form:
        case "onnx" | "keras":
            return form
    message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
    raise NoSuchForm(f"{message}: use --format onnx or --format keras")
