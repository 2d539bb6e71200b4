"""How every command ends: errors, also those of its options, are one sentence, and Ctrl-C says what continues."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from app.cli.errors import USER_ERROR, fail, stop

# What continues after Ctrl-C, if the command itself has not printed it.
STOPPED = {
    "start": "the service may have accepted the run: `acgan jobs` lists it",
    "order": "the service may have accepted the data set: `acgan datasets` lists it",
    "cancel": "the service may have received the request: see `acgan jobs`",
    "resume": "the service may have received the request: see `acgan jobs`",
    "retry": "the service may have received the request: see `acgan jobs`",
    "front": "the service may have received the request: see `acgan jobs`",
    "label": "the service may have received the request: see `acgan jobs`",
    "serving": "the service may have received the choice: `acgan serving` prints it",
    "import": "the service may publish the generator: see `acgan checkpoints`; the same file is never published twice",
    "delete": "the service may have received the request: repeat it to be sure",
    "download": "complete files are kept: the same command downloads the others",
    "train": "no epoch is trained: the same command starts again",
    "evaluate": "no result is kept: the same command starts again",
    "export": "no incomplete file is kept: the same command starts again",
    "import-keras": "epochs that are published stay: see the home folder's checkpoints",
}
NOTHING = "nothing was changed"
# Typer contains a copy of click, or uses click, depending on its version.
CLICK_ERROR: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class Commands(TyperGroup):
    """The group of all commands."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command. Raises SystemExit with its exit code."""
        try:
            try:
                code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
            except CLICK_ERROR as error:
                if type(error).__name__ == "NoArgsIsHelpError":
                    error.show()
                    raise typer.Exit(USER_ERROR) from None
                fail(with_help(error))
            except typer.Abort:  # Ctrl-C at a question
                stop(NOTHING)
        except typer.Exit as end:
            code = end.exit_code
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            stop(STOPPED.get(ctx.invoked_subcommand or "", NOTHING))


def with_help(error: Any) -> str:
    """Return the message of an error in the options of a command, as in `... : see `acgan digits --help``."""
    message, context = error.format_message().rstrip(". "), getattr(error, "ctx", None)
    command = context.command_path if context is not None else "acgan"
    return f"{message} See `{command} --help`" if message.endswith("?") else f"{message}: see `{command} --help`"
