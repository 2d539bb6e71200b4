"""`acgan download CHECKPOINT`: downloads the files of a checkpoint, or its networks in formats of other programs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.cli.display.output import print_json, print_sentence
from app.cli.errors import check_output_folder, fail, fail_on, interruptible, writing
from models.errors import InvalidInput
from models.interop.formats import FORMATS, Form

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client

CHECKPOINT = re.compile(r"latest|best|[0-9a-z][0-9a-z-]{0,63}-e\d{3,4}")


class Wanted(NamedTuple):
    """The options that only checkpoints have."""

    files: list[str]
    form: str | None
    discriminator: bool
    weights: str | None

    def check(self) -> Form | None:
        """Return the format. Raises InvalidInput for options that do not go together or have no such value."""
        if self.form is not None and self.form not in FORMATS:
            raise InvalidInput(f"there is no format {self.form!r}: use --format {', '.join(FORMATS)}")
        if self.weights not in (None, "average", "trained"):
            raise InvalidInput(f"there are no {self.weights!r} weights: use --weights average or trained")
        if self.form is None and (self.discriminator or self.weights):
            raise InvalidInput("--discriminator and --weights need a --format; --file downloads a stored file")
        if self.form is not None and self.files:
            raise InvalidInput("use either --file or --format")
        return next((form for form in FORMATS if form == self.form), None)


def is_checkpoint(name: str) -> bool:
    return CHECKPOINT.fullmatch(name) is not None


def download_checkpoint(client: "Client", name: str, wanted: Wanted, out: Path | None, as_json: bool) -> None:
    """Write the files into `out`, or into a folder that is named after the checkpoint. Raises typer.Exit."""
    with fail_on():
        form = wanted.check()
    checkpoint = client.checkpoint(name).id
    if not is_checkpoint(checkpoint):
        fail("the service names a checkpoint with an id that no checkpoint has")
    folder = out or Path(checkpoint)
    check_output_folder(folder)
    paths = list[Path]()
    resume = f"complete files are kept in {folder}/: the same command starts the download of {checkpoint} again"
    with writing(folder), interruptible(resume):
        folder.mkdir(parents=True, exist_ok=True)
        if form is not None:
            network = "discriminator" if wanted.discriminator else "generator"
            weights = wanted.weights
            paths.append(client.export(checkpoint, form, folder, network=network, weights=weights))  # type: ignore[arg-type]
        elif wanted.files:
            paths += [client.download_checkpoint_file(checkpoint, file, folder) for file in wanted.files]
        else:
            paths += client.download_checkpoint(checkpoint, folder)
    if as_json:
        print_json({"checkpoint": checkpoint, "files": [str(path) for path in paths]})
    else:
        for path in paths:
            print_sentence(str(path))
