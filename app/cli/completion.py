"""Completion of values in a shell. It never prints an error: without an answer in time, nothing is completed."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client
    from app.settings import AppSettings

SECONDS = 1.5  # for each request
MOST = 50  # jobs, the newest
WORD = re.compile(r"[\w.@%+,-]+")  # what a shell does not change or divide

Values = list[str]


def one_of(*values: str) -> Callable[[str], Values]:
    """Return the completion of an option with these values."""

    def complete(incomplete: str) -> Values:
        return beginning(values, incomplete)

    return complete


def beginning(values: Iterable[str], incomplete: str) -> Values:
    return [value for value in dict.fromkeys(values) if value.startswith(incomplete) and WORD.fullmatch(value)]


# ----------------------------------------------------------------------------
# Values that a service knows.


def runs(ctx: typer.Context, incomplete: str) -> Values:
    """Complete the ids and names of runs, and `latest`."""
    return beginning(ask(ctx, run_values), incomplete)


def jobs(ctx: typer.Context, incomplete: str) -> Values:
    """Complete a JOB: also the ids of data sets, after those of runs."""
    return beginning((*ask(ctx, run_values), *ask(ctx, dataset_values)), incomplete)


def served_checkpoints(ctx: typer.Context, incomplete: str) -> Values:
    return beginning(("latest", "best", *ask(ctx, checkpoint_values)), incomplete)


def served_choices(ctx: typer.Context, incomplete: str) -> Values:
    return beginning(("newest", "best", *ask(ctx, checkpoint_values)), incomplete)


def datasets_or_checkpoints(ctx: typer.Context, incomplete: str) -> Values:
    values = (*ask(ctx, dataset_values), "latest", "best", *ask(ctx, checkpoint_values))
    return beginning(values, incomplete)


def what_can_be_deleted(ctx: typer.Context, incomplete: str) -> Values:
    read = {"job": run_values, "dataset": dataset_values, "checkpoint": checkpoint_values}
    return beginning(ask(ctx, read[kind]) if (kind := str(ctx.params.get("kind"))) in read else (), incomplete)


def run_values(client: "Client") -> Values:
    from app.cli.references import LATEST, name_of

    found = client.jobs(MOST, epochs="last", timeout_seconds=SECONDS).jobs
    return [*(job.id for job in found), *(name_of(job) for job in found), LATEST]


def dataset_values(client: "Client") -> Values:
    return [dataset.id for dataset in client.datasets(MOST, timeout_seconds=SECONDS).datasets]


def checkpoint_values(client: "Client") -> Values:
    return [checkpoint.id for checkpoint in client.checkpoints(timeout_seconds=SECONDS).checkpoints]


def ask(ctx: typer.Context, read: "Callable[[Client], Values]") -> Values:
    """Return values of the service that the command line or the environment names; none if it does not answer."""
    with suppress(Exception):
        settings = read_settings(url=ctx.params.get("url"), key=ctx.params.get("key"))

        from acgan_client import Client

        secret = settings.key.get_secret_value() if settings.key else None
        with Client(settings.url, secret, SECONDS) as client:
            return read(client)
    return []


def read_settings(**given: object) -> "AppSettings":
    """Read the environment, as the commands do. Raises ValueError."""
    from app.settings import AppSettings

    return AppSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


# ----------------------------------------------------------------------------
# Values on this machine.


def local_checkpoints(ctx: typer.Context, incomplete: str) -> Values:
    """Complete `latest`, the checkpoints of the home folder, and files of weights."""
    from models.registry.storage.filesystem import FilesystemStorage

    found = ["latest"]
    with suppress(Exception):
        settings = read_settings(home=ctx.params.get("home"))
        if not settings.is_far:
            folders = sorted(FilesystemStorage(settings.store_dir).folders(), reverse=True)
            found += [f"{folder.job}-e{folder.name}" for folder in folders if folder.name.isdecimal()]
    return [*beginning(found, incomplete), *weights_files(incomplete)]


def weights_files(incomplete: str) -> Values:
    """Return the folders, and the files of weights, whose path begins with the text."""
    paths = [Path(name) for name in sorted(glob(f"{escape(incomplete)}*"))]
    names = [
        f"{path}/" if path.is_dir() else str(path) for path in paths if path.is_dir() or path.suffix == ".safetensors"
    ]
    return [name for name in names if not re.search(r"[\s'\"$`\\]", name)]
