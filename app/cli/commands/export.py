"""`acgan export`: writes a generator as ONNX or as Keras weights."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.errors import check_output_file, fail_on, read_settings
from app.cli.options import AsJson, Home
from app.cli.output import print_json, print_sentence
from models.errors import InvalidInput
from models.interop.formats import FORMATS, Form, check_libraries

SUFFIXES: dict[str, Form] = {
    ".onnx": "onnx",
    ".weights.h5": "keras3",
    ".hdf5": "keras",
    ".h5": "keras",
}  # in this order


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for example digits.onnx.")],
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="`latest`, a checkpoint's id, or a .safetensors file."),
    ] = "latest",
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`onnx`, `keras` (Keras 2) or `keras3`. If omitted, the suffix decides: .onnx, .hdf5, .weights.h5.",
        ),
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
        check_libraries(wanted)
    check_output_file(out)

    from app.cli.local.export import export_here

    with fail_on(OSError):
        exported = export_here(settings, checkpoint, wanted, discriminator, out)
    if as_json:
        print_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        print_sentence(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def form_of(form: str | None, out: Path) -> Form:
    """Return the format that the option or the file name determines. Raises InvalidInput if neither does."""
    if form is None:
        found = next((named for suffix, named in SUFFIXES.items() if out.name.lower().endswith(suffix)), None)
    else:
        found = next((named for named in FORMATS if named == form), None)
    if found is None:
        message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
        raise InvalidInput(f"{message}: use --format {', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]}")
    if found in ("keras", "keras3") and (found == "keras3") != out.name.endswith(FORMATS["keras3"].suffix):
        name = FORMATS["keras3"].suffix
        raise InvalidInput(f"Keras 3 reads its own format from files *{name}, and no other from them: rename {out}")
    return found
