"""The commands. Each command has a file in `app.cli.commands`, or shares one with related commands (`PANELS`).

Commands with two words, as `acgan training-data add`, have the file of their group (`GROUPS`).

A command imports the heavy modules that it needs when it runs, so that `--help` is fast.
"""

import os
from collections.abc import Callable
from typing import Annotated

import typer

from app.cli.commands import (
    checkpoints,
    control,
    datasets,
    delete,
    digits,
    download,
    evaluate,
    evolution,
    export,
    follow,
    history,
    images,
    import_checkpoint,
    import_keras,
    jobs,
    key,
    morph,
    numbers,
    order,
    serve,
    start,
    train,
    training_data,
    up,
    worker,
)
from app.cli.display.output import OUTPUT_FAILED, console, finish_streams, is_output_failure, protect_streams
from app.cli.errors import USER_ERROR, error_sentence, print_error
from app.cli.group import Commands
from models.version import code_version

# The commands in the order of `acgan --help`.
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Run the service on this machine": {
        "up": up.up,
        "serve": serve.serve,
        "worker": worker.worker,
        "key": key.key,
    },
    "Commands without a service": {
        "train": train.train,
        "digits": digits.digits,
        "evaluate": evaluate.evaluate,
        "export": export.export,
        "import-keras": import_keras.import_keras,
    },
    "Commands for a running service (ACGAN_URL)": {
        "start": start.start,
        "jobs": jobs.jobs,
        "follow": follow.follow,
        "cancel": control.cancel,
        "resume": control.resume,
        "retry": control.retry,
        "front": control.front,
        "label": control.label,
        "history": history.history,
        "checkpoints": checkpoints.checkpoints,
        "serving": checkpoints.serving,
        "import": import_checkpoint.import_checkpoint,
        "numbers": numbers.numbers,
        "morph": morph.morph,
        "evolution": evolution.evolution,
        "images": images.images,
        "order": order.order,
        "datasets": datasets.datasets,
        "download": download.download,
        "delete": delete.delete,
    },
}

# Groups of commands, as `acgan training-data add`: their help, and their commands in the order of it.
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "training-data": (
        "Your own labelled images as training data. Needs no service.",
        {
            "add": training_data.add,
            "list": training_data.list_,
            "show": training_data.show,
            "remove": training_data.remove,
        },
    ),
}

cli = typer.Typer(
    name="acgan",
    cls=Commands,
    help="Train and serve a class-conditional digit generator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"acgan {code_version()}", highlight=False)
        raise typer.Exit


@cli.callback()
def acgan(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    pass


for panel, commands in PANELS.items():
    for name, command in commands.items():
        cli.command(name, rich_help_panel=panel)(command)
for name, (about, members) in GROUPS.items():
    group = typer.Typer(name=name, help=about, no_args_is_help=True)
    for member, command in members.items():
        group.command(member)(command)
    cli.add_typer(group, rich_help_panel="Commands without a service")


def main() -> None:
    """Run a command. A file or output that cannot be written (closed pipe, full disk) causes no traceback."""
    protect_streams()
    os.environ["PYTHONSAFEPATH"] = "1"  # Python processes that this one starts import nothing from the user's folder
    try:
        cli(prog_name="acgan")
    except OSError as error:
        if error.filename is None and not is_output_failure(error):
            raise
        print_error(error_sentence(error))
        raise SystemExit(OUTPUT_FAILED if error.filename is None else USER_ERROR) from None
    finally:
        finish_streams()
