"""Sends images to a service for `acgan training-data add --upload`, and shows the job that reads them."""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.display.output import console, print_json, print_record, print_sentence
from app.cli.errors import fail_on, interruptible, print_error, print_note, stop
from app.cli.service import exit_unless_succeeded, service
from models.bounded_reading import printable
from models.data.building.options import ImportOptions
from models.data.importing.containers.tree import PIECE, Folder, link_notes
from models.data.importing.items import LIMITS, InvalidImages

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Job

SURROGATE = re.compile("[\\ud800-\\udfff]")  # a byte of a name that is not UTF-8
SENT = "the service may have received the images: the same command sends them again, and they are stored once"


def send(
    name: str, path: Path, options: ImportOptions, address: tuple[str | None, str | None], waits: bool, as_json: bool
) -> None:
    """Send a file, or a folder as a zip archive, and wait for the result. `address` is URL and key."""
    with fail_on(OSError), packed(path) as (file, notes), service(*address) as client:
        for note in notes:
            print_note(f"note: {note}")
        given = path.resolve().name
        named = plain(given if file == path else f"{given}.zip")
        with interruptible(SENT):
            job = client.add_training_data(name, file, file=named, **options.model_dump())
        if not waits:
            print_record(job, as_json, f"job {job.id} is accepted: `acgan follow {job.id}` follows it")
            return
        ended = wait(client, job, as_json)
    exit_unless_succeeded("job", ended)
    if as_json:
        print_json(ended.model_dump(mode="json"))
        return
    made = ended.result
    assert made is not None
    known = "" if made.is_new else " has these images already"
    print_sentence(
        f"{made.dataset}{known}: {len(made.classes)} classes, {made.train_images:,} training and {made.test_images:,} "
        "test images"
    )
    for warning in ended.warnings:
        print_sentence(f"note: {warning}")


def plain(name: str) -> str:
    """Return a file's name as a service accepts it: letters, digits, `.`, `_` and `-`, the first a letter or digit."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[-100:].lstrip("._-") or "images"


def wait(client: "Client", job: "Job", as_json: bool) -> "Job":
    """Show the progress until the job has ended. Returns its last record."""
    from app.cli.display.progress import bar

    try:
        with bar(console, "Images", "images/s") as shown:
            task, trouble = shown.add_task("", total=None, rate=0.0), None
            for change in client.follow(job):
                job = change.job
                if job.trouble and job.trouble != trouble:
                    print_error(job.trouble)
                trouble = job.trouble
                if job.progress:
                    progress = job.progress
                    rate = progress.images_per_second
                    shown.update(task, completed=progress.batch, total=progress.batches, rate=rate)
    except KeyboardInterrupt:
        stop(f"the job continues: `acgan follow {job.id}` follows it again, `acgan cancel {job.id}` cancels it")
    return client.job(job.id)


@contextmanager
def packed(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the file, or for a folder a temporary zip archive of it, and sentences about what was left out.

    Raises InvalidImages, OSError.
    """
    if not path.is_dir():
        yield path, []
        return
    with tempfile.TemporaryDirectory(prefix="acgan-") as folder:
        archive = Path(folder) / "images.zip"
        notes = pack(path, archive)
        yield archive, notes


def pack(folder: Path, archive: Path) -> list[str]:
    """Write a zip archive of a folder. The worker finds the same in it as an import of the folder itself.

    The same files give the same bytes: the archive does not contain their times. Returns sentences about what was left
    out. Raises InvalidImages and OSError as an import of the folder does.
    """
    found = Folder(folder, LIMITS)
    files = {entry.path: entry for entry in found.tree.files}
    folders = ["/".join((*parts, "")) for parts in found.tree.folders if parts]  # also those without a picture
    with zipfile.ZipFile(archive, "w") as made:  # not compressed: pictures are already
        for name in sorted([*files, *folders]):
            if SURROGATE.search(name):
                raise InvalidImages(f"the name of {printable(folder / name)} is not UTF-8: rename it")
            info = zipfile.ZipInfo(name)
            if name not in files:
                made.writestr(info, b"")
                continue
            with found.open(files[name]) as source, made.open(info, "w", force_zip64=True) as target:
                while piece := source.read(PIECE):
                    target.write(piece)
    return link_notes(found)
