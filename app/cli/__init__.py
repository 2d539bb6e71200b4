"""The command line. Heavy modules are imported by the command that needs them, so that `--help` is quick.

service.py   what runs the service on this machine: up, serve, worker, key
local.py     what needs no service: train, digits, evaluate
exchange.py  generators for other programs, and from them: export, import-keras
remote.py    what asks a running service: start, jobs, follow, cancel, resume, retry, front, history, checkpoints
datasets.py    what it makes to order: order, datasets, download
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
        bool, typer.Option("--version", help="Tell the version.", callback=tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


for panel, commands in (
    ("The service, on this machine", service.COMMANDS),
    ("Here, with no service", local.COMMANDS | exchange.COMMANDS),
    ("A running service, at ACGAN_URL", remote.COMMANDS | datasets.COMMANDS),
):
    for name, command in commands.items():
        cli.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """Run a command, with output that no reader, encoding or full disk turns into a traceback."""
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
