"""`acgan training-data`: adds, lists, shows and removes training data of one's own."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from app.cli.commands.delete import confirm
from app.cli.display.output import print_json, print_sentence
from app.cli.errors import (
    check_output_file,
    check_output_folder,
    error_console,
    fail,
    fail_on,
    read_settings,
    stop,
    writing,
)
from app.cli.options import AsJson, Home, Key, Url
from models.data.building.options import FIT, INVERT, SEED, TEST_SHARE, ImportOptions, Invert, Mode
from models.training.recipes import RECIPES

if TYPE_CHECKING:  # takes a while to load
    from app.settings import AppSettings
    from models.data.building.built import Built

DEFAULTS = ImportOptions()
CONTINUES = "the same command continues with the images that are decoded"
RECIPE = "sharp"  # of the command that is recommended
ITERATIONS = 5  # of an epoch, with the recommended batch size
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

NewName = Annotated[str, typer.Argument(metavar="NAME", help="Its name: 1 to 40 of a-z, 0-9, `_` and `-`.")]


def add(
    name: NewName,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder with one subfolder of pictures for each class, a zip or tar archive of it, or a file: IDX, "
            ".npz, CSV (`label,pixel0,...`) or parquet (Hugging Face).",
        ),
    ],
    fit: Annotated[Mode, typer.Option(help=FIT)] = DEFAULTS.fit,
    invert: Annotated[Invert, typer.Option(help=INVERT)] = DEFAULTS.invert,
    test_share: Annotated[float | None, typer.Option(metavar="SHARE", help=f"{TEST_SHARE} Default: 1/7.")] = None,
    seed: Annotated[int, typer.Option(help=SEED)] = DEFAULTS.seed,
    labels: Annotated[Path | None, typer.Option(help="IDX file of the labels, if PATH is one of images.")] = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a picture of the images into this PNG file, and store nothing."),
    ] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the images to a service, which stores them: a worker reads them.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="With --upload: do not wait for the worker.")] = False,
    as_json: AsJson = False,
    home: Home = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Make training data from your own labelled images, and store them as a new version.

    Without --upload, this machine does it and needs no service. With --upload, exit code 0 if the worker succeeded, 1
    if it failed, 3 if the job was cancelled.
    """
    local = {"--labels": labels, "--preview": preview, "--home": home}
    remote = {"--url": url, "--key": key, "--no-wait": no_wait or None}
    if wrong := [option for option, value in (local if upload else remote).items() if value is not None]:
        fail(f"{', '.join(wrong)}: not {'together with' if upload else 'without'} --upload")
    with fail_on(ValidationError):
        share = {} if test_share is None else {"test_share": test_share}
        options = ImportOptions.model_validate({"fit": fit, "invert": invert, "seed": seed} | share)
    if upload:
        from app.cli.training_data_upload import send

        send(name, path, options, (url, key), not no_wait, as_json)
        return
    settings = read_settings(home=home)
    check_output_file(preview)
    check_output_folder(settings.home)  # for decoded images

    from models.registry.training_data import checked_name

    with fail_on():
        checked_name(name)
    with fail_on(OSError), one_sentence(settings.home):
        built = build(settings, path, options, labels)
    if preview is not None:
        write_preview(built, preview)
        return
    with fail_on(OSError), one_sentence(settings.store_name):
        store(settings, name, built, as_json)


def build(settings: "AppSettings", path: Path, options: ImportOptions, labels: Path | None) -> "Built":
    """Build training data with a progress bar. Raises the errors of `build_here`."""
    from app.cli.display.progress import bar
    from app.cli.local.training_data import build_here

    with bar(error_console, "Images", "images/s") as progress:
        task, started = progress.add_task("", total=None, rate=0.0), time.monotonic()
        first: int | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal first
            first = done if first is None else first  # decoded by an earlier command
            rate = (done - first) / max(time.monotonic() - started, 1e-3)
            progress.update(task, completed=done, total=total, rate=rate)

        return build_here(settings, path, options, labels, show)


@contextmanager
def one_sentence(where: Path | str) -> Iterator[None]:
    """End the command with a sentence that says what continues after Ctrl-C, or if `where` is full."""
    try:
        yield
    except KeyboardInterrupt:
        stop(CONTINUES)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        fail(f"{where} cannot be written: {error.strerror}. Nothing was stored; when there is room, {CONTINUES}")


def write_preview(built: "Built", out: Path) -> None:
    from models.atomic_files import write_output
    from models.registry.training_data import preview

    with writing(out):
        write_output(out, preview(built))
    train, test = (len(labels) for labels in (built.arrays.train_labels, built.arrays.test_labels))
    print_sentence(f"{out}: {len(built.classes)} classes, one a row, of {train:,} training and {test:,} test images")
    print_warnings(built.warnings)


def store(settings: "AppSettings", name: str, built: "Built", as_json: bool) -> None:
    from app.cli.errors import print_note
    from app.cli.local.training_data import describe, store_here

    manifest, is_new = store_here(settings, name, built)
    if as_json:
        print_json(describe(settings, str(manifest.reference)).model_dump(mode="json") | {"is_new": is_new})
        return
    if not is_new:
        print_sentence(f"{manifest.reference} has these images already: nothing was stored")
        return
    train, test = sum(manifest.train_counts), sum(manifest.test_counts)
    print_sentence(
        f"{manifest.reference}: {len(manifest.classes)} classes, {train:,} training and {test:,} test images, "
        f"from {manifest.source}"
    )
    print_warnings(manifest.warnings)
    options = f"--recipe {RECIPE} --dataset {name}{batch_size_for(train)}"
    print_sentence(f"train on it: acgan train {options}")
    print_note(
        f"it is in the store {settings.store_address}: a service with this store trains on it with "
        f"`acgan start --follow {options}`; `--upload` sends images to a service with another store"
    )


def batch_size_for(images: int) -> str:
    """Return the option that a run on this number of training images needs; an empty string if they fill a batch."""
    return "" if images >= RECIPES[RECIPE].batch_size else f" --batch-size {images // ITERATIONS}"


def print_warnings(warnings: "list[str] | tuple[str, ...]") -> None:
    for warning in warnings:
        print_sentence(f"note: {warning}")


def list_(as_json: AsJson = False, home: Home = None) -> None:
    """List the training data that a run on this machine can name: the built-in sets and your own."""
    settings = read_settings(home=home)

    from app.cli.local.training_data import describe_all

    with fail_on(OSError):
        listing = describe_all(settings)
    if as_json:
        print_json(listing.model_dump(mode="json"))
        return

    from app.cli.display.columns import print_table
    from app.cli.display.tables import training_data_table

    print_table(training_data_table(listing.training_data))


def show(
    dataset: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version, the newest one.")],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Describe training data: the number of images of each class, the source, and what was left out."""
    settings = read_settings(home=home)

    from app.cli.local.training_data import describe

    with fail_on(OSError):
        view = describe(settings, dataset)
    if as_json:
        print_json(view.model_dump(mode="json"))
        return

    from app.cli.display.columns import print_table
    from app.cli.display.tables import class_counts_table, described

    for sentence in described(view):
        print_sentence(sentence)
    print_warnings(view.warnings)
    print_table(class_counts_table(view))


def remove(
    dataset: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version, all versions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Remove training data from the store, unless a job needs them. Checkpoints that were trained on them stay."""
    settings = read_settings(home=home)
    if not yes:
        confirm(f"remove training data {dataset}?")

    from app.cli.local.training_data import remove_here

    with fail_on(OSError):
        removed = remove_here(settings, dataset)
    names = [str(reference) for reference in removed.references]
    if as_json:
        print_json({"removed": names, "jobs_checked": removed.is_checked})
        return
    unchecked = "" if removed.is_checked else "; Redis does not respond, so that no jobs were checked"
    print_sentence(f"removed {', '.join(names)}{unchecked}")
