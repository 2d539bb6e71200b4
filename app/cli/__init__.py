"""The command line. Each command imports the heavy modules that it needs, so that `--help` is fast.

service.py   run the service on this machine: up, serve, worker, key
local.py     commands without a service: train, digits, evaluate
exchange.py  conversion to and from other formats: export, import-keras
remote.py    requests to a service: start, jobs, follow, cancel, resume, retry, front, history, checkpoints, serving
datasets.py  requests for generated data sets: order, datasets, download
"""

from typing import Annotated

import typer

from app.cli.commands import datasets, exchange, local, remote, service
from app.cli.common import complain, console, read_settings
from app.cli.output import OUTPUT_FAILED, finish_streams, is_output_failure, protect_streams
from models.version import code_version

__all__ = ["cli", "main", "read_settings"]

cli = typer.Typer(
    name="acgan",
    help="Train and serve a class-conditional digit generator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def tell_version(wanted: bool) -> None:
    if wanted:
        console.print(f"acgan {code_version()}", highlight=False)
        raise typer.Exit


@cli.callback()
def acgan(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


for panel, commands in (
    ("Run the service on this machine", service.COMMANDS),
    ("Commands without a service", local.COMMANDS | exchange.COMMANDS),
    ("Commands for a running service (ACGAN_URL)", remote.COMMANDS | datasets.COMMANDS),
):
    for name, command in commands.items():
        cli.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """Run a command. Output that cannot be written (closed pipe, encoding, full disk) causes no traceback."""
    protect_streams()
    try:
        cli(prog_name="acgan")
    except OSError as error:
        if not is_output_failure(error):
            raise
        complain(f"the output cannot be written: {error.strerror}")
        raise SystemExit(OUTPUT_FAILED) from None
    finally:
        finish_streams()
