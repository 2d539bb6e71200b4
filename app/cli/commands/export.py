"""`acgan export`: writes a generator as ONNX, as Keras weights, or as a folder for Hugging Face."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.completion import local_checkpoints, one_of
from app.cli.display.output import print_json, print_sentence
from app.cli.errors import check_output_file, check_output_folder, fail, fail_on, read_settings
from app.cli.options import AsJson, Home
from models.errors import InvalidInput
from models.interop.formats import FORMATS, Form, check_libraries

if TYPE_CHECKING:  # takes a while to load
    from app.cli.local.export import Exported
    from app.settings import AppSettings

HUGGINGFACE = "huggingface"
NAMES = (*FORMATS, HUGGINGFACE)
SUFFIXES: dict[str, Form] = {
    ".onnx": "onnx",
    ".weights.h5": "keras3",
    ".hdf5": "keras",
    ".h5": "keras",
}  # in this order


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, for example digits.onnx, or a folder.")],
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="`latest`, a checkpoint's id, or a .safetensors file.",
            autocompletion=local_checkpoints,
        ),
    ] = "latest",
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=one_of(*FORMATS, "huggingface"),
            help="`onnx`, `keras` (Keras 2), `keras3`, or `huggingface`, a folder. If omitted, the suffix decides: "
            ".onnx, .hdf5, .weights.h5.",
        ),
    ] = None,
    discriminator: Annotated[
        bool, typer.Option("--discriminator", help="Export the discriminator (Keras only).")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Write a generator as ONNX, as weights of the original Keras model, or for Hugging Face. Needs no service."""
    settings = read_settings(home=home)
    if form == HUGGINGFACE:
        wanted, exported = HUGGINGFACE, write_folder(settings, checkpoint, discriminator, out)
    else:
        wanted, exported = write_file(settings, checkpoint, form, discriminator, out)
    if as_json:
        print_json({"checkpoint": exported.checkpoint, "format": wanted, "file": str(out), "bytes": exported.size})
    else:
        print_sentence(f"{exported.checkpoint} as {wanted} in {out}, {exported.size / 1e6:.1f} MB")


def write_folder(settings: "AppSettings", checkpoint: str, discriminator: bool, out: Path) -> "Exported":
    if discriminator:
        fail("only generators can be written for Hugging Face: omit --discriminator, or use --format keras")
    check_output_folder(out)

    from app.cli.local.export_folder import export_folder

    with fail_on(OSError):
        return export_folder(settings, checkpoint, out)


def write_file(
    settings: "AppSettings", checkpoint: str, form: str | None, discriminator: bool, out: Path
) -> tuple[Form, "Exported"]:
    with fail_on():
        wanted = form_of(form, out)
        check_libraries(wanted)
    check_output_file(out)

    from app.cli.local.export import export_here

    with fail_on(OSError):
        return wanted, export_here(settings, checkpoint, wanted, discriminator, out)


def form_of(form: str | None, out: Path) -> Form:
    """Return the format that the option or the file name determines. Raises InvalidInput if neither does."""
    if form is None:
        found = next((named for suffix, named in SUFFIXES.items() if out.name.lower().endswith(suffix)), None)
    else:
        found = next((named for named in FORMATS if named == form), None)
    if found is None:
        message = f"there is no format {form!r}" if form else f"the name of {out} determines no format"
        raise InvalidInput(f"{message}: use --format {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    if found in ("keras", "keras3") and (found == "keras3") != out.name.endswith(FORMATS["keras3"].suffix):
        name = FORMATS["keras3"].suffix
        raise InvalidInput(f"Keras 3 reads its own format from files *{name}, and no other from them: rename {out}")
    return found
