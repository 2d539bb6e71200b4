"""`acgan export`: writes a generator as ONNX, as Keras weights, or as a folder for Hugging Face."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.errors import check_output_file, check_output_folder, fail_on, read_settings, require_keras
from app.cli.options import AsJson, Home
from app.cli.output import print_json, print_sentence
from models.errors import InvalidInput

Form = Literal["onnx", "keras", "huggingface"]

SUFFIXES: dict[str, Form] = {".onnx": "onnx", ".hdf5": "keras", ".h5": "keras"}


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for example digits.onnx, or a folder.")],
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="`latest`, a checkpoint's id, or a .safetensors file."),
    ] = "latest",
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`onnx`, `keras`, or `huggingface`, a folder. If omitted, the suffix decides: .onnx, .hdf5, .h5.",
        ),
    ] = None,
    discriminator: Annotated[
        bool, typer.Option("--discriminator", help="Export the discriminator (keras only).")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Write a generator as ONNX, as weights of the original Keras model, or for Hugging Face. Needs no service."""
    settings = read_settings(home=home)
    with fail_on():
        wanted = form_of(form, out)
        if wanted == "huggingface" and discriminator:
            raise InvalidInput("only the discriminator's weights for Keras can be written: use --format keras")
    (check_output_folder if wanted == "huggingface" else check_output_file)(out)

    if wanted == "keras":
        require_keras()

    from app.cli.local.export import export_folder, export_here

    with fail_on(OSError):
        if wanted == "huggingface":
            exported = export_folder(settings, checkpoint, out)
        else:
            exported = export_here(settings, checkpoint, wanted, discriminator, out)
    if as_json:
        print_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        print_sentence(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def form_of(form: str | None, out: Path) -> Form:
    """Return the format that the option or the file name determines. Raises InvalidInput if neither does."""
    if form is None and out.suffix.lower() in SUFFIXES:
        return SUFFIXES[out.suffix.lower()]
    match form:
        case "onnx" | "keras" | "huggingface":
            return form
    message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
    raise InvalidInput(f"{message}: use --format onnx, keras or huggingface")
