"""`acgan export`: writes a generator as ONNX or as Keras weights."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.errors import check_output_file, fail_on, read_settings, require_keras
from app.cli.options import AsJson, Home
from app.cli.output import print_json, print_sentence
from models.errors import InvalidInput

SUFFIXES: dict[str, Literal["onnx", "keras"]] = {".onnx": "onnx", ".hdf5": "keras", ".h5": "keras"}


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
    with fail_on():
        wanted = form_of(form, out)
    check_output_file(out)

    if wanted == "keras":
        require_keras()

    from app.cli.local.export import export_here

    with fail_on(OSError):
        exported = export_here(settings, checkpoint, wanted, discriminator, out)
    if as_json:
        print_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        print_sentence(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def form_of(form: str | None, out: Path) -> Literal["onnx", "keras"]:
    """Return the format that the option or the file name determines. Raises InvalidInput if neither does."""
    if form is None and out.suffix.lower() in SUFFIXES:
        return SUFFIXES[out.suffix.lower()]
    match form:
        case "onnx" | "keras":
            return form
    message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
    raise InvalidInput(f"{message}: use --format onnx or --format keras")
